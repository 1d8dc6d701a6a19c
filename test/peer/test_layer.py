"""Commands over a layer: kept, the workspace is what a plain run leaves; dropped or taken back, it is what it was; killed on the way, one or the other."""
import hashlib
import json
import os
import pty
import random
import shutil
import stat
import subprocess
import time

from crash.scenarios import Count, Violation
from lib.rein import RELEASE, SANITISED, Place, Skip, check, give_to_user, need_live, over_an_overlay, story
from lib.script import call, script

# Random operations on files, the same ones for the same seed and tree.
PROGRAM = r'''
import os, random, sys
r = random.Random(int(sys.argv[1]))
NAMES = [b"a", b"b", b"c c", b"\xff\xfe", b"new\nline", b"-x", "\u4e16".encode(), b"d", b"e.txt", b"q\"q", b"t\tt", b"z" * 100]

def tree(kinds):
    found = []
    for top, dirs, files in os.walk(b"."):
        if top == b"." :
            dirs[:] = [d for d in dirs if d != b".rein"]
        dirs.sort()
        for name in sorted(files + dirs):
            p = os.path.join(top, name)
            k = "l" if os.path.islink(p) else "d" if os.path.isdir(p) else "f" if os.path.isfile(p) else "o"
            if k in kinds:
                found.append(p)
    return found

def place():
    p = os.path.join(r.choice(tree("d") + [b"."]), r.choice(NAMES))
    if os.path.lexists(p) and not os.path.isfile(p):
        raise OSError                   # a fifo would be waited for
    return p

def one():
    what = r.choice(["create", "create", "write", "truncate", "rename", "rename", "link", "unlink", "unlink", "mkdir", "rmtree", "chmod", "symlink", "xattr", "sparse",
                     "append", "fifo", "over", "dirmode", "type"])
    files, dirs = tree("f"), tree("d")
    if what == "create":
        open(place(), "wb").write(r.randbytes(r.randrange(3000)))
    elif what == "write" and files:
        open(r.choice(files), "wb").write(r.randbytes(r.randrange(3000)))
    elif what == "append" and files:
        open(r.choice(files), "ab").write(r.randbytes(30))
    elif what == "truncate" and files:
        os.truncate(r.choice(files), r.randrange(100))
    elif what == "rename" and files:
        os.rename(r.choice(files), place())
    elif what == "over" and len(files) > 1:
        os.replace(r.choice(files), r.choice(files))
    elif what == "link" and files:
        p = place() + b".l"
        open(p, "wb").write(b"linked")
        os.link(p, p + b"2")
    elif what == "unlink" and files:
        os.unlink(r.choice(files))
    elif what == "mkdir":
        os.makedirs(os.path.join(place(), r.choice(NAMES)))
    elif what == "rmtree" and dirs:
        import shutil
        shutil.rmtree(r.choice(dirs))
    elif what == "chmod" and files:
        os.chmod(r.choice(files), r.choice([0o600, 0o644, 0o755, 0o444]))
    elif what == "dirmode" and dirs:
        os.chmod(r.choice(dirs), r.choice([0o700, 0o755, 0o775]))
    elif what == "symlink":
        os.symlink(r.choice([b"a", b"../x", b"/nowhere", b"d/e"]), place())
    elif what == "xattr" and files:
        os.setxattr(r.choice(files), "user.k%d" % r.randrange(3), r.randbytes(5))
    elif what == "sparse":
        with open(place(), "wb") as f:
            f.seek(r.randrange(1 << 20))
            f.write(b"end")
    elif what == "fifo":
        os.mkfifo(place())
    elif what == "type" and files:
        p = r.choice(files)
        os.unlink(p)
        os.mkdir(p)
        open(p + b"/in", "wb").write(b"x")

for _ in range(int(sys.argv[2])):
    try:
        one()
    except OSError:
        pass
'''


def snapshot(top, times=False, without=()):
    """What there is: type, mode, content, target, attributes, which names are the same file; with `times`, when it was written."""
    top = os.fsencode(top)
    found, first = {}, {}
    for folder, dirs, files in os.walk(top):
        if folder == top:
            dirs[:] = [d for d in dirs if d != b".rein"]
        for name in [b""] * (folder == top) + dirs + files:
            path = os.path.join(folder, name) if name else top
            if name in without:
                continue
            st = os.lstat(path)
            rel = os.path.relpath(path, top)
            entry = [stat.S_IFMT(st.st_mode), stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid]
            if stat.S_ISLNK(st.st_mode):
                entry.append(os.readlink(path))
            elif stat.S_ISREG(st.st_mode):
                with open(path, "rb") as f:
                    entry += [st.st_size, hashlib.sha256(f.read()).hexdigest(), first.setdefault(st.st_ino, rel)]
            if not stat.S_ISLNK(st.st_mode):
                entry.append(sorted((k, os.getxattr(path, k)) for k in os.listxattr(path)))
            if times:
                entry.append(st.st_mtime_ns)
            found[rel] = entry
    return found


def difference(a, b):
    return [(p, a.get(p), b.get(p)) for p in sorted({*a, *b}) if a.get(p) != b.get(p)][:4]


def box(place, command, how, *more, env=None, as_user=()):
    report = os.path.join(place.top, "report")
    out = subprocess.run([*as_user, place.binary, "box", "--layer", how, "-q", "--report", report, *more, "--", command], cwd=place.work, env=dict(place.env, **(env or {})),
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, check=False)
    try:
        with open(report, encoding="utf-8") as f:
            return out, json.load(f)
    except (FileNotFoundError, json.JSONDecodeError):       # it was killed before, or over it
        return out, {}


def fill(work, seed):
    subprocess.run(["python3", "-c", PROGRAM, str(seed), "25"], cwd=work, check=True)


