"""The judge: no verdict of death on ignorance (I1)."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facts import ANSWERS, CANNOT_SAY, SAYS_DOWN, SAYS_UP, SILENT, UNSENT, circumstances, snapshot, vote
from habeat.grounds import Grounds, conclude, grounds_from_json, grounds_to_json
from habeat.judge import blind_spot, judge
from habeat.machine import Command, State
from habeat.model import (
    Down,
    Evidence,
    Memory,
    Policy,
    Probe,
    Sight,
    Snapshot,
    Unknown,
    Up,
    Vote,
)

GATEWAY_UP = Probe("icmp", "10.0.0.254", Up("answers ping in 0.1 ms"))
GATEWAY_DOWN = Probe("icmp", "10.0.0.254", Down("does not answer ping (3 sent)"))

CASES: dict[str, tuple[Snapshot, Sight, str, str]] = {
    "a reply beats every witness": (snapshot(vote(SAYS_DOWN), probe=ANSWERS), Sight.UP, "J1", "answers ping"),
    "silent, but a witness sees it": (snapshot(vote(SAYS_UP)), Sight.UNREACHABLE, "J2", "Consul says that it is up"),
    "one up vetoes one down": (
        snapshot(vote(SAYS_DOWN), vote(SAYS_UP, "B")),
        Sight.UNREACHABLE,
        "J2",
        "B says that it is up",
    ),
    "could not ask": (snapshot(vote(SAYS_DOWN), probe=UNSENT), Sight.UNKNOWN, "J3", "no packet could be sent"),
    "cut off by gateways": (
        snapshot(vote(SAYS_DOWN), gateways=(GATEWAY_DOWN,)),
        Sight.UNKNOWN,
        "J4",
        "this host is cut off",
    ),
    "no witness answers": (snapshot(vote(CANNOT_SAY)), Sight.UNKNOWN, "J5", "has no leader"),
    "no witness at all": (snapshot(), Sight.UNKNOWN, "J5", "no witness is configured"),
    "gateway answers, witness does not": (
        snapshot(vote(CANNOT_SAY), gateways=(GATEWAY_UP,)),
        Sight.UNKNOWN,
        "J6",
        "only 0 of 1",
    ),
    "stale death": (snapshot(vote(SAYS_DOWN, age=121)), Sight.UNKNOWN, "J5", "nothing newer than 121 s"),
    "death from the future": (snapshot(vote(SAYS_DOWN, age=-1)), Sight.UNKNOWN, "J5", "nothing newer than -1 s"),
    "stale life is no veto": (
        snapshot(vote(SAYS_DOWN), vote(SAYS_UP, "B", age=999)),
        Sight.DOWN,
        "J7",
        "says that it is down",
    ),
    "witness in the suspect site": (snapshot(vote(SAYS_DOWN, site="primary")), Sight.UNKNOWN, "J5", "suspect site"),
    "witness elsewhere": (snapshot(vote(SAYS_DOWN, site="secondary")), Sight.DOWN, "J7", "says that it is down"),
    "silence and a fresh death": (snapshot(vote(SAYS_DOWN)), Sight.DOWN, "J7", "does not answer ping"),
    "the same with a gateway": (
        snapshot(vote(SAYS_DOWN), gateways=(GATEWAY_DOWN, GATEWAY_UP)),
        Sight.DOWN,
        "J7",
        "down",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_rules(case: str) -> None:
    """Each rule gives its verdict, its id and a sentence that names the reason."""
    evidence, sight, rule, words = CASES[case]
    verdict = judge(evidence, Policy())
    assert (sight, rule) == (verdict.sight, verdict.rule)
    assert words in verdict.why


EVIDENCE = (SAYS_UP, SAYS_DOWN, CANNOT_SAY)
VOTES = [
    Vote("w", evidence, age, site, networked)
    for evidence, age, site, networked in itertools.product(
        EVIDENCE, (0.0, 500.0), (None, "primary", "secondary"), (True, False)
    )
]


def fresh(one: Vote) -> bool:
    """Say, apart from the judge, whether a vote is fresh."""
    return 0 <= one.age <= (120 if one.holds is None else one.holds)


def deadly(one: Vote) -> bool:
    """Say, apart from the judge, whether a vote may count for a death."""
    return isinstance(one.evidence, Down) and fresh(one) and one.site != "primary"


def dies(votes: Sequence[Vote], required: int, gateways: Sequence[Probe] = ()) -> bool:
    """Say, apart from the judge, whether a silent target with these votes is dead."""
    deaths = [one for one in votes if deadly(one)]
    alive = any(isinstance(one.evidence, Up) and fresh(one) for one in votes)
    connected = GATEWAY_UP in gateways if gateways else any(one.networked for one in deaths)
    return not alive and len(deaths) >= required and connected


@pytest.mark.parametrize("required", [1, 2])
@pytest.mark.parametrize("gateways", [(), (GATEWAY_UP,), (GATEWAY_DOWN,)])
def test_death_needs_every_condition(required: int, gateways: tuple[Probe, ...]) -> None:
    """Over every pair of votes: down exactly when silent, enough fresh deaths, no fresh life, and not cut off (I1)."""
    policy = Policy(required=required)
    for votes in itertools.product(VOTES, repeat=2):
        for probe in (SILENT, ANSWERS, UNSENT):
            expected = probe is SILENT and dies(votes, required, gateways)
            actual = judge(snapshot(*votes, probe=probe, gateways=gateways), policy).sight is Sight.DOWN
            assert expected == actual, (votes, probe)


@pytest.mark.parametrize("required", [1, 2, 3])
@pytest.mark.parametrize("witnesses", [0, 1, 2, 3])
def test_quorum_of_witnesses(witnesses: int, required: int) -> None:
    """Every combination of up to three witnesses' votes and sites: each row has the verdict that an oracle gives (I1)."""
    choices = [vote for vote in VOTES if vote.networked]
    policy = Policy(required=required)
    for votes in itertools.product(choices, repeat=witnesses):
        verdict = judge(snapshot(*votes), policy)
        assert dies(votes, required) == (verdict.sight is Sight.DOWN), votes
        alive = any(isinstance(one.evidence, Up) and fresh(one) for one in votes)
        assert alive == (verdict.sight is Sight.UNREACHABLE), votes


