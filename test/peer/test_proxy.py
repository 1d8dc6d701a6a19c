"""The way out of the box: commands reach hosts of the user's list through rein's proxy and nothing else, every decision is in the log, and what comes
in between cannot harm it."""
import base64
import hashlib
import json
import os
import random
import shutil
import socket
import subprocess

from lib.rein import RELEASE, Place, Skip, check, give_to_user, need_live, story
from peer.test_matrix_host import Certificates
from tool.test_approvals import call, script
from tool.test_network import SECRET, network, results
from tool.test_web import Site

BIG = random.Random(7).randbytes(20 << 20)
PAGES = {"/x": (200, {"Content-Type": "text/plain"}, b"a page\n"), "/big": (200, {}, BIG)}


def run(place, *commands, mode="auto", **more):
    steps = [call("bash", command=c) if isinstance(c, str) else call(*c[:1], **c[1]) for c in commands]
    out = place.rein("exec", "--mode", mode, "--model", script(place, *steps, "say done"), "go", timeout=120, **more)
    check(out.returncode == 0, out)
    return [b["text"].split("\n[exit")[0] for b in results(place)]


def decisions(place):
    return [(b["host"], b["port"], b["verdict"]) for _, b in story(place.events(), "decide")]


def test_commands_reach_the_list():
    need_live()
    with Site(PAGES) as site, Place(RELEASE) as place:
        port = int(site.url.rsplit(":", 1)[1])
        network(place, {"host": "127.0.0.1", "port": port}, {"host": "localhost", "port": port}, {"host": "127.1", "port": port},
                {"host": socket.gethostname(), "port": port}, {"host": "fetched.example", "fetch_only": True})
        curl = "curl -s -m 20 --noproxy nothing "
        texts = run(place, curl + f"{site.url}/x", curl + f"-p {site.url}/x", curl + f"http://localhost:{port}/x", f"bash -c 'exec 3<>/dev/tcp/127.0.0.1/3128; printf \"GET http://127.1:{port}/x HTTP/1.1\\r\\n\\r\\n\" >&3; tail -1 <&3'",
                    curl + f"http://{socket.gethostname()}:{port}/x", curl + "http://fetched.example/", curl + "http://example.org/", curl + f"http://127.0.0.1:{port + 1}/",
                    curl + f"-p http://127.0.0.2:{port}/x -w %{{http_connect}}", f"curl -s -m 5 --noproxy '*' {site.url}/x || echo nothing", curl + f"{site.url}/big | sha256sum",
                    f"for i in $(seq 40); do {curl} -p {site.url}/x & done | grep -c page",
                    f"python3 -c \"import os; del os.environ['no_proxy'], os.environ['NO_PROXY']; import urllib.request as u; print(u.urlopen('{site.url}/x').read())\"",
                    curl + f"-d @/dev/null -X POST {site.url}/x | head -c 20; echo")
        check(texts[:3] == ["a page\n".rstrip()] * 3 or texts[:3] == ["a page"] * 3, texts)
        check("may not be reached" in texts[3] and ("may not be reached" in texts[4] or "name resolution" in texts[4]), texts[3:5])
        check(all("is not among the hosts" in t for t in texts[5:8]) and texts[8].endswith("403") and texts[9] == "nothing", texts[5:10])
        check(hashlib.sha256(BIG).hexdigest() in texts[10] and texts[11] == "40" and "a page" in texts[12], texts[10:])
        made = decisions(place)
        host = socket.gethostname().lower()
        check(made[:2] == [("127.0.0.1", port, "allow")] * 2 and ("localhost", port, "allow") in made and made.count(("127.1", port, "deny")) == 1, made)
        check((host, port, "deny" if "may not" in texts[4] else "allow") in made and ("fetched.example", 80, "deny") in made and ("127.0.0.2", port, "deny") in made and ("127.0.0.1", port + 1, "deny") in made, made)
        check(made.count(("127.0.0.1", port, "allow")) == 2 + 1 + 40 + 1 + 1, made)
        check(place.rein("log", "verify", "--last").returncode == 0)


