"""What goes wrong while Consul's quorum is rebuilt, and what a person does then, on real Consul servers (consulserver).

The invariants are those of the design: I3 nothing is lost or done twice, I5 a failure is never reported as success,
I8 every decision explains itself.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

import pytest

from habeat.act.cycle_lock import CycleLock
from mesh import eventually
from quorum_lab import THREE, UNIT, MakeQuorum, QuorumLab, confirmed, lost_and_rebuilt, recovered, untouched, watched

pytestmark = [pytest.mark.consul, pytest.mark.netns, pytest.mark.xdist_group("quorum-troubles")]


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
    make_quorum: MakeQuorum, spoil: Callable[[QuorumLab], None], told: str
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


def test_a_unit_that_does_not_start_is_undone(make_quorum: MakeQuorum) -> None:
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


def test_a_return_in_mid_recovery_is_put_back(make_quorum: MakeQuorum) -> None:
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
def test_a_rebuilt_quorum_is_lost_again_before_it_was_proved(make_quorum: MakeQuorum) -> None:
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


def test_a_person_rejoins_a_server(make_quorum: MakeQuorum) -> None:
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


def test_a_server_that_was_left_behind_rejoins_by_itself(make_quorum: MakeQuorum) -> None:
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


def test_the_doctor_on_a_consul_server(make_quorum: MakeQuorum) -> None:
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


def test_the_guard_by_hand(make_quorum: MakeQuorum) -> None:
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
