"""patch against git apply, where both can express the change; and what only one of them has to hold."""
import difflib
import json
import os
import random
import shutil
import stat
import subprocess

from crash.scenarios import patch_harness
from lib.rein import Place, check, story


def run(place, patches):
    """One answer per patch; the results."""
    script = "\n--\n".join("\n".join(f"call {name} {json.dumps(args)}" for name, args in calls) for calls in patches) + "\n--\nsay ok\n"
    out = place.rein("exec", "--quiet", "--harness", patch_harness(), "--mode", "open", "--model", place.script(script), "go", timeout=300)
    check(out.returncode == 0, out.stderr.decode()[-2000:])
    return sorted((b for _, b in story(place.events(), "result")), key=lambda b: [int(n) for n in b["call"].split(".")])


def patch(*lines):
    return ("patch", {"patch": "\n".join(["*** Begin Patch", *lines, "*** End Patch"])})


def tree(folder):
    out = {}
    for at, folders, names in os.walk(folder):
        folders[:] = [f for f in folders if f != ".rein"]
        for name in names:
            path = os.path.join(at, name)
            if ".git" not in path:
                with open(path, "rb") as f:
                    out[os.path.relpath(path, folder)] = (f.read(), stat.S_IMODE(os.lstat(path).st_mode))
    return out


WORDS = ["alpha", "beta", "gamma", "delta", "return", "if", "世界", "é", "{", "}", "x", "// note", "y = 2;"]


def random_lines(rng, n):
    return [f"{'    ' * rng.randint(0, 2)}{rng.choice(WORDS)} {rng.choice(WORDS)} {rng.randrange(1000)}" for _ in range(n)]


def change_lines(rng, lines):
    out = list(lines)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(out) + 1)
        kind = rng.randrange(3)
        if kind == 0:
            out[at:at] = random_lines(rng, rng.randint(1, 3))
        elif kind == 1:
            del out[at:at + rng.randint(1, 3)]
        else:
            out[at:at + 1] = random_lines(rng, 1)
    return out


def hunks(old, new):
    """The lines of the chunks, each with three lines of context."""
    out = []
    for line in difflib.unified_diff(old, new, lineterm="", n=3):
        if line.startswith(("---", "+++")) and not out:
            continue
        out.append("@@" if line.startswith("@@") else line)
    return out


def random_case(rng):
    """(files before, patch sections, whether git can say the same)."""
    before, sections = {}, []
    for i in range(rng.randint(1, 4)):
        name = f"{rng.choice(['', 'd/', 'd/e/'])}f{i}.txt"
        kind = rng.choice(["update", "update", "update", "add", "delete", "move"])
        lines = random_lines(rng, rng.randint(4, 60))
        if kind == "add":
            sections.append((kind, name, None, None, lines))
            continue
        before[name] = lines
        new = change_lines(rng, lines) if kind != "delete" else None
        if kind != "delete" and (new == lines or not new):
            new = lines + ["one more"]
        sections.append((kind, name, f"moved/m{i}.txt" if kind == "move" else None, lines, new))
    return before, sections


def as_patch(sections):
    out = []
    for kind, name, to, old, new in sections:
        if kind == "add":
            out += [f"*** Add File: {name}", *["+" + line for line in new]]
        elif kind == "delete":
            out.append(f"*** Delete File: {name}")
        else:
            out += [f"*** Update File: {name}", *([f"*** Move to: {to}"] if to else []), *hunks(old, new)]
    return patch(*out)


