"""What sessions share: a key that is refused pauses for all of them, and a budget that nobody exceeds."""
import json
import os
import signal
import threading
import time

from lib.apis import Apis, call, once, text
from lib.rein import RELEASE, Place, check, story

SESSIONS = 50
PRICE = {"in": 1000000, "out": 4000000}         # millionths of a dollar per million tokens: 1 and 4 dollars


class Limited:
    """A server that takes so many requests a second, and refuses the rest."""

    def __init__(self, per_second, good):
        self.per_second, self.good = per_second, good
        self.taken, self.refused, self.lock = [], [], threading.Lock()

    def __call__(self, n, body):
        now = time.monotonic()
        with self.lock:
            if sum(now - t < 1 for t in self.taken) >= self.per_second:
                self.refused.append(now)
                return lambda h: h.error(429, "slow down", kind="rate_limit_error", headers=[("retry-after", "0.3")])
            self.taken.append(now)
        return self.good(n, body)


def test_fifty_sessions_on_one_key():
    """Every session ends well; refused requests are few; and whoever came first is not last."""
    limit = Limited(20, lambda n, body: call("read", {"path": "a.txt"}) if n < 2 else text("done"))
    with Place(RELEASE) as place, Apis(limit, key="shared-key-123456") as mock:
        place.write("a.txt", "a\n")
        ends = {}

        def run(i):
            out = place.rein("exec", *mock.options("chat"), "--key-env", "K", "--mode", "open", "go", env={"K": "shared-key-123456"}, timeout=200)
            ends[i] = (out.returncode, time.monotonic() - began, out.stderr.decode()[-300:])
        began = time.monotonic()
        threads = [threading.Thread(target=run, args=(i,)) for i in range(SESSIONS)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        took = time.monotonic() - began
        times = sorted(t for _, t, _ in ends.values())
        check(all(code == 0 for code, _, _ in ends.values()), [e for e in ends.values() if e[0]][:3])
        busiest = max(sum(0 <= u - t < 1 for u in mock.times) for t in mock.times)
        print(f"peer/quota: {SESSIONS} sessions of 3 requests, 20 a second allowed: {len(mock.raw)} requests in {took:.1f} s, "
              f"{len(limit.refused)} refused, at most {busiest} in one second; sessions ended after {times[0]:.1f} to {times[-1]:.1f} s, "
              f"the middle one {times[len(times) // 2]:.1f}", flush=True)
        check(len(limit.taken) == 3 * SESSIONS and not mock.refused, len(limit.taken), mock.refused[:2])
        # The first rush cannot know of the limit; after it nearly nothing is refused.
        late = [t for t in limit.refused if t - mock.times[0] > 3]
        check(len(limit.refused) <= 2 * SESSIONS and len(late) <= SESSIONS // 5, len(limit.refused), len(late))


def test_the_pause_outlives_its_session():
    """A second rein, started while the key has to wait, waits before it asks for anything; so does one after kill -9."""
    with Place() as place, Apis(once(lambda h: h.error(429, "slow", kind="rate_limit_error", headers=[("retry-after", "2")]), text("ok"))) as mock:
        p = place.start("exec", *mock.options("messages"), "go")
        while not mock.raw:
            time.sleep(0.01)
        time.sleep(0.3)
        p.kill()
        p.communicate()
        out = place.rein("exec", *mock.options("messages"), "go")
        check(out.returncode == 0, out)
        gap = mock.times[1] - mock.times[0]
        check(gap >= 1.9, "it did not wait for the key", gap)
        out = place.rein("exec", *mock.options("chat"), "go")
        check(out.returncode == 0, out)             # another address, another quota


def test_too_long_a_pause_is_reported():
    with Place() as place, Apis(lambda n, body: lambda h: h.error(429, "slow", kind="rate_limit_error", headers=[("retry-after", "60")])) as mock:
        out = place.rein("exec", *mock.options("chat"), "--patience", "5", "go")
        check(out.returncode == 5 and len(mock.raw) == 1, out)
        out = place.rein("exec", *mock.options("chat"), "--patience", "5", "go")
        check(out.returncode == 5, out)


def cost(body):
    usage = body["usage"]
    return (usage["in"] * PRICE["in"] + usage["out"] * PRICE["out"]) // 1000


def set_up(place, **budgets):
    os.makedirs(place.home, exist_ok=True)
    with open(os.path.join(place.home, "config.yaml"), "w", encoding="utf-8") as f:
        f.write("models:\n  mock/m: {output: 2000, price: {in: 1, out: 4}}\nbudgets: " + json.dumps(budgets) + "\n")


def spend(place, mock, sessions, *args):
    """What sessions at once have cost, by what the server counted, and how they ended."""
    codes = []

    def run():
        codes.append(place.rein("exec", *mock.options("chat"), "--mode", "open", *args, "go", timeout=60).returncode)
    threads = [threading.Thread(target=run) for _ in range(sessions)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return codes


def test_sixty_four_requests_on_one_budget():
    """The server counts what it is owed: never more than the budget, whoever is first."""
    owed, peak, lock = [0], [0], threading.Lock()

    def answer(n, body):
        with lock:
            usage = {"in": 3000, "cached": 0, "written": 0, "out": 2000}
            owed[0] += (usage["in"] * PRICE["in"] + usage["out"] * PRICE["out"]) // 1000
            peak[0] = max(peak[0], owed[0])
        return lambda h: (time.sleep(0.2), h.sse(h.payloads(dict(call("read", {"path": "a.txt"}) if n < 2 else text("done"), usage=usage))))
    cap = 0.5
    with Place(RELEASE) as place, Apis(answer) as mock:
        set_up(place, team=str(cap))
        place.write("a.txt", "a\n")
        codes = spend(place, mock, 64, "--budget", "team", "--patience", "3")
        check(set(codes) <= {0, 4} and codes.count(4) > 0 and len(mock.raw) > 10, codes)
        print(f"peer/budget: 64 sessions on {cap} dollars: {len(mock.raw)} requests, {owed[0] / 1e9:.4f} dollars owed, "
              f"{codes.count(0)} sessions done, {codes.count(4)} stopped", flush=True)
        check(owed[0] <= cap * 1e9, "above the budget", owed[0])
        codes = spend(place, mock, 1, "--budget", "team", "--patience", "1")
        check(codes == [4], "nothing is left of it", codes)


def test_what_is_not_needed_is_given_back():
    """A request that a person cuts short costs what it may have read, and not all that was set aside for it."""
    with Place() as place, Apis(lambda n, body: (lambda h: time.sleep(5)) if len(mock.raw) == 2 else text("ok")) as mock:
        set_up(place, team="1")
        check(place.rein("exec", *mock.options("chat"), "--budget", "team", "go").returncode == 0)
        reserve = story(place.events(), "request")[0][1]["reserve_cost"] / 1e9
        set_up(place, other=f"{reserve * 1.8:.9f}")
        p = place.start("exec", *mock.options("chat"), "--budget", "other", "go")
        while len(mock.raw) < 2:
            time.sleep(0.01)
        time.sleep(0.2)
        p.send_signal(signal.SIGINT)
        p.communicate(timeout=10)
        check(p.returncode == 130)
        out = place.rein("exec", *mock.options("chat"), "--budget", "other", "--patience", "1", "go")
        check(out.returncode == 0, "all of it is still set aside", out)


def test_budget_of_a_session():
    """The sum in the log is the sum of what the server counted, and stays below."""
    usage = {"in": 2000, "cached": 500, "written": 0, "out": 300}
    with Place() as place, Apis(lambda n, body: call("read", {"path": "a.txt"}, usage=usage)) as mock:
        set_up(place)
        place.write("a.txt", "a\n")
        out = place.rein("exec", *mock.options("chat"), "--mode", "open", "--budget-usd", "0.05", "go")
        check(out.returncode == 4, out)
        answers = [b for _, b in story(place.events(), "answer")]
        end = story(place.events(), "end")[-1][1]
        check(all(a["cost"] == 2000 * 1000 + 300 * 4000 for a in answers), answers[0])
        check(end["cost"] == sum(a["cost"] for a in answers) <= 50000000 and len(answers) > 5, end, len(answers))
        check(mock.bodies[0]["max_tokens"] == 2000, "the answer's length is bounded, since it is paid for")
        out = place.rein("exec", "--model", "mock/unknown", "--base-url", mock.url("chat"), "--budget-usd", "1", "go")
        check(out.returncode == 2 and b"price" in out.stderr, out)


def test_a_crash_costs_what_was_set_aside():
    with Place() as place, Apis(lambda n, body: (lambda h: time.sleep(3)) if len(mock.raw) == 1 else text("ok")) as mock:
        set_up(place)
        p = place.start("exec", *mock.options("chat"), "--budget-usd", "0.5", "go")
        while not mock.raw:
            time.sleep(0.01)
        p.kill()
        p.communicate()
        check(place.rein("resume", "--last").returncode == 0)
        events = place.events()
        reserve = story(events, "request")[0][1]["reserve_cost"]
        check(story(events, "end")[-1][1]["cost"] == reserve + story(events, "answer")[0][1]["cost"], reserve, events[-1])
