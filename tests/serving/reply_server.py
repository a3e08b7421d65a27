"""A server in a thread that gives odd replies: a request names its reply in its last message, as `reply: NAME.`"""

import json
import re
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.serving.odd_replies import SAID, OddReply

_NAMED = re.compile(r"reply: ([^.]+)\.")


class ReplyServer(ThreadingHTTPServer):
    """Gives replies by name, to models that are named by how they are read."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, replies: Mapping[str, OddReply]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.replies = replies
        self.requests: Counter[tuple[str, str]] = Counter()

    def handle_error(self, request: object, client_address: object) -> None:
        """Says nothing of clients that are gone."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ReplyServer

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        named = _NAMED.search(asked["messages"][-1]["content"])
        assert named is not None
        reply = self.server.replies[named[1]]
        self.server.requests[asked["model"], reply.name] += 1
        body = reply.make(SAID[asked["model"]])
        self.send_response(reply.status)
        for name, value in {**reply.headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def serve_replies(*replies: OddReply) -> Iterator[ReplyServer]:
    """Runs the server."""
    server = ReplyServer({reply.name: reply for reply in replies})
    assert len(server.replies) == len(replies), "two replies have one name"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
