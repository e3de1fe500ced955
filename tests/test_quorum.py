"""Who votes, when the quorum may be rebuilt, and when a server may start with the data that it has."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest

from facts import snapshot, vote
from habeat.config import load
from habeat.errors import ConfigError
from habeat.guard import Action, Advice, Heard, Situation, Word, advise, overtaken
from habeat.judge import blind_spot, judge
from habeat.model import (
    Down,
    Evidence,
    Policy,
    Probe,
    Sight,
    Snapshot,
    Target,
    Unknown,
    Up,
    snapshot_from_json,
    snapshot_to_json,
)
from habeat.quorum import (
    Configuration,
    Epoch,
    Recovery,
    Server,
    Stage,
    configuration_of,
    epoch_of,
    obstacle,
    outlook,
    peers_json,
    recovery_of,
    to_json,
)

HERE, THERE = ("10.0.2.1", "10.0.2.2"), ("10.0.1.1", "10.0.1.2", "10.0.1.3")


def server(number: int, address: str, *, voter: bool = True) -> Server:
    """Return a server with a telling id."""
    return Server(f"id-{number}", f"svc{number}", address, voter=voter)


ONE, TWO = server(1, HERE[0]), server(2, HERE[1])
OTHERS = tuple(server(number, address) for number, address in enumerate(THERE, 3))
FIVE = Configuration((*OTHERS, TWO, ONE), 9, 1000.0, "boot-1")


# -- who may rebuild it


def test_the_order_is_that_of_the_addresses() -> None:
    """All survivors agree on who leads, whatever order Consul lists them in: 10.0.0.9 before 10.0.0.10."""
    listed = (server(1, "10.0.0.10"), server(2, "10.0.0.9"), server(3, "fd00::1"), server(4, "10.0.0.8", voter=False))
    assert ["id-2", "id-1", "id-3"] == [s.id for s in Configuration(listed).voters]


@pytest.mark.parametrize(
    ("configuration", "own", "told"),
    [
        (None, "id-1", "never saved"),
        (FIVE, "id-9", "this server's node-id id-9 is none of the voters'"),
        (replace(FIVE, servers=(*FIVE.servers, server(8, "10.0.3.1"))), "id-1", "stands in neither site's consul_ips"),
        (FIVE, "id-3", "votes from an address that is not in secondary.consul_ips"),
        (replace(FIVE, servers=(ONE, TWO, OTHERS[0])), "id-1", "which is a quorum without the others"),
        (FIVE, "id-1", None),
        (replace(FIVE, servers=(ONE, *OTHERS[:2])), "id-1", None),
        (replace(FIVE, servers=(ONE, OTHERS[0])), "id-1", None),
    ],
)
def test_what_forbids_a_recovery(configuration: Configuration | None, own: str, told: str | None) -> None:
    """I1: only where the voters here can be no quorum, all voters are placed, and this server is one of them."""
    why = obstacle(configuration, HERE, THERE, own, "secondary")
    assert why is None if told is None else told in str(why)


def test_no_two_halves_may_both_rebuild() -> None:
    """I1: a majority never rebuilds; so of two sites at most one can, unless they have equally many voters."""
    for here, there in itertools.product(range(1, 5), repeat=2):
        near = tuple(f"10.0.2.{n}" for n in range(1, here + 1))
        far = tuple(f"10.0.1.{n}" for n in range(1, there + 1))
        voters = Configuration(tuple(server(n, address) for n, address in enumerate((*near, *far))))
        ours = obstacle(voters, near, far, "id-0", "secondary") is None
        theirs = obstacle(voters, far, near, f"id-{here}", "primary") is None
        assert (here <= there, there <= here) == (ours, theirs)
        assert ("falls with" in outlook(voters, near, "primary")) == ours


def test_peers_json_is_what_consul_takes() -> None:
    """The form is raft protocol 3's, the same bytes whatever order the peers are in, brackets around IPv6."""
    text = peers_json((TWO, ONE))
    assert text == peers_json((ONE, TWO))
    assert [
        {"id": "id-1", "address": "10.0.2.1:8300", "non_voter": False},
        {"id": "id-2", "address": "10.0.2.2:8300", "non_voter": False},
    ] == json.loads(text)
    assert "[fd00::1]:8300" in peers_json([server(1, "fd00::1")])


