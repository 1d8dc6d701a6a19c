"""The word-for-word record: what a service sent stands in the log, byte for byte, beside the hash of what was asked."""
import base64
import ctypes
import hashlib
import json
import random

from lib.apis import APIS, Apis, call, once, text
from lib.rein import Place, Skip, check, story


def unpack(events, request):
    """What was received for a request."""
    try:
        zstd = ctypes.CDLL("libzstd.so.1")
    except OSError as e:
        raise Skip(str(e)) from e
    parts = [b for _, b in story(events, "wire") if b["request"] == request]
    check([p["part"] for p in parts] == list(range(1, len(parts) + 1)) and all(p["parts"] == len(parts) for p in parts), parts)
    data = b"".join(base64.b64decode(p["data"]) for p in parts)
    out = ctypes.create_string_buffer(64 << 20)
    zstd.ZSTD_decompress.restype = ctypes.c_size_t
    n = zstd.ZSTD_decompress(out, ctypes.c_size_t(len(out)), data, ctypes.c_size_t(len(data)))
    check(n <= len(out), "it does not decompress")
    return out.raw[:n]


def test_every_answer_is_recorded():
    for api in APIS:
        sent = []

        def answer(n, _body, sent=sent):
            def send(h):
                data = h.payloads(call("read", {"path": "a"}, reasoning="hm") if n == 0 else text("\u4e16" * 3000))
                sent.append("".join(data).encode())
                h.sse(data)
            return send
        with Place() as place, Apis(answer) as mock:
            out = place.rein("exec", *mock.options(api), "--mode", "open", "go")
            check(out.returncode == 0, out)
            events = place.events()
            asked = [(e["seq"], e["body"]["hash"]) for e in events if e["kind"] == "request"]
            check([h for _, h in asked] == [hashlib.sha256(r).hexdigest() for r in mock.raw], "the requests")
            check([unpack(events, seq) for seq, _ in asked] == sent, "the answers")
            check(place.rein("log", "verify", "--last").returncode == 0)


def test_faults_and_long_answers_too():
    """An error's body, the half of a stream that broke, and more than one event can hold."""
    some = random.Random(7)
    noise = "".join(some.choices("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", k=800000))
    with Place() as place, Apis(once(lambda h: h.error(503, "busy"), lambda n: lambda h: h.sse(h.payloads(text("x")) * 1, end=True))) as mock:
        check(place.rein("exec", *mock.options("chat"), "--backoff", "0.01", "go").returncode == 0)
        events = place.events()
        first = [e["seq"] for e in events if e["kind"] == "request"][0]
        check(json.loads(unpack(events, first))["error"]["message"] == "busy" and story(events, "wire")[0][1]["status"] == 503)
    with Place() as place, Apis([text(noise)]) as mock:
        out = place.rein("exec", *mock.options("messages"), "go")
        check(out.returncode == 0 and out.stdout.decode() == noise + "\n", out.stderr)
        events = place.events()
        check(len(story(events, "wire")) > 1, "several parts")
        with Apis([text("x")]) as other:
            check(unpack(events, [e["seq"] for e in events if e["kind"] == "request"][0]) ==
                  "".join(APIS["messages"].stream(other, text(noise), {})).encode().replace(b"served-1", other.model.encode()))
