"""Where a process can be killed or frozen, what it saw, and whether it lives."""

from __future__ import annotations

from dataclasses import dataclass, field

WRITES = ("record", "intend", "conclude", "note", "enlist", "promoted", "refused", "cared")
FOLDER = ("copy", "set_aside", "restore", "write_peers", "remove_peers")
CARBONIO = (
    "getServices",
    "getAccountStatus",
    "getAllOperations",
    "promoteAccounts",
    "pauseReplicas",
    "restartReplicas",
)
COMMANDS = (*CARBONIO, "doStopService", "doStartService", "gas", "fc", "ga", "take", "tell", "untell", "give", "vtysh")
UNIT = ("show", "stop", "start")
CONSUL = ("create", "renew", "destroy", "acquire", "release", "put", "remove")
POINTS = tuple(
    f"{side} {kind} {name}"
    for kind, names in (
        ("journal", WRITES),
        ("run", COMMANDS),
        ("systemctl", UNIT),
        ("consul", CONSUL),
        ("folder", FOLDER),
    )
    for name in names
    for side in ("before", "after")
)
"""Every point at which a process can be killed; the coverage tells which were."""


class Crash(BaseException):
    """The process is killed."""


@dataclass
class Trap:
    """What is to happen at the next passing of a point: `crash`, or `freeze` for some seconds."""

    point: str
    kind: str
    seconds: float = 0.0


@dataclass
class Seen:
    """What there truly was to see in one cycle, as the made-up edges gave it: the invariants go by this.

    `counted` tells that the cycle lived long enough to journal its decision.
    """

    at: float
    silent: bool = False
    reached: bool = False
    up: set[str] = field(default_factory=set)
    down: set[str] = field(default_factory=set)
    counted: bool = False


@dataclass
class Process:
    """One run of habeat; one that is dead has no effect any more, one that is `refused` may not lock in Consul.

    `step_at` is when its last step began, `step_clock` what its machine's clock said then.
    """

    begun: float = 0.0
    alive: bool = True
    refused: bool = False
    step_at: float = 0.0
    step_clock: float = 0.0
