"""A hostile world: each trouble is one clear sentence, a defined status, and a session that goes on afterwards."""
import contextlib
import ctypes
import os
import subprocess
import threading
import time

from crash.scenarios import left_running
from lib.mock import Mock, call, chunks, text
from lib.rein import RELEASE, Place, Skip, check, story


@contextlib.contextmanager
def mounted(path, options):
    """A small file system of our own, or the test is skipped and says why."""
    os.makedirs(path, exist_ok=True)
    out = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], stderr=subprocess.PIPE, check=False)
    if out.returncode:
        raise Skip("no right to mount a file system: " + out.stderr.decode().strip())
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", path], check=False)


def remount(path, options):
    subprocess.run(["mount", "-o", "remount," + options, path], check=True)


def one_sentence(out, status, words):
    lines = out.stderr.decode().strip().splitlines()
    check(out.returncode == status, "status", out.returncode, lines)
    check(any(words in l for l in lines), words, "is not in", lines)
    check(b"panic" not in out.stderr and b"Assertion" not in out.stderr, lines)


def exec_script(place, *answers, options=()):
    return place.rein("exec", "--mode", "open", *options, "--model", place.script("\n--\n".join(answers) + "\n"), "go")


def test_store_full_while_working():
    with Place() as place, mounted(place.home, "size=600k"):
        big = 'call bash {"command": "head -c 7000 /dev/zero | tr \'\\\\0\' a"}'
        out = exec_script(place, *[big] * 200, "say Finished.")
        one_sentence(out, 1, "is paused: the session store in")
        check(b"is full" in out.stderr and b"free some disk space" in out.stderr and b"resume" in out.stderr, out.stderr)
        remount(place.home, "size=100m")
        out = place.rein("resume", "--last", "--decide", "all=skip")
        check(out.returncode == 0 and out.stdout == b"Finished.\n", out)
        check(place.rein("log", "verify", "--last").returncode == 0)


def fill(path):
    """Takes the last byte of a file system; returns what gives it back."""
    name = os.path.join(path, "filler")
    with open(name, "wb", buffering=0) as f:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    f.write(bytes(size))
            except OSError:
                pass
    return lambda: os.unlink(name)


def test_store_full_while_streaming():
    """The answer cannot be kept: nothing of it is acted on, and it is asked for again once there is room."""
    with Place() as place, mounted(place.home, "size=1m"):
        make_room = []

        def answer(n, body):
            del body
            said = chunks(call("bash", {"command": "echo x >> count"}, words="w" * 300) if n == 0 else text("Finished."))
            if n == 0 and not make_room:
                return lambda h: (h.sse(said[:3], end=False), make_room.append(fill(place.home)), h.sse_more(said[3:]))
            return said
        with Mock(lambda n, body: (lambda a: a if callable(a) else lambda h: h.sse(a))(answer(n, body))) as mock:
            big = "p" * 20000
            out = place.rein("exec", *mock.options(), "--mode", "open", big)
            one_sentence(out, 1, "is paused")
            check(not os.path.exists(place.path("count")), "a call ran whose answer was not kept")
            one_sentence(place.rein("resume", "--last"), 1, "full")
            make_room[0]()
            out = place.rein("resume", "--last")
            check(out.returncode == 0 and place.read("count") == b"x\n" and not mock.refused, out)
        check(place.rein("log", "verify", "--last").returncode == 0)


def test_store_full_while_recovering():
    """A rein that was killed finds no room when it comes back: it says so, changes nothing, and goes on later."""
    with Place() as place, mounted(place.home, "size=1m"):
        model = place.script('call bash {"command": "echo x >> count; sleep 60"}\n--\nsay Finished.\n')
        p = place.start("exec", "--mode", "open", "--model", model, "go")
        while not os.path.exists(place.path("count")):
            time.sleep(0.01)
        p.kill()
        p.communicate(timeout=20)
        before = len(place.events())
        make_room = fill(place.home)
        for _ in range(3):
            one_sentence(place.rein("resume", "--last"), 1, "full")
        check(place.rein("show", "--last").returncode == 0 and len(place.events()) == before, "it cannot be looked at")
        make_room()
        check(place.rein("resume", "--last").returncode == 3)
        out = place.rein("resume", "--last", "--decide", "all=done")
        check(out.returncode == 0 and place.read("count") == b"x\n", out)


