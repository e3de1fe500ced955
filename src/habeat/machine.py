"""The state machine of every role: what is done next, given what was just seen. Pure, and a table.

States
    standby            the target is alive, or not yet suspected
    suspect            it was seen down, in fewer cycles than must agree
    failing_over       the plan runs, or waits, or was interrupted and will be resumed
    active             the plan is finished and the target is still gone
    failing_back       the target is back and the plan is being undone (roles that can undo it by themselves)
    awaiting_failback  the target is back and only a person may move things back

Each cycle brings one sight (up, quorate, service_down, unreachable, down, unknown). A running plan then brings one
result (done, partial, waiting, failed). For every state and sight, and for every state that runs a plan and every
result, TRANSITIONS has a list of rows; the first whose guard holds is taken, and the last has no guard, so something is
always decided.

What wins over what
    Only `down` starts or continues what would take the target's work away. `unknown`, `unreachable` and
    `service_down` never do, nor does `quorate` (a site's Consul servers are dead, and Consul has a leader without
    them), but to finish what was begun; they break the row of confirmations too. What was promoted is still cared for
    (flushed, restarted) whatever is seen, because leaving that half done hurts and doing it does not.
    What was taken over and no longer stands here is mended whatever is seen, unless the other site announces it again.
    It is given back only when the target is back: up in enough cycles and, where that can be checked, announcing.
    A pause wins over every command. The cooldown wins over a new failover, never over one that has begun.

The order of effects, which the cycle keeps: journal the decision durably, then act, then journal the result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

from habeat.model import Memory, Pause, Policy, Sight, Verdict


class State(Enum):
    """Where a target stands; see the top of this module."""

    STANDBY = "standby"
    SUSPECT = "suspect"
    FAILING_OVER = "failing_over"
    ACTIVE = "active"
    FAILING_BACK = "failing_back"
    AWAITING_FAILBACK = "awaiting_failback"


class Result(Enum):
    """How far a plan came in this cycle."""

    DONE = "done"
    PARTIAL = "partial"
    WAITING = "waiting"
    FAILED = "failed"


class Command(Enum):
    """What the cycle must do now."""

    NONE = "none"
    ACTIVATE = "activate"  # run the plan, all of it
    CARE = "care"  # run only the steps that need no dead target
    CLOSE = "close"  # the target is back: give up what is not begun, finish the care
    MEND = "mend"  # put back what was taken over and no longer stands
    DEACTIVATE = "deactivate"  # undo the plan


class Level(Enum):
    """How loudly a decision is told."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Guard(Enum):
    """A condition of a row; `_HOLDS` says what each means."""

    ALWAYS = "otherwise"
    UNCONFIRMED = "not enough cycles agree yet"
    PAUSED = "paused by a person"
    COOLING = "within the cooldown, not acknowledged"
    BEGUN = "something was already taken over"
    NOT_DUE = "not yet time to look for late accounts"
    NOT_BACK = "not back for enough cycles"
    MANUAL = "only a person may fail back"
    ACKNOWLEDGED = "acknowledged by a person"
    LOST = "what was taken over no longer stands here, and nobody else has it; not paused"
    HALFWAY = "a takeover, or a failback, was cut short"
    ORPHANED = "surely neither site announces it; not paused"
    RETURNED = "begun, and back for enough cycles"
    AMISS = "it does not surely stand here, or the other site has it"
    SPENT = "what was rebuilt is lost again within the cooldown, not acknowledged"
    RELAPSED = "what was rebuilt is lost again"


@dataclass(frozen=True)
class Row:
    """One line of the table: under `guard` go to `then`, do `command`, tell `sentence`; `exit` is for `check`."""

    id: str
    guard: Guard
    then: State
    command: Command
    level: Level
    exit: int
    sentence: str


