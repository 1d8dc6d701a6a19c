"""A guard is trusted once a planted defect has turned it red: what to change in a source file, and where it must show."""
import atexit
import glob
import os
import shutil
import subprocess
import tempfile
import threading

from crash import power, sweep
from crash.scenarios import Violation
from lib.rein import RELEASE, TOP, Skip, check
from peer import test_layer as layer_tests
from tool import test_worker as worker_tests

FULL = False
SEED = 20261125

# name: (file, old text, new text, check, scenario)
DEFECTS = {
    "intent after effect": ("src/core/calls.c", "    if (runs[0]->call.effect == EFFECT_PURE) {\n        log_flush(&s->log);",
                            "    if (runs[0]->call.effect) {\n        (void)e;", "kill", "commands"),
    "a request lost in a crash costs nothing": ("src/core/view.c", "    v->used.in += v->set_aside_tokens;\n", "", "kill", "edits"),
    "secrets pass between two pieces": ("src/core/redact.c", "    release(r, certain(r), out);\n", "    (void)certain;\n    release(r, r->held.n, out);\n",
                                        "unit", "unit-redact"),
    "gap after a failed append": ("src/core/store.c", "    if (first != last + 1)\n", "    if (first < last)\n", "unit", "unit-log"),
    "late writes not fenced": ("src/core/store.c", "    if ((uint64_t)now != op->lease.epoch)\n", "    if (!now)\n", "unit", "unit-log"),
    "opaque calls repeated": ("src/core/view.c", 'c->pure = str_is(js_str(b, "effect"), "pure");', "c->pure = true;", "kill",
                              "commands"),
    "told before commit": ("src/core/log.c", "    l->under_way++;\n",
                           "    for (size_t i = 0; i < b->n && l->durable; i++)\n        l->durable(l->durable_arg, b->evs[i]);\n"
                           "    l->under_way++;\n", "kill", "edits"),
    "files written in place": ("src/files/ops.c", "    r = write_temp(o, dir, fd >= 0 || o->q->alike ? &old : NULL);\n",
                               "    if (fd >= 0) {\n        int bad = openat(dir, name, O_WRONLY | O_TRUNC);\n\n"
                               "        if (write(bad, o->q->data.p, o->q->data.n) < 0)\n            return -EIO;\n"
                               "        return 0;\n    }\n    r = write_temp(o, dir, fd >= 0 || o->q->alike ? &old : NULL);\n", "kill",
                               "edits"),
    "temporary file left": ("src/tool/file.c", "    int r = env_tidy(c->env, p->path, c->foreign ? NULL : c->key, part, e);\n",
                            "    int r = env_tidy(c->env, p->path, NULL, part, e);\n", "kill", "writes"),
    "what a killed rein did not synced": ("src/files/ops.c", "    r = sync_names(o, dir);\n    return r < 0 ?",
                                          "    r = 0;\n    return r < 0 ?", "power after kills", "edits"),
    "synchronous=NORMAL": ("src/core/store.c", "PRAGMA synchronous=FULL", "PRAGMA synchronous=NORMAL", "power", "commands"),
    "directory not synced": ("src/files/ops.c", "fd < 0 ? sync_names(o, dir) : fsync(dir) < 0 ? -errno : 0;\n", "0;\n", "power", "edits"),
    "file not synced": ("src/files/ops.c", "    return fsync(fd) < 0 ? say(o, -errno, \"cannot make durable: \") : 0;\n",
                        "    return 0;\n", "power", "edits"),
    "commands not synced": ("src/env/command.c", "    j->result = syncfs(j->fd);\n", "    j->result = 0;\n", "power", "commands"),
    "a new store's name not synced": ("src/core/store.c", "        r = sync_names(s->home);\n",
                                      "        r = s->home && sync_names ? 0 : -1;\n", "power", "edits"),
    "names synced only by who made them": ("src/core/store.c", "    if (r == 0 && s->mode == STORE_WRITE)\n        r = settle",
                                           "    if (r == 0 && s->mode == STORE_WRITE && format) {\n"
                                           "        cleanup(freep) char *lock = xasprintf(\"%s/lease\", s->home);\n\n"
                                           "        s->lock_fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);\n        return 0;\n    }\n"
                                           "    if (r == 0 && s->mode == STORE_WRITE)\n        r = settle", "power after early kills", "edits"),
    "restart of the machine ignored": ("src/core/calls.c", "    run->call.same_life = *env_life(run->call.env) &&",
                                       "    run->call.same_life = true ||", "power", "commands"),
    "failed fsync of a file tried again": ("src/files/ops.c", "    return fsync(fd) < 0 ? say", "    return fsync(fd) < 0 && fsync(fd) < 0 ? say",
                                           "syncs", "edits"),
    "failed commit tried again": ("src/core/store.c", "    if (r == 0)\n        r = run(s, ST_COMMIT);\n    if (r < 0) {\n        r = store_error",
                                  "    if (r == 0)\n        r = run(s, ST_COMMIT);\n    if (r < 0) {\n        rollback(s);\n"
                                  "        r = run(s, ST_BEGIN);\n"
                                  "        for (struct op *op = first; op != end && r == 0; op = op->next)\n"
                                  "            r = append_one(s, op);\n        if (r == 0)\n            r = run(s, ST_COMMIT);\n    }\n"
                                  "    if (r < 0) {\n        r = store_error", "syncs", "edits"),
}

