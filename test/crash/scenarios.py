"""The sessions that are killed, failed and cut off from power: what a model asks for, how a person drives it, and the judge.

A scenario is a dict:

    answers   the model's answers, each a list of calls; an empty one says "Finished.", and so does what comes after the last
    mode      open unless said
    http      the answers come from a server on loopback, strict about requests, instead of a script; `dies`: the number of the
              answer whose stream breaks the first time
    refuses   the number of the answer that is refused the first time, for a key that is used too often
    budget    what all sessions may cost together, in dollars; see COST
    goals     what a person wants, one after the other: the arguments of a run, of which the last is the prompt. {options} are mode
              and model, {id} is the session of the goal before
    before    function(place): what is there at the beginning; with `fixed` it is made once and copied
    beside    function(place): another rein that runs at the same time; returns a function that ends and judges it

Play drives it to its end as a person would: what waits is answered, what is in doubt is skipped, what ended early is resumed.
judge() compares three things that do not know of each other: what rein printed, what its log says, and what the files hold.

  1. the log is whole, and every event that was printed is in it;
  2. a command's line stands in the file once for every `ok`, and at most once more for every outcome that leaves it open;
     `not_done` leaves none;
  3. the files are what the edits and writes with outcome `ok` make of them, and nothing else: no temporary file either;
  4. no file tool and no job is ever in doubt, and at most one call in all;
  5. in mode ask nothing acts without a yes to it, and nobody is asked the same twice;
  6. what the log counts never falls, and is what the answers add up to;
  7. no process is left;
  8. the ledger is whole, what it counts is at least what the server is owed and at most the budget, and no request leaves while
     the key has to wait.
"""
import atexit
import contextlib
import functools
import json
import mmap
import os
import shutil
import sqlite3
import tempfile
import threading
import time

from lib.mock import Mock, calls, chunks, text
from lib.rein import TOP, check

PRELOAD = os.path.join(TOP, "build-test", "test", "crash.so")
TRIES = 12
START = "one\ntwo\nthree\nfour\n"
EXEC = ["exec", "--json", "{options}", "go"]
COST = 1040000                          # what an answer costs, in billionths of a dollar: 1,000 tokens in and 10 out, at 1 and 4 dollars
LONG = 2500                             # turns of four events: 10,000 events


def bash(n):
    return ("bash", {"command": f"echo {n} >> count; echo out {n}"})


def edit(old, new):
    return ("edit", {"path": "a.txt", "edits": [{"old": old, "new": new}]})


def write(path, content):
    return ("write", {"path": path, "content": content})


def job(action, **more):
    return ("job", {"action": action, **more})


SERVER = ("bash", {"command": "sleep 0.1; echo 1 >> count; echo ready; while read -r x; do echo $x >> count; echo got $x; done",
                   "background": True})
SLEEPER = ("bash", {"command": "sleep 0.1; echo 4 >> count; echo ready; sleep 1000", "background": True})

READ = ("read", {"path": "a.txt"})

# The command interrupts rein, its grandparent, as ^C would, and is ended with it.
CANCEL = ("bash", {"command": "echo 2 >> count; read -r _ _ _ up _ < /proc/$PPID/stat; read -r who < /proc/$up/comm;"
                              " [ \"$who\" = rein ] && kill -INT $up; sleep 1000"})


HARNESS_LOCK = threading.Lock()


@functools.cache
def make_patch_harness():
    path = tempfile.mkdtemp(prefix="harness-", dir=os.path.join(TOP, "build-test"))
    atexit.register(shutil.rmtree, path, True)
    shutil.copytree(os.path.join(TOP, "harness", "coder"), path, dirs_exist_ok=True)
    with open(os.path.join(path, "harness.yaml"), "r+", encoding="utf-8") as f:
        changed = f.read().replace("write, edit,", "write, patch,")
        f.seek(0)
        f.write(changed)
    return path


def patch_harness():
    """The coding agent with patch in place of edit, as OpenAI's models get it."""
    with HARNESS_LOCK:
        return make_patch_harness()


# What each patch makes of the files, by its text.
PATCHES = {}


