"""Life in the box: real work goes on, limits end what has none, nothing outlives its call, and no mode promises what is not there."""
import glob
import json
import os
import shutil
import signal
import subprocess
import time

from lib.rein import RELEASE, USER, Place, Skip, check, give_to_user, need_live, story

PROJECT = {
    "m.c": '#include <stdio.h>\n#include <stdlib.h>\nint main(int c, char **v) { char *p = malloc(8); if (c > 1) p[8] = **v; printf("hi %d\\n", c); '
           "free(p); return 0; }\n",
    "Makefile": "m: m.c\n\tcc -g -o m m.c\n",
    "CMakeLists.txt": "cmake_minimum_required(VERSION 3.10)\nproject(x C)\nadd_executable(m m.c)\nenable_testing()\nadd_test(t m)\n",
    "meson.build": "project('x', 'c')\ntest('t', executable('m', 'm.c'))\n",
    "pkg/package.json": '{"name":"local-thing","version":"1.0.0"}',
    "test_a.py": "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        self.assertEqual(1, 1)\n",
    "H.java": "public class H { public static void main(String[] a) { System.out.println(7); } }",
}
NODE = ("const cp = require('child_process'); if (cp.execSync('echo hi') != 'hi\\n') process.exit(2); "
        "new (require('worker_threads').Worker)('1', {eval: true}); const c = cp.fork('-e', ['process.send(5)'], {execArgv: ['-e', 'process.send(5)']}); "
        "c.on('message', m => require('http').createServer((q, s) => s.end('served')).listen(3000, '127.0.0.1', () => "
        "require('http').get('http://127.0.0.1:3000', r => { r.on('data', d => console.log(m, String(d))); r.on('end', () => process.exit(0)); })));")
# What a program is needed for, the command, what it has to print.
WORK = [
    ("cc", "make && ./m", "hi 1"),
    ("cmake", "cmake -S . -B cb && cmake --build cb && cd cb && ctest", "100% tests passed"),
    ("meson", "meson setup mb && ninja -C mb test", "Fail:               0"),
    ("cc", "cc -g -fsanitize=address -o ma m.c && ./ma && ! ./ma x", "heap-buffer-overflow"),
    ("gdb", "cc -g -o m m.c && gdb -batch -ex 'break main' -ex run -ex 'print c' -ex continue ./m", "$1 = 1"),
    ("git", "git add -A && git commit -qm one && git checkout -qb f && echo x > f1 && git add f1 && git commit -qm f1 && git checkout -q master && "
     "echo y > g && git add g && git commit -qm g && git checkout -q f && git rebase master && git gc -q && git fsck && git stash list && git log --oneline",
     "f1"),
    ("git", "git init -q sub/other && cd sub/other && git config user.name b && git status --short && echo fine", "fine"),
    ("node", f"node -e \"{NODE}\"", "5 served"),
    ("npm", "npm install --no-audit --no-fund ./pkg && ls node_modules", "local-thing"),
    ("python3", "python3 -m unittest -q test_a && python3 -c 'import multiprocessing as m; print(m.Pool(2).map(abs, [-1, -2]))'", "[1, 2]"),
    ("python3", "python3 -c \"import socket, threading; s = socket.create_server(('127.0.0.1', 0)); "
     "c = socket.create_connection(s.getsockname()); print('loopback')\"", "loopback"),
    ("pytest-3", "mkdir py; printf 'import pytest\\ndef test_a(tmp_path):\\n    (tmp_path / \"x\").write_text(\"y\")\\n@pytest.mark.parametrize(\"n\", [1, 2])\\ndef test_b(n):\\n    assert n\\n' "
     "> py/test_b.py; pytest-3 -q py", "3 passed"),
    ("go", "mkdir g2 && cd g2 && go mod init x && printf 'package main\\nimport \"fmt\"\\nfunc main() { fmt.Println(6 * 7) }\\n' > x.go && go run .", "42"),
    ("cargo", "cargo new -q hello --vcs none && cd hello && cargo run -q", "Hello, world!"),
    ("javac", "javac H.java && java H", "7"),
    ("perl", "perl -e 'print 3 * 7'", "21"),
    ("valgrind", "cc -g -o m m.c && valgrind -q ./m", "hi 1"),
    ("strace", "strace -o s -f make -B && tail -1 s", "exited with 0"),
]


