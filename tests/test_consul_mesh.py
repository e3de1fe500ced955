"""habeat against a real Consul in network namespaces: what it sees of real deaths, real cuts and real locks.

The invariants I1 to I9 are those of the design: I1 no failover on ignorance, I2 one failover at a time, I3 nothing
lost or done twice, I5 a failure is never reported as success, I6 no flapping, I8 every decision explains itself,
I9 least harm (TLS).
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import vcsim
from certificates import certify
from habeat.lab import carbonio
from mesh import (
    ADDRESSES,
    BLIND,
    NODES,
    PRIMARY,
    READER,
    SILENT,
    STANDBY,
    THIRD,
    WRONG,
    Cycle,
    Mesh,
    Standby,
    eventually,
    obstacle,
)

pytestmark = [pytest.mark.consul, pytest.mark.netns, pytest.mark.xdist_group("mesh")]

MakeStandby = Callable[..., Standby]
NUMBERS = itertools.count(1)
FAILED_OVER = ("failing_over", "active")
HELD_UP = ("failing_over", "failing_over")
RETURNED = ("awaiting_failback",)


@pytest.fixture(scope="module")
def shared_mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """Give the one mesh of this module; where it cannot be built the tests are skipped, and fail in CI."""
    if (why := obstacle() or vcsim.obstacle()) is not None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(why)
    with Mesh(tmp_path_factory.mktemp("mesh")) as built:
        yield built


@pytest.fixture
def mesh(shared_mesh: Mesh) -> Mesh:
    """Give the mesh in perfect health."""
    shared_mesh.heal()
    return shared_mesh


@pytest.fixture
def make_standby(mesh: Mesh, tmp_path: Path) -> MakeStandby:
    """Give habeats on mbox2, each with a fresh state, a fresh Carbonio (unless told otherwise) and a lock of its own."""

    def make(**config: Any) -> Standby:
        return Standby(mesh, tmp_path / str(next(NUMBERS)), **config)

    return make


@pytest.fixture
def standby(make_standby: MakeStandby) -> Standby:
    """Give one plain habeat on mbox2."""
    return make_standby()


def untouched(standby: Standby) -> bool:
    """Tell whether no command of Carbonio was even started."""
    return standby.actions() == []


def promoted_once(standby: Standby) -> bool:
    """Tell whether every account lives on the standby now, and moved exactly once."""
    return all(item["promotions"] == 1 and item["accountMailHost"] == STANDBY for item in standby.accounts())


def cared_for(standby: Standby) -> bool:
    """Tell whether every account was flushed on the standby and had its replicas restarted, once each."""
    return all(item["flushes"] == {STANDBY: 1} and item["restarts"] == 1 for item in standby.accounts())


def fail_over(standby: Standby) -> Cycle:
    """Run the two cycles that a dead mailstore takes, and return the second."""
    first = standby.check()
    assert ("suspect",) == first.states, first
    return standby.check()


def refuses(standby: Standby, cycles: int, *wanted: str) -> None:
    """Prove that some cycles do nothing, end with exit code 3, and each tell why in the wanted words."""
    for _ in range(cycles):
        cycle = standby.check()
        assert (3, "unknown", ("standby",)) == (cycle.code, cycle.sight, cycle.states), cycle
        assert [] == [words for words in wanted if words not in cycle.sentence], cycle.sentence
    assert untouched(standby)


def test_a_dead_mailstore_is_failed_over_exactly_once(mesh: Mesh, standby: Standby) -> None:
    """I2, I3, I5: everybody is promoted, flushed and restarted once, under a lock in Consul that is free afterwards."""
    assert "up" == standby.check().sight
    mesh.kill("mbox1")
    cycle = fail_over(standby)
    assert (0, FAILED_OVER) == (cycle.code, cycle.states)
    assert promoted_once(standby)
    assert cared_for(standby)
    steps = standby.steps()
    assert ["preflight", "lock", "inventory", "promote", "verify", "flush", "restart"] == list(steps)
    assert {"done"} == {step["outcome"] for step in steps.values()}
    assert steps["lock"]["detail"].startswith(f"the lock {standby.key} in Consul (epoch ")
    assert "" == mesh.lock_session(standby.key)
    before = standby.actions()
    assert (0, ("active",)) == ((cycle := standby.check()).code, cycle.states)
    assert before == standby.actions()


@pytest.mark.parametrize("how", ["unplugged", "silently", "with its site"])
def test_a_standby_that_is_cut_off_never_acts(mesh: Mesh, make_standby: MakeStandby, how: str) -> None:
    """I1, I8: a standby that reaches nobody takes itself for the dead one, cycle after cycle, and says so."""
    standby = make_standby(witnesses={"timeout": "1s"})
    assert ["up", "up"] == [standby.check().sight for _ in range(2)]
    mesh.cut("mbox2", how)
    refuses(standby, 2, "nothing proves that this host is not itself cut off: Consul ")
    eventually(lambda: mesh.believes_failed("mbox2", "mbox1"), "its own gossip calls mbox1 failed")
    refuses(standby, 2, "nothing proves that this host is not itself cut off: Consul ")


def test_stale_gossip_after_a_cut_is_no_death(mesh: Mesh, make_standby: MakeStandby) -> None:
    """I1: back from a cut, its own agent still calls everybody failed and ping is silent; the quorum's word counts."""
    standby = make_standby(policy={"confirmation_time": "10s"})
    assert ["up", "up"] == [standby.check().sight for _ in range(2)]
    mesh.cut("mbox2", "silently")
    eventually(
        lambda: mesh.believes_failed("mbox2", *NODES.keys() - {"mbox2"}), "its own gossip calls all others failed"
    )
    mesh.wait_for("mbox2", "critical")
    mesh.net.break_path("mbox1", "mbox2")
    mesh.net.join("mbox2")
    assert mesh.believes_failed("mbox2", "mbox1")
    cycles = [standby.check() for _ in range(2)]
    mesh.rejoin("mbox2")
    cycles += [standby.check() for _ in range(3)]
    # Hearing the returned agent, Consul's own servers may call mbox1 failed for some seconds, until it objects.
    assert {"unknown", "unreachable", "down"} >= {cycle.sight for cycle in cycles}
    assert {("standby",), ("suspect",)} >= {cycle.states for cycle in cycles}, cycles
    mesh.net.mend_paths()
    assert ["up", "up", "up"] == [standby.check().sight for _ in range(3)]
    assert untouched(standby)


