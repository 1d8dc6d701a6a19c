"""kill -9 at durable calls: a sample in ./dev test, all of them with --full; and planted defects that must be found."""
import os
import random
import signal

from crash import inject, sweep
from crash.scenarios import SCENARIOS, Violation
from lib.mock import Mock, call, chunks, text
from lib.rein import RELEASE, TOP, Place, check

FULL = False
SAMPLE = 40
SMALL = 10
SEED = 20261125


def run(name):
    sample = SMALL if SCENARIOS[name].get("fixed") or "dies" in SCENARIOS[name] else SAMPLE
    points, kills, stats = sweep.sweep(name, None if FULL else sample, SEED)
    print(f"crash/{name}: {points} points, {kills} kills, 0 violations, outcomes {stats}", flush=True)
    check(kills >= points * 0.9, "points that did not fire:", points - kills)


def test_kill_edits():
    run("edits")


def test_kill_writes():
    run("writes")


def test_kill_commands():
    run("commands")


def test_kill_readers():
    run("readers")


def test_kill_approval():
    run("approval")


def test_kill_http():
    run("http")


def test_kill_dying_stream():
    run("dying stream")


def test_kill_budget():
    run("budget")


def test_kill_cancel():
    run("cancel")


def test_kill_two_sessions():
    run("two sessions")


def test_kill_resumed_twice():
    run("resumed twice")


def test_kill_fork():
    run("fork")


def test_kill_jobs():
    run("jobs")


def test_kill_long():
    run("long")


def test_kill_migration():
    run("migration")


def test_errors():
    """The same calls fail instead: one alone, or all from one on."""
    for name in ("edits", "writes", "commands", "http", "budget", "fork", "migration"):
        points, stats = sweep.error_sweep(name, None if FULL else 30, SEED)
        print(f"crash/errors: {name}: {points} errors, 0 violations, outcomes {stats}", flush=True)


def test_errors_while_recovering():
    for name in ("edits", "commands", "jobs"):
        points, stats = sweep.recovery_sweep(name, 600 if FULL else 25, SEED)
        print(f"crash/recovery errors: {name}: {points} pairs, 0 violations, outcomes {stats}", flush=True)


def test_failed_syncs():
    """An fsync that failed is not tried again and believed."""
    for name in ("edits", "commands"):
        print(f"crash/failed syncs: {name}: {sweep.failed_syncs(name)}, none believed", flush=True)


def test_strace_agrees():
    points, kills, stats = inject.second_opinion("commands", None if FULL else 40, random.Random(SEED))
    print(f"crash/strace: commands: {points} points, {kills} kills, 0 violations, outcomes {stats}", flush=True)
    check(kills > points / 3, "strace hardly ever fired:", kills)


def test_killed_in_a_stream():
    """Killed after each chunk of an answer that calls a command: the answer is asked for again, the command runs once."""
    full = chunks(call("bash", {"command": "echo x >> count"}, words="I will count."))
    for keep in range(len(full)):
        with Place(RELEASE) as place:
            first = []

            def answer(n, body, keep=keep, first=first):
                if n == 0 and not first:
                    first.append(True)
                    return lambda h: (h.sse(full[:keep]), os.kill(p.pid, signal.SIGKILL))
                return call("bash", {"command": "echo x >> count"}) if n == 0 else text("ok")
            with Mock(answer) as mock:
                p = place.start("exec", *mock.options(), "--mode", "open", "go")
                p.communicate(timeout=20)
                out = place.rein("resume", "--last", "--decide", "all=skip")
                check(out.returncode == 0, keep, out)
                count = place.read("count") if os.path.exists(place.path("count")) else b""
                outcome = [e["body"]["outcome"] for e in place.events() if e["kind"] == "result"]
                check(len(outcome) == 1 and count in {"ok": (b"x\n",), "not_done": (b"",), "unknown": (b"", b"x\n")}[outcome[0]],
                      keep, outcome, count)
                check(not mock.refused, mock.refused)
    return len(full)


