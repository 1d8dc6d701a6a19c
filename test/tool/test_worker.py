"""The process that works on a workspace's files: rein opens none itself, and neither believes the other."""
import fcntl
import glob
import hashlib
import json
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import time

from crash.scenarios import Violation
from lib.rein import RELEASE, SANITISED, Place, Skip, check, need_live
from lib.script import call, results, script

def edit(old, new):
    return call("edit", path="a.txt", edits=[{"old": old, "new": new}])


def lives(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


WORK = [
    "\n".join([call("read", path="a.txt"), call("grep", pattern="one"), call("glob", files="*"), call("outline", path="code.c"),
               call("bash", command="git status")]),
    "\n".join([edit("one", "1"), call("write", path="new/deep/file.txt", content="x\n"),
               call("bash", command="git status; cat a.txt > copy; mkdir -p .claude; echo x > .claude/settings.json")]),
    "\n".join([call("bash", command="git log --oneline"), call("read", path="copy"), call("bash", command="cat a.txt")]), "say done"]


def fill(place):
    place.write("a.txt", "one\ntwo\n")
    place.write("code.c", "int main(void)\n{\n    return 0;\n}\n")
    place.write(".env", "TOKEN=abcdefghijklmnopqrstuvwxyz0123456789\n")
    place.write("sub/.gitignore", "*.o\n")
    subprocess.run("git init -q . && git add -A && git -c user.name=t -c user.email=t@t commit -q -m x", shell=True, cwd=place.work, check=True)


def opened_by_rein(prefix, work):
    """The paths beneath a folder that a process and its threads opened, as strace -ff -y wrote it down, a file for each thread."""
    of = {}
    for path in glob.glob(prefix + ".*"):
        with open(path, encoding="utf-8", errors="replace") as f:
            of[path.rsplit(".", 1)[1]] = f.read()
    first = min(of, key=int)
    group, seen = [first], []
    for tid in group:
        group += re.findall(r"clone3?\([^\n]*CLONE_THREAD[^\n]* = (\d+)", of[tid])
        seen += re.findall(r" = \d+<(%s[^>\n]*)>$" % re.escape(work), of[tid], re.M)
    check(len(of) > len(group), "nobody else was seen at all")
    return [p for p in seen if p != work], of


def test_rein_opens_nothing_of_the_workspace():
    if not shutil.which("strace") or os.system("strace -o /dev/null true 2>/dev/null") != 0:
        raise Skip("strace is missing, or may not trace here")
    for mode in ("open", "ask", "auto"):
        if mode == "auto":
            need_live()
        with Place(RELEASE) as place:
            fill(place)
            os.makedirs(place.home)
            with open(os.path.join(place.home, "config.yaml"), "w", encoding="utf-8") as f:
                f.write("private: ['.env']\n")
            trace = os.path.join(place.top, "trace")
            place.wrap = ["strace", "-ff", "-y", "-o", trace, "-e", "trace=open,openat,openat2,creat,clone,clone3,execve", "-e", "signal=none"]
            out = place.rein("exec", "--mode", mode, "--model", script(place, *WORK), "go", timeout=120)
            check(out.returncode == (3 if mode == "ask" else 0), mode, out)
            opened, of = opened_by_rein(trace, place.work)
            check(not opened, mode, "rein opened", opened)
            check(any(place.path("a.txt") in text for text in of.values()), mode, "nobody opened it")


def worker_of(pid):
    """The process that works on the files of a rein."""
    for _ in range(2000):
        out = subprocess.run(["pgrep", "-P", str(pid), "-x", "rein-files"], stdout=subprocess.PIPE, check=False).stdout.split()
        if out:
            return int(out[0])
        time.sleep(0.002)
    raise AssertionError("there is none")


def test_it_is_confined_and_dies_with_rein():
    for mode in ("open", "auto"):
        if mode == "auto":
            need_live()
        with Place(RELEASE) as place:
            place.write("a.txt", "one\n")
            p = place.start("exec", "--mode", mode, "--model", script(place, call("read", path="a.txt"), call("bash", command="sleep 30")), "go")
            try:
                pid = worker_of(p.pid)
                for _ in range(1000):
                    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
                        status = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
                    if status["Seccomp"] == "2":
                        break
                    time.sleep(0.002)
                check(status["Seccomp"] == "2" and status["NoNewPrivs"] == "1", mode, status)
                check(int(status["CapEff"], 16) & ~0x1b == 0, mode, "it has kept rights", status["CapEff"])
                for space in ("mnt", "net", "user", "ipc"):
                    same = os.readlink(f"/proc/{pid}/ns/{space}") == os.readlink(f"/proc/{p.pid}/ns/{space}")
                    check(same == (mode == "open"), mode, space)
                with open(f"/proc/{pid}/environ", "rb") as f:
                    check(b"REIN_HOME" not in f.read(), "it was told where the log is")
                open_files = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
                check(not any(place.home in name for name in open_files if not name.endswith("/files.lock")), mode, open_files)
            finally:
                p.send_signal(signal.SIGKILL)
                p.wait()
            for _ in range(500):
                if not lives(pid):
                    break
                time.sleep(0.002)
            check(not lives(pid), mode, "it outlived rein")


def test_it_is_killed_over_and_over():
    """Each edit is made, and once; the session goes on."""
    edits = [edit(f"n{i};", f"n{i}.") + "\n" + call("grep", pattern=f"n{i}") for i in range(200)]
    with Place(RELEASE) as place:
        place.write("a.txt", "".join(f"n{i};\n" for i in range(200)))
        p = place.start("exec", "--mode", "open", "--max-steps", "300", "--model", script(place, call("read", path="a.txt"), *edits, "say done"), "go")
        killed, rng = 0, random.Random(11)
        while p.poll() is None:
            out = subprocess.run(["pgrep", "-P", str(p.pid), "-x", "rein-files"], stdout=subprocess.PIPE, check=False).stdout.split()
            for pid in out:
                try:
                    os.kill(int(pid), signal.SIGKILL)
                    killed += 1
                except ProcessLookupError:
                    pass
            time.sleep(rng.random() * 0.004)
        p.communicate()
        check(p.returncode == 0, p.returncode)
        bad = [b for b in results(place) if b["outcome"] != "ok"]
        # Nine in a row are given up, in words.
        check(len(bad) < 5 and all("process that works on the workspace's files" in b["text"] for b in bad), bad[:3])
        made = place.read("a.txt").decode().count(".\n")
        told = sum(b["outcome"] == "ok" and b["tool"] == "edit" for b in results(place))
        check(killed > 10 and told <= made <= 200 and made - told <= sum(b["tool"] == "edit" for b in bad), killed, made, told, len(bad))
        check(not glob.glob(place.path(".rein-*")) or bad, "left behind", os.listdir(place.work))
        print(f"tool/worker: {killed} kills over 400 calls, {len(bad)} calls given up, {made} edits", flush=True)


def test_what_the_box_hides():
    """A file of the user's, linked into the workspace: the box shows it neither to commands nor to tools."""
    need_live()
    for mode in ("auto", "open"):
        with Place(RELEASE) as place:
            secret = os.path.join(place.top, "secret")
            with open(secret, "w", encoding="utf-8") as f:
                f.write("SECRET-9183\n")
            os.chmod(secret, 0o600)
            os.link(secret, place.path("inside"))
            place.write("own", "SECRET of its own\n")
            os.chmod(place.path("own"), 0o600)
            os.link(place.path("own"), place.path("own-too"))
            out = place.rein("exec", "--mode", mode, "--model", script(place, "\n".join(
                [call("read", path="inside"), call("grep", pattern="SECRET"), call("grep", pattern="SECRET", path="inside"), call("bash", command="cat inside"),
                 call("read", path="own")]), "say done"), "go")
            check(out.returncode == 0, out)
            texts = [b["text"] for b in sorted(results(place), key=lambda b: b["call"])]
            check(("9183" in "".join(texts)) == (mode == "open"), mode, texts)
            check("of its own" in texts[1] and "of its own" in texts[4], mode, texts)
            check(mode == "open" or "hidden in the box" in texts[0], mode, texts)


def test_another_folder_is_not_the_workspace():
    """What stands under its name later, a link or a folder, is not worked on."""
    for put in ("ln -s outside work", "mkdir work; echo evil > work/a.txt"):
        with Place(RELEASE) as place:
            os.mkdir(os.path.join(place.top, "outside"))
            place.write("a.txt", "one\n")
            with open(os.path.join(place.top, "outside", "a.txt"), "w", encoding="utf-8") as f:
                f.write("outside\n")
            model = script(place, call("bash", command=f"cd ..; mv work was; {put}"), call("read", path="a.txt"), call("write", path="new.txt", content="x"), "say done")
            out = place.rein("exec", "--mode", "open", "--model", model, "go")
            texts = [b["text"] for b in results(place)]
            check(out.returncode == 0 and "outside" not in texts[1] and "evil" not in texts[1] and "another folder" in texts[1] + texts[2] or "Not a directory" in texts[1], texts)
            check(not os.path.exists(os.path.join(place.top, "outside", "new.txt")) and not os.path.exists(place.path("new.txt")), texts)


def waits(binary):
    """What an earlier rein's process still writes is waited for, by its lock, before anything is said of the file."""
    with Place(binary) as place:
        place.write("a.txt", "one\n")
        model = script(place, call("read", path="a.txt"), edit("one", "two"), "say done", call("read", path="a.txt"), "say done")
        out = place.rein("exec", "--mode", "open", "--json", "--model", model, "go")
        session = json.loads(out.stdout.decode().split("\n")[0])["session"]
        digest = hashlib.sha256(session.encode()).digest()
        at = int.from_bytes(digest[:4], "big") << 24 | int.from_bytes(digest[4:8], "big") >> 8
        with open(os.path.join(place.home, "files.lock"), "a+b") as f:
            fcntl.fcntl(f, 37, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, at, 1, 0))      # F_OFD_SETLK
            p = place.start("resume", session, "go on")
            time.sleep(0.7)
            early = p.poll()
        p.communicate(timeout=30)
        if early is not None:
            raise Violation("it did not wait for the process of an earlier rein")
        check(p.returncode == 0, p.returncode)


