"""Who takes part when Consul's quorum is rebuilt: the survivors of this site, who leads them, and whom one follows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from habeat.guard import Heard, Word, rival_of
from habeat.journal import Journal
from habeat.machine import State, span
from habeat.model import Down, Evidence, Outcome, Sight, Unknown, Up, Verdict, Waiting
from habeat.quorum import Configuration, Epoch, Recovery, Server, Stage
from habeat.roles.attempt import Attempt, named
from habeat.saga import Job


@dataclass(frozen=True)
class Survivors:
    """The Consul servers of a site that are left, as one of them sees them.

    `here` are the addresses of the `site`. `look` judges another server of it, `near` hears what those of it say,
    `leader` tells whether Consul has a leader here; `attempt` is this server's own. `boot` tells this start of the
    machine from others, `fresh` is how many seconds before a failover the last leader may have been seen. `fresh_id`
    gives an id that nobody else has, `clock` tells Unix time.
    """

    site: str
    here: Sequence[str]
    boot: str
    fresh: float
    look: Callable[[Server], Verdict]
    near: Callable[[], Sequence[Heard]]
    leader: Callable[[], Evidence]
    attempt: Attempt
    journal: Journal
    fresh_id: Callable[[], str]
    clock: Callable[[], float]

    def agree(  # noqa: PLR0911  one return for each reason
        self, job: Job, saved: Configuration, own: str, proved: str
    ) -> Outcome:
        """Lead the survivors, or follow the one that does."""
        heard = {item.address: item.word for item in self.attempt.ask()}
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
        ids = tuple(peer.id for peer in peers)
        epoch = Epoch(known.number + 1, self.fresh_id(), peers[0].node, self.clock(), ids)
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

    def rival(self, recovery: Recovery) -> Epoch | None:
        """Return another epoch, as new as a recovery's, that one here told while this server stood still, or None."""
        words = [item.word for item in self.near() if isinstance(item.word, Word)]
        return rival_of(recovery.epoch, words)

    def late(self, recovery: Recovery) -> list[Server]:
        """Return the other servers of a recovery that have not got as far as to write the same file."""
        own = self.attempt.own_id()
        others = [peer for peer in recovery.peers if peer.id != own]
        return [peer for peer in others if not self._follows(peer, recovery)]

    def _follows(self, peer: Server, recovery: Recovery) -> bool:
        """Tell whether another server has got as far as to write the same file."""
        words = [item.word for item in self.attempt.ask() if isinstance(item.word, Word)]
        found = next((word.recovery for word in words if word.server == peer.id), None)
        return found is not None and found.begun and found.epoch.id == recovery.epoch.id

    def owed(self) -> Recovery | None:
        """Return the plan that others of this site went on with, and that has no leader without this server, or None.

        Their history has begun, so it is followed even where the other site is no longer surely dead.
        """
        own, recovery = self.attempt.own_id(), self.attempt.recovery()
        if recovery is not None and recovery.begun:
            return None
        words = [item.word for item in self.attempt.ask() if item.site == self.site and isinstance(item.word, Word)]
        for plan in (word.recovery for word in words):
            if plan and self._is_ahead(plan) and plan.begun and own in {peer.id for peer in plan.peers}:
                return plan if isinstance(self.leader(), Down) or not self.attempt.unit.runs() else None
        return None

    def mute(self) -> list[Server]:
        """Return the others of this site that give no answer and may have gone on, with this server's data.

        While Consul has a leader here, nobody has.
        """
        saved = self.attempt.saved()
        if saved is None or isinstance(self.leader(), Up):
            return []
        silent = {item.address for item in self.near() if isinstance(item.word, Unknown)}
        return [server for server in saved.among(self.here) if server.address in silent]

    def left_behind(self) -> bool:
        """Tell whether another survivor has begun a newer epoch, and counts on this server."""
        words = [item.word for item in self.attempt.ask() if item.site == self.site and isinstance(item.word, Word)]
        plans = [word.recovery for word in words if word.recovery is not None]
        return any(self._is_ahead(plan) and self.attempt.own_id() in {peer.id for peer in plan.peers} for plan in plans)

    def _is_ahead(self, plan: Recovery) -> bool:
        """Tell whether a plan of another is one to follow: a newer one, or that of our epoch which waits for us.

        It does where we were put back after we had told that epoch; one that is proved waits for nobody.
        """
        epoch, recovery = self.attempt.epoch(), self.attempt.recovery()
        begun = recovery is not None and recovery.begun and recovery.epoch.id == epoch.id
        waits = plan.epoch.id == epoch.id and plan.stage is Stage.WRITTEN and not begun
        return waits or plan.epoch.number > epoch.number