def test_notes_are_read_as_they_were_written() -> None:
    """What the journal keeps comes back the same, and nothing kept is nothing known."""
    recovery = Recovery(
        1, 2, Epoch(3, "x", "svc1", 5.0, ("id-1", "id-2")), (ONE, TWO), Stage.WRITTEN, "raft.copy", 2, 7
    )
    assert recovery == recovery_of(json.loads(to_json(recovery)))
    assert configuration_of(to_json(FIVE)) == FIVE
    assert epoch_of(json.loads(to_json(recovery.epoch))) == recovery.epoch
    assert (None, None, Epoch()) == (recovery_of(None), configuration_of(None), epoch_of(None))


# -- whether a server may start

SITUATION = Situation(
    site="secondary",
    here=HERE,
    there=THERE[:2],
    own="id-1",
    epoch=Epoch(1, "a"),
    configuration=Configuration((ONE, TWO, OTHERS[0]), 9, 1000.0, "boot-1"),
    now=5000.0,
    boot="boot-2",
    recent=600.0,
)
SILENCE = Unknown("gives no answer")


def word(epoch: Epoch, number: int, site: str = "primary", stage: Stage | None = None) -> Heard:
    """Return what a server of the other site says."""
    recovery = Recovery(1, 1, epoch, (ONE,), stage) if stage else None
    return Heard(f"10.0.1.{number}", site, Word(site, f"id-{number + 2}", epoch, recovery, "standby"))


def led(epoch: Epoch, number: int, site: str = "primary") -> Heard:
    """Return what a server says whose Consul has a leader."""
    said = word(epoch, number, site)
    assert isinstance(said.word, Word)
    return replace(said, word=replace(said.word, led=True))


def silent(number: int) -> Heard:
    """Return the silence of a server of the other site."""
    return Heard(f"10.0.1.{number}", "primary", SILENCE)


def unborn(number: int) -> Heard:
    """Return what a server says whose Consul has never started."""
    return Heard(f"10.0.1.{number}", "primary", Word("primary", "", Epoch(0, ""), None, "standby"))


SAME, OLDER, NEWER, RIVAL = Epoch(1, "a"), Epoch(0, ""), Epoch(2, "b"), Epoch(1, "other")
COUNTING = replace(NEWER, peers=("id-1", "id-3"))  # it begins with the data of this server, and of word(…, 1)'s