def test_redirects_are_looked_at_again():
    need_live()
    with Site(PAGES) as other:
        with Site({"/there": (302, {"Location": other.url + "/x"}, b"")}) as site, Place(RELEASE) as place:
            network(place, {"host": "127.0.0.1", "port": int(site.url.rsplit(":", 1)[1])})
            text = run(place, f"curl -sL -m 10 --noproxy nothing {site.url}/there")[0]
            check("is not among the hosts" in text and not other.seen, text)


def test_no_other_host_behind_the_same_address():
    """What a request says beside its address is no way to another."""
    need_live()
    with Site(PAGES) as site, Place(RELEASE) as place:
        network(place, {"host": "127.0.0.1", "port": int(site.url.rsplit(":", 1)[1])})
        check(run(place, f"curl -s -m 10 --noproxy nothing -H 'Host: other.example' -H 'Proxy-Authorization: x' {site.url}/x") == ["a page"])
        headers = site.seen[0][1]
        check(headers["Host"] == site.url[7:] and "Proxy-Authorization" not in headers, headers)


def test_no_list_no_way():
    need_live()
    with Site(PAGES) as site, Place(RELEASE) as place:
        text = run(place, f"env | grep -ci proxy; curl -s -m 3 -x http://127.0.0.1:3128 {site.url}/x || echo nothing")[0]
        check(text == "0\nnothing" and not site.seen, text)


def test_what_is_secret_stays():
    """The session has read what is secret, and what others wrote: its commands reach nothing from then on."""
    need_live()
    with Site(PAGES) as site, Place(RELEASE) as place:
        network(place, {"host": "127.0.0.1", "port": int(site.url.rsplit(":", 1)[1])})
        place.write(".env", SECRET)
        get = f"curl -s -m 10 --noproxy nothing {site.url}/x"
        texts = run(place, get, ("read", {"path": ".env"}), get)
        check(texts[0] == "a page" and "three things would meet" in texts[2] and len(site.seen) == 1, texts)
        check([d[2] for d in decisions(place)] == ["allow", "deny"], decisions(place))


def test_rubbish():
    """Whatever a command says to the proxy: it answers or hangs up, goes on, and the log is whole."""
    need_live()
    r = random.Random(3)
    heads = ["", "\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "CONNECT x HTTP/1.1\r\n\r\n", "CONNECT :80 HTTP/1.1\r\n\r\n", "CONNECT x:0 HTTP/1.1\r\n\r\n", "CONNECT x:99999 HTTP/1.1\r\n\r\n",
             "CONNECT [::1]:80 HTTP/1.1\r\n\r\n", "CONNECT [::1:80 HTTP/1.1\r\n\r\n", "GET http:// HTTP/1.1\r\n\r\n", "GET http://a@127.0.0.1/ HTTP/1.1\r\n\r\n",
             "GET https://x/ HTTP/1.1\r\n\r\n", "GET file:///etc/passwd HTTP/1.1\r\n\r\n", "get http://x/ HTTP/1.1\r\n\r\n", "GET http://x/ HTTP/2\r\n\r\n", "GET  http://x/  HTTP/1.1\r\n\r\n",
             "GET http://x/ HTTP/1.1\n\n", "A" * 100000, "GET http://" + "a" * 300 + "/ HTTP/1.1\r\n\r\n", "GET http://x\x00y/ HTTP/1.1\r\n\r\n", "GET http://127.0.0.1\\@x/ HTTP/1.1\r\n\r\n"]
    heads += ["".join(chr(r.randrange(256)) for _ in range(r.randrange(200))) + r.choice(["", "\r\n\r\n"]) for _ in range(100)]
    program = ("import socket, sys, json\nfor h in json.load(open('heads')):\n    s = socket.create_connection(('127.0.0.1', 3128), 5)\n    s.settimeout(5)\n"
               "    try:\n        s.sendall(h.encode('latin-1')); s.shutdown(1)\n        while s.recv(65536): pass\n    except OSError: pass\n    s.close()\nprint('all said')\n")
    with Site(PAGES) as site, Place(RELEASE) as place:
        network(place, {"host": "127.0.0.1", "port": int(site.url.rsplit(":", 1)[1])})
        place.write("heads", json.dumps(heads))
        place.write("say.py", program)
        texts = run(place, "python3 say.py", f"curl -s -m 10 --noproxy nothing {site.url}/x")
        check(texts == ["all said", "a page"] and len(site.seen) == 1, texts)
        check(place.rein("log", "verify", "--last").returncode == 0)
    with Site(PAGES) as site, Place() as place:         # the same in a rein that watches its memory
        network(place, {"host": "127.0.0.1", "port": int(site.url.rsplit(":", 1)[1])})
        place.write("heads", json.dumps(heads))
        place.write("say.py", program)
        check(run(place, "python3 say.py", f"curl -s -m 10 --noproxy nothing {site.url}/x") == ["all said", "a page"])
    return len(heads) * 2


