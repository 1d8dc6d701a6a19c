"""Every parser of foreign bytes over its corpus and variants of it; with --full under libFuzzer, a minute each."""
import os
import subprocess
import tempfile

from lib.rein import TOP, check

FULL = False
VARIANTS = 4000
ENV = dict(os.environ, UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1")


def replay(name):
    corpus = os.path.join(TOP, "test", "fuzz", "corpus", name)
    out = subprocess.run([os.path.join(TOP, "build-test", "test", "fuzz-" + name), corpus, str(VARIANTS)], env=ENV,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300, check=False)
    check(out.returncode == 0, out.stdout.decode(errors="replace")[-3000:])
    if FULL:
        fuzz(name, corpus)


def fuzz(name, corpus):
    with tempfile.TemporaryDirectory() as top:
        program = os.path.join(top, "fuzz")
        sources = [os.path.join(TOP, "test", "fuzz", name + ".c")]
        for part in ("base", "rt", "core", "provider", "tool", "env"):
            folder = os.path.join(TOP, "src", part)
            sources += [os.path.join(folder, f) for f in sorted(os.listdir(folder)) if f.endswith(".c")
                        and not (part == "provider" and f == name + ".c")]
        sources.append(os.path.join(TOP, "build", "assets.c"))
        command = ["clang", "-g", "-O1", "-std=gnu11", "-w", "-D_GNU_SOURCE", "-DREIN_VERSION=\"fuzz\"", "-fsanitize=fuzzer,address,undefined",
                   "-I" + os.path.join(TOP, "src"), "-o", program, *sources, "-luv", "-lsqlite3", "-ljansson", "-lnettle", "-lyaml", "-lpcre2-8", "-lzstd", "-lm"]
        out = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        check(out.returncode == 0, out.stdout.decode()[-3000:])
        work = os.path.join(top, "work")
        os.mkdir(work)
        out = subprocess.run([program, "-max_total_time=60", "-rss_limit_mb=2048", "-max_len=20000", work, corpus], cwd=top,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        tail = out.stdout.decode(errors="replace")
        check(out.returncode == 0, tail[-3000:])
        print(f"fuzz/{name}: {tail.strip().splitlines()[-1]}", flush=True)


def test_sse():
    replay("sse")


def test_js():
    replay("js")


def test_yaml():
    replay("yaml")


def test_args():
    replay("args")


def test_text():
    replay("text")


def test_chat():
    replay("chat")


def test_messages():
    replay("messages")


def test_responses():
    replay("responses")


def test_gemini():
    replay("gemini")
