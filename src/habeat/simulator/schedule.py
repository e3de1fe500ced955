"""A schedule: one world, its settings, and what happens when. A text that a person reads, and that can be run again.

    # I1: why it is here
    kind mail
    set standbys 2
    1:00  kill mbox1
    3:10  crash mbox2 after run promoteAccounts
    end 30:00
    expect promoted

Times are minutes and seconds since the beginning. What can happen is in `grammar.FAULTS`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from habeat.errors import ConfigError, Problem
from habeat.simulator import grammar

LINES = "expected `kind`, `set`, `end`, `expect`, or a time and what happens"
KINDS = ("mail", "proxy", "quorum")
SETTINGS: dict[str, str] = {
    "interval": "60",
    "confirmations": "2",
    "lasting": "10",
    "required": "1",
    "witnesses": "consul",
    "standbys": "1",
    "primary": "off",
    "accounts": "4",
    "gateway": "off",
    "services": "off",
    "survivors": "1",
    "deactivate": "on",
    "checks": "on",
    "lists": "on",
    "cooldown": "8h",
    "election": "4",
    "lag": "3",
}
"""All settings of a schedule with their defaults."""


@dataclass(frozen=True, order=True)
class Fault:
    """Something that happens: when (seconds since the beginning), what, and to whom."""

    at: float
    what: str
    args: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{clock(self.at)}  {' '.join((self.what, *self.args))}"


@dataclass(frozen=True)
class Schedule:
    """What is to be run; `end` in seconds, `expect` what must be so at the end beside the invariants."""

    kind: str
    settings: dict[str, str] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()
    end: float = 1800.0
    expect: tuple[str, ...] = ()
    about: str = ""

    def setting(self, name: str) -> str:
        """Return a setting."""
        witness = {"witnesses": "hetrix"} if self.kind == "quorum" else {}
        return self.settings.get(name, witness.get(name, SETTINGS[name]))

    def spoils(self) -> bool:
        """Tell whether something happens to what was taken over."""
        return any(fault.what in ("route", "reboot", "hand") for fault in self.faults)

    def __str__(self) -> str:
        lines = [f"# {line}" for line in self.about.splitlines()]
        lines += [f"kind {self.kind}", *(f"set {name} {value}" for name, value in sorted(self.settings.items()))]
        lines += [str(fault) for fault in sorted(self.faults)]
        return "\n".join([*lines, f"end {clock(self.end)}", *(f"expect {what}" for what in self.expect)]) + "\n"


def clock(seconds: float) -> str:
    """Return minutes and seconds: `3:10`."""
    minutes, rest = divmod(round(seconds, 1), 60)
    return f"{int(minutes)}:{rest:04.1f}".removesuffix(".0")


def parse(path: Path) -> Schedule:
    """Return the schedule in a file; raises ConfigError with the line and what was expected."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        raise ConfigError([Problem(str(path), 0, "", f"cannot be read ({error})")]) from error
    schedule = Schedule("")
    for number, line in enumerate(lines, 1):
        try:
            schedule = _read(schedule, line)
        except IndexError as error:
            raise ConfigError([Problem(str(path), number, line.split()[0], LINES)]) from error
        except ValueError as error:
            raise ConfigError([Problem(str(path), number, line.split()[0], str(error))]) from error
    if not schedule.kind:
        raise ConfigError([Problem(str(path), 0, "kind", f"expected a line `kind` with one of {', '.join(KINDS)}")])
    return schedule


def _read(  # noqa: PLR0911  one return for each kind of line
    schedule: Schedule, line: str
) -> Schedule:
    """Return the schedule with what one more line says; raises ValueError or IndexError where it makes no sense."""
    word, *rest = line.split() or [""]
    if word.startswith("#"):
        text = line.lstrip("# ").rstrip()
        return replace(schedule, about=f"{schedule.about}\n{text}".strip())
    if word == "kind" and rest[0] in KINDS:
        return replace(schedule, kind=rest[0])
    if word == "set" and rest[0] in SETTINGS:
        _sensible(grammar.setting(rest[0], " ".join(rest[1:])))
        return replace(schedule, settings={**schedule.settings, rest[0]: rest[1]})
    if word == "end":
        return replace(schedule, end=_seconds(rest[0]))
    if word == "expect":
        _sensible(grammar.wish(" ".join(rest)))
        return replace(schedule, expect=(*schedule.expect, " ".join(rest)))
    if word[:1].isdigit():
        at = _seconds(word)
        _sensible(grammar.fault(rest[0], " ".join(rest[1:])))
        return replace(schedule, faults=tuple(sorted((*schedule.faults, Fault(at, rest[0], tuple(rest[1:]))))))
    _sensible(LINES if word else None)
    return schedule


def _sensible(expected: str | None) -> None:
    """Raise ValueError where something else was expected."""
    if expected is not None:
        raise ValueError(expected)


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d{1,4}):([0-5]?\d(\.\d+)?)", text)
    if found is None:
        raise ValueError("expected a time, minutes and seconds, as `3:10`")
    return 60.0 * int(found[1]) + float(found[2])
