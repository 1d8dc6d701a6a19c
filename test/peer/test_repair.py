"""A real repository with a planted bug, repaired over a loopback endpoint in 1, 50 and 1,000 tool turns.

The repository is this project's own base layer with its unit tests; REPAIR_REPO=FOLDER:FILE:GOOD:BAD:COMMAND plays the same on any
other tree, where COMMAND fails while FILE holds BAD in place of GOOD."""
import os
import shutil
import subprocess

from lib.mock import Mock, call, text
from lib.rein import RELEASE, TOP, Place, check, story

CHECK = "set -e\nfor t in buf utf8 path; do\n  gcc -std=gnu11 -D_GNU_SOURCE -w -Isrc -Itest/unit -o t-$t test/unit/$t.c src/base/buf.c " \
        "src/base/utf8.c src/base/path.c src/base/util.c src/base/err.c -lcmocka\n  ./t-$t 2>&1\ndone\n"


def own_tree(place):
    shutil.copytree(os.path.join(TOP, "src"), place.path("src"))
    shutil.copytree(os.path.join(TOP, "test", "unit"), place.path("test/unit"))
    place.write("check.sh", CHECK)
    return "src/base/buf.c", "    memmove(b->p, b->p + n, b->n - n);\n", "    memmove(b->p, b->p + n, b->n);\n    b->p[0] ^= 1;\n", "sh check.sh"


def other_tree(place, spec):
    folder, path, good, bad, command = spec.split(":", 4)
    shutil.copytree(folder, place.work, dirs_exist_ok=True, symlinks=True)
    return path, good, bad, command


def repair(turns):
    with Place(RELEASE) as place:
        spec = os.environ.get("REPAIR_REPO")
        path, good, bad, command = other_tree(place, spec) if spec else own_tree(place)
        with open(place.path(path), encoding="utf-8") as f:
            source = f.read()
        check(good in source, "the planted bug no longer fits")
        place.write(path, source.replace(good, bad, 1))
        broken = subprocess.run(["sh", "-c", command], cwd=place.work, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        check(broken.returncode != 0, "the planted bug does no harm")
        subprocess.run("git init -q . && git add -A && git -c user.name=t -c user.email=t@t commit -qm broken", shell=True,
                       cwd=place.work, check=True, stdout=subprocess.DEVNULL)
        line = source[:source.index(good)].count("\n") + 1
        edit = call("edit", {"path": path, "edits": [{"old": bad, "new": good}]}, words="That line is wrong.")
        look = [call("read", {"path": path, "start": max(1, line - 10), "count": 40}), call("bash", {"command": "git status --short"}),
                call("bash", {"command": f"grep -n return {path} | head -5"})]
        if turns == 1:
            program = f"p={path!r}\ns=open(p).read()\nopen(p,'w').write(s.replace({bad!r}, {good!r}))\n"
            place.write(".git/fix.py", program)
            answers = [call("bash", {"command": f"python3 .git/fix.py && {command}"})]
        else:
            answers = [call("bash", {"command": command}, words="I will run the tests first.")]
            answers += [look[i % len(look)] for i in range(turns - 3)]
            answers += [edit, call("bash", {"command": command})]
        check(len(answers) == turns)
        with Mock(answers + [text("The tests pass again.")]) as mock:
            out = place.rein("exec", *mock.options(), "--mode", "open", "The tests fail. Make them pass.", timeout=300)
            check(out.returncode == 0 and out.stdout == b"The tests pass again.\n", out.stderr.decode()[-2000:])
            check(not mock.refused and len(mock.bodies) == turns + 1, mock.refused, len(mock.bodies))
            for a, b in zip(mock.raw, mock.raw[1:]):
                check(b.startswith(a[:-2]), "prefix broken")
        check(place.read(path).decode() == source, "repaired")
        events = place.events()
        results = story(events, "result")
        check(len(results) == turns and results[-1][1]["outcome"] == "ok", results[-1])
        shown = place.rein("show", "--last")
        check(shown.returncode == 0 and b"end: done" in shown.stdout and shown.stdout.count(b"  result ") == turns, shown.stdout[-500:])
        check(place.rein("log", "verify", "--last").returncode == 0)
        end = events[-1]["body"]
        print(f"peer/repair: {turns} tool turns, {len(events)} events, {end['requests']} requests, status 0", flush=True)


def test_repair_1():
    repair(1)


def test_repair_50():
    repair(50)


def test_repair_1000():
    repair(1000)
