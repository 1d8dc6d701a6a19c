"""The fault matrix: what a model's service may do wrong, each row in Chat Completions, Responses and Messages (and Gemini where it has
the like). A row says what is played, how the session ends, and how many requests that takes, exactly."""
import json
import os
import subprocess
import threading
import time

from lib.apis import APIS, Apis, Chat, call, calls, once, text
from lib.rein import Place, check, story

MAIN = ("chat", "responses", "messages")
KEY = "sk-test-0123456789abcdefghij"
QUICK = ("--backoff", "0.03")
COUNT = call("bash", {"command": "echo x >> count"}, words="I will count.", reasoning="Counting.")


class Case:
    """One session against a server in one API."""

    def __init__(self, api, answers, *args, status=0, requests=None, out=None, env=None, timeout=60, model="mock/m", prepare=None, **server):
        with Place() as place, Apis(answers, key=KEY, **server) as mock:
            self.api = api
            if prepare:
                prepare(place)
            began = time.monotonic()
            self.out = place.rein("exec", *mock.options(api, model), "--key-env", "MOCK_KEY", "--mode", "open", *QUICK, *args, "go",
                                  env=dict(env or {}, MOCK_KEY=KEY), timeout=timeout)
            self.took = time.monotonic() - began
            self.mock, self.err = mock, self.out.stderr.decode()
            self.events = place.events()
            self.files = {n: place.read(n) for n in os.listdir(place.work) if os.path.isfile(place.path(n))}
            told = (api, self.out.returncode, self.out.stdout, self.err[-1500:], mock.refused, len(mock.raw))
            check(self.out.returncode == status, "status", *told)
            check(not mock.refused, "the service refused", *told)
            check(requests is None or len(mock.raw) == requests, "requests", requests, *told)
            check(out is None or self.out.stdout.decode() == out + "\n", "answer", *told)
            check(KEY not in self.err + self.out.stdout.decode() + json.dumps(self.events), "the key is shown", *told)

    def faults(self):
        return [b for _, b in story(self.events, "fault")]

    def results(self):
        return [b for _, b in story(self.events, "result")]


def every(row, apis=MAIN):
    for api in apis:
        row(api)
    return len(apis)


def retried(api, bad, times=1, **more):
    """A fault that passes: one request more for each time, and the answer."""
    case = Case(api, once(bad, text("good"), times), requests=times + 1, out="good", **more)
    check([f["retry"] for f in case.faults()] == [True] * times, case.faults())
    return case


def final(api, bad, words="", **more):
    """A fault that no waiting mends: one request, status 5, a sentence."""
    case = Case(api, lambda n, body: bad, status=5, requests=1, **more)
    check(words in case.err, api, words, case.err)
    check(not case.faults()[-1]["retry"], case.faults())
    return case


def test_01_02_too_many_requests():
    def row(api):
        retried(api, lambda h: h.error(429, "slow down", kind="rate_limit_error"))
        case = retried(api, lambda h: h.error(429, "slow down", kind="rate_limit_error", headers=[("Retry-After", "2")]))
        gap = case.mock.times[1] - case.mock.times[0]
        check(2 <= gap < 2.6, "waited", gap)
    return every(row, (*MAIN, "gemini"))


def test_03_retry_after_in_every_form():
    def date(seconds):
        return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + seconds))
    # header, value, what the log says was asked, or None; the wait is at least the doubled one in any case
    forms = [("retry-after", "1.5", 1500), ("retry-after-ms", "700", 700), ("retry-after-ms", "650.5", 651), ("retry-after", lambda: date(2), (500, 2100)),
             ("retry-after", date(-3600), 0), ("retry-after", "-5", None), ("retry-after", "abc", None), ("retry-after", "NaN", None),
             ("retry-after", "inf", None), ("retry-after", "0", 0), ("retry-after", "0x10", None), ("retry-after", "", None)]

    def row(api):
        for header, value, asked in forms:
            case = retried(api, lambda h, x=header, v=value: h.error(503, "busy", kind="api_error", headers=[(x, v() if callable(v) else v)]))
            got = case.faults()[0].get("asked")
            check(asked[0] <= got <= asked[1] if isinstance(asked, tuple) else got == asked, api, header, value, got)
            gap = (case.mock.times[1] - case.mock.times[0]) * 1000
            check(gap >= max(got or 0, 30 * 0.74), "waited", api, header, value, gap)
        for value in ("1e9", "1000000000", "86400"):
            case = final(api, lambda h, v=value: h.error(503, "busy", kind="api_error", headers=[("retry-after", v)]))
            check(case.took < 5, "it waited")
        case = Case(api, lambda n, body: lambda h: h.error(503, "busy", kind="api_error", headers=[("retry-after", "2")]), "--patience", "1",
                    status=5, requests=1)
    return every(row)