def test_every_vote_is_told_with_its_age() -> None:
    """The sentence of a death names each witness, what it says, and how old that is (I8)."""
    votes = (vote(SAYS_DOWN), vote(SAYS_DOWN, "HetrixTools", age=34), vote(CANNOT_SAY, "vCenter"))
    assert (
        "10.0.0.1 does not answer ping (3 sent), and Consul says that it is down (just now); "
        "HetrixTools says that it is down (34 s ago); vCenter has no leader"
    ) == judge(snapshot(*votes), Policy(required=2)).why


def test_knowledge_may_hold_longer_where_the_witness_says_so() -> None:
    """A monitor that checks every five minutes is not stale after two, and is after its own time (I1)."""
    slow = Vote("HetrixTools", SAYS_DOWN, 300, holds=900)
    assert Sight.DOWN is judge(snapshot(slow), Policy()).sight
    assert Sight.UNKNOWN is judge(snapshot(replace(slow, age=901)), Policy()).sight
    assert Sight.UNREACHABLE is judge(snapshot(replace(slow, evidence=SAYS_UP)), Policy()).sight


def test_a_death_from_before_we_reached_it_is_none() -> None:
    """A witness that saw it dead before our own probe last reached it knows of an earlier death, not of this one (I1)."""
    old = Vote("HetrixTools", SAYS_DOWN, 60, holds=900)
    verdict = judge(replace(snapshot(old), reached_at=950.0), Policy())
    assert Sight.UNKNOWN is verdict.sight
    assert "knows of a death 60 s ago, but we reached it 50 s ago" in verdict.why
    assert Sight.DOWN is judge(replace(snapshot(old), reached_at=930.0), Policy()).sight
    back = replace(snapshot(old), reached_at=5000.0)
    assert Sight.UNKNOWN is judge(back, Policy()).sight, "our clock went back: it was reached at some time until now"
    assert Sight.DOWN is judge(replace(back, votes=(vote(SAYS_DOWN),)), Policy()).sight


TCP, WEB = "tcp://10.0.0.1:7025", "https://10.0.0.1:7071/"
SERVES = Probe("service", TCP, Up("answers"), lives=True, answered=True, port=7025)
REFUSES = replace(SERVES, evidence=Down("refuses connections"))
MUTE = replace(SERVES, evidence=Down("does not answer (3 tries)"), lives=False, answered=False)
UNASKED = replace(MUTE, evidence=Unknown("cannot be asked from here"))
BROKEN = replace(SERVES, address=WEB, evidence=Down("answers 503, and one below 400 was expected"), port=7071)
HANGS = replace(BROKEN, evidence=Down("did not answer within 1 s"), answered=False)
UNTRUSTED = replace(BROKEN, evidence=Unknown("answers, but is not trusted"), answered=False)
ALERT, ACT = Policy(), Policy(service_down=True)

