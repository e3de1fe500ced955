"""How the Consul servers' habeats tell each other of a recovery, when Consul cannot.

Wire format, one line of JSON each way over TCP, each `{"body": TEXT, "mac": HEX}` where `mac` is HMAC-SHA256 with the
shared secret over a word for the direction, a line feed and `body`. The question's body is JSON with a `nonce` that is
never used again; the answer's body repeats it, so that an old answer proves nothing, and names the site and the node id
of who answers, so that one server's answer cannot pass for another's. Who does not know the secret is told nothing and
believed nothing. Nothing secret travels.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import secrets
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from habeat.guard import Heard, Word
from habeat.model import Unknown
from habeat.observe import Question, side_by_side
from habeat.quorum import epoch_of, recovery_of, to_json

TIMEOUT = 3.0
LARGEST = 64 * 1024
AT_ONCE = 16
ASK, ANSWER = "habeat asks 1", "habeat answers 1"


@dataclass(frozen=True)
class Channel:
    """Asks other servers; `places` are (address, site) of all of them but this one."""

    secret: str
    port: int
    places: Sequence[tuple[str, str]]

    def ask(self, site: str = "") -> list[Heard]:
        """Return the word of every server, or of those in a site, asked side by side, each within `TIMEOUT` seconds."""

        def silent(address: str, site: str, unknown: Unknown) -> Heard:
            return Heard(address, site, unknown)

        questions = [
            Question(partial(self._ask, address, place), partial(silent, address, place))
            for address, place in self.places
            if site in ("", place)
        ]
        none: list[Question[Heard]] = []
        return side_by_side(questions, none, TIMEOUT + 1.0)[0]

    def _ask(self, address: str, site: str) -> Heard:
        nonce = secrets.token_hex(16)
        try:
            with socket.create_connection((address, self.port), TIMEOUT) as connection:
                connection.sendall(_sealed(self.secret, ASK, {"nonce": nonce}))
                line = _line(connection, time.monotonic() + TIMEOUT)
        except OSError as error:
            return Heard(address, site, Unknown(f"gives no answer on port {self.port} ({error.strerror or error})"))
        body = _opened(self.secret, ANSWER, line)
        if body is None or body.get("nonce") != nonce:
            return Heard(address, site, Unknown(f"gives no answer on port {self.port} that knows our secret"))
        try:
            word = Word(
                str(body["site"]),
                str(body["server"]),
                epoch_of(body["epoch"]),
                recovery_of(body["recovery"]),
                str(body["state"]),
                led=body.get("led") is True,
            )
        except (KeyError, TypeError, ValueError):
            return Heard(address, site, Unknown("answers in a form that this version of habeat does not know"))
        if word.site != site:
            return Heard(address, site, Unknown(f"says that it stands in the {word.site} site, not in {site}"))
        return Heard(address, site, word)


def serve(
    secret: str,
    place: tuple[str, int],
    servers: Iterable[str],
    word: Callable[[str], Word],
    say: Callable[[str], None],
) -> None:
    """Answer at an address and port for ever; raises OSError where it cannot be listened at.

    The addresses of `servers` keep their own share of what is answered at once, whoever else keeps this one busy.
    `word` is given who asks, and `say` hears why nothing can be told, when that changes.
    """
    known = {str(entry[4][0]) for server in servers for entry in _resolved(server)}
    ours, strangers = threading.BoundedSemaphore(AT_ONCE), threading.BoundedSemaphore(AT_ONCE)
    teller = _Teller(word, say)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            slots = ours if self.client_address[0] in known else strangers
            if not slots.acquire(blocking=False):
                return
            try:
                with contextlib.suppress(OSError):
                    self._answer(self.request, str(self.client_address[0]))
            finally:
                slots.release()

        def _answer(self, connection: socket.socket, asker: str) -> None:
            body = _opened(secret, ASK, _line(connection, time.monotonic() + TIMEOUT))
            if body is not None and (told := teller.tell(asker)) is not None:
                connection.sendall(_sealed(secret, ANSWER, {**told, "nonce": body.get("nonce")}))

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        request_queue_size = 128
        daemon_threads = True
        address_family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET

    with Server(place, Handler) as server:
        server.serve_forever()


def _resolved(server: str) -> list[Any]:
    try:
        return socket.getaddrinfo(server, None, type=socket.SOCK_STREAM)
    except OSError:
        return []  # it is answered all the same, among the strangers


@dataclass
class _Teller:
    """Tells this server's word, or why there is none."""

    word: Callable[[str], Word]
    say: Callable[[str], None]
    complaint: str = ""

    def tell(self, asker: str) -> dict[str, Any] | None:
        """Return what is answered, or None, which is silence, where this server cannot tell."""
        try:
            said, complaint = self.word(asker), ""
        except Exception as error:  # noqa: BLE001  a journal that cannot be read must not end the service
            said, complaint = None, f"the other servers are told nothing: {error}"
        if complaint != self.complaint:
            self.complaint = complaint
            self.say(complaint or "the other servers are told again")
        if said is None:
            return None
        recovery = json.loads(to_json(said.recovery)) if said.recovery else None
        return {**asdict(said), "recovery": recovery}


def _sealed(secret: str, direction: str, body: dict[str, Any]) -> bytes:
    text = json.dumps(body)
    return json.dumps({"body": text, "mac": _mac(secret, direction, text)}).encode() + b"\n"


def _opened(secret: str, direction: str, line: bytes) -> dict[str, Any] | None:
    """Return the body of a line that was sealed with our secret, or None."""
    try:
        data = json.loads(line)
        text, mac = str(data["body"]), str(data["mac"])
        if not hmac.compare_digest(mac.encode(), _mac(secret, direction, text).encode()):
            return None
        body = json.loads(text)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _mac(secret: str, direction: str, text: str) -> str:
    return hmac.new(secret.encode(), f"{direction}\n{text}".encode(), hashlib.sha256).hexdigest()


def _line(connection: socket.socket, deadline: float) -> bytes:
    """Return one line; raises OSError where it does not come in time, or is too long."""
    data = b""
    while not data.endswith(b"\n"):
        connection.settimeout(max(0.01, deadline - time.monotonic()))
        block = connection.recv(4096)
        data += block
        if not block or len(data) > LARGEST or time.monotonic() > deadline:
            raise OSError("no complete line came")
    return data