@pytest.mark.parametrize(
    ("heard", "changes", "action", "rule"),
    [
        ([silent(1), silent(2)], {}, Action.HOLD, "G10"),
        ([word(SAME, 1), silent(2)], {}, Action.HOLD, "G10"),
        ([word(SAME, 1), word(SAME, 1)], {}, Action.HOLD, "G10"),
        ([word(SAME, 1), word(OLDER, 2)], {}, Action.START, "G5"),
        ([word(SAME, 1), unborn(2)], {}, Action.HOLD, "G10"),
        ([word(SAME, 1, "secondary"), word(SAME, 2, "secondary")], {}, Action.HOLD, "G10"),
        ([word(NEWER, 1), silent(2)], {}, Action.CLEAN, "G1"),
        ([word(NEWER, 1, "secondary")], {}, Action.CLEAN, "G1"),
        ([word(NEWER, 1), word(RIVAL, 2)], {"allowed": True, "cut_off": True}, Action.CLEAN, "G1"),
        ([word(NEWER, 1, "secondary", Stage.SAVED)], {}, Action.REFUSE, "G11"),
        ([word(NEWER, 1, "secondary", Stage.WRITTEN)], {"allowed": True}, Action.REFUSE, "G11"),
        ([word(NEWER, 1, "secondary", Stage.WRITTEN)], {"own": "id-2"}, Action.CLEAN, "G1"),
        ([word(NEWER, 1, "secondary", Stage.WRITTEN)], {"empty": True}, Action.CLEAN, "G1"),
        ([word(NEWER, 1, "secondary", Stage.PROVED)], {}, Action.CLEAN, "G1"),
        ([silent(1), word(COUNTING, 2)], {}, Action.REFUSE, "G11"),
        ([silent(1), word(COUNTING, 2)], {"allowed": True}, Action.START, "G2"),
        ([silent(1), word(COUNTING, 2)], {"empty": True}, Action.CLEAN, "G1"),
        ([silent(1), word(COUNTING, 2)], {"own": "id-2"}, Action.CLEAN, "G1"),
        ([silent(1), led(COUNTING, 2)], {}, Action.CLEAN, "G1"),
        ([word(COUNTING, 1), word(COUNTING, 2)], {}, Action.CLEAN, "G1"),
        ([word(OLDER, 1), word(COUNTING, 2)], {}, Action.REFUSE, "G11"),
        ([word(COUNTING, 1, "secondary", Stage.PROVED), word(COUNTING, 2)], {}, Action.CLEAN, "G1"),
        ([word(RIVAL, 1), word(SAME, 2)], {"allowed": True}, Action.START, "G2"),
        ([word(RIVAL, 1), word(SAME, 2)], {}, Action.REFUSE, "G3"),
        ([silent(1), silent(2)], {"allowed": True, "cut_off": True}, Action.START, "G2"),
        ([silent(1), silent(2)], {"starting": True, "cut_off": True}, Action.START, "G13"),
        ([word(RIVAL, 1), word(SAME, 2)], {"starting": True, "cut_off": True}, Action.REFUSE, "G3"),
        ([word(SAME, 1), word(OLDER, 2)], {"cut_off": True}, Action.REFUSE, "G4"),
        ([word(SAME, 1, stage=Stage.PREPARED), word(SAME, 2)], {}, Action.HOLD, "G10"),
        ([word(SAME, 1), word(SAME, 2, stage=Stage.SAVED)], {}, Action.HOLD, "G10"),
        ([word(SAME, 1), word(SAME, 2, stage=Stage.PROVED)], {}, Action.START, "G5"),
        ([led(SAME, 1), silent(2)], {}, Action.START, "G12"),
        ([silent(1), silent(2), led(SAME, 3, "secondary")], {}, Action.START, "G12"),
        ([led(OLDER, 1), silent(2)], {}, Action.HOLD, "G10"),
        ([led(SAME, 1), word(SAME, 2, stage=Stage.SAVED)], {}, Action.HOLD, "G10"),
        ([led(SAME, 1), word(OLDER, 2)], {"empty": True}, Action.HOLD, "G10"),
        ([led(SAME, 1), word(NEWER, 2)], {}, Action.CLEAN, "G1"),
        ([led(RIVAL, 1), silent(2)], {}, Action.REFUSE, "G3"),
        ([led(SAME, 1), silent(2)], {"cut_off": True}, Action.REFUSE, "G4"),
        ([silent(1)], {"boot": "boot-1", "now": 1600.0}, Action.START, "G6"),
        ([silent(1)], {"boot": "boot-1", "now": 1601.0}, Action.HOLD, "G10"),
        ([silent(1)], {"boot": "boot-1", "now": 999.0}, Action.HOLD, "G10"),
        ([silent(1)], {"boot": "boot-2", "now": 1001.0}, Action.HOLD, "G10"),
        ([silent(1)], {"configuration": FIVE}, Action.START, "G7"),
        ([silent(1)], {"configuration": replace(FIVE, servers=(ONE, TWO))}, Action.START, "G8"),
        ([silent(1)], {"configuration": replace(FIVE, servers=(TWO,))}, Action.HOLD, "G10"),
        ([silent(1)], {"configuration": None}, Action.HOLD, "G10"),
        ([], {"there": ()}, Action.HOLD, "G10"),
        ([word(SAME, 1), silent(2)], {"configuration": None, "empty": True}, Action.START, "G9"),
        ([silent(1), silent(2)], {"configuration": None, "empty": True}, Action.HOLD, "G10"),
        ([word(OLDER, 1), silent(2)], {"configuration": None, "empty": True}, Action.HOLD, "G10"),
        ([word(SAME, 1), word(OLDER, 2)], {"configuration": None, "empty": True}, Action.HOLD, "G10"),
        ([word(SAME, 1), unborn(2)], {"configuration": None, "empty": True}, Action.START, "G9"),
    ],
)
def test_the_guard(heard: list[Heard], changes: dict[str, object], action: Action, rule: str) -> None:
    """Old data never starts where it could elect a leader, unless it is known not to be of the past."""
    advice: Advice = advise(replace(SITUATION, **changes), heard)  # type: ignore[arg-type]
    assert (action, rule) == (advice.action, advice.rule)
    assert advice.why
    assert replace(advice.epoch, peers=()) == {"G1": NEWER, "G3": RIVAL}.get(rule, SAME)


