#!/usr/bin/env python3
"""./dev bench [--quick] [--json FILE]: the table of figures, as ratios within this run.

floor-0 is the limit: a raw socket, prepared bytes, plain spawn, nothing durable. floor-1 plays the same session with libcurl opened
at run time and the same number of durable commits and of spawns. Goals are against floor-1."""
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BIN = os.path.join(TOP, "build-bench", "bench")
REIN = os.path.join(TOP, "build", "rein")
START_COMMITS = 2               # rein's, before its first request leaves
PLACES = (5, 50, 200, 1000)

SMALL = "a line of text\n"
BIG = "".join(f"line {i:04} of a file of eight kilobytes\n" for i in range(200))
SERIES = {
    "read, small": ("read", {"path": "small.txt"}, ["read", "small.txt"]),
    "read, 8 KB": ("read", {"path": "big.txt"}, ["read", "big.txt"]),
    "command": ("bash", {"command": "printf x"}, ["sh", "printf x"]),
}


class Place:
    def __init__(self):
        self.top = os.path.realpath(tempfile.mkdtemp(prefix="rein-bench-"))
        self.work = os.path.join(self.top, "work")
        os.mkdir(self.work)
        for name, data in (("small.txt", SMALL), ("big.txt", BIG)):
            with open(os.path.join(self.work, name), "w", encoding="utf-8") as f:
                f.write(data)
        self.env = dict(os.environ, REIN_HOME=os.path.join(self.top, "home"))

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        shutil.rmtree(self.top)


def play(place, turns, tool, client):
    name, args, _ = tool
    call = os.path.join(place.top, "call")
    with open(call, "w", encoding="utf-8") as f:
        f.write(name + " " + json.dumps(args).replace('"', '\\"') + "\n")
    out = subprocess.run([os.path.join(BIN, "mock"), str(turns), call, "--", *client], cwd=place.work, env=place.env,
                         stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True, timeout=300)
    result = json.loads(out.stdout)
    if result["status"] != 0 or result["turns"] != turns:
        raise SystemExit(f"bench: {client[0]} ended with {result}: {out.stderr.decode()[-500:]}")
    return result


def clients(tool):
    rein = [REIN, "exec", "-q", "--mode", "open", "--model", "mock/m", "--api", "chat", "--base-url", "{url}", "go"]
    floor = [os.path.join(BIN, "floor")]
    return {"rein": rein, "floor-1": floor + ["1", "{url}", *tool[2], str(START_COMMITS)], "floor-0": floor + ["0", "{url}", *tool[2]]}


def times(place, commands, n):
    lines = os.path.join(place.top, "commands")
    with open(lines, "w", encoding="utf-8") as f:
        f.writelines(" ".join(c) + "\n" for c in commands)
    out = subprocess.run([os.path.join(BIN, "spawn"), str(n), lines], cwd=place.work, env=place.env, stdout=subprocess.PIPE,
                         check=True)
    return [float(l) for l in out.stdout.split()]


rows = []


def row(what, value, floor, goal, unit, met, floor0=None):
    rows.append({"figure": what, "rein": round(value, 3), "floor": round(floor, 3), "floor0": floor0, "unit": unit, "goal": goal,
                 "met": bool(met)})
    ratio = f"{value / floor:5.2f}x" if floor else "      "
    zero = f"  floor-0 {floor0:8.3f}" if floor0 is not None else ""
    print(f"{'met ' if met else 'NOT '} {what:44} {value:9.3f} {unit:9} floor {floor:9.3f}  {ratio}  goal {goal}{zero}", flush=True)


def bench_start(place, n):
    version, empty = times(place, [[REIN, "--version"], [os.path.join(BIN, "empty")]], n)
    row("rein --version, against an empty program", version / 1000, empty / 1000, "<= 2x", "ms", version <= 2 * empty)
    box = [os.path.join(TOP, "build", "rein-box"), "--link", "9", "--spool", "8", "--cap", "9", "--tail", "9",
           "--timeout", "1000", "--", "/bin/true"]
    plain, boxed = times(place, [["/bin/true"], box], n)
    return (boxed - plain) / 1000


