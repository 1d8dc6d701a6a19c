"""grep and glob: what git ignores against git check-ignore, lines against ripgrep, names against fd; and what has no other to compare
with."""
import json
import os
import random
import shutil
import subprocess

from lib.rein import TOP, Place, Skip, check, story

SEARCH = os.path.join(TOP, "build-test", "test", "search")
NAMES = ["a", "b", "c", "ab", "abc", "a.c", "b.o", "foo", "bar", "x y", "é", "[z]", "a-b", "Foo", "build", "z*", "q?", "#h", "!n", "t ", "b\\s"]


def search(folder, *args, env=None):
    out = subprocess.run([SEARCH, folder, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, check=False,
                         env=dict(os.environ, **(env or {})))
    check(out.returncode in (0, 1), out.stderr.decode()[-1000:])
    return out.stdout


def tool(name):
    path = shutil.which(name)
    if not path:
        raise Skip(f"{name} is not installed")
    return path


def random_pattern(rng):
    def part():
        word = rng.choice(NAMES + ["*", "*", "**", "?", "*.c", "*.o", "a*", "*b", "[ab]", "[!a]*", "[^b]", "[a-c]", "f?o", "[[:alpha:]]", "[[:upper:]]*",
                                   "[]]", "[a-]b", "\\a", "\\[z\\]", "a**", "**b", "***", "[", "a[", "é*", "*o*", "[[:bad:]]", "\\", "a\\", "[a\\]]"])
        return word.replace(" ", "\\ ") if rng.random() < 0.3 else word
    pattern = "/".join(part() for _ in range(rng.choice([1, 1, 1, 2, 2, 3])))
    if rng.random() < 0.25:
        pattern = "/" + pattern
    if rng.random() < 0.25:
        pattern += "/"
    if rng.random() < 0.1:
        pattern = rng.choice(["**/", "/**/"]) + pattern
    if rng.random() < 0.1:
        pattern += "/**"
    if rng.random() < 0.2:
        pattern = "!" + pattern
    if rng.random() < 0.1:
        pattern += rng.choice([" ", "  ", "\\ ", "\t", "\r"])
    return pattern


def random_rules(rng):
    lines = [random_pattern(rng) for _ in range(rng.randint(1, 5))]
    if rng.random() < 0.2:
        lines.insert(0, rng.choice(["# a comment", "", "\\#h", "\\!n", "!", "/", "//a", "#h"]))
    return ("\ufeff" if rng.random() < 0.05 else "") + "\n".join(lines) + rng.choice(["", "\n", "\r\n"])


def random_tree(rng, top):
    paths = set()
    for _ in range(rng.randint(20, 50)):
        parts = [rng.choice(NAMES) for _ in range(rng.randint(1, 4))]
        # a name is a file or a directory, not both
        if any("/".join(parts[:i]) in paths for i in range(1, len(parts))) or any(p.startswith("/".join(parts) + "/") for p in paths):
            continue
        paths.add("/".join(parts))
    for path in paths:
        full = os.path.join(top, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="utf-8") as f:
            f.write("needle\n")
    folders = [top] + [os.path.join(at, n) for at, names, _ in os.walk(top) for n in names]
    for folder in [top] + rng.sample(folders, min(len(folders), rng.randint(0, 3))):
        with open(os.path.join(folder, ".gitignore"), "w", encoding="utf-8", newline="") as f:
            f.write(random_rules(rng))


def all_files(top):
    out = []
    for at, names, files in os.walk(top):
        if ".git" in names:
            names.remove(".git")
        out += [os.path.relpath(os.path.join(at, f), top) for f in files]
    return sorted(out)


def test_ignore_rules_against_git():
    rng = random.Random(41)
    cases = ignored = 0
    with Place() as place:
        home = os.path.join(place.top, "user")
        os.makedirs(os.path.join(home, ".config", "git"))
        env = {"HOME": home, "XDG_CONFIG_HOME": "", "GIT_CONFIG_NOSYSTEM": "1"}
        while cases < 12000:
            top = os.path.join(place.top, "tree")
            shutil.rmtree(top, ignore_errors=True)
            random_tree(rng, top)
            subprocess.run(["git", "init", "-q", top], check=True)
            with open(os.path.join(top, ".git", "info", "exclude"), "w", encoding="utf-8") as f:
                f.write(random_rules(rng) if rng.random() < 0.3 else "")
            with open(os.path.join(home, ".config", "git", "ignore"), "w", encoding="utf-8") as f:
                f.write(random_rules(rng) if rng.random() < 0.3 else "")
            files = all_files(top)
            out = subprocess.run(["git", "check-ignore", "--no-index", "--stdin", "-z"], input="\0".join(files).encode(), cwd=top,
                                 env=dict(os.environ, **env), stdout=subprocess.PIPE, check=False)
            theirs = set(files) - {p.decode() for p in out.stdout.split(b"\0") if p}
            ours = set(search(top, "names", "*", env=env).decode().splitlines())
            if ours != theirs:
                path = sorted(ours ^ theirs)[0]
                said = subprocess.run(["git", "check-ignore", "--no-index", "-v", path], cwd=top, env=dict(os.environ, **env), check=False,
                                      stdout=subprocess.PIPE).stdout
                check(False, path, "is", "kept" if path in ours else "left out", "git:", said.decode(), {p: open(os.path.join(top, p), "rb").read() for p in files if p.endswith(".gitignore")})
            # the same from a folder within: the rules above it hold too
            sub = rng.choice([os.path.dirname(f) for f in files])
            if sub and os.path.dirname(files[0]) != sub:
                inner = set(search(os.path.join(top, sub), "names", "*", env=env).decode().splitlines())
                whole = {f[len(sub) + 1:] for f in theirs if f.startswith(sub + "/")}
                check(inner == whole or not whole, sub, inner ^ whole)
            cases += len(files)
            ignored += len(files) - len(theirs)
    check(0.05 < ignored / cases < 0.95, "both kinds are there", ignored, cases)
    return cases


def test_ignore_rules_of_repositories():
    """Nested repositories, worktrees, core.excludesFile, no repository at all, and all of it on request."""
    with Place() as place:
        home = place.env["HOME"]
        os.makedirs(home)
        env = {"HOME": home, "XDG_CONFIG_HOME": ""}
        for name in ("top.o", "sub/x.o", "sub/y.c", "nested/n.o", "nested/n.log", "nested/k.c", "mine.tmp"):
            place.write(name, "x\n")
        place.write(".gitignore", "*.o\n")
        check(b"top.o" in search(place.work, "names", "*", env=env), "no repository, no rules")
        subprocess.run("git init -q . && git init -q nested && git -c user.name=t -c user.email=t@t commit -q --allow-empty -m x", shell=True,
                       cwd=place.work, check=True)
        place.write("nested/.gitignore", "*.log\n")
        with open(os.path.join(home, ".gitconfig"), "w", encoding="utf-8") as f:
            f.write("[user]\n\tname = t\n[core]\n\texcludesFile = ~/mine\n")
        with open(os.path.join(home, "mine"), "w", encoding="utf-8") as f:
            f.write("*.tmp\n")
        got = search(place.work, "names", "*", env=env).decode().split()
        check(got == [".gitignore", "nested/.gitignore", "nested/k.c", "nested/n.o", "sub/y.c"], got)
        subprocess.run(["git", "worktree", "add", "-q", os.path.join(place.top, "tree")], cwd=place.work, check=True)
        place.write(".git/info/exclude", "*.c\n")
        for name in ("w.c", "w.h"):
            with open(os.path.join(place.top, "tree", name), "w", encoding="utf-8") as f:
                f.write("x\n")
        got = search(os.path.join(place.top, "tree"), "names", "*", env=env).decode().split()
        check(got == ["w.h"], got)
        got = search(place.work, "names", "*.o", "all", env=env).decode().split()
        check(got == ["nested/n.o", "sub/x.o", "top.o"], got)


TEXT = ["alpha", "Beta", "gamma_1", "foo(bar)", "x = 1;", "return", "世界", "éa", "  ", "\t", "a.b", "[z]", "1234", "AbC", "TODO:", "end", "a|b", "$x", "^"]


def random_regex(rng):
    def atom():
        return rng.choice(["a", "b", "alpha", "Beta", "foo", "\\(", "\\.", ".", "[a-c]", "[^a]", "\\w", "\\d", "\\s", "\\S", "\\b", "(a|b)", "(foo|Beta)", "世",
                           "é", "[0-9]", "TODO", "\\$", "\\|", "(?:al|ga)", "x", "=", " ", "_", "end", "\\W"])
    out = ""
    for _ in range(rng.randint(1, 4)):
        a = atom()
        out += a + (rng.choice(["", "", "", "*", "+", "?", "{2}", "{1,2}", "+?"]) if a != "\\b" else "")
    if rng.random() < 0.15:
        out = "^" + out
    if rng.random() < 0.15:
        out += "$"
    if rng.random() < 0.15:
        out += "|" + atom()
    return out


def random_file(rng):
    ending = rng.choice(["\n", "\n", "\r\n"])
    lines = [rng.choice(["", " "]).join(rng.choice(TEXT) for _ in range(rng.randint(0, 6))) for _ in range(rng.randint(0, 30))]
    return ending.join(lines) + rng.choice(["", ending])


def parse_lines(text):
    """{path: [(line, text)]} of our output."""
    out, path = {}, None
    for line in text.decode(errors="replace").split("\n")[:-1]:
        number, colon, rest = line.partition(":")
        if colon and number.isdigit():
            out[path].append((int(number), rest))
        else:
            path = line
            out[path] = []
    return out


def test_grep_against_ripgrep():
    rg = tool("rg")
    rng = random.Random(43)
    cases = hits = 0
    with Place() as place:
        for i in range(40):
            place.write(f"d{i % 5}/f{i}.txt", random_file(rng))
        for _ in range(500):
            pattern, flags, words = random_regex(rng), [], []
            if rng.random() < 0.25:
                flags, words = flags + ["-i"], words + ["nocase"]
            if rng.random() < 0.15:
                pattern, flags, words = rng.choice(TEXT), flags + ["-F"], words + ["literal"]
                if not pattern.strip() and rng.random() < 0.8:
                    continue
            out = subprocess.run([rg, "--hidden", "--no-ignore", "--crlf", "-n", "--no-heading", "--color=never", "--sort=path", *flags, "-e", pattern, "."],
                                 cwd=place.work, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
            check(out.returncode in (0, 1), pattern, out.stderr.decode())
            theirs = {}
            for line in out.stdout.decode().split("\n")[:-1]:
                path, number, text = line.split(":", 2)
                theirs.setdefault(path[2:], []).append((int(number), text.rstrip("\r")))
            ours = parse_lines(search(place.work, "lines", pattern, "all", *words))
            check(ours == theirs, repr(pattern), words, "ours", {k: v for k, v in ours.items() if theirs.get(k) != v},
                  "ripgrep", {k: v for k, v in theirs.items() if ours.get(k) != v})
            counts = search(place.work, "counts", pattern, "all", *words).decode().split("\n")[:-1]
            check(counts == [f"{p}: {len(v)}" for p, v in sorted(theirs.items())], pattern, counts)
            cases += 1
            hits += bool(theirs)
    check(cases > 400 and hits > 200, cases, hits)
    return cases


def test_glob_against_fd():
    """Names: the patterns of the two have the same meaning where they have the same words."""
    fd = shutil.which("fdfind") or tool("fd")
    with Place() as place:
        for name in ("a.c", "b.h", "src/a.c", "src/x.h", "src/deep/y.c", "src/deep/z.txt", "test/t.c", ".hidden/h.c"):
            place.write(name, "x\n")
        for pattern in ("*.c", "*.{c,h}", "a*", "?.h", "[ab].*", "z.txt", "*"):
            theirs = subprocess.run([fd, "-HI", "-g", "-t", "f", pattern], cwd=place.work, stdout=subprocess.PIPE, check=True).stdout.decode().split()
            ours = search(place.work, "names", pattern, "all").decode().split()
            check(ours == sorted(p.removeprefix("./") for p in theirs), pattern, ours, theirs)
        wanted = {"src/*.c": ["src/a.c"], "src/**/*.c": ["src/a.c", "src/deep/y.c"], "**/*.txt": ["src/deep/z.txt"], "src/{a,x}.[ch]": ["src/a.c", "src/x.h"],
                  "*.c !test/": [".hidden/h.c", "a.c", "src/a.c", "src/deep/y.c"], "!*.c !*.h": ["src/deep/z.txt"], "/a.c": ["a.c"], "./a.c": ["a.c"],
                  "{src,test}/{a,t}.{c,{h,txt}}": ["src/a.c", "test/t.c"], "src/": ["src/a.c", "src/deep/y.c", "src/deep/z.txt", "src/x.h"], "none*": []}
        for pattern, want in wanted.items():
            got = search(place.work, "names", pattern, "all").decode().split()
            check(got == want, pattern, got)


def run(place, *calls):
    script = "\n".join(f"call {name} {json.dumps(args)}" for name, args in calls) + "\n--\nsay ok\n"
    out = place.rein("exec", "--quiet", "--mode", "open", "--model", place.script(script), "go", timeout=120)
    check(out.returncode == 0, out.stderr.decode()[-1000:])
    return sorted((b for _, b in story(place.events(), "result")), key=lambda b: [int(n) for n in b["call"].split(".")])


def test_grep_context_against_ripgrep():
    rg = tool("rg")
    rng = random.Random(47)
    with Place() as place:
        for i in range(12):
            place.write(f"f{i:02}.txt", random_file(rng).replace("\r", ""))
        patterns = [(rng.choice(["alpha", "foo\\(", "TODO", "x =", "^a", "end$", "世", "1234", "no such"]), rng.randint(0, 4)) for _ in range(60)]
        results = run(place, *[("grep", {"pattern": p, "context": n}) for p, n in patterns])
        for (pattern, n), r in zip(patterns, results):
            out = subprocess.run([rg, "--heading", "-n", "--color=never", "--sort=path", "-C", str(n), "-e", pattern, "."], cwd=place.work,
                                 stdout=subprocess.PIPE, check=False).stdout.decode()
            theirs = [line.removeprefix("./") for line in out.split("\n") if line]
            ours = [line for line in r["text"].split("\n") if line and not line.startswith(("[", "Nothing matches"))]
            check(ours == theirs or "are shown" in r["text"], pattern, n, ours, theirs)
    return len(patterns)


def test_grep_tool():
    with Place() as place:
        place.write("src/a.c", "int one;\nint two;\nint three;\nint four;\nint five;\nint six;\nint seven;\n")
        place.write("b.txt", "two\n")
        place.write("bin", b"two\0two\n")
        place.write("wide.txt", "世界 two\n".encode("utf-16"))
        place.write("gbk.txt", "// 计算总和 two\n// 错误：文件不存在\n".encode("gbk"))
        place.write("long.js", "x" * 5000 + " two " + "y" * 5000 + "\n")
        os.symlink("/etc", place.path("etc"))
        os.symlink("src/a.c", place.path("link.c"))
        results = run(place, ("grep", {"pattern": "two"}), ("grep", {"pattern": "t[a-z]+;", "path": "src", "context": 1}),
                      ("grep", {"pattern": "错误", "output": "files"}), ("grep", {"pattern": "int", "output": "counts"}),
                      ("grep", {"pattern": "int two", "path": "src/a.c"}), ("grep", {"pattern": "["}), ("grep", {"pattern": "x", "path": "../.."}),
                      ("grep", {"pattern": "nothing like it"}), ("grep", {"pattern": "a\\nb"}), ("grep", {"pattern": "root", "path": "etc"}),
                      ("grep", {"pattern": "(a", "literal": True}), ("grep", {"pattern": "INT TWO", "ignore_case": True, "files": "*.c"}),
                      ("glob", {"files": "*.c"}), ("glob", {"files": "{a"}), ("grep", {"pattern": "x", "path": "none"}))
        text = [r["text"] for r in results]
        check(text[0] == "b.txt\n1:two\ngbk.txt\n1:// 计算总和 two\nlong.js\n1:..." + "x" * 99 + " two " + "y" * 196 + "...\nsrc/a.c\n2:int two;\nwide.txt\n"
              "1:世界 two\n[5 lines in 5 files]\n", text[0])
        check(text[1] == "src/a.c\n1-int one;\n2:int two;\n3:int three;\n4-int four;\n[2 lines in 1 file]\n", text[1])
        check(text[2] == "gbk.txt\n" and text[3] == "src/a.c: 7\n[7 lines in 1 file]\n" and text[4] == "src/a.c\n2:int two;\n[1 line in 1 file]\n", text[2:5])
        check("cannot be read" in text[5] and "literal" in text[5] and "outside" in text[6] and "Nothing matches" in text[7], text[5:8])
        check("within lines" in text[8] and "out of the workspace" in text[9], text[8:10])
        check("Nothing matches" in text[10] and text[11].startswith("src/a.c\n2:int two;"), text[10:12])
        check(text[12] == "link.c\nsrc/a.c\n" and "brace" in text[13] and "No such file" in text[14], text[12:])


def test_grep_is_bounded():
    """Much that is found is counted, and only the beginning is shown; a pattern that explodes is given up."""
    with Place() as place:
        for i in range(300):
            place.write(f"f{i:03}.txt", "needle in a line of some length, again and again\n" * 20)
        place.write("evil.txt", "a" * 40000 + "\n")
        many, evil = run(place, ("grep", {"pattern": "needle"}), ("grep", {"pattern": "(a|aa)+[x-z]", "files": "evil.txt"}))
        check(len(many["text"]) < 17000 and "of 300 files are shown" in many["text"] and many["text"].startswith("f000.txt\n1:needle"), many["text"][-300:])
        check(evil["outcome"] == "ok" and "too much work" in evil["text"], evil["text"])
        out = place.rein("show", "--last")
        check(out.returncode == 0)