def test_a_broken_path_between_the_mailstores_is_no_death(mesh: Mesh, standby: Standby) -> None:
    """I1, I8: ping is silent for good, but Consul sees the mailstore alive, and that is a veto."""
    mesh.net.break_path("mbox1", "mbox2")
    for _ in range(4):
        cycle = standby.check()
        assert (3, "unreachable", ("standby",)) == (cycle.code, cycle.sight, cycle.states)
        assert "alive but unreachable from here" in cycle.sentence
        assert f"Consul says that {NODES['mbox1']} is up" in cycle.sentence
    assert untouched(standby)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        pytest.param(
            {"primary": {"appserver_vmname": "mbox11.example.com"}},
            "does not know agent-mbox11-example-com or server-mbox11-example-com, or hides it from this token; "
            f"the nearest name it shows is {NODES['mbox1']}",
            id="misspelt-name",
        ),
        pytest.param(
            {"consul": {"token": BLIND}},
            "shows this token no node at all, so its rights are too narrow (node:read is needed)",
            id="blind-token",
        ),
        pytest.param(
            {"consul": {"token": WRONG}}, "does not know the configured token (403 ACL not found)", id="wrong-token"
        ),
        pytest.param(
            {"primary": {"appserver_ip": SILENT}},
            f"calls {NODES['mbox1']} down, but knows it at {ADDRESSES['mbox1']} and not at {SILENT}, "
            "so it may be another machine",
            id="other-address",
        ),
    ],
)
def test_a_witness_that_cannot_speak_for_the_mailstore_is_no_witness(
    mesh: Mesh, make_standby: MakeStandby, config: dict[str, Any], sentence: str
) -> None:
    """I1, I8: the mailstore is really dead, but the configuration cannot get Consul's word on it: nothing is done."""
    standby = make_standby(**config)
    mesh.kill("mbox1")
    refuses(standby, 3, f"Consul {sentence}")


