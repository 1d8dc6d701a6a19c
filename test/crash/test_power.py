"""Power failures: a sample of the disk states in ./dev test, more than 20,000 with --full."""
from crash import power
from crash.scenarios import SCENARIOS
from lib import totals

FULL = False
SEED = 20261126
EACH = {False: 40, True: 2400}          # states of a scenario
# The other rein's writes would be missing from the trace; and of a box the trace holds what is in no file system (mounts, its new root).
UNTRACED = ("two sessions", "boxed", "layered")
SHARE = {"long": 0.1, "dying stream": 0.3}


def blackouts(name):
    states, operations, stats = power.blackouts(name, EACH[FULL] * SHARE.get(name, 1), SEED)
    print(f"crash/power: {name}: {states} disk states after {operations} operations, 0 violations: {stats}", flush=True)
    totals.add("disk states", states)


def after_kills(name):
    states, operations, stats = power.blackouts_after_kills(name, 40 if FULL else 3, EACH[FULL], SEED)
    print(f"crash/power after kills: {name}: {states} disk states after {operations} operations, 0 violations: {stats}",
          flush=True)
    totals.add("disk states", states)


def add(what, title, name):
    def test():
        what(name)
    globals()[f"test_{title}_{name.replace(' ', '_')}"] = test


for each in SCENARIOS:
    if each not in UNTRACED:
        add(blackouts, "power", each)
for each in ("edits", "commands", "writes"):    # a job would go on under strace when rein was killed
    add(after_kills, "power_after_kills", each)
