# A small stand-in for Greenroom on loopback, whose backends behave as a test says, and a webhook that remembers what it got.
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ADMIN, PINNER = "admin-token", "pinner-token"


class Server:
    """An HTTP server on 127.0.0.1:0 in a thread; `with` stops it."""

    def __init__(self, handler):
        owner = self

        class Handler(handler):
            server_owner = owner

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()
        self.thread.join(timeout=5)


class Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, status, value, length=None):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(length if length is not None else len(data)))
        self.end_headers()
        self.wfile.write(data)


class FakeProxy(Server):
    """Backends by name, each with a behaviour: healthy, reasoning, failing, nonsense, cut, drip, empty, no_done, error_frame, rude."""

    def __init__(self, backends, models=("gpt-4o", "gpt-4o-mini"), delay=0.0, listens_for=("/v1/", "/admin/")):
        self.listens_for = listens_for
        self.backends, self.models, self.delay = dict(backends), list(models), delay
        self.serves = {}  # of a backend other models than all have
        self.unserved = {}  # why each backend of a model takes no requests for it
        self.listed, self.lists = 0, None  # how often the backends were listed, and may be before that fails; None: always
        self.chats = []
        super().__init__(ProxyHandler)

    def asked(self):
        return sorted(chat["backend"] for chat in self.chats)


class ProxyHandler(Quiet):
    def token(self):
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ")

    def refuse(self, status, code, message, param=None):
        error = {"message": message, "type": "invalid_request_error", "param": param, "code": code, "request_id": "req_1"}
        self.answer(status, {"error": error})

    def known(self):
        if self.token() in (ADMIN, PINNER):
            return True
        self.refuse(401, "invalid_api_key", "Missing or unknown API key.")
        return False

    def do_GET(self):
        proxy = self.server_owner
        if not self.known():
            return
        proxy.listed += self.path == "/admin/backends"
        if not self.path.startswith(proxy.listens_for):
            self.refuse(404, "unknown_endpoint", f"There is no GET {self.path} here.")
        elif self.path == "/v1/models":
            self.answer(200, {"object": "list", "data": [{"id": model, "object": "model"} for model in proxy.models]})
        elif self.path == "/admin/backends" and proxy.lists is not None and proxy.listed > proxy.lists:
            self.refuse(503, "internal_error", "Not now.")
        elif self.path == "/admin/backends" and self.token() == ADMIN:
            lists = {name: proxy.serves.get(name, proxy.models) for name in proxy.backends}
            backends = [{"name": name, "models": [{"model": m} for m in models]} for name, models in lists.items()]
            unserved = [{"model": model, "reasons": reasons} for model, reasons in proxy.unserved.items()]
            self.answer(200, {"backends": backends, "unserved": unserved})
        elif self.path == "/admin/backends":
            self.refuse(403, "permission_denied", "You may not use this endpoint.")
        else:
            self.refuse(404, "unknown_endpoint", "There is nothing here.")

    def do_POST(self):
        proxy, raw = self.server_owner, self.body()
        if not self.known():
            return
        if self.path != "/v1/chat/completions":
            self.refuse(404, "unknown_endpoint", f"There is no POST {self.path} here.")
            return
        request = json.loads(raw)
        proxy.chats.append(request)
        behaviour = proxy.backends.get(request.get("backend"))
        time.sleep(proxy.delay)
        if behaviour is None:
            self.refuse(400, "backend_not_found", f"There is no backend {request.get('backend')!r}.")
        elif behaviour == "reasoning" and "max_tokens" in request:
            words = "'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
            self.refuse(400, "unsupported_parameter", words, "max_tokens")
        elif behaviour == "reasoning" and request.get("max_completion_tokens", 1000) < 1000:
            self.refuse(400, None, "Could not finish the message because the limit was reached.")
        elif behaviour == "failing":
            self.refuse(502, "upstream_error", "The backend failed: it answered 500.")
        elif behaviour == "rude":
            self.refuse(502, "upstream_error", "red \x1b[31m alert\nsecond line")
        elif behaviour == "nonsense":
            self.answer(200, ["not", "a", "completion"])
        elif behaviour == "empty":
            self.answer(200, {"choices": []})
        elif behaviour == "drip":
            self.drip()
        elif behaviour == "cut":
            self.answer(200, completion(request), length=10_000)
            self.close_connection = True
        elif request.get("stream"):
            self.stream(request, behaviour)
        else:
            self.answer(200, completion(request))

    def drip(self):
        """A byte now and then, for ever: each read succeeds, the answer never comes."""
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        try:
            while True:
                self.wfile.write(b" ")
                self.wfile.flush()
                time.sleep(0.05)
        except OSError:
            self.close_connection = True

    def stream(self, request, behaviour):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

        def send(data):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()

        def frame(delta, **more):
            value = {"model": request["model"], "choices": [{"index": 0, "delta": delta}], **more}
            return b"data: " + json.dumps(value).encode() + b"\n\n"

        send(b": keepalive\n\n")
        whole = frame({"role": "assistant"}) + frame({"content": "Hello "}) + frame({"content": "you"})
        # Cut at odd places: frames need not arrive as they were sent.
        for at in range(0, len(whole), 7):
            send(whole[at : at + 7])
        if behaviour == "error_frame":
            send(b'data: {"error": {"message": "it broke", "code": "upstream_error"}}\n\n')
        elif behaviour != "no_done":
            usage = {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}
            send(b"data: " + json.dumps(usage).encode() + b"\n\ndata: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")


def completion(request):
    text = f"Hello from {request['backend']}"
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 4, "total_tokens": 5}
    return {"object": "chat.completion", "model": request["model"], "choices": [choice], "usage": usage}


class Webhook(Server):
    """Takes messages as Slack does, or refuses them all."""

    def __init__(self, status=200):
        self.messages, self.status = [], status
        super().__init__(WebhookHandler)


class WebhookHandler(Quiet):
    def do_POST(self):
        owner, data = self.server_owner, json.loads(self.body())
        if owner.status == 200:
            owner.messages.append(data)
        self.answer(owner.status, {})
