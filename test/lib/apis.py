"""The model APIs on loopback: Chat Completions, Responses, Messages and Gemini, as strict as the real ones.

A request that a real service would refuse is refused with its status and its words, and noted in `refused`: unknown members, calls
and results that do not pair, reasoning or signatures that do not come back as they were given, wrong headers. What to answer is
decided by how many answers the request already holds, so a client that was killed gets the same again."""
import base64
import hashlib
import http.server
import json
import re
import socket
import ssl
import threading
import time

NAME = re.compile(r"^[a-zA-Z0-9_-]{1,64}$")


def text(words, **more):
    return dict({"text": words}, **more)


def call(name, args, call_id=None, words="", **more):
    return dict({"text": words, "calls": [(call_id or f"call_{name}", name, args if isinstance(args, str) else json.dumps(args))]}, **more)


def calls(*many, **more):
    return dict({"text": "", "calls": [(f"call_{i}", name, json.dumps(args)) for i, (name, args) in enumerate(many)]}, **more)


class Refused(Exception):
    def __init__(self, why, status=400):
        super().__init__(why)
        self.status = status


def need(condition, *why, status=400):
    if not condition:
        raise Refused(" ".join(str(w) for w in why), status)


def members(obj, where, allowed, required=()):
    need(isinstance(obj, dict), where, "is not an object")
    for key in obj:
        need(key in allowed or key in required, f"{where}: unknown parameter '{key}'")
    for key in required:
        need(key in obj, f"{where}: missing required parameter '{key}'")


def seal(what):
    """A signature that only this server makes, and can check."""
    return base64.b64encode(hashlib.sha256(b"secret" + what.encode()).digest()).decode()


def pieces(words, size):
    return [words[i:i + size] for i in range(0, len(words), size)] or [""]


USAGE = {"in": 1000, "cached": 900, "written": 0, "out": 10}


