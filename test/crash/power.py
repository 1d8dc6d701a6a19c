"""Takes the power away. kill -9 cannot show a missing fsync: the kernel still has what was written.

A scenario is played once under strace, and what rein, its supervisor and its commands did to files is read from the trace. Then,
after every one of those operations, the disk is put in the states that it may be found in after a power failure: what was synced is
there, and of the rest nothing, everything, or any part of it:

    - of the writes to a file since its last sync any subset, each whole or torn into sectors of 512 bytes;
    - of the names made, removed and changed in a directory since its last sync any subset; a rename happens or does not.

On each state rein goes on, in another boot as it seems to it, until everything is done; then the scenario's judge looks."""
import copy
import hashlib
import itertools
import json
import os
import random
import re
import shutil

from crash.scenarios import SCENARIOS, Count, Outcomes, Play, Violation, model_of, must, prepare
from crash.sweep import TROUBLE, count_points
from lib.rein import RELEASE, Place, Skip

CALLS = ("write,pwrite64,writev,pwritev,pwritev2,fsync,fdatasync,syncfs,ftruncate,truncate,fallocate,rename,renameat,renameat2,unlink,"
         "unlinkat,mkdir,mkdirat,rmdir,open,openat,openat2,creat,link,linkat,symlink,symlinkat,lseek,copy_file_range,sendfile")
SECTOR = 512
MEMORY = "/dev/shm"


class File:
    def __init__(self, data=b""):
        self.durable = data
        self.pending = []               # ("write", offset, bytes) or ("size", n), since the last sync
        self.size = len(data)

    def content(self, chosen):
        data = bytearray(self.durable)
        for kind, at, *more in chosen:
            if kind == "size":
                if at < len(data):
                    del data[at:]
                else:
                    data.extend(bytes(at - len(data)))
            else:
                if at > len(data):
                    data.extend(bytes(at - len(data)))
                data[at:at + len(more[0])] = more[0]
        return bytes(data)


class Dir:
    def __init__(self):
        self.durable = {}
        self.pending = []               # {name: object or None}: what one operation does to the names
        self.live = {}

    def change(self, names):
        self.pending.append(names)
        for name, thing in names.items():
            if thing is None:
                self.live.pop(name, None)
            else:
                self.live[name] = thing


class Disk:
    """What is on it for sure, and what may be."""

    def __init__(self, top):
        self.top = top
        self.root = self.load(top)

    def load(self, folder):
        d = Dir()
        for name in sorted(os.listdir(folder)):
            path = os.path.join(folder, name)
            if os.path.isdir(path):
                d.durable[name] = self.load(path)
            else:
                with open(path, "rb") as f:
                    d.durable[name] = File(f.read())
        d.live = dict(d.durable)
        return d

    def parts(self, path):
        if path != self.top and not path.startswith(self.top + "/"):
            return None
        return [p for p in path[len(self.top):].split("/") if p]

    def find(self, path):
        parts = self.parts(path)
        thing = self.root if parts is not None else None
        for p in parts or []:
            thing = thing.live.get(p) if isinstance(thing, Dir) else None
        return thing

    def parent(self, path):
        parts = self.parts(path)
        return (self.find(os.path.dirname(path)), parts[-1]) if parts else (None, None)

    def every(self, thing=None):
        thing = thing or self.root
        yield thing
        if isinstance(thing, Dir):
            for below in {id(t): t for t in [*thing.durable.values(), *thing.live.values()]}.values():
                yield from self.every(below)

    def sync_begin(self, things):
        return [(t, len(t.pending)) for t in things]

    def sync_end(self, begun):
        """What was done before the sync began is durable now."""
        for thing, n in begun:
            done, thing.pending = thing.pending[:n], thing.pending[n:]
            if isinstance(thing, File):
                thing.durable = thing.content(done)
            else:
                for names in done:
                    for name, what in names.items():
                        if what is None:
                            thing.durable.pop(name, None)
                        else:
                            thing.durable[name] = what

    def state(self, choose, thing=None):
        """One tree of names and bytes that may be found: `choose` picks from what is pending."""
        thing = thing or self.root
        if isinstance(thing, File):
            return thing.content(choose(thing.pending))
        entries = dict(thing.durable)
        for names in choose(thing.pending):
            for name, what in names.items():
                if what is None:
                    entries.pop(name, None)
                else:
                    entries[name] = what
        return {name: self.state(choose, what) for name, what in entries.items()}


def nothing(pending):
    del pending
    return []


def everything(pending):
    return pending


