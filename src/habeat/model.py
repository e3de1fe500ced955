"""The facts the core works with: frozen, without I/O, and the same whether seen live or replayed."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")


@dataclass(frozen=True)
class Up:
    """Seen alive; `reason` says how, as a clause that can follow the name of who says so."""

    reason: str


@dataclass(frozen=True)
class Down:
    """Seen dead, or (for a probe) silent although the question was sent."""

    reason: str


@dataclass(frozen=True)
class Unknown:
    """Could not tell, which is never a vote for death."""

    reason: str


Evidence = Up | Down | Unknown


@dataclass(frozen=True)
class Target:
    """What one instance watches: a role's node in the other site."""

    role: str
    site: str
    name: str
    address: str

    @property
    def key(self) -> str:
        """Return the name under which the journal keeps this target."""
        return f"{self.role}:{self.name.lower()}"


@dataclass(frozen=True)
class Probe:
    """What one question to one address gave.

    `lives` tells that there is somebody, even if the service that was asked for is dead; `answered` that they said so
    themselves, by a refusal or a wrong status. `port` is the one that was asked, if any.
    """

    kind: str
    address: str
    evidence: Evidence
    lives: bool = False
    answered: bool = False
    port: int = 0

    @property
    def reached(self) -> bool:
        """Tell whether the question proves that the host lives."""
        return self.lives or self.answered or isinstance(self.evidence, Up)


@dataclass(frozen=True)
class Vote:
    """What one witness says of the target.

    `age` is the age of its knowledge in seconds, `holds` how old it may become, or None where the policy says that.
    `site` is where the witness stands, or None when it is not bound to one. `networked` tells that a clear answer
    cannot be had by a host that is cut off.
    """

    witness: str
    evidence: Evidence
    age: float = 0.0
    site: str | None = None
    networked: bool = True
    holds: float | None = None


@dataclass(frozen=True)
class Snapshot:
    """All evidence of one cycle, taken once; `at` is Unix time in seconds.

    `probes` ask the host, `services` what runs on it, and `service_votes` are what witnesses say of those. `unasked`
    names the witnesses that are asked only when the host is silent. `ours` tells whether what habeat took over is
    announced here, `theirs` whether the other site announces it. `reached_at` is when an earlier cycle last reached
    the host, `served` names the services that an earlier cycle found at work, all of them at once.

    Of a target that is several nodes, `nodes` has the evidence of each. `leader` tells whether Consul has a leader
    here, and `rebuild` whether habeat could rebuild its quorum.
    """

    at: float
    target: Target
    probes: tuple[Probe, ...]
    votes: tuple[Vote, ...]
    gateways: tuple[Probe, ...] = ()
    services: tuple[Probe, ...] = ()
    service_votes: tuple[Vote, ...] = ()
    unasked: tuple[str, ...] = ()
    ours: tuple[Probe, ...] = ()
    theirs: tuple[Probe, ...] = ()
    reached_at: float | None = None
    served: str = ""
    nodes: tuple[Snapshot, ...] = ()
    leader: tuple[Probe, ...] = ()
    rebuild: tuple[Probe, ...] = ()

    @property
    def asked_services(self) -> str:
        """Return the services that were asked, as `served` names them."""
        return " ".join(sorted({probe.address for probe in self.services}))


class Sight(Enum):
    """How the target looks after all evidence is weighed."""

    UP = "up"
    QUORATE = "quorate"  # dead, and Consul has a leader without it
    SERVICE_DOWN = "service_down"
    UNREACHABLE = "unreachable"
    DOWN = "down"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Verdict:
    """The judgement of one snapshot: what is seen, by which rule, and why, as a clause without a full stop.

    `reached` tells that the host lives, `served` which services were all found at work, `back` that the target serves
    again as far as can be seen. Of what was taken over from it: `lost` tells that it surely no longer stands here,
    `contested` that the other site announces it, `orphaned` that surely neither does, `veiled` that it cannot be
    told whether it stands here.
    """

    sight: Sight
    rule: str
    why: str
    reached: bool = False
    served: str = ""
    back: bool = False
    lost: bool = False
    contested: bool = False
    orphaned: bool = False
    veiled: bool = False


