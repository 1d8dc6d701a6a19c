"""Streams cut at every byte, and sessions under a rain of faults: the same in the end."""
import json
import os
import random
import subprocess
import tempfile
import threading

from lib.apis import APIS, Apis, call, calls, text
from lib.rein import RELEASE, TOP, Place, check, story

FULL = False
STREAM = 4096


def long_stream(api, size):
    """So many bytes of a stream with everything in it, line ends of all kinds and characters of every length."""
    for words in range(1, 4000):
        answer = call("write", {"path": "u.txt", "content": "h\u00e9 \u4e16 \U0001f600 \"q\" \\n"}, words="\u00fc\u4e16\U0001f600x" * words,
                      reasoning="think \u00e4")
        with_usage = {"stream_options": {"include_usage": True}}
        data = b"\xef\xbb\xbf: hello\r\n\r\n" + "".join(APIS[api].stream(Fake(), answer, with_usage)).replace("\n\n", "\r\n\r\n", 5).encode()
        if len(data) > size - 3:
            break
        last = data
    return b":" + b"x" * (size - len(last) - 2) + b"\n" + last


class Fake:
    def __init__(self):
        self.model, self.given, self.foreign = "served-1", {}, {}


def test_cut_at_every_byte():
    for api in APIS:
        size = 2 * STREAM if api == "responses" else STREAM         # its events say everything three times
        with tempfile.TemporaryDirectory() as top:
            path = os.path.join(top, "stream")
            data = long_stream(api, size)
            check(len(data) == size, len(data))
            with open(path, "wb") as f:
                f.write(data)
            out = subprocess.run([os.path.join(TOP, "build-test", "test", "fuzz-" + api), "cuts", path], stdout=subprocess.PIPE, timeout=300, check=True)
            check(out.stdout.decode().strip() == f"{size} of {size}", api, out.stdout)
    return STREAM * (len(APIS) + 1)


def faults(rng):
    """What happens to one request: nothing, or something that passes."""
    def part(h, answer, how):
        parts = h.payloads(answer)
        k = rng.randrange(max(1, len(parts) - 3))
        half = parts[k][:rng.randrange(len(parts[k]) + 1)]
        h.sse([*parts[:k], half], end=how == "end")
        if how != "end":
            getattr(h, how)()
    kinds = [lambda h, a: h.error(503, "busy"), lambda h, a: h.error(529, "overloaded"), lambda h, a: h.error(500, "broken"),
             lambda h, a: h.plain(502, "<html>", "text/html"), lambda h, a: h.plain(200, ""), lambda h, a: h.cut(), lambda h, a: h.hang_up(),
             lambda h, a: part(h, a, "cut"), lambda h, a: part(h, a, "hang_up"), lambda h, a: part(h, a, "end"),
             lambda h, a: h.sse(h.payloads(a)[:2] + [h.api.in_stream(h.api.overloaded)]), lambda h, a: h.sse(["data: {broken\n\n"]),
             lambda h, a: h.error(408, "timeout"), lambda h, a: h.error(409, "conflict"),
             lambda h, a: h.error(503, "busy", headers=[("retry-after-ms", "3")])]
    return rng.choice(kinds)


STORY = [call("read", {"path": "a.txt"}, words="First I look.", reasoning="Look."),
         calls(("bash", {"command": "echo x >> count"}), ("read", {"path": "a.txt"}), reasoning="Then I count."),
         call("edit", {"path": "a.txt", "edits": [{"old": "one", "new": "two"}]}, words="Now I change it.", reasoning="Change."),
         text("All is done, as was asked.", reasoning="Sum up.")]


def transcript(place):
    """What was said and done, without what chance decides: times, ids, hashes."""
    out = []
    for kind, b in story(place.events(), "answer", "result", "end"):
        if kind == "answer":
            out.append((kind, b["text"], json.dumps(b.get("extra")), [(c["name"], c["args"]) for c in b["calls"]], b["finish"]))
        elif kind == "result":
            out.append((kind, b["tool"], b["outcome"], b["text"].replace(place.top, "TOP")))
        else:
            out.append((kind, b["outcome"], b["calls"]))
    return out


def play(api, seed, rate):
    rng = random.Random(seed)
    with Place(RELEASE) as place, Apis(lambda n, body: None) as mock:
        def answer(n, _body):
            good = STORY[min(n, len(STORY) - 1)]
            if rng.random() >= rate:
                return good
            bad = faults(rng)
            return lambda h: bad(h, good)
        mock.answers = answer
        place.write("a.txt", "one\n")
        out = place.rein("exec", *mock.options(api), "--mode", "open", "--backoff", "0.001", "--retries", "40", "go", timeout=120)
        check(out.returncode == 0 and not mock.refused, api, seed, out.stderr.decode()[-1500:], mock.refused)
        check(place.read("count") == b"x\n" and place.read("a.txt") == b"two\n", api, seed)
        check(len(mock.raw) == len(STORY) + len(story(place.events(), "fault")), "requests", api, seed)
        return transcript(place), len(mock.raw) - len(STORY)


def test_seeds():
    """Three requests of ten fail, in one of fifteen ways: the transcript is that of a session without faults."""
    seeds = 1000 if FULL else 200
    apis = list(APIS)
    want = {api: play(api, 0, 0)[0] for api in apis}
    wrong, failed, lock = [], [0], threading.Lock()
    todo = iter(range(1, seeds + 1))

    def work():
        for seed in iter(lambda: next(todo, None), None):
            api = apis[seed % len(apis)]
            try:
                got, n = play(api, seed, 0.3)
            except Exception as e:  # pylint: disable=broad-except
                got, n = str(e), 0
            with lock:
                failed[0] += n
                if got != want[api]:
                    wrong.append((api, seed, got))
    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    print(f"peer/seeds: {seeds} sessions, {failed[0]} requests failed, {len(wrong)} with another transcript", flush=True)
    check(not wrong, wrong[:2])
    check(failed[0] > seeds, "that is no rain", failed[0])
    return seeds