def patch(files, *lines):
    text = "\n".join(["*** Begin Patch", *lines, "*** End Patch"])
    PATCHES[text] = files
    return ("patch", {"patch": text})


THREE_PATCHES = [
    patch({"a.txt": lambda old: old.replace("one", "1"), "b.txt": lambda old: "first\nsecond\n"},
          "*** Update File: a.txt", "@@", "-one", "+1", " two", "*** Add File: b.txt", "+first", "+second"),
    patch({"c/d.txt": lambda old: "first\n2nd\n", "b.txt": lambda old: None, "a.txt": lambda old: old.replace("two", "2")},
          "*** Update File: b.txt", "*** Move to: c/d.txt", "@@", "-second", "+2nd", "*** Update File: a.txt", "@@", "-two", "+2"),
    patch({"c/d.txt": lambda old: None, "a.txt": lambda old: old.replace("three", "3")},
          "*** Delete File: c/d.txt", "*** Update File: a.txt", "@@", "-three", "+3"),
]


def done_session(place):
    """A session that is done, in a store as this rein makes it."""
    out = place.rein("exec", "--quiet", "--mode", "open", "--model", place.model, "before", timeout=300)
    check(out.returncode == 0, out.stderr.decode())


def old_store(place):
    """The same in a store of format 1."""
    done_session(place)
    db = sqlite3.connect(os.path.join(place.home, "rein.db"))
    db.executescript("BEGIN; CREATE TABLE old(session INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, pid INTEGER NOT NULL,"
                     " since INTEGER NOT NULL); INSERT INTO old SELECT session, epoch, pid, since FROM lease; DROP TABLE lease;"
                     " ALTER TABLE old RENAME TO lease; PRAGMA user_version = 1; COMMIT;")
    db.close()


def neighbour(place):
    """A second rein in the same workspace and store. Whatever happens to the first must not touch it."""
    script = os.path.join(place.top, "other")
    numbers = (11, 12, 13)
    with open(script, "w", encoding="utf-8") as f:
        f.write(script_text([[bash(n)] for n in numbers]))
    p = place.start("exec", "--quiet", "--mode", "open", "--model", "script/" + script, "beside")

    def end():
        _, err = p.communicate(timeout=60)
        must(p.returncode == 0, "the other session ended with", p.returncode, err.decode())
        lines = place.read("count").decode().split()
        must(all(lines.count(str(n)) == 1 for n in numbers), "the other session's effects are", lines)
    return end


SCENARIOS = {
    "edits": {"answers": [[READ], [edit("one", "1")], [edit("two", "2"), edit("three", "3")]]},
    "writes": {"answers": [[write("new/deep.txt", "fresh\n")], [READ], [write("a.txt", "all new\n")]]},
    "patches": {"answers": [[READ], *[[p] for p in THREE_PATCHES]],
                "goals": [["exec", "--json", "--harness", "{harness}", "{options}", "go"]]},
    "commands": {"answers": [[bash(1)], [bash(2), bash(3), bash(4)], [bash(5)]]},
    "readers": {"answers": [[READ, READ, READ, ("read", {"path": "none"})], [READ, bash(1), READ]]},
    "approval": {"answers": [[edit("one", "1"), bash(1)], [bash(2)]], "mode": "ask"},
    "http": {"answers": [[READ, READ], [edit("one", "1"), bash(1)], [edit("two", "2")]], "http": True},
    "dying stream": {"answers": [[bash(1)], [edit("one", "1")]], "http": True, "dies": 1},
    "refused": {"answers": [[bash(1)], [edit("one", "1")]], "http": True, "refuses": 1, "budget": 0.5,
                "goals": [["exec", "--json", "--budget", "team", "{options}", "go"]]},
    "budget": {"answers": [[bash(1)], [edit("one", "1")], [bash(2)]],
               "goals": [["exec", "--json", "--max-steps", "1", "{options}", "go"]]},
    "cancel": {"answers": [[bash(1), edit("one", "1")], [CANCEL, bash(3)], [bash(4)]]},
    "two sessions": {"answers": [[bash(1)], [edit("one", "1"), bash(2)], [bash(3)]], "beside": neighbour},
    "resumed twice": {"answers": [[bash(1)], [], [edit("one", "1")], [], [bash(2), bash(3)]],
                      "goals": [EXEC, ["resume", "{id}", "--json", "more"], ["resume", "{id}", "--json", "still more"]]},
    "boxed": {"answers": [[bash(1), edit("one", "1")], [("bash", {"command": "echo 2 >> count; mkdir .claude; echo x > .claude/x"}), bash(3)],
                          [bash(4)]], "mode": "auto"},
    "layered": {"answers": [[bash(1), edit("one", "1")], [bash(2), bash(3)], [edit("two", "2"), bash(4)]], "mode": "auto", "layered": True},
    "fork": {"answers": [[bash(1), edit("one", "1")], [bash(2)]], "goals": [EXEC, ["fork", "{id}@8", "--json", "another way"]]},
    "jobs": {"answers": [[SERVER], [job("look", wait=1, until="ready"), job("send", text="2\n")],
                         [job("look", wait=1, until="got 2"), job("send", text="3\n"), job("look", wait=1, until="got 3")], [job("kill")],
                         [SLEEPER], [job("look", wait=1, until="ready")]]},
    "long": {"answers": [[READ]] * LONG + [[], [bash(1), edit("one", "1")], [bash(2)]], "before": done_session, "fixed": True,
             "goals": [["resume", "--last", "--json", "go"]]},
    "migration": {"answers": [[bash(1)], [], [edit("one", "1")], [bash(2)]], "before": old_store,
                  "goals": [["resume", "--last", "--json", "go"]]},
}


