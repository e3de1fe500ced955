"""Roles proxyserver, mta, collaboration and video: watch the other site's node, and move its service here and back.

The commands are the configuration's. Where it has checks, they alone judge what the commands did: one that complains
that its work is done already ("File exists") spoils nothing, and one that says 0 and does nothing is no success.
Nothing is taken over before the other site is seen to announce no longer, and nothing given back before it is seen to
announce again. How far a list came is in the journal, so that one that was cut off goes on where it stopped. Without a
switch, or where it is not enabled, the same machine runs and tells what would be done.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from habeat.act.coordination import SharedLock
from habeat.act.run import Runner
from habeat.config.switch import Command, Switch, listed
from habeat.errors import CommandError
from habeat.journal import Journal
from habeat.judge import probed
from habeat.model import Done, Down, Evidence, Failed, Outcome, Probe, Up, Waiting, known
from habeat.observe import Service
from habeat.saga import Job, Plan, Step

QUOTED = 300
SHORTEST_WAIT, LONGEST_WAIT = 0.1, 2.0
ACTIVATE, DEACTIVATE = "activate", "deactivate"


@dataclass(frozen=True)
class Progress:
    """Which commands of a list are done since the machine started; the next one may have been run too."""

    way: str
    failover: int
    boot: str
    done: Sequence[str] = ()
    complete: bool = False

    @property
    def whole(self) -> bool:
        """Tell whether all was taken over, and nothing given back since."""
        return self.way == ACTIVATE and self.complete


def progress_of(noted: str) -> Progress:
    """Return how far a list came, from the journal's note."""
    return known(Progress, json.loads(noted))