SERVICES: dict[str, tuple[tuple[Probe, ...], tuple[Vote, ...], Policy, Sight, str, str]] = {
    "all work": ((SERVES,), (), ACT, Sight.UP, "J1", "answers ping"),
    "dead, and the policy only alerts": (
        (REFUSES, BROKEN),
        (vote(SAYS_DOWN),),
        ALERT,
        Sight.SERVICE_DOWN,
        "J8",
        "tcp://10.0.0.1:7025 refuses connections; https://10.0.0.1:7071/ answers 503",
    ),
    "dead, and nobody else agrees": ((REFUSES,), (), ACT, Sight.SERVICE_DOWN, "J8", "neither enough witnesses"),
    "dead, and a witness agrees": (
        (REFUSES,),
        (vote(SAYS_DOWN),),
        ACT,
        Sight.DOWN,
        "J9",
        "Consul says that it is down",
    ),
    "dead, and a second probe agrees": (
        (REFUSES, BROKEN),
        (),
        ACT,
        Sight.DOWN,
        "J9",
        "the host lives, but its service",
    ),
    "the same port twice is one": (
        (REFUSES, replace(BROKEN, port=7025)),
        (),
        ACT,
        Sight.SERVICE_DOWN,
        "J8",
        "nor a second port that says so itself",
    ),
    "silence is not enough": ((MUTE, BROKEN), (), ACT, Sight.SERVICE_DOWN, "J8", "nor a second port"),
    "neither is a connection that hangs": ((REFUSES, HANGS), (), ACT, Sight.SERVICE_DOWN, "J8", "nor a second port"),
    "one could not be told": (
        (REFUSES, UNTRUSTED),
        (vote(SAYS_DOWN),),
        ACT,
        Sight.SERVICE_DOWN,
        "J8",
        "but https://10.0.0.1:7071/ answers, but is not trusted",
    ),
    "fewer witnesses than are required": (
        (REFUSES,),
        (vote(SAYS_DOWN),),
        replace(ACT, required=2),
        Sight.SERVICE_DOWN,
        "J8",
        "neither enough witnesses",
    ),
    "silence, and a witness": ((MUTE,), (vote(SAYS_DOWN),), ACT, Sight.DOWN, "J9", "does not answer (3 tries)"),
    "a witness sees it at work": (
        (REFUSES, BROKEN),
        (vote(SAYS_DOWN), vote(SAYS_UP, "B")),
        ACT,
        Sight.SERVICE_DOWN,
        "J8",
        "but B sees it at work",
    ),
    "one of them works": (
        (SERVES, BROKEN),
        (vote(SAYS_DOWN),),
        ACT,
        Sight.SERVICE_DOWN,
        "J8",
        "but tcp://10.0.0.1:7025 answers",
    ),
    "a stale witness": ((REFUSES,), (vote(SAYS_DOWN, age=121),), ACT, Sight.SERVICE_DOWN, "J8", "nothing newer"),
    "a witness in the suspect site": (
        (REFUSES,),
        (vote(SAYS_DOWN, site="primary"),),
        ACT,
        Sight.SERVICE_DOWN,
        "J8",
        "stands in the suspect site",
    ),
    "could not be asked any more": ((UNASKED,), (), ACT, Sight.SERVICE_DOWN, "J8", "cannot be asked from here"),
}


def serving(seen: Snapshot, services: Sequence[Probe], votes: Sequence[Vote] = ()) -> Snapshot:
    """Return the evidence with services that an earlier cycle found at work."""
    seen = replace(seen, services=tuple(services), service_votes=tuple(votes))
    return replace(seen, served=seen.asked_services)


@pytest.mark.parametrize("case", SERVICES)
def test_services(case: str) -> None:
    """A host that lives with a dead service is told; it is acted upon only if wanted and somebody else agrees."""
    services, votes, policy, sight, rule, words = SERVICES[case]
    verdict = judge(serving(snapshot(probe=ANSWERS), services, votes), policy)
    assert (sight, rule, True) == (verdict.sight, verdict.rule, verdict.reached)
    assert words in verdict.why


