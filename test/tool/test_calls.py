"""Calls that models get wrong: each is mended to what was meant, or refused with one line; none runs as something else.

CASES: tool, the arguments' text, and what they have to become: an object, or None for refused. `@` stands for the case's number, so
that what ran can be told from what is in the workspace."""
import json
import os
import subprocess

from lib.mock import Mock, text
from lib.rein import TOP, Place, check, story

W = {"path": "w@", "content": "content @\n"}
B = {"command": "echo ran > b@"}
R = {"path": "r.txt"}
E = {"path": "e.txt", "edits": [{"old": "one", "new": "one"}]}      # refused by the tool itself: it changes nothing
jw, jb, jr = json.dumps(W), json.dumps(B), json.dumps(R)
fixed = lambda tool, want, *texts: [(tool, t, want) for t in texts]  # noqa: E731
BAR = "\uff5c"
SEP = "\u2581"


def prefixes(tool, text):
    """Cut off at every place."""
    return [(tool, text[:n], None) for n in range(1, len(text))]


def cases():
    out = []
    # nothing is wrong
    out += fixed("write", W, jw, " \n" + jw + "\n", json.dumps(W, indent=2)) + fixed("bash", B, jb) + fixed("read", R, jr)
    # cut off: never run when it acts; when it only reads, closed if all of it is there
    out += prefixes("write", jw) + prefixes("bash", '{"command": "echo ran > b@", "timeout": 12}')
    out += fixed("read", R, '{"path": "r.txt"', '{"path": "r.txt",', '{"path": "r.txt", ')
    out += fixed("read", None, '{"path": "r.txt', '{"path": "r.txt", "sta', '{"path": "r.txt", "start"', '{"path": "r.txt", "start":',
                 '{"path": "r.txt", "start": 1', '{"path"', '{', '{"path": "r.txt", "count": tru')
    # text twice, JSON in a string, envelopes
    out += fixed("write", W, json.dumps(jw), json.dumps(json.dumps(jw)), json.dumps(" " + jw)) + fixed("bash", B, json.dumps(jb))
    out += fixed("write", W, json.dumps({"arguments": W}), json.dumps({"name": "write", "arguments": W}), json.dumps({"parameters": W}),
                 json.dumps({"name": "write", "parameters": W}), json.dumps({"input": W}), json.dumps({"args": W}))
    out += fixed("bash", B, jb + jb, jb + "\n" + jb, jb + jb + jb)
    out += fixed("bash", None, jb + '{"command": "echo other > b@"}', jb + jb[:-1], jb + "[]", json.dumps("echo ran > b@"), json.dumps([B, B]))
    # markup around it
    out += fixed("write", W, "```json\n" + jw + "\n```", "```\n" + jw + "\n```", "<tool_call>" + jw + "</tool_call>", jw + "</tool_call>",
                 jw + "\n</function>", jw + "</parameter></invoke>", "<arguments>" + jw + "</arguments>", jw + "<|im_end|>",
                 jw + "<|tool_call_end|><|tool_calls_section_end|>", f"{jw}<{BAR}tool{SEP}call{SEP}end{BAR}>", "\ufeff" + jw, jw + "}", jw + "}}",
                 jw + "]", "<parameter=arguments>" + jw + "</parameter>", "```json\n" + jw, jw + "```")
    out += fixed("bash", None, jb + " done", jb + "; rm -rf x", jb + "\n\nNow I wait.", "Here it is: " + jb, jb + "<b>", jb + ",", "// run\n" + jb,
                 jb + "<unknown_tag>", "<command>echo ran > b@</command>", "<parameter name=\"command\">echo ran > b@</parameter>",
                 "<arg_key>command</arg_key><arg_value>echo ran > b@</arg_value>", "command: echo ran > b@", "echo ran > b@", "command=echo")
    # markup in it
    out += fixed("bash", None, '{"command": "echo ran > b@</parameter>"}', '{"command": "echo ran > b@\\n</tool_call>"}',
                 '{"command": "echo ran > b@</invoke>"}', '{"command": "echo ran > b@<|im_end|>"}', '{"command": "echo ran > b@</arg_value>"}')
    out += fixed("write", None, '{"path": "w@</parameter>", "content": ""}', f'{{"path": "w@", "content": "x<{BAR}tool{SEP}call{SEP}end{BAR}>"}}',
                 '{"path": "w@", "content": "x</function>"}', '{"path": "w@", "content": "x</function_calls>"}')
    out += fixed("write", {"path": "w@", "content": "<function>x</function>"}, '{"path": "w@", "content": "<function>x</function>"}')
    out += fixed("write", {"path": "w@", "content": "see </parameter> here"}, '{"path": "w@", "content": "see </parameter> here"}')
    # strings
    out += fixed("write", W, '{"path": "w@", "content": "content @\n"}', '{"path":\n"w@",\n"content": "content @\n"\n}')
    out += fixed("write", {"path": "w@", "content": "\ta\r\nb"}, '{"path": "w@", "content": "\ta\r\nb"}')
    out += fixed("write", {"path": "w@", "content": "it's"}, "{'path': 'w@', 'content': 'it\\'s'}", '{"path": "w@", "content": "it\\\'s"}')
    out += fixed("write", {"path": "w@", "content": 'say "hi"'}, "{'path': 'w@', 'content': 'say \"hi\"'}")
    out += fixed("write", None, '{"path": "w@", "content": "\\d+"}', '{"path": "w@", "content": "say "hi""}', "{'path': 'w@', 'content': 'it's'}",
                 '{"path": "w@", "content": "\\x41"}', '{"path": "w@", "content": "\\ud83d"}', '{"path": "w@", "content": "\\u00"}',
                 '{"path": "w@", "content": "a\\u0000b"}', '{"path": "w@", "content": "a" "b"}', '{"path": "w@", "content": "a" + "b"}',
                 '{"path": "w@", "content": `a`}', '{"path": "w@", "content": """a"""}', '{“path”: “w@”, “content”: ""}',
                 '{"path": "w@", "content": "C:\\new\\q"}')
    # Python and JavaScript
    out += fixed("bash", dict(B, background=False), "{'command': 'echo ran > b@', 'background': False}",
                 '{"command": "echo ran > b@", "background": False}', "{command: 'echo ran > b@', background: false}")
    out += fixed("bash", B, '{"command": "echo ran > b@",}', '{"command": "echo ran > b@", }', "{command: \"echo ran > b@\"}",
                 '{"command": "echo ran > b@", "timeout": None}', '{"command": "echo ran > b@", "timeout": null}')
    out += fixed("bash", None, '{"command": "echo ran > b@", "timeout": undefined}', '{"command": "echo ran > b@",,}', '{,"command": "echo ran > b@"}',
                 '{"command" "echo ran > b@"}', '{"command"= "echo ran > b@"}', '{"command": echo ran > b@}', '["command", "echo ran > b@"]',
                 '{"command": "echo ran > b@"; "timeout": 3}', '{"command": "echo ran > b@" "timeout": 3}', "{'command': echo}",
                 '{"command": "echo ran > b@", "timeout": NaN}', '{"command": "echo ran > b@", "timeout": 0x10}',
                 '{"command": "echo ran > b@", "timeout": 01}', '{"command": "echo ran > b@", "command": "echo ran > b@"}',
                 '{"command": "echo ran > b@" /* fast */}', '("command", "echo")', '{"command": "echo ran > b@", ...}')
    # values in another dress
    out += fixed("bash", dict(B, timeout=5), '{"command": "echo ran > b@", "timeout": "5"}', '{"command": "echo ran > b@", "timeout": 5.0}')
    out += fixed("bash", dict(B, background=False), '{"command": "echo ran > b@", "background": "false"}',
                 '{"command": "echo ran > b@", "background": "False"}')
    out += fixed("edit", E, '{"path": "e.txt", "edits": {"old": "one", "new": "one"}}',
                 json.dumps({"path": "e.txt", "edits": json.dumps(E["edits"])}), json.dumps({"path": "e.txt", "edits": json.dumps(E["edits"][0])}))
    # what the schema does not allow
    out += fixed("bash", None, '{"command": "echo ran > b@", "timeout": 0}', '{"command": "echo ran > b@", "timeout": 601}',
                 '{"command": "echo ran > b@", "timeout": 1.5}', '{"command": "echo ran > b@", "timeout": "5s"}',
                 '{"command": "echo ran > b@", "timeout": "soon"}', '{"command": "echo ran > b@", "timeout": 1e400}',
                 '{"command": "echo ran > b@", "timeout": 99999999999999999999}', '{"command": "echo ran > b@", "timeout": true}',
                 '{"command": "echo ran > b@", "background": "maybe"}', '{"command": "echo ran > b@", "background": 1}',
                 '{"command": ["echo", "ran"]}', '{"command": null}', '{"command": 7}', '{"command": {"run": "echo"}}', '{}', '', ' ', 'null', '""',
                 'true', '7', '[]', '[{}]', '{"cmd": "echo ran > b@"}', '{"Command": "echo ran > b@"}',
                 '{"command": "echo ran > b@", "dry_run": true}', '{"command": "echo ran > b@", "cwd": "/"}',
                 '{"command": "echo ran > b@", "": 1}', '{"commands": ["echo ran > b@"]}')
    out += fixed("edit", None, '{"path": "e.txt"}', '{"path": "e.txt", "edits": []}', '{"path": "e.txt", "edits": [{"old": "one"}]}',
                 '{"path": "e.txt", "edits": [["one", "two"]]}', '{"path": "e.txt", "edits": "one"}',
                 '{"path": "e.txt", "old_string": "one", "new_string": "two"}', '{"path": "e.txt", "edits": [{"old": "one", "new": null}]}',
                 '{"path": "e.txt", "edits": [{"old": "one", "new": "two", "replace_all": true}]}',
                 '{"path": ["e.txt"], "edits": [{"old": "one", "new": "two"}]}')
    out += fixed("write", None, '{"path": "w@"}', '{"content": "x"}', '{"file_path": "w@", "content": "x"}', '{"path": "w@", "content": {"a": 1}}',
                 '{"path": "w@", "content": ["x"]}', '{"path": "w@", "content": 1}', '{"path": "w@", "content": "x", "mode": 493}')
    # names
    out += fixed(" bash ", B, jb) + fixed("Bash", B, jb) + fixed("functions.bash", B, jb) + fixed("bash<|channel|>commentary", B, jb)
    out += fixed("bash2", None, jb) + fixed("run bash", None, jb) + fixed("ba" + "s" * 9000 + "h", None, jb) + fixed("<|bash|>", None, jb)
    out += fixed("functions.", None, jb) + fixed("ba\u0000sh", None, jb) + fixed("функция", None, jb)
    # size and depth
    deep = "[" * 100000
    out += fixed("bash", None, '{"command": ' + deep, '{"command": ' + "[" * 300 + "]" * 300 + "}", "{" * 5000, '{"a":' * 3000)
    return [(tool, text.replace("@", str(i)), json.loads(json.dumps(want).replace("@", str(i)))) for i, (tool, text, want) in enumerate(out)]