def test_an_earlier_process_is_waited_for():
    waits(RELEASE)


READ, LOOK, WRITE, REMOVE, TIDY, LIST, SEARCH, GUARD, CHECK, PURGE = range(10)
NUMBERS = ("what", "offset", "max", "expects", "alike", "mode", "uid", "gid", "literal", "ignore_case", "all", "find", "context")
TEXTS = ("rel", "temp", "hash", "globs", "data", "layer")


def ask(**fields):
    body = b"".join(struct.pack("<q", fields.get(n, 0)) for n in NUMBERS)
    for name in TEXTS:
        text = fields.get(name, b"")
        body += struct.pack("<q", len(text)) + text
    return struct.pack("<q", len(body)) + body


class Worker:
    """The program itself, without a rein."""

    def __init__(self, place):
        self.control, theirs = socket.socketpair()
        program = os.path.join(os.path.dirname(SANITISED), "rein-files")
        env, st = dict(place.env), os.stat(place.work)
        self.process = subprocess.Popen(["sh", "-c", f'exec "$0" {os.getpid()} "$1" {st.st_dev}:{st.st_ino} 1 /nowhere 3<&{theirs.fileno()} {theirs.fileno()}<&-', program, place.work],
                                        pass_fds=[theirs.fileno()], env=env, stderr=subprocess.PIPE)
        theirs.close()

    def connect(self):
        ours, theirs = socket.socketpair()
        socket.send_fds(self.control, [b"c"], [theirs.fileno()])
        theirs.close()
        ours.settimeout(20)
        return ours

    def answer(self, message):
        """What it answers, or None: it hung up."""
        with self.connect() as s:
            try:
                s.sendall(message)
                s.shutdown(socket.SHUT_WR)
                head = s.recv(8, socket.MSG_WAITALL)
                return s.recv(struct.unpack("<q", head)[0], socket.MSG_WAITALL) if len(head) == 8 else None
            except (BrokenPipeError, ConnectionResetError):
                return None

    def end(self):
        self.control.close()
        return self.process.wait(20), self.process.stderr.read()


