"""The state machine: every combination is decided, and decided safely."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from facts import circumstances, verdict
from habeat.machine import (
    RESULTS,
    TRANSITIONS,
    Circumstances,
    Command,
    Decision,
    Guard,
    Result,
    Row,
    State,
    decide,
    settle,
    span,
)
from habeat.model import Memory, Policy, Sight, Verdict
from habeat.report.states import page

GOLDEN = Path(__file__).parent / "golden" / "transitions.json"
FLAGS = ("acknowledged", "begun", "repeats", "automatic", "relapses")


SEEN: tuple[dict[str, bool], ...] = (
    {},
    {"lost": True},
    {"lost": True, "orphaned": True},
    {"veiled": True},
    {"contested": True, "back": True},
)


def everything() -> Iterator[tuple[Verdict, Circumstances]]:
    """Yield every state, sight and combination of what guards look at."""
    switches = itertools.product([False, True], repeat=len(FLAGS))
    for state, sight, flags in itertools.product(State, Sight, switches):
        named: dict[str, Any] = dict(zip(FLAGS, flags, strict=True))
        named["halfway"] = named["begun"]
        taken = state in (State.FAILING_OVER, State.ACTIVE, State.FAILING_BACK, State.AWAITING_FAILBACK)
        for downs, ups, paused, ended in itertools.product((0, 1, 5), (0, 5), (False, True), (None, 990.0, -90000.0)):
            memory = Memory(state.value, downs, ups, 995.0, 7, ended)
            facts = circumstances(memory, paused=paused, **named)
            for seen in SEEN if taken else SEEN[:1]:
                yield verdict(sight, **seen), facts


def rows() -> Iterator[tuple[State, Row]]:
    """Yield every row of both tables with its state."""
    for state, sights in TRANSITIONS.items():
        for row in itertools.chain(*sights.values(), RESULTS.get(state, {}).values()):
            yield state, row


def test_table_is_complete() -> None:
    """Every state and sight has rows whose last has no guard; every state that runs a plan knows every result."""
    for state, sight in itertools.product(State, Sight):
        assert TRANSITIONS[state][sight][-1].guard is Guard.ALWAYS
        assert all(row.guard is not Guard.ALWAYS for row in TRANSITIONS[state][sight][:-1])
    for state in (state for state, row in rows() if row.command is not Command.NONE and row.then is state):
        assert set(Result) == set(RESULTS[state])
    acting = {row.then for _, row in rows() if row.command is not Command.NONE}
    assert acting == set(RESULTS)


def test_ids_are_unique_and_sentences_end() -> None:
    """Each row has an id of its own and a sentence that names the target and ends with a full stop."""
    ids = [row.id for _, row in rows()]
    assert len(ids) == len(set(ids))
    assert all("{target}" in row.sentence and row.sentence.endswith(".") for _, row in rows())


def test_every_state_is_reached_and_left() -> None:
    """No state is an island, and none is a trap."""
    moves = {(state, row.then) for state, row in rows() if row.then is not state}
    assert set(State) == {then for _, then in moves} == {state for state, _ in moves}


def test_every_combination_is_decided_safely() -> None:
    """Over every combination each row is taken at least once, so no row is dead, and no decision is unsafe."""
    taken = set()
    for seen, facts in everything():
        decision = decide(seen, "mbox1", facts)
        taken.add(decision.row)
        begins_safely(seen, facts, decision)
        gives_back_safely(seen, facts, decision)
        is_whole(decision.sentence)
    assert {row.id for sights in TRANSITIONS.values() for rows_ in sights.values() for row in rows_} == taken


def begins_safely(seen: Verdict, facts: Circumstances, decision: Decision) -> None:
    """Check I1, I6, I7: what takes work from the target needs `down`, confirmations, no pause, and no cooldown."""
    sight, starts = seen.sight, decision.command is Command.ACTIVATE
    finishes = sight is Sight.QUORATE and decision.before is State.FAILING_OVER and facts.begun
    if starts:
        assert sight is Sight.DOWN or finishes
        assert facts.pause is None
    if starts and not finishes:
        assert decision.memory.downs >= facts.policy.confirmations
    if starts and decision.before not in (State.FAILING_OVER, State.ACTIVE, State.FAILING_BACK):
        ended = facts.memory.failover_at
        assert ended is None or facts.now - ended >= facts.policy.cooldown or facts.acknowledged
    if facts.pause is not None:
        assert decision.command is Command.NONE
    if sight in (Sight.UNKNOWN, Sight.UNREACHABLE):
        assert decision.command is not Command.ACTIVATE
    if sight is not Sight.DOWN:
        assert 0 == decision.memory.downs
    if decision.command is Command.NONE and sight in (Sight.UNKNOWN, Sight.UNREACHABLE):
        assert 3 == decision.exit


def gives_back_safely(seen: Verdict, facts: Circumstances, decision: Decision) -> None:
    """Check that it is given back only to a target that is back, and mended only where nobody else surely has it."""
    if decision.command is Command.DEACTIVATE:
        assert seen.sight is Sight.UP or (seen.sight is Sight.UNREACHABLE and seen.back)
        assert seen.sight is Sight.UP or decision.memory.ups >= facts.policy.confirmations
        assert facts.automatic or decision.before is State.FAILING_BACK
        assert not seen.orphaned
    if decision.command is Command.MEND:
        assert seen.lost
        assert decision.before is State.ACTIVE or seen.orphaned


def is_whole(sentence: str) -> None:
    """Check that no sentence is left with a hole, a doubled stop or a missing reason (I8)."""
    assert "mbox1" in sentence
    assert not set("{}") & set(sentence)
    assert ".." not in sentence


def test_failing_over_holds_a_result_for_everything() -> None:
    """A plan's result moves on only when it is done, and a step that failed is told with exit code 1 (I5)."""
    for state, result in itertools.product(RESULTS, Result):
        decision = settle(result, "why", "mbox1", circumstances(Memory(state.value)))
        ends = result in (Result.DONE, Result.PARTIAL) and state is not State.ACTIVE
        assert ends == (decision.after is not state)
        assert {Result.DONE: 0, Result.PARTIAL: 1, Result.WAITING: 3, Result.FAILED: 1}[result] == decision.exit
        assert (decision.after is not state) == (decision.memory.failover_at == 1000.0)