class Health(Enum):
    """How well something is, for `habeat doctor`."""

    GOOD = "good"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: what it is, what was found, and how to mend it where it is not well.

    `names` lists whom it concerns, where they are many.
    """

    health: Health
    subject: str
    says: str
    mend: str = ""
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Policy:
    """The numbers the judge and the machine go by; durations in seconds.

    `freshness` is how old a witness's knowledge may be. `window` is how far apart two cycles may lie and still confirm
    each other, `lasting` how far apart the first and the last that confirm must lie. `repeat` is how often a finished
    failover looks for late accounts. `service_down` tells to act on a dead service as on a dead host.
    """

    confirmations: int = 2
    required: int = 1
    freshness: float = 120.0
    window: float = 3600.0
    lasting: float = 0.0
    cooldown: float = 8 * 3600.0
    repeat: float = 60.0
    service_down: bool = False


@dataclass(frozen=True, slots=True)
class Replica:
    """One copy of a mailbox; None where Carbonio did not say."""

    destination: str
    available: bool | None = None
    sequence: int | None = None
    priority: int | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """A mailbox that Carbonio replicates, as `getAccountStatus` lists it."""

    name: str
    id: str = ""
    mail_host: str = ""
    sequence: int | None = None
    replicas: tuple[Replica, ...] = ()

    @property
    def key(self) -> str:
        """Return what identifies the account for ever: its id, or its name where Carbonio gives no id."""
        return self.id or self.name

    def usable(self) -> tuple[Replica, ...]:
        """Return the replicas that Carbonio does not call unavailable, best (lowest priority number) first."""
        good = [replica for replica in self.replicas if replica.available is not False]
        return tuple(sorted(good, key=lambda replica: (replica.priority is None, replica.priority or 0)))

    def lag(self) -> int | None:
        """Return how many changes the best replica is behind, or None where that is not known."""
        best = next(iter(self.usable()), None)
        if best is None or best.sequence is None or self.sequence is None:
            return None
        return max(0, self.sequence - best.sequence)


@dataclass(frozen=True)
class Tally:
    """How the accounts of a failover stand, by count; `last_at` is when the last of them was promoted."""

    total: int = 0
    promoted: int = 0
    flushed: int = 0
    restarted: int = 0
    refused: int = 0
    last_at: float | None = None


@dataclass(frozen=True)
class Done:
    """A step reached the state that it is for; `detail` says so."""

    detail: str


@dataclass(frozen=True)
class Waiting:
    """A step cannot begin yet; it is tried again in the next cycle."""

    why: str


@dataclass(frozen=True)
class Failed:
    """A step did not reach the state that it is for; it is retried."""

    why: str


Outcome = Done | Waiting | Failed


@dataclass(frozen=True)
class Pause:
    """A person's order not to act; `until` is None for an order without an end."""

    owner: str
    reason: str
    since: float
    until: float | None = None


@dataclass(frozen=True)
class Memory:
    """What the machine remembers of a target between cycles, all of it durable.

    `downs` and `ups` count consecutive cycles with that sight, `since` is when the first of them was and `seen_at` when
    the last one was, `reached_at` when a probe last reached it, `served` which services were last found at work.
    `failover_at` is when the last failover ended, or None if there never was one.
    """

    state: str = "standby"
    downs: int = 0
    ups: int = 0
    seen_at: float = 0.0
    failover: int | None = None
    failover_at: float | None = None
    reached_at: float | None = None
    served: str = ""
    since: float = 0.0


def sound(text: str) -> str:
    """Return text from outside that can be stored and shown: half a surrogate pair is spelled out."""
    return text.encode("utf-8", "backslashreplace").decode()


SAID = ("probes", "votes", "gateways", "services", "service_votes", "ours", "theirs", "leader", "rebuild")


def known(kind: type[T], values: dict[str, Any]) -> T:
    """Return a fact made of those values that it has a name for: another version of habeat may have kept more."""
    names = _names(kind)
    return kind(**{name: value for name, value in values.items() if name in names})


@cache
def _names(kind: type[DataclassInstance]) -> frozenset[str]:
    return frozenset(field.name for field in fields(kind))


def _evidence_to_json(evidence: Evidence) -> dict[str, str]:
    return {"is": type(evidence).__name__.lower(), "reason": evidence.reason}


def _evidence_from_json(data: dict[str, str]) -> Evidence:
    kinds: dict[str, type[Up | Down | Unknown]] = {"up": Up, "down": Down, "unknown": Unknown}
    return kinds[data["is"]](data["reason"])


def snapshot_to_json(snapshot: Snapshot) -> dict[str, Any]:
    """Return the snapshot as plain JSON types, complete enough to be judged again."""

    def plain(item: Probe | Vote) -> dict[str, Any]:
        return {**vars(item), "evidence": _evidence_to_json(item.evidence)}

    return {
        **vars(snapshot),
        "target": dict(vars(snapshot.target)),
        **{name: [plain(item) for item in getattr(snapshot, name)] for name in SAID},
        "unasked": list(snapshot.unasked),
        "nodes": [snapshot_to_json(node) for node in snapshot.nodes],
    }


def snapshot_from_json(data: dict[str, Any]) -> Snapshot:
    """Return the snapshot that `snapshot_to_json` wrote, also one of another version that kept less or more."""

    def read(kind: type[T], name: str) -> tuple[T, ...]:
        items = data.get(name, ())
        return tuple(known(kind, {**item, "evidence": _evidence_from_json(item["evidence"])}) for item in items)

    return Snapshot(
        at=data["at"],
        target=Target(**data["target"]),
        probes=read(Probe, "probes"),
        votes=read(Vote, "votes"),
        gateways=read(Probe, "gateways"),
        services=read(Probe, "services"),
        service_votes=read(Vote, "service_votes"),
        unasked=tuple(data.get("unasked", ())),
        ours=read(Probe, "ours"),
        theirs=read(Probe, "theirs"),
        reached_at=data.get("reached_at"),
        served=data.get("served", ""),
        nodes=tuple(snapshot_from_json(node) for node in data.get("nodes", ())),
        leader=read(Probe, "leader"),
        rebuild=read(Probe, "rebuild"),
    )