def test_no_room_for_output():
    """What a command writes is lost then, and that is said; the command is not."""
    with Place() as place, mounted(os.path.join(place.home, "spool"), "size=64k"):
        out = exec_script(place, 'call bash {"command": "seq 1 100000; echo done > here; exit 3"}', 'call bash {"command": "echo again"}',
                          "say Finished.")
        check(out.returncode == 0, out)
        first, second = [b for _, b in story(place.events(), "result")]
        check(first["exit"] == 3 and os.path.exists(place.path("here")) and "left out" in first["text"], first)
        check("only the ends were kept" in first["text"], first)
        check(second["outcome"] == "error" and "no room" in second["text"], second)


def test_store_on_full_disk():
    with Place() as place, mounted(place.home, "size=16k"):
        one_sentence(exec_script(place, "say hi"), 1, "the session store")


def test_store_read_only():
    with Place() as place, mounted(place.home, "size=10m"):
        check(exec_script(place, "say hi").returncode == 0)
        remount(place.home, "ro")
        one_sentence(exec_script(place, "say hi"), 1, "ead-only")
        one_sentence(place.rein("resume", "--last", "more"), 1, "ead-only")
        remount(place.home, "rw")
        check(place.rein("resume", "--last").returncode == 0)


def test_workspace_full():
    with Place() as place, mounted(place.work, "size=100k"):
        out = exec_script(place, 'call bash {"command": "head -c 200000 /dev/zero > fill; true"}',
                          'call write {"path": "new.txt", "content": "' + "x" * 20000 + '"}', "say Finished.")
        check(out.returncode == 0, out)
        result = story(place.events(), "result")[-1][1]
        check(result["outcome"] == "error" and "No space left" in result["text"] and "nothing was changed" in result["text"], result)
        check(sorted(os.listdir(place.work)) == ["fill"], os.listdir(place.work))


def test_giant_file():
    """A file of 1 GB is read in parts, in constant memory; it is too large to edit."""
    with Place() as place:
        with open(place.path("giant"), "wb") as f:
            f.write(b"first line\nsecond line\n")
            f.truncate(1 << 30)
            f.seek(1 << 30)
            f.write(b"\nlast line\n")
        with open(place.path("lines"), "wb") as f:
            for _ in range(64):
                f.write(b"0123456789abcde\n" * (1 << 16))
        out = exec_script(place, 'call read {"path": "giant"}', 'call read {"path": "lines", "start": 4000000, "count": 2}',
                          'call edit {"path": "lines", "edits": [{"old": "a", "new": "b"}]}', "say Finished.")
        check(out.returncode == 0, out)
        giant, lines, edit = [b for _, b in story(place.events(), "result")]
        check("binary" in giant["text"], giant)
        check(lines["text"].startswith("0123456789abcde\n0123456789abcde\n[lines 4000000-4000001"), lines)
        check("16 MiB" in edit["text"], edit)


def test_no_permission():
    if os.getuid() == 0 and subprocess.run(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "true"], stderr=subprocess.DEVNULL, check=False).returncode:
        raise Skip("no other user can be had here, and root may read everything")
    with Place() as place:
        place.write("secret.txt", "x\n")
        os.chmod(place.path("secret.txt"), 0)
        os.mkdir(place.path("locked"))
        os.chmod(place.path("locked"), 0o555)
        script = place.script('call read {"path": "secret.txt"}\ncall write {"path": "locked/new.txt", "content": "x"}\n--\n'
                              "say Finished.\n")
        command = [place.binary, "exec", "--mode", "open", "--model", script, "go"]
        if os.getuid() == 0:
            os.mkdir(place.home)
            for path in (place.top, place.work, place.home, script.partition("/")[2], script.partition("/")[2] + ".requests"):
                os.chown(path, 65534, 65534)
            command = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"] + command
        out = subprocess.run(command, cwd=place.work, env=place.env, stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
                             check=False)
        check(out.returncode == 0, out)
        texts = [b["text"] for _, b in story(place.events(), "result")]
        check(len(texts) == 2 and all("Permission denied" in t for t in texts), texts)


def test_outside_the_workspace():
    """Nothing leads out: not an absolute path, not .., not a link, not a link in the middle."""
    with Place() as place:
        with open(os.path.join(place.top, "outside"), "w", encoding="utf-8") as f:
            f.write("secret\n")
        os.symlink(os.path.join(place.top, "outside"), place.path("link"))
        os.symlink(place.top, place.path("dir"))
        os.symlink("../outside", place.path("relative"))
        paths = [os.path.join(place.top, "outside"), "../outside", "link", "dir/outside", "relative", "a/../../outside"]
        calls = [f'call read {{"path": "{p}"}}\ncall write {{"path": "{p}", "content": "x"}}' for p in paths]
        out = exec_script(place, *calls, "say Finished.")
        check(out.returncode == 0, out)
        results = [b for _, b in story(place.events(), "result")]
        check(len(results) == 2 * len(paths) and all(r["outcome"] == "error" for r in results), results)
        check("secret" not in "".join(r["text"] for r in results))
        with open(os.path.join(place.top, "outside"), encoding="utf-8") as f:
            check(f.read() == "secret\n")


