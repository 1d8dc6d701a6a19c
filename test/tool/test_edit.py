"""edit against a model of it: only the spans change, whatever the line ends, marks and bytes of the file."""
import json
import random

from lib.rein import Place, check, story

WORDS = ["alpha", "beta", "gamma", "delta", "x = 1;", "return", "\t", "    ", "é", "世界", "{", "}", "//", "end"]


def random_file(rng):
    ending = rng.choice([b"\n", b"\r\n", None])
    data = rng.choice([b"", b"\xef\xbb\xbf"])
    for _ in range(rng.randint(1, 40)):
        line = " ".join(rng.choice(WORDS) for _ in range(rng.randint(0, 6))).encode()
        if rng.random() < 0.05:
            line += "世界世界".encode() + b"\xff\xfe"      # still UTF-8 for the most part
        data += line + (ending or rng.choice([b"\n", b"\r\n"]))
    if rng.random() < 0.3:
        data = data.rstrip(b"\r\n")
    return data


def crlf_at(data, at):
    nl = data.find(b"\n", at)
    if nl < 0:
        nl = data.rfind(b"\n", 0, at)
    return nl > 0 and data[nl - 1:nl] == b"\r"


def crlf(data):
    return data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def model(data, edits):
    """The new bytes, or None when the call has to be refused."""
    spans = []
    for e in edits:
        old, new = e["old"].encode(), e["new"].encode()
        if old == new or not old:
            return None
        if old not in data and b"\n" in old:
            old = crlf(old)
        places = []
        at = data.find(old)
        while at >= 0:
            places.append(at)
            at = data.find(old, at + (len(old) if e.get("all") else 1))
        if not places or (len(places) > 1 and not e.get("all")):
            return None
        spans += [(p, p + len(old), crlf(new) if b"\n" in new and crlf_at(data, p) else new) for p in places]
    spans.sort()
    out, at = b"", 0
    for begin, end, new in spans:
        if begin < at:
            return None
        out += data[at:begin] + new
        at = end
    return out + data[at:]


def random_edits(rng, data):
    edits = []
    text = data.decode("utf-8", "ignore").replace("\r\n", "\n").lstrip("\ufeff")
    for _ in range(rng.randint(1, 3)):
        begin = rng.randrange(len(text) + 1)
        old = text[begin:begin + rng.randint(0, 30)]
        new = "".join(rng.choice(WORDS + ["\n"]) for _ in range(rng.randint(0, 4)))
        edit = {"old": old, "new": new}
        if rng.random() < 0.3:
            edit["all"] = True
        edits.append(edit)
    return edits


def test_edit_property():
    rng = random.Random(4)
    cases = [(data, random_edits(rng, data)) for data in (random_file(rng) for _ in range(400))]
    with Place() as place:
        for i, (data, _) in enumerate(cases):
            place.write(f"f{i}", data)
        script = "\n--\n".join("call edit " + json.dumps({"path": f"f{i}", "edits": e}, ensure_ascii=False)
                               for i, (_, e) in enumerate(cases)) + "\n--\nsay Finished.\n"
        out = place.rein("exec", "--mode", "open", "--model", place.script(script), "go", timeout=120)
        check(out.returncode == 0, out.stderr.decode()[-2000:])
        results = [b for _, b in story(place.events(), "result")]
        done = 0
        for i, (data, edits) in enumerate(cases):
            want = model(data, edits)
            got = place.read(f"f{i}")
            check((results[i]["outcome"] == "ok") == (want is not None), i, results[i], data, edits)
            check(got == (data if want is None else want), i, data, edits, "gave", got, "and should be", want)
            done += want is not None
        check(done > 100, "too few edits went through:", done)
        return len(cases)


def results(files, *calls):
    with Place() as place:
        for name, data in files.items():
            place.write(name, data)
        script = "\n--\n".join("call " + name + " " + json.dumps(args) for name, args in calls) + "\n--\nsay Finished.\n"
        out = place.rein("exec", "--mode", "open", "--model", place.script(script), "go")
        check(out.returncode == 0, out)
        return [b for _, b in story(place.events(), "result")], {n: place.read(n) for n in files}


def edit(path, old, new, **more):
    return ("edit", {"path": path, "edits": [dict(old=old, new=new, **more)]})


def test_nearest_candidates():
    text = "int main(void)\n{\n    int count = 0;\n    return count;\n}\n"
    found, files = results({"a.c": text}, edit("a.c", "int cuont = 0;", "int count = 1;"), edit("a.c", "wholly different", "x"),
                           edit("a.c", "count", "n"))
    check("line 3" in found[0]["text"] and "int count = 0;" in found[0]["text"], found[0])
    check("nearest" not in found[1]["text"], found[1])
    check("occurs 2 times" in found[2]["text"] and "lines 3, 4" in found[2]["text"], found[2])
    check(files["a.c"].decode() == text)


def test_changed_since_read():
    """By content: touching the file does no harm, changing it does, and reading it again helps."""
    found, files = results(
        {"a.txt": "one\ntwo\n"},
        ("read", {"path": "a.txt"}), ("bash", {"command": "touch -d '2001-01-01' a.txt"}), edit("a.txt", "one", "1"),
        ("bash", {"command": "echo three >> a.txt"}), edit("a.txt", "two", "2"), ("read", {"path": "a.txt"}), edit("a.txt", "two", "2"))
    check([f["outcome"] for f in found] == ["ok", "ok", "ok", "ok", "error", "ok", "ok"], found)
    check("changed since" in found[4]["text"], found[4])
    check(files["a.txt"] == b"1\n2\nthree\n")


def test_write_needs_read():
    found, files = results({"a.txt": b"\xef\xbb\xbfone\r\ntwo\r\n"}, ("write", {"path": "a.txt", "content": "x\n"}),
                           ("read", {"path": "a.txt"}), ("write", {"path": "a.txt", "content": "x\ny\n"}))
    check([f["outcome"] for f in found] == ["error", "ok", "ok"], found)
    check(files["a.txt"] == b"\xef\xbb\xbfx\r\ny\r\n", files)


def test_links_and_modes():
    import os
    with Place() as place:
        place.write("real/script.sh", "echo one\n")
        os.chmod(place.path("real/script.sh"), 0o754)
        os.symlink("real/script.sh", place.path("link"))
        script = "call " + " ".join(("edit", json.dumps({"path": "link", "edits": [{"old": "one", "new": "two"}]}))) + "\n--\nsay ok\n"
        check(place.rein("exec", "--mode", "open", "--model", place.script(script), "go").returncode == 0)
        check(os.path.islink(place.path("link")) and place.read("real/script.sh") == b"echo two\n")
        check(os.stat(place.path("real/script.sh")).st_mode & 0o7777 == 0o754)
