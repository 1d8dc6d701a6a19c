"""A Chat Completions server on loopback for tests. It answers by how many answers a request holds already, so a client that
was killed and comes back gets the same ones again, and it refuses requests that the real services would refuse."""
import http.server
import json
import socket
import ssl
import threading
import time


def text(words):
    return {"text": words}


def call(name, args, call_id=None, words=""):
    return {"text": words, "calls": [(call_id or f"call_{name}", name, args if isinstance(args, str) else json.dumps(args))]}


def calls(*many):
    return {"text": "", "calls": [(f"call_{i}", name, json.dumps(args)) for i, (name, args) in enumerate(many)]}


def chunks(answer):
    """The answer as a list of SSE payloads."""
    def chunk(delta, finish=None):
        return {"id": "x", "object": "chat.completion.chunk", "model": "mock-1",
                "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    out = [chunk({"role": "assistant", "content": ""})]
    if answer.get("reasoning"):
        out.append(chunk({"reasoning_content": answer["reasoning"]}))
    words = answer.get("text", "")
    for i in range(0, len(words), 7):
        out.append(chunk({"content": words[i:i + 7]}))
    for i, (call_id, name, args) in enumerate(answer.get("calls", [])):
        out.append(chunk({"tool_calls": [{"index": i, "id": call_id, "type": "function",
                                          "function": {"name": name, "arguments": ""}}]}))
        for k in range(0, len(args), 20):
            out.append(chunk({"tool_calls": [{"index": i, "function": {"arguments": args[k:k + 20]}}]}))
    out.append(chunk({}, answer.get("finish", "tool_calls" if answer.get("calls") else "stop")))
    out.append({"id": "x", "model": "mock-1", "choices": [],
                "usage": {"prompt_tokens": 1000, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 900}}})
    return ["data: " + json.dumps(c) + "\n\n" for c in out] + ["data: [DONE]\n\n"]


def illegal(body):
    """Why a real service would answer 400, or None."""
    waiting = []
    for m in body["messages"]:
        if m["role"] == "tool":
            if m["tool_call_id"] not in waiting:
                return f"tool message for unknown call {m['tool_call_id']}"
            waiting.remove(m["tool_call_id"])
        elif waiting:
            return f"calls without a result: {waiting}"
        if m["role"] == "assistant":
            ids = [c["id"] for c in m.get("tool_calls", [])]
            if len(set(ids)) != len(ids):
                return "call ids are not unique"
            waiting = list(ids)
            for c in m.get("tool_calls", []):
                json.loads(c["function"]["arguments"])
    return f"calls without a result: {waiting}" if waiting else None


class Mock:
    """answers: a list, or a function of (number of answers so far, body). An element may be a dict for chunks(), or a
    function that gets the handler and sends what it likes."""

    def __init__(self, answers, key=None, tls=None):
        self.answers = answers if callable(answers) else lambda n, body: answers[min(n, len(answers) - 1)]
        self.key = key
        self.bodies = []
        self.raw = []
        self.refused = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def log_message(self, *unused):
                pass

            def sse(self, payloads, pause=0.0, end=True):
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.sse_more(payloads, pause, end)

            def sse_more(self, payloads, pause=0.0, end=True):
                for p in payloads:
                    data = p.encode() if isinstance(p, str) else p
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                    if pause:
                        self.wfile.flush()
                        time.sleep(pause)
                if end:
                    self.wfile.write(b"0\r\n\r\n")
                self.wfile.flush()

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
                self.plain(status, json.dumps({"error": {"message": message, **more}}), headers=headers)

            def cut(self):
                """Resets the connection."""
                self.wfile.flush()
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                self.connection.close()
                self.close_connection = True

            def do_POST(self):  # pylint: disable=invalid-name
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                body = json.loads(raw)
                outer.bodies.append(body)
                outer.raw.append(raw)
                why = illegal(body)
                if outer.key and self.headers.get("Authorization") != "Bearer " + outer.key:
                    self.error(401, "Incorrect API key provided: " + self.headers.get("Authorization", "none")[7:])
                    return
                if why:
                    outer.refused.append(why)
                    self.error(400, why)
                    return
                n = sum(m["role"] == "assistant" for m in body["messages"])
                answer = outer.answers(n, body)
                try:
                    if callable(answer):
                        answer(self)
                    else:
                        self.sse(chunks(answer))
                except OSError:
                    self.close_connection = True

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *unused):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.server.server_address[1]}/v1"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.server.shutdown()
        self.server.server_close()

    def options(self):
        return ["--model", "mock/m", "--base-url", self.url, "--api", "chat"]
