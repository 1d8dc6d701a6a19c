"""The rest of the matrix: certificates, proxies, names, clocks, disks and descriptors; and what doctor says of each hop."""
import json
import os
import resource
import shutil
import socket
import subprocess
import threading
import time

from lib.apis import Apis, call, once, text
from lib.rein import TOP, Place, Skip, check, story

MAIN = ("chat", "responses", "messages")
QUICK = ("--backoff", "0.02")
INSIDE = os.path.join(TOP, "test", "lib", "inside.py")


def every(row):
    for api in MAIN:
        row(api)
    return len(MAIN)


def openssl(*args, stdin=None):
    if not shutil.which("openssl"):
        raise Skip("openssl is missing")
    out = subprocess.run(["openssl", *args], input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    check(out.returncode == 0, args, out.stdout.decode()[-500:])


class Certificates:
    """An authority of our own and what it signs."""

    def __init__(self, folder):
        self.folder = folder
        self.ca = os.path.join(folder, "ca.pem")
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=rein test authority", "-keyout",
                os.path.join(folder, "ca.key"), "-out", self.ca)

    def make(self, name, alt="IP:127.0.0.1", dates=None, client=False):
        """Certificate and key; dates: (from, to) as YYYYMMDDHHMMSSZ."""
        path = os.path.join(self.folder, name)
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=" + name, "-keyout", path + ".key", "-out", path + ".csr")
        with open(path + ".ext", "w", encoding="utf-8") as f:
            f.write(f"subjectAltName={alt}\n" + ("extendedKeyUsage=clientAuth\n" if client else ""))
        if dates:
            with open(path + ".cnf", "w", encoding="utf-8") as f:
                f.write(f"[ca]\ndefault_ca=d\n[d]\ndatabase={path}.db\nnew_certs_dir={self.folder}\nserial={path}.srl\ndefault_md=sha256\n"
                        "policy=p\n[p]\ncommonName=supplied\n")
            open(path + ".db", "w", encoding="utf-8").close()
            with open(path + ".srl", "w", encoding="utf-8") as f:
                f.write("77\n")
            openssl("ca", "-batch", "-config", path + ".cnf", "-cert", self.ca, "-keyfile", os.path.join(self.folder, "ca.key"), "-in", path + ".csr",
                    "-out", path + ".pem", "-startdate", dates[0], "-enddate", dates[1], "-extfile", path + ".ext", "-notext")
        else:
            openssl("x509", "-req", "-in", path + ".csr", "-CA", self.ca, "-CAkey", os.path.join(self.folder, "ca.key"), "-CAcreateserial", "-days", "30",
                    "-extfile", path + ".ext", "-out", path + ".pem")
        return path + ".pem", path + ".key"


def doctor(place, mock, *args, env=None):
    """Doctor's line about the model."""
    out = place.rein("doctor", *mock.options("chat"), "--connect-timeout", "1", *args, env=env)
    lines = [l for l in out.stdout.decode().splitlines() if l.split()[1:2] == ["model"]]
    return lines[0] if lines else out.stdout.decode() + out.stderr.decode()


def test_46_certificates():
    with Place() as top:
        made = Certificates(top.top)
        kinds = {"expired": (made.make("expired", dates=("20200101000000Z", "20200201000000Z")), "expired"),
                 "wrong host": (made.make("other", alt="DNS:other.example"), "127.0.0.1"),
                 "good": (made.make("good"), None)}
        for what, (files, words) in kinds.items():
            with Apis([text("good")], tls=files) as mock, Place() as place:
                for api in MAIN:
                    out = place.rein("exec", *mock.options(api), *QUICK, "--ca", made.ca, "go")
                    if words:
                        check(out.returncode == 5 and b"cannot be reached" in out.stderr and len(story(place.events(), "request")) == 1, what, out)
                        check(words.encode() in out.stderr.lower(), what, out.stderr)
                    else:
                        check(out.returncode == 0 and out.stdout == b"good\n", what, out)
                line = doctor(place, mock, "--ca", made.ca)
                check(line.startswith("BAD") and "certificate: " in line and words in line if words else line.startswith("ok"), what, line)
                line = doctor(place, mock)          # nobody vouches for the authority
                check(line.startswith("BAD") and "certificate: " in line, what, line)
        # This side shows a certificate as well.
        files, mine = made.make("good"), made.make("me", client=True)
        with Apis([text("good")], tls=files) as mock, Place() as place:
            context = mock.server.socket.context
            context.load_verify_locations(made.ca)
            context.verify_mode = __import__("ssl").CERT_REQUIRED
            out = place.rein("exec", *mock.options("chat"), *QUICK, "--ca", made.ca, "--cert", mine[0], "--cert-key", mine[1], "go")
            check(out.returncode == 0, out)
            check(place.rein("exec", *mock.options("chat"), *QUICK, "--ca", made.ca, "go").returncode == 5, "without one")
    return 3 * len(MAIN) + 1