def test_cut_off():
    """A host that never ends, a command that goes away in the middle, and one that is stopped while it is connected."""
    need_live()

    def endless(h):
        h.send_response(200)
        h.end_headers()
        try:
            while True:
                h.wfile.write(b"x" * 65536)
        except OSError:
            pass

    with Site({**PAGES, "/endless": endless}) as site, Place() as place:
        network(place, {"host": "127.0.0.1", "port": int(site.url.rsplit(":", 1)[1])})
        get = f"curl -s -m 10 --noproxy nothing {site.url}"
        steps = [call("bash", command=get + "/endless | head -c 100000 | wc -c"), call("bash", command=f"curl -s --noproxy nothing {site.url}/endless > /dev/null", timeout=2),
                 call("bash", command=get + "/x"), "say done"]
        out = place.rein("exec", "--mode", "auto", "--model", script(place, *steps), "go")
        texts = [b["text"] for b in results(place)]
        check(out.returncode == 0 and texts[0].startswith("100000") and "it ran longer than 2 s" in texts[1] and texts[2].startswith("a page"), out, texts)


def test_a_users_box():
    """An ordinary user's rein makes the same way out."""
    need_live()
    if os.getuid() != 0:
        return
    with Site(PAGES) as site, Place(RELEASE, base="/var/tmp") as place:
        network(place, {"host": "127.0.0.1", "port": int(site.url.rsplit(":", 1)[1])})
        script(place, call("bash", command=f"curl -s -m 10 --noproxy nothing {site.url}/x"), "say done")
        as_user = give_to_user(place)
        out = subprocess.run([*as_user, place.binary, "exec", "--mode", "auto", "--model", "script/" + place.top + "/script", "go"],
                             cwd=place.work, env=place.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        check(out.returncode == 0 and len(site.seen) == 1, out)


def test_packages_from_a_registry():
    need_live()
    if not shutil.which("npm"):
        raise Skip("npm is not installed")
    with Place(RELEASE) as place:
        place.write("package.json", '{"name":"a","version":"1.0.0"}')
        url = subprocess.run(["npm", "config", "get", "registry"], stdout=subprocess.PIPE, check=True).stdout.decode().strip()
        host = url.split("/")[2]
        if not url.startswith("https://") or subprocess.run(["npm", "ping", "--fetch-timeout=5000", "--fetch-retries=0"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                                            timeout=60, check=False).returncode:
            raise Skip("there is no registry here: not shown")
        network(place, {"host": host, "private": True})
        text = run(place, "npm install --no-audit --no-fund is-odd@3.0.1 && node -e \"console.log(require('is-odd')(3))\"")[0]
        check("true" in text and {d for d in decisions(place)} == {(host, 443, "allow")}, text, decisions(place))


def test_by_hand():
    need_live()
    with Site(PAGES) as site, Place() as place:
        port = int(site.url.rsplit(":", 1)[1])
        network(place, {"host": "127.0.0.1", "port": port})
        out = place.rein("box", "--mode", "auto", "--report", os.path.join(place.top, "report"), "--", f"curl -s --noproxy x {site.url}/x; curl -s http://example.org/")
        with open(os.path.join(place.top, "report"), encoding="utf-8") as f:
            report = json.load(f)
        check(out.stdout.startswith(b"a page\n") and b"is not among the hosts" in out.stdout, out)
        check([(d["host"], d["verdict"]) for d in report["network"]] == [("127.0.0.1", "allow"), ("example.org", "deny")], report)


KEY = "secret-of-the-user-93714"


def test_keys_are_put_in():
    """A host of the list that has a key: commands ask for http://, rein asks over TLS and says who it is. No command has the key, no other host gets
    it, and nothing of it is in the log."""
    need_live()
    pages = {**PAGES, "/echo": lambda h: (h.send_response(200), h.end_headers(), h.wfile.write(str(h.headers).encode()))}
    with Place(RELEASE) as place:
        made = Certificates(place.top)
        with Site(pages, tls=made.make("good", alt="IP:127.0.0.1,DNS:localhost")) as site, Site(PAGES, tls=made.make("other", alt="DNS:other.example")) as wrong, Site(PAGES) as plain:
            port, badport, plainport = (int(s.url.rsplit(":", 1)[1]) for s in (site, wrong, plain))
            pages["/away"] = (302, {"Location": f"{plain.url}/x"}, b"")
            network(place, {"host": "127.0.0.1", "port": port, "key_env": "MY_OWN"}, {"host": "127.0.0.1", "port": badport, "key_env": "MY_OWN"},
                    {"host": "127.0.0.1", "port": plainport}, {"host": "localhost", "port": port, "key_env": "MY_OWN", "header": "Authorization: Basic {basic:git}"},
                    {"host": "unset.example", "key_env": "NOT_SET_ANYWHERE"})
            place.write("big", BIG)
            curl = "curl -s -m 30 --noproxy nothing "
            url = f"http://127.0.0.1:{port}"
            texts = run(place, curl + f"{url}/x", curl + f"-H 'Authorization: mine' {url}/x", f"env | grep -c {KEY[:12]}; cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n' | grep -c {KEY[:12]}",
                        curl + f"-L {url}/away", curl + f"{url}/big | sha256sum", curl + f"--data-binary @big {url}/x", curl + f"http://127.0.0.1:{badport}/x",
                        curl + "http://unset.example/x", curl + f"-p --cacert $SSL_CERT_FILE https://127.0.0.1:{port}/x", curl + f"http://localhost:{port}/x", curl + f"{url}/echo",
                        "env -u no_proxy -u NO_PROXY git -c http.sslVerify=false ls-remote " + f"https://127.0.0.1:{port}/repo.git 2>&1 | tail -1",
                        env={"MY_OWN": KEY, "SSL_CERT_FILE": made.ca})
            check(all(texts[n] == "a page" for n in (0, 1, 3, 5, 8, 9)) and texts[2] == "0\n0", texts)
            check(hashlib.sha256(BIG).hexdigest() in texts[4], texts[4])
            check("certificate" in texts[6].lower() and not wrong.seen and "NOT_SET_ANYWHERE" in texts[7], texts[6:8])
            said = [h.get("Authorization") for _, h in site.seen]
            check(said[:2] == ["Bearer " + KEY] * 2 and all(h.get("Host", "").endswith(f":{port}") for _, h in site.seen), said)
            check(said.count(None) == 1, "only the one that was a tunnel", said)
            check("mine" not in said and plain.seen and all("Authorization" not in h for _, h in plain.seen), plain.seen)
            basic = base64.b64encode(f"git:{KEY}".encode()).decode()
            check("Basic " + basic in said and "[secret]" in texts[10] and KEY not in texts[10], said, texts[10])
            asked = [(p, h.get("Authorization")) for p, h in site.seen if "repo.git" in p]
            check(asked and all(key == "Bearer " + KEY for _, key in asked), asked, texts[11])
            with open(os.path.join(place.home, "rein.db"), "rb") as f:
                stored = f.read()
            check(KEY.encode() not in stored and basic.encode() not in stored, "the key is in the store")
            check([d[2] for d in decisions(place)].count("allow") >= 9, decisions(place))


def test_keys_that_make_no_sense():
    wrong = {"a name of hosts": {"host": "*.example.org", "key_env": "X"}, "fetch": {"host": "example.org", "key_env": "X", "fetch_only": True},
             "no variable": {"host": "example.org", "key_env": "a b"}, "header": {"host": "example.org", "key_env": "X", "header": "no key in it"},
             "two lines": {"host": "example.org", "key_env": "X", "header": "A: {key}\nB: c"}, "header alone": {"host": "example.org", "header": "A: {key}"}}
    for what, entry in wrong.items():
        with Place() as place:
            network(place, entry)
            out = place.rein("exec", "--mode", "open", "--model", script(place, "say done"), "go")
            check(out.returncode == 2 and b"example.org" in out.stderr, what, out)
    return len(wrong)
