"""Role consulserver: when the other site's Consul servers took the quorum with them, rebuild it from those here.

By Consul's outage recovery: the server is stopped, its raft folder copied, peers.json written with the surviving voters
alone, and the server started. Where several survive, the living one with the lowest address leads: it makes the plan,
and the others take it over, so that all write the same file. A new epoch is told to whoever asks before any Consul can
start with that file, so that a server which returns knows that its data is of the past (see `habeat.guard`).

How far it came is one note in the journal, and every step looks at that and at the world before it acts, so that each
can be run again after it was cut off anywhere. If the other site is no longer surely dead, a server that was not yet
started with the new file is started with its old data; one that was goes on, since the new history has begun. What is
done to this host's server, and how it is undone, is `habeat.roles.attempt`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from habeat.act.unit import ENDED
from habeat.consul import Consul
from habeat.errors import HabeatError, HttpError, HttpRefusedError
from habeat.guard import Heard, Word
from habeat.journal import Journal
from habeat.machine import Command, State, span
from habeat.model import Done, Down, Evidence, Failed, Outcome, Sight, Unknown, Up, Verdict, Waiting
from habeat.observe.quorum import NO_LEADER
from habeat.quorum import Configuration, Epoch, Recovery, Server, Stage, obstacle, to_json
from habeat.roles import RECOVERY, SAVED
from habeat.roles.attempt import PAUSE, UNDONE, Attempt, named
from habeat.saga import Job, Plan, Step

LEADER_WAIT = 45.0


@dataclass(frozen=True)
class Recoverer:
    """The steps.

    `here` and `there` are the addresses of the two sites' servers. `attempt` is what is done to this one. `look` judges
    another server of this site, `ask` hears what those say, `leader` tells whether Consul has a leader here, `reached`
    whether an address answers. `fresh_id` gives an id that nobody else has; `key` is where Consul keeps the epoch.
    `boot` tells this start of the machine from others, `fresh` is how many seconds before a failover the last leader
    may have been seen. `clock` tells Unix time, `ticks` seconds that never jump.
    """

    site: str
    here: Sequence[str]
    there: Sequence[str]
    key: str
    boot: str
    fresh: float
    consul: Consul
    attempt: Attempt
    look: Callable[[Server], Verdict]
    ask: Callable[[], Sequence[Heard]]
    leader: Callable[[], Evidence]
    reached: Callable[[str], bool]
    journal: Journal
    fresh_id: Callable[[], str]
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
            if recovery.begun and not self._needless() and (recovery.stage is Stage.LOST or self._left_behind()):
                return self._prepare(job)
            if recovery.stage is not Stage.UNDONE:
                return Done(f"{recovery.epoch} with {named(recovery.peers)} is under way ({recovery.stage.value})")
            if not self.journal.acknowledged(job.failover, since=recovery.moved_at):
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
        return self._agree(job, saved, own, proved)

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
        if back := self._answering():
            self.attempt.start_again(recovery)
            return Waiting(f"{', '.join(back)} answers again, so {self.attempt.unit.name} was started again")
        return self.attempt.write(recovery)

    def start(self, job: Job) -> Outcome:
        """Start Consul: with the new configuration, or without it if the other site is no longer surely dead."""
        recovery = self.attempt.recovery()
        if recovery is not None and recovery.stage is Stage.UNDOING:
            self.attempt.undo(recovery)
            return Waiting("an attempt failed and was undone")
        if job.command is not Command.ACTIVATE and not self.attempt.taken_in(recovery):
            if (plan := self.owed()) is None:
                return self.attempt.put_back(job, recovery)
            if not isinstance(followed := self._follow(job, plan), Done):
                return followed
        return self.attempt.start(recovery)

    def prove(self, job: Job) -> Outcome:
        """Wait for a leader, and prove a consistent read and a write; from then on Consul tells the epoch itself."""
        recovery = self.attempt.recovery()
        if recovery is None or not recovery.begun:
            self.journal.note(RECOVERY, None)
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
        self.attempt.note(replace(recovery, stage=Stage.PROVED))
        return Done(f"Consul has a leader again, proved by {proved}; {saved}")

    def _leaderless(self, job: Job, recovery: Recovery, why: str) -> Outcome:
        """Return what becomes of a recovery that brought no leader."""
        if not why.startswith(f"Consul {NO_LEADER}"):
            return Failed(f"it cannot be told whether Consul has a leader: {why}")
        late = [peer for peer in self._others(recovery) if not self._follows(peer, recovery)]
        if late:
            return Waiting(f"there is no leader yet, since {named(late)} has not followed yet ({why})")
        if job.command is Command.ACTIVATE and (lost := self._lost_again(job, recovery)) is not None:
            return Waiting(f"{why}; {lost}")
        return self.attempt.broken(recovery, f"after {LEADER_WAIT:g} s {why}")

    def _lost_again(self, job: Job, recovery: Recovery) -> str | None:
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
        if gone >= found.needed and not self.journal.acknowledged(job.failover, since=recovery.moved_at):
            return (
                f"{gone} of the {len(found.voters)} that vote now stand in the other site, and may have gone on "
                "without this one: what was written there would be lost; `habeat ack` allows it"
            )
        self.journal.note(SAVED, to_json(replace(found, at=saved.at, boot=saved.boot)))
        self.attempt.note(replace(recovery, stage=Stage.LOST))
        return f"{recovery.epoch} fell with servers that had returned to it; the next cycle rebuilds it anew"

    def voters(self, _job: Job) -> Outcome:
        """Take out of raft's configuration whoever is neither among those that rebuilt it nor alive."""
        recovery = self.attempt.recovery()
        if recovery is None:
            return Done("nothing was rebuilt")
        peers = {peer.id for peer in recovery.peers}
        try:
            strangers = [s for s in self.consul.raft().servers if s.id not in peers and not self.reached(s.address)]
            for server in strangers:
                self.consul.remove_voter(server)
            left = self.consul.raft()
        except HttpRefusedError as error:
            return Done(f"it is not checked who votes, since Consul {error}")
        removed = f"; removed {named(strangers)}" if strangers else ""
        return Done(f"{named(left.voters)} vote{removed}")

    def returned(self, _job: Job) -> Outcome:
        """Make sure that every server of the other site that answers votes again in the cluster that was rebuilt."""
        if (recovery := self.attempt.recovery()) is not None:
            voters = {server.address for server in self.consul.raft().voters}
            away = [address for address in self.there if address not in voters]
            apart = [address for address in away if self.reached(address)]
            if apart or len(away) == len(self.there):
                said = "answers, but" if apart else "does not answer, and"
                return Waiting(
                    f"{', '.join(apart or away)} {said} does not vote in the rebuilt cluster ({recovery.epoch}): see "
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

    # -- who takes part

    def _agree(  # noqa: PLR0911  one return for each reason
        self, job: Job, saved: Configuration, own: str, proved: str
    ) -> Outcome:
        """Lead the survivors, or follow the one that does."""
        heard = {item.address: item.word for item in self.ask()}
        living = self._living(saved, own, heard)
        if isinstance(living, Waiting):
            return living
        peers = tuple(server for server in saved.among(self.here) if server.id in living)
        words = [word for word in heard.values() if isinstance(word, Word)]
        known = max([self.attempt.epoch(), *(word.epoch for word in words)], key=lambda epoch: epoch.number)
        plans = [w.recovery for w in living.values() if w and w.recovery and w.recovery.stage is not Stage.UNDONE]
        newer = next((plan for plan in plans if self._is_ahead(plan)), None)
        if newer is not None:
            if own not in {peer.id for peer in newer.peers}:
                return Waiting(f"Consul is being rebuilt without this server in {newer.epoch}; then it rejoins clean")
            return self.attempt.begin(job, newer.epoch, newer.peers, f"it follows {newer.epoch.by}; {proved}")
        if (old := self._outdated(job, saved)) is not None:
            return Waiting(old)
        if peers[0].id != own:
            return Waiting(f"{peers[0]} leads the recovery here, and has not begun it")
        behind = [s for s in peers[1:] if (word := living[s.id]) and word.state != State.FAILING_OVER.value]
        if behind:
            return Waiting(f"{named(behind)} does not call the other site dead yet")
        epoch = Epoch(known.number + 1, self.fresh_id(), peers[0].node, self.clock())
        return self.attempt.begin(job, epoch, peers, f"it leads; {proved}")

    def _living(
        self, saved: Configuration, own: str, heard: Mapping[str, Word | Unknown]
    ) -> dict[str, Word | None] | Waiting:
        """Return the word of each survivor by its id, None for this one; or whom it cannot be told of."""
        living: dict[str, Word | None] = {}
        for server in saved.among(self.here):
            word = heard.get(server.address)
            if server.id == own:
                living[server.id] = None
            elif isinstance(word, Word):
                if word.server != server.id:
                    return Waiting(
                        f"who answers as {server} has the node-id {word.server or '(none)'}, not {server.id}"
                    )
                living[server.id] = word
            elif (verdict := self.look(server)).sight is not Sight.DOWN:
                told = word.reason if isinstance(word, Unknown) else "was not asked"
                return Waiting(f"{server} is not surely dead ({verdict.why}), and its habeat {told}")
        return living

    def _outdated(self, job: Job, saved: Configuration) -> str | None:
        """Return why the other servers may have gone on without this one, so that its data may be of the past."""
        if self.journal.acknowledged(job.failover):
            return None
        began = self.journal.failover(job.failover).started_at
        rebooted = ", and the machine was rebooted since" if saved.boot != self.boot else ""
        if not rebooted and began - saved.at <= self.fresh:
            return None
        return (
            f"this server last saw a leader {span(began - saved.at)} before{rebooted}: the other site may have gone on "
            "without it, and what was written there meanwhile would be lost; `habeat ack` allows it"
        )

    def _others(self, recovery: Recovery) -> list[Server]:
        own = self.attempt.own_id()
        return [peer for peer in recovery.peers if peer.id != own]

    def _follows(self, peer: Server, recovery: Recovery) -> bool:
        """Tell whether another server has got as far as to write the same file."""
        words = [item.word for item in self.ask() if isinstance(item.word, Word) and item.word.server == peer.id]
        found = words[0].recovery if words else None
        return found is not None and found.begun and found.epoch.id == recovery.epoch.id

    def owed(self) -> Recovery | None:
        """Return the plan that others of this site went on with, and that has no leader without this server, or None.

        Their history has begun, so it is followed even where the other site is no longer surely dead.
        """
        own, recovery = self.attempt.own_id(), self.attempt.recovery()
        if recovery is not None and recovery.begun:
            return None
        words = [item.word for item in self.ask() if item.site == self.site and isinstance(item.word, Word)]
        for plan in (word.recovery for word in words):
            if plan and self._is_ahead(plan) and plan.begun and own in {peer.id for peer in plan.peers}:
                return plan if isinstance(self.leader(), Down) or self.attempt.unit.state() in ENDED else None
        return None

    def _is_ahead(self, plan: Recovery) -> bool:
        """Tell whether a plan of another is one to follow: a newer one, or that of our epoch which waits for us.

        It does where we were put back after we had told that epoch; one that is proved waits for nobody.
        """
        epoch, recovery = self.attempt.epoch(), self.attempt.recovery()
        begun = recovery is not None and recovery.begun and recovery.epoch.id == epoch.id
        waits = plan.epoch.id == epoch.id and plan.stage is Stage.WRITTEN and not begun
        return waits or plan.epoch.number > epoch.number

    def _left_behind(self) -> bool:
        """Tell whether another survivor has begun a newer epoch, and counts on this server."""
        words = [item.word for item in self.ask() if item.site == self.site and isinstance(item.word, Word)]
        plans = [word.recovery for word in words if word.recovery is not None]
        return any(self._is_ahead(plan) and self.attempt.own_id() in {peer.id for peer in plan.peers} for plan in plans)

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

    def _answering(self) -> list[str]:
        """Return the addresses of the other site that answer, asked side by side."""
        with ThreadPoolExecutor() as pool:
            answers = pool.map(self.reached, self.there)
        return [address for address, reached in zip(self.there, answers, strict=True) if reached]

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

    def _save(self) -> str:
        """Save raft's new configuration at once: the guard goes by it."""
        try:
            found = self.consul.raft()
        except HttpError as error:
            return f"it could not be read who votes: Consul {error}"
        self.attempt.save(found)
        return f"{named(found.voters)} vote"