def test_04_quota_is_used_up():
    def row(api):
        code = {"messages": "billing_error"}.get(api, "insufficient_quota")
        final(api, lambda h: h.error(429, "You exceeded your current quota", kind=code, code=code), "quota")
    return every(row)


def test_05_06_server_errors():
    def row(api):
        retried(api, lambda h: h.error(503, "busy", kind="api_error"))
        retried(api, lambda h: h.error(529, "Overloaded", kind="overloaded_error"))
        retried(api, lambda h: h.plain(502, "<html>Bad Gateway</html>", "text/html"))
        retried(api, lambda h: h.plain(524, "", "text/html"))
        case = retried(api, lambda h: h.error(500, "broken", kind="api_error"), times=3)
        waits = [f["wait"] / (1 - f["jitter"] / 1000) for f in case.faults()]
        check(all(abs(w - want) <= 2 for w, want in zip(waits, (30, 60, 120))), "the wait doubles, less what chance takes off", waits)
        check(all(0 <= f["jitter"] <= 250 for f in case.faults()), case.faults())
        Case(api, lambda n, body: lambda h: h.error(500, "broken", kind="api_error"), status=5, requests=6)
        Case(api, lambda n, body: lambda h: h.error(500, "broken", kind="api_error"), "--retries", "2", status=5, requests=3)
    return every(row)


def test_07_refusals():
    def row(api):
        for status in (400, 401, 403, 404, 422):
            case = final(api, lambda h, s=status: h.error(s, f"no, not with {h.headers.get('Authorization') or h.headers.get('x-api-key')}"))
            check("[key]" in case.err and str(status) in case.err, case.err)
    return every(row)


def test_08_other_statuses():
    def row(api):
        for status in (408, 409, 425):
            retried(api, lambda h, s=status: h.error(s, "try again", kind="api_error"))
        for status in (402, 451, 501):
            final(api, lambda h, s=status: h.error(s, "no"))
    return every(row)


def test_09_should_retry():
    def row(api):
        retried(api, lambda h: h.error(400, "really", headers=[("x-should-retry", "true")]))
        final(api, lambda h: h.error(500, "no use", headers=[("x-should-retry", "false")]))
    return every(row)


def test_10_11_12_not_an_answer():
    def row(api):
        final(api, lambda h: h.plain(200, "<html>Please log in</html>", "text/html"), "text/html")
        final(api, lambda h: h.plain(200, json.dumps(h.api.error("no such deployment"))), "no such deployment")
        final(api, lambda h: h.plain(200, '{"hello":1}'), "no answer")
        retried(api, lambda h: h.plain(200, "", "application/json"))
        retried(api, lambda h: (h.send_response(200), h.send_header("Content-Type", "text/event-stream"),
                                h.send_header("Content-Length", "100000"), h.end_headers(), h.wfile.write(b": hi\n\n"), h.hang_up()))
    return every(row)


def slow(handler, seconds):
    """A server that goes on waiting does not hold up the test: the client has gone by then."""
    handler.wfile.flush()
    time.sleep(seconds)
    handler.close_connection = True


def test_13_headers_never_come():
    def row(api):
        case = Case(api, once(lambda h: slow(h, 3), text("good")), "--first-timeout", "0.4", "--connect-timeout", "0.2", requests=2, out="good")
        check(case.faults()[0]["class"] == "timeout", case.faults())
    return every(row)