def result_of(answer):
    return None if answer is None else struct.unpack("<q", answer[:8])[0]


def test_hostile_questions():
    """Whoever has taken rein over asks for what is not to be had, or sends rubbish."""
    with Place() as place:
        outside = os.path.join(place.top, "outside")
        os.mkdir(outside)
        with open(os.path.join(outside, "f"), "w", encoding="utf-8") as f:
            f.write("SECRET\n")
        place.write("a.txt", "inside\n")
        place.write("d/b.txt", "x\n")
        os.symlink(outside, place.path("out"))
        os.symlink("../outside", place.path("rel"))
        os.symlink("a.txt", place.path("in"))
        os.symlink("d", place.path("dir"))
        before = sorted(os.listdir(place.top))
        worker = Worker(place)
        ways = [b"../outside/f", b"/etc/passwd", outside.encode() + b"/f", b"out/f", b"rel/f", b"d/../../outside/f", b"./../outside/f", b"dir/../../outside/f", b"..",
                b"d/../..", b"", b"a.txt/../../outside/f"]
        asked = 0
        for way in ways:
            for what in (READ, LOOK, WRITE, REMOVE, TIDY, LIST, SEARCH, PURGE):
                answer = worker.answer(ask(what=what, rel=way, max=1000, temp=b".rein-k.tmp", data=b"S" if what == SEARCH else b"evil", hash=bytes(32)))
                check(answer is not None and b"SECRET" not in answer and b"root:" not in answer, way, what, answer)
                # To tidy up where nothing can have been written, and to look for what is not there, is no error.
                check(what in (TIDY, LOOK) or result_of(answer) < 0 or way == b"", way, what, answer)
                asked += 1
        for layer in (b"../evil", b"/tmp/evil-of-rein", b"d/evil", b".", b"..", b".hidden"):
            check(result_of(worker.answer(ask(what=WRITE, rel=b"n.txt", temp=b".rein-k.tmp", data=b"x", layer=layer))) < 0, layer)
        for temp in (b"../evil", b"/tmp/evil-of-rein", b"d/evil"):
            check(result_of(worker.answer(ask(what=WRITE, rel=b"n.txt", temp=temp, data=b"x"))) < 0, temp)
        check(sorted(os.listdir(place.top)) == before and os.listdir(outside) == ["f"], os.listdir(place.top), os.listdir(outside))
        check(result_of(worker.answer(ask(what=WRITE, rel=b"dir/new.txt", temp=b".rein-k.tmp", data=b"fine\n", layer=b"l"))) == 0)
        check(place.read("d/new.txt") == b"fine\n")
        for rel in (b".git/config", b".claude/x", b"d/.mcp.json"):
            check(result_of(worker.answer(ask(what=WRITE, rel=rel, temp=b".rein-k.tmp", data=b"x"))) == -1, rel)
        rng = random.Random(7)
        for _ in range(600):
            good = bytearray(ask(what=rng.randrange(16), layer=rng.choice([b"", b"l", b"l-0"]), rel=rng.choice([b"a.txt", b".", b"d", b"in"]), max=rng.choice([0, 10, 1 << 40, -1]), data=b"x", globs=b"*",
                                 hash=bytes(32), temp=b".rein-k.tmp", find=rng.randrange(4), context=rng.randrange(3)))
            for _ in range(rng.randrange(1, 4)):
                at = rng.randrange(len(good))
                good[at] = rng.choice([0, 1, 255, 128, rng.randrange(256)])
            worker.answer(bytes(good[:rng.choice([len(good), rng.randrange(len(good))])]))
            asked += 1
        with open(os.path.join(outside, "f"), encoding="utf-8") as f:
            check(f.read() == "SECRET\n")
        check(os.listdir(outside) == ["f"] and sorted(os.listdir(place.top)) == before)
        status, said = worker.end()
        check(status == 0 and not said, status, said[-2000:])
        print(f"tool/worker: {asked} hostile questions, nothing outside was read or written", flush=True)


