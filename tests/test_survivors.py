"""Who takes part when Consul's quorum is rebuilt: each doubt about another survivor waits (I1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from facts import SAYS_DOWN, TARGET, circumstances, snapshot, verdict, vote
from habeat.act.raft_folder import RaftFolder
from habeat.act.run import Runner
from habeat.act.unit import Unit
from habeat.grounds import Grounds
from habeat.guard import Heard, Word
from habeat.journal import Journal
from habeat.machine import Command, decide
from habeat.model import Done, Down, Memory, Outcome, Sight, Unknown, Waiting
from habeat.quorum import Configuration, Epoch, Recovery, Server, Stage
from habeat.roles.attempt import Attempt
from habeat.roles.survivors import Survivors
from habeat.saga import Job
from test_raft_folder import ME

BOOT, FRESH, BEGAN = "boot-1", 120.0, 1000.0
ONE, TWO = (Server(f"id-{number}", f"svc{number}", f"10.0.2.{number}") for number in (1, 2))
LOST = tuple(Server(f"id-{number}", f"svc{number}", f"10.0.1.{number}") for number in (3, 4, 5))
SAVED = Configuration((ONE, TWO, *LOST), 9, BEGAN - 60.0, BOOT)
THEIRS = Recovery(1, 1, Epoch(1, "theirs", "svc1"), (ONE, TWO))


@dataclass
class Site:
    """A site with two survivors, of which this one is `own`; the other is as a test says."""

    own: Server
    journal: Journal
    attempt: Attempt
    job: Job
    seen: Sight = Sight.DOWN
    heard: list[Heard] = field(default_factory=list)

    def tells(
        self, server: Server, *, recovery: Recovery | None = None, epoch: int = 0, state: str = "failing_over"
    ) -> None:
        """Let the other survivor's habeat say that it is a server, and what it knows."""
        epochs = Epoch(epoch, "theirs" if epoch else "")
        other = TWO if self.own is ONE else ONE
        self.heard = [Heard(other.address, "secondary", Word("secondary", server.id, epochs, recovery, state))]

    @property
    def survivors(self) -> Survivors:
        """Return those who take part, as this server sees them."""
        return Survivors(
            site="secondary",
            here=(ONE.address, TWO.address),
            boot=BOOT,
            fresh=FRESH,
            look=lambda _server: verdict(self.seen),
            near=lambda: self.heard,
            leader=lambda: Down("has no leader"),
            attempt=replace(self.attempt, ask=lambda: self.heard),
            journal=self.journal,
            fresh_id=lambda: "ours",
            clock=lambda: BEGAN,
        )

    def agree(self, saved: Configuration = SAVED) -> Outcome:
        """Let this server lead, follow, or wait."""
        return self.survivors.agree(self.job, saved, self.own.id, "it can be copied")


MakeSite = Callable[[Server], Site]


@pytest.fixture
def make_site(tmp_path: Path) -> Iterator[MakeSite]:
    """Give sites in mid-failover, seen by one of their servers."""
    journal = Journal.open(tmp_path / "state")

    def make(own: Server) -> Site:
        memory = Memory()
        for _ in range(2):
            facts = circumstances(memory)
            decision = decide(verdict(Sight.DOWN), TARGET.name, facts)
            grounds = Grounds(snapshot(vote(SAYS_DOWN)), facts)
            memory = journal.record(TARGET, decision, BEGAN, verdict(Sight.DOWN), grounds)
        assert memory.failover is not None
        (tmp_path / "node-id").write_text(f"{own.id}\n", encoding="utf-8")
        unit, folder = Unit(Runner(), "never-run.service"), RaftFolder(tmp_path, ME)
        attempt = Attempt(unit, folder, journal, list, BOOT, lambda: BEGAN, lambda: 0.0, lambda _seconds: None)
        return Site(own, journal, attempt, Job(memory.failover, 1, Command.ACTIVATE))

    yield make
    journal.close()


def waits(outcome: Outcome) -> str:
    """Return why it waits."""
    assert isinstance(outcome, Waiting), outcome
    return outcome.why


def test_the_lowest_address_leads(make_site: MakeSite) -> None:
    """The survivor with the lowest address makes the plan, and counts on all that call the other site dead."""
    leader = make_site(ONE)
    leader.tells(TWO)
    assert isinstance(leader.agree(), Done)
    assert (Epoch(1, "ours", "svc1", BEGAN, (ONE.id, TWO.id)), (ONE, TWO)) == _plan(leader)


