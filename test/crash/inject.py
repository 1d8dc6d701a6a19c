"""A second opinion on the preload: strace stops rein at the N-th call of a kind, whatever library made it. It counts per thread, so
not every N fires, and it sees calls that no wrapper knows of."""
import os
import re

from crash.power import can_trace
from crash.scenarios import SCENARIOS, Outcomes, Play, Violation, model_of, prepare
from crash.sweep import TROUBLE
from lib.rein import RELEASE, Place

CALLS = ("write", "pwrite64", "writev", "fsync", "fdatasync", "syncfs", "ftruncate", "fallocate", "rename", "renameat", "renameat2",
         "unlink", "unlinkat", "mkdir", "openat", "openat2", "close", "fcntl", "mmap", "sendto", "clone3", "vfork", "pidfd_open", "wait4",
         "waitid", "epoll_wait", "futex")


def strace(*args):
    # -b execve: the children are let go, so that what is counted and killed is rein itself.
    return ["strace", "-f", "-b", "execve", *args]


class First(Play):
    """Only the first run stands under strace."""

    def __init__(self, *args, wrap, **more):
        super().__init__(*args, **more)
        self.wrap = wrap

    def run(self, args):
        self.place.wrap, self.wrap = self.wrap, []
        try:
            super().run(args)
        finally:
            self.place.wrap = []


def counts(scenario):
    """How often each kind of call is made by the thread that makes it most."""
    with Place(RELEASE) as place, model_of(place, scenario) as options:
        prepare(place, scenario)
        trace = place.top + ".trace"
        First(place, scenario, options, wrap=strace("-o", trace, "-e", "trace=" + ",".join(CALLS))).to_the_end()
        found = {}
        with open(trace, encoding="latin-1") as f:
            for line in f:
                m = re.match(r"(\d+) +(\w+)\(", line)
                if m:
                    found[m.groups()] = found.get(m.groups(), 0) + 1
        os.unlink(trace)
    return {call: max((n for (_, c), n in found.items() if c == call), default=0) for call in CALLS}


def second_opinion(name, limit, rng):
    """Returns (points, kills, stats); raises Violation."""
    can_trace()
    scenario = SCENARIOS[name]
    points = [(call, n) for call, most in counts(scenario).items() for n in range(1, most + 1)]
    if limit:
        points = rng.sample(points, min(limit, len(points)))
    stats = Outcomes()
    kills = 0
    for call, n in points:
        with Place(RELEASE) as place, model_of(place, scenario) as options:
            place.env["UV_THREADPOOL_SIZE"] = "1"
            prepare(place, scenario)
            it = First(place, scenario, options, stats=stats,
                       wrap=strace("-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={n}"))
            try:
                it.to_the_end()
                it.judge()
                it.judge_processes()
            except TROUBLE as e:
                raise Violation(f"{name}, killed by strace at {call} number {n}: {e}") from e
            kills += it.killed
    return len(points), kills, stats