def subset(rng):
    share = rng.choice((0.2, 0.5, 0.8))
    return lambda pending: [op for op in pending if rng.random() < share]


def torn(rng):
    """Of the writes some sectors; of the rest any subset."""
    def choose(pending):
        out = []
        for op in pending:
            if not isinstance(op, tuple) or op[0] != "write":
                out += [op] if rng.random() < 0.7 else []
                continue
            at, data = op[1], op[2]
            while data:
                n = SECTOR - at % SECTOR
                if rng.random() < 0.6:
                    out.append(("write", at, data[:n]))
                at, data = at + n, data[n:]
        return out
    return choose


ARG = re.compile(r'[,\s]*(?:"((?:\\x[0-9a-f]{2})*)"|(AT_FDCWD|-?\d+)<((?:\\x[0-9a-f]{2})*)>|([^,"<>]+))')
LINE = re.compile(r"^(\d+) +(.*)$")
CALL = re.compile(r"^(\w+)\((.*)\) += (-?\d+)(?:<((?:\\x[0-9a-f]{2})*)>)?")


def unhex(text):
    return bytes.fromhex(text.replace("\\x", ""))


def words(args):
    """The arguments: bytes for strings, (number, path) for descriptors, text for the rest."""
    out = []
    for m in ARG.finditer(args):
        if m.group(1) is not None:
            out.append(unhex(m.group(1)))
        elif m.group(2) is not None:
            out.append((m.group(2), unhex(m.group(3)).decode(errors="replace")))
        elif m.group(4).strip():
            out.append(m.group(4).strip())
    return out


class Trace:
    """Plays the trace into a Disk; after each operation that may change what a power failure leaves, `step` is called."""

    def __init__(self, disk, step):
        self.disk, self.step = disk, step
        self.offsets = {}
        self.unfinished = {}
        self.acked = []

    def feed(self, line):
        pid, rest = LINE.match(line).groups()
        if rest.endswith("<unfinished ...>"):
            begun = rest[:-len("<unfinished ...>")].rstrip()
            self.unfinished[pid] = (begun, self.begin_sync(begun))
            return
        begun = None
        if rest.startswith("<... "):
            before, begun = self.unfinished.pop(pid)
            rest = before + rest[rest.index("resumed>") + len("resumed>"):]
        m = CALL.match(rest)
        if not m or int(m.group(3)) < 0:
            return
        name, args, result = m.group(1), words(m.group(2)), int(m.group(3))
        if name in ("fsync", "fdatasync", "syncfs"):
            self.disk.sync_end(begun if begun is not None else self.begin_sync(rest))
            self.step()
        elif self.apply(pid, name, args, result, unhex(m.group(4) or "").decode(errors="replace")):
            self.step()

    def begin_sync(self, text):
        name = text.split("(")[0]
        if name == "syncfs":
            return self.disk.sync_begin(list(self.disk.every()))
        if name not in ("fsync", "fdatasync"):
            return None
        thing = self.disk.find(words(text[len(name) + 1:])[0][1])
        return self.disk.sync_begin([thing] if thing else [])

    def at(self, first, second=None):
        """The path of a call's (directory, name) or (name)."""
        if second is None:
            return os.path.normpath(os.path.join(self.cwd, first.decode(errors="replace")))
        return os.path.normpath(os.path.join(first[1], second.decode(errors="replace")))

    cwd = "/"

    def apply(self, pid, name, a, result, opened):
        disk = self.disk
        if name in ("write", "writev", "pwrite64", "pwritev", "pwritev2", "sendfile", "copy_file_range"):
            data = b"".join(x for x in a[1:] if isinstance(x, bytes))[:result]
            if a[0][0] == "1" and data.startswith(b'{"session":'):
                told = [json.loads(line) for line in data.splitlines(True) if line.endswith(b"\n")]
                self.acked += [e for e in told if "hash" in e]
            f = disk.find(a[0][1])
            if not isinstance(f, File) or a[0][1].endswith("-shm"):
                return False
            must(name in ("write", "pwrite64"), "the trace holds", name, "to a file of the scenario")
            key = (pid, a[0][0])
            offset = int(a[-1]) if name == "pwrite64" else self.offsets.get(key, f.size)
            if name == "write" and key in self.offsets:
                self.offsets[key] += len(data)
            f.pending.append(("write", offset, data))
            f.size = max(f.size, offset + len(data))
            return True
        if name in ("ftruncate", "fallocate"):
            f = disk.find(a[0][1])
            if not isinstance(f, File) or a[0][1].endswith("-shm"):
                return False
            size = int(a[1]) if name == "ftruncate" else max(f.size, int(a[2]) + int(a[3]))
            f.pending.append(("size", size))
            f.size = size
            return True
        if name == "lseek":
            self.offsets[(pid, a[0][0])] = result
            return False
        if name in ("open", "openat", "openat2", "creat"):
            flags = a[-2] if name == "openat" and len(a) > 3 else " ".join(x for x in a if isinstance(x, str))
            self.offsets.pop((pid, str(result)), None)
            if "O_APPEND" not in flags:
                self.offsets[(pid, str(result))] = 0
            parent, last = disk.parent(opened)
            if not isinstance(parent, Dir):
                return False
            f = parent.live.get(last)
            if f is None and "O_CREAT" in flags:
                parent.change({last: File()})
                return True
            if isinstance(f, File) and "O_TRUNC" in flags and f.size:
                f.pending.append(("size", 0))
                f.size = 0
                return True
            return False
        if name in ("mkdir", "mkdirat"):
            parent, last = disk.parent(self.at(a[0]) if name == "mkdir" else self.at(a[0], a[1]))
            if isinstance(parent, Dir):
                parent.change({last: Dir()})
            return isinstance(parent, Dir)
        if name in ("unlink", "unlinkat", "rmdir"):
            parent, last = disk.parent(self.at(a[0]) if name != "unlinkat" else self.at(a[0], a[1]))
            if isinstance(parent, Dir):
                parent.change({last: None})
            return isinstance(parent, Dir)
        if name in ("rename", "renameat", "renameat2"):
            old, new = (self.at(a[0]), self.at(a[1])) if name == "rename" else (self.at(a[0], a[1]), self.at(a[2], a[3]))
            parent, last = disk.parent(old)
            other, target = disk.parent(new)
            if not isinstance(parent, Dir) and not isinstance(other, Dir):
                return False
            must(parent is other, "a rename from one directory to another:", old, new)
            parent.change({last: None, target: parent.live[last]})
            return True
        if name == "linkat":
            thing = disk.find(self.at(a[0], a[1]))
            parent, last = disk.parent(self.at(a[2], a[3]))
            if isinstance(parent, Dir) and thing:
                parent.change({last: thing})
            return isinstance(parent, Dir)
        raise Violation(f"the trace holds {name}")


