"""What a cycle of the role consulserver sees: the other site's Consul servers, one by one, and Consul's leader here."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from habeat.consul import Consul
from habeat.errors import Fault, HabeatError, HttpError
from habeat.journal import Recall
from habeat.model import Down, Evidence, Finding, Health, Probe, Snapshot, Target, Unknown, Up
from habeat.observe import Answer, Observer, Question, Service, Together
from habeat.quorum import Configuration, configuration_of, epoch_of, obstacle, outlook, to_json

NO_LEADER = "has no leader"
ALIVE, LEFT, FAILED = 1, 3, 4


@dataclass(frozen=True)
class Servers:
    """Observes a target that is several nodes: each by an observer of its own, all at the same time."""

    target: Target
    observers: Sequence[Observer]
    leader: Service
    rebuild: Callable[[float, Evidence], Probe]
    patience: float
    together: Together

    def observe(self, now: float) -> Snapshot:
        """Return the evidence of one cycle."""

        def silent(observer: Observer, unknown: Unknown) -> Snapshot:
            return Snapshot(now, observer.target, (Probe("icmp", observer.target.address, unknown),), ())

        nodes, leader = self.together(
            [Question(partial(observer.observe, now), partial(silent, observer)) for observer in self.observers],
            [Question(self.leader, partial(Probe, self.leader.kind, self.leader.address))],
            self.patience,
        )
        rebuild = self.rebuild(now, leader[0].evidence)
        return Snapshot(now, self.target, (), (), nodes=tuple(nodes), leader=tuple(leader), rebuild=(rebuild,))


@dataclass(frozen=True)
class Leader:
    """Tells whether Consul has a leader for this host's server; only Consul's own word that it has none is Down.

    Except where habeat itself `halted` that server, which it does only when there is no leader.
    """

    consul: Consul
    halted: Callable[[], bool] = lambda: False
    kind: str = "quorum"
    address: str = "Consul here"

    def __call__(self) -> Probe:
        """Return what a consistent read found."""
        return Probe(self.kind, self.address, self._evidence())

    def _evidence(self) -> Evidence:
        try:
            if not self.consul.leader():
                return Down("has no leader")  # a read would take seconds to find that out
            self.consul.require_leader()
        except HttpError as error:
            if error.fault is Fault.REFUSED and self.halted():
                return Down("is stopped by habeat, which rebuilds its quorum")
            return (Down if str(error).startswith(NO_LEADER) else Unknown)(str(error))
        return Up("has a leader")


@dataclass(frozen=True)
class Keeper:
    """Saves raft's configuration, and the epoch that Consul itself tells, in every cycle that sees a leader.

    `node_id` reads this server's own id; `saved` and `epoch` are places in the journal.
    """

    consul: Consul
    node_id: Callable[[], str]
    here: Sequence[str]
    there: Sequence[str]
    site: str
    other: str
    boot: str
    key: str
    saved: Recall
    epoch: Recall

    def __call__(self, now: float, leader: Evidence) -> Probe:
        """Return whether the quorum could be rebuilt here, and what becomes of it without the other site."""
        return Probe("quorum", "its quorum", self._evidence(now, leader))

    def _evidence(self, now: float, leader: Evidence) -> Evidence:
        try:
            saved = self._save(now) if isinstance(leader, Up) else configuration_of(self.saved.read())
            own = self.node_id()
        except HabeatError as error:
            return Unknown(f"could not be rebuilt, since it is not known who votes: {error}")
        why = obstacle(saved, self.here, self.there, own, self.site)
        if saved is None or (why is not None and len(saved.among(self.here)) < saved.needed):
            return Unknown(f"could not be rebuilt: {why}")
        return Up(outlook(saved, self.here, self.other))

    def _save(self, now: float) -> Configuration:
        """Save the configuration that the leader tells, with its epoch, and return it."""
        found = replace(self.consul.raft(), at=now, boot=self.boot)
        self.saved.write(to_json(found))
        self._learn()
        return found

    def _learn(self) -> None:
        """Take over the epoch that Consul's data tells, whose history this server shares, or tell a newer one in it.

        One that was told to others and then undone is newer than what Consul has, and every server must learn it.
        """
        held = self.consul.lock(self.key)
        try:
            told = epoch_of(json.loads(held.value)) if held else None
            known = epoch_of(json.loads(self.epoch.read() or "null"))
        except (KeyError, TypeError, ValueError) as error:
            raise HttpError(f"keeps something else at {self.key}") from error
        if told is not None and told.number >= known.number and told.id != known.id:
            self.epoch.write(to_json(told))
        elif known.number > (told.number if told else 0):
            self.consul.put(self.key, to_json(known))


@dataclass(frozen=True)
class GossipWitness:
    """What the local agent's gossip tells of a Consul server, for those who allow Consul to witness its own loss.

    An agent that is cut off sees everybody else as dead, so it is no proof that this host is not cut off itself.
    """

    consul: Consul
    site: str | None = None
    name: str = "Consul's gossip"
    networked: bool = False
    sparing: bool = False

    def ask(self, target: Target) -> Answer:
        """Return what the local agent thinks of the server at the target's address."""
        try:
            status = self.consul.gossip().get(target.address)
        except HttpError as error:
            return Answer(Unknown(str(error)))
        if status == FAILED:
            return Answer(Down(f"says that {target.address} failed"))
        if status == ALIVE:
            return Answer(Up(f"says that {target.address} is alive"))
        left = "left gracefully, which is not a death" if status == LEFT else "is unknown to it"
        return Answer(Unknown(f"says that {target.address} {left}"))

    def ask_service(self, _target: Target) -> Answer:
        """Return that it sees hosts only."""
        return Answer(Unknown("sees hosts only"))

    def examine(self, target: Target) -> Sequence[Finding]:
        """Return a warning: that it is used at all."""
        says = f"{self.ask(target).evidence.reason}; it is trusted by witnesses.allow_self_witness"
        return [
            Finding(Health.WARNING, f"witness {self.name}", says, "use hetrix or vcenter: this can split the cluster")
        ]
