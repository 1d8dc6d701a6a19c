"""Files in other encodings than UTF-8: read shows them as text; edit, write and patch change only what they have to, in the file's own
bytes."""
import codecs
import json
import random

from lib.rein import Place, check, story

ZH = ["计算总和", "错误：文件不存在", "名称", "你好，世界", "测试", "返回值", "这是一个用来检查编码的文件。", "数据库连接失败", "用户", "请输入密码"]
TW = ["計算總和", "錯誤：檔案不存在", "名稱", "你好，世界", "測試", "這是一個用來檢查編碼的檔案。", "資料庫連線失敗", "使用者", "請輸入密碼"]
JA = ["合計を計算する", "エラー：ファイルが見つかりません", "こんにちは世界", "テスト", "ユーザー名を入力してください", "設定を保存しました", "表示"]
KO = ["안녕하세요 세계", "오류: 파일을 찾을 수 없습니다", "합계를 계산합니다", "테스트", "사용자 이름을 입력하세요", "설정을 저장했습니다"]
WEST = ["café", "naïve déjà vu", "Größe über Maß", "señor año", "Ångström", "façade", "prêt-à-porter", "Straße", "niño"]
RU = ["Привет мир", "Ошибка: файл не найден", "сумма значений", "проверка", "имя пользователя", "настройки сохранены"]
CODE = ["int main(void) {", "return 0;", "x = y + 1;", "// ", "/* ", " */", "printf(\"", "\");", "if (a < b)", "\t", "    ", "}", "# "]

# name: words, codec, byte order mark
KINDS = {
    "utf-8": (ZH + RU, "utf-8", b""), "utf-8 with mark": (ZH, "utf-8", codecs.BOM_UTF8),
    "utf-16le": (ZH + WEST, "utf-16-le", codecs.BOM_UTF16_LE), "utf-16be": (JA, "utf-16-be", codecs.BOM_UTF16_BE),
    "utf-16le bare": (WEST + ZH, "utf-16-le", b""), "utf-16be bare": (RU, "utf-16-be", b""), "utf-32le": (ZH, "utf-32-le", codecs.BOM_UTF32_LE),
    "gbk": (ZH, "gbk", b""), "gb18030": (ZH + ["㐀㐁𠀀"], "gb18030", b""), "big5": (TW, "cp950", b""), "shift-jis": (JA, "cp932", b""),
    "euc-jp": (JA, "euc_jp", b""), "euc-kr": (KO, "cp949", b""), "latin-1": (WEST, "latin-1", b""), "cp1252": (WEST + ["“quoted”", "€ 5"], "cp1252", b""),
    "cp1251": (RU, "cp1251", b""), "koi8-r": (RU, "koi8-r", b""),
}


def random_text(rng, words):
    ending = rng.choice(["\n", "\n", "\r\n"])
    lines = ["// " + " ".join(rng.choice(words) for _ in range(5))]
    for _ in range(rng.randint(2, 30)):
        line = rng.choice(CODE) * rng.randint(0, 2)
        lines.append(line + " ".join(rng.choice(words + CODE) for _ in range(rng.randint(0, 5))))
    text = ending.join(lines)
    return text + (ending if rng.random() < 0.7 else "")


def random_edit(rng, text, words):
    """Where, what is there, what comes there."""
    while True:
        at = rng.randrange(len(text))
        old = text[at:at + rng.randint(1, 40)]
        new = " ".join(rng.choice(words if rng.random() < 0.6 else CODE) for _ in range(rng.randint(0, 3)))
        # one edit at one place, no line ends: what happens to those is the business of test_edit
        if text.find(old) == at and text.find(old, at + 1) < 0 and "\n" not in old and "\r" not in old and old != new:
            return at, old, new


def make(rng, kind):
    words, codec, mark = KINDS[kind]
    text = random_text(rng, words)
    at, old, new = random_edit(rng, text, words)
    head, tail = mark + text[:at].encode(codec), text[at + len(old):].encode(codec)
    return {"kind": kind, "text": text, "old": old, "new": new, "head": head, "tail": tail, "was": mark + text.encode(codec),
            "want": head + new.encode(codec) + tail}


