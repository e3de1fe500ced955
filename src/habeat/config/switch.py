"""How a node takes over and gives back: commands, and checks that tell whether that worked.

A command is written as a string, and becomes an argument list that never meets a shell. One that needs a shell says
so (`{shell: "…"}`). A check is a command too, or one of the built-in looks at FRR, BIRD and the addresses of this host.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from habeat.config.fields import Duration, setting

SHELL = "/bin/sh"
COMMAND = 'a command such as `vtysh -c "show version"`, or `{shell: "…"}` for one that needs a shell'
CHECK = (
    "a command, `{shell: …}`, `frr: {prefix: A/32, peer: B}`, `bird: {prefix: A/32, protocol: NAME}` or "
    "`address: A/32 on lo`"
)
_PLACE = re.compile(r"(?P<address>\S+) +on +(?P<device>[A-Za-z0-9_.:@-]{1,15})")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SPECIAL = set("|&;<>()`\n")
_OPENS = re.compile(r"\$[A-Za-z_({0-9@*#?$!-]")


@dataclass(frozen=True)
class Check:
    """Something that tells whether a node has the service: yes, no, or that it cannot tell."""

    def written(self) -> Any:
        """Return it as the file has it, in plain JSON types."""
        raise NotImplementedError


@dataclass(frozen=True)
class Command(Check):
    """One command; as a check its exit code says 0 for yes, 1 for no, and all else for "cannot tell"."""

    text: str
    argv: tuple[str, ...]
    needs_shell: bool = False

    @classmethod
    def parse(cls, text: str) -> Command:
        """Return the argument list that a line stands for, quotes respected; raises ValueError with what is wrong."""
        if found := _meant_for_a_shell(text.strip()):
            raise ValueError(
                f"{found} has a meaning for a shell only, and this is run without one: quote it, or write "
                '`{shell: "…"}` if a shell is meant'
            )
        try:
            argv = tuple(shlex.split(text))
        except ValueError as error:
            raise ValueError(f"expected {COMMAND}, and this cannot be read ({str(error).lower()})") from None
        if not argv or not argv[0]:
            raise ValueError(f"expected {COMMAND}, found nothing")
        if "=" in argv[0]:
            raise ValueError(
                f'{argv[0]!r} sets a variable, which takes a shell: write `{{shell: "…"}}`, or `env` before it'
            )
        return cls(text.strip(), argv)

    @classmethod
    def by_shell(cls, text: str) -> Command:
        """Return a command that a shell runs, because the configuration says so."""
        if not text.strip():
            raise ValueError(f"expected {COMMAND}, found nothing")
        return cls(text.strip(), (SHELL, "-c", text), True)

    def written(self) -> Any:
        """Return it as the file has it."""
        return {"shell": self.text} if self.needs_shell else self.text

    def __str__(self) -> str:
        """Return it as a person would write it."""
        return f"{{shell: {self.text}}}" if self.needs_shell else self.text


@dataclass(frozen=True)
class FrrCheck(Check):
    """FRR's bgpd announces a prefix to a neighbour or, of the other site, hears it from there."""

    prefix: str = setting("", "the prefix that carries the service, such as 192.0.2.10/32")
    peer: str = setting("", "address of the neighbour in BGP")
    instance: str = setting("", "name of the instance, where several run (vtysh -N)")

    def written(self) -> Any:
        """Return it as the file has it."""
        return {"frr": _given(self)}

    def __str__(self) -> str:
        """Return it as it stands in sentences."""
        return f"frr {self.prefix} at {self.peer}"

    def flaw(self) -> str | None:
        """Return what is wrong with it, or None."""
        if self.instance and not _NAME.fullmatch(self.instance.replace("-", "_")):
            return f"instance: expected a name, found {self.instance!r}"
        with contextlib.suppress(ValueError):
            if "%" not in self.peer:
                ipaddress.ip_address(self.peer)
                return _prefix_flaw(self.prefix)
        return f"peer: expected an IP address, found {self.peer!r}"