class Violation(Exception):
    pass


def must(condition, *what):
    if not condition:
        raise Violation(" ".join(str(w) for w in what))


class Outcomes(dict):
    """How often each kind of tool had each outcome."""

    def add(self, kind, outcome, n=1):
        counts = self.setdefault(kind, {})
        counts[outcome] = counts.get(outcome, 0) + n

    def merge(self, other):
        for kind, counts in other.items():
            for outcome, n in counts.items():
                self.add(kind, outcome, n)

    def __str__(self):
        return "; ".join(f"{kind} " + ", ".join(f"{o} {n}" for o, n in sorted(counts.items())) for kind, counts in sorted(self.items()))


class Count:
    """The shared memory of the preload: one count over all the runs that are given it, and what is to happen at N."""

    def __init__(self, place, at=None, **more):
        self.path = os.path.join(place.top, f"map{at or ''}".replace("/", ""))
        self.at = at
        self.more = more
        with open(self.path, "wb") as f:
            f.write(bytes(64))

    def env(self):
        return {"LD_PRELOAD": PRELOAD, "CRASH_MAP": self.path, **({"CRASH_AT": self.at} if self.at else {}), **self.more}

    def values(self):
        with open(self.path, "rb") as f:
            data = mmap.mmap(f.fileno(), 64, prot=mmap.PROT_READ)
            return [int.from_bytes(data[i:i + 8], "little") for i in (0, 8, 16)]

    def fired(self):
        return bool(self.at) and self.values()[0] >= int(self.at.split(":")[0].rstrip("+"))


def script_text(answers):
    parts = ["\n".join(f"call {name} {json.dumps(args)}" for name, args in part) or "say Finished." for part in answers]
    return "\n--\n".join(parts + ["say Finished."]) + "\n"


@contextlib.contextmanager
def model_of(place, scenario):
    """Makes the scenario's model, a script or a server on loopback: place.model, and the options that name it."""
    answers = scenario["answers"]
    if not scenario.get("http"):
        path = os.path.join(place.top, "script")
        with open(path, "w", encoding="utf-8") as f:
            f.write(script_text(answers))
        place.model = "script/" + path
        yield ["--model", place.model]
        return
    replies = [calls(*answer) for answer in answers] + [text("Finished.")]
    died, refused = [], []
    place.arrived, place.answered = [], []

    def reply(n, body):
        del body
        place.arrived.append(time.time())
        answer = replies[min(n, len(replies) - 1)]
        if scenario.get("refuses") == n and not refused:
            refused.append(True)
            return lambda h: h.error(429, "slow down", headers=[("retry-after-ms", "150")])
        if scenario.get("dies") == n and not died:
            died.append(True)
            return lambda h: (h.sse(chunks(answer)[:-3], end=False), h.cut())
        place.answered.append(time.time())
        return answer
    if scenario.get("budget"):
        os.makedirs(place.home, exist_ok=True)
        with open(os.path.join(place.home, "config.yaml"), "w", encoding="utf-8") as f:
            f.write(f"models:\n  mock/m: {{output: 2000, price: {{in: 1, out: 4}}}}\nbudgets: {{team: {scenario['budget']}}}\n")
    with Mock(reply) as mock:
        yield mock.options()
        must(not mock.refused, "an illegal request:", mock.refused)