def run(place, steps):
    """One answer for each list of calls."""
    script = "\n--\n".join("\n".join(f"call {name} {json.dumps(args)}" for name, args in calls) for calls in steps) + "\n--\nsay ok\n"
    out = place.rein("exec", "--quiet", "--mode", "open", "--model", place.script(script), "go", timeout=300)
    check(out.returncode == 0, out.stderr.decode()[-2000:])
    return sorted((body for _, body in story(place.events(), "result")), key=lambda b: [int(n) for n in b["call"].split(".")])


def test_encodings_property():
    rng = random.Random(23)
    cases = [make(rng, kind) for kind in KINDS for _ in range(40)]
    right = {kind: 0 for kind in KINDS}
    with Place() as place:
        for i, c in enumerate(cases):
            place.write(f"f{i}", c["was"])
        steps = []
        for i in range(0, len(cases), 20):
            part = list(enumerate(cases))[i:i + 20]
            steps.append([("read", {"path": f"f{k}"}) for k, _ in part])
            steps.append([("edit", {"path": f"f{k}", "edits": [{"old": c["old"], "new": c["new"]}]}) for k, c in part])
        results = run(place, steps)
        edits = [r for r in results if r["tool"] == "edit"]
        for i, (c, r) in enumerate(zip(cases, edits)):
            now = place.read(f"f{i}")
            if r["outcome"] != "ok":
                check(now == c["was"], "refused, and changed", c["kind"], r)
                continue
            check(now.startswith(c["head"]) and now.endswith(c["tail"]) and len(now) >= len(c["head"]) + len(c["tail"]),
                  "changed outside the span", c["kind"], [c["old"], c["new"]], len(c["was"]), len(now), c["was"][:20], now[:20], c["was"][-20:], now[-20:])
            right[c["kind"]] += now == c["want"]
        shown = [r["text"] for r in results if r["tool"] == "read"]
        for c, text in zip(cases, shown):
            if right[c["kind"]] == 40:
                check(text.startswith(c["text"]), "shown", c["kind"], c["text"], text)
    for kind, n in right.items():
        check(n >= (40 if "utf" in kind else 38), "told and written right", kind, n, "of 40")
    return len(cases)


def test_encodings_with_broken_bytes():
    """Bytes that are nothing in the file's encoding stay what they are."""
    rng = random.Random(29)
    cases = []
    for kind in ("gbk", "shift-jis", "big5", "euc-kr", "utf-8", "utf-16le"):
        for _ in range(20):
            words, codec, mark = KINDS[kind]
            lines = [line.encode(codec) for line in random_text(rng, words).replace("\r", "").split("\n") * 3]
            unit = "\n".encode(codec)
            broken = {"utf-16le": b"\x00\xd8"}.get(kind, b"\xff")
            for _ in range(2):
                lines.insert(rng.randrange(len(lines)), "ab".encode(codec) + broken + "cd".encode(codec))
            at = rng.randrange(1, len(lines))
            head, tail = mark + unit.join(lines[:at]) + unit, unit + unit.join(lines[at:])
            cases.append((kind, head, "needle @".encode(codec), tail, "pin".encode(codec)))
    with Place() as place:
        for i, (_, head, old, tail, _) in enumerate(cases):
            place.write(f"f{i}", head + old + tail)
        steps = [[("edit", {"path": f"f{k}", "edits": [{"old": "needle @", "new": "pin"}]}) for k in range(i, min(i + 20, len(cases)))]
                 for i in range(0, len(cases), 20)]
        results = run(place, steps)
        for i, ((kind, head, _, tail, new), r) in enumerate(zip(cases, results)):
            check(r["outcome"] == "ok", kind, r, head)
            check(place.read(f"f{i}") == head + new + tail, kind, r)
    return len(cases)


