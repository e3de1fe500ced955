"""Take one snapshot: probes, witnesses and gateways asked side by side, each bounded, none able to break the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

from habeat.model import Down, Evidence, Finding, Probe, Snapshot, Target, Unknown, Vote

T = TypeVar("T")
S = TypeVar("S")


@dataclass(frozen=True)
class Answer:
    """What a witness knows: how old that is, and how old it may become (None: the policy says), in seconds.

    `live` tells that the witness was there just now; what was only remembered proves nothing about our own network.
    """

    evidence: Evidence
    age: float = 0.0
    holds: float | None = None
    live: bool = True


class Reach(Protocol):
    """A way to find out whether an address answers."""

    @property
    def kind(self) -> str:
        """Return how this way is named in the evidence."""

    def __call__(self, address: str) -> Evidence:
        """Return Up if it answers, Down if it is silent, Unknown if the question could not be sent."""


class Service(Protocol):
    """A way to find out whether one service on the target works."""

    @property
    def kind(self) -> str:
        """Return how this way is named in the evidence."""

    @property
    def address(self) -> str:
        """Return what is asked, as it stands in the sentences."""

    def __call__(self) -> Probe:
        """Return Up if it works, Down if it is dead, Unknown if that cannot be told."""


class Witness(Protocol):
    """A third party that may know whether a target lives.

    `site` is where it stands (None: nowhere in particular); `networked` tells that a host which is cut off cannot
    get a clear answer from it; a `sparing` one is asked only when no probe reached the target.
    """

    @property
    def name(self) -> str:
        """Return how the witness is named in sentences."""

    @property
    def site(self) -> str | None:
        """Return the site it stands in."""

    @property
    def networked(self) -> bool:
        """Tell whether its clear answer proves that we are not cut off."""

    @property
    def sparing(self) -> bool:
        """Tell whether it is to be asked only when the target is silent."""

    def ask(self, target: Target) -> Answer:
        """Return what it knows of the host; whatever is not a clear and trustworthy answer is Unknown."""

    def ask_service(self, target: Target) -> Answer:
        """Return what it knows of the mail service on a host that lives; Unknown where it sees hosts only."""

    def examine(self, target: Target) -> Sequence[Finding]:
        """Return what is well and what is wrong with this witness, found out by asking it, with how to mend it."""


class Together(Protocol):
    """A way to ask questions at the same time, see `side_by_side`."""

    def __call__(
        self, some: Sequence[Question[T]], others: Sequence[Question[S]], patience: float
    ) -> tuple[list[T], list[S]]:
        """Return the answers in order."""


@dataclass(frozen=True)
class Spared:
    """A sparing witness that is put together, and what it needs loaded, only when it is asked."""

    name: str
    site: str | None
    make: Callable[[], Witness]
    networked: bool = True
    sparing: bool = True

    def ask(self, target: Target) -> Answer:
        """Return what it knows of the host."""
        return self.make().ask(target)

    def ask_service(self, target: Target) -> Answer:
        """Return what it knows of the mail service."""
        return self.make().ask_service(target)

    def examine(self, target: Target) -> Sequence[Finding]:
        """Return what is well and what is wrong with it."""
        return self.make().examine(target)


@dataclass(frozen=True)
class Observer:
    """All that is asked in one cycle, and the patience (seconds) after which the silent are Unknown.

    The sparing are asked about a dead service only if what they say can matter: `acts_on_services`.
    """

    target: Target
    reach: Reach
    witnesses: Sequence[Witness]
    gateways: Sequence[str]
    patience: float
    services: Sequence[Service] = ()
    acts_on_services: bool = False
    together: Together = field(default_factory=lambda: side_by_side)

    def observe(self, now: float, ours: Sequence[Service] = (), theirs: Sequence[Service] = ()) -> Snapshot:
        """Return the evidence of one cycle, gathered at the same time; the sparing are asked after the silence.

        `ours` and `theirs` are looks at the announcement here and in the other site, where that is of interest.
        """
        ready = [witness for witness in self.witnesses if not witness.sparing]
        spared = [witness for witness in self.witnesses if witness.sparing]
        hosts = [self.target.address, *self.gateways]
        asked, votes = self.together(
            [
                *(Question(partial(self._probe, host), partial(Probe, self.reach.kind, host)) for host in hosts),
                *(Question(look, partial(Probe, look.kind, look.address)) for look in (*self.services, *ours, *theirs)),
            ],
            [self._question(witness, witness.ask) for witness in ready],
            self.patience,
        )
        given = iter(asked)
        probes, services, here, there = ([*islice(given, len(part))] for part in (hosts, self.services, ours, theirs))
        reached = any(probe.reached for probe in (probes[0], *services))
        late = [] if reached else [self._question(witness, witness.ask) for witness in spared]
        dead = reached and any(isinstance(service.evidence, Down) for service in services)
        asked_then = self.witnesses if self.acts_on_services else ready
        doubts = [self._question(witness, witness.ask_service) for witness in asked_then] if dead else []
        none: list[Question[Probe]] = []
        _, more = self.together(none, [*late, *doubts], self.patience)
        return Snapshot(
            at=now,
            target=self.target,
            probes=tuple(probes[:1]),
            votes=(*votes, *more[: len(late)]),
            gateways=tuple(probes[1:]),
            services=tuple(services),
            ours=tuple(here),
            theirs=tuple(there),
            service_votes=tuple(more[len(late) :]),
            unasked=tuple(witness.name for witness in spared if witness.site != self.target.site) if reached else (),
        )

    def _probe(self, address: str) -> Probe:
        return Probe(self.reach.kind, address, self.reach(address))

    def _question(self, witness: Witness, ask: Callable[[Target], Answer]) -> Question[Vote]:
        def vote(answer: Answer) -> Vote:
            networked = witness.networked and answer.live
            return Vote(witness.name, answer.evidence, answer.age, witness.site, networked, answer.holds)

        return Question(lambda: vote(ask(self.target)), lambda unknown: vote(Answer(unknown)))


@dataclass(frozen=True)
class Question(Generic[T]):
    """Something to ask, and what to make of it when no answer comes."""

    ask: Callable[[], T]
    unanswered: Callable[[Unknown], T]


def side_by_side(
    some: Sequence[Question[T]], others: Sequence[Question[S]], patience: float
) -> tuple[list[T], list[S]]:
    """Return the answers in order; a question that hangs or breaks is Unknown and holds nobody up.

    The threads are daemons: one that is stuck in a system call must not keep the process from ending.
    """
    questions: list[Question[Any]] = [*some, *others]
    silence = Unknown(f"did not answer within {patience:g} s")
    answers = [question.unanswered(silence) for question in questions]
    threads = [
        threading.Thread(target=_answer, args=(question, answers, place), daemon=True)
        for place, question in enumerate(questions)
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + patience
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    taken = list(answers)
    return taken[: len(some)], taken[len(some) :]


def _answer(question: Question[Any], answers: list[Any], place: int) -> None:
    try:
        answers[place] = question.ask()
    except Exception as error:  # noqa: BLE001  a broken question is an unknown, whatever broke it
        answers[place] = question.unanswered(Unknown(f"could not be asked ({type(error).__name__}: {error})"))
