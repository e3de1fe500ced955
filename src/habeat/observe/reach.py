"""Does an address answer? By ICMP echo, or by TCP where the network lets no ICMP through.

An address that was asked and stays silent is Down; one that could not even be asked (no route, no permission, no
such name) is Unknown, because then the fault may be ours.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from dataclasses import dataclass

import icmplib

from habeat.errors import LOCAL_FAULTS
from habeat.model import Down, Evidence, Unknown, Up


@dataclass(frozen=True)
class Icmp:
    """Up to `count` echo requests, each with a time-out in seconds; the first reply settles it."""

    count: int
    timeout: float
    kind: str = "icmp"

    def __call__(self, address: str) -> Evidence:
        """Return what the echo requests found; a name is asked at each of its addresses until one answers."""
        try:
            found = [entry[4][0] for entry in socket.getaddrinfo(address, None, type=socket.SOCK_DGRAM)]
        except OSError as error:
            return Unknown(f"has no address: the name cannot be resolved ({error.strerror or error})")
        evidence: Evidence = Unknown("has no address")
        for ip in dict.fromkeys(map(str, found)):
            evidence = self._ask(ip)
            if isinstance(evidence, Up):
                break
        return evidence

    def _ask(self, ip: str) -> Evidence:
        try:
            sent = 0
            for _ in range(self.count):
                host = _ping(ip, self.timeout)
                sent += host.packets_sent
                if host.is_alive:
                    return Up(f"answers ping in {host.avg_rtt:.1f} ms")
        except icmplib.SocketPermissionError:
            return Unknown("cannot be pinged: this process may not send ICMP (it needs CAP_NET_RAW)")
        except icmplib.ICMPLibError as error:
            return Unknown(f"cannot be pinged: {error}")
        if sent == 0:
            return Unknown("cannot be pinged: no packet could be sent from here (no route, or the link is down)")
        return Down(f"does not answer ping ({sent} sent)")


def _ping(ip: str, timeout: float) -> icmplib.Host:
    try:
        return icmplib.ping(ip, count=1, timeout=timeout)
    except icmplib.SocketPermissionError:
        return icmplib.ping(ip, count=1, timeout=timeout, privileged=False)


@dataclass(frozen=True)
class Tcp:
    """Up to `count` TCP connects to one port, each with a time-out in seconds; a refusal is an answer too."""

    port: int
    count: int
    timeout: float

    @property
    def kind(self) -> str:
        """Return how this probe is named in the evidence."""
        return f"tcp:{self.port}"

    def __call__(self, address: str) -> Evidence:
        """Return what the connects found."""
        for _ in range(self.count):
            begun = time.monotonic()
            try:
                socket.create_connection((address, self.port), self.timeout).close()
            except ConnectionRefusedError:
                return Up(f"answers on port {self.port} (refused)")
            except socket.gaierror as error:
                return Unknown(f"has no address: the name cannot be resolved ({error.strerror})")
            except TimeoutError:
                continue
            except OSError as error:
                if error.errno in LOCAL_FAULTS and not _routed(address):
                    return Unknown(f"cannot be asked from here: {error.strerror}")
                time.sleep(max(0.0, begun + self.timeout - time.monotonic()))
            else:
                return Up(f"answers on port {self.port}")
        return Down(f"does not answer on port {self.port} ({self.count} tries)")


def _routed(address: str) -> bool:
    """Tell whether this host has a way to an address: then it was somebody on that way who said there is none."""
    try:
        kind, _, _, _, place = socket.getaddrinfo(address, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(kind, socket.SOCK_DGRAM) as idle:
            idle.connect(place)  # asks the routing table, and sends nothing
    except OSError:
        return False
    return True


def own(address: str) -> bool:
    """Tell whether an address is one of this host's: what is sent there would come from that very address."""
    try:
        kind, _, _, _, place = socket.getaddrinfo(address, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(kind, socket.SOCK_DGRAM) as idle:
            idle.connect(place)  # asks the routing table, and sends nothing
            source = idle.getsockname()[0]
    except OSError:
        return False
    return bool(source == place[0]) and not ipaddress.ip_address(place[0]).is_loopback  # the lab's whole world