def prepare(place, scenario):
    """What is there before the first goal. What is expensive is kept beside the place, which is used again then."""
    saved = place.top + ".saved"
    if scenario.get("fixed") and os.path.isdir(saved):
        for part in ("home", "work"):
            shutil.rmtree(os.path.join(place.top, part), ignore_errors=True)
            shutil.copytree(os.path.join(saved, part), os.path.join(place.top, part))
        return
    place.write("a.txt", START)
    if scenario.get("before"):
        scenario["before"](place)
    if scenario.get("fixed"):
        shutil.copytree(place.top, saved)


class Play:
    """One session, or more, on their way to the end. `counts` harm the runs one after the other: each until it has fired."""

    def __init__(self, place, scenario, options, counts=(), stats=None, allowed=(0, 3, 4, 130, -9)):
        # A box that cannot be put up for an error ends the run with a status of its own.
        self.place, self.scenario, self.allowed = place, scenario, (*allowed, 7) if scenario.get("mode") == "auto" else allowed
        self.layer = ["--layer", "keep" if scenario.get("layered") else "off"] if scenario.get("mode") == "auto" else []
        self.options = ["--mode", scenario.get("mode", "open"), *self.layer, *options]
        self.counts = list(counts)
        self.stats = stats if stats is not None else Outcomes()
        self.acked = []
        self.killed = 0
        self.power_failed = False
        self.doubts = set()
        self.began = time.time()

    def run(self, args):
        while self.counts and self.counts[0].fired():
            self.counts.pop(0)
        # A process that outlives a killed rein holds the pipe that it wrote to: that is no end then, and found by the limit.
        out = self.place.rein(*args, env=self.counts[0].env() if self.counts else None, timeout=30)
        lines = [json.loads(line) for line in out.stdout.decode().splitlines(True) if line.endswith("\n") and line.startswith("{")]
        self.acked += [e for e in lines if "hash" in e]
        self.killed += out.returncode == -9
        nothing_there = out.returncode == 2 and (b"no session" in out.stderr or b"is empty" in out.stderr)
        must(out.returncode in self.allowed or nothing_there, "status", out.returncode, "of", *args[:2], out.stderr.decode())
        must(out.returncode in (0, -9) or b"rein: " in out.stderr, "no sentence:", out.stderr.decode())

    def sessions(self):
        """All but the neighbour's, the newest first."""
        out = self.place.rein("sessions", "--json")
        must(out.returncode == 0, "sessions:", out.stderr.decode())
        return [s for s in map(json.loads, out.stdout.decode().splitlines()) if s["prompt"] != "beside"]

    def find(self, prompt):
        """The session in which that was said, and its events."""
        for s in self.sessions():
            events = self.place.events(s["session"])
            if any(e["kind"] == "user" and e["body"]["text"] == prompt for e in events):
                return s, events
        return None, []

    def go_on(self, session, events):
        """The arguments with which a person goes on: answers what waits, raises the limit."""
        replied = {e["cause"] for e in events if e["kind"] == "reply"}
        asks = [e for e in events if e["kind"] == "ask" and e["seq"] not in replied]
        closed = {e["body"]["call"] for e in events if e["kind"] == "result"}
        asks = [e for e in asks if e["body"]["call"] not in closed]
        doubt = [e for e in asks if e["body"]["kind"] == "decide"]
        must(len(doubt) <= (0 if self.scenario.get("layered") else 1), "in doubt:", doubt)
        if doubt:
            must(doubt[0]["body"]["about"].startswith("bash echo"), "in doubt:", doubt[0])
            self.doubts.add(doubt[0]["hash"])
            return ["--decide", "all=skip"]
        if asks:
            return ["--answer", "all=yes"]
        return ["--max-steps", "50"] if session["outcome"] == "budget" else []

    def goal(self, args, before):
        for _ in range(TRIES):
            session, events = self.find(args[-1])
            if session and session["outcome"] == "done":
                return session["session"]
            if session:
                self.run(["resume", session["session"], "--json", *self.layer, *self.go_on(session, events)])
            else:
                words = [w.replace("{id}", before or "").replace("{harness}", patch_harness()) if "{" in w else w
                         for w in args if w != "{options}"]
                if "{options}" in args:
                    words[1:1] = self.options
                self.run(words)
        raise Violation(f"not done after {TRIES} runs")

    def to_the_end(self):
        end = self.scenario["beside"](self.place) if self.scenario.get("beside") else None
        session = None
        try:
            for args in self.scenario.get("goals", [EXEC]):
                session = self.goal(args, session)
        finally:
            if end:
                end()

    def judge(self):
        calls_made, events = {}, {}
        for s in self.sessions():
            out = self.place.rein("log", "verify", s["session"])
            must(out.returncode == 0, "log verify:", out.stderr.decode())
            log = self.place.events(s["session"])
            self.judge_approvals(log)
            judge_counters(log)
            for e in log:
                events[e["hash"]] = e
                if e["kind"] == "answer":
                    for i, call in enumerate(e["body"]["calls"]):
                        calls_made[(s["session"], f"{e['seq']}.{i + 1}")] = [call, None]
                elif e["kind"] == "result":
                    made = calls_made[(s["session"], e["body"]["call"])]
                    must(made[1] is None, "two results for", e["body"]["call"])
                    made[1] = e
        for e in self.acked:
            must(e["hash"] in events, "an event that was told is lost:", e)
        results = {}
        for (session, name), (call, result) in calls_made.items():
            must(result, "call", name, "of", session, "has no result")
            results[result["hash"]] = (call["name"], json.loads(call["args"]), result)    # a fork shares its parent's
        if self.scenario.get("budget"):
            self.judge_ledger()
        self.judge_effects([results[h] for h in sorted(results, key=lambda h: results[h][2]["time"])])

    def judge_ledger(self):
        """What the ledger says against what the server has seen: when requests arrived, and what it is owed for its answers."""
        out = self.place.rein("log", "verify", "ledger")
        must(out.returncode == 0, "log verify:", out.stderr.decode())
        cap, spent, aside = self.scenario["budget"] * 1e9, 0, {}
        for e in self.place.events("ledger"):
            body = e["body"]
            if e["kind"] == "quota" and "until" in body:
                # From 30 ms on: what was under way when it was written.
                early = [t for t in self.place.arrived if e["time"] / 1e9 + 0.03 < t < body["until"] / 1e9 - 0.01]
                must(not early, "a request left while the key had to wait:", body, early)
            elif e["kind"] == "budget" and "reserve" in body:
                aside[body["entry"]] = body["reserve"]
            elif e["kind"] == "budget" and body["entry"] in aside:
                del aside[body["entry"]]
                spent += body["spent"]
            must(spent + sum(aside.values()) <= cap, "above the budget:", spent, aside)
        owed = COST * sum(t > self.began for t in self.place.answered)
        must(spent + sum(aside.values()) >= owed, "the ledger counts", spent, aside, "and the server is owed", owed)

    def judge_approvals(self, log):
        if self.scenario.get("mode") != "ask":
            return
        asked, allowed = set(), set()
        for e in log:
            body = e["body"]
            if e["kind"] == "ask" and body["kind"] == "approve":
                must(body["call"] not in asked, "asked twice about", body["call"])
                asked.add(body["call"])
            elif e["kind"] == "reply" and body["answer"] in ("yes", "retry"):
                allowed.add(body["call"])
            elif e["kind"] == "intent" and body["effect"] != "pure":
                must(body["call"] in allowed, "nobody allowed", body["call"])

    def judge_effects(self, results):
        want, either = {"a.txt": START}, {}
        at_least, at_most = {}, {}
        for name, args, result in results:
            outcome, said = result["body"]["outcome"], result["body"]["text"]
            self.stats.add("job" if name == "job" or args.get("background") else name, outcome)
            if name == "bash" or (name == "job" and args["action"] == "send"):
                n = args["command"].split(" >> count")[0].split()[-1] if name == "bash" else args["text"].strip()
                # A job's call is done when the job was started or has got it; what the job then does is not waited for.
                waited = name == "bash" and not args.get("background")
                at_least[n] = at_least.get(n, 0) + (outcome == "ok" and (waited or not self.power_failed))
                at_most[n] = at_most.get(n, 0) + (outcome != "not_done" and not said.startswith("Not run") and "was put in place: " not in said)
                must(not self.scenario.get("layered") or outcome != "unknown", "in doubt over a layer:", said)
            elif name in ("edit", "write", "patch"):
                must(outcome in ("ok", "not_done", "error") or said.startswith("Not run"), name, "has outcome", outcome)
            elif name == "job":
                must(outcome != "unknown", "a job's call has outcome", outcome)
            if name == "patch":
                self.judge_patch(PATCHES[args["patch"]], outcome, said, want, either)
            elif name in ("edit", "write"):
                if outcome == "ok" or "may undo the change" in said:
                    if name == "edit":
                        want["a.txt"] = want["a.txt"].replace(args["edits"][0]["old"], args["edits"][0]["new"])
                    else:
                        want[args["path"]] = args["content"]
        path = self.place.path("count")
        lines = self.place.read("count").decode().split() if os.path.exists(path) else []
        for n, most in at_most.items():
            must(lines.count(n) <= most, "command", n, "ran", lines.count(n), "times, its outcomes allow", most)
            must(lines.count(n) >= at_least[n], "command", n, "is done, and not there")
        files = {}
        for folder, folders, names in os.walk(self.place.work):
            folders[:] = [f for f in folders if f != ".rein"]      # what was there before, for rein undo
            for name in names:
                path = os.path.relpath(os.path.join(folder, name), self.place.work)
                if path != "count":
                    files[path] = self.place.read(path).decode()
        for name, contents in either.items():
            if files.get(name) in contents:
                want[name] = files.get(name)
        want = {name: data for name, data in want.items() if data is not None}
        must(files == want, "files are", files, "and should be", want)

    @staticmethod
    def judge_patch(files, outcome, said, want, either):
        """All of it or nothing; what could not be put back is named."""
        must("as a whole" not in said, "a patch was made in part:", said)
        left = said.split("could not be put back: ")[1].split(", ") if "could not be put back: " in said else []
        for name, change in files.items():
            new = change(want.get(name, ""))
            if outcome == "ok" or "failure may" in said:
                want[name] = new
            elif any(path.endswith("/" + name) for path in left):
                either.setdefault(name, [want.get(name)]).append(new)

    def judge_processes(self):
        for _ in range(150):
            if not left_running(self.place):
                return
            time.sleep(0.02)
        raise Violation("a process is left")


def judge_counters(log):
    last = {}
    total = {"tokens_in": 0, "tokens_out": 0, "requests": 0}
    reserved = 0                        # for a request that is under way: spent, when rein was killed meanwhile
    for e in log:
        if e["kind"] == "set" and e["body"].get("resumed"):
            total["tokens_in"] += reserved
        reserved = 0 if e["kind"] in ("answer", "fault", "session", "set") else reserved
        if e["kind"] == "request":
            reserved = e["body"]["reserve"]
        if e["kind"] == "answer":
            total["tokens_in"] += e["body"]["usage"]["in"]
            total["tokens_out"] += e["body"]["usage"]["out"]
        elif e["kind"] == "request":
            total["requests"] += 1
        elif e["kind"] == "end":
            for name, n in total.items():
                must(e["body"][name] == n and n >= last.get(name, 0), name, "is", e["body"][name], "and should be", n)
            last = dict(total)


def left_running(place):
    """The processes that are at work in a place."""
    found = []
    for pid in os.listdir("/proc"):
        try:
            if pid.isdigit() and os.readlink(f"/proc/{pid}/cwd").startswith(place.work):
                found.append(int(pid))
        except OSError:
            pass
    return found
