"""One cycle: observe, judge, decide, journal, act, journal, report. The thread of the whole program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from habeat.errors import HabeatError
from habeat.grounds import Grounds, conclude
from habeat.journal import Journal
from habeat.judge import blind_spot, probed
from habeat.machine import Circumstances, Command, Decision, Level, State, confirmed, settle
from habeat.model import Memory, Outcome, Policy, Sight, Snapshot, Target, Up, Verdict
from habeat.report.lockfiles import LockFiles
from habeat.roles import Traits

if TYPE_CHECKING:
    from habeat.saga import Plan


class Report(Protocol):
    """Who is told what happens, as it happens."""

    def say(self, level: Level, sentence: str, detail: str = "") -> None:
        """Hear a sentence."""

    def decision(self, target: Target, decision: Decision, rule: str, snapshot: Snapshot | None) -> None:
        """Hear a decision."""

    def step(self, target: Target, name: str, outcome: Outcome | None) -> None:
        """Hear that a step begins (None) or how it ended."""


@dataclass(frozen=True)
class Ended:
    """How a cycle ended: the evidence, the verdict, and its decisions (a second one if a plan ran)."""

    snapshot: Snapshot
    verdict: Verdict
    decisions: tuple[Decision, ...]

    @property
    def exit(self) -> int:
        """Return the exit code of `habeat check`."""
        return self.decisions[-1].exit


@dataclass(frozen=True)
class Cycle:
    """What one instance runs again and again.

    `plan` is made only when there is something to do. `met` tells when the target last gave a sign of life between the
    looks, `held` whether habeat holds the HA module stopped, `taken` whether it has that or anything else to give back,
    `halfway` whether a list of commands was cut short. `rejoin` lets a Consul server that was left behind rejoin the
    others, unless a person paused habeat, and returns what it did, or None.
    """

    target: Target
    policy: Policy
    observe: Callable[[float, Memory], Snapshot]
    traits: Traits
    plan: Callable[[], Plan]
    journal: Journal
    clock: Callable[[], float]
    report: Report
    files: LockFiles
    met: Callable[[], float | None]
    held: Callable[[], bool]
    taken: Callable[[Memory], bool]
    halfway: Callable[[], bool]
    rejoin: Callable[[Snapshot], str | None]

    def run(self) -> Ended:
        """Run one cycle; raises JournalError, before anything is done, where its decision cannot be made durable."""
        memory = self.journal.memory(self.target)
        met = [at for at in (memory.reached_at, self.met()) if at is not None]
        snapshot = replace(self.observe(self.clock(), memory), reached_at=max(met, default=None), served=memory.served)
        grounds = Grounds(snapshot, self._facts(memory))
        verdict, decision = conclude(grounds)
        memory = self.journal.record(self.target, decision, self.clock(), verdict, grounds)
        self.report.decision(self.target, decision, verdict.rule, snapshot)
        self._warn(snapshot, verdict, decision)
        self._mark(verdict, decision)
        if self._rejoins(snapshot) or decision.command is Command.NONE:
            return Ended(snapshot, verdict, (decision,))
        settled = self._act(decision.command, memory)
        self._mark(verdict, settled)
        return Ended(snapshot, verdict, (decision, settled))

    def _facts(self, memory: Memory) -> Circumstances:
        now = self.clock()
        begun = memory.failover is not None and self.journal.ever_intended(memory.failover, self.traits.decisive)
        return Circumstances(
            now=now,
            policy=self.policy,
            memory=memory,
            met=self.met(),
            pause=self.journal.paused(now),
            acknowledged=self.journal.acknowledged(memory.failover),
            begun=begun or self.taken(memory),
            repeats=self.traits.repeats,
            automatic=self.traits.automatic,
            relapses=self.traits.relapses,
            halfway=self.halfway(),
            stays=self.traits.stays,
        )

    def _act(self, command: Command, memory: Memory) -> Decision:
        failover = memory.failover
        if failover is None:
            raise HabeatError("a plan was to run without a failover in the journal; this is a defect of habeat")
        from habeat.saga import Saga  # noqa: PLC0415  a healthy cycle needs none

        plan = self.plan()
        saga = Saga(plan, self.journal, self.clock, self._hold, lambda n, o: self.report.step(self.target, n, o))
        with plan.guard:
            progress = saga.run(failover, command)
        settled = settle(progress.result, progress.why, self.target.name, self._facts(memory))
        self.journal.record(self.target, settled, self.clock())
        self.report.decision(self.target, settled, "", None)
        return settled

    def _hold(self) -> str | None:
        return self.journal.hold(self.clock())

    def _rejoins(self, snapshot: Snapshot) -> bool:
        """Tell whether this server had to rejoin the others, which wins over every plan that it had without them."""
        try:
            told = self.rejoin(snapshot)
        except HabeatError as error:
            told = f"This server's Consul must rejoin the others, and that failed: {error}."
        if told is not None:
            self.report.say(Level.ERROR, told)
        return told is not None

    def _warn(self, snapshot: Snapshot, verdict: Verdict, decision: Decision) -> None:
        if decision.after is State.STANDBY and self.held():
            self.report.say(Level.ERROR, "habeat stopped the HA module and nothing will start it: start it by hand.")
        left = [probe for probe in snapshot.ours if isinstance(probe.evidence, Up)]
        if decision.after is State.STANDBY and left:
            self.report.say(
                Level.ERROR, f"What habeat took over from {self.target.name} is still here: {probed(left)}."
            )
        blind = blind_spot(snapshot, self.policy) if verdict.sight is Sight.UP else None
        if blind:
            self.report.say(Level.WARNING, f"If {self.target.name} died now, habeat could not be sure of it: {blind}.")

    def _mark(self, verdict: Verdict, decision: Decision) -> None:
        """Bring the lock files in line with what is now known."""
        taken = decision.after in (State.FAILING_OVER, State.ACTIVE)
        surely = confirmed(decision.memory.downs, decision.memory, self.policy)
        alive = verdict.sight in (Sight.UP, Sight.SERVICE_DOWN, Sight.UNREACHABLE)
        complaints = self.files.sync(
            down=False if alive else None if verdict.sight is Sight.UNKNOWN else taken or surely,
            promotion=taken and verdict.sight is not Sight.UP,
            module=self.held(),
            sentence=decision.sentence,
        )
        for complaint in complaints:
            self.report.say(Level.WARNING, complaint)