def box(place, command, *more, timeout=120, env=None):
    """Output and report of a command."""
    report = os.path.join(place.top, "report")
    out = place.rein("box", "--mode", "auto", "--report", report, *more, "--", command, timeout=timeout, env=env)
    with open(report, encoding="utf-8") as f:
        return out, json.load(f)


def test_work_inside():
    need_live()
    missing = []
    with Place(RELEASE) as place:
        for path, text in PROJECT.items():
            place.write(path, text)
        for args in (["init", "-q", "-b", "master", "."], ["config", "user.name", "a"], ["config", "user.email", "a@b"]):
            subprocess.run(["git", *args], cwd=place.work, check=True)
        place.write(".gitignore", "*\n!*.c\n!f1\n!g\n")
        for program, command, want in WORK:
            if not shutil.which(program):
                missing.append(program)
                continue
            out, report = box(place, command + " 2>&1", env={"HOME": os.environ.get("HOME", "/root")})
            check(want.encode() in out.stdout and out.returncode == 0 and not report.get("moved_out"), command, report, out.stdout[-1500:], out.stderr)
    print(f"peer/box: {len(WORK) - len(missing)} kinds of work go on inside; not installed here: {', '.join(missing) or 'none'}", flush=True)
    return len(WORK) - len(missing)


def test_limits_of_a_box():
    """Each ends by itself, soon, with a word; and rein has not grown with it."""
    need_live()
    with Place(RELEASE) as place:
        for command, end in (("f() { f | f & }; f; sleep 5", "processes"), ("python3 -c 'x = bytearray(3 << 30); input()' < /dev/zero", "memory"),
                             ("i=0; while :; do i=$((i+1)); head -c 1500M /dev/zero > big$i; done", "disk"),
                             # Its processes die of an error when there is no room for more: that, too, is an end.
                             ("python3 -c \"import os\nwhile os.fork() >= 0: pass\"", "processes memory exit")):
            out, report = box(place, command + " 2>/dev/null")
            # Where there is no room, a shell gives up: a bomb of them may have ended itself before the next look.
            check(report["end"] in end.split() or b"annot fork" in out.stdout + out.stderr, command, report, out)
            for name in os.listdir(place.work):
                os.remove(place.path(name))
        out, report = box(place, "head -c 3G /dev/zero > big; ls -s big | head -c 9", "--timeout", "60")
        check(b"File size limit" in out.stdout + out.stderr or b"2097152" in out.stdout, out, report)
        os.remove(place.path("big"))
        out, report = box(place, "python3 -c \"import os\nl = []\nwhile True: l.append(os.open('/dev/null', 0))\" 2>&1 | tail -1")
        check(b"Too many open files" in out.stdout, out)
        out, report = box(place, "exec yes", "-q", "--timeout", "5")
        check(report["end"] == "timeout" and report["lost"] > 0 and report["bytes"] > 100 << 20, report)
    return 7


CGROUPS = "/sys/fs/cgroup"