@dataclass(frozen=True)
class Circumstances:
    """All that guards may look at besides the sight: facts of this cycle, read once.

    `met` is when the target last gave a sign of life that no cycle saw: it asked us, or answered a step of the plan.
    """

    now: float
    policy: Policy
    memory: Memory
    met: float | None = None
    pause: Pause | None = None
    acknowledged: bool = False
    begun: bool = False
    repeats: bool = False
    automatic: bool = False
    relapses: bool = False
    halfway: bool = False
    stays: str = "What was taken over stays here"


@dataclass(frozen=True)
class Decision:
    """What follows from one cycle; journal it durably with `memory`, and only then carry out `command`."""

    row: str
    before: State
    after: State
    command: Command
    level: Level
    exit: int
    sentence: str
    memory: Memory


# A table is read by its columns.
# fmt: off
_G, _S, _C, _L = Guard, State, Command, Level

_NOTHING = "Nothing is done."
_CONFIRMING = "{target} looks dead ({agreed}): {why}. Nothing is done yet."
_PAUSED = "{target} is down, but habeat is paused by {pause}. " + _NOTHING
_COOLING = (
    "{target} is down again, but its last failover ended {since} ago, within the cooldown of {cooldown}. "
    "Nothing is done; `habeat ack` allows the next failover."
)
_START = "{target} is dead ({agreed}): {why}. Failing over now."
_SERVICE_DOWN = "{target} answers, but not all its services work: {why}. " + _NOTHING
_CANNOT_TELL = "Cannot tell whether {target} is alive: {why}. " + _NOTHING
_UNREACHABLE = "{target} is alive but unreachable from here: {why}. " + _NOTHING
_HOLD = "The failover of {target} is held, because it is no longer surely dead: {why}. " + _NOTHING
_CARE = "{target} is no longer surely dead ({why}): nothing more is taken over, what was taken over is cared for."
_HOLD_BACK = "The failback of {target} is held: {why}. " + _NOTHING
_STILL = "{target} was failed over. Now: {why}. " + _NOTHING
_MEND = "What was taken over from {target} no longer stands here: {why}. It is mended."
_STOPPED = "The failover of {target} is stopped, since habeat is paused by {pause}; still dead: {why}. " + _NOTHING
_QUORATE = "{target} is dead, but Consul has a leader without it: {why}. " + _NOTHING
_ORPHANED = "Neither site announces what was taken over from {target}: {why}. It is taken over again."