@pytest.mark.parametrize(
    ("heard", "found"),
    [
        ([], None),
        ([silent(1), word(SAME, 2), word(OLDER, 2)], None),
        ([word(NEWER, 1), word(SAME, 2)], NEWER),
        ([word(NEWER, 1, stage=Stage.PROVED)], None),  # it counts on us
        ([word(NEWER, 1), word(NEWER, 2, stage=Stage.PROVED)], None),
        ([silent(1), word(COUNTING, 2)], None),  # and who begins that gives no answer
        ([word(COUNTING, 1), word(COUNTING, 2)], COUNTING),  # but it is over
    ],
)
def test_overtaken(heard: list[Heard], found: Epoch | None) -> None:
    """A server was left behind where others share a newer epoch that does not count on it."""
    assert found == overtaken(ONE.id, SAME, heard)


@pytest.mark.parametrize(("stage", "found"), [(Stage.SAVED, None), (Stage.WRITTEN, None), (Stage.PROVED, NEWER)])
def test_overtaken_by_a_leader(stage: Stage, found: Epoch | None) -> None:
    """Data is not given up for a recovery that nobody has proved yet."""
    assert found == overtaken(TWO.id, SAME, [word(NEWER, 1, stage=stage)])


# -- what a cycle sees of a site's servers

LEADER, LEADERLESS = Up("has a leader"), Down("has no leader")
GONE = snapshot(vote(Down("says that it is down")))
LIVES = snapshot(vote(Down("says that it is down")), probe=Probe("icmp", "10.0.0.1", Up("answers ping")))
SEEN = snapshot(vote(Up("says that it is up")))
DOUBT = snapshot(vote(Unknown("is silent")))


def site(leader: Evidence, *nodes: Snapshot) -> Snapshot:
    """Return the evidence of a site."""
    whole = Target("consulserver", "primary", "Consul of the primary site", "10.0.0.1")
    probe = Probe("quorum", "Consul here", leader)
    return Snapshot(1000.0, whole, (), (), nodes=nodes, leader=(probe,))


@pytest.mark.parametrize(
    ("leader", "nodes", "sight"),
    [
        (LEADERLESS, (GONE, GONE), Sight.DOWN),
        (LEADERLESS, (GONE,), Sight.DOWN),
        (LEADER, (GONE, GONE), Sight.QUORATE),
        (Unknown("refuses"), (GONE, GONE), Sight.UNKNOWN),
        (LEADERLESS, (GONE, DOUBT), Sight.UNKNOWN),
        (LEADERLESS, (DOUBT, GONE), Sight.UNKNOWN),
        (LEADERLESS, (GONE, SEEN), Sight.UNREACHABLE),
        (LEADERLESS, (DOUBT, SEEN), Sight.UNREACHABLE),
        (LEADERLESS, (GONE, LIVES), Sight.SERVICE_DOWN),
        (LEADER, (LIVES, GONE), Sight.UP),
        (Unknown("refuses"), (LIVES, SEEN), Sight.UP),
    ],
)
def test_a_site_is_dead_only_if_each_of_its_servers_is(
    leader: Evidence, nodes: tuple[Snapshot, ...], sight: Sight
) -> None:
    """I1: every server silent and called dead by the witnesses, and no leader here: all three, or nothing."""
    seen = site(leader, *nodes)
    assert sight is judge(seen, Policy()).sight
    assert seen == snapshot_from_json(json.loads(json.dumps(snapshot_to_json(seen))))