def put(tree, path):
    """Makes the files be what the state says."""
    for name in os.listdir(path):
        below = os.path.join(path, name)
        if os.path.isdir(below) and not os.path.islink(below):
            shutil.rmtree(below)
        else:
            os.unlink(below)
    for name, what in tree.items():
        below = os.path.join(path, name)
        if isinstance(what, dict):
            os.mkdir(below, 0o700)
            put(what, below)
        else:
            with open(below, "wb") as f:
                f.write(what)


def digest(tree, h=None):
    h = h or hashlib.sha256()
    for name, what in sorted(tree.items()):
        if name.endswith("-shm"):
            continue
        h.update(name.encode() + b"\0" + (b"d" if isinstance(what, dict) else b"f%d\0" % len(what)))
        if isinstance(what, dict):
            digest(what, h)
            h.update(b"/")
        else:
            h.update(what)
    return h.digest()


def record(place, scenario, options, preload=None, kill=None):
    """Plays the scenario under strace, killed on the way if so. Returns the trace's lines and the disk as it was before."""
    trace = place.top + ".trace"
    disk = Disk(place.top)
    for names in (disk.root.durable, disk.root.live):
        names.pop("script", None)
    counts = [Count(place, kill)] if kill else []
    place.wrap = ["strace", "-f", "-y", "-xx", "-s", "9000000", "-A", "-o", trace, "-e", "trace=" + CALLS, "-e", "signal=none"]
    if preload:
        place.wrap += ["-E", "LD_PRELOAD=" + preload]
    try:
        Play(place, scenario, options, counts).to_the_end()
        with open(trace, encoding="latin-1") as f:
            lines = [line.rstrip("\n") for line in f if not re.match(r"^\d+ +(\+\+\+|---)", line)]
    finally:
        place.wrap = []
        if os.path.exists(trace):
            os.unlink(trace)
    return lines, disk


def can_trace():
    if not shutil.which("strace") or os.system("strace -o /dev/null true 2>/dev/null") != 0:
        raise Skip("strace is missing, or may not trace here: power failures are not shown")


