"""rein gc: what is not needed goes, what is stays; killed anywhere, nothing is lost."""
import json
import os
import random
import sqlite3
import time

from crash.scenarios import PRELOAD, Count
from lib.rein import RELEASE, Place, check

FULL = False
BIG = "x" * 30000                       # above what is kept beside the events


def made(place, prompt, days=0, keep=False):
    """A session of so many days ago; its id."""
    model = place.script("call bash " + json.dumps({"command": f"echo {prompt}; printf %s " + BIG}) + "\n--\n" +
                         ("call bash " + json.dumps({"command": "sleep 1000", "background": True, "stay": True}) + "\n--\n" if keep else "") +
                         "say ok " + prompt + "\n")
    out = place.rein("exec", "--quiet", "--mode", "open", "--model", model, prompt + BIG,
                     env={"LD_PRELOAD": PRELOAD, "CRASH_DAYS": str(-days)} if days else None)
    check(out.returncode == 0, out)
    one = json.loads(place.rein("sessions", "--json").stdout.decode().splitlines()[0 if not days else -1])
    for name in os.listdir(os.path.join(place.home, "spool")):
        if name.startswith(one["session"]):
            when = time.time() - days * 86400
            os.utime(os.path.join(place.home, "spool", name), (when, when))
    return one["session"]


def sessions(place):
    return {json.loads(line)["session"] for line in place.rein("sessions", "--json").stdout.decode().splitlines()}


def outputs(place, session):
    return [n for n in os.listdir(os.path.join(place.home, "spool")) if n.startswith(session)]


def age(place, session):
    for name in outputs(place, session):
        os.utime(os.path.join(place.home, "spool", name), (1, 1))


def gc(place, *args, env=None):
    out = place.rein("gc", "--json", *args, env=env)
    check(out.returncode == 0, out)
    return json.loads(out.stdout)


def test_old_sessions_go():
    with Place(RELEASE) as place:
        old, new = made(place, "old", 40), made(place, "new")
        before = gc(place, "--older", "30", "--dry-run")
        check(before["sessions_removed"] == 1 and sessions(place) == {old, new}, before)
        after = gc(place, "--older", "30")
        check(after["sessions_removed"] == 1 and sessions(place) == {new} and not outputs(place, old) and outputs(place, new), after)
        check(after["database"] < before["database"] and after["log"] == 0 and after["events"] * 2 == before["events"], before, after)
        check(place.rein("log", "verify", new).returncode == 0)
        with open(os.path.join(place.home, "rein.db"), "rb") as f:
            check(b"old" + BIG[:20].encode() not in f.read(), "what was removed can still be read")


def test_without_older_only_outputs_go():
    with Place(RELEASE) as place:
        old, new = made(place, "old", 40), made(place, "new")
        open(os.path.join(place.home, "spool", "nobody-4.1"), "w", encoding="ascii").close()
        out = gc(place)
        check(sessions(place) == {old, new} and not outputs(place, old) and outputs(place, new) and not outputs(place, "nobody"), out)
        check(out["files_removed"] == 2, out)


def test_what_is_in_use_stays():
    """A session that is driven, one that another was forked from, and a job that runs on."""
    with Place(RELEASE) as place:
        parent = made(place, "parent", 40)
        check(place.rein("fork", parent).returncode == 0)
        fork, = sessions(place) - {parent}
        gc(place, "--older", "30")
        check(sessions(place) == {parent, fork})
        stays = made(place, "stays", keep=True)
        pid = [e["body"]["job"]["pid"] for e in place.events(stays) if e["kind"] == "result" and "job" in e["body"]][0]
        age(place, stays)
        gc(place)
        check(len(outputs(place, stays)) == 2, "the output of a running job and its socket are gone:", outputs(place, stays))
        os.kill(pid, 9)
        for _ in range(200):
            age(place, stays)
            if gc(place)["files_removed"]:
                break
            time.sleep(0.02)
        check(not outputs(place, stays), outputs(place, stays))
        model = place.script('call bash {"command": "touch there; sleep 30"}\n')
        p = place.start("exec", "--mode", "open", "--model", model, "go", env={"LD_PRELOAD": PRELOAD, "CRASH_DAYS": "-40"})
        while not os.path.exists(place.path("there")):
            time.sleep(0.01)
        driven, = sessions(place) - {parent, fork, stays}
        gc(place, "--older", "30")
        check(driven in sessions(place), "a session was removed while it ran")
        p.terminate()
        p.communicate(timeout=20)


def test_killed_while_it_removes():
    """Killed before or after any of its calls, gc leaves each session whole or gone."""
    with Place(RELEASE) as place:
        old, new = made(place, "old", 40), made(place, "new")
        head = place.rein("log", "verify", new).stdout
        saved = place.home + ".saved"
        os.rename(place.home, saved)

        def fresh():
            os.system(f"rm -rf {place.home}; cp -a {saved} {place.home}")
            return place
        count = Count(fresh())
        gc(place, "--older", "30", env=count.env())
        total = count.values()[0]
        points = [f"{n}:{how}" for n in range(1, total + 1) for how in ("before", "after")]
        for point in points if FULL else random.Random(3).sample(points, min(30, len(points))):
            fresh()
            out = place.rein("gc", "--older", "30", env=Count(place, point).env())
            check(out.returncode in (0, -9), point, out)
            check(sessions(place) in ({old, new}, {new}), point)
            for one in sessions(place):
                check(place.rein("log", "verify", one).returncode == 0, point, one)
            check(place.rein("log", "verify", new).stdout == head, point)
            out = gc(place, "--older", "30")
            check(sessions(place) == {new} and not outputs(place, old), point, out)
            db = sqlite3.connect(os.path.join(place.home, "rein.db"))
            check(db.execute("PRAGMA integrity_check").fetchone() == ("ok",) and
                  db.execute("SELECT count(*) FROM blob").fetchone()[0] == 2, point)
            db.close()


def test_log_file_is_bounded():
    """The write-ahead log does not grow with the session, also while others read all the time."""
    with Place(RELEASE) as place:
        model = place.script("\n--\n".join(["call read {\"path\": \"a.txt\"}"] * 1500) + "\n--\nsay ok\n")
        os.remove(os.path.join(place.top, "script.requests"))       # they would be gigabytes
        place.write("a.txt", "line\n" * 400)
        p = place.start("exec", "--quiet", "--mode", "open", "--model", model, "go")
        largest = 0
        while p.poll() is None:
            place.rein("show", "--last", "--json")
            wal = os.path.join(place.home, "rein.db-wal")
            largest = max(largest, os.path.getsize(wal) if os.path.exists(wal) else 0)
        check(p.returncode == 0 and 0 < largest < 16 << 20, p.returncode, largest)
