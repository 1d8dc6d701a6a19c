"""The chat provider against a server that behaves, and one that does not."""
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time

from lib.mock import Mock, call, calls, chunks, text
from lib.rein import RELEASE, Place, Skip, check, story

KEY = "sk-test-1234567890abcdef"


def run(place, mock, *args, env=None, timeout=60):
    out = place.rein("exec", *mock.options(), "--mode", "open", "--backoff", "0.02", *args, env=env, timeout=timeout)
    check(out.returncode != 99, out.stderr.decode()[-3000:])
    return out


def test_whole_task():
    with Place() as place, Mock([
            call("read", {"path": "a.txt"}, words="Let me see."),
            dict(call("edit", {"path": "a.txt", "edits": [{"old": "one", "new": "two"}]}), reasoning="I should edit."),
            text("All done.")]) as mock:
        place.write("a.txt", "one\n")
        out = run(place, mock, "go")
        check(out.returncode == 0 and out.stdout == b"All done.\n", out)
        check(place.read("a.txt") == b"two\n")
        check(not mock.refused, mock.refused)
        last = mock.bodies[-1]["messages"]
        check(last[4].get("reasoning_content") == "I should edit.", "reasoning goes back as received", last)
        answers = story(place.events(), "answer")
        check(answers[0][1]["usage"] == {"in": 1000, "out": 10, "cached": 900, "estimated": False}, answers[0])
        check(answers[0][1]["model"] == "mock-1")


def test_prefix_is_kept():
    """Request n+1 begins with the bytes of request n, less the two that close it; the log has the body's hash."""
    import hashlib
    many = [calls(("read", {"path": "a.txt"}), ("read", {"path": "b.txt"})) for _ in range(20)] + [text("end")]
    with Place() as place, Mock(many) as mock:
        place.write("a.txt", "a\n" * 1000)
        check(run(place, mock, "go").returncode == 0)
        for a, b in zip(mock.raw, mock.raw[1:]):
            check(b.startswith(a[:-2]), "prefix broken")
        requests = story(place.events(), "request")
        check([r[1]["hash"] for r in requests] == [hashlib.sha256(r).hexdigest() for r in mock.raw])
        check([r[1]["bytes"] for r in requests] == [len(r) for r in mock.raw])
        check([r[1]["repeated"] for r in requests[1:]] == [len(r) - 2 for r in mock.raw[:-1]])


def test_wrong_key():
    with Place() as place, Mock([text("hi")], key=KEY) as mock:
        out = run(place, mock, "--key-env", "MY_KEY", "go", env={"MY_KEY": "sk-wrong-key-0987654321"})
        check(out.returncode == 5 and b"401" in out.stderr, out)
        check(b"sk-wrong" not in out.stderr + out.stdout, "the key is shown", out)
        check("sk-wrong" not in json.dumps(place.events()), "the key is in the log")
        out = place.rein("resume", "--last", env={"MY_KEY": KEY})
        check(out.returncode == 0 and out.stdout == b"hi\n", out)
        out = place.rein("exec", *mock.options(), "--key-env", "NOT_SET", "go")
        check(out.returncode == 2 and b"NOT_SET" in out.stderr, out)


def test_key_is_hidden_from_commands():
    with Place() as place, Mock([call("bash", {"command": "env"}), text("ok")], key=KEY) as mock:
        check(run(place, mock, "--key-env", "MY_KEY", "go", env={"MY_KEY": KEY}).returncode == 0)
        check(KEY not in json.dumps(place.events()))


def test_unreachable():
    with Place() as place, Mock([text("hi")]) as mock:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        out = place.rein("exec", "--model", "mock/m", "--base-url", f"http://127.0.0.1:{port}/v1", "--api", "chat", "--backoff", "0.02", "go")
        check(out.returncode == 5 and b"cannot be reached" in out.stderr and b"resume" in out.stderr, out)
        check(len(story(place.events(), "fault")) == 6, "five retries")
        out = place.rein("resume", "--last", "--base-url", mock.url)
        check(out.returncode == 0 and out.stdout == b"hi\n", out)


def test_no_network():
    """A connection that fails at once, inside the library, is noticed at once each time."""
    if subprocess.run(["unshare", "-n", "true"], stderr=subprocess.DEVNULL, check=False).returncode:
        raise Skip("no right to make a network namespace")
    with Place() as place:
        out = subprocess.run(["unshare", "-n", place.binary, "exec", "--model", "m", "--base-url", "http://127.0.0.1:9/v1", "--backoff", "0.02", "go"],
                             cwd=place.work, env=place.env, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False)
        check(out.returncode == 5 and len(story(place.events(), "fault")) == 6, out)


