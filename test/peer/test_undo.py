"""rein undo and redo: steps, turns, any event; files, the conversation, both. Nothing of anybody else's is lost, and killed on the way it is one or the other."""
import json
import os
import random
import subprocess
import time

from crash.scenarios import Count, Violation, patch_harness
from lib.rein import RELEASE, SANITISED, Place, check, need_live, story
from lib.script import call, script
from peer.test_layer import difference, snapshot


def exec_(place, *answers, mode="auto", more=()):
    out = place.rein("exec", "--mode", mode, *more, "--model", script(place, *answers), "go")
    check(out.returncode == 0, out)
    return place.events()[-1]["session"]


def good(out, *words):
    check(out.returncode == 0 and all(w in out.stdout.decode() for w in words), out, words)
    return out.stdout.decode()


def patch(*lines):
    return call("patch", patch="\n".join(["*** Begin Patch", *lines, "*** End Patch"]))


def test_steps_turns_and_events():
    """By file tools and by commands, in one order; a step is all that a call changed."""
    need_live()
    with Place(RELEASE) as place:
        place.write("a", "one\n")
        place.write("old/f", "x\n")
        place.write("gone", "gone\n")
        os.chmod(place.path("gone"), 0o640)
        states = [snapshot(place.work)]
        model = script(place, call("read", path="a"), call("edit", path="a", edits=[{"old": "one", "new": "two"}]), call("bash", command="echo three >> a; rm -r old"),
                       call("write", path="n/m/deep.txt", content="deep\n"), "say done",
                       "\n".join([call("bash", command="echo four >> a"), call("write", path="n/other", content="o\n")]), "say done too", "say well")
        check(place.rein("exec", "--mode", "auto", "--model", model, "go").returncode == 0)
        states.append(snapshot(place.work))
        check(place.rein("resume", "--last", "more").returncode == 0)
        states.append(snapshot(place.work))
        session = place.events()[-1]["session"]
        turns = [e["seq"] for e in place.events() if e["kind"] == "user"]
        answers = [e["seq"] for e in place.events() if e["kind"] == "answer"]
        good(place.rein("undo"), "write n/other")
        check(not os.path.exists(place.path("n/other")) and os.path.exists(place.path("n/m/deep.txt")))
        good(place.rein("redo"), "write n/other")
        check(snapshot(place.work) == states[2], difference(states[2], snapshot(place.work)))
        said = good(place.rein("undo", "--turn"), "write n/other", "bash echo four")
        check(said.count("\n") == 2 and snapshot(place.work) == states[1], difference(states[1], snapshot(place.work)))
        good(place.rein("redo"))
        check(snapshot(place.work) == states[2], "a turn is put back as it was taken")
        good(place.rein("undo", f"{session}@{turns[0]}"))
        check(snapshot(place.work) == states[0], difference(states[0], snapshot(place.work)))
        check(place.rein("undo").returncode == 2 and place.rein("undo", f"{session}@{turns[0]}").returncode == 2)
        good(place.rein("redo"))
        check(snapshot(place.work) == states[2], difference(states[2], snapshot(place.work)))
        good(place.rein("undo", f"{session}@{answers[1]}"))
        check(place.read("a") == b"one\n", "the answer that changed it is after that event")
        good(place.rein("redo", "--last"))
        undone = [b for _, b in story(place.events(session), "undo")]
        check(len(undone) == 16 and [b["phase"] for b in undone] == ["begin", "end"] * 8, undone)
        # What the model is told, and the conversation.
        good(place.rein("undo", "--turn", "--what", "talk"), "goes on from event")
        check(snapshot(place.work) == states[2], "files stay")
        fork = place.events()[0]["session"]
        check(fork != session and not [b for _, b in story(place.events(), "user") if b["text"] == "more"], place.events())
        good(place.rein("undo", session, "--turn", "--what", "both"), "taken back", "goes on from event")
        check(snapshot(place.work) == states[1])
        out = place.rein("resume", session, "go on")
        check(out.returncode == 0, out)
        asked = json.dumps(place.requests()[-1])
        check("The user has taken back what these calls changed: " in asked and "bash echo four" in asked, asked[-3000:])
        check(place.rein("undo", "--what", "nonsense").returncode == 2 and place.rein("undo", "a", "b").returncode == 2 and place.rein("undo", "x-1.1").returncode == 2)
        check(place.rein("undo", f"{session}@99999").returncode == 2 and place.rein("undo", f"{session}@x").returncode == 2)


