"""A made-up world: hosts in sites, the network between them, a clock of its own, and what is going to happen.

Everything happens on one thread. Whoever waits lets the others' events happen meanwhile, so that the work of several
instances is interleaved, always in the same way for the same schedule.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random

BEGIN = 1_700_000_000.0
THIRD = "third"


@dataclass
class Host:
    """One machine; `service` tells whether its mail service works, `agent` whether its Consul agent runs.

    `plugged` is whether its own link is there, `hypervisor` whether vCenter can see what runs it.
    """

    name: str
    site: str
    address: str
    up: bool = True
    service: bool = True
    agent: bool = True
    plugged: bool = True
    hypervisor: bool = True
    boot: int = 1
    frozen_until: float = 0.0


@dataclass
class World:
    """All hosts, by name, and the time; `changed` hear of every change of who is there and who reaches whom.

    `lossy` maps a link to the share of packets that it loses, `slow` to the seconds that it delays an answer.
    """

    hosts: dict[str, Host] = field(default_factory=dict)
    cuts: set[tuple[str, str]] = field(default_factory=set)
    lossy: dict[tuple[str, str], float] = field(default_factory=dict)
    slow: dict[tuple[str, str], float] = field(default_factory=dict)
    now: float = BEGIN
    changed: list[Callable[[], None]] = field(default_factory=list)
    told: list[tuple[float, str]] = field(default_factory=list)
    _places: dict[str, Host] = field(default_factory=dict)
    _queue: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _count: int = 0

    def add(self, name: str, site: str, address: str) -> Host:
        """Add a host."""
        self.hosts[name] = self._places[address] = host = Host(name, site, address)
        return host

    def tell(self, text: str) -> None:
        """Write a line into the timeline."""
        self.told.append((self.now, text))

    # -- time

    def at(self, when: float, event: Callable[[], None]) -> None:
        """Let something happen at a time (Unix seconds), or after those that are due by then."""
        self._count += 1
        heapq.heappush(self._queue, (when, self._count, event))

    def wait(self, seconds: float) -> None:
        """Let time pass, and all happen that is due meanwhile."""
        self.run(self.now + seconds)

    def run(self, until: float) -> None:
        """Let all happen until a time."""
        while self._queue and self._queue[0][0] <= until:
            when, _, event = heapq.heappop(self._queue)
            self.now = max(self.now, when)
            event()
        self.now = max(self.now, until)

    # -- network

    def change(self) -> None:
        """Let those who look at the network know that it is another now."""
        for hear in self.changed:
            hear()

    def reaches(self, source: str, target: str) -> bool:
        """Tell whether what one host sends arrives at another, by a link that loses and delays nothing."""
        if source == target:
            return self.hosts[source].up
        here, there = self.hosts[source], self.hosts[target]
        if not (here.up and there.up and here.plugged and there.plugged):
            return False
        if here.frozen_until > self.now or there.frozen_until > self.now:
            return False
        return not self.cuts or self.cuts.isdisjoint(_links(here, there))

    def talk(self, one: str, other: str) -> bool:
        """Tell whether two hosts reach each other: what keeps on trying, and can wait, does so by any link."""
        return self.reaches(one, other) and (not self.cuts or self.reaches(other, one))

    def loss(self, one: str, other: str) -> float:
        """Return the share of questions between two hosts, of 0 to 1, that get no answer."""
        return self._worst(self.lossy, one, other)

    def delay(self, one: str, other: str) -> float:
        """Return how many seconds an answer takes from one host to another."""
        return self._worst(self.slow, one, other)

    def _worst(self, links: dict[tuple[str, str], float], one: str, other: str) -> float:
        if not links or one == other:
            return 0.0
        return max(links.get(link, 0.0) for link in _links(self.hosts[one], self.hosts[other]))

    def answers(self, one: str, other: str, patience: float, tries: int = 1) -> bool:
        """Tell whether one of some questions to another host is answered within some seconds each; time passes."""
        if not self.talk(one, other):
            return False
        if not self.lossy and not self.slow:
            return True
        loss, delay = self.loss(one, other), self.delay(one, other)
        if delay:
            self.wait(min(delay, patience))
        if delay > patience or not loss:
            return delay <= patience
        return any(self.chance(f"{one} {other} {turn}") >= loss for turn in range(tries))

    def chance(self, of: str, lasting: float = 0.001) -> float:
        """Return a number from 0 to 1 that is random, and the same for the same thing for some seconds."""
        return Random(f"{of} {self.now // lasting:.0f}").random()  # noqa: S311  it is to be the same again, not secret

    def by_address(self, address: str) -> Host | None:
        """Return the host at an address."""
        return self._places.get(address)


def _links(here: Host, there: Host) -> Iterator[tuple[str, str]]:
    """Yield the names of the links by which what one host sends to another goes."""
    for source in (here.name, here.site, "*"):
        for target in (there.name, there.site, "*"):
            if source != target:
                yield source, target
