"""Kills rein before and after every durable call of a scenario, or lets the call fail, and sees that it goes on with nothing lost
and nothing done twice. With a second kill while it recovers."""
import json
import os
import random
import shutil
import signal
import subprocess
import threading

from crash.scenarios import SCENARIOS, Count, Outcomes, Play, Violation, left_running, model_of, must, prepare
from lib.rein import RELEASE, Place, check

ERRORS = {"EIO": 5, "ENOSPC": 28, "EDQUOT": 122, "EMFILE": 24, "ENOMEM": 12, "EROFS": 30, "EINTR": 4}
TROUBLE = (Violation, subprocess.TimeoutExpired, json.JSONDecodeError, AssertionError)

fixed = threading.local()


def place_of(scenario, binary):
    """A fresh place; of a scenario that is expensive to begin, each thread's own one again and again."""
    if not scenario.get("fixed"):
        return Place(binary)
    if not hasattr(fixed, "top"):
        fixed.top = Place(binary).top
    return Place(binary, top=fixed.top)


def forget_places():
    if hasattr(fixed, "top"):
        shutil.rmtree(fixed.top, ignore_errors=True)
        shutil.rmtree(fixed.top + ".saved", ignore_errors=True)
        del fixed.top


def play(scenario, specs, stats, binary=RELEASE, allowed=(0, 3, 4, 130, -9), look=None):
    """One play, harmed as the specs say, and judged. Returns how often it was killed."""
    with place_of(scenario, binary) as place, model_of(place, scenario) as options:
        prepare(place, scenario)
        counts = [Count(place, spec) for spec in specs]
        it = Play(place, scenario, options, counts, stats, allowed)
        try:
            it.to_the_end()
            it.judge()
            it.judge_processes()
        except TROUBLE:
            for pid in left_running(place):
                os.kill(pid, signal.SIGKILL)
            raise
        if look:
            look(it, counts)
        return it.killed


def count_points(scenario, binary=RELEASE):
    """How many durable calls the unharmed play makes. None of them may hold the loop up at a disk."""
    found = []

    def look(it, counts):
        del it
        found.extend(counts[0].values())
    play(scenario, [None], Outcomes(), binary, look=look)
    check(found[1] == 0, found[1], "syncs on the loop's thread")
    return found[0]


def sweep(name, points, seed, binary=RELEASE):
    """Plays `points` kills of a scenario, of which a part is killed once more on the way back. None: before and after every call, each
    alone and with a second kill. Returns (points, kills, stats); raises Violation."""
    scenario = SCENARIOS[name]
    rng = random.Random(seed)
    total = count_points(scenario, binary)
    every = [f"{n}:{how}" for n in range(1, total + 1) for how in ("before", "after")]

    def second():
        return f"{rng.randint(1, 40)}:{rng.choice(('before', 'after'))}"

    if points is None:
        chosen = [[spec] for spec in every] + [[spec, second()] for spec in every]
    else:
        chosen = [[spec] + ([second()] if rng.random() < 0.3 else []) for spec in rng.sample(every, min(points, len(every)))]
    stats = Outcomes()
    kills = 0
    for specs in chosen:
        try:
            kills += play(scenario, specs, stats, binary)
        except TROUBLE as e:
            raise Violation(f"{name}, killed at {' and '.join(specs)} of {total} calls: {e}") from e
    forget_places()
    return len(chosen), kills, stats


def error_sweep(name, points, seed, binary=RELEASE):
    """The same with errors: one call fails, or all from one on; then the world is well again. Each run ends by itself with a sentence
    and a status that is defined, and the session goes on. Returns (points, stats)."""
    scenario = SCENARIOS[name]
    total = count_points(scenario, binary)
    every = [f"{n}:{e}" for n in range(1, total + 1) for e in (*ERRORS.values(), "short")]
    # EINTR that never ends is no error of this world: whoever tries again on it, as one should, never comes back.
    every += [f"{n}+:{e}" for n in range(1, total + 1) for e in ERRORS.values() if e != ERRORS["EINTR"]]
    chosen = every if points is None else random.Random(seed).sample(every, min(points, len(every)))
    stats = Outcomes()
    for spec in chosen:
        try:
            play(scenario, [spec], stats, binary, allowed=(0, 1, 3, 4, 5, 130))
        except TROUBLE as e:
            raise Violation(f"{name}, error {spec} of {total} calls: {e}") from e
    forget_places()
    return len(chosen), stats


