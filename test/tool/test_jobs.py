"""Background jobs: they live on when rein is killed, are taken up again, and end with the session unless told to stay."""
import os
import signal
import socket
import subprocess
import time

from crash.scenarios import left_running
from lib.rein import RELEASE, TOP, Place, check, story
from lib.script import call, results, script

BOX = os.path.join(TOP, "build", "rein-box")
TICK = '{"command": "while :; do echo tick; sleep 0.02; done", "background": true%s}'


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def gone(pid, seconds=5):
    for _ in range(int(seconds / 0.02)):
        if not alive(pid):
            return True
        time.sleep(0.02)
    return False


def wait_for(what, seconds=20):
    for _ in range(int(seconds / 0.01)):
        if what():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen")


def killed_with_a_job(place, stay="", binary_args=()):
    """A rein that was killed after it had started a job. Returns the job's process."""
    model = script(place, "call bash " + TICK % stay, call("bash", command="touch there; sleep 60"), call("job", action="look"), "say ok")
    p = place.start("exec", "--mode", "open", "--model", model, *binary_args, "go")
    wait_for(lambda: os.path.exists(place.path("there")))
    p.send_signal(signal.SIGKILL)
    p.communicate(timeout=20)
    return results(place)[0]["job"]["pid"]


def test_adopted_after_a_kill():
    with Place() as place:
        pid = killed_with_a_job(place)
        time.sleep(0.2)
        check(alive(pid), "the job has ended with rein")
        out = place.rein("resume", "--last", "--decide", "all=skip")
        check(out.returncode == 0, out)
        looked = results(place)[-1]
        check(looked["text"].count("tick\n") > 10 and looked["text"].endswith("[runs]"), looked)
        jobs = [b for _, b in story(place.events(), "job")]
        check(jobs[0]["runs"] and jobs[0]["pid"] == pid and not jobs[-1]["runs"] and "session ended" in jobs[-1]["why"], jobs)
        check(gone(pid), "the job outlives its session")


def test_stays_when_told_to():
    with Place() as place:
        model = script(place, "call bash " + TICK % ', "stay": true', "say ok", call("job", action="kill"), "say ended")
        check(place.rein("exec", "--mode", "open", "--model", model, "go").returncode == 0)
        pid = results(place)[0]["job"]["pid"]
        time.sleep(0.2)
        check(alive(pid), "it did not stay")
        check(place.rein("resume", "--last", "end it").returncode == 0)
        check(gone(pid) and results(place)[-1]["text"] == "Ended. It has ended.", results(place))


def test_ends_with_an_interrupted_session():
    with Place() as place:
        model = script(place, "call bash " + TICK % "", call("bash", command="touch there; sleep 60"))
        p = place.start("exec", "--mode", "open", "--model", model, "go")
        wait_for(lambda: os.path.exists(place.path("there")))
        p.send_signal(signal.SIGINT)
        p.communicate(timeout=20)
        check(p.returncode == 130 and gone(results(place)[0]["job"]["pid"]), p.returncode)


def test_interrupted_while_it_is_started():
    """^C just after a job was started: the log knows of it, so it ends with the session."""
    with Place() as place:
        command = ("echo $$ > pid; read -r _ _ _ up _ < /proc/$PPID/stat; read -r who < /proc/$up/comm; [ \"$who\" = rein ] && kill -INT $up;"
                   " sleep 1000")
        out = place.rein("exec", "--mode", "open", "--model", script(place, call("bash", command=command, background=True)), "go")
        check(out.returncode == 130, out)
        check(gone(int(place.read("pid"))), "it goes on")
        check(not [b for _, b in story(place.events(), "job")][-1]["runs"])


