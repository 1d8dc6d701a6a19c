"""What a turn costs does not grow with the session, by counters and not by clocks."""
import json
import os
import time

from lib.rein import RELEASE, Place, check, story


def counters(turns, resume=False):
    with Place(RELEASE) as place:
        place.write("a.txt", "text\n")
        stats = os.path.join(place.top, "stats")
        script = "\n--\n".join(['call read {"path": "a.txt"}', 'call bash {"command": "true"}'] * (turns // 2) + ["say Finished."])
        model = place.script(script + "\n")
        out = place.rein("exec", "--mode", "open", "--model", model, "--stats", stats, "go", timeout=120)
        check(out.returncode == 0, out)
        if resume:
            place.script(script + "\n--\nsay Again.\n")
            check(place.rein("resume", "--last", "--stats", stats, "more").returncode == 0)
        with open(stats, encoding="utf-8") as f:
            return json.load(f)


def test_events_read_per_step_are_constant():
    """A running session reads nothing back: every event is folded once, when it is written; and each turn is two commits."""
    for turns in (10, 100, 1000):
        c = counters(turns)
        check(c["read"] == 0 and c["folded"] == c["events"] == c["written"], c)
        check(c["commits"] <= 2 * turns + 4, c)
    c = counters(100, resume=True)
    check(c["read"] == c["events"] - c["written"] + 1 and c["folded"] == c["events"], "resume reads the log once", c)


def test_harness_is_named_by_its_hash():
    """Any byte of a harness changes its hash, and a session that goes on with another one says so."""
    import shutil
    from lib.rein import TOP
    with Place() as place:
        folder = os.path.join(place.top, "own")
        shutil.copytree(os.path.join(TOP, "harness", "coder"), folder)
        model = place.script("say One.\n--\nsay Two.\n--\nsay Three.\n")
        check(place.rein("exec", "--model", model, "go").returncode == 0)
        built_in = place.events()[0]["body"]["harness"]["hash"]
        check(place.rein("exec", "--harness", folder, "--model", model, "go").returncode == 0)
        check(place.events()[0]["body"]["harness"]["hash"] == built_in, "the folder it was made from has the same hash")
        with open(os.path.join(folder, "system.md"), "a", encoding="utf-8") as f:
            f.write("Be brief.\n")
        check(place.rein("resume", "--last", "go on").returncode == 0)       # it is loaded from where it was
        changed = [b["harness"]["hash"] for _, b in story(place.events(), "set") if "harness" in b]
        check(len(changed) == 1 and changed[0] != built_in, changed)
        check("Be brief." in place.requests()[-1]["messages"][0]["content"], "the new prompt is used")
        with open(os.path.join(folder, "harness.yaml"), "a", encoding="utf-8") as f:
            f.write("more: [\n")
        out = place.rein("exec", "--harness", folder, "--model", model, "go")
        check(out.returncode == 2 and b"harness.yaml" in out.stderr, out)


def test_option_order():
    with Place() as place:
        model = place.script("say hi\n")
        for args in (["-p", "go", "--model", model], ["--model", model, "-p", "go"], ["--model", model, "exec", "go"], ["exec", "-p", "go", "--model=" + model]):
            out = place.rein(*args)
            check(out.returncode == 0 and out.stdout == b"hi\n", args, out)


def test_endless_output_costs_no_memory():
    """`yes`, until its time is up: rein and its supervisor hold no more than a few buffers, and the file that keeps the output is capped."""
    with Place(RELEASE) as place:
        rein = place.start("exec", "-q", "--mode", "open", "--model", place.script('call bash {"command": "timeout 3 yes"}\n--\nsay x\n'), "go")
        peak = 0
        while rein.poll() is None:
            for pid in [str(rein.pid), *children(rein.pid)]:
                try:
                    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as f:
                        text = f.read()
                except OSError:
                    continue
                if "\nName:\trein" in "\n" + text and "RssAnon" in text:
                    peak = max(peak, int(text.split("RssAnon:")[1].split()[0]))
            time.sleep(0.05)
        check(rein.returncode == 0, rein.communicate())
        result = story(place.events(), "result")[0][1]
        check(result["bytes"] > 100e6 and len(result["text"]) < 20000, result["bytes"])
        check(0 < peak < 8000, "kilobytes of private memory:", peak)
        kept = os.path.getsize(os.path.join(place.home, "spool", os.listdir(os.path.join(place.home, "spool"))[0]))
        check(kept < 65 << 20, kept)


def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
            return f.read().split()
    except OSError:
        return []
