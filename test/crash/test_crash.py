"""kill -9 at durable calls: a sample in ./dev test, all of them with --full; and planted defects that must be found."""
import os
import shutil
import signal
import subprocess
import tempfile

from crash import sweep
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


def test_kill_long():
    run("long")


def test_kill_migration():
    run("migration")


def test_errors():
    """The same calls fail instead: one alone, or all from one on."""
    for name in ("edits", "writes", "commands", "http", "budget", "fork", "migration"):
        points, stats = sweep.error_sweep(name, None if FULL else 30, SEED)
        print(f"crash/errors: {name}: {points} errors, 0 violations, outcomes {stats}", flush=True)


def test_failed_syncs():
    """An fsync that failed is not tried again and believed."""
    for name in ("edits", "commands"):
        print(f"crash/failed syncs: {name}: {sweep.failed_syncs(name)}, none believed", flush=True)


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


# A guard is trusted once a planted defect has turned it red: what to change in a source file, and where it must show.
DEFECTS = {
    "intent after effect": ("src/core/calls.c", "    if (runs[0]->call.tool->effect == EFFECT_PURE) {\n        log_flush(&s->log);",
                            "    if (runs[0]->call.tool->effect) {\n        (void)e;", "commands"),
    "gap after a failed append": ("src/core/store.c", "    if (first != (last ? last : EVENT_KEY(key, 0)) + 1)\n",
                                  "    if (first < last)\n", "unit-log"),
    "late writes not fenced": ("src/core/store.c", "    if ((uint64_t)now != op->lease.epoch)\n", "    if (!now)\n",
                               "unit-log"),
    "opaque calls repeated": ("src/core/view.c", 'c->pure = str_is(js_str(b, "effect"), "pure");', "c->pure = true;", "commands"),
    "told before commit": ("src/core/log.c", "    l->under_way++;\n",
                           "    for (size_t i = 0; i < b->n && l->durable; i++)\n        l->durable(l->durable_arg, b->evs[i]);\n"
                           "    l->under_way++;\n", "edits"),
    "files written in place": ("src/env/local.c", "    r = write_temp(j, dir, fd >= 0 ? &old : NULL);\n",
                               "    if (fd >= 0) {\n        int bad = openat(dir, name, O_WRONLY | O_TRUNC);\n\n"
                               "        if (write(bad, j->data.p, j->data.n) < 0)\n            return -EIO;\n"
                               "        return 0;\n    }\n    r = write_temp(j, dir, fd >= 0 ? &old : NULL);\n", "edits"),
    "temporary file left": ("src/tool/file.c", "    r = c->foreign ? 0 : env_tidy(c->env, path, c->key, &e);\n", "    r = 0;\n", "writes"),
}


def planted(name):
    path, old, new, scenario = DEFECTS[name]
    with tempfile.TemporaryDirectory() as top:
        for part in ("src", "harness", "tools", "test", "meson.build", "meson_options.txt"):
            source = os.path.join(TOP, part)
            (shutil.copytree if os.path.isdir(source) else shutil.copy)(source, os.path.join(top, part))
        with open(os.path.join(top, path), encoding="utf-8") as f:
            text = f.read()
        check(text.count(old) == 1, "the defect no longer fits", path)
        with open(os.path.join(top, path), "w", encoding="utf-8") as f:
            f.write(text.replace(old, new))
        build = os.path.join(top, "build")
        unit = scenario.startswith("unit")
        for command in (["meson", "setup", build, top, f"-Dtests={str(unit).lower()}"], ["ninja", "-C", build]):
            out = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
            check(out.returncode == 0, out.stdout.decode()[-2000:])
        if unit:
            out = subprocess.run([os.path.join(build, "test", scenario)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
            check(out.returncode == 1, f"the planted defect '{name}' was not found")
            return
        try:
            sweep.sweep(scenario, None, SEED, os.path.join(build, "rein"))
        except Violation as e:
            print(f"crash/defect: {name}: found: {str(e)[:140]}", flush=True)
            return
        raise AssertionError(f"the planted defect '{name}' was not found")


def test_defect_intent_after_effect():
    planted("intent after effect")


def test_defect_gap():
    planted("gap after a failed append")


def test_defect_late_writes():
    planted("late writes not fenced")


def test_defect_opaque_repeated():
    planted("opaque calls repeated")


def test_defect_told_before_commit():
    planted("told before commit")


def test_defect_written_in_place():
    planted("files written in place")


def test_defect_temporary_left():
    planted("temporary file left")
