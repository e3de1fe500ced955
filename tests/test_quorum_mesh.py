"""Consul's quorum lost and rebuilt, on real Consul servers in network namespaces (role consulserver).

The invariants are those of the design: I1 no failover on ignorance, I3 nothing is lost or done twice, I5 a failure is
never reported as success, I8 every decision explains itself.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from habeat.act.cycle_lock import CycleLock
from mesh import STANDBY, Cycle, Standby, eventually, obstacle
from quorum_lab import FIVE, THREE, UNIT, QuorumLab, writing

pytestmark = [pytest.mark.consul, pytest.mark.netns, pytest.mark.xdist_group("quorum")]

MakeLab = Callable[..., QuorumLab]
PEER = "Consul of the primary site"


@pytest.fixture
def make_quorum(tmp_path: Path) -> Iterator[MakeLab]:
    """Give labs that vanish after the test; where they cannot be built it is skipped, and fails in CI."""
    if (why := obstacle()) is not None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(why)
    with ExitStack() as stack:
        yield lambda *args, **kwargs: stack.enter_context(QuorumLab(tmp_path, *args, **kwargs))


def watched(lab: QuorumLab) -> None:
    """Let every server's habeat run its healthy cycle, so that who votes is saved."""
    for host in lab.servers:
        cycle = lab.check(host)
        assert (0, "up", ("standby",)) == (cycle.code, cycle.sight, cycle.states), cycle


def untouched(lab: QuorumLab, host: str = "svc2") -> bool:
    """Tell whether Consul's unit was never stopped, and its data folder is as Consul made it."""
    calls = (lab.folder / host / "bin" / "calls").read_text().split("\n")
    return f"stop {UNIT}" not in calls and not list(lab.data(host).glob("raft.*"))


def confirmed(lab: QuorumLab, host: str = "svc2") -> Cycle:
    """Run cycles until one has acted, and return it; until then nothing was touched."""
    for _ in range(8):
        cycle = lab.check(host)
        if cycle.states[0] == "failing_over":
            return cycle
        assert cycle.states in (("standby",), ("suspect",)), cycle
        assert untouched(lab, host)
    pytest.fail(f"it was never confirmed: {cycle}")


def recovered(lab: QuorumLab, host: str = "svc2") -> None:
    """Assert that a host leads a quorum of its own."""
    eventually(lambda: lab.leads(host), f"{host} leads", 20)