def test_tls():
    """A certificate that nobody vouches for is refused with a sentence; with SSL_CERT_FILE it is what the user says."""
    with Place() as place:
        cert, key = os.path.join(place.top, "cert.pem"), os.path.join(place.top, "key.pem")
        made = subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
                               "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert], capture_output=True,
                              check=False) if shutil.which("openssl") else None
        if not made or made.returncode:
            raise Skip("openssl is missing")
        with Mock([text("over TLS")], tls=(cert, key)) as mock:
            out = run(place, mock, "go")
            check(out.returncode == 5 and b"certificate" in out.stderr and not mock.bodies, out)
            out = run(place, mock, "go", env={"SSL_CERT_FILE": cert})
            check(out.returncode == 0 and out.stdout == b"over TLS\n", out)
            waits = threading.Event()
            mock.answers = lambda n, body: lambda h: waits.wait(10)
            p = subprocess.Popen([RELEASE, "exec", *mock.options(), "go"], cwd=place.work, env=dict(place.env, SSL_CERT_FILE=cert),
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while len(mock.bodies) < 2:
                time.sleep(0.01)
            with open(f"/proc/{p.pid}/status", encoding="utf-8") as f:
                kb = int([l for l in f if l.startswith("RssAnon")][0].split()[1])
            p.kill()
            p.wait()
            waits.set()
            print(f"peer/tls: private memory of an idle session with TLS loaded: {kb / 1024:.1f} MB", flush=True)
            check(kb < 10 << 10, kb)


def once(bad, good):
    """Plays bad the first time an answer is asked for, then good."""
    seen = set()

    def pick(n, body):
        if n in seen:
            return good
        seen.add(n)
        return bad
    return pick


def fault_then_good(bad, requests=2, words=b"good\n"):
    with Place() as place, Mock(once(bad, text("good"))) as mock:
        out = run(place, mock, "go")
        check(out.returncode == 0 and out.stdout == words, out)
        check(len(mock.bodies) == requests, len(mock.bodies), "requests")
        return place.events()


def test_stream_dies():
    """Cut after every kind of piece: the partial text is kept, nothing of the answer runs, and it is asked for again."""
    full = chunks(call("bash", {"command": "echo x >> count"}, words="I will count."))
    for keep in range(len(full) - 2):
        with Place() as place, Mock(once(lambda h, k=keep: (h.sse_part(full[:k]), h.cut()), text("good"))) as mock:
            mock.server.RequestHandlerClass.sse_part = sse_part
            out = run(place, mock, "go")
            check(out.returncode == 0 and out.stdout == b"good\n", keep, out)
            check(not os.path.exists(place.path("count")), "a call of a broken answer ran")
            fault = story(place.events(), "fault")[0][1]
            check(fault["retry"] and "I will count.".startswith(fault.get("partial", "")), fault)


def sse_part(handler, payloads):
    handler.send_response(200)
    handler.send_header("Content-Type", "text/event-stream")
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    for p in payloads:
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(p), p.encode()))


def test_stream_ends_early():
    """A clean end of the body without finish_reason is no answer."""
    fault_then_good(lambda h: h.sse(chunks(text("half an ans"))[:2]))


def test_error_in_stream():
    fault_then_good(lambda h: h.sse(chunks(text("half"))[:2] + ['data: {"error":{"message":"overloaded"}}\n\n']))


def test_503_and_429():
    began = time.monotonic()
    fault_then_good(lambda h: h.error(503, "busy"))
    fault_then_good(lambda h: h.error(429, "slow down", headers=[("Retry-After", "2")]))
    check(time.monotonic() - began >= 2, "it did not wait")


def test_500_forever():
    with Place() as place, Mock(lambda n, body: lambda h: h.error(500, "broken")) as mock:
        out = run(place, mock, "go")
        check(out.returncode == 5 and len(mock.bodies) == 6, out, len(mock.bodies))


def test_not_an_api():
    for status, data, kind in ((200, "<html>log in</html>", "text/html"), (200, '{"hello":1}', "application/json"),
                               (404, "nothing here", "text/plain"), (200, '{"error":{"message":"no"}}', "application/json")):
        with Place() as place, Mock(lambda n, body: lambda h: h.plain(status, data, kind)) as mock:
            out = run(place, mock, "go")
            check(out.returncode == 5 and len(out.stderr.splitlines()) <= 3, out)