def test_patch_against_git_apply():
    rng = random.Random(31)
    cases = [random_case(rng) for _ in range(250)]
    with Place() as place:
        for i, (before, _) in enumerate(cases):
            for name, lines in before.items():
                place.write(f"{i}/{name}", "\n".join(lines) + "\n")
                if i % 5 == 0:
                    os.chmod(place.path(f"{i}/{name}"), 0o750)
        theirs = os.path.join(place.top, "theirs")
        shutil.copytree(place.work, theirs)
        subprocess.run(["git", "init", "-q", theirs], check=True)
        for i, (_, sections) in enumerate(cases):
            for kind, name, to, old, new in sections:
                a, b = f"{i}/{name}", f"{i}/{to or name}"
                diff = [f"diff --git a/{a} b/{b}"]
                if kind == "move":
                    diff += [f"rename from {a}", f"rename to {b}"]
                mode = "100755" if kind == "delete" and i % 5 == 0 else "100644"
                if kind in ("add", "delete"):
                    diff.append(f"{'new' if kind == 'add' else 'deleted'} file mode {mode}")
                diff += list(difflib.unified_diff(old or [], new or [], "/dev/null" if kind == "add" else f"a/{a}",
                                                  "/dev/null" if kind == "delete" else f"b/{b}", lineterm="", n=3))
                out = subprocess.run(["git", "apply", "--whitespace=nowarn"], input="\n".join(diff + [""]).encode(), cwd=theirs,
                                     stderr=subprocess.PIPE, check=False)
                check(out.returncode == 0, out.stderr.decode(), "\n".join(diff))
        calls = []
        for i, (_, sections) in enumerate(cases):
            moved = [(k, f"{i}/{n}", f"{i}/{t}" if t else None, o, w) for k, n, t, o, w in sections]
            calls.append([as_patch(moved)])
        results = run(place, calls)
        for (_, sections), r in zip(cases, results):
            check(r["outcome"] == "ok", r, sections)
        ours, git = tree(place.work), tree(theirs)
        check(set(ours) == set(git), sorted(set(ours) ^ set(git))[:5])
        for name, (data, mode) in ours.items():
            check(data == git[name][0], name, data, git[name][0])
            # git knows one bit of a mode, and renames keep it; rein keeps all of it
            check((mode & 0o100) == (git[name][1] & 0o100), name, oct(mode), oct(git[name][1]))
    return len(cases)


def test_patch_finds_lines():
    """Headers, ends of files, line ends, encodings, and text that is nearly right."""
    with Place() as place:
        place.write("two.py", "class A:\n    def f(self):\n        return 1\n\nclass B:\n    def f(self):\n        return 1\n")
        place.write("crlf.c", b"int a;\r\nint b;\r\nint c;\r\n")
        place.write("gbk.c", "// 计算总和\nint x;\n// 错误：文件不存在\n".encode("gbk"))
        place.write("open.txt", "one\ntwo")
        place.write("quotes.txt", "it\u2019s \u201cthis\u201d \u2013 here  \nnext\n")
        place.write("end.txt", "x\ny\nx\ny\n")
        place.write("same.txt", "a\nb\na\nb\n")
        steps = [
            patch("*** Update File: two.py", "@@ class B:", "     def f(self):", "-        return 1", "+        return 2"),
            patch("*** Update File: crlf.c", "@@", " int a;", "-int b;", "+int bb;", "+int bbb;"),
            patch("*** Update File: gbk.c", "@@", " // 计算总和", "-int x;", "+int y; // 返回值"),
            patch("*** Update File: open.txt", "@@", " two", "+three"),
            patch("*** Update File: quotes.txt", "@@", " it's \"this\" - here", "-next", "+last"),
            patch("*** Update File: end.txt", "@@", " x", "-y", "+z", "*** End of File"),
            patch("*** Update File: same.txt", "@@", " a", "-b", "+c"),
            patch("*** Update File: two.py", "@@ class A:", "@@     def f(self):", "+        # first"),
            patch("*** Update File: end.txt", "@@ -1,2 +1,2 @@", "-x", "+w", " y", ""),
            ("patch", {"patch": "*** Begin Patch\r\n*** Add File: new/a.txt\r\n+one\r\n*** End Patch\r\n"}),
            patch("*** Add File: empty.txt"),
        ]
        results = run(place, [[s] for s in steps])
        for r in results:
            check(r["outcome"] == "ok", r)
        want = {
            "two.py": "class A:\n    def f(self):\n        # first\n        return 1\n\nclass B:\n    def f(self):\n        return 2\n".encode(),
            "crlf.c": b"int a;\r\nint bb;\r\nint bbb;\r\nint c;\r\n",
            "gbk.c": "// 计算总和\nint y; // 返回值\n// 错误：文件不存在\n".encode("gbk"), "open.txt": b"one\ntwo\nthree",
            "quotes.txt": "it\u2019s \u201cthis\u201d \u2013 here  \nlast\n".encode(), "end.txt": b"w\ny\nx\nz\n", "same.txt": b"a\nc\na\nb\n",
            "new/a.txt": b"one\n", "empty.txt": b"",
        }
        for name, data in want.items():
            check(place.read(name) == data, name, place.read(name))
        check("2 places are like the chunk" in results[6]["text"], results[6])
        check(results[0]["text"].endswith("two.py at line 7"), results[0]["text"])


