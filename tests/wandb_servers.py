"""Servers in place of W&B's, each with a fault, on this machine."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

KEY = "0" * 40


@contextmanager
def faulty_server(fault: str) -> Iterator[tuple[str, list[str]]]:
    """The address of a server, and the requests that it gets; `fault`: refused, silent, or the status it answers."""
    requests: list[str] = []
    if fault in ("refused", "silent"):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            if fault == "silent":
                listener.listen(64)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", requests  # bound, so no other process listens there
        return

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            requests.append(self.path)
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = b'{"errors": [{"message": "not today"}]}'
            self.send_response(int(fault))
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        server.server_close()


def variables(home: Path, address: str, key: str | None) -> dict[str, str]:
    """Environment variables of a user whose W&B server has this address, and who has this key or none."""
    given = {} if key is None else {"WANDB_API_KEY": key}
    return {"WANDB_MODE": "online", "WANDB_BASE_URL": address, "HOME": str(home), "NETRC": str(home / "netrc"), **given}
