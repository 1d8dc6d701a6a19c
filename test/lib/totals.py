"""What the tests have counted, printed together at the end of a run."""
import threading

counts = {}
lock = threading.Lock()


def add(what, n):
    with lock:
        counts[what] = counts.get(what, 0) + n


def lines():
    return [f"{n:,} {what}" for what, n in sorted(counts.items())]
