"""The judge: no verdict of death on ignorance (I1)."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facts import ANSWERS, CANNOT_SAY, SAYS_DOWN, SAYS_UP, SILENT, UNSENT, snapshot, vote
from habeat.judge import blind_spot, judge
from habeat.model import (
    Down,
    Evidence,
    Policy,
    Probe,
    Sight,
    Snapshot,
    Unknown,
    Up,
    Vote,
    snapshot_from_json,
    snapshot_to_json,
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
    for evidence, age, site, networked in itertools.product(EVIDENCE, (0.0, 500.0), (None, "primary"), (True, False))
]


def deadly(one: Vote) -> bool:
    """Say, apart from the judge, whether a vote may count for a death."""
    return isinstance(one.evidence, Down) and one.age <= 120 and one.site != "primary"


@pytest.mark.parametrize("required", [1, 2])
@pytest.mark.parametrize("gateways", [(), (GATEWAY_UP,), (GATEWAY_DOWN,)])
def test_death_needs_every_condition(required: int, gateways: tuple[Probe, ...]) -> None:
    """Over every pair of votes: down exactly when silent, enough fresh deaths, no fresh life, and not cut off (I1)."""
    policy = Policy(required=required)
    for votes in itertools.product(VOTES, repeat=2):
        for probe in (SILENT, ANSWERS, UNSENT):
            alive = any(isinstance(v.evidence, Up) and v.age <= 120 for v in votes)
            deaths = [v for v in votes if deadly(v)]
            connected = GATEWAY_UP in gateways if gateways else any(v.networked for v in deaths)
            expected = probe is SILENT and not alive and len(deaths) >= required and connected
            actual = judge(snapshot(*votes, probe=probe, gateways=gateways), policy).sight is Sight.DOWN
            assert expected == actual, (votes, probe)


evidences: st.SearchStrategy[Evidence] = st.one_of(
    st.builds(Up, st.text()), st.builds(Down, st.text()), st.builds(Unknown, st.text())
)
votes_ = st.builds(
    Vote, st.text(), evidences, st.floats(-1e6, 1e6), st.sampled_from([None, "primary", "secondary"]), st.booleans()
)


@given(st.lists(votes_, max_size=5), st.integers(1, 3))
def test_never_down_against_a_fresh_life_or_without_fresh_deaths(votes: list[Vote], required: int) -> None:
    """Whatever witnesses say, too few fresh deaths or any fresh life never end in `down` (I1)."""
    verdict = judge(snapshot(*votes), Policy(required=required))
    fresh = [v for v in votes if 0 <= v.age <= 120]
    if any(isinstance(v.evidence, Up) for v in fresh) or sum(deadly(v) for v in fresh) < required:
        assert verdict.sight is not Sight.DOWN


@given(st.lists(votes_, max_size=4))
def test_snapshot_survives_the_journal(votes: list[Vote]) -> None:
    """A snapshot written as JSON and read back is the same, so it can be judged again (I8)."""
    original = snapshot(*votes, gateways=(GATEWAY_UP,))
    assert original == snapshot_from_json(snapshot_to_json(original))


def test_blind_spot() -> None:
    """While all is well, a witness that could not testify is told; one that could is not."""
    assert blind_spot(snapshot(vote(SAYS_UP), probe=ANSWERS), Policy()) is None
    assert blind_spot(snapshot(vote(CANNOT_SAY), probe=ANSWERS), Policy()) == "Consul has no leader"