def test_a_dead_agent_of_our_own_is_no_witness(mesh: Mesh, standby: Standby) -> None:
    """I1, I8: without Consul on the standby nobody can vouch for the death: nothing is done, and the fault is named."""
    mesh.kill("mbox1")
    mesh.stop_agent("mbox2")
    refuses(standby, 3, "Consul cannot be asked (Connection refused)")


def test_a_consul_without_a_leader_is_no_witness(mesh: Mesh, standby: Standby) -> None:
    """I1, I8: what is left of Consul still lists the mailstore as critical, but no quorum stands behind that."""
    mesh.kill("mbox1")
    mesh.lose_quorum()
    refuses(standby, 3, "Consul has no leader, so its quorum is lost or out of reach from here")


def test_a_blip_of_one_cycle_is_forgotten(mesh: Mesh, standby: Standby) -> None:
    """I6: one cycle of death, Consul's word included, starts nothing and does not count towards the next."""
    mesh.kill("mbox1")
    assert ("suspect",) == standby.check().states
    mesh.heal()
    assert (0, ("standby",)) == ((cycle := standby.check()).code, cycle.states)
    assert "It was a blip; nothing was done." in cycle.sentence
    mesh.kill("mbox1")
    assert ("suspect",) == standby.check().states
    assert untouched(standby)


def test_a_graceful_leave_is_no_death(mesh: Mesh, standby: Standby) -> None:
    """I1, I8: a mailstore that left Consul in good order and then went silent is in maintenance, not dead."""
    mesh.leave("mbox1")
    refuses(standby, 3, f"Consul says that {NODES['mbox1']} left the mesh gracefully")


def test_maintenance_is_no_death(mesh: Mesh, standby: Standby) -> None:
    """I1, I8: an operator put the mailstore into maintenance in Consul, and then turned it off."""
    assert mesh.api("mbox1", "PUT", "/v1/agent/maintenance?enable=true&reason=kernel")[0] == 200
    try:
        eventually(lambda: mesh.maintained("mbox1"), "Consul's quorum knows of the maintenance")
        mesh.kill("mbox1")
        refuses(standby, 3, f"Consul says that {NODES['mbox1']} is in maintenance by an operator's word")
    finally:
        mesh.heal()
        mesh.api("mbox1", "PUT", "/v1/agent/maintenance?enable=false")


def test_what_returns_is_not_failed_over_again_within_the_cooldown(mesh: Mesh, standby: Standby) -> None:
    """I3, I6: back, its accounts stay and the lock files go; dead again, it is left to a person and that is said."""
    mesh.kill("mbox1")
    assert 0 == fail_over(standby).code
    assert ["lockfile-down-appserver", "lockfile-promotion-appserver"] == standby.lock_files()
    before = standby.actions()
    mesh.heal()
    assert [("active",), RETURNED, RETURNED] == [(cycle := standby.check()).states for _ in range(3)]
    assert (0, []) == (cycle.code, standby.lock_files())
    mesh.kill("mbox1")
    assert "down" == standby.check().sight
    for _ in range(2):
        cycle = standby.check()
        assert (3, "down", RETURNED) == (cycle.code, cycle.sight, cycle.states)
        assert "within the cooldown of 8 h" in cycle.sentence
    assert before == standby.actions()
    assert promoted_once(standby)


