"""Role consulserver: when the other site's Consul servers took the quorum with them, rebuild it from those here.

By Consul's outage recovery: the server is stopped, its raft folder copied, peers.json written with the surviving voters
alone, and the server started. Where several survive, the living one with the lowest address leads: it makes the plan,
and the others take it over, so that all write the same file. A new epoch is told to whoever asks before any Consul can
start with that file, so that a server which returns knows that its data is of the past (see `habeat.guard`).

How far it came is one note in the journal, and every step looks at that and at the world before it acts, so that each
can be run again after it was cut off anywhere. If the other site is no longer surely dead, a server that was not yet
started with the new file is started with its old data; one that was goes on, since the new history has begun. What is
done to this host's server, and how it is undone, is `habeat.roles.attempt`; who takes part is `habeat.roles.survivors`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from habeat.consul import Consul
from habeat.errors import CommandError, HabeatError, HttpError, HttpRefusedError
from habeat.guard import torn
from habeat.journal import Journal
from habeat.machine import Command
from habeat.model import Done, Down, Evidence, Failed, Outcome, Unknown, Up, Waiting
from habeat.observe.quorum import NO_LEADER
from habeat.quorum import Recovery, Stage, obstacle, to_json
from habeat.roles import ASKED, RECOVERY, SAVED
from habeat.roles.attempt import PAUSE, UNDONE, Attempt, named
from habeat.roles.survivors import Survivors
from habeat.saga import Job, Plan, Step

LEADER_WAIT = 45.0


@dataclass(frozen=True)
class Recoverer:
    """The steps.

    `here` and `there` are the addresses of the two sites' servers. `attempt` is what is done to this one, `survivors`
    are those of this `site`. `leader` tells whether Consul has a leader here, `looks` asks addresses side by side.
    `key` is where Consul keeps the epoch. `clock` tells Unix time, `ticks` seconds that never jump.
    """

    site: str
    here: Sequence[str]
    there: Sequence[str]
    key: str
    consul: Consul
    attempt: Attempt
    survivors: Survivors
    leader: Callable[[], Evidence]
    looks: Callable[[Sequence[str]], Sequence[Evidence]]
    journal: Journal
    clock: Callable[[], float]
    ticks: Callable[[], float]
    sleep: Callable[[float], None]

    def plan(self) -> Plan:
        """Return the plan of this role."""
        return Plan(
            activate=(
                Step("preflight", self.preflight, needs_down=True, every_run=True),
                Step("stop", self.stop, needs_down=True, every_run=True),
                Step("backup", self.backup, needs_down=True, every_run=True),
                Step("peers", self.peers, needs_down=True, every_run=True),
                Step("start", self.start, every_run=True),
                Step("leader", self.prove, every_run=True),
                Step("voters", self.voters, every_run=True),
            ),
            deactivate=(Step("return", self.returned, every_run=True),),
            summary=self.summary,
            undone=lambda _failover: 0,
        )

    # -- the steps

    def preflight(self, job: Job) -> Outcome:
        """Make sure that the quorum is lost and can be rebuilt here, and agree on a plan; nothing is touched yet."""
        recovery = self.attempt.recovery()
        if recovery is not None and recovery.stage is Stage.UNDOING:
            self.attempt.undo(recovery)
            recovery = self.attempt.recovery()
        ours = recovery is not None and (recovery.failover, recovery.round) == (job.failover, job.round)
        if not (ours and recovery is not None and recovery.begun) and self._needless():
            return Done("Consul has a leader, so there is nothing to rebuild")
        if recovery is not None and ours:
            if (
                recovery.begun
                and not self._needless()
                and (recovery.stage is Stage.LOST or self.survivors.left_behind())
            ):
                return self._prepare(job)
            if recovery.stage is not Stage.UNDONE:
                return Done(f"{recovery.epoch} with {named(recovery.peers)} is under way ({recovery.stage.value})")
            if not self.attempt.allowed(recovery):
                return Waiting(UNDONE.format(backup=recovery.backup))
        return self._prepare(job)

    def _prepare(self, job: Job) -> Outcome:
        """Make a plan, or take over that of another survivor, if all that it needs is there."""
        saved, own = self.attempt.saved(), self.attempt.own_id()
        why = obstacle(saved, self.here, self.there, own, self.site)
        if why is not None or saved is None:
            return Waiting(why or "raft's configuration was never saved")
        try:
            proved = self.attempt.examine()
        except HabeatError as error:
            return Waiting(str(error))
        return self.survivors.agree(job, saved, own, proved)

    def stop(self, _job: Job) -> Outcome:
        """Stop this host's Consul server, unless it was already started with the new configuration."""
        if (done := self._nothing_to_do()) is not None:
            return done
        self.attempt.halt()
        return Done(f"{self.attempt.unit.name} is stopped, and nobody has raft's database open")

    def backup(self, _job: Job) -> Outcome:
        """Copy the raft folder."""
        if (done := self._nothing_to_do()) is not None:
            return done
        self.attempt.halt()
        recovery = self.attempt.recovery()
        return Done("there is nothing to rebuild") if recovery is None else self.attempt.copy(recovery)

    def peers(self, _job: Job) -> Outcome:
        """Write peers.json with the surviving voters alone, after the epoch is told to whoever asks."""
        recovery = self.attempt.recovery()
        if (done := self._nothing_to_do()) is not None or recovery is None:
            return done or Done("there is nothing to rebuild")
        self.attempt.halt()
        recovery = self.attempt.recovery()
        if recovery is None or recovery.stage is not Stage.SAVED:
            return Waiting("Consul ran since its data was copied, so that is copied anew in the next cycle")
        if back := _not_silent(self._seen(self.there)):
            self.attempt.start_again(recovery)
            return Waiting(f"{_told(back)}, so {self.attempt.unit.name} was started again")
        if (rival := self.survivors.rival(recovery)) is not None:
            self.attempt.start_again(recovery)
            return Waiting(f"{rival} was begun meanwhile, so {self.attempt.unit.name} was started again")
        return self.attempt.write(recovery)

    def start(self, job: Job) -> Outcome:
        """Start Consul: with the new configuration, or without it if the other site is no longer surely dead."""
        recovery = self.attempt.recovery()
        if recovery is not None and recovery.stage is Stage.UNDOING:
            self.attempt.undo(recovery)
            return Waiting("an attempt failed and was undone")
        if recovery is not None and recovery.begun and not self.attempt.taken_in(recovery):
            rival = self.survivors.rival(recovery)
            if rival is not None:
                return Waiting(torn(recovery.epoch, rival))
        if job.command is not Command.ACTIVATE and not self.attempt.taken_in(recovery):
            if (plan := self.survivors.owed()) is None:
                return self._put_back(job, recovery)
            if not isinstance(followed := self._follow(job, plan), Done):
                return followed
        return self.attempt.start(recovery)

    def _put_back(self, job: Job, recovery: Recovery | None) -> Outcome:
        """Start Consul with its old data; that is not the end while another may need them."""
        if recovery is not None or not (mute := self.survivors.mute()):
            return self.attempt.put_back(job, recovery)
        with contextlib.suppress(CommandError):  # its guard may know that it is needed as it is
            self.attempt.put_back(job, recovery)
        return Waiting(f"{named(mute)} gives no answer, and may be rebuilding Consul with the data of this server")

    def _follow(self, job: Job, plan: Recovery) -> Outcome:
        """Write the file that the others of this site wrote."""
        recovery = self.attempt.recovery()
        if recovery is None or recovery.epoch.id != plan.epoch.id or recovery.stage is Stage.UNDONE:
            self.attempt.begin(job, plan.epoch, plan.peers, "")
        outcome = self.backup(job)
        recovery = self.attempt.recovery()
        if isinstance(outcome, Done) and recovery is not None and recovery.stage is Stage.SAVED:
            return self.attempt.write(recovery)
        return outcome

    def prove(self, job: Job) -> Outcome:
        """Wait for a leader, and prove a consistent read and a write; from then on Consul tells the epoch itself."""
        recovery = self.attempt.recovery()
        if recovery is not None and not recovery.begun:
            recovery = self.attempt.forget(recovery)
        if recovery is None:
            return Done("nothing was rebuilt")
        why = self._await_leader()
        if why is not None:
            return self._leaderless(job, recovery, why)
        proved = "a consistent read and a write"
        try:
            told = to_json(self.attempt.epoch())  # a newer one may have been told, and put back
            self.consul.put(self.key, told)
            held = self.consul.lock(self.key)
            if held is None or held.value != told:
                return Failed(f"the epoch was written to {self.key} in Consul, and is not there")
        except HttpRefusedError as error:
            proved = f"a consistent read, but no write, since Consul {error}"
        saved = self._save()
        self.attempt.note(replace(recovery, stage=Stage.PROVED, asked=None))
        return Done(f"Consul has a leader again, proved by {proved}; {saved}")

    def _save(self) -> str:
        """Save raft's new configuration at once: the guard goes by it."""
        try:
            found = self.consul.raft()
        except HttpError as error:
            return f"it could not be read who votes: Consul {error}"
        self.attempt.save(found)
        return f"{named(found.voters)} vote"

    def _leaderless(self, job: Job, recovery: Recovery, why: str) -> Outcome:
        """Return what becomes of a recovery that brought no leader."""
        if not why.startswith(f"Consul {NO_LEADER}"):
            return Failed(f"it cannot be told whether Consul has a leader: {why}")
        if recovery.stage is not Stage.PROVED and (late := self.survivors.late(recovery)):
            return Waiting(f"there is no leader yet, since {named(late)} has not followed yet ({why})")
        if job.command is Command.ACTIVATE and (lost := self._lost_again(recovery)) is not None:
            return Waiting(f"{why}; {lost}")
        return self.attempt.broken(recovery, f"after {LEADER_WAIT:g} s {why}")

    def _lost_again(self, recovery: Recovery) -> str | None:
        """Return what becomes of a rebuilt quorum that fell with servers which had returned to it, None if none had.

        What they agreed on is here too, unless they were a majority by themselves.
        """
        saved = self.attempt.saved()
        if saved is None or not self.attempt.taken_in(recovery):
            return None
        try:
            found = self.consul.raft(stale=True)
        except HttpError:
            return None  # then it is what every attempt without a leader is
        gone = len(found.among(self.there))
        if not gone or len(found.among(self.here)) >= found.needed:
            return None
        if gone >= found.needed and not self.attempt.allowed(recovery):
            return (
                f"{gone} of the {len(found.voters)} that vote now stand in the other site, and may have gone on "
                "without this one: what was written there would be lost; `habeat ack` allows it"
            )
        self.journal.note(SAVED, to_json(replace(found, at=saved.at, boot=saved.boot)))
        self.attempt.note(replace(recovery, stage=Stage.LOST))
        return f"{recovery.epoch} fell with servers that had returned to it; the next cycle rebuilds it anew"

    def voters(self, _job: Job) -> Outcome:
        """Take out of raft's configuration whoever is not among those that rebuilt it, and surely silent."""
        recovery = self.attempt.recovery()
        if recovery is None:
            return Done("nothing was rebuilt")
        peers = {peer.id for peer in recovery.peers}
        try:
            others = [server for server in self.consul.raft().servers if server.id not in peers]
            seen = self._seen([server.address for server in others])
            strangers = [server for server in others if isinstance(seen[server.address], Down)]
            for server in strangers:
                self.consul.remove_voter(server)
            left = self.consul.raft()
        except HttpRefusedError as error:
            return Done(f"it is not checked who votes, since Consul {error}")
        removed = f"; removed {named(strangers)}" if strangers else ""
        unsure = {address: evidence for address, evidence in seen.items() if isinstance(evidence, Unknown)}
        return Done(f"{named(left.voters)} vote{removed}{f'; {_told(unsure)}' if unsure else ''}")

    def returned(self, _job: Job) -> Outcome:
        """Make sure that every server of the other site that answers votes again in the cluster that was rebuilt."""
        if (recovery := self.attempt.recovery()) is not None:
            voters = {server.address for server in self.consul.raft().voters}
            away = [address for address in self.there if address not in voters]
            seen = self._seen(away)
            apart = _not_silent(seen)
            if apart or len(away) == len(self.there):
                return Waiting(
                    f"{_told(apart or seen)}, and does not vote in the rebuilt cluster ({recovery.epoch}): see "
                    "its service, and `habeat consul rejoin` there"
                )
            self.journal.note(RECOVERY, None)
            missing = f", {', '.join(away)} is still gone" if away else ""
            return Done(f"the other site's servers vote again{missing}")
        return Done("no rebuilt quorum waits for servers to return")

    def summary(self, failover: int) -> str:
        """Return how it ended, in one clause."""
        recovery = self.attempt.recovery()
        if recovery is None:
            steps = [step for step in self.journal.failover(failover).steps if step.name in ("start", "return")]
            last = max(steps, key=lambda step: step.outcome_at or 0.0, default=None)
            return (last and last.detail) or "nothing was rebuilt, and Consul's data is as it was"
        copy = f"the raft folder from before is {self.attempt.folder.path / recovery.backup}"
        return f"Consul's quorum was rebuilt in {recovery.epoch} with {named(recovery.peers)}; {copy}"

    # -- what is looked at

    def _nothing_to_do(self) -> Done | None:
        """Return why Consul must not be touched: it was started anew already, or has a leader without us."""
        recovery = self.attempt.recovery()
        if recovery is not None and recovery.begun:
            return Done(f"Consul was already given the new configuration ({recovery.stage.value})")
        if self._needless():
            return Done("Consul has a leader, so there is nothing to rebuild")
        return None

    def _needless(self) -> bool:
        return isinstance(self.leader(), Up)

    def _seen(self, addresses: Sequence[str]) -> dict[str, Evidence]:
        """Return what is seen of each address; that a server of the other site answers is noted as a sign of life."""
        found = dict(zip(addresses, self.looks(addresses), strict=True))
        if any(isinstance(found.get(address), Up) for address in self.there):
            self.journal.note(ASKED, repr(self.clock()))
        return found

    def _await_leader(self) -> str | None:
        """Wait until a consistent read succeeds, and return what Consul said last if it never does."""
        deadline = self.ticks() + LEADER_WAIT
        while True:
            try:
                self.consul.require_leader()
            except HttpError as error:
                if self.ticks() > deadline:
                    return f"Consul {error}"
            else:
                return None
            self.sleep(PAUSE)


def _not_silent(seen: Mapping[str, Evidence]) -> dict[str, Evidence]:
    """Return those of some addresses that are not surely silent: what cannot be told is no silence."""
    return {address: evidence for address, evidence in seen.items() if not isinstance(evidence, Down)}


def _told(seen: Mapping[str, Evidence]) -> str:
    return "; ".join(f"{address} {evidence.reason}" for address, evidence in seen.items())