DEFECTS.update({
    "told what a killed rein did not sync": ("src/core/store.c", "    if (fd >= 0 && fdatasync(fd) < 0 && errno",
                                             "    if (fd >= 0 && errno == -1 && errno", "power after kills at the first edit", "edits"),
    "a refusal soon forgotten": ("src/core/ledger.c", "    return MIN(q->until, now + q->wait);\n", "    return MIN(q->struck, now);\n", "some kills",
                                 "refused"),
    "nothing set aside": ("src/core/request.c", "s->with.budget_cap, entry, reserve->cost,", "s->with.budget_cap, entry, 0,",
                          "some kills", "refused"),
    "commands outlive rein": ("src/box/rein-box.c", "            if (!r->job)\n                return \"orphan\";\n", "", "kill", "cancel"),
    "a report given away too soon": ("src/env/command.c", "    int fd = spool_reuse(l, path);\n",
                                     "    int fd = (spool_turn(l), spool_reuse(l, path));\n", "kill", "commands"),
    "a file tool in doubt": ("src/tool/file.c", "        c->result->outcome = OUT_NOT_DONE;\n        if (count[OTHERWISE]",
                             "        c->result->outcome = OUT_UNKNOWN;\n        if (count[OTHERWISE]", "kill", "edits"),
    "a patch left in part": ("src/tool/file.c", "    if (count[OTHERWISE] == 0 && rebuild && !c->foreign)\n",
                             "    if (count[OTHERWISE] == 0 && rebuild && c->foreign)\n", "kill", "patches"),
    "a patch not put back": ("src/tool/file.c", "    for (size_t i = n; i-- > 0;) {\n", "    for (size_t i = 0; i-- > 0;) {\n", "errors", "patches"),
    "a lost process's change not looked for": ("src/env/local.c", "done = r == 0 && (after ? st.exists && hash_eq(&now, after) : !st.exists);",
                                               "done = r == 0 && !st.exists;", "worker", "edits"),
    "an earlier process not waited for": ("src/env/worker.c", "    if (r == 0 && w->session)\n", "    if (r == 0 && w->session && w->life > 9)\n",
                                          "waits", "edits"),
    "a layer put in place before it is said": ("src/files/layer_apply.c", "    int r = begun ? 0 : layer_put_state(l, by, true);",
                                               "    int r = begun && !by;", "layers", "edits"),
    "a full disk not noticed": ("src/core/store.c", "        r = store_error(s, &e, \"an append\");\n",
                                "        r = store_error(s, &e, \"an append\");\n        r = r == -ENOSPC ? 0 : r;\n", "errors", "edits"),
    "jobs outlive their session": ("src/core/turn.c", "    jobs_end(s);\n", "", "kill", "jobs"),
    "approval taken for given": ("src/core/policy.c", "    if (effect == EFFECT_PURE) {", "    if (effect == EFFECT_PURE || s->view.epoch > 2) {",
                                 "kill", "approval"),
    "counters start again": ("src/core/view.c", "    case EV_SET:\n        fold_settings(v, b);\n",
                             "    case EV_SET:\n        v->used = (struct usage){0};\n        fold_settings(v, b);\n", "kill", "budget"),
    "half of a migration": ("src/core/store.c", "ADD COLUMN boot TEXT NOT NULL DEFAULT '';\"\n",
                            "ADD COLUMN boot TEXT NOT NULL DEFAULT ''; COMMIT; BEGIN IMMEDIATE;\"\n", "kill", "migration"),
})