def test_odd_files():
    with Place() as place:
        os.mkfifo(place.path("fifo"))
        os.mkdir(place.path("folder"))
        place.write("empty", "")
        place.write("latin1", b"caf\xe9\n")
        out = exec_script(place, *[f'call read {{"path": "{n}"}}' for n in ("fifo", "folder", "empty", "latin1", "")], "say ok")
        check(out.returncode == 0, out)
        texts = [b["text"] for _, b in story(place.events(), "result")]
        for text, want in zip(texts, ("not a regular file", "it is empty", "it is empty", "café\n[in WINDOWS-1252", "is empty")):
            check(want in text, want, text)


def test_workspaces_refused():
    with Place() as place:
        model = place.script("say hi")
        os.makedirs(place.env["HOME"], exist_ok=True)
        for folder in ("/", place.env["HOME"], place.top, place.home):
            os.makedirs(folder, exist_ok=True)
            out = place.rein("exec", "-C", folder, "--model", model, "go")
            one_sentence(out, 2, "cannot be a workspace")


def test_a_directory_swapped_for_a_link():
    """While files are written into a folder it is exchanged for a link that leads out, 10,000 times and more: none ever arrives there."""
    libc = ctypes.CDLL(None, use_errno=True)
    calls = "\n--\n".join("\n".join(f'call write {{"path": "d/f{n}-{i}", "content": "x"}}' for i in range(10)) for n in range(40))
    with Place(RELEASE) as place:
        outside = os.path.join(place.top, "outside")
        os.mkdir(outside)
        os.mkdir(place.path("d"))
        os.symlink(outside, place.path("l"))
        swaps, done = [0], threading.Event()

        def swap():
            d, link = place.path("d").encode(), place.path("l").encode()
            while not done.is_set() or swaps[0] < 10000:
                if libc.syscall(316, -100, d, -100, link, 2) == 0:      # renameat2, RENAME_EXCHANGE
                    swaps[0] += 1
        swapper = threading.Thread(target=swap)
        swapper.start()
        out = place.rein("exec", "--mode", "open", "--max-steps", "100", "--model", place.script(calls + "\n--\nsay done\n"), "go", timeout=120)
        done.set()
        swapper.join()
        check(out.returncode == 0, out)
        outcomes = [b["outcome"] for _, b in story(place.events(), "result")]
        check(len(outcomes) == 400 and "ok" in outcomes and "error" in outcomes, {o: outcomes.count(o) for o in outcomes})
        check(os.listdir(outside) == [], "it won", os.listdir(outside))
        print(f"tool/faults: {swaps[0]} swaps, {outcomes.count('ok')} of {len(outcomes)} files written, none outside", flush=True)


def test_modes_that_cannot_be_kept():
    """auto and plan without their box is peer/no_box_no_mode."""
    with Place() as place:
        model = place.script("say hi")
        one_sentence(place.rein("exec", "--mode", "wild", "--model", model, "go"), 2, "no mode")


def test_closed_descriptors():
    """Without standard input, output and error nothing is written into a file that took their place."""
    with Place() as place:
        model = place.script("say hi")
        out = subprocess.run(f"{place.binary} exec --model {model} go <&- >&- 2>&-", shell=True, cwd=place.work, env=place.env, check=False)
        check(out.returncode == 0, out)
        check(place.rein("log", "verify", "--last").returncode == 0)


def test_many_at_once():
    """Twenty first starts on one new store."""
    with Place() as place:
        model = place.script('call bash {"command": "echo x"}\n--\nsay ok\n')
        runs = [place.start("exec", "--mode", "open", "--model", model, "go") for _ in range(20)]
        for run in runs:
            _, err = run.communicate(timeout=60)
            check(run.returncode == 0, err)
        check(len(place.rein("sessions", "--json").stdout.splitlines()) == 20)


def test_workspace_gone():
    with Place() as place:
        check(exec_script(place, "say hi").returncode == 0)
        os.rename(place.work, place.work + "-moved")
        out = subprocess.run([place.binary, "resume", "--last", "more"], cwd="/", env=place.env, capture_output=True, check=False)
        one_sentence(out, 2, "No such file or directory")
        os.rename(place.work + "-moved", place.work)


