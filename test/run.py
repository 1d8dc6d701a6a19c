#!/usr/bin/env python3
"""./dev test [--full] [NAME...]: runs everything, or what has NAME in its name, and ends with the counts."""
import concurrent.futures
import glob
import importlib.util
import os
import re
import subprocess
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from lib import scenario, totals  # noqa: E402
from lib.rein import Skip  # noqa: E402


def unit(path):
    def run():
        out = subprocess.run([path], env=dict(os.environ, CMOCKA_MESSAGE_OUTPUT="TAP"), stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, timeout=300, check=False)
        text = out.stdout.decode(errors="replace")
        good, bad = len(re.findall(r"^ok ", text, re.M)), len(re.findall(r"^not ok ", text, re.M))
        if out.returncode or bad or not good:
            raise AssertionError(text[-4000:])
        return good
    return run


def load(path):
    spec = importlib.util.spec_from_file_location(os.path.basename(path)[:-3], path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def collect(full):
    """(name, function) for every test; a function returns nothing, or how many it stands for."""
    tests = []
    for path in sorted(glob.glob(os.path.join(HERE, "..", "build-test", "test", "unit-*"))):
        if os.access(path, os.X_OK) and os.path.isfile(path):
            tests.append(("unit/" + os.path.basename(path)[5:], unit(path)))
    for path in sorted(glob.glob(os.path.join(HERE, "script", "*.t"))):
        tests.append(("script/" + os.path.basename(path)[:-2], lambda p=path: scenario.play(p)))
    for folder in ("fuzz", "tool", "peer", "crash", "bench"):
        for path in sorted(glob.glob(os.path.join(HERE, folder, "test_*.py"))):
            module = load(path)
            module.FULL = full
            for name in dir(module):
                if name.startswith("test_"):
                    tests.append((f"{folder}/{name[5:]}", getattr(module, name)))
    return tests


def one(test):
    name, function = test
    began = time.monotonic()
    try:
        count = function() or 1
        return name, count, None, time.monotonic() - began
    except Skip as e:
        return name, 0, "skipped: " + str(e), time.monotonic() - began
    except Exception as e:  # pylint: disable=broad-except
        detail = str(e) if isinstance(e, AssertionError) and str(e) else traceback.format_exc()
        return name, 0, "FAILED: " + detail[:4000], time.monotonic() - began


def main():
    full = "--full" in sys.argv
    wanted = [a for a in sys.argv[1:] if not a.startswith("-")]
    tests = [t for t in collect(full) if not wanted or any(w in t[0] for w in wanted)]
    passed = failed = skipped = 0
    failures = []
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for name, count, trouble, took in pool.map(one, tests):
            passed += count
            if trouble and trouble.startswith("skipped"):
                skipped += 1
            elif trouble:
                failed += 1
                words = " ".join(trouble.split())
                failures.append(f"{name}: {words if len(words) < 800 else words[:400] + ' ... ' + words[-400:]}")
            if trouble or took > 5 or wanted:
                print(f"{name}: {trouble or 'ok'} ({took:.1f} s)", flush=True)
    if totals.counts:
        print("in all, without a violation: " + ", ".join(totals.lines()))
    print(f"{time.monotonic() - began:.0f} s")
    # Again at the end, since a log that is shown in part is shown from its end.
    for line in failures:
        print(line)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
