"""Kills rein at every durable call of a scenario and sees that it goes on with nothing lost and nothing done twice.

A scenario is a script, a starting workspace and what each call does. The run is counted once without harm; then it is killed
before or after call N, resumed until it is done (a call in doubt is skipped, an approval given), and judged:

  1. the log is whole, and every event that was printed before the kill is still in it;
  2. every command's line stands in the file at most once; `ok` means that it is there, `not_done` that it is not;
  3. the files are what the edits and writes with outcome `ok` make of them, and nothing else;
  4. no file tool is ever in doubt, and at most one call in all;
  5. no temporary file and no process is left.
"""
import contextlib
import json
import mmap
import os
import random
import subprocess
import time

from lib.mock import Mock, calls, text
from lib.rein import RELEASE, TOP, Place, check

PRELOAD = os.path.join(TOP, "build-test", "test", "crash.so")
TRIES = 8


def bash(n):
    return ("bash", {"command": f"echo {n} >> count; echo out {n}"})


def edit(old, new):
    return ("edit", {"path": "a.txt", "edits": [{"old": old, "new": new}]})


READ = ("read", {"path": "a.txt"})
START = "one\ntwo\nthree\nfour\n"

SCENARIOS = {
    "edits": {"answers": [[READ], [edit("one", "1")], [edit("two", "2"), edit("three", "3")]], "mode": "open"},
    "writes": {"answers": [[("write", {"path": "new/deep.txt", "content": "fresh\n"})], [READ],
                           [("write", {"path": "a.txt", "content": "all new\n"})]], "mode": "open"},
    "commands": {"answers": [[bash(1)], [bash(2), bash(3)]], "mode": "open"},
    "readers": {"answers": [[READ, READ, READ, ("read", {"path": "none"})], [READ, bash(1), READ]], "mode": "open"},
    "approval": {"answers": [[edit("one", "1"), bash(1)], [bash(2)]], "mode": "ask"},
    "http": {"answers": [[READ, READ], [edit("one", "1"), bash(1)], [edit("two", "2")]], "mode": "open", "http": True},
}


def script_of(scenario):
    answers = ["\n".join(f"call {name} {json.dumps(args)}" for name, args in calls) for calls in scenario["answers"]]
    return "\n--\n".join(answers + ["say Finished."]) + "\n"


class Violation(Exception):
    pass


def must(condition, *what):
    if not condition:
        raise Violation(" ".join(str(w) for w in what))


class Count:
    """The shared memory of the preload."""

    def __init__(self, place):
        self.path = os.path.join(place.top, "map")
        with open(self.path, "wb") as f:
            f.write(bytes(64))

    def env(self, at=None):
        more = {"CRASH_AT": at} if at else {}
        return {"LD_PRELOAD": PRELOAD, "CRASH_MAP": self.path, **more}

    def values(self):
        with open(self.path, "rb") as f:
            data = mmap.mmap(f.fileno(), 64, prot=mmap.PROT_READ)
            return [int.from_bytes(data[i:i + 8], "little") for i in (0, 8, 16)]


@contextlib.contextmanager
def model_of(place, scenario):
    """The options that name the scenario's model: a script, or a server on loopback that is strict about requests."""
    if not scenario.get("http"):
        yield ["--model", place.script(script_of(scenario))]
        return
    with Mock([calls(*answer) for answer in scenario["answers"]] + [text("Finished.")]) as mock:
        yield mock.options()
        must(not mock.refused, "an illegal request:", mock.refused)


def first_run(place, scenario, model, env=None):
    place.write("a.txt", START)
    return place.rein("exec", "--json", "--mode", scenario["mode"], *model, "go", env=env)


def resume(place, status, stats, env=None):
    """One more run; what waits is answered."""
    more = []
    if status == 3:
        events = place.events()
        asked = [e["body"] for e in events if e["kind"] == "ask"]
        answered = {(e["body"]["call"], e["cause"]) for e in events if e["kind"] == "reply"}
        open_asks = [(b, e) for b, e in ((e["body"], e) for e in events if e["kind"] == "ask")
                     if (b["call"], e["seq"]) not in answered]
        must(asked, "status 3 without a question")
        doubt = [b for b, _ in open_asks if b["kind"] == "decide"]
        if doubt:
            stats["unknown"] += len(doubt)
            must(len(doubt) == 1, "more than one call in doubt")
            must(doubt[0]["about"].startswith("bash"), "a file tool in doubt:", doubt[0])
            more = ["--decide", "all=skip"]
        else:
            more = ["--answer", "all=yes"]
    return place.rein("resume", "--last", "--json", *more, env=env)


def judge(place, scenario, acked, stats):
    out = place.rein("log", "verify", "--last")
    must(out.returncode == 0, "log verify:", out.stderr.decode())
    events = {e["seq"]: e for e in place.events()}
    for e in acked:
        must(events.get(e["seq"], {}).get("hash") == e["hash"], "an event that was told is lost:", e)
    answers = [e for e in events.values() if e["kind"] == "answer"]
    results = {}
    for e in events.values():
        if e["kind"] == "result":
            must(e["body"]["call"] not in results, "two results for", e["body"]["call"])
            results[e["body"]["call"]] = e["body"]
    want = {"a.txt": START}
    lines = place.read("count").decode().split() if os.path.exists(place.path("count")) else []
    for answer, calls in zip(answers, scenario["answers"]):
        for i, (name, args) in enumerate(calls):
            result = results.get(f"{answer['seq']}.{i + 1}")
            must(result, "a call without a result")
            outcome = result["outcome"]
            stats[outcome] = stats.get(outcome, 0) + 1
            if name == "bash":
                n = lines.count(args["command"].split()[1])
                must(n <= 1, "a command ran twice")
                must(not (outcome == "ok" and n == 0), "done, and not there")
                must(not (outcome == "not_done" and n == 1), "not done, and there")
            elif name == "edit" and (outcome == "ok" or "may undo the change" in result["text"]):
                e = args["edits"][0]
                want["a.txt"] = want["a.txt"].replace(e["old"], e["new"])
            elif name == "write" and (outcome == "ok" or "may undo the change" in result["text"]):
                want[args["path"]] = args["content"]
            elif name != "read":
                must(outcome in ("not_done", "error"), name, "has outcome", outcome)
    files = {}
    for folder, _, names in os.walk(place.work):
        for name in names:
            path = os.path.relpath(os.path.join(folder, name), place.work)
            if path != "count":
                files[path] = place.read(path).decode()
    must(files == want, "files are", files, "and should be", want)


