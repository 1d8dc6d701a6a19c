"""The server that judges rein is judged by the official clients, and rein by another server with chaos turned on."""
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request

from lib.apis import Apis, call, text
from lib.node import MODULES
from lib.rein import TOP, Place, Skip, check, story


def needs(*packages):
    if not shutil.which("node"):
        raise Skip("node is not installed")
    for package in packages:
        if not os.path.isdir(os.path.join(MODULES, package)):
            raise Skip(f"{package} is not installed; ./dev setup fetches it from the npm registry")


def test_official_sdks():
    """openai, @anthropic-ai/sdk and @google/genai, unmodified, against the validating server: what is right passes, what is wrong is
    refused."""
    needs("openai", "@anthropic-ai/sdk", "@google/genai")
    answers = [call("read", {"path": "a.txt"}, words="Let me see.", reasoning="I should read."), text("All done.")]
    with Apis(answers, key="key-for-tests") as mock:
        out = subprocess.run(["node", os.path.join(TOP, "test", "lib", "sdk.mjs"), MODULES, mock.origin], stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, timeout=120, check=False)
        check(out.returncode == 0, out.stdout.decode()[-3000:], mock.refused)
        check(len(mock.refused) == 7, mock.refused)
    return int(out.stdout.split()[0])


class Aimock:
    def __init__(self, fixtures, *flags):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.process = subprocess.Popen(["node", os.path.join(MODULES, "@copilotkit", "aimock", "dist", "cli.js"), "-p", str(self.port), "-f", fixtures,
                                         "--log-level", "silent", *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(400):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                break
            except OSError:
                time.sleep(0.05)

    def journal(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/__aimock/journal") as f:
            return json.load(f)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


FIXTURES = {"fixtures": [
    {"match": {"userMessage": "go", "hasToolResult": False},
     "response": {"toolCalls": [{"name": "bash", "arguments": "{\"command\":\"echo x >> count\"}"}]}},
    {"match": {"hasToolResult": True}, "response": {"content": "All is well, and that is the end of it."}},
]}


def test_aimock():
    """Without faults, and with a quarter of all requests dropped, malformed, disconnected or limited: the same end, and the command ran
    once."""
    needs("@copilotkit/aimock")
    played = 0
    with Place() as top:
        path = os.path.join(top.top, "fixtures.json")
        with open(path, "w", encoding="utf-8") as f:
            json.dump(FIXTURES, f)
        for flags, n in (((), 1), (("--chaos-drop", "0.25"), 5), (("--chaos-malformed", "0.25"), 5), (("--chaos-disconnect", "0.25"), 5),
                         (("--chaos-drop", "0.1", "--chaos-malformed", "0.1", "--chaos-disconnect", "0.1", "--chunk-size", "3"), 5)):
            with Aimock(path, *flags) as mock:
                for api, base in (("chat", "/v1"), ("responses", "/v1"), ("messages", "")):
                    for _ in range(n):
                        with Place() as place:
                            out = place.rein("exec", "--model", "mock/gpt-4o", "--base-url", f"http://127.0.0.1:{mock.port}{base}", "--api", api,
                                             "--mode", "open", "--backoff", "0.01", "--retries", "20", "go")
                            told = (flags, api, out.returncode, out.stdout, out.stderr.decode()[-1500:])
                            check(out.returncode == 0 and out.stdout == b"All is well, and that is the end of it.\n", *told)
                            check(place.read("count") == b"x\n", "the command ran once", *told)
                            requests = len(story(place.events(), "request"))
                            check(requests == 2 + len(story(place.events(), "fault")), *told)
                            played += 1
    return played