TRANSITIONS: dict[State, dict[Sight, tuple[Row, ...]]] = {
    State.STANDBY: {
        Sight.UP: (
            Row("S1", _G.ALWAYS, _S.STANDBY, _C.NONE, _L.INFO, 0, "{target} is up: {why}."),
        ),
        Sight.QUORATE: (
            Row("S9", _G.ALWAYS, _S.STANDBY, _C.NONE, _L.ERROR, 3, _QUORATE),
        ),
        Sight.SERVICE_DOWN: (
            Row("S8", _G.ALWAYS, _S.STANDBY, _C.NONE, _L.ERROR, 3, _SERVICE_DOWN),
        ),
        Sight.UNREACHABLE: (
            Row("S2", _G.ALWAYS, _S.STANDBY, _C.NONE, _L.WARNING, 3, _UNREACHABLE),
        ),
        Sight.UNKNOWN: (
            Row("S3", _G.ALWAYS, _S.STANDBY, _C.NONE, _L.WARNING, 3, _CANNOT_TELL),
        ),
        Sight.DOWN: (
            Row("S4", _G.UNCONFIRMED, _S.SUSPECT, _C.NONE, _L.WARNING, 0, _CONFIRMING),
            Row("S5", _G.PAUSED, _S.SUSPECT, _C.NONE, _L.ERROR, 3, _PAUSED),
            Row("S6", _G.COOLING, _S.SUSPECT, _C.NONE, _L.ERROR, 3, _COOLING),
            Row("S7", _G.ALWAYS, _S.FAILING_OVER, _C.ACTIVATE, _L.ERROR, 0, _START),
        ),
    },
    State.SUSPECT: {
        Sight.UP: (
            Row("U1", _G.ALWAYS, _S.STANDBY, _C.NONE, _L.WARNING, 0,
                "{target} is up again: {why}. It was a blip; nothing was done."),
        ),
        Sight.QUORATE: (
            Row("U9", _G.ALWAYS, _S.STANDBY, _C.NONE, _L.ERROR, 3, _QUORATE),
        ),
        Sight.SERVICE_DOWN: (
            Row("U8", _G.ALWAYS, _S.STANDBY, _C.NONE, _L.ERROR, 3, _SERVICE_DOWN),
        ),
        Sight.UNREACHABLE: (
            Row("U2", _G.ALWAYS, _S.STANDBY, _C.NONE, _L.WARNING, 3, _UNREACHABLE),
        ),
        Sight.UNKNOWN: (
            Row("U3", _G.ALWAYS, _S.STANDBY, _C.NONE, _L.WARNING, 3, _CANNOT_TELL + " Confirmation starts over."),
        ),
        Sight.DOWN: (
            Row("U4", _G.UNCONFIRMED, _S.SUSPECT, _C.NONE, _L.WARNING, 0, _CONFIRMING),
            Row("U5", _G.PAUSED, _S.SUSPECT, _C.NONE, _L.ERROR, 3, _PAUSED),
            Row("U6", _G.COOLING, _S.SUSPECT, _C.NONE, _L.ERROR, 3, _COOLING),
            Row("U7", _G.ALWAYS, _S.FAILING_OVER, _C.ACTIVATE, _L.ERROR, 0, _START),
        ),
    },
    State.FAILING_OVER: {
        Sight.UP: (
            Row("F1", _G.PAUSED, _S.FAILING_OVER, _C.NONE, _L.ERROR, 3,
                "{target} is back ({why}) in mid-failover, but habeat is paused by {pause}. " + _NOTHING),
            Row("F2", _G.BEGUN, _S.FAILING_OVER, _C.CLOSE, _L.ERROR, 0,
                "{target} is back in mid-failover: {why}. Nothing more is taken over; the rest is finished."),
            Row("F3", _G.ALWAYS, _S.STANDBY, _C.NONE, _L.WARNING, 0,
                "{target} is back before anything was taken over: {why}. The failover is abandoned."),
        ),
        Sight.QUORATE: (
            Row("F17", _G.PAUSED, _S.FAILING_OVER, _C.NONE, _L.ERROR, 3, _STOPPED),
            Row("F18", _G.BEGUN, _S.FAILING_OVER, _C.ACTIVATE, _L.WARNING, 0,
                "{target} is still dead, and Consul has a leader: {why}. The failover is finished."),
            Row("F19", _G.ALWAYS, _S.STANDBY, _C.NONE, _L.WARNING, 0,
                "{target} is dead, but Consul has a leader before anything was rebuilt: {why}. "
                "The failover is abandoned."),
        ),
        Sight.SERVICE_DOWN: (
            Row("F13", _G.PAUSED, _S.FAILING_OVER, _C.NONE, _L.ERROR, 3, _HOLD),
            Row("F14", _G.BEGUN, _S.FAILING_OVER, _C.CARE, _L.ERROR, 3, _CARE),
            Row("F15", _G.ALWAYS, _S.FAILING_OVER, _C.NONE, _L.ERROR, 3, _HOLD),
        ),
        Sight.UNREACHABLE: (
            Row("F4", _G.PAUSED, _S.FAILING_OVER, _C.NONE, _L.ERROR, 3, _HOLD),
            Row("F16", _G.RETURNED, _S.FAILING_OVER, _C.CLOSE, _L.ERROR, 0,
                "{target} is back in mid-failover, though not reachable from here: {why}. Nothing more is taken over."),
            Row("F5", _G.BEGUN, _S.FAILING_OVER, _C.CARE, _L.ERROR, 3, _CARE),
            Row("F6", _G.ALWAYS, _S.FAILING_OVER, _C.NONE, _L.ERROR, 3, _HOLD),
        ),
        Sight.UNKNOWN: (
            Row("F7", _G.PAUSED, _S.FAILING_OVER, _C.NONE, _L.ERROR, 3, _HOLD),
            Row("F8", _G.BEGUN, _S.FAILING_OVER, _C.CARE, _L.ERROR, 3, _CARE),
            Row("F9", _G.ALWAYS, _S.FAILING_OVER, _C.NONE, _L.ERROR, 3, _HOLD),
        ),
        Sight.DOWN: (
            Row("F10", _G.PAUSED, _S.FAILING_OVER, _C.NONE, _L.ERROR, 3, _STOPPED),
            Row("F11", _G.UNCONFIRMED, _S.FAILING_OVER, _C.NONE, _L.ERROR, 3,
                "{target} looks dead again ({agreed}): {why}. The failover is held."),
            Row("F12", _G.ALWAYS, _S.FAILING_OVER, _C.ACTIVATE, _L.WARNING, 0,
                "{target} is still dead: {why}. The failover goes on."),
        ),
    },
    State.ACTIVE: {
        Sight.UP: (
            Row("A12", _G.LOST, _S.ACTIVE, _C.MEND, _L.ERROR, 0, _MEND),
            Row("A1", _G.NOT_BACK, _S.ACTIVE, _C.NONE, _L.WARNING, 0,
                "{target} answers again ({agreed}): {why}."),
            Row("A2", _G.MANUAL, _S.AWAITING_FAILBACK, _C.NONE, _L.WARNING, 0,
                "{target} is back: {why}. {stays}."),
            Row("A3", _G.PAUSED, _S.ACTIVE, _C.NONE, _L.WARNING, 0,
                "{target} is back: {why}. habeat is paused by {pause}; nothing is undone."),
            Row("A4", _G.ALWAYS, _S.FAILING_BACK, _C.DEACTIVATE, _L.WARNING, 0,
                "{target} is back: {why}. Failing back now."),
        ),
        Sight.QUORATE: (
            Row("A21", _G.ALWAYS, _S.ACTIVE, _C.NONE, _L.INFO, 0,
                "{target} is still dead, and Consul has a leader without it: {why}."),
        ),
        Sight.SERVICE_DOWN: (
            Row("A13", _G.LOST, _S.ACTIVE, _C.MEND, _L.ERROR, 0, _MEND),
            Row("A11", _G.ALWAYS, _S.ACTIVE, _C.NONE, _L.WARNING, 3, _STILL),
        ),
        Sight.UNREACHABLE: (
            Row("A14", _G.LOST, _S.ACTIVE, _C.MEND, _L.ERROR, 0, _MEND),
            Row("A5", _G.NOT_BACK, _S.ACTIVE, _C.NONE, _L.WARNING, 3, _STILL),
            Row("A15", _G.MANUAL, _S.AWAITING_FAILBACK, _C.NONE, _L.WARNING, 3,
                "{target} is back, though not reachable from here: {why}. {stays}."),
            Row("A16", _G.PAUSED, _S.ACTIVE, _C.NONE, _L.WARNING, 3,
                "{target} is back, though not reachable from here: {why}. "
                "habeat is paused by {pause}; nothing is undone."),
            Row("A17", _G.ALWAYS, _S.FAILING_BACK, _C.DEACTIVATE, _L.WARNING, 0,
                "{target} is back, though not reachable from here: {why}. Failing back now."),
        ),
        Sight.UNKNOWN: (
            Row("A18", _G.LOST, _S.ACTIVE, _C.MEND, _L.ERROR, 0, _MEND),
            Row("A6", _G.ALWAYS, _S.ACTIVE, _C.NONE, _L.WARNING, 3, _STILL),
        ),
        Sight.DOWN: (
            Row("A19", _G.LOST, _S.ACTIVE, _C.MEND, _L.ERROR, 0, _MEND),
            Row("A20", _G.AMISS, _S.ACTIVE, _C.NONE, _L.ERROR, 3,
                "What was taken over from {target} is not in order: {why}. " + _NOTHING),
            Row("A7", _G.UNCONFIRMED, _S.ACTIVE, _C.NONE, _L.WARNING, 0, _CONFIRMING),
            Row("A8", _G.PAUSED, _S.ACTIVE, _C.NONE, _L.WARNING, 0,
                "{target} is still dead: {why}. habeat is paused by {pause}; nothing more is taken over."),
            Row("A22", _G.SPENT, _S.ACTIVE, _C.NONE, _L.ERROR, 3,
                "{target} is still dead, and what was rebuilt without it is lost again: {why}. The last failover ended "
                "{since} ago, within the cooldown of {cooldown}. Nothing is done; `habeat ack` allows the next."),
            Row("A23", _G.RELAPSED, _S.FAILING_OVER, _C.ACTIVATE, _L.ERROR, 0,
                "{target} is still dead, and what was rebuilt without it is lost again: {why}. Failing over again."),
            Row("A24", _G.HALFWAY, _S.FAILING_OVER, _C.ACTIVATE, _L.ERROR, 0,
                "{target} is dead again, and only a part of it was taken over: {why}. Failing over again."),
            Row("A9", _G.NOT_DUE, _S.ACTIVE, _C.NONE, _L.INFO, 0, "{target} is still dead, and failed over: {why}."),
            Row("A10", _G.ALWAYS, _S.FAILING_OVER, _C.ACTIVATE, _L.INFO, 0,
                "{target} is still dead: {why}. Looking for what is still on it."),
        ),
    },
    State.FAILING_BACK: {
        Sight.UP: (
            Row("B9", _G.ORPHANED, _S.ACTIVE, _C.MEND, _L.ERROR, 0, _ORPHANED),
            Row("B1", _G.PAUSED, _S.FAILING_BACK, _C.NONE, _L.ERROR, 3,
                "The failback of {target} is stopped: habeat is paused by {pause}. " + _NOTHING),
            Row("B2", _G.ALWAYS, _S.FAILING_BACK, _C.DEACTIVATE, _L.WARNING, 0,
                "{target} is up: {why}. The failback goes on."),
        ),
        Sight.QUORATE: (
            Row("B16", _G.ALWAYS, _S.ACTIVE, _C.NONE, _L.ERROR, 0,
                "{target} died again during its failback, and Consul has a leader without it: {why}."),
        ),
        Sight.SERVICE_DOWN: (
            Row("B10", _G.ORPHANED, _S.ACTIVE, _C.MEND, _L.ERROR, 0, _ORPHANED),
            Row("B8", _G.ALWAYS, _S.FAILING_BACK, _C.NONE, _L.ERROR, 3, _HOLD_BACK),
        ),
        Sight.UNREACHABLE: (
            Row("B11", _G.ORPHANED, _S.ACTIVE, _C.MEND, _L.ERROR, 0, _ORPHANED),
            Row("B3", _G.NOT_BACK, _S.FAILING_BACK, _C.NONE, _L.ERROR, 3, _HOLD_BACK),
            Row("B12", _G.PAUSED, _S.FAILING_BACK, _C.NONE, _L.ERROR, 3,
                "The failback of {target} is stopped: habeat is paused by {pause}. " + _NOTHING),
            Row("B13", _G.ALWAYS, _S.FAILING_BACK, _C.DEACTIVATE, _L.WARNING, 0,
                "{target} is back, though not reachable from here: {why}. The failback goes on."),
        ),
        Sight.UNKNOWN: (
            Row("B14", _G.ORPHANED, _S.ACTIVE, _C.MEND, _L.ERROR, 0, _ORPHANED),
            Row("B4", _G.ALWAYS, _S.FAILING_BACK, _C.NONE, _L.ERROR, 3, _HOLD_BACK),
        ),
        Sight.DOWN: (
            Row("B15", _G.ORPHANED, _S.ACTIVE, _C.MEND, _L.ERROR, 0, _ORPHANED),
            Row("B5", _G.UNCONFIRMED, _S.FAILING_BACK, _C.NONE, _L.ERROR, 3, _HOLD_BACK),
            Row("B6", _G.PAUSED, _S.FAILING_BACK, _C.NONE, _L.ERROR, 3, _PAUSED),
            Row("B7", _G.ALWAYS, _S.FAILING_OVER, _C.ACTIVATE, _L.ERROR, 0,
                "{target} died again during its failback: {why}. Failing over again."),
        ),
    },
    State.AWAITING_FAILBACK: {
        Sight.UP: (
            Row("W10", _G.ORPHANED, _S.ACTIVE, _C.MEND, _L.ERROR, 0, _ORPHANED),
            Row("W1", _G.ACKNOWLEDGED, _S.STANDBY, _C.NONE, _L.WARNING, 0,
                "{target} is up: {why}. The last failover was acknowledged; it is watched as before."),
            Row("W2", _G.ALWAYS, _S.AWAITING_FAILBACK, _C.NONE, _L.INFO, 0,
                "{target} is up: {why}. {stays}; `habeat ack` ends this reminder."),
        ),
        Sight.QUORATE: (
            Row("W15", _G.ALWAYS, _S.AWAITING_FAILBACK, _C.NONE, _L.ERROR, 3, _QUORATE),
        ),
        Sight.SERVICE_DOWN: (
            Row("W11", _G.ORPHANED, _S.ACTIVE, _C.MEND, _L.ERROR, 0, _ORPHANED),
            Row("W9", _G.ALWAYS, _S.AWAITING_FAILBACK, _C.NONE, _L.ERROR, 3, _SERVICE_DOWN),
        ),
        Sight.UNREACHABLE: (
            Row("W12", _G.ORPHANED, _S.ACTIVE, _C.MEND, _L.ERROR, 0, _ORPHANED),
            Row("W3", _G.ALWAYS, _S.AWAITING_FAILBACK, _C.NONE, _L.WARNING, 3, _UNREACHABLE),
        ),
        Sight.UNKNOWN: (
            Row("W13", _G.ORPHANED, _S.ACTIVE, _C.MEND, _L.ERROR, 0, _ORPHANED),
            Row("W4", _G.ALWAYS, _S.AWAITING_FAILBACK, _C.NONE, _L.WARNING, 3, _CANNOT_TELL),
        ),
        Sight.DOWN: (
            Row("W14", _G.ORPHANED, _S.ACTIVE, _C.MEND, _L.ERROR, 0, _ORPHANED),
            Row("W5", _G.UNCONFIRMED, _S.AWAITING_FAILBACK, _C.NONE, _L.WARNING, 0, _CONFIRMING),
            Row("W6", _G.PAUSED, _S.AWAITING_FAILBACK, _C.NONE, _L.ERROR, 3, _PAUSED),
            Row("W16", _G.HALFWAY, _S.ACTIVE, _C.NONE, _L.ERROR, 0,
                "{target} is dead again, and only a part of it was taken over: {why}. "
                "The failover goes on in the next cycle."),
            Row("W7", _G.COOLING, _S.AWAITING_FAILBACK, _C.NONE, _L.ERROR, 3, _COOLING),
            Row("W8", _G.ALWAYS, _S.FAILING_OVER, _C.ACTIVATE, _L.ERROR, 0, _START),
        ),
    },
}