def left_running(place):
    for pid in os.listdir("/proc"):
        try:
            if pid.isdigit() and os.readlink(f"/proc/{pid}/cwd").startswith(place.work):
                return pid
        except OSError:
            pass
    return None


def kill_point(scenario, at, second, stats, binary=RELEASE):
    """One kill, maybe a second one while recovering, and the way to the end."""
    with Place(binary) as place, model_of(place, scenario) as model:
        out = first_run(place, scenario, model, Count(place).env(at))
        acked = [json.loads(l) for l in out.stdout.decode().splitlines(True) if l.endswith("\n")]
        killed = out.returncode == -9
        status = out.returncode
        for n in range(TRIES):
            if status == 0:
                break
            env = Count(place).env(second) if second and n == 0 else None
            out = resume(place, status, stats, env)
            if out.returncode == 2 and b"no session" in out.stderr:
                must(not acked, "the session is lost")
                out = first_run(place, scenario, model)
            acked += [json.loads(l) for l in out.stdout.decode().splitlines(True) if l.endswith("\n")]
            must(out.returncode in (0, 3, -9), "status", out.returncode, out.stderr.decode())
            status = out.returncode
        must(status == 0, "not done after", TRIES, "runs")
        judge(place, scenario, acked, stats)
        for _ in range(100):
            if not left_running(place):
                break
            time.sleep(0.02)
        must(not left_running(place), "a process is left")
        return killed


ERRORS = {"EIO": 5, "ENOSPC": 28, "EMFILE": 24, "ENOMEM": 12, "EINTR": 4}


def error_point(scenario, spec, stats, binary=RELEASE):
    """One call fails, or all from one on; then the world is well again. Each run ends by itself with a sentence and a status that is
    defined, and the session goes on."""
    with Place(binary) as place, model_of(place, scenario) as model:
        out = first_run(place, scenario, model, Count(place).env(spec))
        for _ in range(TRIES):
            must(out.returncode in (0, 1, 3, 5), "status", out.returncode, out.stderr.decode())
            must(out.returncode == 0 or b"rein: " in out.stderr, "no sentence:", out.stderr.decode())
            if out.returncode == 0:
                break
            out = resume(place, out.returncode, stats)
            if out.returncode == 2 and b"no session" in out.stderr:
                out = first_run(place, scenario, model)
        must(out.returncode == 0, "it does not go on:", out.stderr.decode())
        judge(place, scenario, [], stats)


def error_sweep(name, points, seed, binary=RELEASE):
    """Like sweep(), with errors in place of kills. Returns (points, stats)."""
    scenario = SCENARIOS[name]
    total = count_points(scenario, binary)
    every = [f"{n}:{e}" for n in range(1, total + 1) for e in (*ERRORS.values(), "short")]
    # EINTR that never ends is no error of this world: whoever tries again on it, as one should, never comes back.
    every += [f"{n}+:{e}" for n in range(1, total + 1) for e in ERRORS.values() if e != ERRORS["EINTR"]]
    chosen = every if points is None else random.Random(seed).sample(every, min(points, len(every)))
    stats = {"unknown": 0}
    for spec in chosen:
        try:
            error_point(scenario, spec, stats, binary)
        except (Violation, subprocess.TimeoutExpired, json.JSONDecodeError, AssertionError) as e:
            raise Violation(f"{name}, error {spec} of {total} calls: {e}") from e
    return len(chosen), stats


def count_points(scenario, binary=RELEASE):
    with Place(binary) as place, model_of(place, scenario) as model:
        count = Count(place)
        out = first_run(place, scenario, model, count.env())
        check(out.returncode in (0, 3), out.stderr.decode())
        total, on_loop, _ = count.values()
        check(on_loop == 0, on_loop, "syncs on the loop's thread")
        return total


def sweep(name, points, seed, binary=RELEASE):
    """Runs `points` kills of a scenario (all of them: None). Returns (points, kills, stats); raises Violation."""
    scenario = SCENARIOS[name]
    total = count_points(scenario, binary)
    every = [(n, how) for n in range(1, total + 1) for how in ("before", "after")]
    rng = random.Random(seed)
    chosen = every if points is None else rng.sample(every, min(points, len(every)))
    stats = {"unknown": 0}
    kills = 0
    for n, how in chosen:
        second = f"{rng.randint(1, 40)}:{rng.choice(('before', 'after'))}" if rng.random() < 0.3 else None
        try:
            kills += kill_point(scenario, f"{n}:{how}", second, stats, binary)
        except (Violation, subprocess.TimeoutExpired, json.JSONDecodeError, AssertionError) as e:
            raise Violation(f"{name}, killed {how} call {n} of {total}, then {second}: {e}") from e
    return len(chosen), kills, stats
