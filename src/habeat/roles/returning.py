"""A Consul server that returns: the guard before its start, its rejoining by hand, and what it tells the others."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from habeat.act.raft_folder import NODE_ID, PEERS, RAFT, RaftFolder
from habeat.act.unit import ENDED, Unit
from habeat.config.model import Config
from habeat.edges import REAL, Edges
from habeat.errors import CommandError, FolderError, HttpError
from habeat.guard import Action, Advice, Heard, Situation, Word, advise, behind, overtaken
from habeat.journal import Journal
from habeat.node import consul_of, epoch_key, target_of
from habeat.quorum import Epoch, Stage, configuration_of, epoch_of, recovery_of, to_json
from habeat.roles import ALLOWED, ASKED, EPOCH, RECOVERY, REJOINING, SAVED, STARTING
from habeat.roles.assembly import unit_of

PAUSE = 2.0
JOINED_WITHIN = 60.0
LEADER_WITHIN = 1.0  # seconds; who asks waits for 3


@dataclass(frozen=True)
class Returning:
    """What a server does with its old data."""

    config: Config
    journal: Journal
    edges: Edges = REAL

    @property
    def folder(self) -> RaftFolder:
        """Return Consul's data folder here."""
        return self.edges.folder(self.config)

    def advice(self) -> tuple[Advice, Sequence[Heard]]:
        """Return whether Consul may start with the data that is here, and what the other servers said."""
        heard = self.edges.channel(self.config).ask()
        return advise(self._situation(), heard), heard

    def guard(self, say: Callable[[str], None]) -> Advice:
        """Hold the start until it may be, or must not be, or the time is up; clean the data where it must be.

        Raises HabeatError where the data cannot be moved away: Consul must not start then either.
        """
        deadline, told = self.edges.ticks() + self.config.guard.hold, ""
        while True:
            advice, heard = self.advice()
            if advice.action is Action.CLEAN:
                say(self.clean(advice.epoch))
                if behind(advice.epoch, heard):
                    continue
            if advice.action is not Action.HOLD or self.edges.ticks() >= deadline:
                break
            if advice.why != told:
                say(f"the start of Consul is held: {advice.why}")
                told = advice.why
            self.edges.sleep(min(PAUSE, max(0.0, deadline - self.edges.ticks())))
        if not holds(advice, self.config):
            self._starts()
        return advice

    def _starts(self) -> None:
        """Note that Consul starts: what allowed it is used up, and a copy that was made of its data is of the past."""
        for used in (ALLOWED, STARTING):
            if self.journal.noted(used) is not None:
                self.journal.note(used, None)
        recovery = recovery_of(json.loads(self.journal.noted(RECOVERY) or "null"))
        if recovery is not None and recovery.ran != recovery:
            self.journal.note(RECOVERY, to_json(recovery.ran))

    def clean(self, epoch: Epoch) -> str:
        """Move the old raft folder to a dated name, then take over the epoch; return what was done."""
        moment = datetime.fromtimestamp(self.edges.clock(), timezone.utc)
        name = f"{RAFT}.habeat-{moment:%Y%m%dT%H%M%S%fZ}-before-epoch-{epoch.number}"
        moved = "there was no raft folder"
        if self.folder.has(RAFT):
            if self.folder.busy():
                raise FolderError(f"a process has raft's database in {self.folder.path} open: stop Consul first")
            self.journal.note(SAVED, None)  # without data this server must rebuild nothing
            self.folder.set_aside(name)
            moved = f"the old raft folder is {self.folder.path / name}"
        self.journal.note(EPOCH, to_json(epoch))
        self.journal.note(RECOVERY, None)
        return f"this server rejoins Consul clean, in {epoch}: {moved}"

    def rejoin(self, epoch: Epoch, say: Callable[[str], None]) -> str:
        """Stop Consul, move its raft folder away, start it, and wait until it votes again; return how it ended.

        Raises HabeatError where one of these does not come to pass.
        """
        unit = unit_of(self.config, self.edges.runner("", None))
        if unit.state() not in ENDED:
            unit.stop()
            say(f"{unit.name} is stopped")
        say(self.clean(epoch))
        self._start(unit)
        say(f"{unit.name} is started")
        consul, own = consul_of(self.config, self.edges), self.folder.node_id()
        deadline, why = self.edges.ticks() + JOINED_WITHIN, ""
        while self.edges.ticks() < deadline:
            try:
                if own in {server.id for server in consul.raft().voters}:
                    return "this server votes again"
                why = "it does not vote yet"
            except HttpError as error:
                why = f"Consul {error}"
            self.edges.sleep(1.0)
        raise CommandError(
            f"this server is not seen to vote after {JOINED_WITHIN:g} s ({why}): see `consul operator raft list-peers`"
        )

    def overtaken(self) -> str | None:
        """Rejoin clean where Consul was rebuilt without this server, which has no leader; return what was done.

        Goes on with what was cut off. Raises HabeatError where a step of it fails.
        """
        if (noted := self.journal.noted(REJOINING)) is not None:
            epoch = epoch_of(json.loads(noted))
        else:
            newer = overtaken(self._own(), self._epoch(), self.edges.channel(self.config).ask())
            if newer is None:
                return None
            epoch = newer
            self.journal.note(REJOINING, to_json(epoch))
        return f"Consul was rebuilt without this server, which rejoins: {'; '.join(self._restart(epoch))}."

    def _restart(self, epoch: Epoch) -> Iterator[str]:
        """Stop Consul, clean its data unless that was done, and start it; each can be run again."""
        unit = unit_of(self.config, self.edges.runner("", None))
        if self._epoch().number < epoch.number:
            if unit.state() not in ENDED:
                unit.stop()
            yield self.clean(epoch)
        if not unit.runs():
            self._start(unit)
        self.journal.note(REJOINING, None)
        yield f"{unit.name} is started"

    def _start(self, unit: Unit) -> None:
        self.allow()  # the guard runs within this start
        try:
            unit.start()
        finally:
            self.journal.note(ALLOWED, None)

    def word(self) -> Word:
        """Return what this server tells the others."""
        return Word(
            site=str(self.config.local.whoami),
            server=self._own(),
            epoch=self._epoch(),
            recovery=recovery_of(json.loads(self.journal.noted(RECOVERY) or "null")),
            state=self.journal.memory(target_of(self.config)).state,
            led=self._led(),
        )

    def _led(self) -> bool:
        """Tell whether Consul here has a leader now, whose data tells the epoch that this server notes.

        A server that was taken in by a rebuilt cluster may not have noted that yet, so its own word is not enough; and
        what cannot be told soon nobody may count on.
        """
        consul = consul_of(self.config, self.edges, LEADER_WITHIN)
        try:
            held = consul.lock(epoch_key(self.config)) if consul.leader() else None
            return held is not None and epoch_of(json.loads(held.value)).id == self._epoch().id
        except Exception:  # noqa: BLE001  whatever it is, what this server knows of epochs must be told in time
            return False

    def asked(self) -> None:
        """Note that a server of the other site asked: it is alive, whatever a witness still remembers."""
        self.journal.note(ASKED, repr(self.edges.clock()))

    def allow(self) -> None:
        """Let the guard allow the next start in this start of the machine."""
        self.journal.note(ALLOWED, self.edges.boot_id())

    def _own(self) -> str:
        """Return this server's id, or nothing where Consul has never started here."""
        folder = self.folder
        return folder.node_id() if folder.has(NODE_ID) else ""

    def _epoch(self) -> Epoch:
        return epoch_of(json.loads(self.journal.noted(EPOCH) or "null"))

    def _situation(self) -> Situation:
        config = self.config
        here, there = str(config.local.whoami), str(config.local.dc_check)
        recovery = recovery_of(json.loads(self.journal.noted(RECOVERY) or "null"))
        if recovery is not None and recovery.stage is Stage.UNDOING and not self.folder.has(RAFT):
            raise FolderError(f"habeat is putting {recovery.backup} back as {RAFT}: run `habeat check`")
        return Situation(
            site=here,
            here=config.site(here).consul_ips,
            there=config.site(there).consul_ips,
            own=self._own(),
            epoch=self._epoch(),
            configuration=configuration_of(self.journal.noted(SAVED)),
            now=self.edges.clock(),
            boot=self.edges.boot_id(),
            recent=config.guard.recent,
            cut_off=recovery is not None and recovery.unread and self.folder.has(f"{RAFT}/{PEERS}"),
            allowed=self.journal.noted(ALLOWED) == self.edges.boot_id(),
            starting=self.journal.noted(STARTING) == self.edges.boot_id(),
            empty=not self.folder.has(RAFT),
        )


def holds(advice: Advice, config: Config) -> bool:
    """Tell whether Consul must not start, by the advice and, where that cannot tell, by the policy."""
    unsure = advice.action is Action.HOLD and config.guard.unsure == "hold"
    return unsure or advice.action is Action.REFUSE
