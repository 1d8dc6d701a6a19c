"""Power failures: a sample of the disk states in ./dev test, more than 20,000 with --full."""
from crash import power

FULL = False
SEED = 20261126
EACH = {False: 40, True: 1700}          # states of a scenario


def run(name, share=1.0):
    states, operations, stats = power.blackouts(name, EACH[FULL] * share, SEED)
    print(f"power/{name}: {states} disk states after {operations} operations, 0 violations, outcomes {stats}", flush=True)


def test_power_edits():
    run("edits")


def test_power_writes():
    run("writes")


def test_power_commands():
    run("commands")


def test_power_readers():
    run("readers")


def test_power_approval():
    run("approval")


def test_power_http():
    run("http")


def test_power_dying_stream():
    run("dying stream")


def test_power_budget():
    run("budget")


def test_power_cancel():
    run("cancel")


def test_power_resumed_twice():
    run("resumed twice")


def test_power_fork():
    run("fork")


def test_power_jobs():
    run("jobs")


def test_power_long():
    run("long", 0.1)


def test_power_migration():
    run("migration")