def test_split_anywhere():
    """The same answer whatever the size of the pieces that it comes in."""
    data = "".join(chunks(dict(call("write", {"path": "u.txt", "content": "h\u00e9llo \u4e16\u754c \U0001f600\r\n"},
                                    words="\u4e16\u754c"), reasoning="\u00fcber"))).encode()
    data = b"\xef\xbb\xbf: hi\r\n\r\n" + data.replace(b"\n\n", b"\r\n\r\n", 3)
    for size in (1, 2, 3, 7, 64):
        pieces = [data[i:i + size] for i in range(0, len(data), size)]
        with Place() as place, Mock(lambda n, body: (lambda h: h.sse(pieces)) if n == 0 else text("ok")) as mock:
            out = run(place, mock, "go")
            check(out.returncode == 0, out)
            check(place.read("u.txt").decode() == "h\u00e9llo \u4e16\u754c \U0001f600\r\n", size)


def test_dialects():
    """Calls without index or id, the same id twice, arguments as an object or repeated names, usage in the last chunk."""
    def chunk(delta, finish=None):
        return "data:" + json.dumps({"choices": [{"delta": delta, "finish_reason": finish}]}) + "\n\n"
    odd = [chunk({"content": None, "tool_calls": [{"id": "a", "function": {"name": "bash", "arguments": {"command": "echo 1"}}}]}),
           chunk({"tool_calls": [{"id": "b", "function": {"name": "bash", "arguments": '{"comm'}}]}),
           chunk({"tool_calls": [{"function": {"name": "bash", "arguments": 'and": "echo 2"}'}}]}),
           chunk({"tool_calls": [{"index": 5, "id": "b", "function": {"name": "bash", "arguments": '{"command":"echo 3"}'}}]}),
           chunk({}, "stop"), 'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2}}\n\n', "data: [DONE]\n\n"]
    with Place() as place, Mock(lambda n, body: (lambda h: h.sse(odd)) if n == 0 else text("ok")) as mock:
        out = run(place, mock, "go")
        check(out.returncode == 0 and not mock.refused, out, mock.refused)
        results = [b["text"].split("\n")[0] for _, b in story(place.events(), "result")]
        check(results == ["1", "2", "3"], results)


def test_hostile_bytes():
    """Bad UTF-8, lone surrogates and NUL in a stream become U+FFFD; nothing breaks on the way back."""
    odd = [b'data: {"choices":[{"delta":{"content":"a\xff\\ud800\\u0000b\\u001b[31m"}}]}\n\n',
           b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n', b"data: [DONE]\n\n"]
    with Place() as place, Mock(lambda n, body: (lambda h: h.sse(odd)) if n == 0 else text("ok")) as mock:
        check(run(place, mock, "go").returncode == 0)
        check(story(place.events(), "answer")[0][1]["text"] == "a\ufffd\ufffd\ufffdb\u001b[31m")
        shown = place.rein("show", "--last")
        check(shown.returncode == 0 and b"\x1b" not in shown.stdout, "an escape reached the terminal")


def test_answer_too_large():
    """Forty megabytes of stream: refused at the limit, in bounded memory, without a second try."""
    with Place() as place, Mock([text("a" * 2000000)]) as mock:
        out = run(place, mock, "go")
        check(out.returncode == 5 and b"larger than" in out.stderr and len(mock.bodies) == 1, out.stderr)


def test_very_many_calls():
    """Thousands of calls in one answer: the first 128 run, each gets its own result, and time does not grow with the square."""
    many = {"calls": [("same", "read", "{}")] * 6000}
    with Place() as place, Mock([many, text("ok")]) as mock:
        out = run(place, mock, "-q", "go", timeout=50)
        check(out.returncode == 0 and not mock.refused, out.stderr[-500:], mock.refused[:1])
        texts = [b["text"] for _, b in story(place.events(), "result")]
        check(len(texts) == 6000 and sum("at most 128" in t for t in texts) == 6000 - 128, len(texts))


def test_interrupt_in_stream():
    """SIGINT on a silent socket: status 130 at once, and the session goes on later."""
    silent = threading.Event()
    with Place() as place, Mock(once(lambda h: (h.sse_part(chunks(text("half"))[:3]), h.wfile.flush(), silent.wait(30)),
                                     text("good"))) as mock:
        mock.server.RequestHandlerClass.sse_part = sse_part
        p = place.start("exec", *mock.options(), "--mode", "open", "go")
        while not mock.bodies:
            time.sleep(0.01)
        time.sleep(0.2)
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=20)
        check(p.returncode == 130, p.returncode, err)
        silent.set()
        check(story(place.events(), "end")[-1][1]["outcome"] == "interrupted")
        out = place.rein("resume", "--last")
        check(out.returncode == 0 and out.stdout == b"good\n", out)


