"""The benchmark runs and its figures that are not times hold."""
import json
import os
import subprocess
import sys

from lib.rein import TOP, check


def test_smoke():
    path = os.path.join(TOP, "build-test", "bench.json")
    out = subprocess.run([sys.executable, os.path.join(TOP, "bench", "run.py"), "--quick", "--json", path], stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, timeout=200, check=False)
    check(out.returncode == 0, out.stdout.decode()[-2000:])
    with open(path, encoding="utf-8") as f:
        rows = json.load(f)
    repeated = [r for r in rows if r["figure"].startswith("requests that repeat")]
    check(len(repeated) == 3 and all(r["rein"] == r["floor"] for r in repeated), repeated)
    memory = [r for r in rows if r["figure"].startswith("private memory")]
    check(len(memory) == 3 and all(r["met"] for r in memory), memory)