class Relay:
    """A proxy for CONNECT and for whole URLs; or a pipe that spoils a byte of the first answers."""

    def __init__(self, target, spoil=0, auth=None, refuse=None, idle=None):
        self.target, self.spoil, self.auth, self.refuse, self.idle = target, spoil, auth, refuse, idle
        self.asked = []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.talk, args=(client,), daemon=True).start()

    def talk(self, client):
        try:
            if self.target is None:
                head = b""
                while b"\r\n\r\n" not in head:
                    head += client.recv(1)
                self.asked.append(head.decode())
                if self.refuse or (self.auth and self.auth not in head.decode()):
                    status = self.refuse or "407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=x"
                    client.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
                    client.close()
                    return
                host, port = head.split()[1].decode().split(":")
                server = socket.create_connection((host, int(port)))
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                server = socket.create_connection(self.target)
            threading.Thread(target=self.pump, args=(client, server, False), daemon=True).start()
            self.pump(server, client, True)
        except (OSError, IndexError):
            client.close()

    def pump(self, src, dst, back):
        passed = 0
        try:
            while True:
                data = src.recv(65536)
                if not data:
                    break
                passed += len(data)
                if back and self.spoil and passed > 3000:        # after the handshake
                    data = data[:-3] + bytes([data[-3] ^ 0x55]) + data[-2:]
                    self.spoil -= 1
                dst.sendall(data)
        except OSError:
            pass
        for s in (src, dst):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.socket.close()


def test_46_a_record_is_spoilt():
    """A byte changed on the way: the record's check fails, and the request is made again."""
    with Place() as top:
        made = Certificates(top.top)
        with Apis([text("good " * 2000)], tls=made.make("good")) as mock:
            for api in MAIN:
                with Relay(("127.0.0.1", mock.port), spoil=1) as relay, Place() as place:
                    url = mock.url(api).replace(str(mock.port), str(relay.port))
                    out = place.rein("exec", "--model", "mock/m", "--base-url", url, "--api", api, *QUICK, "--ca", made.ca, "go")
                    check(out.returncode == 0 and len(story(place.events(), "fault")) == 1, out.stderr, story(place.events(), "fault"))
    return len(MAIN)