RESULTS: dict[State, dict[Result, Row]] = {
    State.FAILING_OVER: {
        Result.DONE:
            Row("R1", _G.ALWAYS, _S.ACTIVE, _C.NONE, _L.WARNING, 0, "Failover of {target} finished: {why}."),
        Result.PARTIAL:
            Row("R2", _G.ALWAYS, _S.ACTIVE, _C.NONE, _L.ERROR, 1,
                "Failover of {target} finished, but not for everything: {why}."),
        Result.WAITING:
            Row("R3", _G.ALWAYS, _S.FAILING_OVER, _C.NONE, _L.ERROR, 3,
                "The failover of {target} waits: {why}. It is tried again in the next cycle."),
        Result.FAILED:
            Row("R4", _G.ALWAYS, _S.FAILING_OVER, _C.NONE, _L.ERROR, 1,
                "A step of the failover of {target} failed: {why}. It is tried again in the next cycle."),
    },
    State.ACTIVE: {
        Result.DONE:
            Row("R9", _G.ALWAYS, _S.ACTIVE, _C.NONE, _L.WARNING, 0,
                "What was taken over from {target} stands again: {why}."),
        Result.PARTIAL:
            Row("R10", _G.ALWAYS, _S.ACTIVE, _C.NONE, _L.ERROR, 1,
                "What was taken over from {target} stands again, but not all of it: {why}."),
        Result.WAITING:
            Row("R11", _G.ALWAYS, _S.ACTIVE, _C.NONE, _L.ERROR, 3,
                "What was taken over from {target} is not mended yet: {why}. It is tried again in the next cycle."),
        Result.FAILED:
            Row("R12", _G.ALWAYS, _S.ACTIVE, _C.NONE, _L.ERROR, 1,
                "What was taken over from {target} could not be mended: {why}. It is tried again in the next cycle."),
    },
    State.FAILING_BACK: {
        Result.DONE:
            Row("R5", _G.ALWAYS, _S.STANDBY, _C.NONE, _L.WARNING, 0, "Failback of {target} finished: {why}."),
        Result.PARTIAL:
            Row("R6", _G.ALWAYS, _S.STANDBY, _C.NONE, _L.ERROR, 1,
                "Failback of {target} finished, but not for everything: {why}."),
        Result.WAITING:
            Row("R7", _G.ALWAYS, _S.FAILING_BACK, _C.NONE, _L.ERROR, 3,
                "The failback of {target} waits: {why}. It is tried again in the next cycle."),
        Result.FAILED:
            Row("R8", _G.ALWAYS, _S.FAILING_BACK, _C.NONE, _L.ERROR, 1,
                "A step of the failback of {target} failed: {why}. It is tried again in the next cycle."),
    },
}
# fmt: on


