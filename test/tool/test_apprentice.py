"""The apprentice at its one job: the example, and mutants of it. What it says in the end has to be the truth."""
import concurrent.futures
import os
import random
import re
import shutil
import subprocess

from lib.rein import RELEASE, TOP, Place, check

EXAMPLE = os.path.join(TOP, "examples", "broken-c")
GOOD = "The build passes, and so do the tests"
REPAIRS = {"src/list.c": ("= capacity\n", "= capacity;\n"), "src/stats.c": ("->cuont", "->count"),
           "src/main.c": ('#include <stdlib.h>', '#include <stdio.h>\n#include <stdlib.h>')}


def make(folder, *targets):
    return subprocess.run(["make", "-s", *targets], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                          env=dict(os.environ, LC_ALL="C"))


def truth(folder):
    """Whether the build and the tests pass."""
    make(folder, "clean")
    return make(folder).returncode == 0 and make(folder, "test").returncode == 0


def apprentice(place, *options, prompt="make the build pass"):
    out = place.rein("exec", "--mode", "open", "--model", "builtin/apprentice", *options, prompt, timeout=120)
    check(out.returncode == 0, out)
    return out.stdout.decode()


def test_apprentice_repairs_the_example():
    with Place(RELEASE) as place:
        shutil.copytree(EXAMPLE, place.work, dirs_exist_ok=True)
        check(not truth(place.work), "the example is broken")
        said = apprentice(place)
        check(said.startswith(GOOD) and truth(place.work), said)
        for path, (old, new) in REPAIRS.items():
            with open(os.path.join(EXAMPLE, path), encoding="utf-8") as f:
                want = f.read().replace(old, new)
            # the compiler puts an include behind the last one
            got = place.read(path).decode().replace('#include <stdlib.h>\n#include <stdio.h>', '#include <stdio.h>\n#include <stdlib.h>')
            check(got == want, path, got)


def at(source, pattern, rng):
    places = [m for m in re.finditer(pattern, source)]
    return rng.choice(places) if places else None


def typo(rng, word):
    i = rng.randrange(1, len(word) - 1)
    return rng.choice([word[:i] + word[i + 1] + word[i] + word[i + 2:], word[:i] + word[i] + word[i:], word[:i] + word[i + 1:]])


def spoil(pattern, change):
    def mutate(rng, source):
        m = at(source, pattern, rng)
        if not m:
            return None
        new = change(rng, m)
        return source[:m.start()] + new + source[m.end():] if new != m.group(0) else None
    return mutate


# Kinds for which compilers have hints, and kinds for which they have none.
KINDS = {
    "semicolon": spoil(r"(?<=[a-z0-9)\]]);\n", lambda rng, m: "\n"),
    "member": spoil(r"(?<=->)(count|values|capacity)\b", lambda rng, m: typo(rng, m.group(0))),
    "variable": spoil(r"(?<!struct )(?<![->.])\b(largest|capacity|values|value)\b(?! = )(?![^\n]*\{)", lambda rng, m: typo(rng, m.group(0))),
    "function": spoil(r"\b(list_add|list_free|stats_sum|stats_largest|printf|realloc|free|strtol)(?=\()", lambda rng, m: typo(rng, m.group(0))),
    "type": spoil(r"\bsize_t\b", lambda rng, m: typo(rng, "size_t")),
    "arrow": spoil(r"\blist->(?=count|values|capacity)", lambda rng, m: "list."),
    "dot": spoil(r"\blist\.(?=count)", lambda rng, m: "list->"),
    "include": spoil(r"#include <(stdio|stdlib|assert|stddef)\.h>\n", lambda rng, m: ""),
    "struct": spoil(r"\bstruct (?=list \*?list\b)", lambda rng, m: ""),
    "null": spoil(r"\bNULL\b", lambda rng, m: "NUL"),
    "brace": spoil(r"\n\}\n", lambda rng, m: "\n\n"),
    "unknown": spoil(r"\b(list->count|list\.count)\b", lambda rng, m: "zzqqy(list)"),
    "header": spoil(r"\"numbers\.h\"", lambda rng, m: "\"figures.h\""),
    "operator": spoil(r" \+= ", lambda rng, m: " =+= "),
    "wrong": spoil(r" > largest", lambda rng, m: " < largest"),     # it builds, and the tests fail
}


