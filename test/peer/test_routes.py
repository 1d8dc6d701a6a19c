"""Which model is asked, by the user's rules; and that what is private never leaves for one that is not local, by a capture of every
byte on the loopback interface."""
import json
import os
import socket
import struct
import threading
import time

from lib.apis import Apis, call, calls, once, text
from lib.rein import RELEASE, Place, Skip, check, story

SECRET = "Customer Ms. Adelheid Zwiebelturm owes 4711.08 euros since the flood of Neustadt."


class Capture:
    """All TCP payload on loopback that goes to some ports, as a packet socket sees it."""

    def __init__(self, *ports):
        try:
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
        except (OSError, AttributeError) as e:
            raise Skip("no right to capture packets") from e
        self.socket.bind(("lo", 0))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 << 20)
        self.ports, self.data, self.packets = ports, {p: b"" for p in ports}, 0
        self.stop = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        self.socket.settimeout(0.1)
        while True:
            try:
                packet, where = self.socket.recvfrom(1 << 17)
            except socket.timeout:
                if self.stop:
                    return
                continue
            if where[2] == socket.PACKET_OUTGOING:
                continue                # each is seen twice on this interface
            head = 14 + (packet[14] & 15) * 4
            if packet[14 + 9] != 6:
                continue
            port = struct.unpack(">H", packet[head + 2:head + 4])[0]
            if port in self.data:
                self.packets += 1
                self.data[port] += packet[head + (packet[head + 12] >> 4) * 4:]

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        time.sleep(0.2)
        self.stop = True
        self.thread.join()
        self.socket.close()


def configure(place, remote, local, more, api="chat"):
    os.makedirs(place.home, exist_ok=True)
    with open(os.path.join(place.home, "config.yaml"), "w", encoding="utf-8") as f:
        f.write(f"""
providers:
  cloud: {{api: {api}, base_url: "{remote.url(api)}"}}
  here: {{api: messages, base_url: "{local.url('messages')}", local: true}}
models:
  cloud/big: {{price: {{in: 1, out: 4}}}}
roles: {{main: cloud/big, small: cloud/small, local: here/m}}
{more}""")


def has_private(data):
    """Any run of 16 bytes of what is private."""
    return [SECRET[i:i + 16] for i in range(len(SECRET) - 16) if SECRET[i:i + 16].encode() in data]


PRIVATE = 'private: ["customers/", "*.private"]\n'
TO_LOCAL = "routes:\n  - {private: true, to: local}\n"


def private_case(api, remote_story, local_story, prompt="go", more=PRIVATE + TO_LOCAL, status=0, then=()):
    """Plays a story at the remote model until private data is there, and what follows at the local one."""
    with Place(RELEASE) as place, Apis(remote_story) as remote, Apis(local_story) as local:
        configure(place, remote, local, more, api)
        place.write("customers/list.txt", "name; debt\n" + SECRET + "\n")
        place.write("copy.private", SECRET + "\n")
        place.write("plain.txt", "nothing to hide here, and nothing to find\n")
        with Capture(remote.port, local.port) as seen:
            out = place.rein("exec", "--model", "main", "--mode", "open", "--backoff", "0.01", prompt, timeout=60)
            check(out.returncode == status, out)
            for args in then:
                out = place.rein(*args, timeout=60)
        leaked = has_private(seen.data[remote.port])
        check(not leaked, "private bytes went to the remote model", leaked[:3])
        check(all(r in seen.data[remote.port] for r in remote.raw) and all(r in seen.data[local.port] for r in local.raw), "the capture saw all")
        check(not remote.refused and not local.refused, remote.refused, local.refused)
        return place.events(), remote, local, seen, out


