"""One snapshot: everybody is asked at once, the sparing only after a silence, and none can hold up the others (I1, I4)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from facts import TARGET
from habeat.journal import Journal
from habeat.model import Down, Evidence, Finding, Probe, Snapshot, Target, Unknown, Up
from habeat.observe import Answer, Observer


@dataclass
class Asked:
    """A witness that counts how often it is asked, and answers by a function."""

    name: str
    answer: Callable[[], Answer] = lambda: Answer(Down("says that it is down"), 7.0, 180.0)
    sparing: bool = False
    site: str | None = None
    networked: bool = True
    times: list[str] = field(default_factory=list)

    def ask(self, target: Target) -> Answer:
        """Answer."""
        self.times.append("host")
        return self.answer()

    def ask_service(self, target: Target) -> Answer:
        """Answer."""
        self.times.append("service")
        return self.answer()

    def examine(self, target: Target) -> Sequence[Finding]:
        """Find nothing."""
        return []


@dataclass(frozen=True)
class Reach:
    """A probe with one answer for all addresses."""

    evidence: Evidence
    kind: str = "icmp"

    def __call__(self, address: str) -> Evidence:
        """Answer."""
        return self.evidence


@dataclass(frozen=True)
class Service:
    """A service with one answer."""

    probe: Probe
    kind: str = "service"
    address: str = "tcp://10.0.0.1:7025"

    def __call__(self) -> Probe:
        """Answer."""
        return self.probe


SILENT, ALIVE = Reach(Down("does not answer ping")), Reach(Up("answers ping"))
DEAD = Service(Probe("service", "tcp://10.0.0.1:7025", Down("refuses connections"), lives=True, answered=True))
WORKS = Service(Probe("service", "tcp://10.0.0.1:7025", Up("answers"), lives=True, answered=True))


def observe(
    reach: Reach, *witnesses: Asked, services: Sequence[Service] = (), patience: float = 5.0, acts: bool = True
) -> Snapshot:
    """Take one snapshot."""
    return Observer(TARGET, reach, witnesses, (), patience, services, acts).observe(1000.0)


def test_the_sparing_are_asked_only_after_a_silence() -> None:
    """While the target answers, a witness with a budget of calls is left in peace, and named; in the silence it is asked."""
    always, sparing = Asked("Consul"), Asked("HetrixTools", sparing=True)
    seen = observe(ALIVE, always, sparing)
    assert (["host"], []) == (always.times, sparing.times)
    assert (("HetrixTools",), 1) == (seen.unasked, len(seen.votes))
    seen = observe(SILENT, always, sparing)
    assert (["host", "host"], ["host"]) == (always.times, sparing.times)
    assert ((), ["Consul", "HetrixTools"]) == (seen.unasked, [vote.witness for vote in seen.votes])
    assert (7.0, 180.0) == (seen.votes[1].age, seen.votes[1].holds)


def test_the_sparing_that_could_not_testify_anyway() -> None:
    """One that stands in the suspect site is no comfort while all is well: it is not counted among those in reserve."""
    assert () == observe(ALIVE, Asked("vCenter", sparing=True, site="primary")).unasked


def test_services_are_a_matter_for_all_witnesses_once_one_is_dead() -> None:
    """Of one that works nobody is asked; of a dead one all are on a host that lives, the sparing if it can matter."""
    witnesses = Asked("Consul"), Asked("HetrixTools", sparing=True)
    assert () == observe(ALIVE, *witnesses, services=[WORKS]).service_votes
    seen = observe(ALIVE, *witnesses, services=[WORKS, DEAD])
    assert ["Consul", "HetrixTools"] == [vote.witness for vote in seen.service_votes]
    assert [["host", "host", "service"], ["service"]] == [witness.times for witness in witnesses]
    assert ["Consul"] == [v.witness for v in observe(ALIVE, *witnesses, services=[DEAD], acts=False).service_votes]
    assert () == observe(SILENT, *witnesses, services=[Service(Probe("service", "x", Down("is silent")))]).service_votes


def test_a_service_that_speaks_is_no_silence() -> None:
    """Ping is filtered, and a service refuses: somebody is there, so the sparing are not asked about the host."""
    sparing = Asked("HetrixTools", sparing=True)
    observe(SILENT, sparing, services=[DEAD])
    assert ["service"] == sparing.times


def test_what_hangs_or_breaks_is_unknown_and_holds_nobody_up() -> None:
    """One witness never answers and one raises: the others' answers count, and the cycle ends in time."""
    never = threading.Event()

    def hang() -> Answer:
        never.wait(20)
        return Answer(Up("too late"))

    def fail() -> Answer:
        raise ZeroDivisionError

    begun = time.monotonic()
    seen = observe(SILENT, Asked("a", hang, sparing=True), Asked("b", fail), Asked("c"), Asked("d", hang), patience=0.3)
    assert time.monotonic() - begun < 5
    never.set()
    told = {vote.witness: vote.evidence for vote in seen.votes}
    assert Unknown("did not answer within 0.3 s") == told["a"] == told["d"]
    assert isinstance(told["b"], Unknown)
    assert Down("says that it is down") == told["c"]


def test_witnesses_can_remember(tmp_path: Path) -> None:
    """What a witness remembers in the journal, in the thread that it is asked in, is there in the next cycle."""
    journal = Journal.open(tmp_path / "state")
    recall = journal.recall("hetrix")

    def answer() -> Answer:
        before = recall.read()
        recall.write("remembered")
        return Answer(Unknown(str(before)))

    told = [observe(SILENT, Asked("a", answer, sparing=True)).votes[0].evidence.reason for _ in range(2)]
    journal.close()
    assert ["None", "remembered"] == told
