"""kill -9 and errors at durable calls: a sample in ./dev test, all of them with --full."""
import os
import random
import signal

from crash import inject, sweep
from crash.scenarios import SCENARIOS
from lib import totals
from lib.mock import Mock, call, chunks, text
from lib.rein import RELEASE, Place, check, need_live

FULL = False
SEED = 20261125
SLOW = ("long", "dying stream", "jobs", "refused")      # a third of a second and more a play


def kill(name):
    points, kills, stats = sweep.sweep(name, None if FULL else 15 if name in SLOW else 40, SEED)
    print(f"crash/kill: {name}: {points} points, {kills} kills with the second ones, 0 violations: {stats}", flush=True)
    check(kills >= points * 0.9, "points that did not fire:", points - kills)
    totals.add("kill points", points)
    totals.add("kills", kills)


def errors(name):
    points, stats = sweep.error_sweep(name, (300 if name in SLOW else None) if FULL else 2 if name in SLOW else 25, SEED)
    print(f"crash/errors: {name}: {points} errors, 0 violations: {stats}", flush=True)
    totals.add("errors", points)


def recovery(name):
    """Killed, and then in trouble while it recovers."""
    points, stats = sweep.recovery_sweep(name, 200 if FULL else 2 if name in SLOW else 10, SEED)
    print(f"crash/recovery: {name}: {points} pairs of a kill and errors, 0 violations: {stats}", flush=True)
    totals.add("kills with errors while recovering", points)


def add(what, name):
    def test():
        if SCENARIOS[name].get("mode") == "auto":
            need_live()
        what(name)
    globals()[f"test_{what.__name__}_{name.replace(' ', '_')}"] = test


for each in SCENARIOS:
    for way in (kill, errors, recovery):
        add(way, each)


def worker(name):
    """The process that works on files is lost, and rein goes on: what it was asked for is done once."""
    points, stats = sweep.worker_sweep(name, None if FULL else 25, SEED)
    print(f"crash/worker: {name}: {points} kills of the process that works on files, 0 violations: {stats}", flush=True)
    totals.add("kills of the process that works on files", points)


for each in ("edits", "writes", "patches"):
    add(worker, each)


def test_failed_syncs():
    """An fsync that failed is not tried again and believed."""
    for name in ("edits", "commands"):
        print(f"crash/failed syncs: {name}: {sweep.failed_syncs(name)}, none believed", flush=True)


def test_strace_agrees():
    points, kills, stats = inject.second_opinion("commands", None if FULL else 40, random.Random(SEED))
    print(f"crash/strace: commands: {points} points, {kills} kills, 0 violations: {stats}", flush=True)
    totals.add("kills by strace", kills)
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