def test_private_data_stays_here():
    read = call("read", {"path": "customers/list.txt"})
    ways = {
        "read": read,
        "command": call("bash", {"command": "cat customers/list.txt"}),
        "command, dressed": call("bash", {"command": "sed 's/^/> /' customers/list.txt | nl"}),
        "copied first": call("bash", {"command": "cp copy.private x; cat x"}),
        "grep": call("grep", {"pattern": "Zwiebel"}),
        "beside others": calls(("read", {"path": "plain.txt"}), ("read", {"path": "customers/list.txt"}), ("read", {"path": "plain.txt"})),
    }
    played = 0
    for api in ("chat", "responses", "messages", "gemini"):
        for what, first in ways.items():
            events, remote, local, seen, out = private_case(
                api, lambda n, body, f=first: f, lambda n, body: call("bash", {"command": "cat customers/list.txt | head -1"}) if n == 1 else text("It is 4711.08."))
            check(len(remote.raw) == 1 and len(local.raw) == 2, what, len(remote.raw), len(local.raw))
            check(has_private(seen.data[local.port]), "the local model is given it", what)
            switch = [b for k, b in story(events, "set") if b.get("route")]
            check(switch and switch[0]["model"] == "here/m" and "rule 1" in switch[0]["route"], switch)
            played += 1
    return played


def test_private_data_elsewhere():
    """Typed by a person; without a rule; after a switch back; after a crash; in a fork; in what the local model says of it."""
    done = text("done")
    # A person types it: the remote model is never asked.
    _, remote, local, _, _ = private_case("chat", lambda n, body: done, lambda n, body: done, prompt="Note: " + SECRET)
    check(not remote.raw and len(local.raw) == 1)
    # No rule: the remote model goes on, without it.
    events, remote, local, _, _ = private_case("messages", lambda n, body: call("read", {"path": "customers/list.txt"}) if n == 0 else done, lambda n, body: done,
                                               more=PRIVATE)
    check(len(remote.raw) == 2 and not local.raw and b"withheld" in remote.raw[1], remote.raw[-1][-300:])
    # The local model repeats it; then a person sends the session to the remote one, and forks it.

    def says(n, _body):
        return text("I saw: " + SECRET) if n == 1 else done

    def first(n, _body):
        return call("read", {"path": "customers/list.txt"}) if n == 0 else done
    for then in (("resume", "--last", "--model", "cloud/other", "and now?"), ("fork", "--last", "--model", "cloud/other", "and now?")):
        events, remote, local, _, out = private_case("chat", first, says, more=PRIVATE + "routes:\n  - {role: main, private: true, to: local}\n", then=[then])
        check(out.returncode == 0, out)
    # Killed in the middle of the local answer, and resumed.
    with Place(RELEASE) as place, Apis(first) as remote, Apis(lambda n, body: (lambda h: time.sleep(5)) if len(local.raw) == 1 else done) as local:
        configure(place, remote, local, PRIVATE + TO_LOCAL)
        place.write("customers/list.txt", SECRET + "\n")
        with Capture(remote.port, local.port) as seen:
            p = place.start("exec", "--model", "main", "--mode", "open", "go")
            while not local.raw:
                time.sleep(0.01)
            p.kill()
            p.communicate()
            out = place.rein("resume", "--last")
            check(out.returncode == 0 and len(remote.raw) == 1 and len(local.raw) == 2, out, len(remote.raw), len(local.raw))
        check(not has_private(seen.data[remote.port]))
    return 5


