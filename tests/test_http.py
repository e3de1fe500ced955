"""One HTTP call: bounded as a whole, TLS verified, no secret in an error (I4, I9)."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from habeat.consul import Consul
from habeat.errors import HttpError
from habeat.http import Endpoint

Serve = Callable[[Callable[[socket.socket], None]], int]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Give a server on loopback that treats each connection as it is told."""
    listeners: list[socket.socket] = []

    def start(treat: Callable[[socket.socket], None]) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def loop() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    try:
                        connection.recv(65536)
                        treat(connection)
                    except OSError:
                        pass

        threading.Thread(target=loop, daemon=True).start()
        return int(listener.getsockname()[1])

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def answer(text: str) -> Callable[[socket.socket], None]:
    """Return a treatment that answers with a text."""
    return lambda connection: connection.sendall(text.encode())


def drip(connection: socket.socket) -> None:
    """Answer one byte at a time, for ever."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    for _ in range(200):
        connection.sendall(b"x")
        time.sleep(0.1)


def drip_headers(connection: socket.socket) -> None:
    """Answer with headers without end."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    for _ in range(200):
        connection.sendall(b"x")
        time.sleep(0.1)


def silent(_connection: socket.socket) -> None:
    """Accept, and say nothing."""
    time.sleep(5)


@pytest.mark.parametrize("treat", [silent, drip, drip_headers])
def test_whole_call_is_bounded(serve: Serve, treat: Callable[[socket.socket], None]) -> None:
    """A server that is silent, or never comes to an end, costs no more than the time-out."""
    port = serve(treat)
    begun = time.monotonic()
    with pytest.raises(HttpError, match=r"did not answer within 0\.6 s"):
        Endpoint("127.0.0.1", port, timeout=0.6).call("GET", "/")
    assert time.monotonic() - begun < 2


ODD = {
    "nonsense": ("hello\r\n\r\n", "cannot be asked"),
    "hang up": ("", "cannot be asked"),
    "not JSON": (
        "HTTP/1.1 200 OK\r\nX-Consul-Knownleader: true\r\nContent-Length: 3\r\n\r\nabc",
        "something that is not JSON",
    ),
    "not Consul's": (
        'HTTP/1.1 200 OK\r\nX-Consul-Knownleader: true\r\nContent-Length: 7\r\n\r\n{"a":1}',
        "a form that is not Consul's",
    ),
    "a list of words": (
        'HTTP/1.1 200 OK\r\nX-Consul-Knownleader: true\r\nContent-Length: 5\r\n\r\n["a"]',
        "a form that is not Consul's",
    ),
    "no servers": (
        "HTTP/1.1 500 No\r\nContent-Length: 23\r\n\r\nNo known Consul servers",
        "has an agent here that knows no server",
    ),
    "stale": (
        "HTTP/1.1 200 OK\r\nX-Consul-Knownleader: false\r\nContent-Length: 2\r\n\r\n[]",
        "does not say that it has a leader",
    ),
    "stale too": (
        "HTTP/1.1 200 OK\r\nX-Consul-Knownleader: true\r\nX-Consul-Effective-Consistency: stale\r\nContent-Length: 2\r\n\r\n[]",
        "old data",
    ),
    "forbidden": ("HTTP/1.1 403 No\r\nContent-Length: 13\r\n\r\nACL not found", "does not know the configured token"),
    "denied": ("HTTP/1.1 403 No\r\nContent-Length: 17\r\n\r\nPermission denied", "refuses the configured token"),
    "redirect": ("HTTP/1.1 302 Go\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", "answered 302"),
    "broken off": ("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n[", "it broke off with 49 bytes missing"),
}


@pytest.mark.parametrize("case", ODD)
def test_odd_answers(serve: Serve, case: str) -> None:
    """Whatever is not a clean answer of Consul's is an error with a sentence, and the token is not in it."""
    text, words = ODD[case]
    endpoint = Endpoint("127.0.0.1", serve(answer(text)), timeout=2, headers={"X-Consul-Token": "hunter2"})
    with pytest.raises(HttpError, match=words) as caught:
        Consul(endpoint).health("agent-mbox1-example-com")
    assert "hunter2" not in str(caught.value) + repr(endpoint)


def test_token_that_http_cannot_carry() -> None:
    """A token with a line break is never quoted (I9)."""
    endpoint = Endpoint("127.0.0.1", 1, headers={"X-Consul-Token": "hunter2\nhunter3"})
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(HttpError) as caught:
        replace(endpoint, port=int(server.getsockname()[1])).call("GET", "/")
    assert "hunter" not in str(caught.value)


def test_time_that_is_up_before_there_is_a_connection(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow resolver eats all the time: what comes after it does not go on without an end."""
    connect = socket.create_connection

    def late(*args: Any, **kwargs: Any) -> socket.socket:
        time.sleep(0.5)
        return connect(*args, **kwargs)

    monkeypatch.setattr(socket, "create_connection", late)
    port, begun = serve(drip), time.monotonic()
    with pytest.raises(HttpError, match=r"did not answer within 0\.3 s"):
        Endpoint("127.0.0.1", port, timeout=0.3).call("GET", "/")
    assert time.monotonic() - begun < 2


def test_missing_ca_file() -> None:
    """A CA file that is not there is named."""
    with pytest.raises(HttpError, match="the CA file /nowhere/ca.pem cannot be read"):
        Endpoint("127.0.0.1", 1, scheme="https", ca_file="/nowhere/ca.pem").call("GET", "/")


def test_check_of_another_node_does_not_count(serve: Serve) -> None:
    """A serfHealth of a node that was not asked for says nothing about the one that was (I1)."""
    body = '[{"Node":"agent-other","CheckID":"serfHealth","Status":"critical"}]'
    port = serve(answer(f"HTTP/1.1 200 OK\r\nX-Consul-Knownleader: true\r\nContent-Length: {len(body)}\r\n\r\n{body}"))
    assert Consul(Endpoint("127.0.0.1", port)).health("agent-mbox1-example-com").serf is None