def test_a_step_of_several_files():
    """A patch that adds, changes, moves and removes is one step."""
    for mode in ("open", "auto"):
        if mode == "auto":
            need_live()
        with Place(SANITISED) as place:
            for name in ("change", "gone", "moved"):
                place.write(name, f"{name}\n")
            os.chmod(place.path("moved"), 0o755)
            os.setxattr(place.path("gone"), "user.note", b"kept")
            before = snapshot(place.work, True)
            exec_(place, patch("*** Add File: n/new", "+x", "*** Update File: change", "@@", "-change", "+changed", "*** Delete File: gone", "*** Update File: moved", "*** Move to: sub/there", "@@",
                               "-moved", "+was moved"), "say done", mode=mode, more=("--harness", patch_harness()))
            after = snapshot(place.work)
            check(os.path.exists(place.path("sub/there")) and not os.path.exists(place.path("gone")), after)
            good(place.rein("undo"))
            now = snapshot(place.work, True)
            check({k: v for k, v in now.items() if k != b"."} == {k: v for k, v in before.items() if k != b"."}, mode, difference(before, now))
            good(place.rein("redo"))
            check(snapshot(place.work) == after, mode, difference(after, snapshot(place.work)))
            check(place.rein("redo").returncode == 2)


def test_what_others_did_is_not_lost():
    """Nothing is taken back then, of several steps not one; what somebody put into a new folder is not moved away with it."""
    need_live()
    for what, keeps in (("echo mine > a", "a"), ("echo mine >> n/f", "n/f"), ("echo mine > n/theirs", "n/theirs"), ("mkdir -p n/deep/er; echo mine > n/deep/er/x", "n/deep/er/x"),
                        ("echo mine > t; mv t a", "a"), ("rm a", None), ("rm -r n", None), ("echo mine > gone", "gone"), ("mkdir gone", None), ("mkdir old; echo mine > old/x", "old/x")):
        with Place(RELEASE) as place:
            place.write("a", "one\n")
            place.write("gone", "x\n")
            place.write("old/f", "x\n")
            place.write("last", "x\n")
            exec_(place, call("bash", command="echo two > a; mkdir -p n/deep; echo x > n/f; echo y > n/deep/g; rm gone; rm -r old"), call("read", path="last"),
                  call("edit", path="last", edits=[{"old": "x", "new": "y"}]), "say done")
            subprocess.run(what, shell=True, cwd=place.work, check=True)
            theirs = snapshot(place.work)
            out = place.rein("undo", "--turn")
            check(out.returncode == 1 and b"changed by someone else" in out.stderr, what, out)
            check(snapshot(place.work) == theirs, what, difference(theirs, snapshot(place.work)))
            check(not keeps or place.read(keeps).endswith(b"mine\n"), what)
            check([b["phase"] for _, b in story(place.events(), "undo")] == ["begin", "failed"], place.events())
    with Place(RELEASE) as place:
        place.write("old/f", "x\n")
        exec_(place, call("bash", command="rm -r old; mkdir n; echo x > n/f"), "say done")
        good(place.rein("undo"))
        place.write("old/deep/mine", "mine\n")
        theirs = snapshot(place.work)
        out = place.rein("redo")
        check(out.returncode == 1 and snapshot(place.work) == theirs and place.read("old/deep/mine") == b"mine\n", out)


def test_while_somebody_works_there():
    """A session that runs is not undone under its feet."""
    with Place(RELEASE) as place:
        place.write("a", "one\n")
        model = script(place, call("read", path="a"), call("edit", path="a", edits=[{"old": "one", "new": "two"}]), call("bash", command="while [ ! -e go ]; do sleep 0.05; done"), "say done")
        p = place.start("exec", "--mode", "open", "--model", model, "go")
        for _ in range(100):
            if place.read("a") == b"two\n":
                break
            time.sleep(0.05)
        time.sleep(0.3)
        out = place.rein("undo")
        check(out.returncode == 1 and place.read("a") == b"two\n", out)
        place.write("go", "")
        check(p.wait(20) == 0)
        p.communicate()
        good(place.rein("undo"))
        check(place.read("a") == b"one\n")


def test_who_waits_is_what_was_seen():
    """What was held back is let in as it was when the session said so, or not at all; the log has it, and the model is told."""
    need_live()
    with Place(RELEASE) as place:
        session = exec_(place, call("bash", command="mkdir .claude; echo x > .claude/s; echo fine > f"), call("bash", command="mkdir .cursor; echo x > .cursor/s"), "say done")
        told = [b for _, b in story(place.events(), "result")]
        layers = [b["text"].split("rein redo ")[1].split()[0] for b in told]
        check(all(len(b["waits"]) == 64 for b in told), told)
        with open(place.path(f".rein/layers/{layers[0]}/u/more"), "w", encoding="utf-8") as f:
            f.write("not seen\n")
        out = place.rein("redo", layers[0])
        check(out.returncode == 1 and b"not what it was" in out.stderr and not os.path.exists(place.path("f")), out)
        os.unlink(place.path(f".rein/layers/{layers[0]}/u/more"))
        good(place.rein("redo", layers[0]), "put in place")
        check(place.read("f") == b"fine\n" and os.path.exists(place.path(".claude/s")))
        good(place.rein("undo", layers[1]), "dropped")
        check(not os.path.exists(place.path(f".rein/layers/{layers[1]}")) and not os.path.exists(place.path(".cursor")))
        good(place.rein("undo", layers[0]), "taken back")
        ways = [(b["way"], b["phase"]) for _, b in story(place.events(session), "undo")]
        check(ways == [(w, p) for w in ("keep", "drop", "undo") for p in ("begin", "end")], ways)


