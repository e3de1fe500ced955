"""The word between Consul servers' habeats: real sockets on loopback, and people in between."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from habeat.act import channel
from habeat.act.channel import Channel, serve
from habeat.guard import Heard, Word
from habeat.model import Unknown
from habeat.quorum import Epoch, Recovery, Server, Stage
from mesh import eventually

SECRET = "0123456789abcdef"
WORD = Word(
    "primary",
    "id-1",
    Epoch(2, "x", "svc1", 5.0),
    Recovery(1, 1, Epoch(2, "x", "svc1", 5.0), (Server("id-1", "svc1", "127.0.0.1"),), Stage.PROVED),
    "active",
    led=True,
)


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture
def answering() -> int:
    """Give the port of a server that tells WORD."""
    port = free_port()
    threading.Thread(
        target=serve, args=(SECRET, ("127.0.0.1", port), (), lambda _asker: WORD, print), daemon=True
    ).start()
    assert _open(port)
    return port


def _open(port: int) -> bool:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.02)
    return False


def heard(port: int, secret: str = SECRET, site: str = "primary") -> Heard:
    """Ask once."""
    (item,) = Channel(secret, port, [("127.0.0.1", site)]).ask()
    return item


def why(item: Heard) -> str:
    """Return why nothing was heard."""
    assert isinstance(item.word, Unknown)
    return item.word.reason


def test_who_knows_the_secret_is_told(answering: int) -> None:
    """The word comes over whole."""
    assert heard(answering).word == WORD


def test_who_does_not_is_told_nothing(answering: int) -> None:
    """Another secret, or none, gets not one byte; and a server with another secret is not believed."""
    assert "gives no answer" in why(heard(answering, "another-secret-16"))
    with socket.create_connection(("127.0.0.1", answering), 5) as stranger:
        stranger.sendall(b'{"body": "{}", "mac": ""}\n')
        stranger.settimeout(5)
        assert b"" == stranger.recv(100)


def test_a_server_in_another_site_is_not_taken_for_it(answering: int) -> None:
    """A question that was led astray to the wrong site's server tells nothing."""
    assert "says that it stands in the primary site, not in secondary" in why(heard(answering, site="secondary"))


def between(port: int, tamper: Callable[[bytes], bytes]) -> int:
    """Return the port of somebody in between who forwards a question and changes the answer."""
    listener = socket.create_server(("127.0.0.1", 0))

    def forward() -> None:
        with listener:
            client, _ = listener.accept()
            with client, socket.create_connection(("127.0.0.1", port), 5) as server:
                server.sendall(client.recv(65536))
                client.sendall(tamper(server.recv(65536)))

    threading.Thread(target=forward, daemon=True).start()
    return int(listener.getsockname()[1])


def test_an_answer_that_was_changed_is_none(answering: int) -> None:
    """One digit of the epoch changed on the way, and nothing is believed."""
    port = between(answering, lambda line: line.replace(b'\\"number\\": 2', b'\\"number\\": 0'))
    assert "that knows our secret" in why(heard(port))
    assert heard(between(answering, lambda line: line)).word == WORD


def test_an_old_answer_is_none(answering: int) -> None:
    """What was answered before, to another question, proves nothing."""
    kept: list[bytes] = []
    assert heard(between(answering, lambda line: kept.append(line) or line)).word == WORD  # type: ignore[func-returns-value]
    assert "that knows our secret" in why(heard(between(answering, lambda _line: kept[0])))


def test_a_question_is_no_answer() -> None:
    """A question that is sent back to who asked is not taken for an answer."""
    listener = socket.create_server(("127.0.0.1", 0))

    def echo() -> None:
        with listener:
            client, _ = listener.accept()
            with client:
                client.sendall(client.recv(65536))

    threading.Thread(target=echo, daemon=True).start()
    assert "that knows our secret" in why(heard(int(listener.getsockname()[1])))


@pytest.mark.parametrize("rubbish", [b"{}\n", b"[1]\n", b"\xff\xfe\n", b'{"body": 1, "mac": 2}\n', b"x" * 100000])
def test_rubbish_is_no_answer(answering: int, rubbish: bytes) -> None:
    """Whatever is sent instead is Unknown, never an error; and rubbish sent to the server does not end it."""
    assert isinstance(heard(between(answering, lambda _line: rubbish)).word, Unknown)
    with socket.create_connection(("127.0.0.1", answering), 5) as stranger:
        stranger.sendall(rubbish)
    assert heard(answering).word == WORD


def test_silence_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """I4: who takes the connection and says nothing, or a byte now and then, is given up on."""
    monkeypatch.setattr(channel, "TIMEOUT", 0.5)
    listener = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        client, _ = listener.accept()
        with client, listener:
            for _ in range(50):
                try:
                    client.sendall(b" ")
                except OSError:
                    return
                time.sleep(0.1)

    threading.Thread(target=drip, daemon=True).start()
    begun = time.monotonic()
    assert "gives no answer" in why(heard(int(listener.getsockname()[1])))
    assert time.monotonic() - begun < 3


def test_slow_strangers_do_not_shut_others_out(answering: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """I4: connections that say nothing end by themselves, and a question is answered after that."""
    monkeypatch.setattr(channel, "TIMEOUT", 0.5)
    idle = [socket.create_connection(("127.0.0.1", answering), 5) for _ in range(3 * channel.AT_ONCE)]
    eventually(lambda: heard(answering).word == WORD, "it answers again", 10)
    for connection in idle:
        connection.close()


def test_strangers_never_keep_a_server_waiting() -> None:
    """I4: however many strangers hold connections open, the other Consul servers are answered meanwhile."""
    port = free_port()
    args = (SECRET, ("127.0.0.1", port), ("127.0.0.1", "no-such-host.invalid"), lambda _asker: WORD, print)
    threading.Thread(target=serve, args=args, daemon=True).start()
    assert _open(port)
    place, stranger = ("127.0.0.1", port), ("127.0.0.9", 0)
    idle = [socket.create_connection(place, 5, stranger) for _ in range(3 * channel.AT_ONCE)]
    assert heard(port).word == WORD
    idle[0].settimeout(0.1)
    with pytest.raises(TimeoutError):  # it is still held open, so that it was really in the way
        idle[0].recv(1)
    for connection in idle:
        connection.close()


def test_a_server_that_cannot_tell_is_silent() -> None:
    """A journal that cannot be read is silence, not a word that all is well; and the service goes on, and says why."""
    port, broken, said = free_port(), [True], list[str]()

    def tell(_asker: str) -> Word:
        if broken:
            raise OSError("the disk is gone")
        return replace(WORD, state="standby")

    threading.Thread(target=serve, args=(SECRET, ("127.0.0.1", port), (), tell, said.append), daemon=True).start()
    assert _open(port)
    assert "gives no answer" in why(heard(port))
    assert "gives no answer" in why(heard(port))
    broken.clear()
    assert isinstance(heard(port).word, Word)
    assert ["the other servers are told nothing: the disk is gone", "the other servers are told again"] == said
    assert json.dumps(why(heard(free_port()))).count("refused") == 1