class Chat:
    name = "chat"
    path = "/v1/chat/completions"
    base = "/v1"
    fields = {"model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "tools", "tool_choice",
              "reasoning_effort", "prompt_cache_key", "temperature", "top_p", "stop", "n", "user", "thinking", "parallel_tool_calls",
              "metadata", "store", "seed", "response_format", "tool_stream", "enable_thinking", "thinking_budget"}

    @staticmethod
    def authorize(headers, key):
        need(headers.get("Authorization") == "Bearer " + key, "Incorrect API key provided: " + headers.get("Authorization", "none")[7:],
             status=401)

    @staticmethod
    def count(body):
        return sum(m.get("role") == "assistant" for m in body["messages"])

    def check(self, server, body, _path):
        members(body, "request", self.fields, ("model", "messages"))
        need("stream_options" not in body or body.get("stream"), "stream_options needs stream")
        for t in body.get("tools", []):
            members(t, "tools", (), ("type", "function"))
            members(t["function"], "tools.function", ("description", "parameters", "strict"), ("name",))
            need(NAME.match(t["function"]["name"]), "tools.function.name is not allowed")
            need(t["function"].get("parameters", {}).get("type", "object") == "object", "tools.function.parameters is no object")
        waiting = []
        need(body["messages"], "messages is empty")
        used_tools = any(m.get("tool_calls") for m in body["messages"])
        for i, m in enumerate(body["messages"]):
            where = f"messages.{i}"
            need(m.get("role") in ("system", "developer", "user", "assistant", "tool"), where, "has no role")
            if m["role"] == "tool":
                members(m, where, ("name",), ("role", "tool_call_id", "content"))
                need(m["tool_call_id"] in waiting, where, "is for unknown call", m["tool_call_id"])
                waiting.remove(m["tool_call_id"])
                continue
            need(not waiting, where, "comes before the results of", waiting)
            if m["role"] != "assistant":
                members(m, where, ("name",), ("role", "content"))
                need(isinstance(m["content"], (str, list)), where, "has no content")
                if isinstance(m["content"], list):
                    for part in m["content"]:
                        need(part.get("type") in ("text", "image_url"), where, "has a part of unknown type")
                        if part["type"] == "image_url":
                            need(server.images, "this model does not take images")
                            need(part["image_url"]["url"].startswith("data:image/"), where, "has no image")
                continue
            members(m, where, ("content", "tool_calls", "reasoning_content", "reasoning", "reasoning_details", "refusal", "name"), ("role",))
            need(m.get("content") is not None or m.get("tool_calls"), where, "has neither content nor calls")
            ids = [c["id"] for c in m.get("tool_calls", [])]
            need(len(set(ids)) == len(ids), "call ids are not unique")
            for c in m.get("tool_calls", []):
                members(c, where + ".tool_calls", ("index",), ("id", "type", "function"))
                need(len(c["id"]) <= 64, where, "has an id that is too long")
                members(c["function"], where + ".function", (), ("name", "arguments"))
                need(NAME.match(c["function"]["name"]), where, "has a name that is not allowed")
                try:
                    need(isinstance(json.loads(c["function"]["arguments"]), dict), where, "has arguments that are no object")
                except ValueError:
                    need(False, where, "has arguments that are not JSON")
            if server.reasons and used_tools:
                need("reasoning_content" in m, "The `reasoning_content` in the thinking mode must be passed back to the API.")
                given = server.given.get(ids[0]) if ids else None
                need(given is None or m["reasoning_content"] == given, "reasoning_content was changed")
            waiting = list(ids)
        need(not waiting, "calls without a result:", waiting)

    @staticmethod
    def stream(server, answer, body):
        def chunk(delta, finish=None):
            return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": server.model,
                    "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
        out = [chunk({"role": "assistant", "content": ""})]
        out += [chunk({"reasoning_content": p}) for p in pieces(answer["reasoning"], 9)] if answer.get("reasoning") else []
        out += [chunk({"content": p}) for p in pieces(answer["text"], 7)] if answer.get("text") else []
        for i, (call_id, name, args) in enumerate(answer.get("calls", [])):
            server.given[call_id] = answer.get("reasoning", "")
            out.append(chunk({"tool_calls": [{"index": i, "id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}]}))
            out += [chunk({"tool_calls": [{"index": i, "function": {"arguments": p}}]}) for p in pieces(args, 20)]
        out.append(chunk({}, answer.get("finish", "tool_calls" if answer.get("calls") else "stop")))
        usage = answer.get("usage", USAGE)
        if usage and body.get("stream_options", {}).get("include_usage"):
            out.append({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": server.model, "choices": [],
                        "usage": {"prompt_tokens": usage["in"], "completion_tokens": usage["out"], "total_tokens": usage["in"] + usage["out"],
                                  "prompt_tokens_details": {"cached_tokens": usage["cached"]}}})
        return ["data: " + json.dumps(c) + "\n\n" for c in out] + ["data: [DONE]\n\n"]

    @staticmethod
    def whole(server, answer, _body):
        message = {"role": "assistant", "content": answer.get("text") or None, "refusal": None}
        if answer.get("calls"):
            message["tool_calls"] = [{"id": i, "type": "function", "function": {"name": n, "arguments": a}} for i, n, a in answer["calls"]]
            for call_id, _, _ in answer["calls"]:
                server.given[call_id] = answer.get("reasoning", "")
        return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": server.model,
                "choices": [{"index": 0, "message": message, "logprobs": None,
                             "finish_reason": answer.get("finish", "tool_calls" if answer.get("calls") else "stop")}],
                "usage": {"prompt_tokens": 1000, "completion_tokens": 10, "total_tokens": 1010}}

    @staticmethod
    def error(message, kind="invalid_request_error", code=None):
        return {"error": {"message": message, "type": kind, "param": None, "code": code}}

    overloaded = {"error": {"message": "The server is overloaded", "type": "server_error", "code": "overloaded"}}

    @staticmethod
    def in_stream(error):
        return "data: " + json.dumps(error) + "\n\n"


class Messages:
    name = "messages"
    path = "/v1/messages"
    base = ""
    fields = {"model", "messages", "max_tokens", "stream", "system", "tools", "tool_choice", "thinking", "output_config", "cache_control",
              "metadata", "stop_sequences", "temperature", "top_p", "top_k", "service_tier"}

    @staticmethod
    def authorize(headers, key):
        given = headers.get("x-api-key") or headers.get("Authorization", "").removeprefix("Bearer ")     # its SDK has moved to the latter
        need(given == key, "invalid x-api-key " + given, status=401)

    @staticmethod
    def count(body):
        return sum(m.get("role") == "assistant" for m in body["messages"])

    def check(self, server, body, _path):
        members(body, "request", self.fields, ("model", "messages", "max_tokens"))
        need(isinstance(body["max_tokens"], int) and body["max_tokens"] > 0, "max_tokens: not a positive integer")
        marks = json.dumps(body).count('"cache_control":')
        need(marks <= 4, "A maximum of 4 blocks with cache_control may be provided. Found", marks)
        for t in body.get("tools", []):
            members(t, "tools", ("description", "cache_control", "strict", "type"), ("name", "input_schema"))
            need(NAME.match(t["name"]), "tools.name is not allowed")
            need(t["input_schema"].get("type") == "object", "tools.input_schema.type: object")
        if "thinking" in body:
            need(body["thinking"].get("type") in ("enabled", "adaptive", "disabled"), "thinking.type")
        for block in body.get("system", []) if isinstance(body.get("system"), list) else []:
            members(block, "system", ("cache_control",), ("type", "text"))
            need(block["text"].strip(), "system: text content blocks must be non-empty")
        waiting = []
        need(body["messages"], "messages: at least one message is required")
        need(body["messages"][0].get("role") == "user", "messages: first message must use the user role")
        for i, m in enumerate(body["messages"]):
            members(m, f"messages.{i}", (), ("role", "content"))
            need(m["role"] in ("user", "assistant"), f"messages.{i}.role")
            content = [{"type": "text", "text": m["content"]}] if isinstance(m["content"], str) else m["content"]
            need(content, f"messages.{i}: content must not be empty")
            waiting = self.check_user(server, content, waiting, i) if m["role"] == "user" else self.check_assistant(server, content, waiting, i)
        need(not waiting, "messages: `tool_use` ids were found without `tool_result` blocks immediately after:", waiting)

    @staticmethod
    def check_user(server, content, waiting, i):
        waiting = list(waiting)
        results = True
        for block in content:
            where = f"messages.{i}.content"
            if block.get("type") == "tool_result":
                members(block, where, ("content", "is_error", "cache_control"), ("type", "tool_use_id"))
                need(results, where, "tool_result blocks come first")
                need(block["tool_use_id"] in waiting, where, "unexpected `tool_use_id`", block["tool_use_id"])
                waiting.remove(block["tool_use_id"])
                for part in block.get("content", []) if isinstance(block.get("content"), list) else []:
                    need(part["type"] in ("text", "image"), where, "tool_result has a wrong block")
                    need(part["type"] != "text" or part["text"], where, "text content blocks must be non-empty")
                    need(part["type"] != "image" or server.images, "this model does not take images")
                continue
            results = False
            need(block.get("type") in ("text", "image"), where, "type", block.get("type"))
            need(block["type"] != "text" or block["text"].strip(), where, "text content blocks must be non-empty")
        need(not waiting, "`tool_use` ids were found without `tool_result` blocks immediately after:", waiting)
        return []

    @staticmethod
    def check_assistant(server, content, waiting, i):
        where = f"messages.{i}.content"
        need(not waiting, "`tool_use` ids were found without `tool_result` blocks immediately after:", waiting)
        ids = []
        seen = []
        for block in content:
            kind = block.get("type")
            if kind == "text":
                members(block, where, ("citations", "cache_control"), ("type", "text"))
                need(block["text"].strip(), where, "text content blocks must be non-empty")
            elif kind == "thinking":
                members(block, where, (), ("type", "thinking", "signature"))
                need(block["signature"] == seal(block["thinking"]), where, "Invalid `signature` in `thinking` block")
                seen.append(block["signature"])
            elif kind == "redacted_thinking":
                members(block, where, (), ("type", "data"))
                need(block["data"].startswith("sealed"), where, "Invalid `data` in `redacted_thinking` block")
            elif kind == "tool_use":
                members(block, where, ("cache_control",), ("type", "id", "name", "input"))
                need(NAME.match(block["id"]), where, "tool_use.id: should match pattern")
                need(NAME.match(block["name"]), where, "tool_use.name: should match pattern")
                need(isinstance(block["input"], dict), where, "tool_use.input: should be a valid dictionary")
                given = server.given.get(block["id"])
                need(given is None or given in seen, where, "Expected `thinking` or `redacted_thinking`, but found `tool_use`")
                ids.append(block["id"])
            elif kind in ("server_tool_use", "web_search_tool_result"):
                need(block == server.foreign.get(kind), where, kind, "was changed")
            else:
                need(False, where, "type", kind)
        need(len(set(ids)) == len(ids), "`tool_use` ids must be unique")
        return ids

    @staticmethod
    def stream(server, answer, _body):
        usage = answer.get("usage", USAGE)
        counts = {"input_tokens": usage["in"] - usage["cached"] - usage["written"], "cache_creation_input_tokens": usage["written"],
                  "cache_read_input_tokens": usage["cached"], "output_tokens": 1} if usage else {}
        out = [{"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant", "model": server.model, "content": [],
                                                     "stop_reason": None, "stop_sequence": None, "usage": counts}}, {"type": "ping"}]
        index = 0

        def block(start, deltas):
            nonlocal index
            out.append({"type": "content_block_start", "index": index, "content_block": start})
            out.extend({"type": "content_block_delta", "index": index, "delta": d} for d in deltas)
            out.append({"type": "content_block_stop", "index": index})
            index += 1

        signature = None
        if answer.get("reasoning"):
            signature = seal(answer["reasoning"])
            block({"type": "thinking", "thinking": "", "signature": ""},
                  [{"type": "thinking_delta", "thinking": p} for p in pieces(answer["reasoning"], 9)] +
                  [{"type": "signature_delta", "signature": signature}])
        if answer.get("redacted"):
            block({"type": "redacted_thinking", "data": answer["redacted"]}, [])
        if answer.get("foreign"):
            server.foreign = {b["type"]: b for b in answer["foreign"]}
            for b in answer["foreign"]:
                block(dict(b, input={}) if b["type"] == "server_tool_use" else b,
                      [{"type": "input_json_delta", "partial_json": p} for p in pieces(json.dumps(b["input"]), 5)]
                      if b["type"] == "server_tool_use" else [])
        if answer.get("text"):
            block({"type": "text", "text": ""}, [{"type": "text_delta", "text": p} for p in pieces(answer["text"], 7)])
        for call_id, name, args in answer.get("calls", []):
            server.given[call_id] = signature
            block({"type": "tool_use", "id": call_id, "name": name, "input": {}},
                  [{"type": "input_json_delta", "partial_json": p} for p in pieces(args, 20)] if args else [])
        out.append({"type": "message_delta", "delta": {"stop_reason": Messages.word(answer), "stop_sequence": None},
                    "usage": {"output_tokens": usage["out"]} if usage else {}})
        out.append({"type": "message_stop"})
        return [f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in out]

    @staticmethod
    def word(answer):
        ours = {"length": "max_tokens", "content_filter": "refusal", "stop": "end_turn"}
        finish = answer.get("finish")
        return ours.get(finish, finish) if finish else "tool_use" if answer.get("calls") else "end_turn"

    @staticmethod
    def whole(server, answer, _body):
        content = [{"type": "text", "text": answer["text"]}] if answer.get("text") else []
        if answer.get("reasoning"):
            content.insert(0, {"type": "thinking", "thinking": answer["reasoning"], "signature": seal(answer["reasoning"])})
        for call_id, name, args in answer.get("calls", []):
            server.given[call_id] = seal(answer["reasoning"]) if answer.get("reasoning") else None
            content.append({"type": "tool_use", "id": call_id, "name": name, "input": json.loads(args)})
        return {"id": "msg_1", "type": "message", "role": "assistant", "model": server.model, "content": content,
                "stop_reason": Messages.word(answer), "stop_sequence": None,
                "usage": {"input_tokens": 100, "cache_read_input_tokens": 900, "cache_creation_input_tokens": 0, "output_tokens": 10}}

    @staticmethod
    def error(message, kind="invalid_request_error", code=None):
        return {"type": "error", "error": {"type": code or kind, "message": message}, "request_id": "req_1"}

    overloaded = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}

    @staticmethod
    def in_stream(error):
        return "event: error\ndata: " + json.dumps(error) + "\n\n"


class Responses:
    name = "responses"
    path = "/v1/responses"
    base = "/v1"
    fields = {"model", "input", "stream", "store", "include", "max_output_tokens", "reasoning", "prompt_cache_key", "tools", "tool_choice",
              "instructions", "temperature", "top_p", "metadata", "parallel_tool_calls", "text", "truncation", "user", "safety_identifier"}

    authorize = staticmethod(Chat.authorize)

    @staticmethod
    def count(body):
        """Answers in the input: runs of what a model says."""
        n, last = 0, False
        for item in body["input"] if isinstance(body["input"], list) else []:
            own = item.get("role") == "assistant" or item.get("type") in ("reasoning", "function_call", "custom_tool_call")
            n += own and not last
            last = own
        return n

    def check(self, server, body, _path):
        members(body, "request", self.fields, ("model", "input"))
        for t in body.get("tools", []):
            need(t.get("type") in ("function", "custom"), "tools.type")
            members(t, "tools", ("description", "strict") if t["type"] == "function" else ("description", "format"),
                    ("type", "name", "parameters") if t["type"] == "function" else ("type", "name"))
            need(NAME.match(t["name"]), "tools.name is not allowed")
        waiting, after = {}, None
        items = [{"role": "user", "content": body["input"]}] if isinstance(body["input"], str) else body["input"]
        for i, item in enumerate(items):
            where, kind = f"input.{i}", item.get("type", "message")
            if after is not None:
                need(kind in ("message", "function_call", "custom_tool_call", "reasoning"),
                     f"Item '{after}' of type 'reasoning' was provided without its required following item.")
                after = None
            if kind == "message":
                members(item, where, ("type", "phase", "id", "status"), ("role", "content"))
                need(item["role"] in ("user", "assistant", "system", "developer"), where, "role")
                for part in item["content"] if isinstance(item["content"], list) else []:
                    ok = ("output_text", "refusal") if item["role"] == "assistant" else ("input_text", "input_image")
                    need(part.get("type") in ok, where, f"Invalid value: '{part.get('type')}'")
                    need(part["type"] != "input_image" or server.images, "this model does not take images")
            elif kind in ("function_call", "custom_tool_call"):
                members(item, where, ("id", "status"), ("type", "call_id", "name", "arguments" if kind == "function_call" else "input"))
                need(NAME.match(item["name"]), where, "name does not match the pattern")
                need(item["call_id"] not in waiting and len(item["call_id"]) <= 64, where, "call_id")
                if kind == "function_call":
                    json.loads(item["arguments"])
                waiting[item["call_id"]] = kind
                given = server.given.get(item["call_id"])
                need(given is None or any(x.get("encrypted_content") == given for x in items[:i]),
                     f"'{kind}' was provided without its required 'reasoning' item")
            elif kind in ("function_call_output", "custom_tool_call_output"):
                members(item, where, ("id", "status"), ("type", "call_id", "output"))
                need(waiting.get(item["call_id"]) == kind[:-7], where, "No tool call found for", item["call_id"])
                del waiting[item["call_id"]]
            elif kind == "reasoning":
                members(item, where, ("id", "content", "encrypted_content", "status"), ("type", "summary"))
                need(body.get("store") is not False or "id" not in item or "encrypted_content" in item,
                     f"Item with id '{item.get('id')}' not found. Items are not persisted when `store` is set to false.")
                need(item.get("encrypted_content", "").startswith("sealed"), "The encrypted content could not be verified.")
                after = item["encrypted_content"]
            else:
                need(item == server.foreign.get(kind), where, kind, "was changed")
        need(not waiting, "No tool output found for function call", list(waiting))
        need(after is None, f"Item '{after}' of type 'reasoning' was provided without its required following item.")

    @staticmethod
    def items(server, answer):
        out = []
        if answer.get("reasoning"):
            out.append({"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": answer["reasoning"]}],
                        "encrypted_content": "sealed " + seal(answer["reasoning"])})
        if answer.get("foreign"):
            server.foreign = {b["type"]: b for b in answer["foreign"]}
            out += answer["foreign"]
        if answer.get("text"):
            out.append({"id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
                        "content": [{"type": "output_text", "text": answer["text"], "annotations": [], "logprobs": []}]})
        for i, (call_id, name, args) in enumerate(answer.get("calls", [])):
            server.given[call_id] = "sealed " + seal(answer["reasoning"]) if answer.get("reasoning") else None
            custom = name in answer.get("custom", ())
            out.append({"id": f"fc_{i}", "type": "custom_tool_call" if custom else "function_call", "status": "completed", "call_id": call_id,
                        "name": name, "input" if custom else "arguments": args})
        return out

    @staticmethod
    def response(server, answer, items, status):
        usage = answer.get("usage", USAGE)
        return {"id": "resp_1", "object": "response", "created_at": 1, "model": server.model, "status": status, "output": items, "error": None,
                "incomplete_details": {"reason": {"length": "max_output_tokens"}.get(answer["finish"], answer["finish"])}
                if status == "incomplete" else None, "instructions": None, "metadata": {}, "parallel_tool_calls": True, "temperature": 1,
                "tool_choice": "auto", "tools": [], "top_p": 1,
                "usage": {"input_tokens": usage["in"], "input_tokens_details": {"cached_tokens": usage["cached"]},
                          "output_tokens": usage["out"], "output_tokens_details": {"reasoning_tokens": 0},
                          "total_tokens": usage["in"] + usage["out"]} if usage and status != "in_progress" else None}

    @staticmethod
    def stream(server, answer, _body):
        items = Responses.items(server, answer)
        status = "incomplete" if answer.get("finish") in ("length", "content_filter") else "completed"
        out = [{"type": "response.created", "response": Responses.response(server, answer, [], "in_progress")},
               {"type": "response.in_progress", "response": Responses.response(server, answer, [], "in_progress")}]
        for i, item in enumerate(items):
            at = {"output_index": i, "item_id": item.get("id", "")}
            kind = item["type"]
            begun = dict(item, **({"content": []} if kind == "message" else {"arguments": ""} if kind == "function_call" else
                                  {"input": ""} if kind == "custom_tool_call" else {"summary": []} if kind == "reasoning" else {}))
            out.append({"type": "response.output_item.added", "output_index": i, "item": begun})
            if kind == "message":
                out.append(dict(at, type="response.content_part.added", content_index=0,
                                part={"type": "output_text", "text": "", "annotations": [], "logprobs": []}))
                out += [dict(at, type="response.output_text.delta", content_index=0, delta=p, logprobs=[]) for p in pieces(answer["text"], 7)]
                out.append(dict(at, type="response.output_text.done", content_index=0, text=answer["text"], logprobs=[]))
                out.append(dict(at, type="response.content_part.done", content_index=0, part=item["content"][0]))
            elif kind == "reasoning":
                out.append(dict(at, type="response.reasoning_summary_part.added", summary_index=0, part={"type": "summary_text", "text": ""}))
                out += [dict(at, type="response.reasoning_summary_text.delta", summary_index=0, delta=p) for p in pieces(answer["reasoning"], 9)]
            elif kind == "function_call":
                out += [dict(at, type="response.function_call_arguments.delta", delta=p) for p in pieces(item["arguments"], 20)]
                out.append(dict(at, type="response.function_call_arguments.done", arguments=item["arguments"], name=item["name"]))
            elif kind == "custom_tool_call":
                out += [dict(at, type="response.custom_tool_call_input.delta", delta=p) for p in pieces(item["input"], 20)]
                out.append(dict(at, type="response.custom_tool_call_input.done", input=item["input"]))
            out.append({"type": "response.output_item.done", "output_index": i, "item": item})
        out.append({"type": "response." + status, "response": Responses.response(server, answer, items, status)})
        return [f"event: {e['type']}\ndata: {json.dumps(dict(e, sequence_number=n))}\n\n" for n, e in enumerate(out)]

    @staticmethod
    def whole(server, answer, _body):
        status = "incomplete" if answer.get("finish") in ("length", "content_filter") else "completed"
        return Responses.response(server, answer, Responses.items(server, answer), status)

    error = staticmethod(Chat.error)
    overloaded = {"type": "error", "code": "server_error", "message": "The server is overloaded", "param": None, "sequence_number": 9}

    @staticmethod
    def in_stream(error):
        return "event: error\ndata: " + json.dumps(error) + "\n\n"