def hints(folder):
    """Hints that belong to an error of the first build, by this test's own reading."""
    make(folder, "clean")
    text = subprocess.run(["make", "-k", "CC=cc -fdiagnostics-parseable-fixits", "all", "test-numbers"], cwd=folder, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, env=dict(os.environ, LC_ALL="C"), check=False).stdout.decode()
    make(folder, "clean")
    error, n = False, 0
    for line in text.splitlines():
        if re.search(r": (fatal )?error: ", line):
            error = True
        elif ": warning: " in line:
            error = False
        elif line.startswith("fix-it:") and error:
            n += 1
    return n


def one_mutant(number, kind, source, text):
    with Place(RELEASE) as place:
        shutil.copytree(EXAMPLE, place.work, dirs_exist_ok=True)
        for path, (old, new) in REPAIRS.items():
            place.write(path, place.read(path).decode().replace(old, new))
        place.write(source, text)
        broken, found = not truth(place.work), hints(place.work)
        before = {p: place.read(p) for p in (*REPAIRS, "src/test.c", "src/numbers.h", "Makefile")}
        said = apprentice(place)
        passes = truth(place.work)
        changed = [p for p, data in before.items() if place.read(p) != data]
    check(said.startswith(GOOD) == passes, number, kind, "it says", said, "and the truth is", passes)
    check(passes or "does not pass" in said or "tests fail" in said, number, kind, said)
    check(not changed or "I followed the compiler's hints" in said, number, kind, "changed without a word:", changed)
    if not broken:
        check(not changed, number, kind, "changed what was not broken")
    return kind, broken, found, passes, bool(changed)


def test_apprentice_on_mutants():
    rng = random.Random(53)
    sources = {}
    for path in [*REPAIRS, "src/test.c", "src/numbers.h"]:
        with open(os.path.join(EXAMPLE, path), encoding="utf-8") as f:
            sources[path] = f.read().replace(*REPAIRS.get(path, ("", "")))
    mutants = []
    while len(mutants) < 70:
        kind, path = list(KINDS)[len(mutants) % len(KINDS)], rng.choice(list(sources))
        text = KINDS[kind](rng, sources[path])
        if text and text != sources[path]:
            mutants.append((len(mutants), kind, path, text))
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        results = list(pool.map(lambda m: one_mutant(*m), mutants))
    repaired = {}
    for kind, broken, found, passes, changed in results:
        if broken and found:
            repaired.setdefault(kind, []).append(passes)
        elif broken:
            check(not passes and not changed, kind, "no hint, and changed")
    with_hints = sum(map(len, repaired.values()))
    good = sum(map(sum, repaired.values()))
    print("tool/apprentice: " + ", ".join(f"{k} {sum(v)} of {len(v)}" for k, v in sorted(repaired.items())) +
          f"; {sum(b for _, b, _, _, _ in results) - with_hints} broken without a hint, all said so", flush=True)
    check(with_hints >= 30 and sum(any(v) for v in repaired.values()) >= 5, "kinds of hints", repaired)
    check(good >= with_hints * 0.9, "repaired", good, "of", with_hints, repaired)
    return len(mutants)


def test_apprentice_says_what_it_is():
    with Place(RELEASE) as place:
        said = apprentice(place, prompt="write a poem about the sea")
        check("not a language model" in said and "--model" in said, said)
        said = apprentice(place, prompt="build it")
        check("nothing here that I can build" in said, said)
        place.write("hello.c", "#include <stdio.h>\nint main(void) { puts(\"hi\") }\n")
        said = apprentice(place, prompt="please compile")
        check("The .c files build" in said and "puts(\"hi\"); }" in place.read("hello.c").decode(), said)
