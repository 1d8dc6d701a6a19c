"""A damaged store: what is whole stays usable, what can be read is read, and nothing is made up."""
import json
import os
import random
import shutil
import sqlite3

from lib.rein import Place, check

FULL = False
PAGE = 4096


def session(place, prompt, turns, size):
    model = place.script("\n--\n".join("call bash " + json.dumps({"command": f"seq {i} {i + size * (i % 7)}"}) for i in range(turns)) +
                         "\n--\nsay ok\n")
    out = place.rein("exec", "--quiet", "--mode", "open", "--model", model, prompt)
    check(out.returncode == 0, out)


def truth(place):
    """{session: [hash of each event]}"""
    out = place.rein("sessions", "--json")
    ids = [json.loads(line)["session"] for line in out.stdout.decode().splitlines()]
    return {i: [e["hash"] for e in place.events(i)] for i in ids}


def salvage(place, where):
    """What is in the new store, and what was said about it."""
    shutil.rmtree(where, ignore_errors=True)
    out = place.rein("log", "salvage", "--json", where)
    check(out.returncode == 0, out)
    said = {s["session"]: s for s in map(json.loads, out.stdout.decode().splitlines())}
    fresh = {"REIN_HOME": where}
    listed = place.rein("sessions", "--json", env=fresh)
    check(listed.returncode == 0, listed)
    found = {}
    for line in listed.stdout.decode().splitlines():
        one = json.loads(line)["session"]
        shown = place.rein("show", one, "--json", env=fresh)
        check(shown.returncode == 0 and place.rein("log", "verify", one, env=fresh).returncode == 0, shown)
        found[one] = [json.loads(e)["hash"] for e in shown.stdout.decode().splitlines()]
    return found, said


def damage(rng, data):
    """Some of the ways in which files come to harm."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        if not data:
            break
        how, at = rng.randrange(5), rng.randrange(len(data))
        page = at // PAGE * PAGE
        if how == 0:
            data[page:page + PAGE] = bytes(min(PAGE, len(data) - page))
        elif how == 1:
            data[page:page + PAGE] = rng.randbytes(min(PAGE, len(data) - page))
        elif how == 2:
            data[at] ^= 1 << rng.randrange(8)
        elif how == 3:
            data[at:at + 64] = rng.randbytes(min(64, len(data) - at))
        else:
            del data[at:]
    return bytes(data)


def test_salvage_of_a_whole_store():
    """All of it comes back, from the database and from its log file, and can be gone on with."""
    with Place() as place:
        session(place, "one", 20, 300)
        session(place, "two", 5, 3000)
        check(place.rein("fork", "--last", "three").returncode in (0, 5))
        want = truth(place)
        found, said = salvage(place, os.path.join(place.top, "new"))
        check(found == want and all(s["whole"] for s in said.values()), said)
        newest = sorted(want)[0]
        out = place.rein("resume", newest, "more", env={"REIN_HOME": os.path.join(place.top, "new")})
        check(out.returncode in (0, 5) and b"damaged" not in out.stderr, out)
        check(place.rein("log", "salvage", os.path.join(place.top, "new")).returncode == 2, "an existing store was overwritten")


def test_salvage_finds_what_is_whole():
    """Whatever is damaged: what comes back is a beginning of what was there, and of untouched sessions all of it."""
    rng = random.Random(7)
    with Place() as place:
        session(place, "one", 30, 200)
        session(place, "two", 6, 4000)
        want = truth(place)
        saved = place.home + ".saved"
        shutil.copytree(place.home, saved)
        events = 0
        for _ in range(300 if FULL else 40):
            shutil.rmtree(place.home)
            shutil.copytree(saved, place.home)
            for name in ("rein.db",) if rng.random() < 0.7 else ("rein.db", "rein.db-wal"):
                path = os.path.join(place.home, name)
                with open(path, "rb") as f:
                    data = damage(rng, f.read())
                with open(path, "wb") as f:
                    f.write(data)
            found, said = salvage(place, os.path.join(place.top, "new"))
            hashes = {h: (s, i) for s, all_of_it in want.items() for i, h in enumerate(all_of_it)}
            for one, got in found.items():
                check(got and hashes[got[0]][1] == 0 and [hashes[h] for h in got] == [(hashes[got[0]][0], i) for i in range(len(got))],
                      "events that never were, or in another order")
                events += len(got)
            for one, s in said.items():
                check(s["whole"] or s["missing"] == s["events"] + 1, s)
            for command in (["sessions"], ["show", "--last"], ["log", "verify", "--last"], ["resume", "--last", "more"]):
                out = place.rein(*command)
                check(out.returncode in (0, 1, 2, 5), command, out)
        check(events > 0)


def test_one_damaged_session_costs_no_other():
    with Place() as place:
        session(place, "one", 30, 200)
        session(place, "two", 30, 200)
        two, one = [json.loads(line)["session"] for line in place.rein("sessions", "--json").stdout.decode().splitlines()]
        with open(os.path.join(place.home, "rein.db"), "rb") as f:
            data = bytearray(f.read())
        # A page that holds nothing but events of the first session: its body is overwritten.
        text = b'\\"command\\": \\"seq 9 '
        page = data.index(text) // PAGE * PAGE
        data[page:page + PAGE] = bytes(PAGE)
        with open(os.path.join(place.home, "rein.db"), "wb") as f:
            f.write(data)
        os.truncate(os.path.join(place.home, "rein.db-wal"), 0)
        out = place.rein("show", one)
        check(out.returncode == 1 and b"rein log salvage" in out.stderr, out)
        check(place.rein("log", "verify", two).returncode == 0, "the other session is damaged too")
        check(place.rein("resume", two, "more").returncode in (0, 5))
        check(place.rein("sessions").returncode == 0)
        found, said = salvage(place, os.path.join(place.top, "new"))
        check(said[two]["whole"] and len(found[two]) > 30 and not said[one]["whole"] and said[one]["beyond"] > 0, said)


def test_a_session_that_cannot_be_listed_hides_no_other():
    with Place() as place:
        session(place, "one", 3, 10)
        session(place, "two", 3, 10)
        db = sqlite3.connect(os.path.join(place.home, "rein.db"))
        db.execute("UPDATE event SET kind = 999 WHERE key = (SELECT max(key) FROM event WHERE key < (2 << 32))")
        db.commit()
        db.close()
        out = place.rein("sessions")
        lines = out.stdout.decode().splitlines()
        check(out.returncode == 0 and len(lines) == 2 and "damaged" in lines[1] and "two" in lines[0], out)