def test_two_of_three_die_and_the_third_goes_on(
    make_quorum: MakeLab, tmp_path: Path, record_property: Callable[[str, object], None]
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


def test_one_of_three_dies_and_nothing_is_done(make_quorum: MakeLab) -> None:
    """I1: as long as one server of the other site answers, nothing is done, whatever the witness says."""
    lab = make_quorum()
    watched(lab)
    lab.lose("svc3", cut=False)
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


def test_two_die_and_return_within_the_confirmation_time(make_quorum: MakeLab) -> None:
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


def test_sites_that_are_only_cut_are_left_alone(make_quorum: MakeLab) -> None:
    """I1: the witness says that the other site lives; a leader is missing here, and nothing is done."""
    lab = make_quorum()
    watched(lab)
    lab.net.isolate("1")
    eventually(lambda: lab.leader("svc2") == "", "svc2 has no leader")
    for _ in range(3):
        cycle = lab.check("svc2")
        assert (3, "unreachable", ("standby",)) == (cycle.code, cycle.sight, cycle.states), cycle
    assert untouched(lab)


def lost_and_rebuilt(lab: QuorumLab) -> None:
    """Lose the primary site, and let svc2 rebuild the quorum."""
    watched(lab)
    lab.lose("svc1", "svc3")
    assert ("failing_over", "active") == confirmed(lab).states
    recovered(lab)


def joined(lab: QuorumLab, acknowledged: list[str], prefix: str) -> set[str]:
    """Wait until all three agree, and return the acknowledged writes that are lost."""
    for host in lab.servers:
        eventually(lambda host=host: lab.voters(host) == sorted(lab.servers), f"{host} sees all vote", 90)  # type: ignore[misc]
    written = set(acknowledged)
    eventually(
        lambda: len({frozenset(lab.keys(host, prefix)) for host in lab.servers}) == 1, "all have the same keys", 30
    )
    return written - lab.keys("svc1", prefix)


def test_the_dead_return_connected(make_quorum: MakeLab) -> None:
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


def test_the_dead_return_alone_and_are_held(make_quorum: MakeLab) -> None:
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
def test_without_the_guard_a_lonely_return_loses_writes(make_quorum: MakeLab) -> None:
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


def test_two_survivors_of_five(make_quorum: MakeLab) -> None:
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


def spoil_the_node_id(lab: QuorumLab) -> None:
    """Give the server another id than raft knows."""
    (lab.data("svc2") / "node-id").write_text("00000000-0000-4000-8000-000000000000")


def take_peers_info(lab: QuorumLab) -> None:
    """Take peers.info away."""
    (lab.data("svc2") / "raft" / "peers.info").unlink()


def fill_the_disk(lab: QuorumLab) -> None:
    """Let the folder's file system have no room: a small one over it, with a copy of the data."""
    over(lab, "size=4m")


def write_protect(lab: QuorumLab) -> None:
    """Let the folder be read-only."""
    over(lab, "ro")


def over(lab: QuorumLab, options: str) -> None:
    """Mount a file system over svc2's data folder for habeat's processes alone."""
    data = lab.data("svc2")
    script = (
        f"cp -a {data} {data}.was && mount -t tmpfs -o size=4m none {data} && cp -a {data}.was/. {data}/ && "
        f"{'mount -o remount,ro ' + str(data) if options == 'ro' else 'true'}"
    )
    lab.before["svc2"] = script


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (spoil_the_node_id, "node-id 00000000-0000-4000-8000-000000000000 is none of the voters'"),
        (take_peers_info, "has no peers.info: without it Consul ignores peers.json"),
        (fill_the_disk, "MiB left, and a copy of the raft folder needs"),
        (write_protect, "Read-only file system"),
    ],
)
def test_what_cannot_work_is_told_and_nothing_is_touched(
    make_quorum: MakeLab, spoil: Callable[[QuorumLab], None], told: str
) -> None:
    """I5, I8: the failover waits and says what for; Consul is not even stopped."""
    lab = make_quorum()
    watched(lab)
    lab.lose("svc1", "svc3")
    spoil(lab)
    cycle = confirmed(lab)
    assert (3, "failing_over") == (cycle.code, cycle.states[-1]), cycle
    assert told in cycle.sentence
    assert untouched(lab)


def test_a_unit_that_does_not_start_is_undone(make_quorum: MakeLab) -> None:
    """After three attempts the raft folder is as it was, a copy is beside it, and only a person's word tries again."""
    lab = make_quorum()
    watched(lab)
    lab.lose("svc1", "svc3")
    before = lab.data("svc2") / "raft" / "raft.db"
    broken = lab.folder / "svc2" / "bin" / "broken"
    broken.touch()
    cycle = confirmed(lab)
    assert (1, "failing_over") == (cycle.code, cycle.states[-1])
    assert f"{UNIT} does not start" in cycle.sentence
    eventually(lambda: "put back as it was" in lab.check("svc2").sentence, "it is undone", 60)
    (copy,) = lab.data("svc2").glob("raft.habeat-*-before-epoch-1")
    assert (copy / "raft.db").exists()
    assert before.exists()
    assert not (lab.data("svc2") / "raft" / "peers.json").exists()
    broken.unlink()
    eventually(lambda: "an attempt failed and was undone" in lab.check("svc2").sentence, "Consul runs again", 60)
    eventually(lambda: lab.api("svc2", "GET", "/v1/status/leader")[0] == 200, "its agent answers")
    for _ in range(4):
        cycle = lab.check("svc2")
    assert "`habeat ack` allows another" in cycle.sentence
    assert 0 == lab.run("svc2", "ack", "--reason", "the unit is mended").returncode
    eventually(lambda: lab.check("svc2").states[-1] == "active", "another attempt succeeds", 90)
    recovered(lab)


