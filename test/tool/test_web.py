"""fetch and search against servers on loopback: honest ones, and the rest."""
import gzip
import http.server
import json
import os
import ssl
import subprocess
import threading
import time

from lib.rein import RELEASE, TOP, Place, check, story

PAGE = """<!doctype html><html><head><title>A &amp; B</title><style>p{}</style><script>alert("no")</script></head><body>
<nav><a href="/menu">menu</a></nav><main><h1>Head</h1><p>Some <b>bold</b> text, <a href="/doc?a=1">a link</a>.</p>
<ul><li>one<li>two</ul><pre>int  x;\n  y</pre><table><tr><td>1<td>2</table></main></body></html>"""
BIG = "".join(f"line {i} of a long page\n" for i in range(20000))


class Site:
    """Pages by path: (status, headers, body), or a function of the handler. `tls`: files with its certificate and key."""

    def __init__(self, pages, tls=None):
        self.seen = []
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                site.seen.append((self.path, dict(self.headers)))
                page = pages.get(self.path.split("?")[0], (404, {"Content-Type": "text/html"}, b"<h1>Nothing here</h1>"))
                if callable(page):
                    page(self)
                    return
                status, headers, body = page
                self.send_response(status)
                for k, v in headers.items():
                    self.send_header(k, v)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                try:
                    self.wfile.write(body)
                except OSError:
                    pass

            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                self.do_GET()

            def log_message(self, *args):
                pass

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, *args):
                pass                    # who hangs up does so on purpose

        self.server = Server(("127.0.0.1", 0), Handler)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *unused):
        self.server.shutdown()
        self.server.server_close()


def run(place, *steps, env=None, mode="open"):
    script = "\n--\n".join("\n".join(f"call {name} {json.dumps(args)}" for name, args in calls) for calls in steps) + "\n--\nsay ok\n"
    out = place.rein("exec", "-q", "--mode", mode, "--model", place.script(script), "go", env=env, timeout=120)
    check(out.returncode == 0, out.stderr.decode()[-1500:])
    return sorted((b for _, b in story(place.events(), "result")), key=lambda b: [int(n) for n in b["call"].split(".")])


def html(body, charset=None):
    return (200, {"Content-Type": "text/html" + (f"; charset={charset}" if charset else "")}, body)


