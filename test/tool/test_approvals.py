"""Mode ask: what runs without a question does no more than it says; a person's word holds for what was asked, and for as long as it was given."""
import json
import os
import shutil

from lib.rein import RELEASE, TOP, Place, check, story
from tool import test_rules as rules


def call(name, **args):
    return f"call {name} {json.dumps(args)}\n"


def script(place, *steps):
    return place.script("--\n".join(s if s.endswith("\n") else s + "\n" for s in steps))


def persistent(place):
    """A harness whose shell goes on from command to command."""
    harness = os.path.join(place.top, "persistent")
    shutil.copytree(os.path.join(TOP, "harness", "coder"), harness)
    with open(os.path.join(harness, "harness.yaml"), "a", encoding="utf-8") as f:
        f.write("\nshell: {persistent: true}\n")
    return harness


def results(place):
    return [b for _, b in story(place.events(), "result")]


def test_bypasses_have_no_effect():
    """Every line of test_rules that does more than it says, as a model calls it, in the repository that makes it so."""
    lines = [line for all_lines in rules.BYPASSES.values() for line in all_lines]
    asked = 0
    with Place(RELEASE) as place:
        rules.prepare(place)
        model = script(place, *[call("bash", command=line) for line in lines], "say done")
        out = place.rein("exec", "-q", "--max-steps", "500", "--mode", "ask", "--model", model, "go")
        while out.returncode == 3:
            asked += 1
            check(not os.path.lexists(place.path("pwned")), "it had its effect", out)
            out = place.rein("resume", "--last", "-q", "--answer", "all=no")
        check(out.returncode == 0, out)
        outcomes = [b["outcome"] for b in results(place)]
        check(len(outcomes) == len(lines) and outcomes.count("denied") == asked >= len(lines) * 0.9, len(outcomes), len(lines), outcomes.count("denied"), asked)
        check(not os.path.lexists(place.path("pwned")), "one had its effect")
    print(f"tool/approvals: {len(lines)} lines that do more than they say: {asked} asked about, 0 had their effect", flush=True)
    return len(lines)


def test_repositories_have_no_effect():
    """A repository that makes git run a program, and git's harmless words: asked about, or run without it."""
    for name, evil, line in rules.REPOSITORIES:
        with Place(RELEASE) as place:
            rules.ordinary(place)
            rules.shell(place, evil + "; rm -f pwned")
            out = place.rein("exec", "-q", "--mode", "ask", "--model", script(place, call("bash", command=line), "say done"), "go")
            check(out.returncode in (0, 3) and not os.path.lexists(place.path("pwned")), name, out)
    return len(rules.REPOSITORIES)


def test_plain_commands_take_nothing_over():
    """What a person allowed once does not give later words another meaning."""
    with Place() as place:
        harness = persistent(place)
        place.write("bin/ls", "#!/bin/sh\ntouch pwned\n")
        os.chmod(place.path("bin/ls"), 0o755)
        place.write("sub/a", "x")
        model = script(place, call("bash", command="export PATH=$PWD/bin:$PATH GIT_EXTERNAL_DIFF=./evil X=kept; ls() { touch pwned; }; cd sub"),
                       call("bash", command="ls; pwd"), call("bash", command="cd .. && pwd"), call("bash", command="pwd"),
                       call("bash", command="echo \"$X in $PWD\""), "say done")
        out = place.rein("exec", "--mode", "ask", "--harness", harness, "--model", model, "go")
        check(out.returncode == 3, out)
        out = place.rein("resume", "--last", "--answer", "all=yes")
        check(out.returncode == 3 and b"it has an expansion" in out.stderr, out)
        out = place.rein("resume", "--last", "--answer", "all=yes")
        texts = [b["text"].split("\n[")[0] for b in results(place)]
        check(texts[1] == "a\n" + place.path("sub") and texts[2] == place.work and texts[3] == place.work and texts[4] == "kept in " + place.work, texts)
        check(not os.path.exists(place.path("sub/pwned")) and not os.path.exists(place.path("pwned")))
    with Place() as place:              # the workspace is in the user's own PATH
        place.write("ls", "#!/bin/sh\ntouch pwned\n")
        os.chmod(place.path("ls"), 0o755)
        out = place.rein("exec", "--mode", "ask", "--model", script(place, call("bash", command="ls"), "say done"), "go",
                         env={"PATH": ":".join([place.work, ".", "", os.environ["PATH"]])})
        check(out.returncode == 0 and not os.path.exists(place.path("pwned")), out, os.listdir(place.work))


