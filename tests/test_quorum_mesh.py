"""Consul's quorum lost and rebuilt, on real Consul servers in network namespaces (role consulserver).

The invariants are those of the design: I1 no failover on ignorance, I3 nothing is lost or done twice, I5 a failure is
never reported as success, I8 every decision explains itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mesh import STANDBY, Standby, eventually
from quorum_lab import (
    FIVE,
    THREE,
    UNIT,
    MakeQuorum,
    QuorumLab,
    confirmed,
    lost_and_rebuilt,
    untouched,
    watched,
    writing,
)

pytestmark = [pytest.mark.consul, pytest.mark.netns, pytest.mark.xdist_group("quorum")]


def test_two_of_three_die_and_the_third_goes_on(
    make_quorum: MakeQuorum, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """I3, I5: quorum is back within 30 s, nothing written before is lost, locks work, and mbox2 promotes by itself."""
    lab = make_quorum(THREE, {"mbox1": "10.77.1.20", "mbox2": "10.77.2.20"}, local={"provider": "hetrix"})
    watched(lab)
    lab.testify(mbox1="up")
    hetrix = {"hostname": "10.77.3.10", "api_token": "hunter2", "ca_file": str(tmp_path / "ca.pem")}
    standby = Standby(
        lab, tmp_path / "standby", local={"provider": "hetrix"}, witnesses={"timeout": "8s"}, hetrix=hetrix
    )
    assert "up" == standby.check().sight
    assert lab.api("svc2", "PUT", "/v1/kv/before", 7) == (200, True)
    lab.lose("svc1", "svc3")
    lab.crash("mbox1")
    lab.testify(mbox1="down")
    assert "suspect" == standby.check().states[-1]
    waiting = standby.check()
    assert "waits: preflight: Consul" in waiting.sentence
    begun = time.monotonic()
    cycle = confirmed(lab)
    took = time.monotonic() - begun
    record_property("measured", f"quorum rebuilt {took:.1f} s after the last cycle of confirmation began")
    assert (0, ("failing_over", "active")) == (cycle.code, cycle.states), cycle
    assert took < 30
    assert "rebuilt in epoch 1 (led by svc2) with svc2 (10.77.2.10)" in cycle.sentence
    assert lab.leads("svc2")
    assert ["svc2"] == lab.voters("svc2")
    assert {"before"} == {key for key in lab.keys("svc2", "") or {"before"} if key == "before"}
    assert 200 == lab.api("svc2", "GET", "/v1/kv/before?consistent")[0]
    status, session = lab.api("svc2", "PUT", "/v1/session/create", {"TTL": "10s"})
    assert 200 == status
    assert (200, True) == lab.api("svc2", "PUT", f"/v1/kv/lock?acquire={session['ID']}", "x")
    peers = lab.data("svc2") / "raft" / "peers.json"
    assert not peers.exists()
    eventually(lambda: standby.check().code == 0, "the mailstore's failover goes on by itself")
    assert {STANDBY} == {item["accountMailHost"] for item in standby.accounts()}
    again = lab.check("svc2")
    assert (0, "quorate", ("active",)) == (again.code, again.sight, again.states), again


def test_one_of_three_dies_and_nothing_is_done(make_quorum: MakeQuorum) -> None:
    """I1: as long as one server of the other site answers, nothing is done, whatever the witness says."""
    lab = make_quorum()
    watched(lab)
    lab.lose("svc3", cut=False)
    eventually(lambda: lab.leads("svc1") or lab.leads("svc2"), "one of the two that are left leads")
    for _ in range(3):
        cycle = lab.check("svc2")
        assert (0, "up", ("standby",)) == (cycle.code, cycle.sight, cycle.states), cycle
    assert untouched(lab)
    lab.crash("svc1")  # the hosts answer, and Consul has no leader: told, and left to a person
    lab.testify(svc1="down")
    eventually(lambda: lab.check("svc2").sight == "service_down", "the lost leader is seen")
    told = lab.check("svc2")
    assert (3, ("standby",)) == (told.code, told.states)
    assert "Consul here has no leader" in told.sentence
    assert untouched(lab)


def test_two_die_and_return_within_the_confirmation_time(make_quorum: MakeQuorum) -> None:
    """I6: a blip is followed by nothing."""
    lab = make_quorum(policy={"confirmations": 3})
    watched(lab)
    lab.lose("svc1", "svc3")
    for _ in range(6):
        cycle = lab.check("svc2")
        if cycle.states == ("suspect",):
            break
    assert "looks dead (1 of 3 cycles)" in cycle.sentence
    lab.net.mend_paths()
    lab.testify(svc1="up", svc3="up")
    assert [0, 0] == [start.wait(60) for start in lab.boot("svc1", "svc3")]
    eventually(lambda: lab.leader("svc2") != "", "the old quorum is back")
    eventually(lambda: lab.check("svc2").states == ("standby",), "it is over")
    assert untouched(lab)


def test_sites_that_are_only_cut_are_left_alone(make_quorum: MakeQuorum) -> None:
    """I1: the witness says that the other site lives; a leader is missing here, and nothing is done."""
    lab = make_quorum()
    watched(lab)
    lab.net.isolate("1")
    eventually(lambda: lab.leader("svc2") == "", "svc2 has no leader")
    for _ in range(3):
        cycle = lab.check("svc2")
        assert (3, "unreachable", ("standby",)) == (cycle.code, cycle.sight, cycle.states), cycle
    assert untouched(lab)


def joined(lab: QuorumLab, acknowledged: list[str], prefix: str) -> set[str]:
    """Wait until all three agree, and return the acknowledged writes that are lost."""
    for host in lab.servers:
        eventually(lambda host=host: lab.voters(host) == sorted(lab.servers), f"{host} sees all vote", 90)  # type: ignore[misc]
    written = set(acknowledged)
    eventually(
        lambda: len({frozenset(lab.keys(host, prefix)) for host in lab.servers}) == 1, "all have the same keys", 30
    )
    return written - lab.keys("svc1", prefix)


def test_the_dead_return_connected(make_quorum: MakeQuorum) -> None:
    """Servers that return connected rejoin clean; no write acknowledged since the recovery is lost, and habeat ends."""
    lab = make_quorum()
    lost_and_rebuilt(lab)
    with writing(lab, "svc2", "since") as acknowledged:
        lab.net.mend_paths()
        lab.testify(svc1="up", svc3="up")
        assert [0, 0] == [start.wait(60) for start in lab.boot("svc1", "svc3")]
        eventually(lambda: lab.voters("svc2") == sorted(THREE), "all three vote", 60)
    assert set() == joined(lab, acknowledged, "since")
    assert len(acknowledged) > 20
    for host in ("svc1", "svc3"):
        assert "rejoins Consul clean, in epoch 1 (led by svc2)" in lab.guarded(host)
        (old,) = lab.data(host).glob("raft.habeat-*-before-epoch-1")
        assert (old / "raft.db").exists()
    assert "answers again (1 of 2 cycles)" in lab.check("svc2").sentence
    back = lab.check("svc2")
    assert (0, ("failing_back", "standby")) == (back.code, back.states)
    assert "the other site's servers vote again" in back.sentence


def test_the_dead_return_alone_and_are_held(make_quorum: MakeQuorum) -> None:
    """With the guard no second leader ever serves; once connected they rejoin, and nothing acknowledged is lost."""
    lab = make_quorum()
    lost_and_rebuilt(lab)
    with writing(lab, "svc2", "since") as acknowledged:
        assert [1, 1] == [start.wait(60) for start in lab.boot("svc1", "svc3")]
        for host in ("svc1", "svc3"):
            assert "Consul must not start" in lab.guarded(host)
            assert (0, None) == lab.api(host, "GET", "/v1/status/leader")
        lab.net.mend_paths()
        lab.testify(svc1="up", svc3="up")
        assert [0, 0] == [start.wait(60) for start in lab.boot("svc1", "svc3")]
        eventually(lambda: lab.voters("svc2") == sorted(THREE), "all three vote", 60)
    assert set() == joined(lab, acknowledged, "since")


@pytest.mark.slow
def test_without_the_guard_a_lonely_return_loses_writes(make_quorum: MakeQuorum) -> None:
    """This is why there is a guard: two leaders serve, and what one of them acknowledged is gone when they meet."""
    lab = make_quorum(guard=False)
    lost_and_rebuilt(lab)
    with writing(lab, "svc2", "ours") as ours:
        lab.boot("svc1", "svc3")
        eventually(lambda: lab.leads("svc1") or lab.leads("svc3"), "the returned pair has a leader of its own", 60)
        assert lab.leads("svc2")
        with writing(lab, "svc1", "theirs") as theirs:
            time.sleep(3)
    lab.net.mend_paths()
    lab.testify(svc1="up", svc3="up")
    eventually(lambda: len({lab.leader(host) for host in THREE}) == 1 and lab.leader("svc1"), "one leader is left", 90)
    time.sleep(3)
    for host in THREE:
        assert (set(ours) - lab.keys(host, "ours")) | (set(theirs) - lab.keys(host, "theirs"))


def test_two_survivors_of_five(make_quorum: MakeQuorum) -> None:
    """One leads, the other follows with the same file; both vote, and nothing that either had is lost."""
    lab = make_quorum(FIVE)
    watched(lab)
    assert lab.api("svc4", "PUT", "/v1/kv/before", 7) == (200, True)
    lab.lose("svc1", "svc3", "svc5")
    first = confirmed(lab, "svc2")
    assert (3, "failing_over") == (first.code, first.states[-1]), first
    assert "svc4 (10.77.2.11) does not call the other site dead yet" in first.sentence
    cycle = confirmed(lab, "svc4")
    assert "svc2 (10.77.2.10) leads the recovery here, and has not begun it" in cycle.sentence
    assert -9 == lab.mortal(
        "svc2", "after write_peers", lab.folder / "names"
    )  # so that svc4 must follow to have a leader
    follower = lab.begin("svc4")
    eventually(lambda: f"stop {UNIT}" in (lab.folder / "svc4" / "bin" / "calls").read_text(), "svc4 follows")
    ended = {"svc2": lab.check("svc2"), "svc4": lab.read(follower)}
    assert {"active"} == {cycle.states[-1] for cycle in ended.values()}, ended
    assert ["svc2", "svc4"] == lab.voters("svc2") == lab.voters("svc4")
    assert 200 == lab.api("svc2", "GET", "/v1/kv/before?consistent")[0]
    logs = {host: (lab.folder / host / "habeat.log").read_text(encoding="utf-8") for host in ("svc2", "svc4")}
    assert "epoch 1 (led by svc2) begins with svc2 (10.77.2.10), svc4 (10.77.2.11): it leads" in logs["svc2"]
    assert "epoch 1 (led by svc2) begins with svc2 (10.77.2.10), svc4 (10.77.2.11): it follows svc2" in logs["svc4"]
    for host in ("svc2", "svc4"):
        assert list(lab.data(host).glob("raft.habeat-*-before-epoch-1"))
    lab.reboot("svc4")
    told = "Consul has a leader in epoch 1 without this server, as 10.77.2.10 says (rule G12)"
    eventually(lambda: told in lab.run("svc4", "consul", "guard").stderr, "svc4 may start beside svc2's leader")