def test_goes_on_while_a_person_is_asked():
    with Place() as place:
        model = script(place, "call bash " + TICK % "", call("write", path="x", content="y"), call("job", action="look"), "say ok")
        check(place.rein("exec", "--mode", "ask", "--model", model, "go").returncode == 3)
        out = place.rein("resume", "--last", "--answer", "all=yes")
        check(out.returncode == 3 and b"job 4.1 goes on" in out.stderr, out)
        pid = results(place)[0]["job"]["pid"]
        check(alive(pid), "it has ended")
        out = place.rein("resume", "--last", "--answer", "all=yes")
        check(out.returncode == 0 and "tick" in results(place)[-1]["text"] and gone(pid), out)
        asks = [b["about"] for _, b in story(place.events(), "ask")]
        check(len(asks) == 2 and not any("job" in a for a in asks), "looking was asked about:", asks)


def test_supervisor_killed():
    """Nothing of the job is left, and it is said."""
    with Place() as place:
        model = script(place, "call bash " + TICK % "", call("bash", command="kill -9 $(pgrep -f 'rein-box.*--listen' | while read p;"
                       " do [ \"$(readlink /proc/$p/cwd)\" = \"$PWD\" ] && echo $p; done)"), call("job", action="look"),
                       call("job", action="send", text="x"), "say ok")
        out = place.rein("exec", "--mode", "open", "--model", model, "go")
        check(out.returncode == 0, out)
        first, _, looked, sent = results(place)
        check("its supervisor was killed" in looked["text"] and not looked["job"]["runs"], looked)
        check(sent["outcome"] == "error" and "cannot be reached" in sent["text"], sent)
        check(gone(first["job"]["pid"]), "its command is left")


def test_restart_of_the_machine():
    """The job is gone then; nothing is in doubt, and nobody is asked."""
    with Place(RELEASE) as place:
        pid = killed_with_a_job(place)
        os.kill(pid, signal.SIGKILL)
        check(gone(pid))
        boot = os.path.join(place.top, "boot")
        with open(boot, "w", encoding="ascii") as f:
            f.write("00000000-0000-4000-8000-000000000000\n")
        preload = {"LD_PRELOAD": os.path.join(TOP, "build-test", "test", "crash.so"), "CRASH_BOOT": boot}
        out = place.rein("resume", "--last", env=preload)
        check(out.returncode == 3, out)             # the command beside it was running
        asks = [b for _, b in story(place.events(), "ask")]
        check(len(asks) == 1 and "there" in asks[0]["about"], asks)


def test_input():
    with Place() as place:
        big = "x" * 50000
        model = script(place, call("bash", command="while read -r x; do echo ${#x}; done; echo over", background=True),
                       call("job", action="send", text=big + "\n"), call("job", action="look", wait=10, until="50000\n"),
                       call("job", action="send", text="y" * 70000), call("job", action="end_input"),
                       call("job", action="look", wait=10), call("job", action="send", text="late\n"), call("job", action="nonsense"),
                       call("job", action="look", wait=1000), call("job", action="look", id="7.7"), "say ok")
        out = place.rein("exec", "--mode", "open", "--model", model, "go")
        check(out.returncode == 0, out)
        _, sent, echoed, refused, closed, ended, late, nonsense, long, other = results(place)
        check(sent["text"] == "Sent. It runs." and echoed["text"] == "50000\n[runs]", sent, echoed)
        check(refused["outcome"] == "error" and "at most" in refused["text"], refused)
        check(closed["text"].startswith("Its input is closed.") and ended["text"] == "over\n[exit status 0]", ended)
        check(late["outcome"] == "error" and "cannot be reached" in late["text"], late)
        check("action has to be one of" in nonsense["text"] and "wait may be at most" in long["text"] and "no job" in other["text"], other)


