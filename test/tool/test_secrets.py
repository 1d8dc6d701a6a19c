"""Secrets never reach the log, its blobs, the screen, an error's text, the model or the environment of commands."""
import json
import os
import random
import re
import subprocess

from lib.apis import APIS, Apis, call, calls, once, text
from lib.node import node  # noqa: F401  pylint: disable=unused-import
from lib.rein import Place, check, story

FORMS = ["sk-proj-Ab12Cd34Ef56Gh78Ij90", "ghp_0123456789abcdefghijABCDEFGHIJ012345", "github_pat_11ABCDEFG0abcdefghijkl_mnop", "AKIAIOSFODNN7EXAMPL3",
         "AIzaSyA0123456789abcdefghijklmnopqrstuvw", "xoxb-123456789012-abcdefGHIJ", "glpat-0123456789abcdefghij", "hf_abcdefghijklmnopqrstuvwxyzABCD0123",
         "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
         "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA1234\nabcdef\n-----END RSA PRIVATE KEY-----"]
LEARNT = 'p4ss "word" with blanks'
PLAIN = ["task-sk-lists-are-fine-here-and-there", "the ghp_ prefix alone", "AKIA", "see sk-iptables-man-page-with-words-only", "a/sk-0123456789abcdef0123456789"]


def everything(place):
    """All bytes that rein has written below its home; not what commands have, whose output stands in a file of theirs."""
    out = b""
    for folder, _, names in os.walk(place.home):
        if os.path.basename(folder) == "spool":
            continue
        for name in names:
            with open(os.path.join(folder, name), "rb") as f:
                out += f.read()
    return out


def parts_of(secret):
    """What must not be found: the secret, and as JSON has it; of a private key each line of it."""
    if "PRIVATE KEY" in secret:
        return secret.split("\n")[1:-1]
    return [secret, json.dumps(secret)[1:-1]]


def must_be_gone(secret, *places):
    for data in places:
        data = data if isinstance(data, bytes) else data.encode()
        for part in parts_of(secret):
            check(part.encode() not in data, "it is still there:", secret, data[max(0, data.find(part.encode()) - 80):][:200])


def test_by_form():
    """Read from a file, printed by a command, typed by a person, said by a model, quoted in an error: each form in each API."""
    for i, secret in enumerate(FORMS):
        api = list(APIS)[i % 4]
        with Place() as place, Apis([calls(("read", {"path": "conf"}), ("bash", {"command": "cat conf; cat conf >&2; false"}),
                                           ("write", {"path": "w", "content": "x " + secret})),
                                     text("It is " + secret + ", I believe.")]) as mock:
            place.write("conf", f"a = {secret}\nb = 2\n")
            out = place.rein("exec", *mock.options(api), "--mode", "open", f"use {secret} please")
            check(out.returncode == 0, out.stderr)
            must_be_gone(secret, out.stdout, out.stderr, everything(place), *mock.raw)
            check(b"[secret]" in out.stdout and b"I believe." in out.stdout, out.stdout)
            check(b"[secret]" in mock.raw[1] and b"b = 2" in mock.raw[1], "the rest is there")
            check(place.rein("log", "verify", "--last").returncode == 0)
            wires = [b for _, b in story(place.events(), "wire")]
            check("withheld" in wires[-1], "the record of an answer with a secret", wires)


