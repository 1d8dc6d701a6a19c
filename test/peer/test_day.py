"""A working day: the commands that an agent gives over several tasks in one project, each over a layer, against the same ones without."""
import json
import os
import shutil
import statistics
import subprocess
import time

from lib.rein import RELEASE, Place, check, need_live, story
from lib.script import call, script
from peer.test_layer import difference, snapshot

GIT = "git -c user.name=Dev -c user.email=dev@example.org"

# A small project in C with a Python tool beside it.
PROJECT = {
    "Makefile": "CFLAGS = -O1 -Wall\nOBJS = main.o words.o\nwc2: $(OBJS)\n\t$(CC) -o $@ $(OBJS)\n%.o: %.c words.h\n\t$(CC) $(CFLAGS) -c $<\ntest: wc2\n\tsh test.sh\nclean:\n\trm -f wc2 *.o\n.PHONY: test clean\n",
    "main.c": "#include \"words.h\"\n#include <stdio.h>\n\nint main(void)\n{\n    printf(\"%d\\n\", words(stdin));\n    return 0;\n}\n",
    "words.c": "#include \"words.h\"\n#include <ctype.h>\n\nint words(FILE *f)\n{\n    int n = 0, in = 0, c;\n\n    while ((c = getc(f)) != EOF) {\n        if (isspace(c))\n            in = 0;\n        else if (!in)\n            in = 1, n++;\n    }\n    return n;\n}\n",
    "words.h": "#pragma once\n#include <stdio.h>\n\nint words(FILE *f);\n",
    "test.sh": "set -e\n[ \"$(echo a b c | ./wc2)\" = 3 ]\n[ \"$(printf '' | ./wc2)\" = 0 ]\necho all good\n",
    "tools/count.py": "import sys\n\n\ndef count(text):\n    return len(text.split())\n\n\nif __name__ == '__main__':\n    print(count(sys.stdin.read()))\n",
    "tools/test_count.py": "from count import count\n\n\ndef test_count():\n    assert count('a b  c') == 3\n",
    "README.md": "# wc2\n\nCounts words.\n", ".gitignore": "*.o\nwc2\n__pycache__/\n",
}

MORNING = [
    "pwd", "ls -la", "git status --short", "git log --oneline | head -5", "cat README.md", "cat Makefile", "wc -l *.c *.h", "head -20 words.c", "grep -n words *.c *.h", "find . -name '*.py' -not -path './.git/*'",
    "make 2>&1 | tail -3", "make test", "git status --short", "echo 'one two three' | ./wc2", "python3 tools/count.py < README.md", "cd tools && python3 -m pytest -q -p no:cacheprovider 2>&1 | tail -1 || python3 test_count.py",
    "nm wc2 | grep -i words", "size wc2 || true", "file wc2 || true", "git branch --show-current",
]

TASKS = ["lines", "chars", "longest", "unique", "average", "vowels"]


def task(name):
    """A feature from the first look to the merge."""
    return [
        f"{GIT} checkout -q -b {name}", "git status -sb | head -1", "cat words.h", "sed -n 1,40p words.c", "grep -n 'int words' *.c *.h",
        f"printf 'int {name}(FILE *f);\\n' >> words.h", "tail -2 words.h",
        f"cat >> words.c <<'E'\n\nint {name}(FILE *f)\n{{\n    int n = 0, c;\n\n    while ((c = getc(f)) != EOF)\n        n += c == '\\n';\n    return n;\n}}\nE", "tail -12 words.c", "make 2>&1 | tail -2", "make test",
        f"mkdir -p tests && printf '#include \"../words.h\"\\n#include <assert.h>\\n\\nint main(void)\\n{{\\n    FILE *f = tmpfile();\\n\\n    fputs(\"a\\\\nb\\\\n\", f);\\n    rewind(f);\\n    assert({name}(f) == 2);\\n"
        f"    return 0;\\n}}\\n' > tests/{name}.c", f"cat tests/{name}.c", f"cc -Wall -o tests/{name} tests/{name}.c words.o && tests/{name} && echo passed", f"rm tests/{name}", "git diff --stat", f"git diff | head -40",
        f"sed -i 's/n += c == .*/if (c == 10)\\n            n++;/' words.c", "make 2>&1 | grep -i warning; true", "make test", "git add -A && git status --short", f"{GIT} commit -q -m 'Count {name}' && git log --oneline | head -1",
        f"echo '- {name}' >> README.md", f"git diff README.md | tail -3", f"{GIT} commit -q -am 'README: {name}'", f"cp words.c /tmp/{name}.bak && cmp words.c /tmp/{name}.bak", "git stash list", f"echo scratch > notes.txt", f"{GIT} stash push -q -u && git stash list",
        f"{GIT} stash pop -q && cat notes.txt", "rm notes.txt", "git show --stat HEAD~1 | tail -4", "git checkout -q main", f"{GIT} merge -q --no-edit {name}", f"git branch -d {name}", "make 2>&1 | tail -1", "make test",
        f"python3 - <<'E'\nimport re\ntext = open('README.md').read()\nassert '{name}' in text\nprint(len(text))\nE", "git log --oneline | wc -l", "git status --short",
    ]


