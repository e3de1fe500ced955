"""A HetrixTools of our own: a real HTTPS server that answers as its API does, v3 and v1, and keeps what it was asked.

As a program it reads its state anew for each request, so a test renames a new file over the old one:
`python tests/hetrix_double.py --address ADDRESS --port PORT --cert cert.pem --key key.pem --state state.json
--token TOKEN [--log requests.jsonl]`. The state is JSON, all of it optional but the first:

monitors  monitors as v3 lists them; `ago` in the place of `last_check`, in locations too, counts back from now
per_page  the most monitors that it puts on a page, whatever it is asked for
paged     false: v3 does not tell of pages
clock     seconds by which its clock is ahead
date      false: it does not tell the time
headers   more headers for every answer
answer    what it answers instead: {"status", "headers", "body", "raw", "delay", "drip"}; all but the first optional
          (`raw` is sent as it is, `delay` in seconds comes before, `drip` between any two bytes)

Form: docs.hetrixtools.com/api/v3/. For v1, where users of it publish answers: pages count from 0, numbers are often
text, the states are whole phrases, and the report's address has the token in it. Its error texts are our own guess.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

SELDOM = 0.02
V1_STATES = {
    "active": "Active",
    "paused": "Paused",
    "disabled": "Disabled",
    "maint": "Maintenance With Notifications",
    "maint_dnd": "Maintenance Without Notifications",
}
V1_TYPES = {"smtp": "SMTP"}

State = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """One request as it came: the path with its query, and header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Canned:
    """What is sent back; see the top of this module."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    raw: str = ""
    delay: float = 0.0
    drip: float = 0.0


class HetrixDouble:
    """The server, in threads of its own; `state` is read for each request, and `respond` may answer instead."""

    def __init__(
        self, cert: Path, key: Path, token: str, *, address: str = "127.0.0.1", port: int = 0, log: Path | None = None
    ) -> None:
        self.token = token
        self.closing = threading.Event()
        self.reset()
        self._log = log
        self._lock = threading.Lock()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        self._server = _Server((address, port), self, context)
        self.port = int(self._server.server_address[1])

    def reset(self) -> None:
        """Forget all that was asked and told, and break off whatever answer is still waiting or dripping."""
        self.closing.set()
        self.closing = threading.Event()
        self.state: State = {"monitors": []}
        self.read: Callable[[], State] = lambda: self.state
        self.respond: Callable[[Asked], Canned | None] = lambda _asked: None
        self.clock: Callable[[], float] = time.time
        self.requests: list[Asked] = []
        self.connections = 0

    def serve(self) -> None:
        """Answer until `close`."""
        self._server.serve_forever(SELDOM)

    def close(self) -> None:
        """End it, and whatever answer is still dripping."""
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, asked: Asked) -> Canned:
        """Return what it says to a request, and keep the request."""
        with self._lock:
            self.requests.append(asked)
            if self._log:
                with self._log.open("a", encoding="utf-8") as log:
                    log.write(json.dumps(asdict(asked)) + "\n")
        state, now = self.read(), self.clock()
        now += float(state.get("clock", 0))
        chosen = self.respond(asked)
        if chosen is None:
            chosen = Canned(**state["answer"]) if "answer" in state else self._listing(asked, state, now)
        told = {"Date": formatdate(now, usegmt=True)} if state.get("date", True) else {}
        headers = {"Content-Type": "application/json", **told, **state.get("headers", {}), **chosen.headers}
        return Canned(**{**vars(chosen), "headers": headers})

    def _listing(self, asked: Asked, state: State, now: float) -> Canned:
        url = urlsplit(asked.path)
        monitors = [_timed(monitor, now) for monitor in state["monitors"]]
        words = url.path.strip("/").split("/")
        if words[0] == "v1" and len(words) == 6 and words[2:4] == ["uptime", "monitors"]:
            return self._v1(unquote(words[1]), int(words[4]), min(int(words[5]), state.get("per_page", 200)), monitors)
        if asked.headers.get("authorization") != f"Bearer {self.token}" or url.path != "/v3/uptime-monitors":
            return _v3_error(401, "unauthorized", "invalid authorization")
        query = dict(parse_qsl(url.query))
        number, size = int(query.get("page", 1)), int(query.get("per_page", 20))
        if not (1 <= size <= 200 and 1 <= number <= 10000):
            return _v3_error(400, "bad_request", "invalid page or per_page")
        return _v3_page(
            [monitor for monitor in monitors if query.get("name", "").lower() in monitor["name"].lower()],
            (number, min(size, state.get("per_page", 200))),
            len(monitors),
            paged=state.get("paged", True),
        )

    def _v1(self, token: str, number: int, size: int, monitors: list[State]) -> Canned:
        if token != self.token:
            return Canned(body=json.dumps({"status": "ERROR", "error_message": "invalid API token"}))
        page = monitors[number * size : (number + 1) * size]
        return Canned(body=json.dumps([[_as_v1(monitor, token) for monitor in page]]))


@contextlib.contextmanager
def running(folder: Path, token: str, clock: Callable[[], float] = time.time) -> Iterator[HetrixDouble]:
    """Give a server on loopback, with the certificate in a folder, which ends with the context."""
    double = HetrixDouble(folder / "cert.pem", folder / "key.pem", token)
    double.clock = clock
    thread = threading.Thread(target=double.serve, daemon=True)
    thread.start()
    try:
        yield double
    finally:
        double.close()
        thread.join()


def _timed(thing: Any, now: float) -> Any:
    if not isinstance(thing, dict):
        return thing
    timed = {key: value for key, value in thing.items() if key != "ago"}
    if "ago" in thing:
        timed["last_check"] = int(now - thing["ago"])
    if isinstance(thing.get("locations"), dict):
        timed["locations"] = {name: _timed(seen, now) for name, seen in thing["locations"].items()}
    return timed


def _v3_error(status: int, word: str, message: str) -> Canned:
    return Canned(status, body=json.dumps({"status": word, "message": message}))


def _v3_page(matching: list[State], wanted: tuple[int, int], total: int, *, paged: bool) -> Canned:
    number, size = wanted
    page = matching[(number - 1) * size : number * size]
    last = max(1, -(-len(matching) // size))
    pagination = {
        "current": number,
        "last": last,
        "previous": number - 1 or None,
        "next": number + 1 if number < last else None,
    }
    meta: State = {"total": total, "total_filtered": len(matching), "returned": len(page)}
    return Canned(
        body=json.dumps({"monitors": page, "meta": {**meta, **({"pagination": pagination} if paged else {})}})
    )


def _as_v1(monitor: State, token: str) -> State:
    kind, locations = str(monitor.get("type", "ping")), monitor.get("locations")
    words = {
        "Type": V1_TYPES.get(kind, kind.title()),
        "Status": V1_STATES.get(str(monitor.get("monitor_status")), monitor.get("monitor_status")),
        "Uptime_Status": {"up": "Online", "down": "Offline"}.get(
            str(monitor.get("uptime_status")), monitor.get("uptime_status")
        ),
    }
    return {
        "ID": monitor.get("id"),
        **words,
        "Name": monitor.get("name"),
        "Target": monitor.get("target"),
        "Check_Frequency": str(monitor.get("check_frequency", 1)),
        "Last_Check": monitor.get("last_check"),
        "Response_Time": {
            name.title(): str(seen.get("response_time", 0))
            for name, seen in (locations.items() if isinstance(locations, dict) else ())
        },
        "Report_Links": {"API_Report_Link": f"https://localhost/v1/{token}/uptime/report/{monitor.get('id')}/"},
    }


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, place: tuple[str, int], double: HetrixDouble, context: ssl.SSLContext) -> None:
        self.double = double
        self._context = context
        super().__init__(place, _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        plain, peer = super().get_request()
        self.double.connections += 1
        # The handshake comes with the first byte read, in the thread that serves the connection.
        return self._context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False), peer

    def handle_error(self, *_: Any) -> None:
        """Say nothing: clients that hang up, or do not trust us, are what tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 10.0

    def do_GET(self) -> None:
        double = self.server.double
        closing = double.closing
        asked = Asked(self.command, self.path, {name.lower(): value for name, value in self.headers.items()})
        answer = double.answer(asked)
        closing.wait(answer.delay)
        self._send(answer, closing)

    def _send(self, answer: Canned, closing: threading.Event) -> None:
        body = answer.body.encode("utf-8", "surrogatepass")
        lines = [f"HTTP/1.1 {answer.status} {answer.status}", f"Content-Length: {len(body)}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in answer.headers.items()]
        data = answer.raw.encode() if answer.raw else "\r\n".join([*lines, "", ""]).encode() + body
        if not answer.drip:
            self.wfile.write(data)
            return
        for sign in data:
            self.wfile.write(bytes([sign]))
            if closing.wait(answer.drip):
                return

    def log_message(self, *_: Any) -> None:
        """Say nothing: the requests are kept."""


def main() -> None:
    """Run it as a program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=443, help="0: any, see the line that tells that it listens")
    for name in ("--cert", "--key", "--state"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--token", required=True)
    parser.add_argument("--log", type=Path, help="where each request is written, as a line of JSON")
    given = parser.parse_args()
    double = HetrixDouble(given.cert, given.key, given.token, address=given.address, port=given.port, log=given.log)
    double.read = lambda: json.loads(given.state.read_text(encoding="utf-8"))
    sys.stdout.write(f"listening on {given.address} port {double.port}\n")
    sys.stdout.flush()
    with contextlib.suppress(KeyboardInterrupt):
        double.serve()


if __name__ == "__main__":
    main()
