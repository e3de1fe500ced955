"""An attempt to rebuild Consul's quorum on this host: what is noted of it, done to the server here, and undone.

An attempt that brings no leader is undone by the copy of the raft folder, unless Consul took the new file in.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone

from habeat.act.raft_folder import PEERS, RAFT, RaftFolder
from habeat.act.unit import ENDED, Unit
from habeat.errors import CommandError, FolderError
from habeat.guard import Heard
from habeat.journal import Journal
from habeat.machine import Command
from habeat.model import Done, Failed, Outcome, Unknown, Waiting
from habeat.quorum import (
    Configuration,
    Epoch,
    Recovery,
    Server,
    Stage,
    configuration_of,
    epoch_of,
    peers_json,
    recovery_of,
    to_json,
)
from habeat.roles import EPOCH, RECOVERY, SAVED, STARTING
from habeat.saga import Job

ATTEMPTS = 3
UNDONE = (
    "an attempt failed and was undone: the raft folder is as before, a copy is {backup}; `habeat ack` allows another"
)
QUIET_WAIT, PAUSE = 15.0, 0.5


@dataclass(frozen=True)
class Attempt:
    """What the steps do here; each can be repeated after it was cut off anywhere.

    `ask` hears what all other servers say. `boot` tells this start of the machine from others. `clock` tells Unix time,
    `ticks` seconds that never jump.
    """

    unit: Unit
    folder: RaftFolder
    journal: Journal
    ask: Callable[[], Sequence[Heard]]
    boot: str
    clock: Callable[[], float]
    ticks: Callable[[], float]
    sleep: Callable[[float], None]

    # -- what is done

    def examine(self) -> str:
        """Prove that the raft folder can be copied and that the unit is there; return the folder's size."""
        size = self.folder.examine()
        self.unit.state()
        return size

    def begin(self, job: Job, epoch: Epoch, peers: tuple[Server, ...], told: str) -> Outcome:
        """Note the plan to go by; what Consul took in before is kept with it."""
        old = self.recovery()
        after = replace(old, after=None) if old is not None and self.taken_in(old) else old and old.after
        self.note(Recovery(job.failover, job.round, epoch, peers, after=after))
        return Done(f"{epoch} begins with {named(peers)}: {told}")

    def halt(self) -> None:
        """Stop Consul, and what was to start it; make sure that no process has the database open."""
        if self.journal.noted(STARTING) is not None:
            self.journal.note(STARTING, None)
        if self.unit.state() not in ENDED:
            if (recovery := self.recovery()) is not None:
                self.note(recovery.ran)
            self.unit.stop()
        deadline = self.ticks() + QUIET_WAIT
        while self.folder.busy():
            if self.ticks() > deadline:
                raise CommandError(f"{self.unit.name} is stopped, but a process still has raft's database open")
            self.sleep(PAUSE)

    def copy(self, recovery: Recovery) -> Outcome:
        """Copy the raft folder to a dated name, which is noted first."""
        moment = datetime.fromtimestamp(self.clock(), timezone.utc)
        name = recovery.backup or f"{RAFT}.habeat-{moment:%Y%m%dT%H%M%SZ}-before-epoch-{recovery.epoch.number}"
        self.note(replace(recovery, backup=name))
        try:
            self.folder.copy(RAFT, name)
        except FolderError as error:
            self.start_again(recovery)
            return Failed(f"the raft folder was not copied, and {self.unit.name} was started again: {error}")
        self.note(replace(recovery, backup=name, stage=Stage.SAVED))
        return Done(f"the raft folder is copied to {self.folder.path / name}")

    def write(self, recovery: Recovery) -> Outcome:
        """Tell the epoch, then write the file."""
        self.journal.note(EPOCH, to_json(recovery.epoch))
        try:
            self.folder.write_peers(peers_json(recovery.peers))
        except FolderError as error:
            self.start_again(recovery)
            return Failed(f"peers.json was not written, and {self.unit.name} was started again: {error}")
        self.note(replace(recovery, stage=Stage.WRITTEN))
        return Done(f"peers.json names {named(recovery.peers)}")

    def start(self, recovery: Recovery | None) -> Outcome:
        """Start Consul, unless it runs."""
        if self.unit.runs():
            if recovery is None or not recovery.begun or self.taken_in(recovery):
                return Done(f"{self.unit.name} runs")
            return self._begin_anew(recovery)
        try:
            self.journal.note(STARTING, self.boot)  # the guard runs within this start
            self.unit.start()
        except CommandError as error:
            return self.broken(recovery, str(error))
        finally:
            self.journal.note(STARTING, None)
        return Done(f"{self.unit.name} is started")

    def _begin_anew(self, recovery: Recovery) -> Outcome:
        """Take peers.json away from a server that somebody started before it was there: the copy is of the past."""
        self.halt()
        if self.taken_in(recovery):
            return Waiting("Consul took the new configuration in at this moment")
        self.folder.remove_peers()
        self.note(replace(recovery, backup="", stage=Stage.PREPARED))
        return Waiting(f"{self.unit.name} was started before peers.json was there: its data is copied anew")

    def taken_in(self, recovery: Recovery | None) -> bool:
        """Tell whether Consul was started with the new configuration: then there is no way back but the copy."""
        return recovery is not None and recovery.begun and not self.folder.has(f"{RAFT}/{PEERS}")

    # -- how it is undone

    def start_again(self, recovery: Recovery) -> None:
        """Start Consul without the new configuration; since it writes then, the copy is of the past from now on."""
        self.folder.remove_peers()
        self.note(replace(recovery, backup="", stage=Stage.PREPARED))
        self.unit.start()

    def put_back(self, job: Job, recovery: Recovery | None) -> Outcome:
        """Start Consul with its old data, or with none, if its guard says so.

        An epoch that was told stays: who heard of it and threw its data away rejoins this server and its old data.
        """
        if recovery is not None and recovery.stage is Stage.UNDONE and job.command is not Command.CLOSE:
            self._run()
            return Waiting(UNDONE.format(backup=recovery.backup))
        if recovery is not None and (unheard := self._unheard(recovery)) is not None:
            return Waiting(f"Consul is not started with its old data: {unheard}")
        if recovery is not None and self.folder.has(f"{RAFT}/{PEERS}"):
            self.halt()
            if self.taken_in(recovery):
                return Waiting("Consul took the new configuration in at this moment")
            self.note(replace(recovery, stage=Stage.SAVED))
            self.folder.remove_peers()
        earlier = self.forget(recovery)
        self._run()
        told = f"{self.unit.name} runs, and nothing is rebuilt here, since the other site is no longer surely dead"
        if earlier is not None:
            told = f"{self.unit.name} runs with {earlier.epoch}, since the other site is no longer surely dead"
        return Done(told) if job.command is Command.CLOSE else Waiting(told)

    def _run(self) -> None:
        """Start Consul, unless it runs."""
        if not self.unit.runs():
            self.unit.start()

    def forget(self, recovery: Recovery | None) -> Recovery | None:
        """Forget a plan that Consul did not take in, and return the one that it took in before, which counts again."""
        earlier = recovery and recovery.after
        if recovery is not None:
            self.journal.note(RECOVERY, None if earlier is None else to_json(earlier))
        return earlier

    def broken(self, recovery: Recovery | None, why: str) -> Outcome:
        """Fail, and after some attempts put the copy of the raft folder back.

        Never once Consul took the new configuration in: it may have had a leader since, and what that acknowledged
        would be lost.
        """
        if recovery is None or recovery.stage is not Stage.WRITTEN:
            return Failed(why)
        if self.taken_in(recovery):
            return Failed(f"{why}; the new configuration was taken in, so the copy {recovery.backup} is not put back")
        recovery = replace(recovery, failures=recovery.failures + 1)
        self.note(recovery)
        if recovery.failures < ATTEMPTS:
            return Failed(why)
        if (unheard := self._unheard(recovery)) is not None:
            return Failed(f"{why}; its old data is not put back: {unheard}")
        recovery = replace(recovery, stage=Stage.UNDOING)
        self.note(recovery)
        told = f"{why}; after {recovery.failures} attempts the raft folder was put back as it was"
        try:
            self.undo(recovery)
        except CommandError as error:
            return Failed(f"{told}, and {error}")
        return Failed(told)

    def _unheard(self, recovery: Recovery) -> str | None:
        """Return who gives no answer, and may have rebuilt Consul without this server while it stood still, or None.

        Servers that returned in an epoch which was told here hold nothing of their own any more: with their votes even
        the old data could have a leader, beside the one that was rebuilt.
        """
        if recovery.epoch.id != self.epoch().id:
            return None
        silent = {item.address for item in self.ask() if isinstance(item.word, Unknown)}
        others = [peer for peer in recovery.peers if peer.address in silent]
        if not others or self.allowed(recovery):
            return None
        return f"{named(others)} gives no answer, and may have rebuilt Consul alone; `habeat ack` allows it"

    def allowed(self, recovery: Recovery) -> bool:
        """Tell whether a person acknowledged what a recovery waits for, after that was told."""
        given = self.journal.acknowledgements()
        if recovery.asked is None:
            self.note(replace(recovery, asked=given))
            return False
        return given > recovery.asked

    def undo(self, recovery: Recovery) -> None:
        """Put the copy back, and start Consul; can be repeated after it was cut off anywhere."""
        self._halt_or_absent()
        self.folder.restore(recovery.backup, f"{recovery.backup}.failed")
        self.note(replace(recovery, stage=Stage.UNDONE, asked=self.journal.acknowledgements()))
        self.unit.start()

    def _halt_or_absent(self) -> None:
        if self.folder.has(RAFT):
            self.halt()
        elif self.unit.state() not in ENDED:
            self.unit.stop()

    # -- the notes

    def own_id(self) -> str:
        """Return this server's id, as raft knows it."""
        return self.folder.node_id()

    def saved(self) -> Configuration | None:
        """Return raft's configuration as it was last seen with a leader."""
        return configuration_of(self.journal.noted(SAVED))

    def save(self, found: Configuration) -> None:
        """Note raft's configuration as it is seen now."""
        self.journal.note(SAVED, to_json(replace(found, at=self.clock(), boot=self.boot)))

    def epoch(self) -> Epoch:
        """Return the newest epoch that this server shares."""
        return epoch_of(json.loads(self.journal.noted(EPOCH) or "null"))

    def recovery(self) -> Recovery | None:
        """Return how far a recovery came here, or None where there is none."""
        return recovery_of(json.loads(self.journal.noted(RECOVERY) or "null"))

    def note(self, recovery: Recovery) -> None:
        """Note how far it came."""
        self.journal.note(RECOVERY, to_json(recovery))


def named(servers: Sequence[Server]) -> str:
    """Return the names of servers as one text."""
    return ", ".join(map(str, servers)) or "nobody"