def test_services_that_never_worked_are_not_dead() -> None:
    """A wrong port or path in the configuration is no death: only what was seen at work can die (I1)."""
    agreed = replace(snapshot(probe=ANSWERS), services=(REFUSES, BROKEN), service_votes=(vote(SAYS_DOWN),))
    for before in ("", "tcp://10.0.0.1:7025", "https://10.0.0.1:7071/ tcp://10.0.0.1:7026"):
        verdict = judge(replace(agreed, served=before), ACT)
        assert (Sight.SERVICE_DOWN, "J8") == (verdict.sight, verdict.rule)
        assert "never seen at work" in verdict.why
    unasked = judge(replace(agreed, services=(UNASKED, UNTRUSTED)), ACT)
    assert (Sight.UP, "") == (unasked.sight, unasked.served)
    works = judge(replace(agreed, services=(SERVES, replace(BROKEN, evidence=Up("answers 200")))), ACT)
    assert agreed.asked_services == works.served
    assert Sight.DOWN is judge(replace(agreed, served=works.served), ACT).sight


@pytest.mark.parametrize("service", [SERVES, REFUSES, UNTRUSTED])
def test_a_service_that_speaks_proves_that_the_host_lives(service: Probe) -> None:
    """Ping is filtered and witnesses call it dead, but something there answers: it is not down (I1)."""
    verdict = judge(replace(snapshot(vote(SAYS_DOWN)), services=(service,)), Policy(service_down=True))
    assert verdict.reached
    assert Sight.DOWN is not verdict.sight


def test_a_silent_service_says_nothing_of_a_silent_host() -> None:
    """With the host silent too, its death is the witnesses' matter, whatever a probe of a service says."""
    votes = (vote(SAYS_DOWN),)
    for service in (MUTE, UNASKED):
        assert "J7" == judge(replace(snapshot(*votes), services=(service,)), ALERT).rule


evidences: st.SearchStrategy[Evidence] = st.one_of(
    st.builds(Up, st.text()), st.builds(Down, st.text()), st.builds(Unknown, st.text())
)
votes_ = st.builds(
    Vote,
    st.text(),
    evidences,
    st.floats(-1e6, 1e6),
    st.sampled_from([None, "primary", "secondary"]),
    st.booleans(),
    st.none() | st.floats(0, 1e4),
)
probes_ = st.builds(
    Probe,
    st.just("service"),
    st.sampled_from("abc"),
    evidences,
    lives=st.booleans(),
    answered=st.booleans(),
    port=st.integers(1, 3),
)


@given(st.lists(votes_, max_size=5), st.integers(1, 3), st.none() | st.floats(-1e4, 1e4))
def test_never_down_against_a_fresh_life_or_without_fresh_deaths(
    votes: list[Vote], required: int, reached_at: float | None
) -> None:
    """Whatever witnesses say, too few fresh deaths or any fresh life never end in action (I1)."""
    facts = circumstances(Memory("suspect", downs=5, seen_at=999.0))
    grounds = Grounds(
        replace(snapshot(*votes), reached_at=reached_at), replace(facts, policy=Policy(required=required))
    )
    verdict, decision = conclude(grounds)
    known = [v for v in votes if fresh(v)]
    if any(isinstance(v.evidence, Up) for v in known) or sum(deadly(v) for v in known) < required:
        assert verdict.sight is not Sight.DOWN
        assert (Command.NONE, State.STANDBY) == (decision.command, decision.after)


@given(st.lists(votes_, max_size=4), st.lists(probes_, max_size=4))
def test_a_dead_service_is_never_acted_upon_alone(votes: list[Vote], services: list[Probe]) -> None:
    """Whatever services and witnesses say of a host that lives: no action if one is alive, or none but one is dead (I1)."""
    seen = serving(snapshot(probe=ANSWERS), services, votes)
    says = [v for v in votes if fresh(v)]
    dead = bool(services) and all(isinstance(probe.evidence, Down) for probe in services)
    witnessed = any(deadly(v) for v in says)
    vetoed = any(isinstance(v.evidence, Up) for v in says)
    told = len({probe.port for probe in services if probe.answered}) > 1
    assert (dead and not vetoed and (witnessed or told)) == (judge(seen, ACT).sight is Sight.DOWN)
    works = all(isinstance(probe.evidence, Up) for probe in services)
    assert judge(seen, ALERT).sight is (Sight.UP if works else Sight.SERVICE_DOWN)


