"""What the looks at announcements share: how they ask, and how they say that an answer tells nothing."""

from __future__ import annotations

import ipaddress
import signal
from collections.abc import Callable, Sequence

from habeat.act.run import Completed

SETTLED = 10.0
"""Seconds after which a neighbour that does not say so is taken to have told all that it knows."""

STANDS = "Established"
QUOTED = 200

Ask = Callable[[Sequence[str]], Completed]
"""Runs a command within what is left of the time; raises CommandError."""


class UnclearError(Exception):
    """What was said allows no answer; the message is the reason, as a clause after the name of what was asked."""


def prefix_of(text: str) -> str:
    """Return a prefix as routing daemons write it."""
    return str(ipaddress.ip_network(text))


def ended(done: Completed) -> str:
    """Return how a command ended, and the last that it complained of."""
    how = f"exit code {done.code}" if done.code >= 0 else f"ended by {_name_of(-done.code)}"
    said = " ".join(done.stderr.split())
    return f"{how}: {said[-QUOTED:]}" if said else how


def quoted(what: object) -> str:
    """Return the beginning of what was printed, on one line."""
    text = " ".join(str(what).split())
    return text if len(text) <= QUOTED else text[:QUOTED] + "…"


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
