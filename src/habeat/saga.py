"""Run a plan's steps through the journal, so that a crash at any point is followed by a resume.

For each step: the intent is durable, the step runs, its outcome is durable. A step whose outcome is done is never
run again while it holds, except those that hold only for the process that ran them (`every_run`: preflight, lock).
Every step can be run again after an intent without an outcome; that is its author's duty.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from habeat.errors import HabeatError, JournalError, LockLostError
from habeat.journal import Journal
from habeat.machine import Command, Result, span
from habeat.model import Done, Failed, Outcome, Waiting

FREE_ATTEMPTS = 3
LONGEST_BACKOFF = 60.0


@dataclass(frozen=True)
class Job:
    """What a step is told: which failover and round it works for, why it runs, and which attempt at it this is."""

    failover: int
    round: int
    command: Command
    attempt: int = 1


@dataclass(frozen=True)
class Step:
    """One step of a plan.

    `needs_down` steps take something from the target, and run only in a cycle that has just seen it dead. One that is
    done is run again all the same where what it reached no longer `holds`.
    """

    name: str
    run: Callable[[Job], Outcome]
    needs_down: bool = False
    every_run: bool = False
    holds: Callable[[], bool] = lambda: True


@dataclass(frozen=True)
class Plan:
    """What a role does: its steps to take over and, for roles that fail back by themselves, its steps to give back.

    `mend` puts back what was taken over and no longer stands, for roles that can see that.

    `summary` tells how a failover (by its number) ended, and `undone` counts what it could not do. `guard` is held
    around every run, and `lost` tells why no further step may run when it was lost.
    """

    activate: tuple[Step, ...]
    deactivate: tuple[Step, ...]
    summary: Callable[[int], str]
    undone: Callable[[int], int]
    mend: tuple[Step, ...] = ()
    guard: AbstractContextManager[object] = field(default_factory=nullcontext)
    lost: Callable[[], str | None] = lambda: None


@dataclass(frozen=True)
class Progress:
    """How far a run came: the result, and a clause for people."""

    result: Result
    why: str


@dataclass(frozen=True)
class Saga:
    """Runs a plan; `hold` tells why no step may run now, `told` hears of every step as it begins (None) and ends."""

    plan: Plan
    journal: Journal
    clock: Callable[[], float]
    hold: Callable[[], str | None]
    told: Callable[[str, Outcome | None], None]

    def run(self, failover: int, command: Command) -> Progress:
        """Run what is left of the plan, in order, until a step cannot be done now."""
        others = {Command.DEACTIVATE: self.plan.deactivate, Command.MEND: self.plan.mend}
        steps = others.get(command, self.plan.activate)
        record = self.journal.failover(failover)
        done = {step.name for step in record.steps if step.outcome == "done"}
        held = ""
        for step in steps:
            if step.name in done and not step.every_run and step.holds():
                continue
            if step.needs_down and command in (Command.CARE, Command.CLOSE):
                if command is Command.CARE and not step.every_run:
                    held = held or f"step {step.name} needs a target that is surely dead"
                continue
            outcome = self._step(step, record.round, failover, command, held)
            if isinstance(outcome, Waiting):
                return Progress(Result.WAITING, f"{step.name}: {outcome.why}")
            if isinstance(outcome, Failed):
                return Progress(Result.FAILED, f"{step.name}: {outcome.why}")
        if held:
            return Progress(Result.WAITING, held)
        undone = self.plan.undone(failover) if command not in others else 0
        return Progress(Result.PARTIAL if undone else Result.DONE, self.plan.summary(failover))

    def _step(self, step: Step, round_: int, failover: int, command: Command, held: str) -> Outcome:
        """Run one step; while an earlier one is held, a step that is done is not done for good."""
        if (why := self.hold() or self.plan.lost()) is not None:
            return Waiting(why)
        if (wait := self._backoff(step, round_, failover)) > 0:
            return Waiting(f"it failed before and is tried again in {span(wait)}")
        attempt = self.journal.intend(failover, round_, step.name, self.clock())
        self.told(step.name, None)
        try:
            outcome = step.run(Job(failover, round_, command, attempt))
        except JournalError:
            raise
        except LockLostError as error:
            outcome = Waiting(str(error))
        except HabeatError as error:
            outcome = Failed(str(error))
        except Exception as error:  # noqa: BLE001  told and tried again: it must not end in silence
            outcome = Failed(f"a defect of habeat: {type(error).__name__}: {error}")
        final = Waiting(f"{outcome.detail}; {held}") if held and isinstance(outcome, Done) else outcome
        self.journal.conclude(failover, round_, step.name, final, self.clock())
        self.told(step.name, outcome)
        return outcome

    def _backoff(self, step: Step, round_: int, failover: int) -> float:
        """Return for how many seconds a step that keeps failing is still left alone."""
        found = self.journal.step(failover, round_, step.name)
        if found is None or found.outcome != "failed" or found.attempts < FREE_ATTEMPTS:
            return 0.0
        pause = min(LONGEST_BACKOFF, 2.0 ** min(found.attempts - FREE_ATTEMPTS, 10))
        passed = self.clock() - (found.outcome_at or 0.0)
        return pause - passed if 0 <= passed < pause else 0.0