def test_patch_refused():
    """What is wrong is one sentence, and nothing is changed, in no file."""
    with Place() as place:
        place.write("a.txt", "one\ntwo\n")
        place.write("b.txt", "first\n")
        place.write("bin", b"\x7fELF\0\0\0")
        os.symlink("a.txt", place.path("link"))
        place.write(".git/config", "x\n")
        good = ["*** Update File: a.txt", "@@", "-one", "+1"]
        cases = [
            (patch(*good, "*** Update File: b.txt", "@@", "-second", "+2"), "`second`"),
            (patch(*good, "*** Update File: none.txt", "@@", "-x", "+y"), "does not exist"),
            (patch(*good, "*** Add File: b.txt", "+x"), "exists already"),
            (patch(*good, "*** Delete File: none.txt"), "does not exist"),
            (patch(*good, "*** Update File: bin", "@@", "-x", "+y"), "binary"),
            (patch(*good, "*** Update File: a.txt", "@@", "-two", "+2"), "there twice"),
            (patch(*good, "*** Update File: b.txt", "*** Move to: a.txt", "@@", "-first", "+1st"), "there twice"),
            (patch("*** Update File: b.txt", "*** Move to: bin", "@@", "-first", "+1st"), "exists already"),
            (patch("*** Update File: a.txt", "@@", " one"), "nothing is changed in"),
            (patch("*** Update File: a.txt", "@@ missing", "-one", "+1"), "line behind @@"),
            (patch("*** Update File: a.txt", "@@", "?one"), "begins with a space"),
            (patch("*** Add File: c.txt", "x"), "begins with +"),
            (patch("*** Update File: ../out.txt", "@@", "-x", "+y"), "outside"),
            (patch("*** Add File: /etc/x", "+y"), "outside"),
            (patch("*** Delete File: link"), "is a link"),
            (patch(), "is empty"), (patch("*** Rename File: a.txt"), "is wanted"),
            (("patch", {"patch": "*** Begin Patch\n*** Update File: a.txt\n@@\n-one\n+1\n"}), "cut off"),
            (("patch", {"patch": "diff --git a/a.txt b/a.txt\n"}), "begins with *** Begin Patch"),
            (patch("*** Update File: a.txt", "@@", "-one", "+[redacted by rein: KEY]"), "in place of a secret"),
        ]
        results = run(place, [[c] for c, _ in cases])
        for (call, words), r in zip(cases, results):
            check(r["outcome"] == "error" and words in r["text"] and "\n" not in r["text"], call, words, r)
        check(tree(place.work) == {"a.txt": (b"one\ntwo\n", 0o644), "b.txt": (b"first\n", 0o644), "bin": (b"\x7fELF\0\0\0", 0o644),
                                   "link": (b"one\ntwo\n", 0o777)}, tree(place.work))


def test_patch_is_put_back():
    """When one file cannot be written, those before it are as they were."""
    with Place() as place:
        place.write("a.txt", "one\n")
        place.write("sub/b.txt", "two\n")
        place.write("gone.txt", "three\n")
        script = patch("*** Update File: a.txt", "@@", "-one", "+1", "*** Delete File: gone.txt", "*** Add File: sub/c/d.txt", "+x",
                       "*** Update File: sub/b.txt", "@@", "-two", "+2")
        text = f"call patch {json.dumps(script[1])}\ncall bash {json.dumps({'command': 'ls -R'})}\n--\nsay ok\n"
        place.write("sub/c", "a file where a directory has to be: that shows only when the others are changed\n")
        out = place.rein("exec", "--quiet", "--harness", patch_harness(), "--mode", "open", "--model", place.script(text), "go")
        check(out.returncode == 0, out)
        result = story(place.events(), "result")[0][1]
        check(result["outcome"] == "error" and "nothing was changed" in result["text"], result)
        check(place.read("a.txt") == b"one\n" and place.read("sub/b.txt") == b"two\n" and place.read("gone.txt") == b"three\n")


def test_patch_is_chosen_by_the_model():
    with Place() as place:
        for model, tool in (("openai/gpt-5.5", "patch"), ("openai/gpt-4.1-mini", "patch"), ("x/codex-mini", "patch"), ("deepseek/deepseek-chat", "edit"),
                            ("anthropic/claude-sonnet-5", "edit"), ("openai/gpt-4o", "edit")):
            names = [json.loads(line)["name"] for line in place.rein("tools", "--json", "--model", model).stdout.decode().splitlines()]
            check(tool in names and len({"edit", "patch"} & set(names)) == 1, model, names)