def test_usage():
    with Place() as place:
        for args, words in ((["exec", "go"], "--model"), (["exec", "--model"], "needs a value"), (["fly"], "no command"),
                            (["resume"], "--last"), (["resume", "zzz"], "no session"), (["exec", "--max-steps", "0", "x"], "whole number"),
                            (["exec", "--model", "x/y", "a", "b"], "one prompt"), (["exec", "--model", "x/y", "a"], "--base-url"),
                            (["exec", "--wat"], "no option"), ([], "rein exec")):
            one_sentence(place.rein(*args), 2, words)


def test_huge_output():
    """Output is bounded in memory, in context and on disk, and its rest can be read."""
    with Place() as place:
        out = exec_script(place, 'call bash {"command": "seq 1 2000000"}', 'call read {"path": "output:4.1", "start": 1000000, "count": 2}',
                          'call bash {"command": "yes | head -c 200000000"}', "say Finished.")
        check(out.returncode == 0, out)
        first, page, endless = [b for _, b in story(place.events(), "result")]
        check(first["text"].startswith("1\n2\n") and "2000000\n[exit status 0]" in first["text"], first["text"][-200:])
        check("bytes left out; read the path output:4.1" in first["text"] and len(first["text"]) < 17000)
        check(page["text"].startswith("1000000\n1000001\n"), page)
        check(endless["bytes"] == 200000000 and "only the ends were kept" in endless["text"])
        spool = sum(os.path.getsize(os.path.join(place.home, "spool", f)) for f in os.listdir(os.path.join(place.home, "spool")))
        check(spool < 90 << 20, spool)


def test_timeout_of_a_command():
    with Place() as place:
        out = exec_script(place, 'call bash {"command": "echo begun; (trap \'\' TERM; sleep 300) & sleep 300", "timeout": 1}', "say ok")
        check(out.returncode == 0, out)
        result = story(place.events(), "result")[0][1]
        check("begun" in result["text"] and "longer than 1 s" in result["text"] and result["outcome"] == "error", result)


def test_supervisor_of_a_command_killed():
    """The call is an error that says so, and nothing of the command is left."""
    with Place() as place:
        out = exec_script(place, 'call bash {"command": "sleep 1001 & sleep 0.1; kill -9 $PPID; sleep 1000"}', "say ok")
        check(out.returncode == 0, out)
        result = story(place.events(), "result")[0][1]
        check(result["outcome"] == "error" and "supervisor was killed" in result["text"], result)
        for _ in range(200):
            if not left_running(place):
                return
            time.sleep(0.02)
        raise AssertionError(f"it goes on: {left_running(place)}")


def test_background_output_does_not_hold():
    """A process that keeps the pipe open does not keep the call open."""
    with Place() as place:
        out = exec_script(place, 'call bash {"command": "(sleep 300 &) ; echo done"}', "say ok")
        check(out.returncode == 0, out)
        result = story(place.events(), "result")[0][1]
        check(result["text"].startswith("done\n") and "left running" in result["text"] and result["ms"] < 5000, result)


def test_damaged_log_is_found():
    with Place() as place:
        check(exec_script(place, "say hi").returncode == 0)
        import sqlite3
        db = sqlite3.connect(os.path.join(place.home, "rein.db"))
        db.execute("UPDATE event SET body = replace(body, 'go', 'no') WHERE kind = 4")
        db.commit()
        db.close()
        out = place.rein("log", "verify", "--last")
        one_sentence(out, 1, "does not match its hash")
        one_sentence(place.rein("resume", "--last", "more"), 1, "does not match its hash")


def test_newer_store_is_refused():
    with Place() as place:
        check(exec_script(place, "say hi").returncode == 0)
        import sqlite3
        db = sqlite3.connect(os.path.join(place.home, "rein.db"))
        db.execute("PRAGMA user_version = 99")
        db.commit()
        db.close()
        one_sentence(exec_script(place, "say hi"), 1, "newer rein")


def test_lease_is_fenced():
    """A rein whose lease has passed on writes nothing any more."""
    with Place() as place:
        import sqlite3
        import time
        script = place.script('call bash {"command": "touch begun; while [ ! -e go ]; do sleep 0.01; done"}\n--\nsay Finished.\n')
        p = place.start("exec", "--mode", "open", "--model", script, "go")
        while not os.path.exists(place.path("begun")):
            time.sleep(0.01)
        db = sqlite3.connect(os.path.join(place.home, "rein.db"))
        db.execute("UPDATE lease SET epoch = epoch + 1")
        db.commit()
        before = db.execute("SELECT count(*) FROM event").fetchone()
        place.write("go", "")
        _, err = p.communicate(timeout=20)
        check(p.returncode == 1 and b"another rein drives this session" in err, p.returncode, err)
        check(db.execute("SELECT count(*) FROM event").fetchone() == before, "a late write")
        db.close()