def test_the_shell_outside():
    """A person let it go elsewhere: from there on nothing is plain."""
    with Place() as place:
        harness = persistent(place)
        model = script(place, call("bash", command="cd /etc"), call("bash", command="ls"), "say done")
        check(place.rein("exec", "--mode", "ask", "--harness", harness, "--model", model, "go").returncode == 3)
        out = place.rein("resume", "--last", "--answer", "all=yes")
        check(out.returncode == 3 and b"the shell is not in the workspace" in out.stderr, out)


def test_all_of_a_call_is_shown():
    with Place() as place:
        text = "touch x\n" + " " * 300 + "; rm -rf sub\necho \u202e\u200b\x1b[2K\U000e0041 'x'"
        out = place.rein("exec", "--mode", "ask", "--model", script(place, call("bash", command=text), call("write", path="f\u200bg", content="1\n2"), "say done"), "go")
        err = out.stderr.decode()
        check(out.returncode == 3 and "; rm -rf sub\n" in err and "echo \\u{202e}\\u{200b}\\u{1b}[2K\\u{e0041} 'x'" in err and "\x1b" not in err, err)
        err = place.rein("resume", "--last", "--answer", "all=no").stderr.decode()
        check("path: f\\u{200b}g\n" in err and "content:\n        1\n        2\n" in err, err)


def test_a_word_for_one_call():
    """It is bound to what was asked, by a hash that the log and the ledger have; the next call of the same words asks again."""
    with Place() as place:
        same = call("bash", command="echo x >> f")
        model = script(place, same, same, "say done")
        check(place.rein("exec", "--mode", "ask", "--model", model, "go").returncode == 3)
        out = place.rein("resume", "--last", "--answer", "all=always")
        check(out.returncode == 2 and b"is asked about each time" in out.stderr, out)
        check(place.rein("resume", "--last", "--answer", "all=yes").returncode == 3)
        check(place.read("f") == b"x\n")
        out = place.rein("resume", "--last", "--answer", "all=yes")
        check(out.returncode == 0 and place.read("f") == b"x\nx\n", out)
        asks, replies = ([b for _, b in story(place.events(), kind)] for kind in ("ask", "reply"))
        grants = [b for _, b in story(place.events("ledger"), "grant")]
        session = place.events()[0]["session"]
        check(len(asks) == len(replies) == 2 and [a["hash"] for a in asks] == [r["hash"] for r in replies] == [g["hash"] for g in grants], asks, replies, grants)
        check(all(g["once"] for g in grants) and [g["by"] for g in grants] == [f"{session}:{a['call']}" for a in asks], grants)
        check(b"nothing is allowed" in place.rein("grants").stdout)


def test_a_word_for_another_meaning():
    """Asked with one harness, and gone on with in another, in which the tool takes other arguments: it is asked again."""
    with Place() as place:
        model = script(place, "call write {\"path\": \"f\", \"content\": \"x\", \"extra\": \"1\"}\n", "say done")
        harness = os.path.join(place.top, "other")
        shutil.copytree(os.path.join(TOP, "harness", "coder"), harness)
        with open(os.path.join(harness, "tools", "write.json"), encoding="utf-8") as f:
            tool = json.load(f)
        tool["parameters"]["properties"]["extra"] = {"type": "string"}
        with open(os.path.join(harness, "tools", "write.json"), "w", encoding="utf-8") as f:
            json.dump(tool, f)
        out = place.rein("exec", "--mode", "ask", "--harness", harness, "--model", model, "go")
        check(out.returncode == 3, out)
        tool["parameters"]["properties"]["extra"] = {"type": "integer"}
        with open(os.path.join(harness, "tools", "write.json"), "w", encoding="utf-8") as f:
            json.dump(tool, f)
        out = place.rein("resume", "--last", "--answer", "all=yes")
        check(out.returncode == 3 and not os.path.exists(place.path("f")) and len(story(place.events(), "ask")) == 2, out)