def test_14_one_byte_at_a_time():
    """Something comes all the time, and content as well: the limit is the one for the whole answer."""
    def row(api):
        def drip(h):
            h.sse([], end=False)
            h.sse_more(h.payloads(text("x" * 1000)), pause=0.05)
        case = Case(api, once(drip, text("good")), "--request-timeout", "1", "--idle-timeout", "5", requests=2, out="good")
        check(0.9 < case.took < 4 and "not complete" in case.faults()[0]["why"], case.took, case.faults())
    return every(row)


def test_15_idle():
    def row(api):
        def silent(h):
            h.sse(h.payloads(text("half an answer"))[:6 if h.api.name == "responses" else 3 if h.api.name == "chat" else 5], end=False)
            slow(h, 4)
        case = Case(api, once(silent, text("good")), "--idle-timeout", "0.3", requests=2, out="good")
        check("nothing came for 0.3 s" in case.faults()[0]["why"], case.faults())

        def pings(h):
            h.sse(h.payloads(text("half an answer"))[:{"chat": 2, "messages": 5, "responses": 6}[h.api.name]], end=False)
            h.sse_more([": ping\n\n" if h.api.name != "messages" else 'event: ping\ndata: {"type":"ping"}\n\n'] * 60, pause=0.05)
        case = Case(api, once(pings, text("good")), "--idle-timeout", "0.2", requests=2, out="good")
        check("signs of life" in case.faults()[0]["why"], case.faults())

        def patient(h):                 # fewer of them keep it up
            h.sse([": ping\n\n"] * 10, pause=0.05, end=False)
            h.sse_more(h.payloads(text("good")))
        Case(api, lambda n, body: patient, "--first-timeout", "0.4", requests=1, out="good")
    return every(row)