def test_47_proxies():
    with Place() as top:
        made = Certificates(top.top)
        with Apis([text("good")], tls=made.make("good")) as mock:
            for api in MAIN:
                args = ("exec", *mock.options(api), *QUICK, "--ca", made.ca, "go")
                with Relay(None, auth="Basic dXNlcjpwYXNz") as relay, Place() as place:     # user:pass
                    env = {"HTTPS_PROXY": f"http://user:pass@127.0.0.1:{relay.port}"}
                    out = place.rein(*args, env=env)
                    check(out.returncode == 0 and relay.asked, out)
                    env = {"HTTPS_PROXY": f"http://127.0.0.1:{relay.port}"}
                    out = place.rein(*args, env=env)
                    check(out.returncode == 5 and b"407" in out.stderr and len(story(place.events(), "request")) == 1, out)
                    asked = len(relay.asked)
                    out = place.rein(*args, env=dict(env, NO_PROXY="127.0.0.1"))
                    check(out.returncode == 0 and len(relay.asked) == asked, "around it", out)
                    line = doctor(place, mock, "--ca", made.ca, env=env)
                    check("proxy: " in line and "407" in line and "HTTPS_PROXY" in line, line)
                with Relay(None, refuse="502 Bad Gateway") as relay, Place() as place:
                    env = {"https_proxy": f"http://127.0.0.1:{relay.port}"}
                    out = place.rein(*args, env=env)
                    check(out.returncode == 5 and len(story(place.events(), "request")) == 6, "made again", out)
                    check("502" in doctor(place, mock, "--ca", made.ca, env=env))
                with socket.socket() as s, Place() as place:
                    s.bind(("127.0.0.1", 0))
                    env = {"HTTPS_PROXY": f"http://127.0.0.1:{s.getsockname()[1]}"}
                    line = doctor(place, mock, "--ca", made.ca, env=env)
                    check("connection: " in line and "HTTPS_PROXY" in line, line)
        with Apis([text("good")]) as mock, Place() as place, Relay(("127.0.0.1", mock.port)) as relay:    # a plain one gets the whole URL
            out = place.rein("exec", "--model", "m", "--base-url", "http://api.example/v1", "--api", "chat", *QUICK, "go",
                             env={"HTTP_PROXY": f"http://127.0.0.1:{relay.port}"})
            check(out.returncode == 5 and b"404" in out.stderr, out)      # it came through to the server, which has no such path
    return 4 * len(MAIN)


def inside(case, api="chat"):
    """Runs a case of lib/inside.py in a network and with a name server of its own; its report."""
    if subprocess.run(["unshare", "-nm", "true"], stderr=subprocess.DEVNULL, check=False).returncode:
        raise Skip("no right to make a network namespace")
    out = subprocess.run(["unshare", "-nm", "python3", INSIDE, case, api], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, check=False)
    check(out.returncode == 0, out.stderr.decode()[-2000:])
    return json.loads(out.stdout)


def test_48_names():
    def row(api):
        for case, faults, hop in (("nxdomain", 6, "name: "), ("servfail", 6, "name: ")):
            got = inside(case, api)
            check(got["status"] == 5 and got["faults"] == faults and hop in got["doctor"], case, got)
        got = inside("slow", api)
        check(got["status"] == 0 and got["faults"] == 0, got)
        got = inside("silent", api)
        check(got["status"] == 5 and "name server: " in got["doctor"], got)
        got = inside("black hole", api)
        check(got["status"] == 0 and got["faults"] == 0 and got["took"] < 2, "the other address is tried soon", got)
    return every(row)


def test_doctor_of_no_network():
    got = inside("nothing")
    check("BAD" in got["doctor"] and ("name" in got["doctor"]), got)
    with socket.socket() as s, Place() as place:
        s.bind(("127.0.0.1", 0))
        out = place.rein("doctor", "--model", "m", "--base-url", f"http://127.0.0.1:{s.getsockname()[1]}/v1").stdout.decode()
        check("connection: " in out, out)


def test_doctor_of_a_wrong_key():
    with Apis([text("x")], key="right", list_needs_key=True) as mock, Place() as place:
        line = doctor(place, mock, "--key-env", "K", env={"K": "wrong-key-123"})
        check(line.startswith("BAD") and "key: status 401" in line and " K " in line and "wrong-key" not in line, line)
        check(doctor(place, mock, "--key-env", "K", env={"K": "right"}).startswith("ok"))


def test_49_clocks():
    """The clock is put forward and back by an hour during a wait, by a preloaded clock that lies: the wait is what it was."""
    lie = os.path.join(TOP, "build-test", "test", "clock.so")

    def row(api):
        for jump in (3600, -3600, 500000000):       # the last is beyond 2038
            with Place(os.path.join(TOP, "build", "rein")) as place, Apis(once(lambda h: h.error(503, "busy"), text("good"))) as mock:
                out = place.rein("exec", *mock.options(api), "--backoff", "0.8", "go", env={"LD_PRELOAD": lie, "CLOCK_JUMP": str(jump), "CLOCK_AFTER": "0.3"},
                                 timeout=30)
                gap = mock.times[1] - mock.times[0] if len(mock.times) == 2 else -1
                check(out.returncode == 0 and 0.5 < gap < 1.5, jump, gap, out)
    return every(row)