def cycles(*sights: Sight, step: float = 300.0, start: Memory | None = None, **facts: Any) -> list[Decision]:
    """Run cycles one after another, `step` seconds apart; plans are never run."""
    memory, decisions = start or Memory(), []
    for number, sight in enumerate(sights):
        decisions.append(decide(verdict(sight), "mbox1", circumstances(memory, now=1000.0 + number * step, **facts)))
        memory = decisions[-1].memory
    return decisions


def commands(decisions: list[Decision]) -> list[str]:
    """Return the rows taken."""
    return [decision.row for decision in decisions]


U, D, N, R = Sight.UP, Sight.DOWN, Sight.UNKNOWN, Sight.UNREACHABLE


@pytest.mark.parametrize(
    ("sights", "expected"),
    [
        ((U, D, U, D, U), "S1 S4 U1 S4 U1"),
        ((D, D), "S4 U7"),
        ((D, N, D), "S4 U3 S4"),
        ((D, R, D), "S4 U2 S4"),
        ((N, N, N), "S3 S3 S3"),
    ],
)
def test_confirmations_must_be_consecutive(sights: tuple[Sight, ...], expected: str) -> None:
    """I1, I6: only unbroken rows of `down` confirm; one blip, or one doubt, starts over."""
    assert expected.split() == commands(cycles(*sights))


def test_cycles_far_apart_do_not_confirm() -> None:
    """I1: two cycles with more than the window between them, or with a clock that jumped back, confirm nothing."""
    assert commands(cycles(D, D, D, step=3601)) == ["S4", "U4", "U4"]
    assert commands(cycles(D, D, D, step=-10)) == ["S4", "U4", "U4"]
    assert commands(cycles(D, D, step=3600)) == ["S4", "U7"]


def test_cycles_close_together_do_not_confirm() -> None:
    """I1, I6: cycles that agree must span the confirmation time, for a death and for a return; each row anew."""
    lasting = Policy(lasting=10.0)
    assert ["S4", "U4", "U4", "U7"] == commands(cycles(D, D, D, D, step=3.5, policy=lasting))
    assert ["S4", "U7"] == commands(cycles(D, D, step=10.0, policy=lasting))
    assert ["S4", "U4", "U3", "S4", "U4"] == commands(cycles(D, D, N, D, D, step=6.0, policy=lasting))[:5]
    assert ["S7"] == commands(cycles(D, policy=replace(lasting, confirmations=1)))
    active = Memory("active", failover=1, failover_at=999.0)
    assert ["A1", "A1", "A2"] == commands(cycles(U, U, U, step=6.0, start=active, policy=lasting))
    told = cycles(D, D, step=3.0, policy=lasting)[-1].sentence
    assert told.startswith("mbox1 looks dead (2 of 2 cycles, 3 s of at least 10 s): ")


