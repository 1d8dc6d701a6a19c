"""Mode plan: one layer for all that a session changes, seen by its tools and commands, until a person has it put in place or dropped."""
import json
import os
import signal
import time

from lib.rein import RELEASE, Place, check, need_live, over_an_overlay, story
from lib.script import call, script
from peer.test_layer import difference, snapshot
from peer.test_undo import good

WORK = [call("read", path="a"), call("edit", path="a", edits=[{"old": "one", "new": "two"}]), call("bash", command="cat a; echo three >> a; mkdir d; echo x > d/f; rm -r old; git init -q n"),
        "\n".join([call("write", path="n/m/f", content="deep\n"), call("read", path="a"), call("grep", pattern="x", path="d"), call("glob", files="old/*")])]


def plan_of(place):
    layers = [n for n in os.listdir(place.path(".rein/layers")) if "-plan-" in n] if os.path.exists(place.path(".rein/layers")) else []
    return layers[-1] if layers else None


def fill(place):
    place.write("a", "one\n")
    place.write("old/f", "x\n")


def test_a_plan_and_its_end():
    """Nothing is in place before a person says so; then it is what mode auto would have left. It can be taken back like any step."""
    need_live()
    with Place(RELEASE) as plain:
        fill(plain)
        check(plain.rein("exec", "--mode", "auto", "--model", script(plain, *WORK, "say done"), "go").returncode == 0)
        want = snapshot(plain.work)
    with Place(RELEASE) as place:
        fill(place)
        before = snapshot(place.work, True)
        model = script(place, *WORK, "say here it is", call("bash", command="cat n/m/f; echo again > again"), "say and more", call("bash", command="echo auto >> a"), "say fine")
        out = place.rein("exec", "--mode", "plan", "--model", model, "go")
        check(out.returncode == 0 and out.stdout == b"here it is\n" and b"nothing of it is in place yet" in out.stderr and b"  M " in out.stderr, out)
        check(snapshot(place.work, True) == before, difference(before, snapshot(place.work, True)))
        told = [b["text"] for _, b in sorted(story(place.events(), "result"), key=lambda r: [int(n) for n in r[1]["call"].split(".")])]
        check("two" in told[2] and told[4].endswith("two\nthree\n") and "d/f" in told[5] and "old/f" not in told[6], told)
        check("Plan mode." in json.dumps(place.requests()[0]) and json.dumps(place.requests()[-1]).count("Plan mode.") == 1)
        out = place.rein("resume", "--last", "more")
        told = [b for _, b in story(place.events(), "result")]
        check(out.returncode == 0 and told[-1]["text"].startswith("deep\n") and snapshot(place.work, True) == before, "the layer stays", told[-1])
        layer = plan_of(place)
        commit = [b for _, b in story(place.events(), "commit")][-1]
        check(commit["layer"] == layer and commit["changes"] in good(place.rein("redo", "--dry-run", layer)) and snapshot(place.work, True) == before, commit)
        good(place.rein("redo", layer), "put in place")
        now = snapshot(place.work)
        check({k: v for k, v in now.items() if k != b"again"} == want, difference(want, now))
        good(place.rein("undo"), "taken back")
        check(snapshot(place.work, True) == before)
        good(place.rein("redo"))
        check(snapshot(place.work) == now)
        out = place.rein("resume", "--last", "--mode", "auto", "go on")
        check(out.returncode == 0 and place.read("a").endswith(b"auto\n") and "Plan mode has ended" in json.dumps(place.requests()[-1]), out)


def test_a_plan_that_is_dropped():
    need_live()
    with Place(RELEASE) as place:
        fill(place)
        before = snapshot(place.work, True)
        model = script(place, *WORK, "say done", call("bash", command="cat a"), "say done", call("bash", command="cat a; echo x > y"), "say done")
        check(place.rein("exec", "--mode", "plan", "--model", model, "go").returncode == 0)
        good(place.rein("undo", plan_of(place)), "dropped")
        check(snapshot(place.work, True) == before and not os.path.exists(place.path(".rein")), "all of it is gone")
        out = place.rein("resume", "--last", "more")
        check([b for _, b in story(place.events(), "result")][-1]["text"].startswith("one\n") and not os.path.exists(place.path(".rein")), "an empty plan leaves nothing", out)
        check(place.rein("resume", "--last", "more").returncode == 0 and plan_of(place))


def test_what_a_plan_may_hold():
    """What would act outside is in it, and named; who changes the same files meanwhile, or the plan itself, is not passed over."""
    need_live()
    with Place(RELEASE) as place:
        fill(place)
        out = place.rein("exec", "--mode", "plan", "--model", script(place, call("bash", command="mkdir .claude; echo x > .claude/s; echo y > b"), "say done"), "go")
        layer = plan_of(place)
        check(out.returncode == 0 and b"! 0 .claude" in out.stderr, out)
        place.write(f".rein/layers/{layer}/u/sneaked", "in\n")
        check(place.rein("redo", layer).returncode == 1 and not os.path.exists(place.path("b")))
        os.unlink(place.path(f".rein/layers/{layer}/u/sneaked"))
        good(place.rein("redo", layer))
        check(os.path.exists(place.path(".claude/s")) and place.read("b") == b"y\n")
    with Place(RELEASE) as place:
        fill(place)
        place.rein("exec", "--mode", "plan", "--model", script(place, call("bash", command="echo planned > a; echo y > b"), "say done"), "go")
        place.write("a", "mine\n")
        out = place.rein("redo", plan_of(place))
        check(out.returncode == 1 and b"changed by someone else" in out.stderr and place.read("a") == b"mine\n" and not os.path.exists(place.path("b")), out)


def test_a_plan_that_is_killed():
    """kill -9 in the middle of a command; the next rein goes on in the same layer."""
    need_live()
    for at in ("file", "command"):
        with Place(RELEASE) as place:
            fill(place)
            before = snapshot(place.work)
            wait = call("bash", command="echo begun > begun; touch /tmp/here; [ -e go ] || sleep 20")
            model = script(place, call("write", path="w", content="w\n"), *([wait] if at == "command" else [call("bash", command="sleep 20", timeout=30)]), call("bash", command="ls; cat w"), "say done")
            p = place.start("exec", "--mode", "plan", "--model", model, "go")
            for _ in range(200):
                layer = plan_of(place)
                if layer and os.path.exists(place.path(f".rein/layers/{layer}/u/{'begun' if at == 'command' else 'w'}")):
                    break
                time.sleep(0.05)
            time.sleep(0.1)
            p.send_signal(signal.SIGKILL)
            p.wait()
            p.communicate()
            check(snapshot(place.work) == before, at)
            out = place.rein("resume", "--last", "--decide", "all=skip")
            told = [b for _, b in story(place.events(), "result")]
            check(out.returncode == 0 and "w\n" in told[-1]["text"] and plan_of(place) == layer, at, out, told)
            check(snapshot(place.work) == before, at)
            good(place.rein("redo", layer))
            check(place.read("w") == b"w\n", at)


def test_where_no_plan_can_be():
    need_live()
    with Place(RELEASE) as place, over_an_overlay(place):
        out = place.rein("exec", "--mode", "plan", "--model", script(place, "say done"), "go")
        check(out.returncode == 7 and b"cannot carry one" in out.stderr, out)