def test_a_return_in_mid_recovery_is_put_back(make_quorum: MakeLab) -> None:
    """Killed between peers.json and the start, then the other site is back: Consul starts with its old data."""
    lab = make_quorum()
    watched(lab)
    assert lab.api("svc1", "PUT", "/v1/kv/before", 7) == (200, True)
    eventually(lambda: lab.api("svc2", "GET", "/v1/kv/before?stale")[0] == 200, "svc2 has it")
    lab.lose("svc1", "svc3")
    lab.configure("svc2", policy={"confirmations": 1})
    eventually(lambda: lab.leader("svc2") == "", "svc2 has no leader")
    names = lab.folder / "names"
    assert -9 == lab.mortal("svc2", "after write_peers", names)
    assert (lab.data("svc2") / "raft" / "peers.json").exists()
    lab.net.mend_paths()
    lab.testify(svc1="up", svc3="up")
    assert [0, 0] == [start.wait(60) for start in lab.boot("svc1", "svc3")]
    cycle = lab.check("svc2")
    assert "runs, and nothing is rebuilt here, since the other site is no longer surely dead" in cycle.sentence
    eventually(lambda: lab.voters("svc2") == sorted(THREE), "the old cluster is back", 60)
    assert 200 == lab.api("svc2", "GET", "/v1/kv/before?consistent")[0]
    eventually(lambda: lab.check("svc2").states == ("standby",), "it is over")
    for host in THREE:
        eventually(lambda host=host: lab.check(host).code == 0, f"{host} is well")  # type: ignore[misc]
        assert "epoch 1" in lab.run(host, "consul", "guard").stderr
    assert json.loads(lab.run("svc2", "consul", "rejoin", "--json").stdout)["needed"] is False


@pytest.mark.slow
def test_a_rebuilt_quorum_is_lost_again_before_it_was_proved(make_quorum: MakeLab) -> None:
    """Killed just after Consul's start; a lost server returns, votes, and dies again: the quorum is rebuilt anew."""
    lab = make_quorum()
    watched(lab)
    lab.lose("svc1", "svc3")
    lab.configure("svc2", policy={"confirmations": 1})
    eventually(lambda: lab.leader("svc2") == "", "svc2 has no leader")
    killed = lab.mortal("svc2", "after write_peers, after command, after command", lab.folder / "names")
    assert -9 == killed
    recovered(lab)
    lab.net.mend_paths()
    lab.testify(svc3="up")
    assert [0] == [start.wait(60) for start in lab.boot("svc3")]
    eventually(lambda: lab.voters("svc2") == ["svc2", "svc3"], "svc3 votes again", 60)
    lab.lose("svc3")
    eventually(lambda: lab.leader("svc2") == "", "svc2 has no leader")
    told = "epoch 1 (led by svc2) fell with servers that had returned to it"
    eventually(lambda: told in lab.check("svc2").sentence, "it is seen", 150)
    cycle = lab.check("svc2")
    assert "rebuilt in epoch 2" in cycle.sentence, cycle
    recovered(lab)
    assert ["svc2"] == lab.voters("svc2")


def test_a_person_rejoins_a_server(make_quorum: MakeLab) -> None:
    """`rejoin` changes nothing until it is told to; then the server votes in the rebuilt cluster."""
    lab = make_quorum(guard=False)
    lost_and_rebuilt(lab)
    lab.net.mend_paths()
    lab.testify(svc1="up", svc3="up")
    lab.serve("svc1")
    said = lab.run("svc1", "consul", "rejoin")
    assert "Consul was rebuilt in epoch 1 (led by svc2), and the data here is of epoch 0" in said.stdout
    assert "nothing was done; --now does it" in said.stdout
    assert not list(lab.data("svc1").glob("raft.*"))
    with CycleLock(lab.folder / "svc1" / "state"):
        busy = lab.run("svc1", "consul", "rejoin", "--now")
    assert (1, True) == (busy.returncode, "so nothing was done" in busy.stderr), busy
    assert not list(lab.data("svc1").glob("raft.*"))
    done = lab.run("svc1", "consul", "rejoin", "--now")
    assert (0, True) == (done.returncode, "this server votes again" in done.stdout), done
    assert list(lab.data("svc1").glob("raft.habeat-*-before-epoch-1"))
    again = lab.run("svc1", "consul", "rejoin", "--now")
    assert 1 == again.returncode
    assert "no newer recovery is known" in again.stderr