def test_by_name():
    """What the environment calls a secret, in any form; and neither commands nor jobs get it, unless the user says so."""
    env = {"MY_TOKEN": LEARNT, "DB_PASSWORD": "hunter2hunter2", "KEYBOARD": "qwertz-layout-1", "SERVICE_API_KEY": "abcdefghij0123456789", "SHORT_KEY": "abc1"}
    script = [call("bash", {"command": 'env; echo "$MY_TOKEN.$DB_PASSWORD.$SHORT_KEY"; printf "%s" "qwertz-layout-1"; cat f'}),
              call("bash", {"command": "env > job.out", "background": True}), call("bash", {"command": "sleep 0.3; cat job.out"}), text("hunter2hunter2 it is")]
    with Place() as place, Apis(script) as mock:
        place.write("f", "token: " + LEARNT + "\nkey: abcdefghij0123456789\n")
        out = place.rein("exec", *mock.options("chat"), "--mode", "open", "--key-env", "SERVICE_API_KEY", "go", env=env)
        check(out.returncode == 0, out.stderr)
        for secret in (LEARNT, env["DB_PASSWORD"], env["SERVICE_API_KEY"]):
            must_be_gone(secret, out.stdout, out.stderr, everything(place), *mock.raw)
        result = story(place.events(), "result")[0][1]["text"]
        check("\n...\n" in result or ".." in result, "the variables are empty", result)
        check("qwertz-layout-1" in result and "KEYBOARD=" in result, "no secret by its name", result)
        check(not re.search("(MY_TOKEN|DB_PASSWORD|SERVICE_API_KEY|SHORT_KEY)=", result + place.read("job.out").decode()), result)
        with open(os.path.join(place.home, "config.yaml"), "w", encoding="utf-8") as f:
            f.write("environment: [MY_TOKEN]\n")
        out = place.rein("exec", *mock.options("chat"), "--mode", "open", "go", env={"MY_TOKEN": "kept0kept0kept", "OTHER_TOKEN": "gone0gone0gone"})
        result = story(place.events(), "result")[0][1]["text"]
        check("MY_TOKEN=kept0kept0kept" in result and "OTHER_TOKEN" not in result, result)


def test_what_is_none_stays():
    with Place() as place, Apis([call("read", {"path": "f"}), text("ok")]) as mock:
        place.write("f", "\n".join(PLAIN) + "\n")
        check(place.rein("exec", *mock.options("chat"), "go").returncode == 0)
        got = story(place.events(), "result")[0][1]["text"]
        check(all(p in got for p in PLAIN), got)


def test_over_the_borders_of_pieces():
    """However a stream is cut, nothing of a secret is on the screen or in the log; what stands around it is."""
    rng = random.Random(5)
    for secret in FORMS + [LEARNT]:
        words = f"before {secret} after, and {secret}."
        for api in ("chat", "messages"):
            cuts = sorted(rng.sample(range(1, len(words)), 6))
            pieces = [words[a:b] for a, b in zip([0, *cuts], [*cuts, len(words)])]

            def send(h, pieces=pieces):
                parts = h.payloads(text("SPLIT"))
                at = next(i for i, p in enumerate(parts) if "SPLIT" in p)
                h.sse(parts[:at] + [parts[at].replace("SPLIT", json.dumps(p)[1:-1]) for p in pieces] + parts[at + 1:])
            with Place() as place, Apis(lambda n, body: send) as mock:
                # On a terminal the text is shown as it comes.
                argv = [place.binary, "exec", *mock.options(api), "go"]
                shell = " ".join("'" + a + "'" for a in argv)
                out = subprocess.run(["script", "-qec", shell, "/dev/null"], cwd=place.work, env=dict(place.env, A_TOKEN=LEARNT), stdin=subprocess.DEVNULL,
                                     capture_output=True, timeout=60, check=False)
                screen = out.stdout.replace(b"\r", b"")
                must_be_gone(secret, screen, everything(place))
                check(b"before [secret] after, and [secret]." in screen, api, pieces, screen)


def test_in_errors():
    """A service that quotes a secret, in its error or in its half of a stream."""
    for api in APIS:
        with Place() as place, Apis(once(lambda h: h.error(400, "bad: " + FORMS[0] + " and " + FORMS[1]), text("ok"))) as mock:
            out = place.rein("exec", *mock.options(api), "go")
            check(out.returncode == 5, out)
            must_be_gone(FORMS[0], out.stderr, everything(place))
            must_be_gone(FORMS[1], out.stderr, everything(place))