@dataclass(frozen=True)
class BirdCheck(Check):
    """BIRD 2 exports a prefix to a protocol or, of the other site, imports it from there."""

    prefix: str = setting("", "the prefix that carries the service, such as 192.0.2.10/32")
    protocol: str = setting("", "name of BIRD's BGP protocol")
    socket: str = setting("", "BIRD's control socket, if it is not the usual one")

    def written(self) -> Any:
        """Return it as the file has it."""
        return {"bird": _given(self)}

    def __str__(self) -> str:
        """Return it as it stands in sentences."""
        return f"bird {self.prefix} at {self.protocol}"

    def flaw(self) -> str | None:
        """Return what is wrong with it, or None."""
        if not _NAME.fullmatch(self.protocol):
            return f"protocol: expected the name of a protocol, found {self.protocol!r}"
        if self.socket and not self.socket.startswith("/"):
            return f"socket: expected a path from the root on, found {self.socket!r}"
        return _prefix_flaw(self.prefix)


@dataclass(frozen=True)
class AddressCheck(Check):
    """An address is on a device of this host."""

    address: str
    device: str

    @classmethod
    def parse(cls, text: str) -> AddressCheck:
        """Return what `192.0.2.10/32 on lo` means; raises ValueError with what was expected."""
        match = _PLACE.fullmatch(text.strip())
        with contextlib.suppress(ValueError):
            if match is not None and "/" in match["address"]:
                return cls(str(ipaddress.ip_interface(match["address"])), match["device"])
        raise ValueError(f"expected `ADDRESS/LENGTH on DEVICE`, such as `192.0.2.10/32 on lo`, found {text!r}")

    def written(self) -> Any:
        """Return it as the file has it."""
        return {"address": f"{self.address} on {self.device}"}

    def __str__(self) -> str:
        """Return it as it stands in sentences."""
        return f"address {self.address} on {self.device}"


@dataclass(frozen=True)
class Switch:
    """One tool that moves a service here and back."""

    activate: tuple[Command, ...] = setting((), "commands that take the service over")
    deactivate: tuple[Command, ...] = setting((), "commands that give it back", aliases=("deativate",))
    verify: tuple[Check, ...] = setting((), "checks that say yes while the service is here, and no when it is not")
    other_site: tuple[Check, ...] = setting(
        (),
        "checks that say yes while the other site announces the service: nothing is taken over before they say no, "
        "and nothing given back before they say yes",
    )
    timeout: Duration = setting(Duration(30.0), "how long one of the commands or checks may take")
    settle: Duration = setting(Duration(15.0), "how long after the commands the checks may take to agree")


def listed(commands: Sequence[Command]) -> str:
    """Return commands as they stand in a sentence."""
    return "; ".join(f"`{command}`" for command in commands) or "nothing, since no commands are configured"


Switches = dict[str, Switch]
"""By the name of the tool."""


def _meant_for_a_shell(text: str) -> str | None:
    """Return the first sign outside quotes that only a shell understands, or None."""
    quote, place = "", 0
    while place < len(text):
        sign = text[place]
        if sign == "\\" and quote != "'":
            place += 2
            continue
        if quote != "'" and (sign == "`" or _OPENS.match(text, place)):
            return text[place : place + 2].strip()
        if not quote and sign in _SPECIAL:
            return "a line break" if sign == "\n" else repr(sign)
        if sign in "'\"" and quote in ("", sign):
            quote = "" if quote else sign
        place += 1
    return None


def _prefix_flaw(text: str) -> str | None:
    with contextlib.suppress(ValueError):
        if re.fullmatch(r"[0-9a-fA-F:.]+/[0-9]+", text):
            ipaddress.ip_network(text)
            return None
    return f"prefix: expected a network such as 192.0.2.10/32, found {text!r}"


def _given(check: Check) -> dict[str, str]:
    return {name: text for name, text in vars(check).items() if text}
