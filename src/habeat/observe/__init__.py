"""Take one snapshot: probes, witnesses and gateways asked side by side, each bounded, none able to break the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from habeat.model import Evidence, Probe, Snapshot, Target, Unknown, Vote

Answer = tuple[Evidence, float]
"""What was found, and how old that knowledge is in seconds."""


class Reach(Protocol):
    """A way to find out whether an address answers."""

    @property
    def kind(self) -> str:
        """Return how this way is named in the evidence."""

    def __call__(self, address: str) -> Evidence:
        """Return Up if it answers, Down if it is silent, Unknown if the question could not be sent."""


class Witness(Protocol):
    """A third party that may know whether a target lives.

    `site` is where it stands (None: nowhere in particular); `networked` tells that a host which is cut off cannot
    get a clear answer from it.
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

    def ask(self, target: Target) -> Answer:
        """Return what it knows; whatever is not a clear and trustworthy answer is Unknown."""


@dataclass(frozen=True)
class Observer:
    """All that is asked in one cycle, and the patience (seconds) after which the silent are Unknown."""

    target: Target
    reach: Reach
    witnesses: Sequence[Witness]
    gateways: Sequence[str]
    patience: float

    def observe(self, now: float) -> Snapshot:
        """Return the evidence of one cycle, all of it gathered at the same time."""
        addresses = [self.target.address, *self.gateways]
        answers = _side_by_side(
            [
                *(partial(_reach, self.reach, address) for address in addresses),
                *(partial(witness.ask, self.target) for witness in self.witnesses),
            ],
            self.patience,
        )
        probes = [
            Probe(self.reach.kind, address, evidence)
            for address, (evidence, _) in zip(addresses, answers, strict=False)
        ]
        votes = [
            Vote(witness.name, evidence, age, witness.site, witness.networked)
            for witness, (evidence, age) in zip(self.witnesses, answers[len(addresses) :], strict=True)
        ]
        return Snapshot(now, self.target, tuple(probes[:1]), tuple(votes), tuple(probes[1:]))


def _reach(reach: Reach, address: str) -> Answer:
    return reach(address), 0.0


def _side_by_side(questions: Sequence[Callable[[], Answer]], patience: float) -> list[Answer]:
    """Return the answers in order; a question that hangs or breaks is Unknown and holds nobody up.

    The threads are daemons: one that is stuck in a system call must not keep the process from ending.
    """
    answers: list[Answer] = [(Unknown(f"did not answer within {patience:g} s"), 0.0) for _ in questions]
    threads = [
        threading.Thread(target=_answer, args=(question, answers, place), daemon=True)
        for place, question in enumerate(questions)
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + patience
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return list(answers)


def _answer(question: Callable[[], Answer], answers: list[Answer], place: int) -> None:
    try:
        answers[place] = question()
    except Exception as error:  # noqa: BLE001  a broken question is an unknown, whatever broke it
        answers[place] = Unknown(f"could not be asked ({type(error).__name__}: {error})"), 0.0