def decide(verdict: Verdict, target: str, facts: Circumstances) -> Decision:
    """Return what follows from a verdict: journal it durably first, then act on its command."""
    before = State(facts.memory.state)
    memory = _count(verdict, facts)
    facts = replace(facts, memory=memory)
    row = next(row for row in TRANSITIONS[before][verdict.sight] if _holds(row.guard, verdict, facts))
    return _decision(row, before, target, verdict.why, facts)


def settle(result: Result, why: str, target: str, facts: Circumstances) -> Decision:
    """Return what follows from how far the plan came; `facts.memory` is the memory of the decision that ran it."""
    before = State(facts.memory.state)
    row = RESULTS[before][result]
    if row.then is not before:
        facts = replace(facts, memory=replace(facts.memory, failover_at=facts.now))
    return _decision(row, before, target, why, facts)


def _decision(row: Row, before: State, target: str, why: str, facts: Circumstances) -> Decision:
    memory = facts.memory if row.then is before else replace(facts.memory, state=row.then.value)
    sentence = row.sentence.format(
        target=target,
        why=why,
        agreed=_agreed(memory, facts.policy),
        pause=f"{facts.pause.owner} ({facts.pause.reason})" if facts.pause else "nobody",
        since=span(facts.now - (memory.failover_at or facts.now)),
        cooldown=span(facts.policy.cooldown),
        stays=facts.stays,
    )
    return Decision(row.id, before, row.then, row.command, row.level, row.exit, sentence, memory)