def test_of_two_standbys_exactly_one_acts(mesh: Mesh, make_standby: MakeStandby) -> None:
    """I2, I3: at the same moment one gets the lock; the other waits, says who has it, and later finds nothing left."""
    one = make_standby()
    with carbonio.world_of(one.world) as world:
        world["startup"] = 0.3
    prefix = {"key_prefix": one.key.split("/")[0]}
    other = make_standby(world=one.world, coordination=prefix, secondary={"appserver_vmname": THIRD})
    both = {STANDBY: one, THIRD: other}
    mesh.kill("mbox1")
    assert {("suspect",)} == {standby.check().states for standby in both.values()}
    running = {name: standby.begin() for name, standby in both.items()}
    ended = {name: both[name].read(process) for name, process in running.items()}
    winner, loser = sorted(both, key=lambda name: ended[name].code)
    assert [(0, FAILED_OVER), (3, HELD_UP)] == [(ended[name].code, ended[name].states) for name in (winner, loser)]
    assert f"the lock {one.key} in Consul is held by " in ended[loser].sentence
    assert f"({winner})" in ended[loser].sentence
    assert promoted_once(one)
    later = both[loser].check()
    assert (0, FAILED_OVER) == (later.code, later.states), later
    assert "nothing to promote" in later.sentence
    assert promoted_once(one)


def test_a_step_that_failed_is_tried_again_without_waiting_for_our_own_lock(mesh: Mesh, standby: Standby) -> None:
    """I3, I5: a flush that fails is no success; the next cycle has the lock at once and finishes."""
    with carbonio.world_of(standby.world) as world:
        world["faults"] = [{"program": "zmprov", "command": "fc", "kind": "exit"}]
    mesh.kill("mbox1")
    cycle = fail_over(standby)
    assert (1, HELD_UP) == (cycle.code, cycle.states)
    cycle = standby.check()
    assert (0, FAILED_OVER) == (cycle.code, cycle.states), cycle
    assert promoted_once(standby)
    assert cared_for(standby)


def test_a_killed_habeat_takes_up_its_own_lock(mesh: Mesh, standby: Standby) -> None:
    """I2, I3: kill -9 while it promotes leaves the lock held in Consul; the next cycle has it at once and finishes."""
    with carbonio.world_of(standby.world) as world:
        world["startup"] = 0.3
    mesh.kill("mbox1")
    assert ("suspect",) == standby.check().states
    process = standby.begin()
    eventually(lambda: standby.runs("promoteAccounts"), "the promotion is under way")
    process.kill()
    process.communicate()
    assert mesh.lock_session(standby.key)
    eventually(lambda: standby.check().code == 0, "the failover is finished")
    assert promoted_once(standby)
    assert "" == mesh.lock_session(standby.key)


def test_work_stops_when_its_lock_is_lost(mesh: Mesh, standby: Standby) -> None:
    """I2: the session is destroyed while a slow promotion runs: no further step begins, and the sentence says why."""
    with carbonio.world_of(standby.world) as world:
        world["startup"] = 0.6
    mesh.kill("mbox1")
    assert ("suspect",) == standby.check().states
    process = standby.begin()
    eventually(lambda: standby.runs("getAccountStatus"), "the inventory is under way, and the lock taken")
    with carbonio.world_of(standby.world) as world:
        world["startup"] = 5.0
    mesh.end_session(str(mesh.lock_session(standby.key)))
    cycle = standby.read(process)
    assert (3, HELD_UP) == (cycle.code, cycle.states)
    assert f"the lock {standby.key} was lost: its session in Consul is gone" in cycle.sentence
    assert ["preflight", "lock", "inventory", "promote"] == list(standby.steps())


def test_without_the_right_to_lock_the_machines_own_lock_must_do(mesh: Mesh, make_standby: MakeStandby) -> None:
    """I2, I8: as in a plain Carbonio, the token may only read nodes: the failover goes on, and names its lock."""
    standby = make_standby(consul={"token": None})
    mesh.kill("mbox1")
    assert 0 == fail_over(standby).code
    assert promoted_once(standby)
    assert "this machine's own lock only, since Consul refuses" in standby.steps()["lock"]["detail"]