@given(st.lists(votes_, max_size=4), st.lists(probes_, max_size=2), st.booleans())
def test_grounds_survive_the_journal(votes: list[Vote], services: list[Probe], paused: bool) -> None:
    """What a decision was made on, written as JSON and read back, is the same, and so is the decision (I8)."""
    seen = snapshot(*votes, gateways=(GATEWAY_UP,))
    seen = replace(
        seen, services=tuple(services), service_votes=tuple(votes), unasked=("vCenter",), reached_at=1.5, served="x"
    )
    original = Grounds(seen, circumstances(Memory("active", 1, 2, 3.0, 4, 5.0, 6.0, "x"), paused=paused))
    again = grounds_from_json(json.loads(json.dumps(grounds_to_json(original))))
    assert original == again
    assert conclude(original) == conclude(again)


def test_blind_spot() -> None:
    """While all is well, a witness that could not testify is told; one that could, or is not to be asked, is not."""
    assert blind_spot(snapshot(vote(SAYS_UP), probe=ANSWERS), Policy()) is None
    assert blind_spot(snapshot(vote(CANNOT_SAY), probe=ANSWERS), Policy()) == "Consul has no leader"
    spared = replace(snapshot(vote(CANNOT_SAY), probe=ANSWERS), unasked=("vCenter",))
    assert blind_spot(spared, Policy()) is None
    assert blind_spot(spared, Policy(required=2)) == "Consul has no leader"


def test_blind_spot_of_a_witness_that_looks_at_another() -> None:
    """One that calls it dead while it answers is told today: the next broken path would be its death (I1)."""
    mistaken = snapshot(vote(SAYS_DOWN), probe=ANSWERS)
    assert "Consul says that it is down (just now), although it answers" == blind_spot(mistaken, Policy())


def test_blind_spot_of_a_witness_in_the_suspect_site() -> None:
    """What says `up` today from inside the suspect site could not call it dead, and that is told."""
    misplaced = snapshot(vote(SAYS_UP, site="primary"), probe=ANSWERS)
    assert "Consul stands in the suspect site primary itself" == blind_spot(misplaced, Policy())


def test_blind_spot_of_a_service() -> None:
    """A service that cannot be asked would keep us from telling a death, and is told while all is well."""
    seen = replace(snapshot(vote(SAYS_UP), probe=ANSWERS), services=(UNASKED,))
    assert "tcp://10.0.0.1:7025 cannot be asked from here" == blind_spot(seen, Policy())


ANNOUNCED: tuple[Evidence, ...] = (Up("says yes"), Down("says no"), Unknown("cannot be asked"))


def announcing(ours: Sequence[Evidence], theirs: Sequence[Evidence], base: Snapshot) -> Snapshot:
    """Return the evidence with looks at the announcement here and in the other site."""
    return replace(
        base,
        ours=tuple(Probe("announcement", "here", evidence) for evidence in ours),
        theirs=tuple(Probe("other site", "there", evidence) for evidence in theirs),
    )


@pytest.mark.parametrize("sight", [Sight.UP, Sight.UNREACHABLE, Sight.UNKNOWN, Sight.DOWN])
def test_announcements(sight: Sight) -> None:
    """Over every combination of two checks here and two there: only a sure no is a loss, and only sure noes a silence."""
    base = {
        Sight.UP: snapshot(probe=ANSWERS),
        Sight.UNREACHABLE: snapshot(vote(SAYS_UP)),
        Sight.UNKNOWN: snapshot(vote(CANNOT_SAY)),
        Sight.DOWN: snapshot(vote(SAYS_DOWN)),
    }[sight]
    for count in (0, 1, 2):
        for ours, theirs in itertools.product(itertools.product(ANNOUNCED, repeat=count), repeat=2):
            here, there = {type(one) for one in ours}, {type(one) for one in theirs}
            seen = judge(announcing(ours, theirs, base), Policy())
            assert sight is seen.sight
            assert (Down in here and Up not in there and not seen.back) == seen.lost
            assert (Up in there) == seen.contested
            assert (Down in here and there == {Down}) == seen.orphaned
            assert (Unknown in here) == seen.veiled
            announces = there == {Up}
            assert {Sight.UP: announces or not there, Sight.UNREACHABLE: announces}.get(sight, False) == seen.back


def test_announcements_are_told() -> None:
    """What is amiss here, and what is heard of the other site, is part of the reason; what is as it should be is not."""
    told = judge(announcing([Up("says yes")], [Down("says no")], snapshot(vote(SAYS_DOWN))), Policy()).why
    assert "says yes" not in told
    assert "says no" not in told
    told = judge(announcing([Down("says no")], [Up("says yes")], snapshot(vote(SAYS_DOWN))), Policy()).why
    assert told.endswith("; here here says no; the other site: there says yes")