def _count(verdict: Verdict, facts: Circumstances) -> Memory:
    """Return the memory with this sight counted; cycles too far apart, or from the future, confirm nothing.

    Nor do those before a sign of life confirm a death.
    """
    memory, sight = facts.memory, verdict.sight
    near = 0 <= facts.now - memory.seen_at <= facts.policy.window
    lived = facts.met is not None and memory.seen_at <= facts.met <= facts.now
    downs = (memory.downs if near and not lived else 0) + 1 if sight is Sight.DOWN else 0
    ups = (memory.ups if near else 0) + 1 if verdict.back else 0
    since = memory.since if max(downs, ups) > 1 else facts.now
    before = memory.reached_at
    reached_at = facts.now if verdict.reached else None if before is None else min(before, facts.now)
    served = verdict.served or memory.served
    return replace(memory, downs=downs, ups=ups, since=since, seen_at=facts.now, reached_at=reached_at, served=served)


def confirmed(cycles: int, memory: Memory, policy: Policy) -> bool:
    """Tell whether so many cycles in a row are enough; more than one must also span a time, not only follow closely."""
    lasting = policy.confirmations == 1 or memory.seen_at - memory.since >= policy.lasting
    return cycles >= policy.confirmations and lasting


def _agreed(memory: Memory, policy: Policy) -> str:
    """Return how many cycles agree, and for how long where that is what is missing."""
    cycles = max(memory.downs, memory.ups)
    short = cycles >= policy.confirmations and not confirmed(cycles, memory, policy)
    lasted = f", {span(memory.seen_at - memory.since)} of at least {span(policy.lasting)}" if short else ""
    return f"{cycles} of {policy.confirmations} cycles{lasted}"