def bench_first(place, n):
    tool = SERIES["read, small"]
    firsts = {name: [] for name in clients(tool)}
    for _ in range(n):
        for name, client in clients(tool).items():
            firsts[name].append(play(place, 1, tool, client)["first_us"] / 1000)
    value = {k: statistics.median(v) for k, v in firsts.items()}
    row("start to the first request", value["rein"], value["floor-1"], "<= 1.5x", "ms", value["rein"] <= 1.5 * value["floor-1"],
        value["floor-0"])


def bench_turns(place, turns, supervisor, rounds):
    for name, tool in SERIES.items():
        runs = {c: [] for c in clients(tool)}
        for _ in range(rounds):
            for c, client in clients(tool).items():
                runs[c].append(play(place, turns, tool, client))

        def value(client, key):
            return statistics.median(r[key] for r in runs[client])
        extra = supervisor if name == "command" else 0
        ratios = []
        for at in PLACES:
            if at > turns:
                continue
            r, f, z = (value(c, f"gap_{at}_us") / 1000 for c in ("rein", "floor-1", "floor-0"))
            ratios.append(r / f)
            goal = "<= 1.5x" + (f" + {extra:.2f}" if extra else "")
            row(f"turn {at}, {name}", r, f, goal, "ms", r <= 1.5 * f + extra, z)
        # The body of a thousand turns is larger for any client: flat means that rein grows no more than the floor does.
        row(f"flat, {name}: ratio at the last place, the first", ratios[-1], ratios[0], "<= 1.25x", "x",
            ratios[-1] <= 1.25 * ratios[0])
        cpu = {c: value(c, "cpu_us") / turns / 1000 for c in runs}
        row(f"CPU per turn, {name}", cpu["rein"], cpu["floor-1"], "<= 3x", "ms", cpu["rein"] <= 3 * cpu["floor-1"], cpu["floor-0"])
        if name == "read, 8 KB":
            for what, key, limit in (("first request", "rss_first_kb", 10), ("50 turns", "rss_50_kb", 16),
                                     (f"{turns} turns", "rss_end_kb", 32)):
                mb = value("rein", key) / 1024
                row(f"private memory (RssAnon), {what}", mb, value("floor-1", key) / 1024, f"<= {limit} MB", "MB", mb <= limit)
        same, pairs = value("rein", "prefix"), value("rein", "pairs")
        row(f"requests that repeat the one before, {name}", same, pairs, "all", "of pairs", same == pairs)


def bench_box(place, supervisor, turns, rounds):
    """What a box adds to a turn with a command, and with the supervisor to a plain spawn."""
    tool = SERIES["command"]
    gaps = {"open": [], "auto": []}
    if subprocess.run([REIN, "box", "--mode", "auto", "-q", "--", "true"], cwd=place.work, env=place.env, check=False).returncode == 7:
        print("not shown: a command in the box, since this machine gives none")
        return
    for _ in range(rounds):
        for mode, found in gaps.items():
            client = [mode if w == "open" else w for w in clients(tool)["rein"]]
            found.append(play(place, turns, tool, client)[f"gap_{turns}_us"] / 1000)
    unboxed, boxed = (statistics.median(gaps[m]) for m in ("open", "auto"))
    over = boxed - unboxed + supervisor
    row("a command in the box, over a plain spawn", over, supervisor, "<= 2.5 ms", "ms", over <= 2.5)


REWRITE = """import os
for folder, _, names in os.walk('many'):
    for name in names:
        with open(os.path.join(folder, name), 'w') as f:
            f.write('new ' + name)
os.mkdir('.claude')"""         # something that waits for a person, so that the command and what comes after it are told apart


