"""Commands that were cut off with rein: what can be told of them is told and settles them, and a person decides about the rest."""
import json
import os
import signal
import subprocess
import time

from crash.scenarios import Count
from lib.rein import RELEASE, TOP, Place, check, story


def git(place, *args):
    out = subprocess.run(["git", *args], cwd=place.work, env=dict(place.env, GIT_CONFIG_GLOBAL="/dev/null"), stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, check=True)
    return out.stdout.decode()


def repository(place, **hooks):
    git(place, "init", "-q", "-b", "main", ".")
    git(place, "config", "user.email", "a@example.org")
    git(place, "config", "user.name", "A")
    place.write("a", "1\n")
    git(place, "add", "a")
    git(place, "commit", "-q", "-m", "one")
    place.write("a", "2\n")
    for name, text in hooks.items():
        path = ".git/hooks/" + name.replace("_", "-")
        place.write(path, "#!/bin/sh\n" + text)
        os.chmod(place.path(path), 0o755)


def cut_off(place, command, *resume, env=None, ready=None):
    """Runs a command that hangs, kills rein, and goes on. Returns what the resume said, the result if there is one, and the question."""
    model = place.script("call bash " + json.dumps({"command": command}) + "\n--\nsay ok\n")
    p = place.start("exec", "--mode", "open", "--model", model, "go")
    spool = os.path.join(place.home, "spool")
    for _ in range(2000):
        names = os.listdir(spool) if os.path.isdir(spool) else []
        if names and b"running" in open(os.path.join(spool, names[0]), "rb").read(200) and (ready is None or ready()):
            break
        time.sleep(0.005)
    else:
        raise AssertionError("it did not start")
    time.sleep(0.05)
    p.send_signal(signal.SIGKILL)
    p.communicate(timeout=20)
    out = place.rein("resume", "--last", *resume, env=env)
    events = place.events()
    results = [b for _, b in story(events, "result")]
    asks = [b for _, b in story(events, "ask")]
    return out, results[0] if results else None, asks[0] if asks else None


def test_git_commit_that_was_made():
    """A hook hangs after the commit: it is done, and nobody is asked."""
    with Place() as place:
        repository(place, post_commit="sleep 60\n")
        out, result, ask = cut_off(place, "git commit -q -a -m 'two; and more'", ready=lambda: "two" in git(place, "log", "--oneline"))
        check(out.returncode == 0 and result["outcome"] == "ok" and not ask, out, result)
        check("taken effect" in result["text"] and "HEAD moved" in result["text"], result)


def test_git_commit_that_was_not_made():
    """A hook hangs before the commit: it is not done, and the lock that it left is named."""
    with Place() as place:
        repository(place, pre_commit="sleep 60\n")
        out, result, ask = cut_off(place, "git commit -q -a -m two", ready=lambda: os.path.exists(place.path(".git/index.lock")))
        check(out.returncode == 0 and result["outcome"] == "not_done" and not ask, out, result)
        check("HEAD is where it was" in result["text"] and "index.lock, which has to be removed" in result["text"], result)
        check(git(place, "log", "--oneline").count("\n") == 1)


def test_git_commit_of_someone_else():
    """HEAD moved, but not by a commit from where it was: no wrong `done`."""
    with Place() as place:
        repository(place, pre_commit="[ -z \"$OTHER\" ] && sleep 60; exit 0\n")

        def meanwhile():
            if not os.path.exists(place.path(".git/index.lock")):
                return False
            tree = git(place, "rev-parse", "HEAD^{tree}").strip()
            other = git(place, "commit-tree", tree, "-p", "HEAD", "-m", "other").strip()
            git(place, "update-ref", "-m", "not by that command", "HEAD", other)
            return True
        out, result, ask = cut_off(place, "git commit -q -a -m two", ready=meanwhile)
        check(out.returncode == 3 and not result and "HEAD moved" in ask["why"], out, result, ask)


def test_git_add():
    with Place() as place:
        repository(place)
        git(place, "config", "filter.slow.clean", "sleep 60")
        place.write(".gitattributes", "* filter=slow\n")
        out, result, ask = cut_off(place, "git add a", ready=lambda: os.path.exists(place.path(".git/index.lock")))
        check(out.returncode == 0 and result["outcome"] == "not_done" and not ask, out, result)


def test_more_than_git_is_in_doubt():
    """A commit with something behind it: what is known is said, and a person decides."""
    with Place() as place:
        repository(place)
        out, result, ask = cut_off(place, "git commit -q -a -m two && sleep 60", ready=lambda: "two" in git(place, "log", "--oneline"))
        check(out.returncode == 3 and not result and "HEAD moved" in ask["why"] and "index was changed" in ask["why"], ask)
        check(ask["known"]["started"] and ask["known"]["pid"] > 1 and b"HEAD moved" in out.stderr, out)


