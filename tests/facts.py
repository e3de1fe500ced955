"""Plain facts for tests of the pure core."""

from __future__ import annotations

from typing import Any

from habeat.machine import Circumstances
from habeat.model import (
    Down,
    Evidence,
    Memory,
    Pause,
    Policy,
    Probe,
    Sight,
    Snapshot,
    Target,
    Unknown,
    Up,
    Verdict,
    Vote,
)

TARGET = Target("appserver", "primary", "mbox1.example.com", "10.0.0.1")
SILENT = Probe("icmp", "10.0.0.1", Down("does not answer ping (3 sent)"))
ANSWERS = Probe("icmp", "10.0.0.1", Up("answers ping in 0.3 ms"))
UNSENT = Probe("icmp", "10.0.0.1", Unknown("cannot be pinged: no packet could be sent"))
SAYS_UP: Evidence = Up("says that it is up")
SAYS_DOWN: Evidence = Down("says that it is down")
CANNOT_SAY: Evidence = Unknown("has no leader")


def snapshot(*votes: Vote, probe: Probe = SILENT, gateways: tuple[Probe, ...] = ()) -> Snapshot:
    """Return the evidence of one cycle."""
    return Snapshot(1000.0, TARGET, (probe,), votes, gateways)


def vote(evidence: Evidence, name: str = "Consul", age: float = 0.0, site: str | None = None) -> Vote:
    """Return what one witness says."""
    return Vote(name, evidence, age, site)


def verdict(sight: Sight, **seen: bool) -> Verdict:
    """Return a verdict with a made-up reason."""
    return Verdict(
        sight,
        "J0",
        "because of a test",
        back=seen.get("back", sight is Sight.UP),
        lost=seen.get("lost", False),
        contested=seen.get("contested", False),
        orphaned=seen.get("orphaned", False),
        veiled=seen.get("veiled", False),
    )


def circumstances(
    memory: Memory | None = None,
    *,
    now: float = 1000.0,
    paused: bool = False,
    policy: Policy | None = None,
    **facts: Any,
) -> Circumstances:
    """Return the facts that guards look at."""
    return Circumstances(
        now=now,
        policy=policy or Policy(),
        memory=memory or Memory(),
        pause=Pause("ann", "maintenance", 0.0) if paused else None,
        **facts,
    )