def test_where_the_lock_is_required_nothing_is_done_without_it(mesh: Mesh, make_standby: MakeStandby) -> None:
    """I2, I8: with `coordination.consul: required` and a token that may only read, nothing is promoted, and why is said."""
    standby = make_standby(consul={"token": READER}, coordination={"consul": "required"})
    mesh.kill("mbox1")
    cycle = fail_over(standby)
    assert (3, HELD_UP) == (cycle.code, cycle.states)
    assert "in Consul cannot be had: Consul refuses the configured token (403" in cycle.sentence
    assert {0} == {item["promotions"] for item in standby.accounts()}


def test_consul_over_tls_counts_only_with_a_trusted_certificate(mesh: Mesh, make_standby: MakeStandby) -> None:
    """I1, I9: an unknown CA makes Consul no witness, in a sentence of its own; `consul.ca_file` makes it one."""
    standby = make_standby(consul={"scheme": "https", "port": 8501})
    mesh.kill("mbox1")
    refuses(standby, 3, "Consul its TLS certificate is not trusted (")
    standby.configure(consul={"ca_file": mesh.ca_file})
    assert 0 == fail_over(standby).code
    assert promoted_once(standby)


def test_a_dead_mail_service_is_failed_over_if_consul_agrees(mesh: Mesh, make_standby: MakeStandby) -> None:
    """I1, I8: the host lives, its service dies: one probe of ours and the check of its own agent are two who say so."""
    probes = {"services": ["http://{ip}:8080/"], "timeout": "500ms"}
    standby = make_standby(probes=probes, policy={"service_down": "failover"})
    watching = make_standby(probes=probes)
    with mesh.serving("mbox1", 8080) as service:
        assert ["up", "up"] == [standby.check().sight, watching.check().sight]
        service.kill()
        eventually(lambda: mesh.service("mbox1") == "critical", "Consul finds the service dead")
        cycle = watching.check()
        assert (3, "service_down", ("standby",)) == (cycle.code, cycle.sight, cycle.states)
        assert untouched(watching)
        cycle = fail_over(standby)
    assert (0, FAILED_OVER) == (cycle.code, cycle.states), cycle
    assert promoted_once(standby)
    assert "carbonio-mailbox on agent-mbox1-example-com is critical" in standby.explained(2)


def test_the_doctor_reckons_the_quorum_of_consul(mesh: Mesh, make_standby: MakeStandby) -> None:
    """I1: all is well today, but Consul would lose its quorum with the site it should testify about: that is an error."""
    both = [ADDRESSES["svc1"], ADDRESSES["svc3"]]
    subject = "quorum of Consul without the primary site"
    finding = make_standby(primary={"consul_ips": both}).doctor()[subject]
    assert "error" == finding["health"]
    assert (
        f"3 servers vote, 2 of them stand there ({', '.join(both)}): that leaves 1, and 2 are needed. When that site "
        "is lost, Consul has no leader: it cannot testify, and Carbonio cannot promote until it has"
    ) == finding["says"]
    assert "hetrix" in finding["mend"]
    one = make_standby(primary={"consul_ips": both[:1]}).doctor()
    assert ("good", "good") == (one[subject]["health"], one["witness Consul"]["health"])
    assert "warning" == make_standby().doctor()[subject]["health"]


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"primary": {"appserver_vmname": "mbox11.example.com"}}, f"the nearest name it shows is {NODES['mbox1']}"),
        ({"consul": {"token": BLIND}}, "its rights are too narrow (node:read is needed)"),
        ({"consul": {"token": WRONG}}, "does not know the configured token"),
        ({"consul": {"scheme": "https", "port": 8501}}, "its TLS certificate is not trusted"),
        ({"consul": {"port": 8599}}, "cannot be asked (Connection refused)"),
    ],
)
def test_the_doctor_tries_consul_for_real(
    mesh: Mesh, make_standby: MakeStandby, config: dict[str, Any], sentence: str
) -> None:
    """I1: what would make Consul no witness at four in the morning is an error today, with a way to mend it."""
    finding = make_standby(**config).doctor()["witness Consul"]
    assert "error" == finding["health"]
    assert sentence in finding["says"]
    assert finding["mend"]