def test_who_does_not_lead_waits(make_site: MakeSite) -> None:
    """I3: two plans of one number would be two histories."""
    follower = make_site(TWO)
    follower.tells(ONE)
    assert "svc1 (10.0.2.1) leads the recovery here, and has not begun it" in waits(follower.agree())
    follower.tells(ONE, recovery=THEIRS)
    assert isinstance(follower.agree(), Done)
    assert (THEIRS.epoch, THEIRS.peers) == _plan(follower)


def test_a_plan_without_this_server_is_not_followed(make_site: MakeSite) -> None:
    """I3: it would write a file that does not name itself; it rejoins clean once that is proved."""
    left_out = make_site(TWO)
    left_out.tells(ONE, recovery=replace(THEIRS, peers=(ONE,)))
    assert "being rebuilt without this server in epoch 1" in waits(left_out.agree())
    assert left_out.attempt.recovery() is None


@pytest.mark.parametrize("seen", [sight for sight in Sight if sight is not Sight.DOWN])
def test_a_survivor_that_is_not_surely_dead_is_waited_for(make_site: MakeSite, seen: Sight) -> None:
    """I1: silence of its habeat is no death; only a witness's word is, and then this one goes on alone."""
    site = make_site(ONE)
    site.heard = [Heard(TWO.address, "secondary", Unknown("gives no answer on port 8399"))]
    site.seen = seen
    assert "svc2 (10.0.2.2) is not surely dead" in waits(site.agree())
    site.seen = Sight.DOWN
    assert isinstance(site.agree(), Done)
    assert (ONE,) == _plan(site)[1]


def test_who_answers_must_be_the_server(make_site: MakeSite) -> None:
    """I3: a machine that was installed anew at a voter's address has another id, and none of its data."""
    site = make_site(ONE)
    site.tells(replace(TWO, id="id-9"))
    assert "who answers as svc2 (10.0.2.2) has the node-id id-9, not id-2" in waits(site.agree())


def test_who_does_not_call_the_other_site_dead_is_waited_for(make_site: MakeSite) -> None:
    """I1: no survivor votes in a quorum that it did not agree to."""
    site = make_site(ONE)
    site.tells(TWO, state="suspect")
    assert "svc2 (10.0.2.2) does not call the other site dead yet" in waits(site.agree())


@pytest.mark.parametrize(
    ("saved", "told"),
    [
        (
            replace(SAVED, boot="boot-0"),
            "this server last saw a leader 1 min before, and the machine was rebooted since",
        ),
        (replace(SAVED, at=BEGAN - FRESH - 1.0), "before: the other site may have gone on without it"),
    ],
)
def test_old_data_needs_a_person(make_site: MakeSite, saved: Configuration, told: str) -> None:
    """I3: whoever was away may lack what the others acknowledged meanwhile."""
    site = make_site(ONE)
    site.tells(TWO)
    assert told in waits(site.agree(saved))
    site.journal.acknowledge("ann", "it has all", BEGAN)
    assert isinstance(site.agree(saved), Done)


def test_who_has_not_written_the_same_file_is_late(make_site: MakeSite) -> None:
    """A survivor that is yet to follow is no failure of the attempt; one that has the file, or took it in, is not late."""
    site = make_site(ONE)
    for stage, late in (
        (Stage.PREPARED, [TWO]),
        (Stage.SAVED, [TWO]),
        (Stage.WRITTEN, []),
        (Stage.PROVED, []),
        (Stage.UNDONE, [TWO]),
    ):
        site.tells(TWO, recovery=replace(THEIRS, stage=stage), epoch=1)
        assert late == site.survivors.late(THEIRS), stage
    site.tells(TWO, recovery=replace(THEIRS, epoch=Epoch(1, "another"), stage=Stage.WRITTEN))
    assert [TWO] == site.survivors.late(THEIRS)
    site.heard = []
    assert [TWO] == site.survivors.late(THEIRS)


def _plan(site: Site) -> tuple[Epoch, tuple[Server, ...]]:
    """Return what this server noted to go by."""
    recovery = site.attempt.recovery()
    assert recovery is not None
    return recovery.epoch, recovery.peers