def test_a_site_without_evidence_of_a_leader_is_not_dead() -> None:
    """I1: nothing known of a leader is not the knowledge that there is none."""
    assert Sight.UNKNOWN is judge(replace(site(LEADERLESS, GONE), leader=()), Policy()).sight


def test_knowledge_from_before_we_reached_any_of_them_is_none() -> None:
    """I1: a witness's word from before we last reached one of the servers does not count for any."""
    old = replace(GONE, votes=(vote(Down("says that it is down"), age=30.0),))
    assert Sight.DOWN is judge(site(LEADERLESS, old), Policy()).sight
    assert Sight.UNKNOWN is judge(replace(site(LEADERLESS, old), reached_at=990.0), Policy()).sight


def test_what_would_keep_a_recovery_back_is_told_while_all_is_well() -> None:
    """I8: an unknown leader, and a quorum that could not be rebuilt, are blind spots."""
    fine = replace(LIVES, votes=(vote(Up("says that it is up")),))
    assert blind_spot(site(LEADER, fine), Policy()) is None
    assert "is unknown" in str(blind_spot(site(Unknown("is unknown"), fine), Policy()))
    unable = (Probe("quorum", "its quorum", Unknown("could not be rebuilt")),)
    assert "could not be rebuilt" in str(blind_spot(replace(site(LEADER, fine), rebuild=unable), Policy()))


# -- its configuration

CONFIG = """
local: {whoami: secondary, dc_check: primary, role: consulserver, provider: hetrix}
primary: {consul_ips: [10.0.1.1, 10.0.1.2], consul_vmnames: [svc1, svc3]}
secondary: {consul_ips: [10.0.2.1], consul_vmnames: [svc2]}
hetrix: {api_token: abcdef}
guard: {secret: 0123456789abcdef}
"""


def loaded(path: Path, text: str) -> str:
    """Return all that is wrong with a configuration."""
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    try:
        load(path)
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("hetrix}", "hetrix}", ""),
        ("provider: hetrix", "provider: consul", "Consul cannot witness the loss of its own servers"),
        (
            "provider: hetrix}",
            "provider: consul}\nwitnesses: {allow_self_witness: true}",
            "policy.gateways: needs addresses where Consul witnesses its own loss",
        ),
        (
            "provider: hetrix}",
            "provider: consul}\nwitnesses: {allow_self_witness: true}\npolicy: {gateways: [10.0.2.254]}",
            "",
        ),
        (
            "provider: hetrix}",
            "provider: hetrix}\nwitnesses: {providers: [hetrix, consul]}",
            "witnesses.providers: Consul cannot witness the loss of its own servers",
        ),
        (
            "[svc1, svc3]",
            "[svc1]",
            "primary.consul_vmnames: must name the same servers as consul_ips, in the same order",
        ),
        ("[10.0.2.1]", "[]", "secondary.consul_ips: needs the addresses of the Consul servers there"),
        ("[10.0.2.1]", "[10.0.1.1]", "names 10.0.1.1, which stands in the other site too"),
        ("[10.0.2.1]", "[svc2.example.com]", "expected IP addresses, by which the servers know each other"),
        ("0123456789abcdef", "short", "expected one word of at least 16"),
        ("guard: {secret: 0123456789abcdef}", "", "guard.secret: needs a value for the role consulserver"),
    ],
)
def test_its_configuration(tmp_path: Path, before: str, after: str, told: str) -> None:
    """What the role needs is told with its key, and Consul is refused as the witness of its own loss."""
    assert before in CONFIG
    said = loaded(tmp_path / "habeat.yml", CONFIG.replace(before, after))
    assert told in said if told else not said