def test_limits_by_control_groups():
    """Where a part of the tree is delegated to the user, as root and as an ordinary user, who has a group beside others."""
    need_live()
    try:
        with open(CGROUPS + "/cgroup.controllers", encoding="utf-8") as f:
            known = f.read().split()
    except OSError:
        known = []
    if os.geteuid() != 0 or not {"memory", "pids"} <= set(known):
        raise Skip("there is no control group version 2 with memory and pids, or no right to delegate it: not shown (test/kernel/run shows it)")
    with open(CGROUPS + "/cgroup.subtree_control", "w", encoding="utf-8") as f:
        f.write("+memory +pids")
    for user in (False, True):
        with Place(RELEASE, base="/var/tmp") as place:
            top = os.path.join(CGROUPS, f"rein-test-{os.getpid()}")
            term = os.path.join(top, "term")
            os.makedirs(term)
            with open(top + "/cgroup.subtree_control", "w", encoding="utf-8") as f:
                f.write("+memory +pids")
            as_user = give_to_user(place) if user else []
            for path in (top, term):
                for name in ("", "/cgroup.procs"):
                    os.chown(path + name, USER if user else 0, USER if user else 0)

            def run(command, top=top, term=term, as_user=as_user, place=place):
                report = os.path.join(place.top, "report")
                p = subprocess.Popen(["sh", "-c", f'echo $$ > {term}/cgroup.procs; exec "$@"', "sh", *as_user, place.binary, "box", "--mode", "auto", "-q", "--report", report,
                                      "--", command], cwd=place.work, env=place.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                seen = {}
                while p.poll() is None:
                    for group in glob.glob(top + "/rein-box-*"):
                        for name in ("memory.max", "pids.max", "cgroup.procs"):
                            try:
                                with open(f"{group}/{name}", encoding="utf-8") as f:
                                    seen[name] = max(seen.get(name, ""), f.read().strip())
                            except OSError:
                                pass
                    time.sleep(0.01)
                with open(report, encoding="utf-8") as f:
                    return json.loads(f.read()), seen
            report, seen = run("sleep 1")
            check(report["end"] == "exit" and seen.get("memory.max") == str(2 << 30) and seen.get("pids.max") == "2000" and seen.get("cgroup.procs"), report, seen)
            # In one step, faster than anyone could look.
            report, _ = run("python3 -c 'x = bytearray(3 << 30)'; echo after")
            check(report["end"] == "memory", report)
            report, _ = run("f() { f | f & }; f; sleep 5")
            check(report["end"] in ("processes", "exit"), report)
            check(not glob.glob(top + "/rein-box-*"), "left behind", glob.glob(top + "/*"))
            os.rmdir(term)
            os.rmdir(top)
    return 6


def peak(place, command):
    """The most memory that rein itself had at a time in a session of that one command, in KiB."""
    p = place.start("exec", "-q", "--mode", "auto", "--model", place.script("call bash " + json.dumps({"command": command, "timeout": 2}) + "\n--\nsay done\n"), "go")
    most = 0
    while p.poll() is None:
        try:
            with open(f"/proc/{p.pid}/status", encoding="utf-8") as f:
                status = dict(line.split(":\t", 1) for line in f)
            if status["Name"].strip() == "rein":            # and not what it is started from
                most = max(most, int(status.get("VmHWM", "0").split()[0]))
        except (OSError, ValueError):
            pass
        time.sleep(0.005)
    check(p.returncode == 0, p.stderr.read())
    return most


def test_rein_does_not_grow_with_it():
    need_live()
    with Place(RELEASE) as place:
        base = peak(place, "true")
        grown = {}
        for name, command in {"endless output": "exec yes", "output in one line": "exec tr '\\0' x < /dev/zero", "a fork bomb": "f() { f | f & }; f; sleep 1",
                              "3 GB of memory": "python3 -c 'x = bytearray(3 << 30)'", "a full disk": "head -c 3G /dev/zero > big"}.items():
            grown[name] = peak(place, command) - base
    print(f"peer/box: rein grows by {', '.join(f'{v} KiB ({k})' for k, v in grown.items())}; it has {base} KiB otherwise", flush=True)
    check(max(grown.values()) <= 8 << 10, grown)


def test_box_is_gone():
    """What a command leaves running ends with it; with kill -9 of rein, and of its supervisor."""
    need_live()

    def alive(words):
        return subprocess.run(["pgrep", "-f", words], stdout=subprocess.PIPE, check=False).stdout.split()

    def gone_soon(words):
        for _ in range(100):
            if not alive(words):
                return True
            time.sleep(0.01)
        return False
    with Place(RELEASE) as place:
        out, report = box(place, "setsid sleep 98711 & (setsid setsid sleep 98712 &); sleep 0.1; echo done")
        check(out.stdout == b"done\n" and report["killed"] == 2 and gone_soon("sleep 9871[12]"), out, report)
        for victim in ("rein", "rein-box"):
            p = place.start("box", "--mode", "auto", "--", "setsid sleep 98713 & (trap '' TERM; exec sleep 98714)")
            for _ in range(500):
                if len(alive("^sleep 9871[34]")) == 2:
                    break
                time.sleep(0.01)
            check(len(alive("^sleep 9871[34]")) == 2)
            pid = p.pid if victim == "rein" else int(subprocess.run(["pgrep", "-P", str(p.pid), "rein-box"], stdout=subprocess.PIPE, check=True).stdout)
            os.kill(pid, signal.SIGKILL)
            check(gone_soon("^sleep 9871[34]"), "it outlived", victim)
            p.communicate(timeout=30)
    return 3


def test_the_box_and_its_program():
    """Status, signals, no input, descriptors, environment, words that mean nothing to a shell, and a mode that only looks."""
    need_live()
    with Place(RELEASE) as place:
        out, report = box(place, "exit 7")
        check(out.returncode == 7 and report["exit"] == 7 and report["tier"] == "live", out, report)
        out, report = box(place, "kill -9 $$")
        check(out.returncode == 137 and report["signal"] == 9, out, report)
        out, _ = box(place, "cat; ls /proc/self/fd | tr '\\n' ' '; echo $TOKEN $HOME; id -u; pwd", env={"TOKEN": "abc", "SECRET_KEY": "def"})
        check(out.stdout == f"0 1 2 3 {place.env['HOME']}\n{os.getuid()}\n{place.work}\n".encode(), out)
        out = place.rein("box", "-q", "--", "printf", "%s|", "a b", "$HOME", "it's", "; id")
        check(out.stdout == b"a b|$HOME|it's|; id|", out)
        place.write("f", "x")
        out = place.rein("box", "--mode", "plan", "-q", "--", "echo y > f; echo z > g; cat f; echo t > /tmp/t && cat /tmp/t")
        check(place.read("f") == b"x" and not os.path.exists(place.path("g")) and out.stdout.endswith(b"xt\n"), out)
        check(place.rein("box", "--mode", "open", "--", "true").returncode == 2)
        check(place.rein("box").returncode == 2)
        check(os.listdir(os.path.join(place.home, "box")) == [], "its scratch is left")


def test_no_box_no_mode():
    """Where namespaces are not to be had, as in a box of Landlock: status 7 with the reason, and no session."""
    need_live()
    with Place(RELEASE) as place:
        inner = os.path.join(place.work, "home")
        for name in ("rein", "rein-box", "rein-files"):
            shutil.copy(os.path.join(os.path.dirname(RELEASE), name), place.work)
        place.write("script", "say hello\n")
        line = (f"export REIN_HOME={inner}; mkdir w; ./rein doctor | grep tier; ./rein box --mode auto -C w -- true; echo status $?; "
                "./rein exec --mode auto -C w --model script/$PWD/script hi; echo status $?; ./rein sessions; ./rein exec -C w --model script/$PWD/script hi")
        out = place.rein("box", "--mode", "ask", "--tier", "landlock", "-q", "--", line + " 2>&1")
        said = out.stdout.decode()
        check("tier       landlock: namespaces are forbidden here" in said and said.count("status 7\n") == 2 and "mode auto promises a box" in said, said)
        check(said.endswith("hello\n"), said)


def test_a_session_in_the_box():
    """Mode auto, without layers: commands act at once, within; what is protected stays; what leaves the machine is refused; the log says the tier."""
    need_live()
    script = r"""
call bash {"command": "echo a > a; cat ~/.secret; mkdir .claude; echo x > .claude/settings.json"}
call write {"path": ".git/hooks/pre-commit", "content": "evil"}
call write {"path": "link/hooks/post-checkout", "content": "evil"}
call write {"path": "fine", "content": "fine\n"}
call fetch {"url": "http://127.0.0.1:1/"}
--
say done
"""
    with Place(RELEASE) as place:
        os.makedirs(place.env["HOME"])
        with open(os.path.join(place.env["HOME"], ".secret"), "w", encoding="utf-8") as f:
            f.write("hidden")
        subprocess.run(["git", "init", "-q", "."], cwd=place.work, check=True)
        os.symlink(".git", place.path("link"))
        before = place.read(".git/config")
        out = place.rein("exec", "--mode", "auto", "--layer", "off", "--model", place.script(script), "go")
        check(out.returncode == 0, out)
        events = place.events()
        first = story(events, "session")[0][1]
        check(first["tier"] == "live" and first["mode"] == "auto", first)
        results = [b for _, b in story(events, "result")]
        check([b["outcome"] for b in results] == ["error", "error", "error", "ok", "denied"] or
              [b["outcome"] for b in results] == ["ok", "error", "error", "ok", "denied"], results)
        check("hidden" not in results[0]["text"] and "moved out of the workspace" in results[0]["text"] and ".claude\n" in results[0]["moved_out"], results[0])
        check(not os.path.exists(place.path(".claude")) and not os.path.exists(place.path(".git/hooks/pre-commit")), "it stayed")
        check(place.read(".git/config") == before and place.read("fine") == b"fine\n" and place.read("a") == b"a\n")
        check("is protected" in results[1]["text"] and "is protected" in results[2]["text"], results)
        place.rein("resume", "--last", "more")
        check(story(place.events(), "set")[-1][1]["tier"] == "live", out)


def test_a_server_in_the_background():
    """A job serves the commands that come after it, and nobody outside; what one command leaves in /tmp and at home, the next one finds."""
    need_live()
    script = """
call bash {"command": "exec python3 -m http.server 8123 --bind 127.0.0.1", "background": true}
--
call bash {"command": "for i in 1 2 3 4 5 6 7 8 9; do curl -s http://127.0.0.1:8123/page && break; sleep 0.3; done; echo kept > /tmp/t; echo kept > ~/h"}
--
call bash {"command": "cat /tmp/t ~/h; ls /tmp"}
--
say done
"""
    with Place(RELEASE) as place:
        place.write("page", "served")
        p = place.start("exec", "--mode", "auto", "--model", place.script(script), "go")
        p.communicate(timeout=60)
        results = [b["text"] for _, b in story(place.events(), "result")]
        check("served" in results[1] and "kept\nkept\n" in results[2] and "\nt\n" in results[2], results)
        check(not os.path.exists("/tmp/t") or "kept" not in open("/tmp/t", encoding="utf-8").read(), "the host's /tmp")


def test_what_a_job_leaves():
    """It is looked at when the job is found to have ended, or was ended with its session."""
    need_live()
    command = "mkdir .claude; echo x > .claude/settings.json; echo ready"
    script = f"""
call bash {{"command": "{command}", "background": true}}
--
call job {{"action": "look", "wait": 5, "until": "never"}}
--
call bash {{"command": "sleep 0.3; mkdir -p sub/.vscode; echo x > sub/.vscode/tasks.json; sleep 1000", "background": true}}
--
call job {{"action": "look", "wait": 1, "until": "never"}}
--
say done
"""
    with Place(RELEASE) as place:
        out = place.rein("exec", "--mode", "auto", "--model", place.script(script), "go", timeout=60)
        check(out.returncode == 0, out)
        events = place.events()
        told = [b.get("moved_out", "") + b.get("text", "") for k, b in story(events, "result", "job")]
        check(any(".claude" in t for t in told) and any("sub/.vscode/tasks.json" in t for t in told), told)
        check(not os.path.exists(place.path(".claude")) and not os.path.exists(place.path("sub/.vscode/tasks.json")), os.listdir(place.work))


def test_the_first_process_is_left_alone():
    """It has the same user as the program, which can neither trace it nor get at what it has open."""
    need_live()
    code = ("import ctypes, os, glob\nc = ctypes.CDLL(None, use_errno=True)\nprint('trace', c.ptrace(16, 1, 0, 0), c.ptrace(0x4206, 1, 0, 0))\n"
            "for f in ['/proc/1/mem', '/proc/1/root', '/proc/1/cwd', '/proc/1/environ', '/proc/1/maps'] + [f'/proc/1/fd/{i}' for i in range(20)]:\n"
            "    for how in (os.O_RDONLY, os.O_WRONLY):\n        try: os.open(f, how); print('opened', f)\n        except OSError: pass\n"
            "print('signal', [os.kill(1, n) for n in (9, 15, 19)])\nprint(os.getppid())")
    with Place(RELEASE) as place:
        place.write("t.py", code)
        out, report = box(place, "python3 t.py; sleep 0.2; echo alive")
        check(b"trace -1 -1" in out.stdout and b"opened" not in out.stdout and out.stdout.endswith(b"alive\n") and report["exit"] == 0, out, report)


def test_a_fork_has_its_box():
    """Also where the mode was changed once and not said again: what acts in mode auto acts in the box."""
    need_live()
    with Place(RELEASE) as place:
        model = place.script('say 1\n--\nsay 2\n--\nsay 3\n--\ncall bash {"command": "echo x > $HOME/out"}\n--\nsay 5\n')
        os.makedirs(place.env["HOME"])
        check(place.rein("exec", "--mode", "ask", "--model", model, "go").returncode == 0)
        check(place.rein("resume", "--last", "--mode", "auto", "more").returncode == 0)
        check(place.rein("resume", "--last", "still more").returncode == 0)
        out = place.rein("fork", "--last", "another way")
        check(out.returncode == 0 and b"5" in out.stdout, out)
        check(not os.path.exists(os.path.join(place.env["HOME"], "out")), "it ran without its box")


def test_a_repository_configures_nothing():
    """What a repository brings is no configuration of rein's: the same session as in an empty one, and none of it is even opened."""
    need_live()
    bodies = []
    for brings in (False, True):
        with Place(RELEASE) as place:
            if brings:
                for name in ("config.yaml", "rein.yaml", ".rein/config.yaml", ".rein/rules", ".config/rein/config.yaml", "user/.rein/config.yaml"):
                    place.write(name, "mode: open\nproviders:\n  openai: {base_url: 'http://127.0.0.1:1/'}\nnetwork: [example.org]\n")
                place.write(".env", "REIN_HOME=/tmp/evil\nOPENAI_BASE_URL=http://127.0.0.1:1/\nREIN_SEARCH=searxng=http://127.0.0.1:1\nHTTPS_PROXY=http://127.0.0.1:1\n")
                for name in ("coder/harness.yaml", "harness/coder/harness.yaml", ".rein/harness/coder/harness.yaml"):
                    place.write(name, "name: coder\nversion: 9\nsystem: [system.md]\ntools: [bash]\n")
                for name in ("AGENTS.md", "CLAUDE.md", ".mcp.json", ".claude/settings.json", ".rein/hooks/start", "rein-box", "bin/rein-box"):
                    place.write(name, "#!/bin/sh\ntouch evil\n")
                    os.chmod(place.path(name), 0o755)
            place.wrap = ["strace", "-f", "-qq", "-o", os.path.join(place.top, "trace"), "-e", "trace=openat,open,openat2,execve"]
            check(place.rein("exec", "--model", place.script("say done\n"), "go").returncode == 0)
            place.wrap = []
            with open(os.path.join(place.top, "trace"), encoding="utf-8", errors="replace") as f:
                opened = [line for line in f if place.work + "/" in line or '"evil' in line]
            check(not opened, "it looked into the workspace", opened)
            body = dict(place.events()[0]["body"])
            bodies.append({k: body[k] for k in ("mode", "tier", "api", "harness")})
            check(not os.path.exists(place.path("evil")))
    check(bodies[0] == bodies[1] and bodies[0]["mode"] == "auto", bodies)
