"""The check of arguments against a JSON Schema: against the official suite's cases, and against ajv on random schemas."""
import glob
import json
import os
import random
import subprocess

from lib.node import MODULES, node
from lib.rein import TOP, Skip, check

PROBE = os.path.join(TOP, "build-test", "test", "probe")


def probe(part, cases):
    text = "".join(json.dumps(c) + "\n" for c in cases)
    out = subprocess.run([PROBE, part], input=text.encode(), stdout=subprocess.PIPE, check=True, timeout=120)
    lines = out.stdout.decode().splitlines()
    check(len(lines) == len(cases), "one line for each case", len(lines), len(cases))
    return lines


# What the suite's old draft has and tools' schemas do not: checked by schema_known instead.
LEFT_OUT = {"additionalItems.json", "dependencies.json", "refRemote.json", "definitions.json", "default.json"}


def test_schema_suite():
    folder = os.path.join(MODULES, "json-schema-test-suite", "tests", "draft4")
    if not os.path.isdir(folder):
        raise Skip("json-schema-test-suite is not installed; ./dev setup fetches it from the npm registry")
    cases, wanted = [], []
    for path in sorted(glob.glob(os.path.join(folder, "*.json"))):
        if os.path.basename(path) in LEFT_OUT:
            continue
        with open(path, encoding="utf-8") as f:
            groups = json.load(f)
        for group in groups:
            text = json.dumps(group["schema"])
            # draft 4 alone: exclusive bounds as flags, lists of schemas under items, a reference to the draft's own schema
            if '"exclusiveM' in text or '"items": [' in text or "http://" in text or "additionalItems" in text or "$ref" in group["schema"]:
                continue
            for one in group["tests"]:
                cases.append({"schema": group["schema"], "value": one["data"]})
                wanted.append((os.path.basename(path), group["description"], one["description"], one["valid"]))
    check(len(cases) > 150, "cases of the suite", len(cases))
    for line, want, case in zip(probe("schema", cases), wanted, cases):
        if want[0] == "type.json" and "1.0" in json.dumps(case["value"]):
            continue                    # an integer since draft 6
        check((line == "valid") == want[3], want, line)
    return len(cases)


NAMES = ["a", "b", "c", "long name", "x~y", "p/q"]


def random_value(rng, depth=0):
    kind = rng.randrange(8 if depth < 3 else 6)
    if kind == 0:
        return None
    if kind == 1:
        return rng.random() < 0.5
    if kind == 2:
        return rng.randint(-3, 12)
    if kind == 3:
        return rng.choice([0.5, -1.25, 3.0, 7.0, 1e3])
    if kind in (4, 5):
        return rng.choice(["", "a", "ab", "abc", "é", "世界", "😀😀", "x1", "12", "true"])
    if kind == 6:
        return [random_value(rng, depth + 1) for _ in range(rng.randint(0, 3))]
    return {name: random_value(rng, depth + 1) for name in rng.sample(NAMES, rng.randint(0, 3))}


def random_schema(rng, depth=0):
    if depth > 2 or rng.random() < 0.05:
        return rng.choice([True, {}, {"type": "string"}, {"type": "integer"}, {"type": ["number", "null"]}, {"$ref": "#/$defs/d"}])
    s = {}
    sub = lambda: random_schema(rng, depth + 1)  # noqa: E731
    choices = {
        "type": lambda: rng.choice(["null", "boolean", "integer", "number", "string", "array", "object", ["string", "null"],
                                    ["integer", "array"]]),
        "enum": lambda: [random_value(rng, 2) for _ in range(rng.randint(1, 3))],
        "const": lambda: random_value(rng, 2),
        "properties": lambda: {n: sub() for n in rng.sample(NAMES, rng.randint(1, 3))},
        "patternProperties": lambda: {rng.choice(["^a", "b$", "x"]): sub()},
        "additionalProperties": lambda: rng.choice([True, False, sub()]),
        "propertyNames": lambda: {"maxLength": rng.randint(1, 5)},
        "required": lambda: rng.sample(NAMES, rng.randint(1, 2)),
        "minProperties": lambda: rng.randint(0, 2), "maxProperties": lambda: rng.randint(0, 3),
        "items": sub, "prefixItems": lambda: [sub(), sub()],
        "minItems": lambda: rng.randint(0, 2), "maxItems": lambda: rng.randint(0, 3), "uniqueItems": lambda: rng.random() < 0.7,
        "minLength": lambda: rng.randint(0, 3), "maxLength": lambda: rng.randint(0, 3),
        "pattern": lambda: rng.choice(["^a", "b", "[0-9]+$", "^.$", "^(true|x1)$"]),
        "minimum": lambda: rng.choice([-1, 0, 2.5]), "maximum": lambda: rng.choice([3, 7.5]),
        "exclusiveMinimum": lambda: rng.choice([0, 2]), "exclusiveMaximum": lambda: rng.choice([7, 12]),
        "multipleOf": lambda: rng.choice([1, 2, 0.5]),
        "allOf": lambda: [sub(), sub()], "anyOf": lambda: [sub(), sub()], "oneOf": lambda: [sub(), sub()], "not": sub,
        "if": sub, "then": sub, "else": sub,
        "dependentRequired": lambda: {rng.choice(NAMES): [rng.choice(NAMES)]},
        "$ref": lambda: "#/$defs/d", "description": lambda: "words",
    }
    for name in rng.sample(sorted(choices), rng.randint(1, 4)):
        s[name] = choices[name]()
    return s


def test_schema_against_ajv():
    rng = random.Random(11)
    cases = []
    for _ in range(1500):
        schema = random_schema(rng)
        if isinstance(schema, dict):
            schema["$defs"] = {"d": rng.choice([{"type": "string"}, {"minimum": 3}, {"required": ["a"]}, {"maxLength": 1}])}
        cases += [{"schema": schema, "value": random_value(rng)} for _ in range(6)]
    theirs = node("ajv.js", "".join(json.dumps(c) + "\n" for c in cases), "ajv").splitlines()
    ours = probe("schema", cases)
    judged = [(o, t, c) for o, t, c in zip(ours, theirs, cases) if t != "refused"]
    for o, t, c in judged:
        check((o == "valid") == (t == "valid"), json.dumps(c), "ours:", o, "ajv:", t)
    valid = sum(o == "valid" for o, _, _ in judged)
    check(len(judged) > 8000 and valid > 1000 and len(judged) - valid > 1000, "both kinds are there", len(judged), valid)
    return len(judged)
