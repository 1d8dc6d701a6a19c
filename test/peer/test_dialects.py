"""What services do their own way: efforts, strict calls, limits, marks for caches, keep-alives, thinking in the text, images."""
import base64
import json
import os

from lib.apis import Apis, call, text
from lib.rein import Place, check, story

PNG = bytes.fromhex("89504e470d0a1a0a0000000d4948445200000001000000010806000000 1f15c4890000000d49444154789c6360000002000001e221bc330000000049454e44ae426082"
                    .replace(" ", ""))


def configure(place, mock, more="", **providers):
    os.makedirs(place.home, exist_ok=True)
    lines = "".join(f"  {name}: {{{row}}}\n" for name, row in providers.items())
    with open(os.path.join(place.home, "config.yaml"), "w", encoding="utf-8") as f:
        f.write("providers:\n" + lines + more)


def test_efforts():
    """One option, in each service's words."""
    want = {
        ("openai", "chat", "high"): {"reasoning_effort": "high"}, ("openai", "responses", "low"): {"reasoning": {"effort": "low", "summary": "auto"}},
        ("deepseek", "chat", "off"): {"thinking": {"type": "disabled"}},
        ("deepseek", "chat", "max"): {"thinking": {"type": "enabled"}, "reasoning_effort": "max"},
        ("qwen", "chat", "low"): {"enable_thinking": True, "thinking_budget": 2048}, ("glm", "chat", "off"): {"thinking": {"type": "disabled"}},
        ("anthropic", "messages", "max"): {"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}},
        ("anthropic", "messages", "off"): {"thinking": {"type": "disabled"}},
        ("google", "gemini", "high"): {"generationConfig": {"thinkingConfig": {"includeThoughts": True, "thinkingLevel": "high"}}},
    }
    members = {"reasoning_effort", "reasoning", "thinking", "enable_thinking", "thinking_budget", "output_config"}
    for (like, api, effort), expected in want.items():
        with Place() as place, Apis([text("ok"), text("again")]) as mock:
            configure(place, mock, mine=f'like: {like}, api: {api}, base_url: "{mock.url(api)}"')
            out = place.rein("exec", "--model", "mine/m", "--effort", effort, "go")
            check(out.returncode == 0 and not mock.refused, like, out, mock.refused)
            got = {k: v for k, v in mock.bodies[0].items() if k in members or (k == "generationConfig" and api == "gemini")}
            check(got == expected, like, effort, got)
            check(place.rein("resume", "--last", "go on").returncode == 0)
            check(mock.raw[1].startswith(mock.raw[0][:-2]), "the effort stays")
            check(("stream_options" in mock.bodies[0]) == (api == "chat" and like != "glm"), like)
    with Place() as place, Apis([text("ok")]) as mock:
        out = place.rein("exec", *mock.options("chat"), "--effort", "enormous", "go")
        check(out.returncode == 2 and b"off, low" in out.stderr, out)
    return len(want) + 1


def test_strict_calls():
    """All members required, those that need not be may be null, and null is as if they were not there."""
    with Place() as place, Apis([call("read", {"path": "a", "start": None, "count": None, "encoding": None}), text("ok")]) as mock:
        configure(place, mock, mine=f'like: deepseek, base_url: "{mock.url("chat")}", strict: true')
        place.write("a", "one\n")
        out = place.rein("exec", "--model", "mine/m", "go")
        check(out.returncode == 0 and story(place.events(), "result")[0][1]["outcome"] == "ok", out, story(place.events(), "result"))
        for t in mock.bodies[0]["tools"]:
            parameters = t["function"]["parameters"]
            check(t["function"]["strict"] and parameters["additionalProperties"] is False, t)
            check(sorted(parameters["required"]) == sorted(parameters["properties"]), t)


def test_custom_tools():
    """A tool of one text is called without JSON around it, where the service can; its result goes back as such."""
    patch = "*** Begin Patch\n*** Add File: new.txt\n+hello\n*** End Patch"
    with Place() as place, Apis([dict(call("patch", patch, reasoning="hm"), custom=("patch",)), text("ok")]) as mock:
        configure(place, mock, mine=f'like: openai, base_url: "{mock.url("responses")}"')
        out = place.rein("exec", "--model", "mine/gpt-5", "--mode", "open", "go")
        check(out.returncode == 0 and not mock.refused, out, mock.refused)
        check(place.read("new.txt") == b"hello\n")
        check([t["type"] for t in mock.bodies[0]["tools"] if t["name"] == "patch"] == ["custom"])
        kinds = [i.get("type") for i in mock.bodies[1]["input"]]
        check("custom_tool_call" in kinds and "custom_tool_call_output" in kinds, kinds)


def test_signs_of_life():
    """Comments before and within a stream, blank lines before a whole answer."""
    for api in ("chat", "responses", "messages", "gemini"):
        def stream(h):
            h.sse([": keep-alive\n\n", ": OPENROUTER PROCESSING\n\n"] + [q for p in h.payloads(text("good")) for q in (p, ": keep-alive\n\n")])

        def whole(h):
            h.plain(200, "\n" * 50 + json.dumps(h.api.whole(h.mock, text("good"), h.body)))
        for send in (stream, whole):
            with Place() as place, Apis(lambda n, body, s=send: s) as mock:
                out = place.rein("exec", *mock.options(api), "go")
                check(out.returncode == 0 and out.stdout == b"good\n", api, out)


def test_thinking_in_the_text():
    with Place() as place, Apis([text("<think>\nFirst\n</think>\n\nAnswer with <think> in it.")]) as mock:
        out = place.rein("exec", *mock.options("chat"), "go")
        check(out.stdout == b"Answer with <think> in it.\n", out)
        check(story(place.events(), "answer")[0][1]["reasoning"] == "First")


def test_a_pause_is_gone_on_with():
    """The service breaks off with its own tool's blocks, which go back untouched, and is asked to go on."""
    foreign = [{"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x", "n": 1.50}},
               {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"type": "web_search_result", "title": "t", "big": 12345678901234567890123}]}]
    with Place() as place, Apis([dict(text("Searching."), foreign=foreign, finish="pause_turn"), text("Found.")]) as mock:
        out = place.rein("exec", *mock.options("messages"), "go")
        check(out.returncode == 0 and out.stdout == b"Found.\n" and not mock.refused, out, mock.refused)
        check(b"1.5" in mock.raw[1] and b"12345678901234567890123" in mock.raw[1], "as it came")