CALLS = ["write", "edit", "bash", "bash", "bash"]
FULL = False


def steps(seed, n):
    """Random calls, and what a plain run of them leaves after each."""
    rng = random.Random(seed)
    out = []
    for i in range(n):
        kind, name = rng.choice(CALLS), rng.choice(["a", "b", "d/c", "d/e/f", "g/h"])
        if kind == "write":
            out.append([call("bash", command=f"rm -rf {name}"), call("write", path=name, content=f"{i}\n")])
        elif kind == "edit":
            out.append([call("bash", command=f"mkdir -p $(dirname {name}); rm -rf {name}; echo text{i} > {name}"), call("read", path=name),
                        call("edit", path=name, edits=[{"old": f"text{i}", "new": f"new{i}"}])])
        else:
            out.append([call("bash", command=rng.choice([f"mkdir -p $(dirname {name}); rm -rf {name}; echo {i} > {name}", f"rm -rf {name}", f"rm -rf d; mkdir d; echo {i} > d/x", "rm -rf g/h a; mkdir a; touch a/b",
                                                         f"rm -rf {name}; mkdir -p {name}/deep; echo {i} > {name}/deep/y", "chmod -R go-rx . ; echo x >> log", "ln -sf b link; mv d moved$$ 2>/dev/null; true"]))])
    return out


def test_back_to_any_event():
    """After random calls the files are taken back to the end of each turn, from the last to the first, and put in place again."""
    need_live()
    done = 0
    for seed in range(40 if FULL else 4):
        with Place(RELEASE, base="/var/tmp") as place:
            turns = steps(seed, 8)
            place.write("d/keep", "kept\n")
            model = script(place, *[a for turn in turns for a in (*turn, "say done")])
            states = [snapshot(place.work)]
            check(place.rein("exec", "--mode", "auto", "--model", model, "go").returncode == 0)
            states.append(snapshot(place.work))
            for _ in turns[1:]:
                check(place.rein("resume", "--last", "more").returncode == 0)
                states.append(snapshot(place.work))
            session = place.events()[-1]["session"]
            users = [e["seq"] for e in place.events() if e["kind"] == "user"]
            now = len(turns)
            for to in random.Random(seed).sample(range(len(turns)), len(turns)):
                out = place.rein("undo", f"{session}@{users[to]}")
                if snapshot(place.work) == states[now] and out.returncode == 2:     # nothing was changed since
                    continue
                check(out.returncode == 0 and snapshot(place.work) == states[to], seed, to, out, difference(states[to], snapshot(place.work)))
                good(place.rein("redo", session))
                check(snapshot(place.work) == states[now], seed, to, "redo", difference(states[now], snapshot(place.work)))
                done += 1
    check(done > 10, done)
    print(f"peer/undo: {done} times back to a turn, and forth again", flush=True)
    return done


def killed(some):
    """A turn of several steps is taken back, by a rein that is killed; then by one that goes on."""
    with Place(RELEASE) as place:
        place.write("a", "one\n")
        place.write("g/i", "x\n")
        before = snapshot(place.work)
        session = exec_(place, call("read", path="a"), call("edit", path="a", edits=[{"old": "one", "new": "two"}]), call("bash", command="rm -r g; mkdir n; echo x > n/f; echo z >> a"),
                        call("write", path="m/deep/w", content="w\n"), "say done")
        after = snapshot(place.work)

        def fresh():
            if snapshot(place.work) == before:
                good(place.rein("redo"))
            check(snapshot(place.work) == after, "not put back")
        count = Count(place)
        good(place.rein("undo", "--turn", env=count.env()))
        total = count.values()[0]
        points = [(n, how) for n in range(1, total + 1) for how in ("before", "after", "lost")]
        taken = 0
        for n, how in random.Random(3).sample(points, some) if some else points:
            fresh()
            place.rein("undo", "--turn", env=Count(place, f"{n}:{how}").env())
            out = place.rein("resume", session) if n % 2 else place.rein("undo", "--turn")
            now = snapshot(place.work)
            if now not in (before, after) or (n % 2 == 0 and now != before):
                raise Violation(f"killed at {n}:{how}: {out} {difference(before, now)} {difference(after, now)}")
            phases = [b["phase"] for _, b in story(place.events(session), "undo")]
            if phases.count("begin") != phases.count("end") + phases.count("failed"):
                raise Violation(f"killed at {n}:{how}: the log says {phases[-4:]}, {out}")
            taken += now == before
        return taken, len(points)


def test_killed_while_it_is_taken_back():
    need_live()
    some = None if FULL else 40
    taken, points = killed(some)
    check(taken > 5, taken)
    print(f"peer/undo: killed at {points if FULL else some} of {points} points: {taken} times it was taken back by the next rein, else nothing happened", flush=True)
    return taken