def test_cooldown_until_acknowledged() -> None:
    """I6: within the cooldown a second failover waits for a person; a clock that jumped back does not shorten it."""
    ended = Memory("standby", failover_at=900.0)
    assert commands(cycles(D, D, start=ended)) == ["S4", "U6"]
    assert commands(cycles(D, D, start=ended, acknowledged=True)) == ["S4", "U7"]
    assert commands(cycles(D, D, start=replace(ended, failover_at=9e9))) == ["S4", "U6"]
    assert commands(cycles(D, D, start=replace(ended, failover_at=1000.0 - 8 * 3600))) == ["S4", "U7"]


def test_what_was_rebuilt_and_is_lost_again() -> None:
    """I6: a quorum that was rebuilt and is lost again waits for the cooldown or a person; other roles care on."""
    active = Memory("active", failover=1, failover_at=999.0)
    assert commands(cycles(D, D, start=active, relapses=True)) == ["A7", "A22"]
    assert commands(cycles(D, D, start=active, relapses=True, acknowledged=True)) == ["A7", "A23"]
    assert commands(cycles(D, D, start=replace(active, failover_at=-90000.0), relapses=True)) == ["A7", "A23"]
    assert commands(cycles(D, D, start=active)) == ["A7", "A9"]


def test_a_takeover_that_was_cut_short_goes_on() -> None:
    """I7: what is half taken over goes on when the target is surely dead again, never on doubt, never while paused."""
    active = Memory("active", failover=1, failover_at=999.0)
    assert commands(cycles(D, D, start=active, halfway=True)) == ["A7", "A24"]
    assert commands(cycles(N, N, start=active, halfway=True)) == ["A6", "A6"]
    assert commands(cycles(D, D, start=active, halfway=True, paused=True)) == ["A7", "A8"]
    awaiting = replace(active, state="awaiting_failback")
    assert commands(cycles(D, D, D, start=awaiting, halfway=True)) == ["W5", "W16", "A24"]
    assert commands(cycles(D, D, start=awaiting, halfway=True, paused=True)) == ["W5", "W6"]
    assert commands(cycles(D, D, start=awaiting)) == ["W5", "W7"]


def test_a_leader_without_the_dead() -> None:
    """I1: dead servers without which Consul has a leader are told, and end a confirmation; what was begun is finished."""
    quorate = Sight.QUORATE
    assert commands(cycles(D, quorate, D)) == ["S4", "U9", "S4"]
    under_way = Memory("failing_over", downs=2, seen_at=999.0, failover=1)
    assert _outcome(cycles(quorate, start=under_way, begun=True)) == (Command.ACTIVATE, State.FAILING_OVER)
    assert _outcome(cycles(quorate, start=under_way)) == (Command.NONE, State.STANDBY)
    assert commands(cycles(quorate, start=Memory("active", failover=1))) == ["A21"]


def test_pause_wins() -> None:
    """I7: a pause blocks the failover, and the first cycle after it acts."""
    assert commands(cycles(D, D, D, paused=True)) == ["S4", "U5", "U5"]


def test_return_in_mid_failover() -> None:
    """What was begun is finished without taking more; what was not is abandoned."""
    under_way = Memory("failing_over", downs=2, seen_at=999.0, failover=1)
    assert _outcome(cycles(U, start=under_way, begun=True)) == (Command.CLOSE, State.FAILING_OVER)
    assert _outcome(cycles(U, start=under_way)) == (Command.NONE, State.STANDBY)
    assert _outcome(cycles(N, start=under_way, begun=True)) == (Command.CARE, State.FAILING_OVER)
    assert _outcome(cycles(N, start=under_way)) == (Command.NONE, State.FAILING_OVER)


def test_doubt_starts_the_count_over() -> None:
    """I1: a failover that was held, or is finished, goes on only when enough cycles in a row agree again."""
    under_way = Memory("failing_over", downs=5, seen_at=999.0, failover=1)
    assert ["F9", "F11", "F12"] == commands(cycles(N, D, D, start=under_way))
    assert ["F12"] == commands(cycles(D, start=under_way))
    finished = Memory("active", downs=5, seen_at=999.0, failover=1, failover_at=1.0)
    assert ["A5", "A7", "A10"] == commands(cycles(R, D, D, start=finished, repeats=True))


