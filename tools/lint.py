#!/usr/bin/env python3
"""What ./dev lint checks besides two compilers: the direction of includes, the size of the loop, unfinished words."""
import os
import re
import sys

ORDER = {"base": set(), "rt": {"base"}, "core": {"base", "rt"}}
SIDES = ["provider", "tool", "hook", "env", "mcp", "serve", "tui"]
for side in SIDES:
    ORDER[side] = {"base", "rt", "core"}
ORDER["cmd"] = {"base", "rt", "core", *SIDES}
ORDER["box"] = set()
ORDER["files"] = {"base", "core", "box"}      # a program of its own, of which env takes wire.h and guard.h
ORDER["env"] |= {"files"}
LOOP_MAX = 500
# What lies in a layer was left by a command: it is reached from held descriptors, never by a path from the root.
BY_PATH = re.compile(r"\b(open|creat|stat|lstat|access|rename|link|unlink|symlink|readlink|mkdir|rmdir|mknod|chmod|chown|lchown|truncate|utimes|opendir|scandir|"
                     r"realpath|fopen|chdir|[lgsr]*[gsr]etxattr|l?listxattr|l?removexattr|statfs|nftw)\(")
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")

problems = []
for folder, _, names in os.walk("src"):
    for name in names:
        path = os.path.join(folder, name)
        part = path.split(os.sep)[1]
        text = open(path, encoding="utf-8").read()
        for number, line in enumerate(text.split("\n"), 1):
            found = re.match(r'#include "(\w+)/', line)
            if found and found[1] != part and found[1] not in ORDER[part]:
                problems.append(f"{path}:{number}: {part} may not include {found[1]}")
            if name.startswith("layer") and part == "files" and BY_PATH.search(line):
                problems.append(f"{path}:{number}: a call by path on what a command has left")
            if UNFINISHED.search(line):
                problems.append(f"{path}:{number}: unfinished: {line.strip()}")
            if len(line) > 132:
                problems.append(f"{path}:{number}: {len(line)} columns")
            if line.rstrip() != line or "\t" in line:
                problems.append(f"{path}:{number}: a tab or white space at the end")
        if path == "src/core/turn.c" and text.count("\n") >= LOOP_MAX:
            problems.append(f"{path}: the loop has {text.count(chr(10))} lines; what grows is a hook or a tool")
print("\n".join(problems) or "lint: includes point the right way")
sys.exit(bool(problems))