def test_input_that_nobody_reads():
    """What a job does not read is bounded: then it is refused, and nothing hangs."""
    with Place() as place:
        model = script(place, call("bash", command="sleep 1000", background=True),
                       *[call("job", action="send", text="z" * 60000)] * 8, "say ok")
        out = place.rein("exec", "--mode", "open", "--model", model, "go")
        check(out.returncode == 0, out)
        outcomes = [r["outcome"] for r in results(place)]
        check(outcomes[:4] == ["ok"] * 4 and outcomes[-1] == "error" and "does not take it" in results(place)[-1]["text"], outcomes)


def test_output_is_shown_once():
    with Place() as place:
        model = script(place, call("bash", command="echo one; while read -r x; do echo $x; done", background=True),
                       call("job", action="send", text="two\n"), call("job", action="look", wait=5, until="two"),
                       call("job", action="look"), call("read", path="output:4.1"), call("job", action="list"), "say ok")
        check(place.rein("exec", "--mode", "open", "--model", model, "go").returncode == 0)
        first, _, second, third, whole, listed = results(place)
        check("one\n" in first["text"] and second["text"] == "two\n[runs]" and third["text"] == "[runs; it waits for input]", first, second, third)
        check(whole["text"] == "one\ntwo\n" and listed["text"] == "4.1 runs, 8 bytes written, 8 of them seen\n", whole, listed)


def test_fork_leaves_the_parents_job_alone():
    with Place() as place:
        model = script(place, "call bash " + TICK % ', "stay": true', "say ok", call("job", action="kill"), "say ended")
        check(place.rein("exec", "--mode", "open", "--model", model, "go").returncode == 0)
        pid = results(place)[0]["job"]["pid"]
        out = place.rein("fork", "--last", "end it")
        check(out.returncode == 0 and "there is no job" in results(place)[-1]["text"] and alive(pid), results(place))
        os.kill(pid, signal.SIGKILL)
        check(gone(pid))


def test_nobody_takes_it_up():
    """The supervisor itself: without an owner it ends the job after the grace, with one it does not."""
    with Place() as place:
        path = os.path.join(place.top, "sock")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(path)
        listener.listen(8)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.settimeout(10)
        spool = os.open(os.path.join(place.top, "spool"), os.O_RDWR | os.O_CREAT, 0o600)
        fds = (theirs.fileno(), spool, listener.fileno())
        p = subprocess.Popen([BOX, "--link", str(fds[0]), "--spool", str(fds[1]), "--cap", "1000", "--tail", "1000", "--timeout", "0",
                              "--listen", str(fds[2]), "--socket", path, "--grace", "400", "--", "/bin/sleep", "1000"], pass_fds=fds)
        theirs.close()
        listener.close()
        ours.send(b"g")
        check(ours.recv(1) == b"r")
        watch = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        watch.connect(path)
        watch.send(b"w")
        check(watch.recv(1) == b"o")
        ours.close()
        time.sleep(0.8)
        check(p.poll() is None, "it ended although it was watched")
        watch.close()
        check(p.wait(timeout=10) == 0)
        report = os.pread(spool, 4096, 0).decode()
        check("ended orphan" in report and not os.path.exists(path), report)
        os.close(spool)


def test_ended_though_it_cannot_be_talked_to():
    """Its socket is gone: the session's end, and kill, end it all the same."""
    with Place() as place:
        model = script(place, call("bash", command="sleep 1000 & sleep 1000", background=True), call("bash", command="rm $REIN_HOME/spool/*.sock"),
                       call("job", action="kill"), call("bash", command="sleep 1000", background=True),
                       call("bash", command="rm $REIN_HOME/spool/*.sock"), "say ok")
        out = place.rein("exec", "--mode", "open", "--model", model, "go")
        check(out.returncode == 0, out)
        check(results(place)[2]["outcome"] == "ok", results(place)[2])
        deadline = time.monotonic() + 5
        while left_running(place) and time.monotonic() < deadline:
            time.sleep(0.02)
        check(not left_running(place), "left running:", left_running(place))
        jobs = story(place.events(), "job")
        check(len(jobs) == 1 and not jobs[0][1]["runs"], jobs)