@contextlib.contextmanager
def watched_by_hetrix(mesh: Mesh, folder: Path) -> Iterator[tuple[dict[str, Any], Callable[[], None]]]:
    """Give the configuration for a HetrixTools of ours outside both sites, and the way to let it find mbox1 down."""
    address, state = ADDRESSES["watch"], folder / "state.json"
    certify(folder, address)

    def find(status: str) -> None:
        # checked just now: what it saw before the standby last reached mbox1 would not count
        monitor = {"id": "1", "name": PRIMARY, "type": "ping", "monitor_status": "active", "check_frequency": 1}
        state.write_text(json.dumps({"monitors": [{**monitor, "uptime_status": status, "ago": -1}]}), encoding="utf-8")

    find("up")
    files = [word for name in ("cert", "key") for word in (f"--{name}", str(folder / f"{name}.pem"))]
    double = [sys.executable, str(Path(__file__).with_name("hetrix_double.py")), "--address", address, *files]
    argv = mesh.net.exec("watch", [*double, "--state", str(state), "--token", "hunter2"])
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline().startswith("listening")
            yield (
                {"hetrix": {"hostname": address, "api_token": "hunter2", "ca_file": str(folder / "ca.pem")}},
                partial(find, "down"),
            )
        finally:
            server.kill()


@contextlib.contextmanager
def watched_by_vcenter(mesh: Mesh, folder: Path) -> Iterator[tuple[dict[str, Any], Callable[[], None]]]:
    """Give the configuration for a vCenter outside both sites, and the way to let it find mbox1 powered off."""
    with vcsim.running(folder, address=ADDRESSES["watch"], prefix=mesh.net.exec("watch", [])) as vcenter:
        machine = vcenter.names()[0]
        account = {"username": vcsim.USER, "password": vcsim.PASSWORD, "ca_file": vcenter.ca_file}
        place = {"hostname": vcenter.address, "port": vcenter.port, "names": {PRIMARY: vcenter.uuid(machine)}}
        yield {"vcenter": {**account, **place}}, partial(vcenter.power_off, machine)


@pytest.mark.vcsim
@pytest.mark.parametrize("provider", ["hetrix", "vcenter"])
def test_a_lost_site_is_failed_over_once_quorum_is_back(
    mesh: Mesh, make_standby: MakeStandby, tmp_path: Path, provider: str
) -> None:
    """I1, I3, I8: the primary site is gone, Consul's quorum with it: the failover waits, and goes on once there is one.

    It begins on the word of a witness outside; the preflight says what it waits for in every cycle.
    """
    watch = {"hetrix": watched_by_hetrix, "vcenter": watched_by_vcenter}[provider]
    folder = tmp_path / "watch"
    folder.mkdir()
    with watch(mesh, folder) as (config, find_it_dead):
        standby = make_standby(local={"provider": provider}, witnesses={"timeout": "8s"}, **config)
        assert "up" == standby.check().sight
        mesh.lose_site()
        if provider == "vcenter":
            refused = standby.check()
            assert (3, "unreachable", ("standby",)) == (refused.code, refused.sight, refused.states), refused
        find_it_dead()
        cycle = fail_over(standby)
        for _ in range(2):
            assert (3, "failing_over") == (cycle.code, cycle.states[-1]), cycle
            assert "waits: preflight: Consul has no leader" in cycle.sentence
            assert "It is tried again in the next cycle" in cycle.sentence
            assert {0} == {item["promotions"] for item in standby.accounts()}
            cycle = standby.check()
        mesh.recover_quorum()
        eventually(lambda: standby.check().code == 0, "the failover is finished")
        assert promoted_once(standby)
        assert cared_for(standby)