class Gemini:
    name = "gemini"
    path = ("/v1beta/models/", "/v1/models/")
    base = "/v1beta"
    fields = {"contents", "systemInstruction", "tools", "generationConfig", "toolConfig", "safetySettings", "cachedContent"}

    @staticmethod
    def authorize(headers, key):
        need(headers.get("x-goog-api-key") == key, "API key not valid: " + headers.get("x-goog-api-key", ""), status=401)

    @staticmethod
    def count(body):
        return sum(c.get("role") == "model" for c in body["contents"])

    def check(self, server, body, path):
        need(path.split("?")[0].endswith((":streamGenerateContent", ":generateContent")), "no such method", status=404)
        members(body, "request", self.fields, ("contents",))
        for t in body.get("tools", []):
            for f in t.get("functionDeclarations", []):
                members(f, "functionDeclarations", ("description", "parameters", "parametersJsonSchema", "behavior", "response",
                                                    "responseJsonSchema"), ("name",))
        waiting = []
        for i, c in enumerate(body["contents"]):
            members(c, f"contents[{i}]", ("role",), ("parts",))
            need(c.get("role", "user") in ("user", "model"), "Please use a valid role: user, model.")
            need(c["parts"], f"contents[{i}].parts must not be empty")
            asked, answered = [], []
            for part in c["parts"]:
                extra = set(part) - {"text", "functionCall", "functionResponse", "inlineData", "thoughtSignature", "thought", "executableCode"}
                need(not extra, "Unknown name", extra)
                need(set(part) - {"thoughtSignature", "thought"}, "a part has no data")
                if "functionCall" in part:
                    members(part["functionCall"], "functionCall", ("id", "args"), ("name",))
                    need(NAME.match(part["functionCall"]["name"]), "Invalid function name")
                    asked.append(part["functionCall"]["name"])
                    given = server.given.get((part["functionCall"]["name"], json.dumps(part["functionCall"].get("args", {}), sort_keys=True)))
                    need(given is None or part.get("thoughtSignature") in given, "Function call is missing a thought_signature.")
                if "functionResponse" in part:
                    members(part["functionResponse"], "functionResponse", ("id",), ("name", "response"))
                    answered.append(part["functionResponse"]["name"])
            if waiting:
                need(sorted(answered) == sorted(waiting), "the number of function response parts is not equal to the number of function "
                     "call parts of the function call turn")
            else:
                need(not answered, "function response without a call")
            waiting = asked
        need(not waiting, "function calls without a response")

    @staticmethod
    def parts(server, answer):
        out = []
        sig = seal(answer["reasoning"]) if answer.get("reasoning") else None
        if answer.get("reasoning"):
            out.append({"text": answer["reasoning"], "thought": True})
        out += [{"text": p} for p in pieces(answer["text"], 7)] if answer.get("text") else []
        for i, (_, name, args) in enumerate(answer.get("calls", [])):
            part = {"functionCall": {"name": name, "args": json.loads(args or "{}")}}
            if sig and i == 0:
                part["thoughtSignature"] = sig
            server.given.setdefault((name, json.dumps(part["functionCall"]["args"], sort_keys=True)), []).append(part.get("thoughtSignature"))
            out.append(part)
        return out

    @staticmethod
    def chunk(server, parts, answer, last):
        usage = answer.get("usage", USAGE)
        c = {"candidates": [{"content": {"parts": parts, "role": "model"}, "index": 0}], "modelVersion": server.model, "responseId": "r1"}
        if last:
            c["candidates"][0]["finishReason"] = {"length": "MAX_TOKENS", "content_filter": "SAFETY"}.get(answer.get("finish"), "STOP")
            if usage:
                c["usageMetadata"] = {"promptTokenCount": usage["in"], "cachedContentTokenCount": usage["cached"],
                                      "candidatesTokenCount": usage["out"], "totalTokenCount": usage["in"] + usage["out"]}
        return c

    @staticmethod
    def stream(server, answer, _body):
        parts = Gemini.parts(server, answer)
        out = [Gemini.chunk(server, [p], answer, False) for p in parts] + [Gemini.chunk(server, [], answer, True)]
        return ["data: " + json.dumps(c) + "\r\n\r\n" for c in out]

    @staticmethod
    def whole(server, answer, _body):
        return Gemini.chunk(server, Gemini.parts(server, answer), answer, True)

    @staticmethod
    def error(message, kind="INVALID_ARGUMENT", code=None):
        return {"error": {"code": 400, "message": message, "status": code or kind}}

    overloaded = {"error": {"code": 503, "message": "The model is overloaded", "status": "UNAVAILABLE"}}

    @staticmethod
    def in_stream(error):
        return "data: " + json.dumps(error) + "\r\n\r\n"