def test_redacted_thinking():
    with Place() as place, Apis([dict(call("read", {"path": "a"}), redacted="sealed+thing=="), text("ok")]) as mock:
        place.write("a", "a\n")
        check(place.rein("exec", *mock.options("messages"), "go").returncode == 0 and not mock.refused, mock.refused)
        check(mock.bodies[1]["messages"][1]["content"][0] == {"type": "redacted_thinking", "data": "sealed+thing=="}, mock.bodies[1]["messages"])


def test_images_in_each_api():
    for api in ("chat", "responses", "messages", "gemini"):
        with Place() as place, Apis([call("read", {"path": "p.png"}), text("A dot.")]) as mock:
            place.write("p.png", PNG)
            out = place.rein("exec", *mock.options(api), "--images", "yes", "go")
            check(out.returncode == 0 and not mock.refused, api, out, mock.refused)
            check(base64.b64encode(PNG)[:60] in mock.raw[1], api)
            # Another model that takes none goes on without it.
            mock.images = False
            out = place.rein("resume", "--last", "--model", "other/m", "--base-url", mock.url("chat"), "--api", "chat", "--images", "no", "again")
            check(out.returncode == 0 and not mock.refused, api, out, mock.refused)
            check(b"1 images" in out.stderr or api == "chat", out.stderr)


def test_cache_marks():
    """At most four, and none that moves: each request begins with the one before."""
    with Place() as place, Apis([call("read", {"path": "a"}), call("read", {"path": "a"}), text("ok")]) as mock:
        place.write("a", "a\n")
        check(place.rein("exec", *mock.options("messages"), "go").returncode == 0 and not mock.refused, mock.refused)
        check(all(b.startswith(a[:-2]) for a, b in zip(mock.raw, mock.raw[1:])))
        check(mock.bodies[0]["cache_control"] and mock.bodies[0]["system"][0]["cache_control"])


def test_models_lists_what_is_there():
    with Place() as place, Apis([text("ok")], key="right-key-123", list_needs_key=True) as mock:
        mock.models = ["one", "two"]
        configure(place, mock, "models:\n  mine/one: {context: 32000, images: true}\n", mine=f'base_url: "{mock.url("chat")}", key_env: MINE_KEY')
        out = place.rein("models", env={"MINE_KEY": "right-key-123"}).stdout.decode()
        check("mine" in out and "2 models" in out and "mine/one  32k tokens  images" in out and "mine/two" in out, out)
        out = place.rein("models", "--json", env={"MINE_KEY": "wrong-key-123"}).stdout.decode()
        mine = [json.loads(l) for l in out.splitlines() if '"mine"' in l][0]
        check(mine["state"] == "bad" and "key: status 401" in mine["text"] and "wrong-key" not in out, mine)
        check("no key" in [json.loads(l) for l in place.rein("models", "--json").stdout.decode().splitlines() if '"mine"' in l][0]["state"])


def test_a_local_model_is_found_at_the_server_that_has_it():
    with Place() as place, Apis(lambda n, body: text("one")) as one, Apis(lambda n, body: text("two")) as two:
        one.models, two.models = ["small", "big"], ["coder"]

        def servers(*which):
            configure(place, one, "roles: {judge: local/coder}\n", **{f"s{i}": f'base_url: "{m.url("chat")}", local: true' for i, m in enumerate(which)})
        servers(one, two)
        check(place.rein("exec", "--model", "local/coder", "go").stdout == b"two\n" and two.bodies[-1]["model"] == "coder")
        check(place.rein("exec", "--model", "judge", "go").stdout == b"two\n")
        first = story(place.events(), "session")[0][1]
        check(first["model"] == "s1/coder" and first["role"] == "judge", first)
        check(place.rein("exec", "--model", "local/big", "go").stdout == b"one\n")
        out = place.rein("exec", "--model", "local/none", "go")
        check(out.returncode == 5 and b"no server on this machine has a model 'none'; there is s0 with 2 models, s1 with 1 model" in out.stderr, out)
        servers(one)
        check(place.rein("exec", "--model", "local/any", "go").stdout == b"one\n", "a server alone takes any name")
        configure(place, one, "", far="base_url: 'http://127.0.0.1:1'")
        out = place.rein("exec", "--model", "local/any", "go")
        check(out.returncode == 5 and b"start one, or name its address with --base-url" in out.stderr, out)
        out = place.rein("exec", "--model", "local/any", "--base-url", two.url("chat"), "go")
        check(out.stdout == b"two\n" and story(place.events(), "session")[0][1]["model"] == "local/any", out)
