"""Is the service announced: by this host, or by the other site? Asked of FRR, of BIRD, of `ip`, or of a command.

What is announced here is a route of this host's own that is sent to a neighbour whose session stands. A route that was
heard from the other site is often sent on, so that a prefix is sent proves nothing by itself.

What the other site announces is heard from the neighbour. That it is not heard counts as soon as the neighbour has
told all that it knows: it says so (End-of-RIB, RFC 4724), or where it cannot, or BIRD does not show it, the session
has stood for `SETTLED`. What a filter or a loop check (one AS number for both sites) throws away is never heard.
"""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from habeat.act.run import Completed, Runner
from habeat.config.switch import AddressCheck, BirdCheck, Check, Command, FrrCheck
from habeat.errors import CommandError
from habeat.model import Down, Evidence, Probe, Unknown, Up
from habeat.observe import bird, frr
from habeat.observe.asking import Ask, UnclearError, ended, quoted

OURS, THEIRS = "announcement", "other site"

Json = dict[str, Any]


@dataclass(frozen=True)
class Look:
    """One check, asked within a time-out in seconds: of this host's announcement, or of the other site's."""

    check: Check
    runner: Runner
    timeout: float
    ours: bool

    @property
    def kind(self) -> str:
        """Return whose announcement it is about."""
        return OURS if self.ours else THEIRS

    @property
    def address(self) -> str:
        """Return what is asked."""
        return str(self.check)

    def __call__(self) -> Probe:
        """Return Up if it is announced, Down if it surely is not, Unknown if that cannot be told."""
        return Probe(self.kind, self.address, self._evidence())

    def _evidence(self) -> Evidence:
        deadline = time.monotonic() + self.timeout

        def ask(argv: Sequence[str]) -> Completed:
            return self.runner.run(argv, max(0.1, round(deadline - time.monotonic(), 1)))

        try:
            return _answer(self.check, ask, ours=self.ours)
        except UnclearError as error:
            return Unknown(str(error))
        except CommandError as error:
            return Unknown(f"cannot be asked: {error}")


def look(check: Check, runner: Runner, timeout: float, *, ours: bool) -> Look:
    """Return the look that a check of the configuration means; `timeout` is in seconds."""
    return Look(check, runner, timeout, ours)


def _answer(check: Check, ask: Ask, *, ours: bool) -> Evidence:
    match check:
        case Command():
            return _by_command(check, ask)
        case AddressCheck():
            return _by_address(check, ask)
        case FrrCheck():
            return frr.ours(check, ask) if ours else frr.theirs(check, ask)
        case BirdCheck():
            return bird.ours(check, ask) if ours else bird.theirs(check, ask)
    raise TypeError(f"nobody knows how to ask {type(check).__name__}")


def _by_command(check: Command, ask: Ask) -> Evidence:
    done = ask(check.argv)
    if done.code == 0:
        return Up("says yes")
    if done.code == 1:
        return Down("says no (exit code 1)")
    raise UnclearError(f"says neither yes nor no: {ended(done)}")


def _by_address(check: AddressCheck, ask: Ask) -> Evidence:
    """Look at all devices: the address elsewhere, or with another length, is neither here nor gone."""
    done = ask(["ip", "-json", "address", "show"])
    if done.code != 0:
        raise UnclearError(f"cannot be asked: `ip`: {ended(done)}")
    wanted = ipaddress.ip_interface(check.address)
    found = [place for device in _devices(done.stdout) for place in _places(device, wanted.ip)]
    here = [
        place
        for place in found
        if check.device.partition("@")[0] in place.names and place.length == wanted.network.prefixlen
    ]
    if any(place.usable for place in here):
        return Up("is there")
    if found:
        raise UnclearError(f"is not clear: the address is there, but as {', '.join(map(str, found))}")
    return Down("is not there")


@dataclass(frozen=True)
class _Place:
    names: tuple[str, ...]
    length: int
    usable: bool

    def __str__(self) -> str:
        return f"/{self.length} on {self.names[0]}{'' if self.usable else ' (unusable)'}"


def _places(device: Json, wanted: ipaddress.IPv4Address | ipaddress.IPv6Address) -> Iterator[_Place]:
    """Give where on a device an address is; one that is down, or an address not yet or never granted, is no use."""
    names = (str(device.get("ifname")), *device.get("altnames", ()))
    for entry in device.get("addr_info", ()):
        if entry.get("local") == str(wanted):
            granted = not entry.get("tentative") and not entry.get("dadfailed")
            yield _Place(names, int(entry["prefixlen"]), granted and "UP" in device.get("flags", ()))


def _devices(text: str) -> list[Json]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise UnclearError(f"is not clear: no usable JSON was printed ({quoted(text)})")
    return found