def test_a_server_that_was_left_behind_rejoins_by_itself(make_quorum: MakeLab) -> None:
    """One whose Consul came up with old data, without the guard, gives it up in its next cycle that hears of the epoch."""
    lab = make_quorum(guard=False)
    lost_and_rebuilt(lab)
    for start in lab.boot("svc1"):
        start.wait(60)
    eventually(lambda: lab.api("svc1", "GET", "/v1/status/leader") == (200, ""), "Consul of svc1 has no leader")
    lab.check("svc1")
    assert not list(lab.data("svc1").glob("raft.habeat-*"))
    lab.net.mend_paths()
    assert 0 == lab.run("svc1", "pause", "--reason", "we look").returncode
    lab.check("svc1")
    assert not list(lab.data("svc1").glob("raft.habeat-*")), "it was paused"
    assert 0 == lab.run("svc1", "resume").returncode
    assert -9 == lab.mortal("svc1", "after set_aside, before command", lab.folder / "names"), "Consul is stopped"
    lab.check("svc1")
    said = (lab.folder / "svc1" / "habeat.log").read_text(encoding="utf-8")
    assert "Consul was rebuilt without this server, which rejoins" in said, said
    assert list(lab.data("svc1").glob("raft.habeat-*-before-epoch-1"))
    eventually(lambda: ["svc1", "svc2"] == lab.voters("svc2"), "svc1 votes again", 60)


def test_the_doctor_on_a_consul_server(make_quorum: MakeLab) -> None:
    """All that a recovery and the guard depend on is tried for real, and what is wrong is named with its mending."""
    lab = make_quorum()
    found = {item["subject"]: item for item in json.loads(lab.run("svc2", "doctor", "--json").stdout)}
    assert {"good", "warning"} >= {item["health"] for item in found.values()}, found
    assert "it falls with the primary site: 1 of 3 voters is left" in found["quorum of Consul"]["says"]
    assert "knows epoch 0" in found["habeat on 10.77.1.10 (primary site)"]["says"]
    assert {"witness HetrixTools on svc1.example.com", "guard of Consul's return", "clean start of Consul"} < set(found)
    (lab.folder / "svc2" / "bin" / "disabled").touch()
    lab.configure("svc2", consul={"unit": "other.service"}, guard={"secret": "another-secret-0123456789"})
    lab.lose("svc3", cut=False)
    done = lab.run("svc2", "doctor", "--json")
    found = {item["subject"]: item for item in json.loads(done.stdout)}
    assert 1 == done.returncode
    for subject in (
        "unit of Consul",
        "habeat's word to the other servers",
        "habeat on 10.77.1.10 (primary site)",
        "habeat on 10.77.1.11 (primary site)",
    ):
        assert ("error", True) == (found[subject]["health"], bool(found[subject]["mend"])), found[subject]


def test_the_guard_by_hand(make_quorum: MakeLab) -> None:
    """A rebooted server of a majority site that is cut off is held; a person, or the policy, may allow its start."""
    lab = make_quorum(hold="1s")
    nonlocal_bind = ["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_nonlocal_bind"]
    subprocess.run(lab.net.exec("svc1", nonlocal_bind), check=True)  # keepalived wants it: no address is ours by that
    watched(lab)
    assert "knows of no recovery after epoch 0 (rule G5)" in lab.run("svc2", "consul", "guard").stderr
    lab.net.isolate("1")
    restarted = lab.run("svc1", "consul", "guard")
    assert (0, True) == (restarted.returncode, "it had a leader" in restarted.stderr), restarted
    lab.reboot("svc1")
    held = lab.run("svc1", "consul", "guard")
    assert (1, True) == (held.returncode, "Consul must not start" in held.stderr), held
    assert "10.77.2.10 gives no answer on port 8399" in held.stderr
    assert "`habeat consul allow` allows it once" in held.stderr
    assert 0 == lab.run("svc1", "consul", "allow").returncode
    assert "it was allowed (rule G2)" in lab.run("svc1", "consul", "guard").stderr
    assert 1 == lab.run("svc1", "consul", "guard").returncode
    lab.configure("svc1", guard={"unsure": "start"})
    assert 0 == lab.run("svc1", "consul", "guard").returncode
    lab.configure("svc1", guard={"port": "many"})
    blocked = lab.run("svc1", "consul", "guard")
    assert (2, True) == (blocked.returncode, "the guard does not let Consul start" in blocked.stderr), blocked
    lab.reboot("svc2")
    alone = lab.run("svc2", "consul", "guard")
    assert (0, True) == (alone.returncode, "can elect no leader by themselves" in alone.stderr), alone