def test_hostile_answers():
    """A process that works on files and was taken over answers rein with rubbish: a sentence, and nothing is believed."""
    number = lambda *n: b"".join(struct.pack("<q", v) for v in n)
    ok = number(0, 1, 5, 0o644, 0, 0, 1, 0, 1, 1, 1, 1, 0, 0, 0)

    def message(body):
        return number(len(body)) + body
    kinds = {
        "nothing": b"", "short": b"\1\2", "huge": number(1 << 62), "negative": number(-5), "large": number((144 << 20) + 1), "empty": number(0),
        "rubbish": message(bytes(range(256))), "cut": message(ok)[:40], "no texts": message(ok), "text too long": message(ok + number(1 << 40)),
        "text negative": message(ok + number(-1)), "more than all": message(ok + number(0, 0, 0) + b"x"),
        "positive": message(number(7) + ok[8:] + number(0, 0, 0)), "too much": message(ok + number(0, 0, 300000) + b"y" * 300000),
        "no hash": message(ok + number(0, 0, 3) + b"abc"), "strange errno": message(number(-123456) + ok[8:] + number(4) + b"\x1b[2J" + number(0, 0)),
    }
    with Place() as place:
        place.write("a.txt", "one\n")
        folder = os.path.join(place.top, "bin")
        os.mkdir(folder)
        for name in ("rein", "rein-box", "rein-html"):
            shutil.copy(os.path.join(os.path.dirname(SANITISED), name), folder)
        place.binary = os.path.join(folder, "rein")
        for kind, answer in kinds.items():
            with open(os.path.join(folder, "rein-files"), "w", encoding="utf-8") as f:
                f.write("#!/usr/bin/env python3\nimport socket\ncontrol = socket.socket(fileno=3)\nwhile True:\n    data, fds, *_ = socket.recv_fds(control, 1, 1)\n"
                        "    if not data:\n        break\n    s = socket.socket(fileno=fds[0])\n    s.recv(65536)\n"
                        f"    s.sendall({answer[:2000]!r} + b'y' * {max(0, len(answer) - 2000)})\n    s.close()\n")
            os.chmod(os.path.join(folder, "rein-files"), 0o755)
            out = place.rein("exec", "--mode", "open", "--model", script(place, call("read", path="a.txt") + "\n" + call("glob", files="*") + "\n" +
                                                                       call("write", path="b.txt", content="x"), "say done"), "go")
            check(out.returncode == 0, kind, out)
            check(b"\x1b" not in out.stdout + out.stderr, kind, out)
            texts = [b["text"] for b in results(place)]
            check(len(texts) == 3 and (kind in ("no hash", "too much") or all("y" * 1000 not in t for t in texts)), kind, texts)
        print(f"tool/worker: {len(kinds)} kinds of hostile answers, a sentence each", flush=True)