AFTERNOON = [
    "git clone -q --no-hardlinks . vendor/copy", "ls vendor/copy && rm -rf vendor", f"{GIT} tag v1", "git describe --tags", "mkdir src && git mv main.c words.c words.h src/", "sed -i 's#words.h#src/words.h#; s#%.o: %.c#%.o: src/%.c#' Makefile",
    "make clean && make 2>&1 | tail -2; ls", "sed -i 's#\\.\\./words.h#../src/words.h#' tests/*.c", "make test", f"{GIT} commit -q -am 'Sources into src' && git status --short", "mv tests spec && ls spec && mv spec tests", f"{GIT} rm -q tests/vowels.c && git status --short",
    f"{GIT} commit -q -m 'No vowels'", f"{GIT} revert --no-edit HEAD | tail -1", "tar czf release.tgz src Makefile && tar tzf release.tgz | wc -l", "rm release.tgz", "ln -s src/words.h words.h && readlink words.h", "rm words.h",
    "cat > CMakeLists.txt <<'E'\ncmake_minimum_required(VERSION 3.10)\nproject(wc2 C)\nadd_executable(wc2 src/main.c src/words.c)\nE", "cmake -S . -B build > /dev/null && cmake --build build 2>&1 | tail -1 || true", "rm -rf build CMakeLists.txt",
    "python3 -c \"import sqlite3; c = sqlite3.connect('t.db'); c.execute('create table t(x)'); c.executemany('insert into t values (?)', [(i,) for i in range(1000)]); c.commit()\"", "python3 -c \"import sqlite3; print(sqlite3.connect('t.db').execute('select sum(x) from t').fetchone())\"", "rm t.db",
    "chmod 755 test.sh && stat -c %a test.sh", f"{GIT} commit -q -am 'test.sh runs' ", "git gc -q && git count-objects -v | grep in-pack", "git fsck 2>&1 | grep -v dangling; true", f"{GIT} checkout -q -b topic HEAD~3 && echo x > topic.txt && git add topic.txt && {GIT} commit -q -m topic",
    f"{GIT} rebase -q main && git log --oneline | head -2", "git checkout -q main", f"{GIT} merge -q --ff-only topic && git branch -d topic", "git worktree add -q wt HEAD~1 && ls wt | head -3", "git worktree remove wt", "git remote add origin ../elsewhere.git; git remote -v", "git config branch.main.remote origin",
    "for i in 1 2 3 4 5; do echo $i > gen$i.txt; done; ls gen*", "rm gen?.txt", "awk '{n += NF} END {print n}' README.md", "sort -u README.md | head -3", "diff src/main.c src/words.c | head -3; true", "false", "exit 3", "ls nothing-there", "cd src && pwd && ls", "cd ..", "export WHO=me; echo $WHO", "echo \"still $WHO\"",
    "yes | head -100000 | wc -l", "dd if=/dev/zero of=zeros bs=1M count=8 2>/dev/null; ls -s zeros | cut -d' ' -f1; rm zeros", "make clean", "git status --short",
]

DAY = MORNING + [line for name in TASKS for line in task(name)] + AFTERNOON


def begin(place):
    for name, text in PROJECT.items():
        place.write(name, text)
    subprocess.run(f"git init -q -b main . && git add -A && {GIT} commit -q -m first", shell=True, cwd=place.work, check=True)


def play(place, *how):
    """The day's results, in their order, and how long it took."""
    began = time.monotonic()
    answers = [call("bash", command=line) for line in DAY]
    out = place.rein("exec", *how, "--quiet", "--model", script(place, *answers, "say done"), "go", timeout=600)
    check(out.returncode == 0, out)
    took = time.monotonic() - began
    return [b for _, b in story(place.events(), "result")], took


def sources(place):
    """What there is beside what git writes with its own times, and what compilers do."""
    return {k: v for k, v in snapshot(place.work).items() if not k.startswith(b".git") and not k.endswith((b".pyc", b".o", b"wc2"))}


def test_a_working_day():
    """At most three questions; each command ends as it does without a layer, and the files are the same in the end."""
    need_live()
    with Place(RELEASE, base="/var/tmp") as plain, Place(RELEASE, base="/var/tmp") as place:
        begin(plain)
        begin(place)
        without, time_without = play(plain, "--mode", "open")
        with_layer, time_with = play(place, "--mode", "auto")
        check(len(with_layer) == len(DAY) == len(without) and len(DAY) >= 300, len(DAY), len(with_layer))
        waits = [(line, b["text"][-200:]) for line, b in zip(DAY, with_layer) if "waits" in b]
        check(len(waits) <= 3, len(waits), waits)
        for line, a, b in zip(DAY, without, with_layer):
            check((a["outcome"], a.get("exit")) == (b["outcome"], b.get("exit")) or "waits" in b, line, a, b)
        check(sources(plain) == sources(place), difference(sources(plain), sources(place)))
        again = [line for line, b in zip(DAY, with_layer) if "again" in b]
        kept = sum(int(p.read_bytes().split(b"\0")[0]) for p in __import__("pathlib").Path(place.path(".rein/layers")).glob("*/plan"))
        used = int(subprocess.run(["du", "-sk", ".rein/layers"], cwd=place.work, stdout=subprocess.PIPE, check=True).stdout.split()[0])
        added = statistics.median(b["ms"] - a["ms"] for a, b in zip(without, with_layer))
        print(f"peer/day: {len(DAY)} commands, {len(waits)} questions, {sum('changed' in b for b in with_layer)} changed something, {len(again)} were run in place ({'; '.join(a[:40] for a in again)}); "
              f"{1000 * (time_with - time_without) / len(DAY):.1f} ms more for each in all, {added} ms in the median of what the commands took; {kept >> 10} KiB of old versions kept, {used} KiB on disk", flush=True)
        return len(DAY)
