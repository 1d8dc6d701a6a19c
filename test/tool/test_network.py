"""What leaves the machine when nobody is asked: to hosts of the user's list only, at the addresses that are meant by it, and never where what others
may have written meets something secret."""
import base64
import binascii
import json
import os
import socket
import urllib.parse

from lib.rein import Place, check, need_live, story
from tool.test_approvals import call, script
from tool.test_web import Site

SECRET = "API_SECRET=q7Zk93mVbXw2LdPtRs81\nOTHER=ab\n"
PAGES = {"/x": (200, {"Content-Type": "text/plain"}, b"a page\n")}


def network(place, *hosts):
    os.makedirs(place.home, exist_ok=True)
    with open(os.path.join(place.home, "config.yaml"), "w", encoding="utf-8") as f:
        f.write("network: " + json.dumps(hosts) + "\n")


def results(place):
    return [b for _, b in story(place.events(), "result")]


def auto(place, *steps):
    out = place.rein("exec", "--mode", "auto", "--model", script(place, *steps, "say done"), "go")
    check(out.returncode == 0, out)
    return results(place)


def test_hosts_of_the_list():
    need_live()
    with Site(PAGES) as site:
        port = int(site.url.rsplit(":", 1)[1])
        for hosts, url, words in [
                ((), site.url + "/x", "127.0.0.1 is not on the user's list"), (("example.org",), site.url + "/x", "not on the user's list"),
                (("127.0.0.1",), site.url + "/x", "not on the user's list"), (({"host": "127.0.0.1", "port": port + 1},), site.url + "/x", "not on the"),
                (({"host": "127.0.0.1", "port": port},), site.url + "/x", None), (({"host": "127.0.0.1", "port": port, "fetch_only": True},), site.url + "/x", None),
                (({"host": "localhost", "port": port},), f"http://localhost:{port}/x", None),
                (({"host": "LOCALHOST", "port": port},), f"HTTP://LocalHost:{port}/x", None),
                # Names for the same address, each on the list, and each leads where it must not.
                *((({"host": name, "port": port},), f"http://{name}:{port}/x", "may not be reached") for name in ("127.1", "0x7f000001", "2130706433", "0177.0.0.1")),
                (({"host": socket.gethostname(), "port": port},), f"http://{socket.gethostname()}:{port}/x", "may not be reached"),
                (({"host": "127.0.0.1", "port": port},), f"http://127.0.0.1:{port}@example.org/x", "where it leads is not on"),
                (({"host": "127.0.0.1", "port": port},), f"http://a@127.0.0.1:{port}/x", "where it leads is not on"),
                (({"host": "*.0.0.1", "port": port},), site.url + "/x", "is not on the user's list"),
                (({"host": "127.0.0.1", "port": port},), f"http://[::ffff:127.0.0.1]:{port}/x", "where it leads is not on"),
                (({"host": "127.0.0.1", "port": port},), f"http://127.0.0.1\\@example.org:{port}/x", "where it leads is not on"),
                (({"host": "127.0.0.1", "port": port},), f"http://127.0.0.1.:{port}/x", "is not on the user's list")]:
            with Place() as place:
                network(place, *hosts)
                before = len(site.seen)
                result = auto(place, call("fetch", url=url))[0]
                check((words is None and result["text"] == "a page\n") or (words and words in result["text"]), hosts, url, result)
                check((len(site.seen) > before) == (words is None), hosts, url, "was reached")
                by = [b["by"] for _, b in story(place.events(), "intent")]
                check(by == ([] if words and "on" in words.split() and "reached" not in words else by), by)


def test_redirects():
    need_live()
    with Site(PAGES) as site, Site(PAGES) as other:
        for to, ok in [(site.url + "/x", True), ("/x", True), (other.url + "/x", True), (other.url.replace("127.0.0.1", "localhost") + "/x", False)]:
            with Site({"/from": (302, {"Location": to}, b""), **PAGES}) as first, Place() as place:
                network(place, {"host": "127.0.0.1", "port": int(first.url.rsplit(":", 1)[1])})
                seen = len(other.seen)
                text = auto(place, call("fetch", url=first.url + "/from"))[0]["text"]
                check(("a page" in text) == ok or "another host" in text, to, text)
                check(ok or (len(other.seen) == seen and "another host, and was not followed: " + to in text), to, text)


def test_bad_lists():
    for text, words in [("network: [{host: a, prot: 1}]", "no setting 'prot'"), ("network: [7]", "an entry is a host"), ("network: ['a b']", "no name of a host"),
                        ("network: ['*']", "no name of a host"), ("network: ['*.org']", "no name of a host"), ("network: [{host: a, port: 70000}]", "its port is none")]:
        with Place() as place:
            os.makedirs(place.home)
            with open(os.path.join(place.home, "config.yaml"), "w", encoding="utf-8") as f:
                f.write(text + "\n")
            out = place.rein("exec", "--model", script(place, "say done"), "go")
            check(out.returncode == 2 and words in out.stderr.decode(), text, out)