APIS = {a.name: a() for a in (Chat, Messages, Responses, Gemini)}


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, *unused):
        pass


class Handler(http.server.BaseHTTPRequestHandler):
    """What a test may do to a client: answers as they should be, and not."""
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    api = body = mock = None

    def log_message(self, *unused):
        pass

    def sse(self, payloads, pause=0.0, end=True, headers=()):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.sse_more(payloads, pause, end)

    def sse_more(self, payloads, pause=0.0, end=True):
        for p in payloads:
            data = p.encode() if isinstance(p, str) else p
            if data:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            if pause:
                self.wfile.flush()
                time.sleep(pause)
        if end:
            self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def payloads(self, answer):
        """The answer as it streams in this API."""
        return self.api.stream(self.mock, answer, self.body)

    def plain(self, status, data, kind="application/json", headers=()):
        data = data if isinstance(data, bytes) else data.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()

    def error(self, status, message, headers=(), **more):
        self.plain(status, json.dumps(self.api.error(message, **more)), headers=headers)

    def cut(self):
        """Resets the connection."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.connection.close()
        self.close_connection = True

    def hang_up(self):
        """Ends the connection as if all were said."""
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def do_GET(self):  # pylint: disable=invalid-name
        self.mock.gets.append(self.path)
        if self.mock.list_needs_key and self.mock.key not in str(self.headers):
            self.plain(401, json.dumps({"error": {"message": "no"}}))
        elif self.path.endswith("/models"):
            self.plain(200, json.dumps({"object": "list", "data": [{"id": m, "object": "model"} for m in self.mock.models]}))
        else:
            self.plain(404, "{}")

    def do_POST(self):  # pylint: disable=invalid-name
        mock = self.mock
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        with mock.lock:
            mock.raw.append(raw)
            mock.times.append(time.monotonic())
            mock.headers.append(dict(self.headers))
        self.api = next((a for a in APIS.values() if self.path.split("?")[0].startswith(a.path)), None)
        try:
            need(self.api, "no such path", self.path, status=404)
            self.body = json.loads(raw)
            mock.bodies.append(self.body)
            if mock.key:
                self.api.authorize(self.headers, mock.key)
            need(self.headers.get("Content-Type", "").startswith("application/json"), "the content type is not JSON")
            if self.api.name == "messages":
                need(self.headers.get("anthropic-version"), "anthropic-version: header is required")
            self.api.check(mock, self.body, self.path)
        except Refused as why:
            mock.refused.append(str(why))
            if self.api:
                self.error(why.status, str(why))
            else:
                self.plain(why.status, json.dumps({"error": {"message": str(why)}}))
            return
        answer = mock.answers(self.api.count(self.body), self.body)
        streams = self.body.get("stream") or ":streamGenerate" in self.path
        try:
            if callable(answer):
                answer(self)
            elif streams:
                self.sse(self.payloads(answer))
            else:
                self.plain(200, json.dumps(self.api.whole(mock, answer, self.body)))
        except OSError:
            self.close_connection = True


class Apis:
    """answers: a list, or a function of (number of answers so far, body). An element may be an answer, or a function that gets the
    handler and sends what it likes."""

    def __init__(self, answers, key=None, tls=None, reasons=False, images=True, list_needs_key=False):
        self.answers = answers if callable(answers) else lambda n, body: answers[min(n, len(answers) - 1)]
        self.key = key
        self.reasons, self.images, self.list_needs_key = reasons, images, list_needs_key
        self.model, self.models = "served-1", ["served-1"]
        self.bodies, self.raw, self.refused, self.gets, self.times, self.headers = [], [], [], [], [], []
        self.given, self.foreign = {}, {}
        self.lock = threading.Lock()
        self.server = Server(("127.0.0.1", 0), type("Bound", (Handler,), {"mock": self}))
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self.server.server_address[1]
        self.origin = f"http{'s' if tls else ''}://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.server.shutdown()
        self.server.server_close()

    def url(self, api):
        return self.origin + APIS[api].base

    def options(self, api="chat", model="mock/m"):
        return ["--model", model, "--base-url", self.url(api), "--api", api]


def once(bad, good, times=1):
    """Plays bad the first times an answer is asked for, then good."""
    seen = {}

    def pick(n, _body):
        seen[n] = seen.get(n, 0) + 1
        return bad if seen[n] <= times else good(n) if callable(good) else good
    return pick