def test_fetch_pages():
    pages = {
        "/page": html(PAGE.encode()), "/plain": (200, {"Content-Type": "text/plain"}, "it <b>is</b> text\n".encode()),
        "/json": (200, {"Content-Type": "application/json"}, b'{"a": 1}'), "/gz": (200, {"Content-Type": "text/plain", "Content-Encoding": "gzip"},
                                                                                 gzip.compress(b"packed\n")),
        "/gbk": html("<p>你好，世界".encode("gbk"), "GBK"), "/meta": html("<meta charset='shift_jis'><p>こんにちは".encode("cp932")),
        "/utf16": (200, {"Content-Type": "text/plain"}, "wide\n".encode("utf-16")), "/none": (200, {}, b"<html><p>no type"),
        "/empty": html(b""), "/png": html(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\2\x80\0\0\1\xe0"), "/pdf": (200, {"Content-Type": "application/pdf"}, b"%PDF-1.4\n\0\1"),
        "/error": (500, {"Content-Type": "text/html"}, b"<p>it broke"), "/big": (200, {"Content-Type": "text/plain"}, BIG.encode()),
        "/hop": (302, {"Location": "hop2"}, b""), "/hop2": (301, {"Location": "/page"}, b""), "/loop": (302, {"Location": "/loop"}, b""),
        "/file": (302, {"Location": "file:///etc/passwd"}, b""), "/deep": html(b"<div>" * 300000 + b"x"), "/wild": html(os.urandom(100000).replace(b"\0", b"0")),
    }
    with Place() as place, Site(pages) as site:
        names = ["page", "plain", "json", "gz", "gbk", "meta", "utf16", "none", "empty", "png", "pdf", "error", "big", "hop", "loop", "file", "deep", "wild", "x"]
        got = dict(zip(names, run(place, *[[("fetch", {"url": f"{site.url}/{n}"})] for n in names])))
        text = {n: r["text"] for n, r in got.items()}
        check(text["page"] == f"# A & B\n\n# Head\n\nSome bold text, [a link]({site.url}/doc?a=1).\n\n- one\n- two\n\n```\nint  x;\n  y\n```\n\n| 1 | 2\n", text["page"])
        check(text["plain"] == "it <b>is</b> text\n" and text["json"] == '{"a": 1}' and text["gz"] == "packed\n", text)
        check(text["gbk"] == "你好，世界\n" and text["meta"] == "こんにちは\n" and text["utf16"] == "wide\n" and text["none"] == "no type\n", text)
        check(text["empty"] == "[it is empty]", text["empty"])
        check("not text but a PNG image of 640x480" in text["png"] and "the server calls it text/html" in text["png"], text["png"])
        check("a PDF document" in text["pdf"] and got["pdf"]["outcome"] == "error", text["pdf"])
        check(text["error"] == "[status 500]\nit broke\n" and got["error"]["outcome"] == "error", got["error"])
        check(len(text["big"]) < 17000 and "read the path output:" in text["big"], text["big"][-200:])
        check(text["hop"].startswith(f"[redirected to {site.url}/page]\n# A & B"), text["hop"])
        check("more than 5 redirects" in text["loop"] and "not an address with http" in text["file"], text)
        check(got["deep"]["outcome"] == "ok" or "cannot be made into text" in text["deep"], text["deep"][:200])
        check(got["x"]["outcome"] == "error" and "Nothing here" in text["x"], got["x"])


def test_fetch_pages_through_the_rest():
    with Place() as place, Site({"/big": (200, {"Content-Type": "text/plain"}, BIG.encode())}) as site:
        results = run(place, [("fetch", {"url": site.url + "/big"})], [("read", {"path": "output:4.1", "start": 19999, "count": 1})])
        check(results[1]["text"].startswith("line 19998 of a long page\n"), results[1])


def test_fetch_limits():
    """Too large, too slow, nobody there, not HTTP; and it is asked for in mode ask."""
    def endless(h):
        h.send_response(200)
        h.send_header("Content-Type", "text/plain")
        h.end_headers()
        try:
            for _ in range(2000):
                h.wfile.write(b"x" * 65536)
        except OSError:
            pass

    with Place() as place, Site({"/endless": endless, "/bomb": (200, {"Content-Type": "text/plain", "Content-Encoding": "gzip"},
                                                               gzip.compress(b"0" * (300 << 20)))}) as site:
        results = run(place, *[[("fetch", {"url": u})] for u in (site.url + "/endless", site.url + "/bomb", "http://127.0.0.1:1/", "ftp://x/", "nonsense")])
        check("[only the first 5 MiB]" in results[0]["text"] and "[only the first 5 MiB]" in results[1]["text"], results[0]["text"][:100])
        check(all(r["outcome"] == "error" for r in results[2:]), results[2:])
        check("not an address" in results[3]["text"] and "not an address" in results[4]["text"], results[3:])
        out = place.rein("exec", "--mode", "ask", "--model", place.script(f'call fetch {{"url": "{site.url}/endless"}}\n--\nsay x\n'), "go")
        check(out.returncode == 3 and b"waits for approval: fetch" in out.stderr, out)


def test_html_program_is_confined():
    """What makes text of HTML may do nothing else: when it tries, the kernel ends it."""
    helper = os.path.join(TOP, "build", "rein-html")
    out = subprocess.run(["strace", "-f", "-e", "trace=openat,open,socket,connect,execve,clone,fork", helper, "http://x/"], input=PAGE.encode(),
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    check(out.returncode == 0 and out.stdout.startswith(b"# A & B"), out)
    loaded = out.stderr.decode()
    check("socket" not in loaded and "clone" not in loaded, loaded[-500:])
    began = time.monotonic()
    for body in (b"<" * 3000000, b"<a " * 1000000, b"<table><tr><td>" * 200000, b"&" * 2000000, b"<p>" + b"a" * 10000000):
        out = subprocess.run([helper, "http://x/"], input=body, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        check(out.returncode in (0, -9, -24, 4, 3, -11), out.returncode)
    check(time.monotonic() - began < 100)


def test_search_engines():
    searx = {"results": [{"title": "First <b>hit</b>", "url": "http://a.example/1", "content": "Some\nwords"}, {"title": "no link"},
                         {"title": "Second", "url": "http://a.example/2", "content": "x" * 900}]}
    brave = {"web": {"results": [{"title": "Brave", "url": "http://b.example/", "description": "a <strong>strong</strong> one"}]}}
    pages = {"/search": (200, {"Content-Type": "application/json"}, json.dumps(searx).encode()),
             "/res/v1/web/search": (200, {"Content-Type": "application/json"}, json.dumps(brave).encode()),
             "/away/res/v1/web/search": None, "/bad/search": html(b"<p>no"), "/no/search": (403, {}, b"")}
    with Place() as place, Site(pages) as site, Site({"/got": (200, {"Content-Type": "application/json"}, b"{}")}) as other:
        pages["/away/res/v1/web/search"] = (302, {"Location": other.url + "/got"}, b"")
        one = lambda **env: run(place, [("search", {"query": "c & d?", "count": 5})], env=env)[0]  # noqa: E731
        r = one(REIN_SEARCH="searxng=" + site.url + "/")
        check(r["text"] == "1. First hit\n   http://a.example/1\n   Some words\n2. Second\n   http://a.example/2\n   " + "x" * 300 + "\n", r)
        check(site.seen[-1][0] == "/search?format=json&q=c%20%26%20d%3F", site.seen[-1])
        r = one(REIN_SEARCH="brave=" + site.url, BRAVE_API_KEY="secret")
        check(r["text"] == "1. Brave\n   http://b.example/\n   a strong one\n" and site.seen[-1][1]["X-Subscription-Token"] == "secret", r)
        one(REIN_SEARCH="brave=" + site.url + "/away", BRAVE_API_KEY="secret")
        check(other.seen and "X-Subscription-Token" not in other.seen[-1][1], "the key went to another host")
        check("is not JSON" in one(REIN_SEARCH="searxng=" + site.url + "/bad")["text"] and "status 403" in one(REIN_SEARCH="searxng=" + site.url + "/no")["text"])
        check("no engine is set up" in one()["text"] and "BRAVE_API_KEY" in one(REIN_SEARCH="brave")["text"] and "no engine \"bing\"" in one(REIN_SEARCH="bing")["text"])