def walk(lines, disk, cwd, step):
    """Plays a trace; step(acked, line) is called after each operation."""
    trace = Trace(disk, lambda: step(trace.acked, line))
    trace.cwd = cwd
    for line in lines:
        trace.feed(line)


def ways(rng):
    """Ways to be found by chance, without end."""
    i = 0
    while True:
        yield (f"subset {i}", subset(rng)) if i % 3 == 2 else (f"torn {i}", torn(rng))
        i += 1


def choices(disk):
    """In how many ways the disk may be found now; at most 4,096 are told apart."""
    n = 0
    for thing in disk.every():
        for op in thing.pending:
            n += (op[1] + len(op[2]) - 1) // SECTOR - op[1] // SECTOR + 1 if isinstance(op, tuple) and op[0] == "write" and op[2] else 1
    return 1 << min(n, 12)


def shares(limits, want):
    """How many states to draw after each operation, of `limits` that there are, so that they come to `want`."""
    low, high = 0, max(limits, default=0)
    while low < high:
        middle = (low + high + 1) // 2
        if sum(min(n, middle) for n in limits) > want:
            high = middle - 1
        else:
            low = middle
    return [min(n, low) for n in limits]


def blackouts(name, want, seed, binary=RELEASE, preload=None, kill=None):
    """Takes the power away after every operation of a scenario, in as many ways as make about `want` states that differ from each
    other or in what had been told before. `kill`: the first run was killed there before. Returns (states, operations, stats); raises
    Violation."""
    can_trace()
    scenario = SCENARIOS[name]
    rng = random.Random(seed)
    stats = Outcomes()
    seen = set()
    with Place(binary, base=MEMORY if os.access(MEMORY, os.W_OK) else None) as place, model_of(place, scenario) as options:
        prepare(place, scenario)
        lines, disk = record(place, scenario, options, preload, kill)
        with open(os.path.join(place.top, "boot"), "w", encoding="ascii") as f:
            f.write("00000000-0000-4000-8000-000000000000\n")
        limits = []
        ahead = copy.deepcopy(disk)
        walk(lines, ahead, place.work, lambda *_: limits.append(choices(ahead)))
        draw = shares(limits, want)
        sample = min(1, want / len(limits))         # when there are fewer states to draw than operations
        upcoming = iter(draw)

        def step(acked, line):
            n = next(upcoming)
            if n == 0 or sample < 1:
                n = rng.random() < sample
            found = 0
            for tries, (way, choose) in enumerate(itertools.chain([("nothing unsynced kept", nothing), ("everything kept", everything)],
                                                                  ways(rng))):
                if found >= n or tries > 4 * n:
                    break
                tree = disk.state(choose)
                key = (digest(tree), len(acked))
                if key in seen:
                    continue
                seen.add(key)
                found += 1
                check_state(place, scenario, options, tree, list(acked), stats,
                            f"{name}, {f'killed at {kill} and ' if kill else ''}power lost after {plain(line)}, {way}")
        walk(lines, disk, place.work, step)
    return len(seen), len(limits), stats


def blackouts_after_kills(name, kills, want, seed, binary=RELEASE, first=None):
    """The same in sessions that were killed first, each at another call (of those that `first` names): what the second rein finds half
    done, it has to finish."""
    rng = random.Random(seed)
    total = count_points(SCENARIOS[name], binary)
    states = operations = 0
    stats = Outcomes()
    points = [f"{n}:{how}" for n in first or range(1, total + 1) for how in ("before", "after")]
    for point in rng.sample(points, min(kills, len(points))):
        s, o, found = blackouts(name, want / kills, rng.random(), binary, None, point)
        states += s
        operations += o
        stats.merge(found)
    return states, operations, stats


def plain(line):
    """A line of the trace for people."""
    return re.sub(r"(?:\\x[0-9a-f]{2})+", lambda m: unhex(m.group(0)).decode("latin-1"), line)[:160]


def check_state(place, scenario, options, tree, acked, stats, what):
    for folder in (place.home, place.work):
        shutil.rmtree(folder, ignore_errors=True)
    for folder in (place.home, place.work):
        below = tree.get(os.path.basename(folder))
        if below is not None:
            os.mkdir(folder, 0o700)
            put(below, folder)
    os.makedirs(place.work, exist_ok=True)
    try:
        it = Play(place, scenario, options, [Count(place, None, CRASH_BOOT=os.path.join(place.top, "boot"))], stats)
        it.acked = acked
        it.power_failed = True
        it.to_the_end()
        it.judge()
    except TROUBLE as e:
        raise Violation(f"{what}: {e}") from e
