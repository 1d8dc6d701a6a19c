"""outline: by ctags, and by the look of lines where there is none."""
import json
import os
import shutil

from lib.rein import Place, Skip, check, story

SOURCES = {
    "a.c": "#include <x.h>\nstruct point {\n    int x;\n};\n\nstatic int add(struct point *p)\n{\n    if (p)\n        return 1;\n    return add(p);\n}\n"
           "int declared(void);\n",
    "b.py": "import os\n\nclass Box:\n    def open(self, key):\n        return key\n\nasync def main():\n    pass\n",
    "c.ts": "export interface Shape { x: number }\nexport default class Circle {\n  area() { return 1 }\n}\nconst f = (x) => x\nfunction g() {}\n",
    "d.go": "package d\n\ntype T struct{}\n\nfunc (t T) M() {}\nfunc F() {}\n",
    "e.rs": "pub struct S;\nimpl S {\n    pub fn new() -> S { S }\n}\nfn free() {}\n",
    "f.md": "# Title\n\ntext\n\n## Part\n",
    "g.sh": "run() {\n  :\n}\n",
    "h.java": "public class H {\n    public static void main(String[] a) {\n    }\n}\n",
    "bin.c": b"\0\1\2\3" * 100,
}
WANTED = {"a.c": ["point 2", "add 6"], "b.py": ["Box 3", "open 4", "main 7"], "c.ts": ["Shape 1", "Circle 2", "g 6"], "d.go": ["T 3", "M 5", "F 6"],
          "e.rs": ["S 1", "new 3", "free 5"], "f.md": ["Title 1", "Part 5"], "g.sh": ["run 1"], "h.java": ["H 1", "main 2"]}


def outlines(place, *calls, path=None):
    script = "\n".join(f"call outline {json.dumps(a)}" for a in calls) + "\n--\nsay ok\n"
    out = place.rein("exec", "-q", "--mode", "open", "--model", place.script(script), "go", env={"PATH": path} if path else None)
    check(out.returncode == 0, out)
    results = sorted((b for _, b in story(place.events(), "result")), key=lambda b: int(b["call"].split(".")[1]))
    check(all(r["outcome"] == "ok" for r in results), results)
    return [r["text"] for r in results]


def filled(place):
    for name, text in SOURCES.items():
        place.write("src/" + name, text)
    place.write("src/.gitignore", "ignored.c\n")
    place.write("src/ignored.c", "int no(void) { }\n")
    os.makedirs(place.path(".git"))


def test_outline_by_ctags():
    if not shutil.which("ctags"):
        raise Skip("ctags is not installed")
    with Place() as place:
        filled(place)
        folder, one, none, part = outlines(place, {"path": "src"}, {"path": "src/a.c"}, {"path": "src/.gitignore"}, {"files": "*.py"})
        lines = dict(line.split(":", 1) for line in folder.splitlines())
        for name, wanted in WANTED.items():
            for w in wanted:
                check(w in lines.get("src/" + name, ""), name, w, folder)
        check("ignored" not in folder and "declared" not in folder, folder)
        check(one.startswith("2 struct point\n6 function add(struct point * p)\n"), one)
        check("nothing is defined here" in none and list(part.splitlines())[0].startswith("src/b.py: class Box 3, "), none, part)


def test_outline_by_looks():
    with Place() as place:
        filled(place)
        tools = os.path.join(place.top, "bin")
        os.makedirs(tools)
        for name in ("sh", "grep", "cat"):
            os.symlink(shutil.which(name), os.path.join(tools, name))
        folder, one = outlines(place, {"path": "src"}, {"path": "src/a.c"}, path=tools)
        found, path = {}, ""
        for line in folder.splitlines():
            number, colon, text = line.partition(":")
            if colon and number.isdigit():
                found[path].append(f"{text} {number}")
            else:
                path = line
                found[path] = []
        for name, wanted in WANTED.items():
            for w in wanted:
                word, number = w.split()
                check(any(word in t and t.endswith(" " + number) for t in found.get("src/" + name, [])), name, w, folder)
        check("declared" not in folder and "return add" not in folder and "if (p)" not in folder, folder)
        check(one == "src/a.c\n2:struct point {\n6:static int add(struct point *p)\n", one)
