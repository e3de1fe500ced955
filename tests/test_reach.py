"""Does an address answer? Silence, refusal and a fault of our own are told apart (I1)."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable

import icmplib
import pytest

from habeat.lab.sites import Host
from habeat.model import Down, Unknown, Up
from habeat.observe import reach
from habeat.observe.reach import Icmp, Tcp

RAW = pytest.mark.skipif(os.geteuid() != 0, reason="raw ICMP needs root")


@RAW
@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "localhost"])
def test_ping_is_answered(address: str) -> None:
    """IPv4, IPv6 and names are pinged for real."""
    evidence = Icmp(2, 1.0)(address)
    assert isinstance(evidence, Up), evidence
    assert evidence.reason.startswith("answers ping in ")


@RAW
@pytest.mark.netns
@pytest.mark.parametrize("probe", ["Icmp(1, 0.2)", "Tcp(7025, 1, 0.2)"])
def test_no_route_is_not_silence(probe: str) -> None:
    """On a host without any route an address is unknown, not silent: the fault is ours."""
    code = f"from habeat.observe.reach import *; print({probe}('10.0.0.1'))"
    argv = ["unshare", "--net", sys.executable, "-c", code]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert said.startswith("Unknown"), said
    assert "no packet could be sent" in said or "Network is unreachable" in said


@pytest.mark.parametrize("probe", [Icmp(1, 0.2), Tcp(7025, 1, 0.2)])
def test_unknown_name(probe: Callable[[str], object]) -> None:
    """A name without an address is unknown, never down."""
    evidence = probe("no-such-host.invalid")
    assert isinstance(evidence, Unknown)
    assert "cannot be resolved" in evidence.reason


def test_no_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the right to send ICMP at all, the answer is unknown, and names the right."""

    def refuse(*_args: object, **kwargs: bool) -> None:
        raise icmplib.SocketPermissionError(kwargs.get("privileged", True))

    monkeypatch.setattr(icmplib, "ping", refuse)
    evidence = Icmp(1, 0.2)("127.0.0.1")
    assert isinstance(evidence, Unknown)
    assert "CAP_NET_RAW" in evidence.reason


def test_tcp_answers_refuses_and_is_silent() -> None:
    """A connection and a refusal are answers; a port behind which nothing stirs is silence."""
    host = Host("127.0.0.1")
    probe = Tcp(host.port, 2, 0.2)
    assert Up(f"answers on port {host.port}") == probe("127.0.0.1")
    host.silence()
    assert Down(f"does not answer on port {host.port} (2 tries)") == probe("127.0.0.1")
    host.speak()
    assert isinstance(probe("127.0.0.1"), Up)
    host.close()
    assert Up(f"answers on port {host.port} (refused)") == probe("127.0.0.1")


def test_tcp_without_a_route(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connect that never left this machine is unknown."""

    def refuse(*_args: object) -> None:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(reach, "_routed", lambda _address: False)
    assert Unknown("cannot be asked from here: Network is unreachable") == Tcp(7025, 1, 0.1)("192.0.2.1")


def test_tcp_that_a_router_turns_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """A router that says that the other site's network is gone is silence of the target, not a fault of this host."""

    def refuse(*_args: object) -> None:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket, "create_connection", refuse)
    assert Down("does not answer on port 7025 (2 tries)") == Tcp(7025, 2, 0.05)("127.0.0.1")