def test_rules():
    """By size, by price, by role, and when a model has failed for good; the rule stands in the log, and each answer says who gave it."""
    usage = {"in": 5000, "cached": 0, "written": 0, "out": 100}
    step = call("bash", {"command": "true"}, usage=usage)
    with Place(RELEASE) as place, Apis(lambda n, body: step if n < 3 else text("done", usage=usage)) as remote, Apis(lambda n, body: text("local")) as local:
        configure(place, remote, local, "routes:\n  - {role: main, usd_above: 0.008, to: small}\n")
        check(place.rein("exec", "--model", "main", "--mode", "open", "go").returncode == 0)
        asked = [b["model"] for b in remote.bodies]
        check(asked == ["big", "big", "small", "small"], asked)
        check([b["model"] for k, b in story(place.events(), "set") if b.get("route")] == ["cloud/small"])
        configure(place, remote, local, "routes:\n  - {tokens_above: 4000, to: local}\n")
        out = place.rein("exec", "--model", "main", "--mode", "open", "go")
        check(out.stdout == b"local\n" and len(local.raw) == 1 and not local.refused, out, local.refused)
        del remote.bodies[:]
        configure(place, remote, local, "routes:\n  - {role: judge, tokens_above: 1, to: local}\n")
        check(place.rein("exec", "--model", "main", "--mode", "open", "go").stdout == b"done\n", "the rule is for another role")

    # Failed for good: the next model by the rule, once; without a rule, the end.
    def bad(n, body):
        return (lambda h: h.error(400, "no such thing")) if body["model"] == "big" else text("small did it")
    with Place(RELEASE) as place, Apis(bad) as remote, Apis(lambda n, body: text("local")) as local:
        configure(place, remote, local, "")
        check(place.rein("exec", "--model", "main", "go").returncode == 5)
        check(len(remote.raw) == 1, "nothing changes the model by itself")
        configure(place, remote, local, "routes:\n  - {failed: true, to: small}\n")
        out = place.rein("exec", "--model", "main", "go")
        check(out.returncode == 0 and out.stdout == b"small did it\n", out)
        switch = [b for k, b in story(place.events(), "set") if b.get("route")]
        check(len(switch) == 1 and switch[0]["fallback"], switch)
        check(place.rein("resume", "--last", "more").stdout == b"small did it\n" and remote.bodies[-1]["model"] == "small", "it stays there")
    with Place(RELEASE) as place, Apis(lambda n, body: lambda h: h.error(400, "no")) as remote, Apis(lambda n, body: text("local")) as local:
        configure(place, remote, local, "routes:\n  - {failed: true, to: small}\n")
        out = place.rein("exec", "--model", "main", "go")
        check(out.returncode == 5 and len(remote.raw) == 2, "that one fails as well: no loop", out, len(remote.raw))
        configure(place, remote, local, "routes:\n  - {failed: maybe, whenever: 1, to: small}\n")
        out = place.rein("exec", "--model", "main", "go")
        check(out.returncode == 2 and b"whenever" in out.stderr, out)


def test_a_resumed_session_keeps_its_role_and_its_budget():
    """Also when a rule has changed the model meanwhile: rules for the role hold, and the budget is charged."""
    with Place() as place, Apis(lambda n, body: text("small")) as remote, Apis(lambda n, body: text("local")) as local:
        configure(place, remote, local, "")
        path = os.path.join(place.home, "config.yaml")
        with open(path, "r+", encoding="utf-8") as f:
            words = f.read().replace("roles: {", "roles: {judge: cloud/big, ").replace("roles:", "  cloud/small: {price: {in: 1, out: 4}}\nroles:")
            f.seek(0)
            f.write(words + "budgets: {team: 1}\nroutes:\n  - {role: judge, usd_above: 0.000001, to: small}\n")
        check(place.rein("exec", "--model", "judge", "--budget", "team", "go").returncode == 0)
        check([b["model"] for b in remote.bodies] == ["big"])
        check(place.rein("resume", "--last", "more").returncode == 0)
        check([b["model"] for b in remote.bodies] == ["big", "small"], "the rule for its role holds no more")
        check(place.rein("resume", "--last", "and more").returncode == 0)
        check([b["model"] for b in remote.bodies] == ["big", "small", "small"])
        sets = [b for _, b in story(place.events(), "session", "set")]
        check(all(b["role"] == "judge" and b["budget"] == "team" for b in sets), sets)
        charged = [b for _, b in story(place.events("ledger"), "budget") if "spent" in b]
        check(len(charged) == 3, charged)
        check(place.rein("resume", "--last", "--model", "cloud/big", "again").returncode == 0)
        check(remote.bodies[-1]["model"] == "big" and "role" not in story(place.events(), "set")[-1][1], "named by a person, it has no role")