def bench_layers(place, files, rounds):
    """Changed files put in place, durably, and taken back; against bare exchanges of as many."""
    for folder in range(20):
        os.makedirs(os.path.join(place.work, "many", str(folder)))
        for i in range(files // 20):
            with open(os.path.join(place.work, "many", str(folder), f"f{i}"), "w", encoding="utf-8") as f:
                f.write(f"old {i}")
    with open(os.path.join(place.work, "rewrite.py"), "w", encoding="utf-8") as f:
        f.write(REWRITE)

    def timed(*args):
        os.sync()
        began = time.monotonic()
        subprocess.run([REIN, *args], cwd=place.work, env=place.env, stdout=subprocess.DEVNULL, check=True)
        return time.monotonic() - began
    took = {"put in place": [], "taken back": []}
    floor = []
    for _ in range(rounds):
        report = os.path.join(place.top, "report")
        subprocess.run([REIN, "box", "--layer", "keep", "-q", "--report", report, "--", "python3 rewrite.py"], cwd=place.work, env=place.env, stderr=subprocess.DEVNULL, check=False)
        with open(report, encoding="utf-8") as f:
            layer = json.load(f)["layer"]
        took["put in place"].append(timed("redo", layer))
        took["taken back"].append(timed("undo", layer))
        subprocess.run([REIN, "redo", layer], cwd=place.work, env=place.env, stdout=subprocess.DEVNULL, check=True)
        shutil.rmtree(os.path.join(place.work, ".claude"))
        shutil.rmtree(os.path.join(place.work, ".rein"))
        out = subprocess.run([os.path.join(BIN, "exchange"), str(files)], cwd=place.work, stdout=subprocess.PIPE, check=True)
        floor.append(float(out.stdout))
        shutil.rmtree(os.path.join(place.work, "exchange-a"))
        shutil.rmtree(os.path.join(place.work, "exchange-b"))
    bare = files / statistics.median(floor) / 1000
    for what, seconds in took.items():
        speed = files / statistics.median(seconds) / 1000
        row(f"{files} changed files {what}", speed, bare, ">= 40 k/s", "k/s", speed >= 40)


def bench_appends(place, events):
    for batch in (1, 2, 10, 100):
        folder = os.path.join(place.top, f"append{batch}")
        os.mkdir(folder)
        out = subprocess.run([os.path.join(BIN, "append"), folder, str(events * min(batch, 10)), str(batch)],
                             stdout=subprocess.PIPE, check=True)
        rein, bare = map(float, out.stdout.split())
        row(f"durable appends, {batch} a commit", rein / 1000, bare / 1000, ">= 0.8x", "k/s", rein >= 0.8 * bare)


def bench_recovery(place, answers, calls, rounds, goal):
    """How long a rein takes that has to read, check and fold a session before it goes on; beside it the whole run of a new session."""
    script = os.path.join(place.top, "script")
    with open(script, "w", encoding="utf-8") as f:
        f.write(("call read {\"path\": \"small.txt\"}\n" * calls + "--\n") * answers + "say ok\n--\n" * (rounds + 1) + "say ok\n")

    def run(*args):
        began = time.monotonic()
        out = subprocess.run([REIN, *args], cwd=place.work, env=place.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             stdin=subprocess.DEVNULL, check=False)
        if out.returncode:
            raise SystemExit(f"bench: {args} ended with {out.returncode}: {out.stderr.decode()[-500:]}")
        return (time.monotonic() - began) * 1000

    run("exec", "-q", "--mode", "open", "--model", "script/" + script, "go")
    events = sum(1 for _ in subprocess.run([REIN, "show", "--last", "--json"], cwd=place.work, env=place.env, stdout=subprocess.PIPE,
                                           check=True).stdout.splitlines())
    took = sorted(run("resume", "--last", "-q", "more") for _ in range(rounds))
    with open(script + "0", "w", encoding="utf-8") as f:
        f.write("say ok\n")
    fresh = statistics.median(run("exec", "-q", "--mode", "open", "--model", f"script/{script}0", "go") for _ in range(rounds))
    row(f"recovery of {events} events, the slowest of {rounds}", took[-1], fresh, f"<= {goal} ms" if goal else "none", "ms",
        not goal or took[-1] <= goal)


WORDS = ["static", "int", "struct", "return", "if", "for", "while", "size_t", "const", "char", "buf_add", "memcpy", "str_free", "NULL", "error",
         "MAX_SIZE_16", "TODO", "value", "result", "index", "node->next", "i < n", "== 0", "(void)", "0x1f", "world", "\"text\"", "/* note */"]


def make_tree(folder, files):
    """Something like source code, with rules for what is left out."""
    rng = random.Random(7)
    lines = ["    " * rng.randint(0, 3) + " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 9))) + ";\n" for _ in range(4000)]
    for i in range(files):
        path = os.path.join(folder, f"m{i % 40}", f"s{i % 13}", f"f{i}" + (".c" if i % 3 else ".h") if i % 10 else f"f{i}.o")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.writelines(rng.choices(lines, k=rng.randint(20, 600)))
    for where, rules in (("", "*.o\n/build/\n"), ("m1", "s*/f1*.h\n"), ("m2", "**/tmp/**\n!keep.c\n")):
        with open(os.path.join(folder, where, ".gitignore"), "w", encoding="utf-8") as f:
            f.write(rules)
    subprocess.run(["git", "init", "-q", folder], check=True)


def pair(ours, theirs, rounds):
    """Medians of two commands that take turns, in ms, and whether they print as many lines."""
    took, lines = ([], []), [0, 0]
    for _ in range(rounds + 1):
        for i, command in enumerate((ours, theirs)):
            began = time.monotonic()
            out = subprocess.run(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, check=False)
            took[i].append((time.monotonic() - began) * 1000)
            lines[i] = out.stdout.count(b"\n")
    return statistics.median(took[0][1:]), statistics.median(took[1][1:]), lines


def bench_search(place, files, rounds):
    rg, fd = shutil.which("rg"), shutil.which("fdfind") or shutil.which("fd")
    folder = os.path.join(place.top, "tree")
    if not rg or not fd:
        print("     search: not shown, ripgrep or fd is not installed")
        return
    make_tree(folder, files)
    search = os.path.join(BIN, "search")
    for pattern in ("memcpy", "str_[a-z]+\\(?", "[A-Z]{3,}_[A-Z]+_[0-9]{2}", "TODO|FIXME|XXX", "\\bnode->\\w+", "no such text anywhere", "^static .*NULL;$"):
        ours, theirs, lines = pair([search, folder, "counts", pattern], [rg, "--hidden", "-c", pattern, folder], rounds)
        row(f"grep over {files} files, {pattern}", ours, theirs, "<= 1x ripgrep", "ms", ours <= theirs and lines[0] == lines[1])
    for pattern in ("*.h", "f1*.c"):
        ours, theirs, lines = pair([search, folder, "names", pattern], [fd, "-H", "-E", ".git", "-t", "f", "-g", pattern, folder], rounds)
        row(f"glob over {files} files, {pattern}", ours, theirs, "<= 1x fd", "ms", ours <= theirs and lines[0] == lines[1])


def main():
    quick = "--quick" in sys.argv
    with Place() as place:
        play(place, 1, SERIES["read, small"], clients(SERIES["read, small"])["rein"])       # makes the store, warms the caches
        supervisor = bench_start(place, 50 if quick else 400)
        print(f"     the supervisor: {supervisor:.3f} ms more than a plain spawn")
        bench_first(place, 3 if quick else 15)
        bench_turns(place, 60 if quick else 1000, supervisor, 1 if quick else 3)
        bench_box(place, supervisor, 50 if quick else 200, 1 if quick else 5)
        bench_layers(place, 2000 if quick else 20000, 1 if quick else 5)
        bench_appends(place, 100 if quick else 2000)
        bench_search(place, 600 if quick else 12000, 3 if quick else 15)
        bench_recovery(place, 250 if quick else 2500, 1, 3 if quick else 20, 200)
        if not quick:
            bench_recovery(place, 414, 120, 5, None)
    if "--json" in sys.argv:
        with open(sys.argv[sys.argv.index("--json") + 1], "w", encoding="utf-8") as f:
            json.dump(rows, f, indent=1)
    print(f"{sum(r['met'] for r in rows)} of {len(rows)} figures met")


if __name__ == "__main__":
    main()