def test_50_51_52_the_host():
    def row(api):
        # 50: no room while the answer is written: paused, not lost.
        with Place() as place, Apis([call("read", {"path": "a"}), text("good")]) as mock:
            place.write("a", "a\n")
            out = subprocess.run(["sh", "-c", "ulimit -f 40; trap '' XFSZ; exec \"$@\"", "sh", place.binary, "exec", *mock.options(api), "go"],
                                 cwd=place.work, env=place.env, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
            check(out.returncode in (0, 1), out)
            if out.returncode == 1:
                check(b"store" in out.stderr, out.stderr)
        # 51: nowhere to write.
        with Place() as place, Apis([text("good")]) as mock:
            out = place.rein("exec", *mock.options(api), "go", env={"REIN_HOME": "/proc/rein-cannot"})
            check(out.returncode in (1, 2) and out.stderr and not mock.raw, out)
            env = {k: v for k, v in place.env.items() if k not in ("REIN_HOME", "HOME")}
            out = subprocess.run([place.binary, "exec", *mock.options(api), "go"], cwd=place.work, env=env, stdin=subprocess.DEVNULL, capture_output=True,
                                 timeout=60, check=False)
            check(out.returncode == 2 and b"REIN_HOME" in out.stderr and not mock.raw, out)
        # 52: hardly a descriptor left.
        for n in range(6, 26, 2):
            with Place() as place, Apis([call("read", {"path": "a"}), text("good")]) as mock:
                place.write("a", "a\n")
                out = subprocess.run([place.binary, "exec", *mock.options(api), *QUICK, "--retries", "1", "go"], cwd=place.work, env=place.env,
                                     stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False,
                                     preexec_fn=lambda n=n: resource.setrlimit(resource.RLIMIT_NOFILE, (n, n)))
                check(out.returncode in (0, 1, 2, 5) and (out.returncode == 0 or out.stderr), n, out)
                if os.path.exists(os.path.join(place.home, "rein.db")) and b"resume" in out.stderr:
                    out = place.rein("resume", "--last")
                    check(out.returncode == 0, n, out)
    return every(row)


def test_56_another_model():
    """A session goes on with another model in another API: its history is converted, and what is not is counted."""
    pairs = [(a, b) for a in (*MAIN, "gemini") for b in (*MAIN, "gemini") if a != b]
    for first, second in pairs:
        answers = [call("read", {"path": "a.txt"}, words="Let me see.", reasoning="I should read."), text("Done.", reasoning="All read."), text("Again.")]
        with Place() as place, Apis(answers, reasons=True) as mock:
            place.write("a.txt", "one\n")
            check(place.rein("exec", *mock.options(first), "--effort", "high", "go").returncode == 0)
            mock.given.clear()          # another service knows nothing of it
            args = ("--model", "deepseek/other" if second == "chat" else "other/m", "--base-url", mock.url(second), "--api", second)
            out = place.rein("resume", "--last", *args, "again", env={"DEEPSEEK_API_KEY": "x1234567890"})
            check(out.returncode == 0 and out.stdout == b"Again.\n" and not mock.refused, first, second, out, mock.refused)
            check(b"goes on in place of" in out.stderr, out.stderr)
            changed = [b for _, b in story(place.events(), "set") if b.get("model")][-1]
            check(changed["api"] == second and changed["dropped"]["reasoning"] == 2, changed)
            if second == "chat":        # that service wants reasoning, and is given what there is in words
                said = [m.get("reasoning_content") for m in mock.bodies[-1]["messages"] if m["role"] == "assistant"]
                check(said == ["I should read.", "All read."], said)
            out = place.rein("resume", "--last", "and once more", env={"DEEPSEEK_API_KEY": "x1234567890"})
            check(out.returncode == 0 and not mock.refused, "it stays with that one", out, mock.refused)
            for a, b in zip(mock.raw[2:], mock.raw[3:]):
                check(b.startswith(a[:-2]), "prefix broken")
    return len(pairs)