def test_16_17_stream_breaks():
    """After every k events, and within them: nothing of the answer runs, what was said is kept, and it is asked for again."""
    def row(api):
        with Apis([COUNT]) as probe:
            n = len(APIS[api].stream(probe, COUNT, {"stream_options": {"include_usage": True}}))
        finished = {"chat": n - 3, "responses": n - 1, "messages": n - 1}[api]       # from here on the answer is complete
        for end in ("cut", "hang_up", "end"):
            for k in range(0, finished + 1):
                def broken(h, k=k, end=end):
                    parts = h.payloads(COUNT)
                    half = parts[k][:len(parts[k]) // 2] if end == "cut" else ""
                    h.sse([*parts[:k], half], end=end == "end")
                    if end != "end":
                        getattr(h, end)()
                case = retried(api, broken)
                check("count" not in case.files, "a call of a broken answer ran")
                check("I will count.".startswith(case.faults()[0].get("partial", "")), case.faults())
    return every(row)


def test_18_19_20_split_and_dressed():
    """The same whatever the pieces, line ends, comments and fields; the parser's test does this at every byte."""
    answer = call("write", {"path": "u.txt", "content": "h\u00e9llo \u4e16\u754c \U0001f600\r\n"}, words="\u4e16\u754c", reasoning="\u00fcber")

    def dress(data, how):
        if how == "crlf":
            return b"\xef\xbb\xbf" + data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        if how == "cr":
            return data.replace(b"\r\n", b"\n").replace(b"\n", b"\r")
        if how == "fields":
            return b"retry: 10\nid: 7\n: hi\n\n" + data.replace(b"data: ", b"data:")
        if how == "lines":              # one event's data over several lines
            return b"".join(line.replace(b", \"", b",\ndata: \"", 1) if line.startswith(b"data: {") else line
                            for line in data.splitlines(keepends=True))
        return data

    def row(api):
        for how in ("plain", "crlf", "cr", "fields", "lines"):
            for size in (1, 3, 64):
                def send(h, how=how, size=size):
                    data = dress("".join(h.payloads(answer)).encode(), how)
                    h.sse([data[i:i + size] for i in range(0, len(data), size)])
                case = Case(api, lambda n, body: send if n == 0 else text("ok"), requests=2, out="ok")
                check(case.files["u.txt"] == "h\u00e9llo \u4e16\u754c \U0001f600\r\n".encode(), how, size, case.files)
    return every(row, (*MAIN, "gemini"))


def test_21_bad_characters():
    def row(api):
        def send(h):
            data = "".join(h.payloads(text("A\u2028B CUT D")))
            h.sse([data.encode().replace(b"CUT", b"\xff\xc3\\ud800\\u0000")])
        case = Case(api, lambda n, body: send, requests=1)
        got = case.out.stdout.decode()
        check(got.startswith("A\u2028B ") and got.endswith(" D\n") and "\ufffd" in got and "\0" not in got, repr(got))
    return every(row)


def test_22_far_too_large():
    def row(api):
        def big(h):
            parts = h.payloads(text("BIG"))
            h.sse([p.replace("BIG", "x" * (50 << 20)) for p in parts])
        Case(api, lambda n, body: big, status=5, requests=1)

        def endless(h):
            parts = h.payloads(text("y" * 6))
            delta = next(p for p in parts if "y" * 6 in p) * 400
            h.sse(parts[:parts.index(delta[:len(delta) // 400])], end=False)
            for _ in range(4000):
                h.sse_more([delta], end=False)
        Case(api, lambda n, body: endless, status=5, requests=1)
    return every(row)


def test_23_hostile_json():
    def row(api):
        for data in ('{"a":' * 10000 + "1" + "}" * 10000, '{"a":1e400,"choices":[]', '{"a":1,"a":2}', "[" * 3000, '{"usage":1e999}'):
            case = Case(api, lambda n, body, d=data: lambda h: h.sse([f"data: {d}\n\n"], end=True), status=5)
            check(all(f["why"] for f in case.faults()), case.faults())
    return every(row)


def chat_chunks(*deltas, finish="tool_calls"):
    out = [{"choices": [{"index": 0, "delta": d}]} for d in deltas]
    out.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    return ["data: " + json.dumps(c) + "\n\n" for c in out] + ["data: [DONE]\n\n"]


def piece(args, index=None, call_id=None, name=None):
    out = {"function": {"arguments": args}}
    if index is not None:
        out["index"] = index
    if call_id:
        out.update(id=call_id, type="function")
    if name:
        out["function"]["name"] = name
    return {"tool_calls": [out]}


def test_24_25_calls_in_odd_pieces():
    """Calls are never merged wrongly: each file gets what its own call says, or the call is refused."""
    def w(name):
        return json.dumps({"path": name, "content": name})
    a, b = w("a"), w("b")
    plays = {
        "no index": [piece(a, call_id="1", name="write"), piece(b, call_id="2", name="write")],
        "no index, pieces": [piece(a[:5], call_id="1", name="write"), piece(a[5:]), piece(b[:5], call_id="2", name="write"), piece(b[5:])],
        "index always 0": [piece(a, 0, "1", "write"), piece(b, 0, "2", "write")],
        "interleaved": [piece(a[:5], 0, "1", "write"), piece(b[:5], 1, "2", "write"), piece(a[5:], 0), piece(b[5:], 1)],
        "reordered": [piece(b, 1, "2", "write"), piece(a, 0, "1", "write")],
        "gap": [piece(a, 3, "1", "write"), piece(b, 9, "2", "write")],
        "name repeated": [piece(a[:5], 0, "1", "write"), piece(a[5:], 0, "1", "write"), piece(b, 1, "2", "write")],
        "name later": [piece("", 0, "1"), piece("", 0, None, "write"), piece(a, 0), piece(b, 1, "2", "write")],
        "an id per piece": [piece(a[:5], 0, "1", "write"), piece(a[5:], 0, "1-b"), piece(b, 1, "2", "write")],
        "names alone": [piece(a, None, None, "write"), piece(b, None, "2", "write")],
    }
    for what, deltas in plays.items():
        case = Case("chat", lambda n, body, d=deltas: (lambda h: h.sse(chat_chunks(*d))) if n == 0 else text("ok"), requests=2, out="ok")
        check(case.files == {"a": b"a", "b": b"b"}, what, case.files, case.results())
    # Responses and Messages number their items and blocks: several, interleaved where the API allows it.
    def items(h):
        parts = h.payloads(calls(("write", {"path": "a", "content": "a"}), ("write", {"path": "b", "content": "b"})))
        if h.api.name == "responses":
            first = [p for p in parts if '"output_index": 0' in p]
            second = [p for p in parts if '"output_index": 1' in p]
            rest = [p for p in parts if p not in first + second]
            parts = rest[:2] + [p for pair in zip(first, second) for p in pair] + rest[2:]
        h.sse(parts)
    for api in ("responses", "messages", "gemini"):
        case = Case(api, lambda n, body: items if n == 0 else text("ok"), requests=2, out="ok")
        check(case.files == {"a": b"a", "b": b"b"}, api, case.files)
    return len(plays) + 3


def test_26_empty_pieces():
    def row(api):
        empties = {"chat": ['data: {"choices":[]}\n\n', 'data: {"choices":[{"index":0,"delta":null}]}\n\n', "data: {}\n\n",
                            'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":null,"tool_calls":null}}]}\n\n'],
                   "responses": ['data: {"type":"response.output_text.delta","output_index":0,"delta":""}\n\n', "data: {}\n\n"],
                   "messages": ['event: ping\ndata: {"type":"ping"}\n\n', "data: {}\n\n",
                                'data: {"type":"content_block_delta","index":77,"delta":{"type":"text_delta","text":"lost"}}\n\n'],
                   "gemini": ["data: {}\n\n", 'data: {"candidates":[]}\n\n', 'data: {"candidates":[{"content":{}}]}\n\n']}[api]

        def send(h):
            out = []
            for p in h.payloads(text("good")):
                out += [*empties, p] if "[DONE]" not in p else [p]
            h.sse(out)
        Case(api, lambda n, body: send, requests=1, out="good")
    return every(row, (*MAIN, "gemini"))


def test_27_how_it_ended():
    def row(api):
        def change(h, old, new):
            h.sse([p.replace(old, new) for p in h.payloads(text("good"))])
        old = {"chat": '"finish_reason": "stop"', "responses": '"type": "response.completed"', "messages": '"stop_reason": "end_turn"'}[api]
        gone = {"chat": '"finish_reason": null', "responses": '"type": "response.whatever"', "messages": '"stop_reason": null'}[api]
        retried(api, lambda h: change(h, old, gone))
        if api != "responses":          # there the event says so, and there are three of them
            word = old.split('"')[1]
            Case(api, lambda n, body: lambda h: change(h, old, f'"{word}": "because"'), requests=1, out="good")

        def twice(h):
            parts = h.payloads(text("good"))
            last = next(i for i, p in enumerate(parts) if old in p)
            h.sse(parts[:last + 1] + parts[last:])
        Case(api, lambda n, body: twice, requests=1, out="good")
    return every(row)


def test_28_error_in_the_stream():
    def row(api):
        def busy(h):
            parts = h.payloads(text("half an answer"))
            h.sse(parts[:len(parts) // 2] + [h.api.in_stream(h.api.overloaded)])
        case = retried(api, busy)
        check("half" in case.faults()[0].get("partial", ""), case.faults())

        def wrong(h):
            h.sse(h.payloads(text("x"))[:2] + [h.api.in_stream(dict(h.api.error("bad prompt", kind="invalid_request_error"),
                                                                    **({"type": "error"} if h.api.name != "chat" else {})))])
        final(api, wrong, "bad prompt")
    return every(row)


def test_29_withheld():
    def row(api):
        case = Case(api, lambda n, body: text("I cannot", finish="content_filter"), status=5, requests=1)
        check("withheld" in case.err, case.err)
    return every(row, (*MAIN, "gemini"))


def test_30_cut_off_inside_a_call():
    def row(api):
        cut = dict(COUNT, calls=[("c", "bash", '{"command": "echo x >> co')], finish="length", reasoning="")
        case = Case(api, lambda n, body: cut if n == 0 else text("ok"), requests=2, out="ok")
        check("count" not in case.files and "cut off" in case.results()[0]["text"], case.results())
        whole = Case(api, lambda n, body: dict(COUNT, finish="length") if n == 0 else text("ok"), requests=2, out="ok")
        check("count" not in whole.files, "a call of an answer that was cut off ran")
    return every(row)


WORDINGS = [
    "prompt is too long: 213462 tokens > 200000 maximum", "Your input exceeds the context window of this model. Please adjust your input and try again.",
    "This model's maximum context length is 128000 tokens. However, your messages resulted in 130000 tokens.",
    "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575).",
    "This model's maximum prompt length is 131072 but the request contains 537812 tokens",
    "Please reduce the length of the messages or completion.", "Input is too long for requested model.",
    "the request exceeds the available context size, try increasing it", "tokens to keep from the initial prompt is greater than the context length",
    "Invalid request: Your request exceeded model token limit: 262144 (requested: 300000)", "prompt token count of 200000 exceeds the limit of 128000",
    "invalid params, context window exceeds limit (2013)", "Prompt contains 300000 tokens and is too large for model with 131072 maximum context length",
    "prompt too long; exceeded max context length by 4 tokens", "model_context_window_exceeded", "context length exceeded: 40000 > 32768",
    "Range of input length should be [1, 98304]",
]


def test_31_too_long():
    """What was read first goes, once, and the request is sent again; when that does not help either it is said."""
    reads = calls(*[("read", {"path": "big.txt"})] * 4)

    def prepare(place):
        place.write("big.txt", "a line of some length\n" * 500)

    def row(api):
        refusals = [lambda h, w=w: h.error(400, w) for w in WORDINGS]
        refusals += [lambda h: h.plain(413, "", "text/plain"), lambda h: h.plain(400, "", "text/plain"),
                     lambda h: h.error(400, "no", code="context_length_exceeded")]
        for refuse in refusals:
            seen = []

            def answers(n, _body, refuse=refuse, seen=seen):
                if n == 0:
                    return reads
                seen.append(1)
                return refuse if len(seen) == 1 else text("good")
            case = Case(api, answers, requests=3, out="good", prepare=prepare)
            compact = [b for _, b in story(case.events, "compact")]
            check(len(compact) == 1 and compact[0]["after"] < compact[0]["before"] * 0.7, compact)
            check(len(case.mock.raw[2]) < len(case.mock.raw[1]) * 0.8, "it is not shorter")
        Case(api, lambda n, body: reads if n == 0 else lambda h: h.error(400, WORDINGS[0]), requests=3, status=5, prepare=prepare)
        Case(api, lambda n, body: lambda h: h.error(400, WORDINGS[0]), requests=1, status=5)
    return every(row)


def test_32_truncated_in_silence():
    def row(api):
        usage = [{"in": 4000, "cached": 0, "written": 0, "out": 5}, {"in": 2048, "cached": 0, "written": 0, "out": 5}]
        case = Case(api, lambda n, body: dict(COUNT if n == 0 else text("ok"), usage=usage[min(n, 1)]), requests=2, out="ok")
        check(story(case.events, "anomaly")[0][1]["what"] == "truncated" and "fewer tokens" in case.err, case.err)
        case = Case(api, lambda n, body: text("ok", usage={"in": 100, "cached": 0, "written": 0, "out": 5}), requests=1, out="ok")
        check(story(case.events, "anomaly"), "the first request counts too")
        case = Case(api, lambda n, body: COUNT if n == 0 else text("ok"), requests=2, out="ok")
        check(not story(case.events, "anomaly"), "nothing was truncated")
    return every(row)


def test_33_34_36_calls_that_are_none():
    def row(api):
        for name, args in (("bash", '{"command": "echo'), ("bash", '{"command": {"a": 1}}'), ("bash", '{"cmd": null}'), ("nobody", "{}"),
                           ("read it", "{}"), ("x" * 10000, "{}"), ("write", '{"path": 7, "content": null, "more": 1}')):
            def seen(n, _body, name=name, args=args):
                return {"text": "", "calls": [(f"c{n}", name, args)]}
            case = Case(api, lambda n, body: seen(n, body) if n == 0 else text("ok"), requests=2, out="ok")
            check(case.results()[0]["text"].startswith("Not run"), case.results())
            Case(api, seen, requests=3, status=6)
    return every(row)


def test_35_calls_in_another_dress():
    def row(api):
        for name, args in (("bash", json.dumps(json.dumps({"command": "echo x >> count"}))), ("todo", ""), ("bash", '{"command":"echo x >> count",}')):
            case = Case(api, lambda n, body: {"text": "", "calls": [("c1", name, args)]} if n == 0 else text("ok"), requests=2, out="ok")
            check(name != "bash" or case.files.get("count") == b"x\n", args, case.results())
    return every(row)


def test_37_ids():
    def row(api):
        def same(h):
            parts = h.payloads(calls(("bash", {"command": "echo x >> count"}), ("bash", {"command": "echo y >> count"})))
            h.sse([p.replace("call_1", "call_0") for p in parts])
        case = Case(api, lambda n, body: same if n == 0 else text("ok"), requests=2, out="ok")
        check(case.files["count"] == b"x\ny\n" and len(case.results()) == 2, case.files)

        def none(h):
            key = "call_id" if h.api.name == "responses" else "id"
            h.sse([p.replace(f'"{key}": "call_bash"', f'"{key}": null') for p in h.payloads(dict(COUNT, reasoning=""))])
        case = Case(api, lambda n, body: none if n == 0 else text("ok"), requests=2, out="ok")
        check(case.files["count"] == b"x\n", case.files)
    return every(row)


def test_38_many_calls():
    def row(api):
        for n in (1, 8, 128):
            many = calls(*[("bash", {"command": f"echo {i} >> order"}) for i in range(n)])
            case = Case(api, lambda k, body, m=many: m if k == 0 else text("ok"), requests=2, out="ok", timeout=120)
            check(case.files["order"].split() == [str(i).encode() for i in range(n)], n)
            check([r["call"] for r in case.results()] == sorted((r["call"] for r in case.results()), key=lambda c: int(c.split(".")[1])))
    return every(row)


def test_39_one_denied_one_broken():
    def row(api):
        with Place() as place, Apis([calls(("read", {"path": "a"}), ("bash", {"command": "kill -9 $$"}), ("write", {"path": "w", "content": "w"})),
                                     text("ok")]) as mock:
            place.write("a", "a\n")
            out = place.rein("exec", *mock.options(api), *QUICK, "--mode", "ask", "go")
            check(out.returncode == 3, out)
            out = place.rein("resume", "--last", "--answer", "5.2=yes", "--answer", "5.3=no")
            check(out.returncode == 0 and not mock.refused and len(mock.raw) == 2, out, mock.refused)
            results = [b for _, b in story(place.events(), "result")]
            check(len(results) == 3 and len({r["call"] for r in results}) == 3 and not os.path.exists(place.path("w")), results)
    return every(row)


def test_40_finish_and_calls_disagree():
    def row(api):
        case = Case(api, lambda n, body: dict(COUNT, finish="stop") if n == 0 else text("ok"), requests=2, out="ok")
        check(case.files["count"] == b"x\n")
        Case(api, lambda n, body: text("good", finish="tool_use" if api == "messages" else "tool_calls"), requests=1, out="good")
    return every(row, (*MAIN, "gemini"))


def test_41_a_refused_history_is_no_loop():
    def row(api):
        case = Case(api, lambda n, body: COUNT if n == 0 else lambda h: h.error(400, "Invalid `signature` in `thinking` block"), status=5, requests=2)
        check("signature" in case.err, case.err)
    return every(row)


def test_42_unknown_events():
    def row(api):
        odd = ['event: future\ndata: {"type":"response.future.delta","x":[1,2,{"y":null}],"output_index":0}\n\n',
               'data: {"type":"content_block_delta","index":0,"delta":{"type":"hologram_delta","z":1}}\n\n', "event: nothing\n\n"]

        def send(h):
            h.sse([q for p in h.payloads(dict(COUNT)) for q in ([*odd, p] if "[DONE]" not in p else [p])])
        case = Case(api, lambda n, body: send if n == 0 else text("ok"), requests=2, out="ok")
        check(case.files["count"] == b"x\n")
    return every(row)


def test_43_encodings_of_the_transfer():
    import gzip

    def row(api):
        def zipped(h):
            data = gzip.compress("".join(h.payloads(text("good"))).encode())
            h.sse([data[i:i + 50] for i in range(0, len(data), 50)], headers=[("Content-Encoding", "gzip")])
        Case(api, lambda n, body: zipped, requests=1, out="good")

        def trailers(h):
            h.send_response(200)
            h.send_header("Content-Type", "text/event-stream; charset=utf-8")
            h.send_header("Transfer-Encoding", "chunked")
            h.send_header("Trailer", "X-Sum")
            h.end_headers()
            h.sse_more(h.payloads(text("good")), end=False)
            h.wfile.write(b"0;ext=1\r\nX-Sum: 1\r\n\r\n")
        Case(api, lambda n, body: trailers, requests=1, out="good")

        def first(h):
            h.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            h.sse(h.payloads(text("good")))
        Case(api, lambda n, body: first, requests=1, out="good")
        Case(api, lambda n, body: lambda h: h.plain(200, json.dumps(h.api.whole(h.mock, text("good"), h.body))), requests=1, out="good")
    return every(row)


def test_44_connections():
    def row(api):
        def old(h):
            h.close_connection = True
            h.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + "".join(h.payloads(COUNT)).encode())

        def dies(h):                    # the kept connection is dead when it is used again
            h.sse(h.payloads(COUNT))
            h.hang_up()
        for first in (old, dies):
            case = Case(api, lambda n, body, f=first: f if n == 0 else text("ok"), requests=2, out="ok")
            check(not case.faults(), case.faults())
    return every(row)


def test_45_redirects():
    def row(api):
        with Apis([text("thief")]) as other:
            for status in (301, 302, 307, 308):
                case = final(api, lambda h, s=status: h.plain(s, "", headers=[("Location", other.url(h.api.name) + "/x")]), "does not follow")
                check(not other.raw and not other.gets, "the request went on", case.err)
    return every(row)


def test_53_signals():
    import signal

    def row(api):
        for signo in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            with Place() as place, Apis(once(lambda h: (h.sse(h.payloads(text("half an answer"))[:5], end=False), slow(h, 3)), text("good"))) as mock:
                p = place.start("exec", *mock.options(api), "go")
                while not mock.raw:
                    time.sleep(0.01)
                time.sleep(0.2)
                began = time.monotonic()
                p.send_signal(signo)
                p.communicate(timeout=10)
                check(p.returncode == 130 and time.monotonic() - began < 2, signo, p.returncode)
                check(place.events()[-1]["kind"] == "end")
                check(place.rein("resume", "--last").stdout == b"good\n" and not mock.refused, mock.refused)
    return every(row)


def test_54_cancelled_in_a_tool():
    import signal

    def row(api):
        with Place() as place, Apis([call("bash", {"command": "touch begun; sleep 60"}, reasoning="hm"), text("good")]) as mock:
            p = place.start("exec", *mock.options(api), "--mode", "open", "go")
            while not os.path.exists(place.path("begun")):
                time.sleep(0.01)
            p.send_signal(signal.SIGINT)
            p.communicate(timeout=10)
            check(p.returncode == 130)
            check(story(place.events(), "result")[0][1]["outcome"] == "cancelled")
            check(place.rein("resume", "--last", "and now?").stdout == b"good\n" and not mock.refused, mock.refused)
    return every(row, (*MAIN, "gemini"))


def test_55_usage_that_cannot_be():
    def row(api):
        for usage in (None, {"in": 0, "cached": 0, "written": 0, "out": 0}, {"in": -5, "cached": 0, "written": 0, "out": 3},
                      {"in": 100, "cached": 900, "written": 0, "out": 3}):
            case = Case(api, lambda n, body, u=usage: text("good", usage=u), requests=1, out="good")
            got = story(case.events, "answer")[0][1]["usage"]
            check(got["estimated"] and got["in"] > 0 and got["out"] >= 0 and got["cached"] == 0, api, usage, got)
        case = Case(api, lambda n, body: text("good"), requests=1, out="good")
        check(not story(case.events, "answer")[0][1]["usage"]["estimated"])
    return every(row)