@dataclass(frozen=True)
class Takeover:
    """The steps; each may be run again after it was cut off at any point.

    `ours` and `theirs` are looks at the announcement here and in the other site, `runs` tells whether the commands of
    a way may really be run, `hold` why none may be run now. `note` is the name of the journal's note, `boot` what
    tells this start of the machine from others. `clock` and `sleep` are in seconds, and only for waiting.
    """

    switch: Switch
    runs: Callable[[str], bool]
    runner: Runner
    ours: Sequence[Service]
    theirs: Sequence[Service]
    lock: SharedLock
    journal: Journal
    note: str
    boot: str
    hold: Callable[[], str | None]
    clock: Callable[[], float]
    sleep: Callable[[float], None]

    def plan(self) -> Plan:
        """Return the plan of this role."""
        return Plan(
            activate=(
                Step("lock", self.take_lock, needs_down=True, every_run=True),
                Step("other-gone", self.other_gone, needs_down=True, every_run=True),
                Step("activate", self.activate, needs_down=True, holds=self.stands),
            ),
            deactivate=(
                Step("other-back", self.other_back, every_run=True),
                Step("deactivate", self.deactivate),
            ),
            mend=(Step("mend", self.mend, every_run=True),),
            summary=self.summary,
            undone=lambda _failover: 0,
            guard=self.lock,
            lost=self.lock.lost,
        )

    # -- the steps

    def take_lock(self, _job: Job) -> Outcome:
        """Make sure that no other instance takes the same node over at this moment."""
        if not self.runs(ACTIVATE):
            return Done("nothing will be run, so no lock is taken")
        self.lock.acquire()
        return Done(self.lock.note)

    def other_gone(self, _job: Job) -> Outcome:
        """Make sure that the other site announces no longer, as far as that can be checked."""
        if not self.theirs or not self.runs(ACTIVATE):
            return Done("it is not checked whether the other site still announces")
        probes = self._await(self.theirs, Down)
        if _all(probes, Down):
            return Done(f"the other site is gone: {probed(probes)}")
        if any(isinstance(probe.evidence, Up) for probe in probes):
            return Waiting(f"the other site still announces: {probed(probes)}")
        return Waiting(f"it is not proved that the other site no longer announces: {probed(probes)}")

    def activate(self, job: Job) -> Outcome:
        """Run the commands that take over, until the checks say that it is here."""
        if not self.runs(ACTIVATE):
            return Done(f"nothing is run, since it is not enabled; it would run: {listed(self.switch.activate)}")
        progress = self._progress()
        if progress is None and self.ours and _all(_look(self.ours), Up):
            return Done("it is here already, and not by habeat: nothing is run, and nothing will be given back")
        return self._reach(job, ACTIVATE, self.switch.activate, Up)

    def stands(self) -> bool:
        """Tell whether what was taken over is not surely gone from here, as after a reboot."""
        return self._progress() is None or not any(isinstance(probe.evidence, Down) for probe in _look(self.ours))

    def other_back(self, _job: Job) -> Outcome:
        """Make sure that the other site announces again, as far as that can be checked."""
        if not self.theirs or self._progress() is None:
            return Done("it is not checked whether the other site announces")
        probes = _look(self.theirs)
        if not _all(probes, Up):
            return Waiting(f"the other site is not seen to announce: {probed(probes)}")
        return Done(f"the other site announces again: {probed(probes)}")

    def deactivate(self, job: Job) -> Outcome:
        """Run the commands that give back, until the checks say that it is no longer here."""
        if self._progress() is None:
            standing = [probe for probe in _look(self.ours) if isinstance(probe.evidence, Up)]
            told = f"; what is still here is not habeat's: {probed(standing)}" if standing else ""
            return Done(f"habeat took nothing over, so there is nothing to give back{told}")
        by_hand = not self.runs(DEACTIVATE)
        if by_hand and not (self.ours and _all(_look(self.ours), Down)):
            return Waiting(f"it is not enabled; it would run: {listed(self.switch.deactivate)}")
        outcome = (
            Done("a person gave it back") if by_hand else self._reach(job, DEACTIVATE, self.switch.deactivate, Down)
        )
        if isinstance(outcome, Done):
            if isinstance(fallen := self.other_back(job), Waiting):
                return fallen
            self.journal.note(self.note, None)
        return outcome

    def mend(self, job: Job) -> Outcome:
        """Take over anew what no longer stands here, with the same proof as the first time."""
        if not self.runs(ACTIVATE):
            return Waiting(f"it is not enabled; it would run: {listed(self.switch.activate)}")
        self.lock.acquire()
        if isinstance(doubt := self.other_gone(job), Waiting):
            return doubt
        return self._reach(job, ACTIVATE, self.switch.activate, Up)

    def summary(self, failover: int) -> str:
        """Return what the last step said, or that the takeover was cut short, or did not last."""
        progress = self._progress()
        if progress is not None and progress.way == ACTIVATE and not progress.complete:
            came = f"{len(progress.done)} of {len(self.switch.activate)} commands"
            return f"it was cut short after {came}{', and is undone next' if self.runs(DEACTIVATE) else ''}"
        if progress is not None and progress.failover != failover:
            return "nothing was run, and what an earlier failover took over is still to be given back"
        meant = self.journal.failover(failover).steps
        newest = max((step.intent_at for step in meant), default=None)
        if progress is None and any(step.outcome is None and step.intent_at == newest for step in meant):
            return "nothing was taken over, since it was cut off before its first command"
        steps = [step for step in meant if step.outcome_at is not None]
        last = max(steps, key=lambda step: (step.outcome_at or 0.0, step.first_at), default=None)
        detail = (last and last.detail) or "there was nothing left to do"
        if last is not None and last.outcome != "done":
            return f"it was broken off ({detail})"
        if progress is None or progress.way != ACTIVATE or _all(probes := _look(self.ours), Up):
            return detail
        gone = any(isinstance(probe.evidence, Down) for probe in probes)
        told = "that no longer stands here" if gone else "it cannot be told whether that still stands here"
        return f"it took over, and {told}: {probed(probes)}"

    # -- how a list of commands is run

    def _reach(self, job: Job, way: str, commands: Sequence[Command], wanted: type[Evidence]) -> Outcome:
        """Run what is left of a list, and wait until the checks agree; where there are none, no command may fail."""
        progress, ran = self._progress(), 0
        complaints: list[str] = []
        if not self._stands(progress, job, way, wanted):
            start = self._start(progress, job, way, commands)
            self._note(Progress(way, job.failover, self.boot, _texts(commands[:start])))
            for place in range(start, len(commands)):
                if (why := self.hold() or self.lock.lost()) is not None:
                    return Waiting(f"{why}; {place} of {len(commands)} commands are done")
                told = self._run(commands[place])
                if told and not self.ours:
                    return Failed(f"command {place + 1} of {len(commands)}: {told}; {place} of them are done")
                complaints += [told] if told else []
                ran += 1
                self._note(Progress(way, job.failover, self.boot, _texts(commands[: place + 1])))
            self._note(Progress(way, job.failover, self.boot, _texts(commands), complete=True))
        probes = self._await(self.ours, wanted)
        complained = "; ".join(complaints)
        if not _all(probes, wanted):
            return Failed(f"{ran} commands ran{f' ({complained})' if complained else ''}, but {probed(probes)}")
        seen = probed(probes) if probes else "no check is configured that could prove it"
        ended = f", which is what counts, although {complained}" if complained else ""
        return Done(f"{ran or 'no'} commands had to run: {seen}{ended}")

    def _stands(self, progress: Progress | None, job: Job, way: str, wanted: type[Evidence]) -> bool:
        """Tell whether the whole list was run before, and what it is for holds."""
        if progress is None or not progress.complete or not self._same(progress, job, way):
            return False
        return not self.ours or _all(_look(self.ours), wanted)

    def _start(self, progress: Progress | None, job: Job, way: str, commands: Sequence[Command]) -> int:
        """Return at which command a list begins: where it was cut off, or, also if it was changed since, the first."""
        if progress is None or progress.complete or not self._same(progress, job, way):
            return 0
        done = len(progress.done)
        return done if list(progress.done) == _texts(commands[:done]) else 0

    def _same(self, progress: Progress, job: Job, way: str) -> bool:
        return (progress.way, progress.failover, progress.boot) == (way, job.failover, self.boot)

    def _run(self, command: Command) -> str:
        """Run one command, and return its complaint, or ""."""
        try:
            completed = self.runner.run(command.argv, self.switch.timeout)
        except CommandError as error:
            return str(error)
        if completed.code == 0:
            return ""
        said = " ".join((completed.stderr or completed.stdout).split())[-QUOTED:]
        return f"`{command}` ended with exit code {completed.code}{f' ({said})' if said else ''}"

    def _await(self, looks: Sequence[Service], wanted: type[Evidence]) -> list[Probe]:
        """Look until all agree or the time to settle is over, and return what was seen last."""
        deadline, pause = self.clock() + self.switch.settle, SHORTEST_WAIT
        while not _all(probes := _look(looks), wanted) and self.clock() < deadline:
            self.sleep(pause)
            pause = min(LONGEST_WAIT, 2 * pause)
        return probes

    def _progress(self) -> Progress | None:
        noted = self.journal.noted(self.note)
        return progress_of(noted) if noted else None

    def _note(self, progress: Progress) -> None:
        self.journal.note(self.note, json.dumps(asdict(progress)))


def watch_only(journal: Journal, note: str) -> Plan:
    """Return the plan of a node that has no switch (any more): it only tells."""

    def deactivate(_job: Job) -> Outcome:
        return Done(WATCHES) if journal.noted(note) is None else Waiting(FORGOTTEN)

    return Plan(
        activate=(Step("activate", lambda _job: Done(WATCHES), needs_down=True),),
        deactivate=(Step("deactivate", deactivate),),
        summary=lambda _failover: WATCHES,
        undone=lambda _failover: 0,
    )


WATCHES = "no switch is configured for this role, so nothing is moved"
FORGOTTEN = "habeat took over by a switch that is no longer configured: configure it again, so that it can give back"


def _texts(commands: Sequence[Command]) -> list[str]:
    return [str(command) for command in commands]


def _look(looks: Sequence[Service]) -> list[Probe]:
    return [look() for look in looks]


def _all(probes: Sequence[Probe], wanted: type[Evidence]) -> bool:
    return all(isinstance(probe.evidence, wanted) for probe in probes)