def test_words_that_last():
    """For commands by prefix, for files by path, for hosts: in the session, or in the workspace, and until they are taken back."""
    with Place() as place:
        rules.ordinary(place)
        other = os.path.join(place.top, "other")
        os.makedirs(other)
        steps = [call("bash", command="git add a"), call("bash", command="git add ."), call("write", path="new", content="1\n"),
                 call("edit", path="new", edits=[{"old": "1", "new": "2"}]), call("write", path="more", content="1\n"), "say done"]
        out = place.rein("exec", "--mode", "ask", "--model", script(place, *steps), "go")
        for word in ("session", "always", "yes"):
            check(out.returncode == 3, word, out)
            out = place.rein("resume", "--last", "--answer", "all=" + word)
        check(out.returncode == 0 and [b["outcome"] for b in results(place)] == ["ok"] * 5, out, results(place))
        by = [b["by"] for _, b in story(place.events(), "intent")]
        check(by[1] == "mode ask: git add was allowed by a person" and by[3] == "mode ask: a person allowed it before", by)
        listed = place.rein("grants").stdout.decode()
        check("run   git add\n" in listed and ", in session " in listed and f"write {place.path('new')}\n" in listed and "more" not in listed, listed)

        out = place.rein("exec", "--mode", "ask", "--model", script(place, call("bash", command="git add a"), "say done"), "go")
        check(out.returncode == 3, "another session goes by it", out)
        out = place.rein("exec", "--mode", "ask", "--model", script(place, call("edit", path="new", edits=[{"old": "2", "new": "3"}]), "say done"), "go")
        check(out.returncode == 0 and place.read("new") == b"3\n", out)
        out = place.rein("exec", "-C", other, "--mode", "ask", "--model", script(place, call("write", path="new", content="1\n"), "say done"), "go")
        check(out.returncode == 3, "another workspace goes by it", out)
        os.rename(place.path("new"), place.path("real"))
        os.symlink("real", place.path("new"))
        out = place.rein("exec", "--mode", "ask", "--model", script(place, call("edit", path="new", edits=[{"old": "3", "new": "4"}]), "say done"), "go")
        check(out.returncode == 3 and place.read("real") == b"3\n", "another file goes by it", out)
        os.remove(place.path("new"))

        numbers = [line.split()[0] for line in listed.split("\n") if line[:1].isdigit()]
        check(place.rein("grants", "revoke", "999").returncode == 2 and place.rein("grants", "revoke", "x").returncode == 2)
        for number in numbers:
            check(place.rein("grants", "revoke", number).returncode == 0)
        check(b"nothing is allowed" in place.rein("grants", "list").stdout and place.rein("grants", "--json").stdout == b"[]\n")
        out = place.rein("exec", "--mode", "ask", "--model", script(place, call("write", path="new", content="1\n"), "say done"), "go")
        check(out.returncode == 3, "it was taken back", out)
        check(place.rein("log", "verify", "ledger").returncode == 0)


def test_taken_back_meanwhile():
    """A session that runs asks from the next call on."""
    with Place() as place:
        steps = [call("write", path="new", content="1\n"), call("bash", command="sleep 2"), call("write", path="new", content="2\n"), "say done"]
        check(place.rein("exec", "--mode", "ask", "--model", script(place, *steps), "go").returncode == 3)
        p = place.start("resume", "--last", "--answer", "all=always")
        while not os.path.exists(place.path("new")):
            pass
        check(place.rein("grants", "revoke", "all").returncode == 0)
        check(p.wait(30) == 3 and place.read("new") == b"1\n", p.stderr.read())