def _dead(facts: Circumstances) -> bool:
    return confirmed(facts.memory.downs, facts.memory, facts.policy)


def _back(facts: Circumstances) -> bool:
    return confirmed(facts.memory.ups, facts.memory, facts.policy)


def _cooling(facts: Circumstances) -> bool:
    ended = facts.memory.failover_at
    return ended is not None and facts.now - ended < facts.policy.cooldown and not facts.acknowledged


def _looked(facts: Circumstances) -> bool:
    """Tell whether a finished failover has just looked for late accounts."""
    ended = facts.memory.failover_at
    return ended is not None and 0 <= facts.now - ended < facts.policy.repeat


_HOLDS: dict[Guard, Callable[[Verdict, Circumstances], bool]] = {
    Guard.ALWAYS: lambda _verdict, _facts: True,
    Guard.UNCONFIRMED: lambda _verdict, facts: not _dead(facts),
    Guard.PAUSED: lambda _verdict, facts: facts.pause is not None,
    Guard.COOLING: lambda _verdict, facts: _cooling(facts),
    Guard.BEGUN: lambda _verdict, facts: facts.begun,
    Guard.NOT_DUE: lambda _verdict, facts: not facts.repeats or _looked(facts),
    Guard.NOT_BACK: lambda _verdict, facts: not _back(facts),
    Guard.MANUAL: lambda _verdict, facts: not facts.automatic,
    Guard.ACKNOWLEDGED: lambda _verdict, facts: facts.acknowledged,
    Guard.RETURNED: lambda _verdict, facts: facts.begun and _back(facts),
    Guard.LOST: lambda verdict, facts: verdict.lost and facts.pause is None,
    Guard.ORPHANED: lambda verdict, facts: verdict.orphaned and facts.pause is None,
    Guard.SPENT: lambda _verdict, facts: facts.relapses and _cooling(facts),
    Guard.RELAPSED: lambda _verdict, facts: facts.relapses,
    Guard.HALFWAY: lambda _verdict, facts: facts.halfway,
    Guard.AMISS: lambda verdict, _facts: verdict.lost or verdict.veiled or verdict.contested,
}


def _holds(guard: Guard, verdict: Verdict, facts: Circumstances) -> bool:
    return _HOLDS[guard](verdict, facts)


def span(seconds: float) -> str:
    """Return a duration for people: `8 h`, `5 min`, `12 s`."""
    seconds = max(0.0, seconds)
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"
