"""What the words cost that a model reads before the first message: counted with o200k, the tokenizer of OpenAI's models."""
import json
import re

from lib.node import node
from lib.rein import Place, check

BUDGET = 2500


def tokens(texts):
    return json.loads(node("tokens.js", json.dumps(texts), "gpt-tokenizer"))


def test_words_fit_the_budget():
    with Place() as place:
        for model in ("openai/gpt-5.5", None):
            out = place.rein("exec", "-q", "--mode", "open", "--model", place.script("say ok"), "hello")
            check(out.returncode == 0, out)
            body = place.requests()[-1]
            system = body["messages"][0]["content"]
            listed = place.rein("tools", "--json", *(["--model", model] if model else [])).stdout.decode().splitlines()
            functions = [t["function"] for t in body["tools"]] if not model else [json.loads(line) for line in listed]
            whole = json.dumps([{"type": "function", "function": f} for f in functions], ensure_ascii=False, separators=(",", ":"))
            counts = tokens([system, whole])
            print(f"tool/words: {model or 'default'}: system prompt {counts[0]}, {len(functions)} tools {counts[1]}, together {sum(counts)} tokens",
                  flush=True)
            check(sum(counts) <= BUDGET, "together", sum(counts), "tokens")
        # What rein says of the cost is an estimate, and a good one.
        told = place.rein("tools").stdout.decode()
        exact = dict(zip([f["name"] for f in functions], tokens([json.dumps(f, ensure_ascii=False, separators=(",", ":")) for f in functions])))
        for name, n in re.findall(r"^(\w+) +(?:reads|acts) +about +(\d+) tokens", told, re.M):
            check(abs(int(n) - exact[name]) <= max(12, exact[name] * 0.2), name, "is said to cost", n, "and costs", exact[name])
        total = int(re.search(r"about (\d+) tokens\s*$", told).group(1))
        check(abs(total - sum(counts)) <= sum(counts) * 0.1, "said", total, "and", sum(counts))