def test_pause_does_not_hide_a_return() -> None:
    """I6: a peer that is back waits for a person even in a pause, so that its next death is a new failover."""
    finished = Memory("active", downs=5, seen_at=999.0, failover=1, failover_at=900.0)
    decisions = cycles(U, U, D, D, start=finished, paused=True, repeats=True)
    assert ["A1", "A2", "W5", "W6"] == commands(decisions)


def _outcome(decisions: list[Decision]) -> tuple[Command, State]:
    return decisions[-1].command, decisions[-1].after


def test_when_it_was_last_reached_is_remembered() -> None:
    """A cycle that reached it says when; others keep that, never later than now, should our clock have gone back (I1)."""
    reached = replace(verdict(Sight.UP), reached=True)
    memory = decide(reached, "mbox1", circumstances(now=1000.0)).memory
    assert 1000.0 == memory.reached_at
    for now, kept in ((1300.0, 1000.0), (900.0, 900.0)):
        assert kept == decide(verdict(Sight.DOWN), "mbox1", circumstances(memory, now=now)).memory.reached_at


ANNOUNCING = [sight for sight in Sight if sight is not Sight.QUORATE]  # that is of Consul's servers alone
ACTIVE = Memory("active", downs=5, seen_at=999.0, failover=1, failover_at=900.0)


@pytest.mark.parametrize("sight", ANNOUNCING)
def test_what_was_taken_over_is_kept(sight: Sight) -> None:
    """Whatever is seen of the target, what no longer stands here is mended; a pause stops that, and nothing hides it."""
    lost = verdict(sight, lost=True, back=False)
    assert (Command.MEND, State.ACTIVE) == _outcome([decide(lost, "mbox1", circumstances(ACTIVE, automatic=True))])
    paused = decide(lost, "mbox1", circumstances(ACTIVE, automatic=True, paused=True))
    assert Command.NONE is paused.command


@pytest.mark.parametrize("sight", ANNOUNCING)
def test_nobody_announces_during_a_failback(sight: Sight) -> None:
    """A failback after which neither site announces is taken back at once, and one that may be finished is not."""
    back = replace(ACTIVE, state="failing_back", ups=2)
    orphaned = verdict(sight, lost=True, orphaned=True)
    assert (Command.MEND, State.ACTIVE) == _outcome([decide(orphaned, "mbox1", circumstances(back, automatic=True))])
    lost = decide(verdict(sight, lost=True), "mbox1", circumstances(back, automatic=True))
    assert lost.command is not Command.MEND


def test_back_means_that_it_announces() -> None:
    """The failback waits for cycles in which the target is back; one that is up and announces nothing is not."""
    mute = verdict(Sight.UP, back=False)
    facts = circumstances(replace(ACTIVE, ups=1), automatic=True)
    assert ("A1", 0) == (decide(mute, "mbox1", facts).row, decide(mute, "mbox1", facts).memory.ups)
    assert "A4" == decide(verdict(Sight.UP), "mbox1", facts).row
    heard = verdict(Sight.UNREACHABLE, back=True, contested=True)
    assert ["A5", "A17"] == [decide(heard, "mbox1", replace(facts, memory=replace(ACTIVE, ups=n))).row for n in (0, 1)]
    assert "A15" == decide(heard, "mbox1", replace(facts, automatic=False)).row


def test_a_double_announcement_is_told() -> None:
    """While the target is dead and the other site announces all the same, every cycle says so with exit code 3."""
    contested = decide(verdict(Sight.DOWN, contested=True), "mbox1", circumstances(ACTIVE, automatic=True))
    assert ("A20", 3, Command.NONE) == (contested.row, contested.exit, contested.command)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.5, "0.5 s"), (90, "1.5 min"), (8 * 3600, "8 h"), (-3, "0 s"), (1234.5, "20.6 min")]
)
def test_span(seconds: float, words: str) -> None:
    """Durations are told in the unit that a person would use."""
    assert words == span(seconds)


def test_golden_table() -> None:
    """The table is what was reviewed: a change of it shows in tests/golden/transitions.json too."""
    table = [
        [
            state.value,
            row.id,
            row.guard.name,
            row.then.value,
            row.command.value,
            row.level.value,
            row.exit,
            row.sentence,
        ]
        for state, row in rows()
    ]
    assert json.loads(GOLDEN.read_text(encoding="utf-8")) == table


def test_page_is_generated() -> None:
    """docs/states.md is what `make docs` writes today."""
    assert (Path(__file__).parents[1] / "docs" / "states.md").read_text(encoding="utf-8") == page()
