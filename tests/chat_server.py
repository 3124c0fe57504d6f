"""A small server of chat completions on this machine, which answers as a test wants."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Reply(NamedTuple):
    """Status and body of a response. A pause that the client is told to make is 1 ms."""

    status: int
    body: bytes


def completion(text: str | None, **message: Any) -> Reply:
    """A chat completion as OpenAI's API has it."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text, **message}}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    fields = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}
    return Reply(200, json.dumps(fields).encode())


@dataclass
class ChatServer:
    """What came in; `most` is how many requests were under way at once."""

    url: str
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    most: int = 0
    under_way: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextlib.contextmanager
def serve(answer: Callable[[dict[str, Any]], Reply]) -> Iterator[ChatServer]:
    """Serve while the block runs; `answer` is called with the body of every request."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with state.lock:
                state.bodies.append(body)
                state.keys.append(self.headers.get("Authorization"))
                state.under_way += 1
                state.most = max(state.most, state.under_way)
            try:
                known = self.path == "/v1/chat/completions"
                reply = answer(body) if known else Reply(404, b'{"error": {"message": "no such path"}}')
            finally:
                with state.lock:
                    state.under_way -= 1
            # The client may have given up by now.
            with contextlib.suppress(ConnectionError):
                self.send_response(reply.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(reply.body)))
                self.send_header("Retry-After-Ms", "1")
                self.end_headers()
                self.wfile.write(reply.body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state = ChatServer(f"http://127.0.0.1:{server.server_port}/v1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