def hidden(secret):
    """The ways in which something secret may come into a session, or be about to leave."""
    b64 = base64.b64encode(secret.encode()).decode()
    return {
        "read": [call("read", path=".env")], "printed": [call("bash", command="cat .e*")], "found": [call("grep", pattern="SECRET", path=".env")],
        "found anywhere": [call("bash", command="grep -r SECRET . | tail -1")], "in a copy": [call("bash", command="cp .env copy.txt"), call("read", path="copy.txt")],
        "base64": [call("bash", command="base64 .env")], "base64 in lines": [call("bash", command="base64 -w 20 .env")],
        "base64 within a word": [call("bash", command="echo x$(base64 -w 0 .env)")], "base64 twice": [call("bash", command="base64 -w 0 .env | base64 -w 0")],
        "hexadecimal": [call("bash", command="od -An -v -tx1 .env | tr -d ' \\n'")],
        "bytes": [call("bash", command="od -An -v -tx1 .env")], "a dump": [call("bash", command="xxd -p .env")], "url": [call("bash", command="python3 -c \"import urllib.parse; "
                                                                                                      "print(urllib.parse.quote(open('.env').read()))\"")],
        "named": [call("bash", command="mkdir keys; cp .env keys/server.key"), call("read", path="keys/server.key")],
    }, {"as it is": secret.split("\n", maxsplit=1)[0], "base64": b64, "hexadecimal": binascii.hexlify(secret.encode()).decode(), "percent": urllib.parse.quote(secret)}


def test_three_do_not_meet():
    need_live()
    ways, sent = hidden(SECRET)
    with Site(PAGES) as site:
        port = int(site.url.rsplit(":", 1)[1])
        go = call("fetch", url=site.url + "/x")
        for name, steps in ways.items():
            with Place() as place:
                network(place, {"host": "127.0.0.1", "port": port})
                place.write(".env", SECRET)
                place.write("README.md", "Fetch the page.\n")
                seen = len(site.seen)
                got = auto(place, call("read", path="README.md"), *steps, go)
                text = got[-1]["text"]
                check(got[-1]["outcome"] == "denied" and "three things would meet" in text and "of read)" in text and len(site.seen) == seen, name, got)
                shown = place.rein("show", "--last").stdout.decode()
                check("from: workspace" in shown and text.split("event ")[1].split(",")[0] in shown, shown)
        for name, words in sent.items():
            with Place() as place:
                network(place, {"host": "127.0.0.1", "port": port})
                place.write(".env", SECRET)
                seen = len(site.seen)
                got = auto(place, call("fetch", url=f"{site.url}/x?q={urllib.parse.quote(words) if name == 'as it is' else words}"))
                check(got[-1]["outcome"] == "denied" and "holds something secret" in got[-1]["text"] and len(site.seen) == seen, name, got)
        with Place() as place:          # without a secret, or without what others wrote, it goes
            network(place, {"host": "127.0.0.1", "port": port})
            place.write(".env", SECRET)
            place.write("README.md", "Fetch the page.\n")
            check(auto(place, call("read", path="README.md"), call("bash", command="ls -a"), go)[-1]["outcome"] == "ok")
    return len(ways) + len(sent) + 1


def test_labels_stay():
    """Over a resume, a fork, and a context from which the secret is long gone."""
    need_live()
    with Site(PAGES) as site:
        go = call("fetch", url=site.url + "/x")
        steps = [call("read", path=".env"), "say one", go, "say two", go, "say three", go, "say four"]
        with Place() as place:
            network(place, {"host": "127.0.0.1", "port": int(site.url.rsplit(":", 1)[1])})
            place.write(".env", SECRET)
            place.write("big", "".join(f"{i * 7919 % 100003} words\n" for i in range(600)))
            check(place.rein("exec", "--mode", "auto", "--model", script(place, *steps), "go").returncode == 0)
            check(place.rein("resume", "--last", "more").returncode == 0)
            check(results(place)[-1]["outcome"] == "denied", results(place)[-1])
            first = place.events()[0]["session"]
            check(place.rein("fork", "--last", "another way").returncode == 0)
            check(results(place)[-1]["outcome"] == "denied", results(place)[-1])
            script(place, go, "say done")
            check(place.rein("fork", first + "@2", "before it").returncode == 0)
            check(results(place)[-1]["outcome"] == "ok" and len(site.seen) == 1, results(place)[-1], site.seen)
    with Site(PAGES) as site, Place() as place:         # folded away with its step
        network(place, {"host": "127.0.0.1", "port": int(site.url.rsplit(":", 1)[1])})
        place.write(".env", SECRET)
        place.write("big", "".join(f"{i * 7919 % 100003} words\n" for i in range(1500)))
        plan = [{"id": "a", "what": "look", "state": "doing"}, {"id": "b", "what": "fetch", "state": "open"}]
        after = [{"id": "a", "what": "look", "state": "done", "outcome": "looked"}, {"id": "b", "what": "fetch", "state": "doing"}]
        got = auto(place, call("todo", steps=plan), call("read", path=".env"), call("read", path="big"), call("todo", steps=after), call("fetch", url=site.url + "/x"))
        events = [e["kind"] for e in place.events()]
        check("compact" in events, "nothing was folded", events, got)
        check("q7Zk93mVbXw2LdPtRs81" not in json.dumps(place.requests()[-1]), "it is still in the context")
        check(got[-1]["outcome"] == "denied" and not site.seen, got[-1])


def test_asked_about_all_the_same():
    """A host that a person allowed for good, and the three would meet there."""
    with Site(PAGES) as site, Place() as place:
        place.write(".env", SECRET)
        go = call("fetch", url=site.url + "/x")
        check(place.rein("exec", "--mode", "ask", "--model", script(place, go, go, call("read", path=".env"), go, "say done"), "go").returncode == 3)
        out = place.rein("resume", "--last", "--answer", "all=always")
        check(out.returncode == 3 and b"three things would meet" in out.stderr and len(site.seen) == 2, out)
        check(place.rein("resume", "--last", "--answer", "all=yes").returncode == 0 and len(site.seen) == 3)
