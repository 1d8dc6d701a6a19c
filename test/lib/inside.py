"""Runs in a network and a mount namespace of its own: a name server that does as the case says, the APIs, and rein. Prints how it
went. inside.py CASE API"""
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from lib.apis import Apis, text  # noqa: E402
from lib.rein import RELEASE, Place, story  # noqa: E402


def answer(query, case, four):
    """A DNS answer: an A record 127.0.0.1, an AAAA record ::1, or an error."""
    end = 12
    while query[end]:
        end += query[end] + 1
    kind = struct.unpack(">H", query[end + 1:end + 3])[0]
    question = query[12:end + 5]
    code = {"nxdomain": 3, "servfail": 2}.get(case, 0)
    data = b""
    if not code and kind == 1:
        data = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + socket.inet_aton("127.0.0.1")
    elif not code and kind == 28 and not four:
        data = b"\xc0\x0c" + struct.pack(">HHIH", 28, 1, 60, 16) + socket.inet_pton(socket.AF_INET6, "::1")
    return query[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, 1 if data else 0, 0, 0) + question + data


def name_server(case):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("127.0.0.53", 53))
    while True:
        query, sender = s.recvfrom(512)
        if case == "silent":
            continue
        if case == "slow":
            time.sleep(1)
        s.sendto(answer(query, case, case != "black hole"), sender)


def main():
    case, api = sys.argv[1:]
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    if case != "nothing":
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        threading.Thread(target=name_server, args=(case,), daemon=True).start()
    with Place(RELEASE) as place:
        conf = os.path.join(place.top, "resolv.conf")
        with open(conf, "w", encoding="utf-8") as f:
            f.write("nameserver 127.0.0.53\noptions timeout:2 attempts:1\n" if case != "slow" else "nameserver 127.0.0.53\noptions timeout:5\n")
        subprocess.run(["mount", "--bind", conf, "/etc/resolv.conf"], check=True)
        if case == "nothing":
            out = place.rein("doctor", "--model", "deepseek/x", "--connect-timeout", "2", env={"DEEPSEEK_API_KEY": "k1234567"})
            print(json.dumps({"doctor": [l for l in out.stdout.decode().splitlines() if " model " in l][0]}))
            return
        with Apis([text("good")]) as mock:
            if case == "black hole":            # something listens there, and its queue is full: it never answers
                hole = socket.socket(socket.AF_INET6)
                hole.bind(("::1", mock.port))
                hole.listen(0)
                fill = [socket.socket(socket.AF_INET6) for _ in range(4)]
                for s in fill:
                    s.setblocking(False)
                    s.connect_ex(("::1", mock.port))
            options = [o.replace("127.0.0.1", "api.test") for o in mock.options(api)]
            began = time.monotonic()
            out = place.rein("exec", *options, "--backoff", "0.02", "--connect-timeout", "1" if case == "silent" else "5",
                             "--retries", "1" if case == "silent" else "5", "go", timeout=100)
            took = time.monotonic() - began
            faults = len(story(place.events(), "fault"))
            told = place.rein("doctor", *options, "--connect-timeout", "2").stdout.decode().splitlines()
            print(json.dumps({"status": out.returncode, "faults": faults, "took": took, "err": out.stderr.decode()[-500:],
                              "doctor": [l for l in told if " model " in l][0]}))


main()