CHECKS = {
    "kill": lambda name, binary: sweep.sweep(name, None, SEED, binary),
    "some kills": lambda name, binary: sweep.sweep(name, 200, SEED, binary),
    "power": lambda name, binary: power.blackouts(name, 600, SEED, binary),
    "power after kills": lambda name, binary: power.blackouts_after_kills(name, 200, 4000, SEED, binary),
    "power after kills at the first edit": lambda name, binary: [power.blackouts_after_kills(name, 12, 2400, SEED + i, binary, range(74, 80)) for i in range(4)],
    "power after early kills": lambda name, binary: power.blackouts_after_kills(name, 50, 1000, SEED, binary, range(35, 60)),
    "worker": lambda name, binary: sweep.worker_sweep(name, None, SEED, binary),
    "layers": lambda name, binary: layer_tests.killed(binary, None),
    "waits": lambda name, binary: worker_tests.waits(binary),
    "errors": lambda name, binary: sweep.error_sweep(name, 800, SEED, binary),
    # A play leaves out a sync where two runs differ by a call, which on a busy machine may be the one that matters.
    "syncs": lambda name, binary: [sweep.failed_syncs(name, binary) for _ in range(4)],
}


bases, BASES_LOCK = {}, threading.Lock()


def base(tests):
    """A copy of the sources that is built; what is planted into a copy of it takes one file and the links to build."""
    with BASES_LOCK:
        if tests not in bases:
            top = tempfile.mkdtemp(prefix="rein-base-")
            atexit.register(shutil.rmtree, top, True)
            for part in ("src", "harness", "tools", "test", "bench", "meson.build", "meson_options.txt"):
                source = os.path.join(TOP, part)
                (shutil.copytree if os.path.isdir(source) else shutil.copy2)(source, os.path.join(top, part))
            folder = os.path.join(top, "build")
            for command in (["meson", "setup", folder, top, f"-Dtests={str(tests).lower()}", "-Doptimization=0"], ["ninja", "-C", folder]):
                out = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
                check(out.returncode == 0, out.stdout.decode()[-2000:])
            bases[tests] = top
        return bases[tests]


def build(top, path, old, new, tests):
    shutil.copytree(base(tests), top, dirs_exist_ok=True)
    with open(os.path.join(top, path), encoding="utf-8") as f:
        text = f.read()
    check(text.count(old) == 1, "the defect no longer fits", path)
    with open(os.path.join(top, path), "w", encoding="utf-8") as f:
        f.write(text.replace(old, new))
    folder = os.path.join(top, "build")
    out = subprocess.run(["ninja", "-C", folder], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    check(out.returncode == 0 and b"Compiling" in out.stdout, "the defect was not built in", out.stdout.decode()[-2000:])
    return folder


def must_be_found(name, play):
    try:
        play()
    except Violation as e:
        print(f"crash/defect: {name}: found: {str(e)[:200]}", flush=True)
        return
    raise AssertionError(f"the planted defect '{name}' was not found")


def planted(name):
    path, old, new, how, scenario = DEFECTS[name]
    with tempfile.TemporaryDirectory() as top:
        folder = build(top, path, old, new, how == "unit")
        if how != "unit":
            must_be_found(name, lambda: CHECKS[how](scenario, os.path.join(folder, "rein")))
            return
        out = subprocess.run([os.path.join(folder, "test", scenario)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        check(out.returncode == 1, f"the planted defect '{name}' was not found")


def test_defect_libeatmydata():
    """A library that turns every sync into nothing is put in front of rein."""
    found = glob.glob("/usr/lib/*/libeatmydata.so*") + glob.glob("/usr/lib/libeatmydata/libeatmydata.so")
    if not found:
        raise Skip("libeatmydata is not installed")
    must_be_found("libeatmydata", lambda: power.blackouts("commands", 600, SEED, RELEASE, found[0]))


def add(name):
    def test():
        planted(name)
    globals()["test_defect_" + name.replace(" ", "_")] = test


for each in DEFECTS:
    add(each)