def test_interrupt_in_command():
    """SIGINT while a command runs: the command and what it started are gone, its outcome is in the log."""
    with Place() as place, Mock([call("bash", {"command": "(setsid sleep 300 &) ; touch begun; sleep 300"}), text("ok")]) as mock:
        p = place.start("exec", *mock.options(), "--mode", "open", "go")
        while not os.path.exists(place.path("begun")):
            time.sleep(0.01)
        p.send_signal(signal.SIGINT)
        p.communicate(timeout=20)
        check(p.returncode == 130)
        result = story(place.events(), "result")[-1][1]
        check(result["outcome"] == "cancelled", result)
        check(not running_in(place.work), "a process was left behind")
        check(place.rein("resume", "--last").returncode == 0)
        check(not mock.refused, mock.refused)


def running_in(folder):
    """Processes whose working directory is the folder."""
    found = []
    for pid in os.listdir("/proc"):
        try:
            if pid.isdigit() and os.readlink(f"/proc/{pid}/cwd").startswith(folder):
                found.append(int(pid))
        except OSError:
            pass
    return found


def test_time_limit():
    with Place() as place, Mock([call("bash", {"command": "sleep 300"}), text("ok")]) as mock:
        out = run(place, mock, "--timeout", "1", "go")
        check(out.returncode == 4, out)
        check(not running_in(place.work))
        end = story(place.events(), "end")[-1][1]
        check(end["outcome"] == "budget" and "--timeout" in end["why"], end)


def test_processes_end_with_the_call():
    """A double fork with setsid is gone one second after its call, and after kill -9 of rein."""
    escape = "python3 -c 'import os,time\nif os.fork(): os._exit(0)\nos.setsid()\nif os.fork(): os._exit(0)\n" \
             "open(\"escaped\",\"w\").write(str(os.getpid()))\ntime.sleep(300)'"
    with Place() as place, Mock([call("bash", {"command": escape + "; while [ ! -s escaped ]; do sleep 0.01; done"}),
                                 text("ok")]) as mock:
        check(run(place, mock, "go").returncode == 0)
        time.sleep(1)
        check(not os.path.exists(f"/proc/{int(place.read('escaped'))}"), "it escaped the end of its call")
    with Place() as place, Mock([call("bash", {"command": escape + "; sleep 300"}), text("ok")]) as mock:
        p = place.start("exec", *mock.options(), "--mode", "open", "go")
        while not os.path.exists(place.path("escaped")) or not place.read("escaped"):
            time.sleep(0.01)
        p.kill()
        p.communicate()
        time.sleep(1)
        check(not running_in(place.work), "it escaped kill -9 of rein")


def test_second_rein_is_told():
    with Place() as place, Mock([call("bash", {"command": "touch begun; sleep 2"}), text("ok")]) as mock:
        p = place.start("exec", *mock.options(), "--mode", "open", "go")
        while not os.path.exists(place.path("begun")):
            time.sleep(0.01)
        out = place.rein("resume", "--last")
        check(out.returncode == 1 and b"driven by another rein" in out.stderr and str(p.pid).encode() in out.stderr, out)
        fibers = place.rein("debug", "fibers", str(p.pid))
        check(fibers.returncode == 0 and b"a command" in fibers.stdout, fibers)
        p.communicate(timeout=20)
        check(p.returncode == 0)


def test_never_reads_stdin():
    """With a prompt argument an open pipe on standard input does not matter."""
    with Place() as place, Mock([text("ok")]) as mock:
        r, w = os.pipe()
        out = place.rein("exec", *mock.options(), "go", stdin=r, timeout=20)
        os.close(w)
        os.close(r)
        check(out.returncode == 0, out)
        out = subprocess.run([place.binary, "exec", *mock.options(), "-"], cwd=place.work, env=place.env, input=b"from stdin",
                             capture_output=True, timeout=20, check=False)
        check(out.returncode == 0 and mock.bodies[-1]["messages"][1]["content"] == "from stdin", out)


def test_json_events_are_the_log():
    with Place() as place, Mock([call("bash", {"command": "echo hi"}), text("ok")]) as mock:
        out = run(place, mock, "--json", "go")
        check([json.loads(l) for l in out.stdout.decode().splitlines()] == place.events())