def test_restart_makes_no_wrong_done():
    with Place(RELEASE) as place:
        repository(place, post_commit="sleep 60\n")
        boot = os.path.join(place.top, "boot")
        with open(boot, "w", encoding="ascii") as f:
            f.write("00000000-0000-4000-8000-000000000000\n")
        out, result, ask = cut_off(place, "git commit -q -a -m two", ready=lambda: "two" in git(place, "log", "--oneline"),
                                   env={"LD_PRELOAD": os.path.join(TOP, "build-test", "test", "crash.so"), "CRASH_BOOT": boot})
        check(out.returncode == 3 and not result and ask["known"]["restarted"], out, ask)


def test_what_only_reads_is_not_in_doubt():
    for command in ("cat fifo", "cat 'fifo' -", "grep -c x fifo", 'wc "fifo"'):
        with Place() as place:
            os.mkfifo(place.path("fifo"))
            out, result, ask = cut_off(place, command)
            check(out.returncode == 0 and result["outcome"] == "not_done" and not ask, command, out, result)


def test_what_may_write_is_in_doubt():
    for command in ("cat fifo > out", "cat < fifo; touch x", "echo $(cat fifo; touch x)", 'echo "`cat fifo`"', "cat fifo | tee out",
                    "touch x; cat fifo", "cat fifo &\nwait", "A=1 cat fifo", "python3 -c 'open(\"fifo\").read()'", "sh -c 'cat fifo'",
                    "tail -f fifo >> out", "cat fifo\ntouch x", "find . -exec cat fifo ';'", "git diff --output=x /dev/null fifo; cat fifo"):
        with Place() as place:
            os.mkfifo(place.path("fifo"))
            out, result, ask = cut_off(place, command)
            check(out.returncode == 3 and not result and ask["kind"] == "decide", command, out, result)


def test_a_person_decides():
    for word, outcome, words in (("done", "ok", "A person says that it took effect"), ("skip", "unknown", "do not assume"),
                                 ("retry", "ok", "again\n[exit status 0]"), ("abort", None, "")):
        with Place() as place:
            command = "if [ -e once ]; then echo again; else touch once; echo before; sleep 60; fi"
            out, result, ask = cut_off(place, command, ready=lambda place=place: os.path.exists(place.path("once")))
            check(out.returncode == 3 and "before" in ask["why"] and b"before" in out.stderr, out)
            shown = place.rein("show", "--last").stdout.decode()
            check("in doubt" in shown and "before" in shown, shown)
            out = place.rein("resume", "--last", "--decide", f"{ask['call']}={word}")
            check(out.returncode == (1 if word == "abort" else 0), word, out)
            results = [b for _, b in story(place.events(), "result")]
            if outcome:
                check(len(results) == 1 and results[0]["outcome"] == outcome and words in results[0]["text"], word, results)
                check(word == "retry" or "before" in results[0]["text"], "what is known is not told:", results)


def test_a_wrong_word_decides_nothing():
    with Place() as place:
        out, _, ask = cut_off(place, "touch x; sleep 60")
        for arg in ("all=maybe", "nonsense", "99.1=done", f"{ask['call']}=yes"):
            out = place.rein("resume", "--last", "--decide", arg)
            check(out.returncode == 2 and b"rein: " in out.stderr, arg, out)
        check(place.rein("resume", "--last").returncode == 3)
        check(not story(place.events(), "reply", "result"), "something was decided")


def test_what_was_not_synced():
    """The disk did not take what a command wrote: the result says so; after a restart of the machine the model is told."""
    with Place(RELEASE) as place:
        preload = {"LD_PRELOAD": os.path.join(TOP, "build-test", "test", "crash.so")}
        model = place.script('call bash {"command": "echo x > x"}\n--\nsay ok\n--\nsay again\n--\nsay once more\n')
        for n in range(1, 200):
            with Place(RELEASE) as other:
                count = Count(other, f"{n}:5", CRASH_LOG=os.path.join(other.top, "calls"))
                out = other.rein("exec", "--mode", "open", "--model", model, "go", env=count.env())
                with open(os.path.join(other.top, "calls"), encoding="utf-8") as f:
                    if f.read().splitlines()[n - 1].split()[1] != "syncfs":
                        continue
                result, = [b for _, b in story(other.events(), "result")]
                check(out.returncode == 0 and result["outcome"] == "ok" and result["synced"] is False, out, result)
                check(other.rein("resume", "--last", "same boot").returncode == 0 and not story(other.events(), "steer"))
                boot = os.path.join(other.top, "boot")
                with open(boot, "w", encoding="ascii") as f:
                    f.write("00000000-0000-4000-8000-000000000000\n")
                for prompt in ("another boot", "the same again"):
                    check(other.rein("resume", "--last", prompt, env=dict(preload, CRASH_BOOT=boot)).returncode in (0, 5))
                steers = [b["text"] for _, b in story(other.events(), "steer")]
                check(len(steers) == 1 and "some of it may be missing" in steers[0], steers)
                return
        raise AssertionError("no syncfs was found")