def properties(seeds, as_user):
    done = changed = 0
    for seed in seeds:
        with Place(SANITISED if seed % 5 == 0 and not as_user else RELEASE, base="/var/tmp") as place:
            plain = os.path.join(place.top, "plain")
            fill(place.work, seed)
            shutil.copytree(place.work, plain, symlinks=True, dirs_exist_ok=True, ignore=lambda d, names: [n for n in names if stat.S_ISFIFO(os.lstat(os.path.join(d, n)).st_mode)])
            for folder, _, names in os.walk(os.fsencode(place.work)):
                for name in names:
                    if stat.S_ISFIFO(os.lstat(os.path.join(folder, name)).st_mode):
                        os.mkfifo(os.path.join(os.fsencode(plain), os.path.relpath(os.path.join(folder, name), os.fsencode(place.work))))
            place.write("p.py", PROGRAM)
            shutil.copy(place.path("p.py"), plain)
            for folder, dirs, names in os.walk(os.fsencode(place.work)):        # what has two names is another test's
                for name in names:
                    path = os.path.join(folder, name)
                    if os.lstat(path).st_nlink > 1:
                        os.unlink(path)
                        other = os.path.join(os.fsencode(plain), os.path.relpath(path, os.fsencode(place.work)))
                        os.unlink(other)
            users = give_to_user(place) if as_user else []
            for folder, dirs, names in os.walk(os.fsencode(plain)):
                for name in [*dirs, *names]:
                    path, like = os.path.join(folder, name), os.path.join(os.fsencode(place.work), os.path.relpath(os.path.join(folder, name), os.fsencode(plain)))
                    if not os.path.islink(path):
                        os.chmod(path, os.lstat(like).st_mode & 0o7777)
            before = snapshot(place.work, True)
            line = f"python3 p.py {seed + 1000} 40"
            out, report = box(place, line, "drop", as_user=users)
            check(out.returncode == 0 and report["kept"] is False, seed, out, report)
            check(snapshot(place.work, True) == before and not os.path.exists(place.path(".rein")), seed, "dropped", difference(before, snapshot(place.work, True)))
            out, report = box(place, line, "keep", as_user=users)
            check(out.returncode == 0 and report["kept"] == (report["changed"] > 0), seed, out, report)
            subprocess.run([*users, "python3", "p.py", str(seed + 1000), "40"], cwd=plain, check=True)
            kept = snapshot(place.work, True)
            check(snapshot(place.work) == snapshot(plain), seed, "kept", difference(snapshot(place.work), snapshot(plain)))
            changed += report["changed"]
            if report["kept"]:
                for word, want in (("undo", before), ("redo", kept), ("undo", before)):
                    out = subprocess.run([*users, place.binary, word], cwd=place.work, env=place.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
                    check(out.returncode == 0 and snapshot(place.work, True) == want, seed, word, out, difference(want, snapshot(place.work, True)))
            done += 1
    return done, changed


FULL = False


def test_random_operations():
    """Kept it equals a plain run, dropped and taken back what was before, byte for byte, times included."""
    need_live()
    done, changed = properties(range(400 if FULL else 25), False)
    print(f"peer/layer: {done} random programs as root, {changed} changes: kept, dropped, taken back, put back", flush=True)
    return done


def test_random_operations_of_a_user():
    need_live()
    if os.geteuid() != 0:
        return 0
    done, changed = properties(range(500, 900 if FULL else 515), True)
    print(f"peer/layer: {done} random programs as a user, {changed} changes", flush=True)
    return done


MANY = """
import os, sys
n = int(sys.argv[1])
for d in range(40):
    os.makedirs(f"m{d}")
    for i in range(n):
        open(f"m{d}/f{i}", "w").write(f"{d} {i}")
for d in range(20):
    for i in range(n // 2):
        open(f"old{d}/f{i}", "a").write("more")
    for i in range(n // 2, n):
        os.unlink(f"old{d}/f{i}")
deep = "deep"
for i in range(150):
    deep += f"/{i}"
os.makedirs(deep)
open(deep + "/bottom", "w").write("x")
os.truncate("sparse", 3 << 29)
with open("sparse", "r+b") as f:
    f.seek(1 << 30)
    f.write(b"in the middle")
with open("holes", "wb") as f:
    f.truncate(1 << 30)
"""


def test_many_deep_and_sparse():
    """2,000 new files (20,000 with --full), half as many changed or removed, 150 folders in each other, files with holes: as a plain run leaves them, and as they were."""
    need_live()
    with Place(RELEASE, base="/var/tmp") as place:
        plain, each = os.path.join(place.top, "plain"), 500 if FULL else 50
        for d in range(20):
            for i in range(each):
                place.write(f"old{d}/f{i}", f"{i}")
        place.write("many.py", MANY)
        with open(place.path("sparse"), "wb") as f:
            f.truncate(1 << 29)
        shutil.copytree(place.work, plain, ignore=lambda d, names: [n for n in names if n == "sparse"])
        with open(os.path.join(plain, "sparse"), "wb") as f:
            f.truncate(1 << 29)

        def state(top):
            return snapshot(top, without=(b"sparse", b"holes")), [(os.stat(os.path.join(top, n)).st_size, os.stat(os.path.join(top, n)).st_blocks < 1000) for n in ("sparse", "holes") if os.path.exists(os.path.join(top, n))]
        before = state(place.work)
        out, report = box(place, f"python3 many.py {each}", "keep")
        check(out.returncode == 0 and report["kept"] and report["changed"] > 60 * each, report.get("changed"), report.get("not_kept"), out)
        subprocess.run(["python3", "many.py", str(each)], cwd=plain, check=True)
        after = state(place.work)
        check(after == state(plain), difference(after[0], state(plain)[0]), after[1], state(plain)[1])
        with open(place.path("sparse"), "rb") as f:
            f.seek(1 << 30)
            check(f.read(13) == b"in the middle")
        for word, want in (("undo", before), ("redo", after), ("undo", before)):
            check(place.rein(word).returncode == 0 and state(place.work) == want, word)
        print(f"peer/layer: {report['changed']} changes at once: kept, taken back, put back", flush=True)


def killed(binary, some):
    """How often it was kept, and of how many points. Raises Violation for what is neither before nor after."""
    line = "echo new > n; echo two > a; rm b; mkdir d; echo x > d/f; mv c e; rm -r g; mkdir g; echo y > g/z; chmod 600 h"
    with Place(binary) as place:
        saved = os.path.join(place.top, "saved")

        def fresh():
            shutil.rmtree(place.work)
            shutil.copytree(saved, place.work)
        for name in ("a", "b", "c", "g/i", "g/k", "h"):
            place.write(name, f"{name}\n")
        shutil.copytree(place.work, saved)
        before = snapshot(place.work)
        count = Count(place)
        check(box(place, line, "keep", env=count.env())[1]["kept"])
        total, after = count.values()[0], snapshot(place.work)
        points = [(n, how) for n in range(1, total + 1) for how in ("before", "after", "lost")]
        kept = 0
        for n, how in random.Random(5).sample(points, some) if some else points:
            fresh()
            box(place, line, "keep", env=Count(place, f"{n}:{how}").env())
            # The next one in this workspace sets right what it finds.
            out, _ = box(place, "true", "drop")
            now = snapshot(place.work)
            if out.returncode or now not in (before, after):
                raise Violation(f"killed at {n}:{how}: {out} {difference(before, now)} {difference(after, now)}")
            kept += now == after
        return kept, len(points)


def test_killed_while_it_is_kept():
    """rein and the process that works on files are killed at each durable call: before, or after carrying on, nothing in between."""
    need_live()
    kept, points = killed(RELEASE, None if FULL else 60)
    check(kept > 5, kept)
    print(f"peer/layer: killed at {points if FULL else 60} of {points} points of a layer that is kept: {kept} times it was, else nothing happened", flush=True)


def test_someone_else_changes_it():
    """In place or by rename, during the command or before it is taken back: nothing is kept then, and nothing is lost."""
    need_live()
    for how in ("echo mine >> a", "echo mine > t; mv t a", "rm a", "rm a; mkdir a", "echo mine > n"):
        with Place(RELEASE) as place:
            place.write("a", "one\n")
            place.write("b", "one\n")
            p = subprocess.Popen([place.binary, "box", "--layer", "keep", "--report", place.top + "/r", "-q", "--", "echo theirs > n; sed -i s/one/two/ b; touch here; while [ ! -e /tmp/go ]; do sleep 0.05; "
                                  "[ $((i=i+1)) -gt 20 ] && break; done; echo more >> a"], cwd=place.work, env=place.env, stderr=subprocess.PIPE)
            time.sleep(0.4)
            subprocess.run(how, shell=True, cwd=place.work, check=True)
            theirs = snapshot(place.work)
            p.communicate()
            with open(place.top + "/r", encoding="utf-8") as f:
                report = json.load(f)
            if how == "rm a":           # the command makes a new one then, as it would without a layer
                check(report["kept"] and place.read("a") == b"more\n", report)
                continue
            if how == "rm a; mkdir a":  # and this one fails by itself
                check(report["exit"] and os.path.isdir(place.path("a")), report)
                continue
            check(not report["kept"] and "else" in report.get("not_kept", ""), how, report)
            check(snapshot(place.work) == theirs, how, difference(theirs, snapshot(place.work)))
            with open(os.path.join(place.work, ".rein", "layers", report["layer"], "u", "n"), "rb") as f:
                check(f.read() == b"theirs\n", how)
    with Place(RELEASE) as place:
        place.write("a", "one\n")
        check(box(place, "echo two > a; echo x > n", "keep")[1]["kept"])
        place.write("n", "somebody went on with it\n")
        out = place.rein("undo")
        check(out.returncode == 1 and b"changed by someone else" in out.stderr and place.read("a") == b"two\n" and place.read("n") == b"somebody went on with it\n", out)


def test_what_is_protected_waits():
    """A layer in which something would act outside waits for a person, as a whole."""
    need_live()
    for command in ("mkdir .claude; echo x > .claude/settings.json", "git init -q n; echo x > n/.git/hooks/pre-commit", "git init -q n; git -C n config core.fsmonitor /tmp/x",
                    "mkdir t; git init -q t/n; echo x > t/n/.git/hooks/post-checkout; mv t u", "echo x > .mcp.json", "mkdir -p d/.vscode; echo x > d/.vscode/tasks.json",
                    "git init -q --bare b; echo x > b/hooks/update", "printf 'gitdir: /tmp/other' > .git", "ln -s /tmp .claude"):
        with Place(RELEASE) as place:
            place.write("a", "x\n")
            before = snapshot(place.work)
            out, report = box(place, command + "; echo fine > f", "keep")
            check(report["kept"] is False and "acts outside" in report["not_kept"] and report["changes"].startswith("! "), command, report, out)
            check(snapshot(place.work) == before, command)
            check(place.rein("redo").returncode == 2 and snapshot(place.work) == before, "nobody has seen it")
            check(place.rein("redo", report["layer"]).returncode == 0 and os.path.exists(place.path("f")), command)
            check(place.rein("undo", report["layer"]).returncode == 0 and snapshot(place.work) == before, command)
    for command in ("git init -q n", "git init -q n; cd n; git config user.name a; git config user.email b; echo x > x; git add x; git commit -qm x; git checkout -q -b y", "git clone -q --no-hardlinks r c"):
        with Place(RELEASE) as place:
            subprocess.run("git init -q r; cd r; git config user.name a; git config user.email b; echo x > x; git add x; git commit -qm x", shell=True, cwd=place.work, check=True)
            out, report = box(place, command, "keep")
            check(report["kept"] is True and out.returncode == 0, command, report, out)


# In a repository with settings of its own: what passes, and what waits.
REPOSITORY = """git init -q -b main r; git -C r config user.name a; git -C r config user.email b; mkdir r/.vscode; echo '{}' > r/.vscode/settings.json; ln -s settings.json r/.vscode/tasks.json
git -C r add .; git -C r commit -q -m x; git -C r branch side
git clone -q r w; mv r w; cd w; git config user.name a; git config user.email b; git config core.pager less; git config alias.st status; git config filter.x.clean cat
git config credential.helper store; printf '#!/bin/sh\n' > .git/hooks/pre-commit; chmod +x .git/hooks/pre-commit
mkdir seed seed/hooks; echo '{}' > .vscode/settings.json; printf '[core]\n\tfsmonitor = /tmp/x\n' > seed/config
printf '#!/bin/sh\n' > seed/hooks/post-commit"""
PASSES = [
    "git status -s", "git checkout -q --track origin/side", "git config user.name other", "git config branch.main.note x", "git remote add up ./r; git fetch -q up", "git branch -u origin/side",
    "git config core.autocrlf input", "echo x > f; git add f; git commit -qm f; git stash list; git gc -q", "git worktree add -q wt side", "git -c protocol.file.allow=always submodule --quiet add file://$PWD/r sub",
    "sed -i s/a/a/ .vscode/settings.json", "touch .git/hooks/pre-commit .git/config .vscode/tasks.json", "git rebase -q origin/side; git tag t; git reset -q --hard HEAD~0",
    "git init -q n; git -C n config user.name a", "rm -rf seed", "git config core.pager less", "cp -r seed seed2", "rm -r .vscode", "rm .vscode/settings.json",
]
WAITS = [
    "git config core.hooksPath /tmp", "git config alias.st '!sh'", "git config core.pager 'sh -c x'", "git config --unset core.pager", "git config filter.x.clean 'sh -c x'", "git config include.path /tmp/x",
    "git config core.sshCommand x", "git config credential.helper '!x'", "echo '[core] fsmonitor = x' >> .git/config", "printf '[user]\\n# x \\\\\\n[core]\\n\\tfsmonitor = x\\n' >> .git/config",
    "printf '[user]\\n\\tname = a\\\\\\n[core]\\n\\tfsmonitor = x\\n' >> .git/config", "echo x >> .git/hooks/pre-commit", "rm .git/hooks/pre-commit", "chmod 644 .git/hooks/pre-commit", "cp .git/hooks/pre-commit .git/hooks/pre-push",
    "rm .git/config", "mkdir seed/objects seed/refs; echo 'ref: refs/heads/x' > seed/HEAD", "echo '{\"a\": 1}' > .vscode/settings.json", "ln -sfn /tmp/x .vscode/tasks.json", "rm -rf .git",
    "mv .git .gitx; mkdir .git; cp -r .gitx/. .git; git config core.fsmonitor x", "cp -r seed s2; mkdir s2/objects s2/refs; echo ref: refs/heads/x > s2/HEAD",
    "mkdir -p a/.git; cp -r .git/. a/.git", "git init -q n; git -C n config core.worktree ../../..", "git init -q n; ln -s /tmp n/t; git -C n config core.worktree ../t", "printf 'x\\0y' >> .git/config",
]


def test_git_is_judged_by_key():
    """Over a layer a repository's settings may change, those that run something may not: they stay as they were, or a person is asked."""
    need_live()
    with Place(RELEASE, base="/var/tmp") as place:
        saved = os.path.join(place.top, "saved")
        subprocess.run(REPOSITORY, shell=True, cwd=place.work, check=True, stderr=subprocess.DEVNULL)
        place.work = os.path.join(place.work, "w")
        shutil.copytree(os.path.dirname(place.work), saved, symlinks=True)
        for command, passes in [(c, True) for c in PASSES] + [(c, False) for c in WAITS]:
            shutil.rmtree(os.path.dirname(place.work))
            shutil.copytree(saved, os.path.dirname(place.work), symlinks=True)
            before = snapshot(place.work)
            out, report = box(place, command + "; true", "keep", env={"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "protocol.file.allow", "GIT_CONFIG_VALUE_0": "always"})
            if passes:
                check("not_kept" not in report and out.returncode == 0 and b"fatal" not in out.stdout, command, report, out)
            else:
                check(not report["kept"] and "acts outside" in report.get("not_kept", ""), command, report, out)
                check(snapshot(place.work) == before, command)
    return len(PASSES) + len(WAITS)


def test_killed_over_two_roots():
    """A worktree's files and its repository, which are one layer, are put in place together, wherever rein or its worker is killed."""
    need_live()
    with Place(RELEASE) as place:
        beside(place, "worktree")
        saved = os.path.join(place.top, "saved")
        os.mkdir(saved)

        def copy(of, to):
            for name in ("main", "work"):
                shutil.rmtree(os.path.join(to, name), ignore_errors=True)
                shutil.copytree(os.path.join(of, name), os.path.join(to, name), symlinks=True)

        def both():
            return snapshot(place.work), {k: v for k, v in snapshot(os.path.join(place.top, "main", ".git")).items() if not k.startswith(b"rein-layers") and k != b"." and
                                          not k.endswith((b"index", b"logs/HEAD", b"refs/heads/work")) and b"objects/" not in k}, git(place, "log", "--oneline").count("\n"), git(place, "status", "-s")
        line = "echo two > x; echo y > y; git add -A; git commit -qm y"
        git(place, "status")
        copy(place.top, saved)
        before = both()
        count = Count(place)
        out, report = box(place, line, "keep", env=count.env())
        check(report["kept"], out, report)
        total, after = count.values()[0], both()
        check(after[2] == 2 and after[3] == "", after[2:])
        points = [(n, how) for n in range(1, total + 1) for how in ("before", "after", "lost")]
        kept = 0
        for n, how in points if FULL else random.Random(11).sample(points, 30):
            copy(saved, place.top)
            box(place, line, "keep", env=Count(place, f"{n}:{how}").env())
            out, _ = box(place, "true", "drop")
            now = both()
            check(out.returncode == 0 and now in (before, after) and "error" not in git(place, "fsck"), n, how, out, now[2:], difference(before[0], now[0]), difference(before[1], now[1]))
            kept += now == after
        check(kept > 3, kept)
        print(f"peer/layer: two roots: killed at {len(points) if FULL else 30} of {len(points)} points: {kept} times both were kept, else neither", flush=True)


OUTSIDE = {                             # where git's folder lies outside of the workspace
    "worktree": "git init -q main; cd main; git config user.name a; git config user.email b; echo x > x; git add x; git commit -qm x; git worktree add -q ../work",
    "submodule": "git init -q lib; cd lib; git config user.name a; git config user.email b; echo x > x; git add x; git commit -qm x; cd ..; git init -q main; cd main; "
                 "git -c protocol.file.allow=always submodule --quiet add ../lib work; cd work; git config user.name a; git config user.email b",
}


def git(place, *args):
    return subprocess.run(["git", *args], cwd=place.work, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False).stdout.decode()


def beside(place, kind):
    """A place whose workspace is such a one; git's folder."""
    shutil.rmtree(place.work)
    subprocess.run(OUTSIDE[kind], shell=True, cwd=place.top, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if kind == "submodule":
        place.work = os.path.join(place.top, "main", "work")
    return os.path.realpath(os.path.join(place.work, git(place, "rev-parse", "--git-common-dir").strip()))


def test_git_outside_of_the_workspace():
    """A worktree's commits, and a submodule's, are kept, taken back and held like all else; who looks with git meanwhile changes nothing, who commits does."""
    need_live()
    commit = "echo y > y; git add y; git commit -qm y; git checkout -q -b other; git stash list; git gc -q; git status -s"
    for kind in OUTSIDE:
        with Place(RELEASE, base="/var/tmp") as place:
            folder = beside(place, kind)
            both = lambda: (snapshot(place.work), {k: v for k, v in snapshot(folder).items() if not k.startswith(b"rein-layers") and k != b"."})
            before = both()
            out, report = box(place, commit, "keep")
            check(report["kept"] and out.returncode == 0 and "other" in git(place, "branch", "--show-current") and git(place, "log", "--oneline").count("\n") == 2, kind, out, report)
            git(place, "status")
            git(place, "add", "-A")
            out = place.rein("undo")
            check(out.returncode == 0, kind, out)
            now = both()
            changed = [k for k in {*before[1], *now[1]} if before[1].get(k) != now[1].get(k) and not k.endswith(b"index")]
            check(before[0] == now[0] and not changed, kind, changed, difference(before[0], now[0]))
            check(git(place, "status", "-s") == "" and git(place, "log", "--oneline").count("\n") == 1, kind)
            check(place.rein("redo").returncode == 0 and git(place, "log", "--oneline").count("\n") == 2 and "error" not in git(place, "fsck"), kind)
            for bad in ("git config core.fsmonitor /tmp/x", f"echo x > {folder}/hooks/post-commit", f"echo x > {folder}/hooks/pre-commit; chmod +x {folder}/hooks/pre-commit", "git config alias.x '!sh'"):
                was = both()
                out, report = box(place, bad + "; echo z > z", "keep")
                check(not report["kept"] and ".git/" in report["not_kept"] and both() == was, kind, bad, report)
                box(place, bad + "; echo z > z", "drop")
                check(both() == was, kind, bad)
                out = place.rein("box", "-q", "--", bad)
                check(both() == was, kind, bad, "in place", out)
            check(place.rein("box", "-q", "--", "git commit -q --allow-empty -m live").returncode == 0 and "live" in git(place, "log", "--oneline"), kind, "in place")
            git(place, "commit", "-q", "--allow-empty", "-m", "mine")
            head = git(place, "rev-parse", "HEAD")
            check(place.rein("undo").returncode == 1 and git(place, "rev-parse", "HEAD") == head, kind, "somebody went on")
            for layers in (place.path(".rein/layers"), os.path.join(folder, "rein-layers")):
                check(os.path.isdir(layers), layers)
    with Place(RELEASE, base="/var/tmp") as place:      # a file that only says so
        other = os.path.join(place.top, "other")
        subprocess.run("git init -q other; cd other; git -c user.name=a -c user.email=b commit -q --allow-empty -m x; mkdir .git/worktrees; mkdir .git/worktrees/w; echo ../.. > .git/worktrees/w/commondir; "
                       "echo /elsewhere/.git > .git/worktrees/w/gitdir; cp .git/HEAD .git/worktrees/w", shell=True, cwd=place.top, check=True)
        for pointer in (os.path.join(other, ".git", "worktrees", "w"), os.path.join(other, ".git"), "/etc"):
            place.write(".git", f"gitdir: {pointer}\n")
            out, _ = box(place, f"ls {other}/.git; git log 2>&1", "drop")
            check(b"objects" not in out.stdout and b"not a git repository" in out.stdout, pointer, out)


def test_what_is_worth_a_look():
    """Files that go and of which git has no copy, large ones and those that run later are told first, with what they are."""
    need_live()
    with Place(RELEASE, base="/var/tmp") as place:
        subprocess.run("git init -q .; git config user.name a; git config user.email b; for i in 1 2 3 4 5 6 7 8; do echo $i > f$i; done; mkdir d; echo x > d/in; git add .; git commit -qm x; "
                       "git update-index --index-version 4; echo mine > notes; echo mine > d/notes; echo all: > Makefile", shell=True, cwd=place.work, check=True)
        model = script(place, call("bash", command="rm f1 f2 f3 f4 notes; rm -r d; echo 'all: x' > Makefile; head -c 12000000 /dev/zero > big; mkdir -p .github/workflows; echo x > .github/workflows/ci.yml; "
                                   "echo '#!/bin/sh' > run; chmod +x run"), call("bash", command="rm f5; git rm -q f6"), "say done")
        check(place.rein("exec", "--mode", "auto", "--model", model, "go").returncode == 0)
        told = [b for _, b in story(place.events(), "result")]
        for line in ("-u 5 notes", "-u 5 d/notes", "- 2 d/in", "- 2 f1", "Mr 7 Makefile", "+l 12000000 big", "+r 2 .github/workflows/ci.yml", "+r 10 run"):
            check(line in told[0]["changes"].split("\n"), line, told[0]["changes"])
        shown = told[0]["text"].split("[changed: ")[1]
        check(all(w in shown for w in ("- notes (git has no copy)", "- d/notes (git has no copy)", "M Makefile (runs later)", "+ big (11 MB)", "+ run (runs later)")) and "f1" not in shown, shown)
        check("git has no copy" not in told[1]["text"] and "- f5" in told[1]["text"], told[1])


def test_what_a_layer_copies():
    """More than a gigabyte of what is there: the command is ended, and done in place; new files count for nothing."""
    need_live()
    if not FULL:
        raise Skip("it writes three gigabytes: with --full")
    with Place(RELEASE, base="/var/tmp") as place:
        for name in ("big", "big2"):
            with open(place.path(name), "wb") as f:
                for _ in range(800):
                    f.write(bytes(1 << 20))
        out = place.rein("exec", "--mode", "auto", "--model", script(place, call("bash", command="chmod 600 big big2"), call("bash", command="cat big big2 > other; rm other"), "say done"), "go")
        told = [b for _, b in story(place.events(), "result")]
        check(out.returncode == 0 and "more than a gigabyte" in told[0].get("again", "") and os.stat(place.path("big")).st_mode & 0o777 == 0o600, told)
        check("again" not in told[1] and told[1]["outcome"] == "ok", told[1])


def test_who_looks_with_git_meanwhile():
    """An editor that asks git for the state again and again, before, during and after: nothing of that is a conflict."""
    need_live()
    with Place(RELEASE, base="/var/tmp") as place:
        subprocess.run("git init -q .; git config user.name a; git config user.email b; for i in 1 2 3 4 5 6; do echo $i > f$i; done; git add .; git commit -qm x", shell=True, cwd=place.work, check=True)
        p = subprocess.Popen([place.binary, "box", "--layer", "keep", "--report", place.top + "/r", "-q", "--", "sleep 0.3; echo new > g; git add g; git commit -qm g"], cwd=place.work, env=place.env, stderr=subprocess.PIPE)
        time.sleep(0.15)
        os.utime(place.path("f1"))
        index = os.stat(place.path(".git/index")).st_ino
        git(place, "status")
        check(os.stat(place.path(".git/index")).st_ino != index, "git did not write it anew")
        p.communicate()
        with open(place.top + "/r", encoding="utf-8") as f:
            report = json.load(f)
        check(report["kept"], report)
        git(place, "status")
        check(git(place, "log", "--oneline").count("\n") == 2 and place.rein("undo").returncode == 0 and git(place, "log", "--oneline").count("\n") == 1 and git(place, "status", "-s") == "")
        git(place, "status")
        check(place.rein("redo").returncode == 0 and git(place, "log", "--oneline").count("\n") == 2)
        place.write("mine", "x\n")
        git(place, "add", "mine")
        out = place.rein("undo")
        check(out.returncode == 1 and b"index was changed by someone else" in out.stderr, "what was added is a change", out)


WORK = [
    ("cc", "mkdir mk; cd mk; printf 'int main(void) { return 0; }' > m.c; printf 'm: m.c\\n\\tcc -o m m.c\\n' > Makefile; make && make", "up to date"),
    ("cmake", "printf 'cmake_minimum_required(VERSION 3.10)\\nproject(x C)\\nadd_executable(m m.c)\\n' > CMakeLists.txt; printf 'int main(void) { return 0; }' > m.c; cmake -S . -B cb && "
     "cmake --build cb && ./cb/m && echo built", "built"),
    ("git", "echo x > f; git add -A; git commit -qm one; git checkout -qb w; echo y > g; git add g; git commit -qm two; git checkout -q -; echo z > h; git add h; git commit -qm three; "
     "git rebase -q w; echo s >> f; git stash -q; git stash pop -q; git gc -q; git fsck && git log --oneline | wc -l", "3"),
    ("git", "git commit -q --allow-empty -m x; git worktree add -q wt; ls wt/.git && git worktree list | wc -l", "2"),
    ("npm", "mkdir pkg; echo '{\"name\":\"local-thing\",\"version\":\"1.0.0\"}' > pkg/package.json; npm install --no-audit --no-fund ./pkg && ls node_modules", "local-thing"),
    ("python3", "python3 -c \"import sqlite3; c = sqlite3.connect('db'); c.execute('pragma journal_mode=wal'); c.execute('create table t(x)'); c.execute('insert into t values (7)'); c.commit(); c.close()\" "
     "&& python3 -c \"import sqlite3; print(sqlite3.connect('db').execute('select x from t').fetchone())\"", "(7,)"),
    ("tar", "mkdir t; echo x > t/x; tar cf t.tar t; rm -r t; tar xf t.tar; cat t/x", "x"),
    ("sed", "echo one > s; sed -i s/one/two/ s; cat s", "two"),
    ("mv", "mkdir -p old/deep; echo x > old/deep/f; mv old moved; cat moved/deep/f", "x"),
]


def test_real_work_on_a_layer():
    need_live()
    with Place(RELEASE) as place:
        subprocess.run("git init -q .; git config user.name a; git config user.email b; mkdir existing; echo x > existing/f", shell=True, cwd=place.work, check=True)
        for program, command, want in WORK:
            if not shutil.which(program):
                continue
            out, report = box(place, command + " 2>&1", "keep", env={"HOME": os.environ.get("HOME", "/root")})
            check(out.returncode == 0 and want in out.stdout.decode() and report["kept"], command, report.get("not_kept"), out)
        out, report = box(place, "mv existing renamed && cat renamed/f", "keep")
        check(report["kept"] and out.stdout == b"x\n", out, report)
        check(subprocess.run(["git", "fsck"], cwd=place.work, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False).returncode == 0)
        check(b"up to date" in subprocess.run(["make", "-C", "mk"], cwd=place.work, stdout=subprocess.PIPE, check=False).stdout, "make outside finds work to do")
    return len(WORK) + 1


def test_a_session_over_layers():
    """Each command is told what it changed; it is taken back, the last one first, and put in place again, the first one first."""
    need_live()
    with Place(RELEASE) as place:
        place.write("a", "one\n")
        place.write("b", "b\n")
        model = script(place, call("bash", command="echo two > a; mkdir n; echo x > n/f; rm b"), call("bash", command="mkdir .claude; echo x > .claude/s; echo fine > f"),
                       call("bash", command="for i in 1 2 3 4 5 6 7 8 9; do echo $i > g$i; done; exit 3"), call("bash", command="cat a"),
                       call("bash", command="echo y > job", background=True), call("bash", command="sleep 0.3; mv n m"), "say done")
        out = place.rein("exec", "--mode", "auto", "--layer", "keep", "--model", model, "go")
        check(out.returncode == 0, out)
        told = [b for _, b in story(place.events(), "result")]
        check("[changed: " in told[0]["text"] and all(w in told[0]["text"] for w in ("- b", "+ n/", "+ n/f", "M a")) and told[0]["changed"] == 4, told[0])
        check(told[1]["outcome"] == "error" and ".claude acts outside of the box" in told[1]["text"] and not os.path.exists(place.path("f")), told[1])
        check(told[2]["outcome"] == "error" and "and 3 more" in told[2]["text"] and "changed" not in told[3], told[2:4])
        check(place.read("job") == b"y\n" and "layer" not in told[4], "a job changes the workspace in place", told[4])
        check(place.read("m/f") == b"x\n" and told[5]["changed"], told[5])
        place.rein("exec", "--mode", "auto", "--model", script(place, "\n".join([call("grep", pattern="one"), call("glob", files="*"), call("bash", command="ls -A .rein 2> /dev/null | wc -l")]), "say done"),
                   "look")
        seen = [b["text"] for _, b in story(place.events(), "result")]
        check(all("layers" not in t for t in seen[:2]) and seen[2].startswith("0"), "old versions are found", seen)
        after = snapshot(place.work)
        for has, has_not in (("n", "m"), ("n", "g1"), ("b", "n")):
            check(place.rein("undo").returncode == 0 and os.path.exists(place.path(has)) and not os.path.exists(place.path(has_not)), has)
        check(place.read("a") == b"one\n" and place.rein("undo").returncode == 2)
        for _ in range(3):
            check(place.rein("redo").returncode == 0)
        check(snapshot(place.work) == after and place.rein("redo").returncode == 2, difference(after, snapshot(place.work)))
        check(place.rein("redo", told[1]["text"].split("rein redo ")[1].split()[0]).returncode == 0 and place.read("f") == b"fine\n")
        out = place.rein("exec", "--mode", "open", "--layer", "keep", "--model", model, "go")
        check(out.returncode == 7 and b"needs mode auto" in out.stderr, out)
        check(place.rein("exec", "--layer", "ask", "--model", model, "go").returncode == 2)


RENAME = "import os, sys\ntry:\n os.rename('old', 'new')\nexcept OSError:\n sys.exit(3)"
AGAIN = [                               # what an overlay cannot do: whether it is run a second time, and what has to be there then
    (f'python3 -c "{RENAME}"', True, "test -f new/f -a ! -e old"),
    ("python3 -c \"import os; os.rename('old', 'new')\"", True, "test -f new/f -a ! -e old"),
    (f'cd old; echo x > ../n; python3 -c "import os; os.rename(\'sub\', \'other\')"', True, "test -d old/other -a -e n"),
    ("mv old new", False, "test -f new/f -a ! -e old"),
    ("mv old new; exit 3", True, "test -f new/f -a ! -e old"),
    ("mkdir n; mv n m; mv f g; exit 3", False, "test -d m -a -f g -a ! -e f"),
    ("echo more >> one", True, "test \"$(cat two)\" = \"$(cat one)\""),
    ("chmod 600 one", True, "test \"$(stat -c %a two)\" = 600"),
    ("echo other > t; mv t one", True, "test \"$(cat two)\" = 1 -a \"$(cat one)\" = other"),
    ("sed -i s/1/other/ one", True, "test \"$(cat two)\" = 1 -a \"$(cat one)\" = other"),
    ("rm one", False, "test \"$(cat two)\" = 1 -a ! -e one"),
    ("ln f three", False, "test $(stat -c %h three) = 2"),
    ("cp old/f m; ln m k; exit 3", False, "test $(stat -c %h k) = 2"),
    ("git init -q r; git -C r -c user.name=a -c user.email=b commit -q --allow-empty -m x", False, "test -d r"),
    ("git clone -q repo c", True, "test -d c/.git"),
    ("ln two three; echo x > n", True, "test \"$(stat -c %h two)\" = 3"),
    ("python3 -c \"import os; os.setxattr('old', 'user.x', b'y')\"", True, "python3 -c \"import os; os.getxattr('old', 'user.x')\""),
]


def test_what_a_layer_cannot_do():
    """A command that needs it is run again in place, and its result says so; what programs get around, and what only looks like it, is not."""
    need_live()
    for command, again, after in AGAIN:
        with Place(RELEASE, base="/var/tmp") as place:
            place.write("old/f", "x\n")
            place.write("old/sub/g", "x\n")
            place.write("f", "x\n")
            place.write("one", "1\n")
            os.link(place.path("one"), place.path("two"))
            subprocess.run("git init -q repo; git -C repo -c user.name=a -c user.email=b commit -q --allow-empty -m x", shell=True, cwd=place.work, check=True)
            out = place.rein("exec", "--mode", "auto", "--model", script(place, call("bash", command=command), "say done"), "go")
            told = [b for _, b in story(place.events(), "result")][0]
            check(out.returncode == 0 and ("again" in told) == again and ("run a second time" in told["text"]) == again, command, told, out)
            check(subprocess.run(after, shell=True, cwd=place.work, check=False).returncode == 0, command, told, os.listdir(place.work))
            check(again or "layer" in told, command, told)
    return len(AGAIN)


def test_what_layers_keep_is_limited():
    """Above a gigabyte the eldest go; what is still there can be taken back. With an old session its layers go."""
    need_live()
    with Place(RELEASE) as place:
        place.write("big", "")
        os.truncate(place.path("big"), 700 << 20)
        names = []
        for command in ("echo 1 > big", "rm big; truncate -s 700M big", "echo 2 > big", "echo 3 > other", "echo 4 > other"):
            _, report = box(place, command, "keep")
            check(report["kept"], command, report)
            names.append(report["layer"])
            time.sleep(1.1)             # a layer's name is the second it was made in, and a process
        left = sorted(n for n in os.listdir(place.path(".rein/layers")) if n[0] != ".")
        check(left == sorted(names[1:]), left, names)
        for _ in range(4):
            check(place.rein("undo").returncode == 0)
        check(place.read("big") == b"1\n" and not os.path.exists(place.path("other")) and place.rein("undo").returncode == 2)
    with Place(RELEASE) as place:
        place.write("a", "one\n")
        check(place.rein("exec", "--mode", "auto", "--layer", "keep", "--model", script(place, call("bash", command="echo two > a"), "say done"), "go").returncode == 0)
        out = place.rein("gc", "--older", "1", env={"LD_PRELOAD": os.path.join(os.path.dirname(os.path.dirname(RELEASE)), "build-test", "test", "crash.so"), "CRASH_DAYS": "3"})
        check(out.returncode == 0 and b"what 1 commands changed cannot be taken back" in out.stdout and not os.path.exists(place.path(".rein")), out)
        check(place.read("a") == b"two\n" and place.rein("undo").returncode == 2)


def test_where_no_layer_can_be():
    """On a file system that carries none commands change it in place, and their results say so; by hand it is said, and nothing is run."""
    need_live()
    with Place(RELEASE) as place, over_an_overlay(place):
        out = place.rein("exec", "--mode", "auto", "--layer", "keep", "--model", script(place, call("bash", command="echo x > a"), "say done"), "go")
        told = [b for _, b in story(place.events(), "result")]
        check(out.returncode == 0 and "in place" in told[0]["text"] and "cannot carry one" in told[0]["text"] and place.read("a") == b"x\n", out, told)
        out, report = box(place, "echo y > a", "keep")
        check(out.returncode and b"cannot carry one" in out.stderr and place.read("a") == b"x\n" and os.listdir(place.work) == ["a"], out, report, os.listdir(place.work))


def test_a_file_system_in_the_workspace():
    """An overlay would show an empty folder in its place: the command works in place, and its result says why."""
    need_live()
    for name in ("sub", "with space"):
        with Place(RELEASE) as place:
            os.mkdir(place.path(name))
            out = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place.path(name)], stderr=subprocess.PIPE, check=False)
            if out.returncode:
                raise Skip("no right to mount a file system: " + out.stderr.decode().strip())
            try:
                place.write(name + "/f", "in it\n")
                out = place.rein("exec", "--mode", "auto", "--model", script(place, call("bash", command=f"cat '{name}/f'; echo x > a"), "say done"), "go")
                told = [b for _, b in story(place.events(), "result")][0]
                check(told["text"].startswith("in it\n") and f"mounted in the workspace, at {name}" in told["text"] and place.read("a") == b"x\n", told, out)
                check(place.rein("exec", "--mode", "plan", "--model", script(place, "say done"), "go").returncode == 7)
            finally:
                subprocess.run(["umount", "-l", place.path(name)], check=False)


def test_by_hand_at_a_terminal():
    """rein box --mode ask: what a program would change is shown, and kept or dropped by a word; without a terminal nothing is kept."""
    need_live()
    for word, kept in ((b"y\n", True), (b"n\n", False), (b"\n", False)):
        with Place(RELEASE) as place:
            pid, fd = pty.fork()
            if pid == 0:
                os.chdir(place.work)
                os.execve(place.binary, [place.binary, "box", "--mode", "ask", "--", "echo x > f; mkdir .claude; echo y > .claude/z; echo from the command"], place.env)
            said = b""
            while b"[y/N]" not in said:
                said += os.read(fd, 4096)
            check(not os.path.exists(place.path("f")) and b"+ 2 f" in said and b"! 0 .claude" in said and b"from the command" in said, said)
            os.write(fd, word)
            _, status = os.waitpid(pid, 0)
            os.close(fd)
            check(os.waitstatus_to_exitcode(status) == 0 and os.path.exists(place.path("f")) == kept and os.path.exists(place.path(".claude/z")) == kept, word, said)
    with Place(RELEASE) as place:
        out = place.rein("box", "--mode", "ask", "--", "echo x > f")
        check(out.returncode == 0 and not os.listdir(place.work), out, os.listdir(place.work))


def test_layers_that_a_repository_brings():
    """A folder that looks like a layer, with a plan that would put a hook in place: nothing is moved for the sake of one that has not come about here."""
    need_live()
    with Place(RELEASE, base="/var/tmp") as theirs:
        subprocess.run("git init -q .; echo '#!/bin/sh' > .git/hooks/pre-commit", shell=True, cwd=theirs.work, check=True)
        _, report = box(theirs, "rm .git/hooks/pre-commit", "keep")
        check(theirs.rein("redo", report["layer"]).returncode == 0 and not os.path.exists(theirs.path(".git/hooks/pre-commit")))
        for state in ("kept", "undoing", "keeping", "undone"):
            for trusted in (False, True):
                with Place(RELEASE, base="/var/tmp") as place:
                    subprocess.run(["cp", "-a", theirs.work + "/.", place.work], check=True)
                    if trusted:             # what it would do if it were this rein's own
                        os.mkdir(place.home)
                        shutil.copy(os.path.join(theirs.home, "layers.key"), place.home)
                    with open(place.path(f".rein/layers/{report['layer']}/state"), "w", encoding="utf-8") as f:
                        f.write(state)
                    place.rein("exec", "--mode", "auto", "--model", script(place, call("bash", command="true"), "say done"), "go")
                    place.rein("undo")
                    place.rein("redo")
                    place.rein("undo", report["layer"])
                    there = os.path.exists(place.path(".git/hooks/pre-commit"))
                    check(there == (trusted and state != "undone"), state, trusted, there)
                    check(oct(os.stat(os.path.join(place.home, "layers.key")).st_mode & 0o777) == "0o600")