def worker_sweep(name, points, seed, binary=RELEASE):
    """The process that works on files is killed, and rein is not: at each of its calls, before and after. Returns (points, stats)."""
    scenario = SCENARIOS[name]
    with Place(binary) as place, model_of(place, scenario) as options:
        prepare(place, scenario)
        log = os.path.join(place.top, "calls")
        Play(place, scenario, options, [Count(place, None, CRASH_LOG=log)]).to_the_end()
        with open(log, encoding="utf-8") as f:
            made = [line.split() for line in f]
    its = [call[0] for call in made if call[4] == "worker"]
    check(len(its) > 10, "it made hardly a call:", its)
    every = [f"{n}:{how}" for n in its for how in ("lost", "done")]
    chosen = every if points is None else random.Random(seed).sample(every, min(points, len(every)))
    stats = Outcomes()
    for spec in chosen:
        try:
            play(scenario, [spec], stats, binary, allowed=(0,))
        except TROUBLE as e:
            raise Violation(f"{name}, the worker killed at {spec} of {len(made)} calls: {e}") from e
    return len(chosen), stats


def recovery_sweep(name, points, seed, binary=RELEASE):
    """Killed somewhere, and then calls of the next run fail: the rein that recovers meets a full disk, or another trouble. Returns
    (points, stats)."""
    scenario = SCENARIOS[name]
    rng = random.Random(seed)
    total = count_points(scenario, binary)
    stats = Outcomes()
    for _ in range(points):
        error = rng.choice([e for e in ERRORS.values() if e != ERRORS["EINTR"]])
        specs = [f"{rng.randint(1, total)}:{rng.choice(('before', 'after'))}", f"{rng.randint(1, 40)}+:{error}"]
        try:
            play(scenario, specs, stats, binary, allowed=(0, 1, 3, 4, 5, 130, -9))
        except TROUBLE as e:
            raise Violation(f"{name}, killed and then in trouble, {' and '.join(specs)} of {total} calls: {e}") from e
    forget_places()
    return points, stats


def failed_syncs(name, binary=RELEASE):
    """Each fsync fails once, with EIO: what it was for is told to nobody as durable. Returns how many there are."""
    scenario = SCENARIOS[name]
    found = 0
    with Place(binary) as place, model_of(place, scenario) as options:
        prepare(place, scenario)
        log = os.path.join(place.top, "calls")
        Play(place, scenario, options, [Count(place, None, CRASH_LOG=log)]).to_the_end()
        with open(log, encoding="utf-8") as f:
            made = [line.split() for line in f]
        last = max(i for i, call in enumerate(made) if call[1].startswith("pwrite") and call[-1].endswith("-wal"))
        # What comes after the sync of the last commit is SQLite's checkpoint while it closes: it may fail, the log has all.
        syncs = [call for call in made[:last + 2] if call[1] in ("fsync", "fdatasync")]
    for n, what, *_, path in syncs:
        with Place(binary) as place, model_of(place, scenario) as options:
            prepare(place, scenario)
            args = ["exec", "--json", *Play(place, scenario, options).options, "go"]
            log = os.path.join(place.top, "calls")
            out = place.rein(*args, env=Count(place, f"{n}:5", CRASH_LOG=log).env())
            with open(log, encoding="utf-8") as f:
                calls = [line.split() for line in f][:int(n)]
            now = calls[-1]
            before = [c[1] for c in calls[:-1] if c[-1].endswith("-wal")]
            if now[-1].endswith("-wal") and before and not before[-1].startswith("pwrite"):
                continue                # nothing was written since the last one: it is the checkpoint's, a call earlier this time
            if now[1] != what or ("/work" in path) != ("/work" in now[-1]):
                continue                # two runs differ by a call now and then: it was another one this time
            events = [json.loads(line) for line in out.stdout.decode().splitlines()]
            failed = [e for e in events if e["kind"] == "result" and e["body"]["outcome"] == "error"]
            if what == "fdatasync" and path.endswith("/home"):
                continue                # SQLite's own sync of its directory, whose failure it ignores; rein syncs it again, and checks
            if "/work" not in now[-1]:
                must(out.returncode == 1 and b"rein: " in out.stderr, f"the {what} of {path} failed, and rein goes on: status",
                     out.returncode)
            else:
                must(failed, f"the {what} of {path} failed, and every call is ok")
            found += 1
    return found