def test_encodings_that_lack_a_character():
    with Place() as place:
        text = "// " + " ".join(RU) + "\nint x;\n"
        place.write("ru.c", text.encode("cp1251"))
        place.write("west.c", ("// " + " ".join(WEST) + "\nint x;\n").encode("latin-1"))
        before = place.read("west.c")
        results = run(place, [[("read", {"path": "ru.c"}), ("read", {"path": "west.c"})],
                              [("edit", {"path": "ru.c", "edits": [{"old": "int x;", "new": "int x; // 世界"}]})],
                              [("write", {"path": "west.c", "content": "日本\n"})],
                              [("write", {"path": "ru.c", "content": "// да\n"})],
                              [("write", {"path": "west.c", "content": "é [redacted by rein: KEY]\n"})]])
        check("WINDOWS-1251" in results[0]["text"] and RU[0] in results[0]["text"], results[0])
        check(results[2]["outcome"] == "error" and '"世" cannot be written in WINDOWS-1251' in results[2]["text"], results[2])
        check(results[3]["outcome"] == "error" and place.read("west.c") == before, results[3])
        check(results[4]["outcome"] == "ok" and place.read("ru.c") == "// да\n".encode("cp1251"), results[4])
        check(results[5]["outcome"] == "error" and "stands in place of a secret" in results[5]["text"], results[5])


def test_encoding_that_is_named():
    """A guess can be wrong: who reads may say what it is, and edit goes by that."""
    with Place() as place:
        place.write("short", "да\n".encode("koi8-r"))
        results = run(place, [[("read", {"path": "short", "encoding": "KOI8-R"})],
                              [("edit", {"path": "short", "edits": [{"old": "да", "new": "нет"}]})],
                              [("read", {"path": "short"})],
                              [("read", {"path": "short", "encoding": "ISO-2022-JP"}), ("read", {"path": "short", "encoding": "no such"})]])
        check(results[0]["text"].startswith("да\n"), results[0])
        check(results[1]["outcome"] == "ok" and place.read("short") == "нет\n".encode("koi8-r"), results[1])
        check(results[2]["text"].startswith("нет\n"), "it is remembered", results[2])
        check(results[3]["outcome"] == "error" and "state" in results[3]["text"], results[3])
        check(results[4]["outcome"] == "error" and "no encoding" in results[4]["text"], results[4])


def test_read_what_is_no_text():
    with Place() as place:
        place.write("a.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\2\x80\0\0\1\xe0\x08\6\0\0\0")
        place.write("prog", b"\x7fELF\2\1\1" + bytes(60))
        place.write("noise", bytes(range(256)) * 4)
        place.write("sub/x.txt", "hello\n")
        place.write("empty", "")
        results = run(place, [[("read", {"path": p}) for p in ("a.png", "prog", "noise", ".", "sub", "empty", "sub/")],
                              [("edit", {"path": "prog", "edits": [{"old": "ELF", "new": "FLE"}]})]])
        texts = [r["text"] for r in results]
        check("not text but a PNG image of 640x480 pixels" in texts[0], texts[0])
        check("an ELF program" in texts[1] and "a binary file" in texts[2], texts[1:3])
        check(texts[3] == "a.png\t29\nempty\t0\nnoise\t1024\nprog\t67\nsub/\n" and texts[4] == texts[6] == "x.txt\t6\n", texts[3:])
        check(texts[5] == "[it is empty]" and results[7]["outcome"] == "error", texts[5], results[7])


def test_read_pages_through_other_encodings():
    """A long file comes in parts, whatever it is in, also where a character lies over two chunks."""
    with Place() as place:
        lines = [f"{i} " + ZH[i % len(ZH)] * 3 for i in range(30000)]
        for codec, mark in (("gbk", b""), ("utf-16-le", codecs.BOM_UTF16_LE), ("utf-8", b"")):
            place.write("long", mark + "\n".join(lines).encode(codec))
            results = run(place, [[("read", {"path": "long", "start": 29990, "count": 5}), ("read", {"path": "long", "start": 12345, "count": 2}),
                                   ("read", {"path": "long", "start": 40000})]])[-3:]
            check(results[0]["text"].startswith("\n".join(lines[29989:29994])), codec, results[0]["text"][:200])
            check(results[1]["text"].startswith("\n".join(lines[12344:12346])), codec, results[1]["text"][:200])
            check("it has 30000 lines" in results[2]["text"], codec, results[2]["text"])