def schema_of(place, tool):
    lines = place.rein("tools", "--json").stdout.decode().splitlines()
    return {t["name"]: t["parameters"] for t in map(json.loads, lines)}.get(tool)


def test_malformed_calls_are_read():
    all_cases = cases()
    check(len(all_cases) >= 200, "cases", len(all_cases))
    tools = ("read", "write", "edit", "bash")
    with Place() as place:
        schemas = {t: schema_of(place, t) for t in tools}
    asked = [c for c in all_cases if c[0] in tools]
    lines = subprocess.run([f"{TOP}/build-test/test/probe", "args"], stdout=subprocess.PIPE, check=True, input="".join(
        json.dumps({"schema": schemas[tool], "pure": tool == "read", "text": t}) + "\n" for tool, t, _ in asked).encode()).stdout
    for line, (tool, t, want) in zip(lines.decode().splitlines(), asked):
        got = json.loads(line)
        check(got.get("args") == want, tool, t[:300], "became", line[:300])
        if want is None:
            check(10 < len(got["say"]) < 400 and "\n" not in got["say"], "one line", got["say"])
    return len(asked)


def test_malformed_calls_never_run_as_something_else():
    """The same corpus through a session: what is in the workspace in the end is what the cases say."""
    all_cases = [(tool, t, want) for tool, t, want in cases() if "\u0000" not in tool]
    groups = [all_cases[i:i + 16] for i in range(0, len(all_cases), 16)]
    sane = ("sane", "bash", json.dumps({"command": "echo sane"}))        # a model that only makes such calls is stopped
    answers = [{"text": "", "calls": [*[(f"c{i}", tool, t) for i, (tool, t, _) in enumerate(g)], sane]} for g in groups]
    with Place() as place:
        place.write("r.txt", "one\n")
        place.write("e.txt", "one\n")
        with Mock(answers + [text("Sorry.")]) as mock:
            out = place.rein("exec", *mock.options(), "--mode", "open", "go", timeout=300)
            check(out.returncode == 0 and not mock.refused, out.stderr.decode()[-1000:], mock.refused)
        results = sorted([r for r in story(place.events(), "result") if "sane" not in r[1]["text"]], key=lambda r: [int(n) for n in r[1]["call"].split(".")])
        check(len(results) == len(all_cases), "a result for each", len(results), len(all_cases))
        for (tool, t, want), (_, body) in zip(all_cases, results):
            refused = body["outcome"] == "error" and body["text"].startswith("Not run: ")
            check(refused == (want is None), tool[:40], t[:200], body["outcome"], body["text"][:300])
        expected = {"r.txt": b"one\n", "e.txt": b"one\n"}
        for i, (tool, _, want) in enumerate(cases()):
            if want and "command" in want:
                expected[f"b{i}"] = b"ran\n"
            elif want and "content" in want:
                expected[f"w{i}"] = want["content"].encode()
        names = set(os.listdir(place.work)) - {".rein"}
        check(names == set(expected), "files", sorted(names ^ set(expected)))
        for name, data in expected.items():
            check(place.read(name) == data, name)
    return len(all_cases)
