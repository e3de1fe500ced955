"""The simulator's made-up servers answer as the real ones do: the same questions, by the same adapters, to both."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from fabric import PREFIX, ROUTER, Fabric
from fabric import obstacle as no_fabric
from habeat.act.carbonio import Carbonio, Zmprov
from habeat.act.run import Completed, Runner
from habeat.config.switch import FrrCheck
from habeat.consul import Consul
from habeat.errors import CarbonioError, HttpError
from habeat.http import Endpoint, Reply
from habeat.journal import Recall
from habeat.lab import carbonio as double
from habeat.lab.sites import NODES, PRIMARY, STANDBY, RealWitness
from habeat.model import Down, Evidence, Target, Unknown, Up
from habeat.observe import Witness
from habeat.observe.announcement import look
from habeat.simulator.mail import Carbonio as MadeCarbonio
from habeat.simulator.mesh import DETECTION, Mesh
from habeat.simulator.outsiders import Vcenter, VcenterWitness
from habeat.simulator.routes import PEER, Routes, Speaker
from habeat.simulator.routes import PREFIX as MADE_PREFIX
from habeat.simulator.world import World
from mesh import binary, eventually
from test_vcenter import FIRST, VM, certificates, witness
from vcsim import Vcsim, running

__all__ = ["certificates"]


def _lacking(why: str) -> None:
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(why)


# -- Consul


@dataclass(frozen=True)
class Asked:
    """A Consul: a client of its agent on a living node, the name of another node, a client of that, and its end."""

    client: Consul
    node: str
    other: Consul
    kill: Callable[[], None]


@dataclass(frozen=True)
class _MadeEndpoint(Endpoint):
    mesh: Mesh | None = None

    def call(self, method: str, path: str, body: bytes | None = None) -> Reply:
        assert self.mesh is not None
        return self.mesh.call(self.host, method, path, body, 3.0)


@pytest.fixture(params=["made", pytest.param("real", marks=pytest.mark.consul)])
def consul(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Asked]:
    """Give a Consul of one server, with an agent on each of two mailstores."""
    if request.param == "made":
        world = World()
        for name, site in (("mbox1", "primary"), ("mbox2", "secondary"), ("svc1", "primary")):
            world.add(name, site, f"10.0.0.{len(world.hosts) + 1}")
        mesh = Mesh(world)
        mesh.begin(["svc1"])
        one, other = (Consul(_MadeEndpoint(host, 8500, mesh=mesh)) for host in ("mbox2", "mbox1"))

        def kill() -> None:
            world.hosts["mbox1"].up = False
            world.change()
            world.wait(DETECTION)

        yield Asked(one, "agent-mbox1", other, kill)
        return
    program = binary()
    if program is None:
        _lacking("there is no Consul here; `python scripts/servers.py .servers` brings it")
        return
    net = f"127.{60 + os.getpid() % 3}.{os.getpid() % 250 + 1}"
    real = RealWitness(program, tmp_path, {PRIMARY: f"{net}.1", STANDBY: f"{net}.2"}, f"{net}.3")
    try:
        one, other = (Consul(Endpoint(address, real.port)) for address in (real.address, f"{net}.1"))
        yield Asked(one, NODES[PRIMARY], other, lambda: real.kill(PRIMARY))
    finally:
        real.close()


def test_consul(consul: Asked) -> None:
    """Health, nodes, the leader, raft, keys, sessions and locks."""
    client, node = consul.client, consul.node
    client.require_leader()
    assert client.leader().endswith((":8300", ":8300"))
    assert "passing" == client.health(node).serf
    assert (None, False, ()) == ((found := client.health("nobody")).serf, found.maintenance, found.service)
    assert client.node(node) is not None
    assert client.node("nobody") is None
    assert node in [item.name for item in client.nodes()]
    assert 1 == len(client.raft().voters) == len(client.peers())
    assert client.gossip()
    assert client.lock("habeat/contract") is None
    client.put("habeat/contract", "text")
    held = client.lock("habeat/contract")
    assert held is not None
    assert ("text", "", 0) == (held.value, held.session, held.epoch)


def test_a_session_ends_with_its_node(consul: Asked) -> None:
    """A node that gossip calls dead loses its sessions, and what they held is held back for the lock delay."""
    session = consul.other.create_session(30, "one")
    assert consul.other.acquire("habeat/node", session, "mbox1")
    consul.kill()

    def let_go() -> bool:
        held = consul.client.lock("habeat/node")
        assert held is not None
        return held.session == ""

    eventually(let_go, "the dead node's session still holds the lock")
    assert not consul.client.renew_session(session)
    assert not consul.client.acquire("habeat/node", consul.client.create_session(30, "two"), "mbox2")


def test_consul_locks(consul: Asked) -> None:
    """One session has a lock; it is given on when it is released, and held back when its session ends."""
    client = consul.client
    one, other = (client.create_session(30, name) for name in ("one", "other"))
    assert client.acquire("habeat/lock", one, "mbox2")
    assert not client.acquire("habeat/lock", other, "mbox3")
    held = client.lock("habeat/lock")
    assert held is not None
    assert ("mbox2", one, 1) == (held.value, held.session, held.epoch)
    assert client.acquire("habeat/lock", one, "mbox2")
    assert client.renew_session(one)
    client.release("habeat/lock", one)
    assert client.acquire("habeat/lock", other, "mbox3")
    held = client.lock("habeat/lock")
    assert held is not None
    assert ("mbox3", other, 2) == (held.value, held.session, held.epoch)
    client.destroy_session(other)
    assert not client.renew_session(other)
    assert not client.acquire("habeat/lock", one, "mbox2")  # held back for the lock delay
    held = client.lock("habeat/lock")
    assert held is not None
    assert "" == held.session
    with pytest.raises(HttpError):
        client.acquire("habeat/other", other, "mbox3")


# -- Carbonio


class _MadeRunner(Runner):
    made: MadeCarbonio

    def run(self, argv: Sequence[str], timeout: float, *, stdin: str = "") -> Completed:
        done = self.made.run("mbox2", Path(argv[0]).name, argv[1:], stdin, lambda: True)
        assert done is not None
        return done

    def show(self, descriptor: int, mode: int) -> None:
        pass


@pytest.fixture(params=["made", "double"])
def mail(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Carbonio, Zmprov]:
    """Give Carbonio's commands: four accounts on mbox1 with replicas on mbox2, the second of no use."""
    runner, programs = Runner(pwd.getpwuid(os.geteuid()).pw_name), tmp_path / "bin"
    if request.param == "made":
        world = World()
        for name, site in (("mbox1", "primary"), ("mbox2", "secondary")):
            world.add(name, site, f"10.0.0.{len(world.hosts) + 1}")
        made = MadeCarbonio(world, stores=["mbox1", "mbox2"])
        for number in range(1, 5):
            made.add(number, "mbox1", "mbox2", available=number != 2)
        runner = _MadeRunner()
        object.__setattr__(runner, "made", made)
    else:
        roster = [double.account(number, "mbox1", "mbox2", available=number != 2) for number in range(1, 5)]
        double.create(tmp_path / "world", roster, ["mbox1", "mbox2"])
        double.install(tmp_path / "world", programs)
    kept: list[str] = []
    recall = Recall(lambda: kept[-1] if kept else None, kept.append)
    carbonio = Carbonio(runner, str(programs / "carbonio"), 20.0, 60.0, tmp_path / "spool", recall)
    return carbonio, Zmprov(runner, str(programs / "zmprov"), 20.0)


def test_carbonio(mail: tuple[Carbonio, Zmprov]) -> None:
    """Who lives where, what a promotion moves and what it refuses, and what it leaves behind."""
    carbonio, _ = mail
    accounts = carbonio.accounts("mbox1")
    assert [True, False, True, True] == [bool(account.usable()) for account in accounts]
    assert {"mbox1"} == {account.mail_host for account in accounts}
    carbonio.promote([accounts[0].name], 4)
    assert 3 == len(carbonio.accounts("mbox1"))
    (moved,) = carbonio.accounts("mbox2")
    assert (accounts[0].key, "mbox1", False) == (
        moved.key,
        moved.replicas[0].destination,
        moved.replicas[0].available,
    )
    with pytest.raises(CarbonioError, match="could not be promoted"):
        carbonio.promote_all("mbox1", 4)
    assert [accounts[1].key] == [account.key for account in carbonio.accounts("mbox1")]
    assert 3 == len(carbonio.accounts("mbox2"))
    assert [] == carbonio.operations()
    carbonio.restart_replicas([accounts[0].name])


def test_carbonio_module(mail: tuple[Carbonio, Zmprov]) -> None:
    """The replication module is stopped and started."""
    carbonio, _ = mail
    assert carbonio.module_runs() is True
    carbonio.stop_module()
    assert carbonio.module_runs() is False
    carbonio.start_module()
    assert carbonio.module_runs() is True


def test_zmprov(mail: tuple[Carbonio, Zmprov]) -> None:
    """Mailstores, caches, and where the directory says that accounts live."""
    carbonio, zmprov = mail
    keys = [account.key for account in carbonio.accounts("mbox1")]
    assert ["mbox1", "mbox2"] == zmprov.mailstores()
    zmprov.flush("mbox2", keys)
    with pytest.raises(CarbonioError, match="NO_SUCH_ACCOUNT"):
        zmprov.flush("mbox2", ["00000000-0000-4000-8000-999999999999"])
    assert dict.fromkeys(keys, "mbox1") == zmprov.mail_hosts([*keys, "00000000-0000-4000-8000-999999999999"])


# -- FRR

Announce = Callable[[str, str], object]


class _MadeVtysh(Runner):
    routes: Routes

    def run(self, argv: Sequence[str], timeout: float, *, stdin: str = "") -> Completed:
        return self.routes.run("proxy2", argv)


def _made_routes() -> tuple[Callable[[bool], Evidence], Announce]:
    world = World()
    for name, site in (("proxy1", "primary"), ("proxy2", "secondary"), ("router", "third")):
        world.add(name, site, f"10.0.0.{len(world.hosts) + 1}")
    routes = Routes(world, "router", speakers={"proxy1": Speaker(), "proxy2": Speaker()})
    runner = _MadeVtysh()
    object.__setattr__(runner, "routes", routes)

    def change(host: str, what: str) -> None:
        speaker = routes.speakers[host]
        if what in ("announce", "withdraw"):
            speaker.address = speaker.network = what == "announce"
        if what == "die":
            speaker.running = False
        if what == "unplug":
            world.hosts[host].plugged = False
        world.wait(10.0)

    return lambda ours: look(FrrCheck(MADE_PREFIX, PEER), runner, 5.0, ours=ours)().evidence, change


def _real_routes(fabric: Fabric) -> tuple[Callable[[bool], Evidence], Announce]:
    fabric.heal()
    check = FrrCheck(PREFIX, ROUTER["proxy2"], fabric.instance("proxy2"))
    changes: dict[str, Callable[[str], object]] = {
        "announce": fabric.add_service,
        "withdraw": fabric.del_service,
        "die": fabric.stop_bgp,
        "unplug": fabric.unplug,
    }
    return lambda ours: look(check, Runner(), 5.0, ours=ours)().evidence, lambda host, what: changes[what](host)


@pytest.fixture(
    params=[
        "made",
        pytest.param("real", marks=[pytest.mark.netns, pytest.mark.frr, pytest.mark.bird, pytest.mark.xdist_group("fabric")]),
    ]
)  # fmt: skip
def routes(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Callable[[bool], Evidence], Announce]]:
    """Give how to look on proxy2, and how to change what a proxy announces."""
    if request.param == "made":
        yield _made_routes()
        return
    if (why := no_fabric()) is not None:
        _lacking(why)
    from mesh import FOLDER

    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:/usr/sbin:{FOLDER / 'bin'}")
    with Fabric(tmp_path) as fabric:
        yield _real_routes(fabric)


def test_frr(routes: tuple[Callable[[bool], Evidence], Announce]) -> None:
    """Ours and theirs, announced and not; without a session ours is surely gone, and theirs cannot be told."""
    see, change = routes

    def becomes(wanted: type[Evidence], *, ours: bool) -> None:
        eventually(lambda: isinstance(see(ours), wanted), f"{'ours' if ours else 'theirs'} is {wanted.__name__}", 40)

    becomes(Down, ours=True)
    becomes(Down, ours=False)
    change("proxy1", "announce")
    becomes(Up, ours=False)
    becomes(Down, ours=True)
    change("proxy1", "withdraw")
    becomes(Down, ours=False)
    change("proxy2", "announce")
    becomes(Up, ours=True)
    becomes(Down, ours=False)
    change("proxy2", "unplug")
    becomes(Down, ours=True)
    becomes(Unknown, ours=False)
    change("proxy2", "die")
    becomes(Unknown, ours=True)


# -- vCenter

Turn = Callable[[str], object]


def _made_vcenter() -> tuple[Witness, Turn]:
    world = World()
    for name, site in ((VM, "primary"), ("mbox2", "secondary"), ("vc", "third")):
        world.add(name, site, f"10.0.0.{len(world.hosts) + 1}")
    vcenter = Vcenter(world, "vc")

    def turn(what: str) -> None:
        machine = world.hosts[VM]
        if what in ("on", "off"):
            machine.up = what == "on"
        if what == "lost":
            machine.hypervisor = False
        if what == "gone":
            vcenter.trouble = "silent"

    return VcenterWitness(vcenter, "mbox2", None), turn


def _real_vcenter(simulator: Vcsim) -> tuple[Witness, Turn]:
    simulator.rename(FIRST, VM)
    turns: dict[str, Callable[[], object]] = {
        "on": lambda: simulator.power_on(VM),
        "off": lambda: simulator.power_off(VM),
        "lost": lambda: simulator.set_vm(VM, "runtime.connectionState", "disconnected"),
        "gone": simulator.kill,
    }
    return witness(simulator, timeout=3.0), lambda what: turns[what]()


@pytest.fixture(params=["made", pytest.param("real", marks=pytest.mark.vcsim)])
def vcenter(request: pytest.FixtureRequest) -> Iterator[tuple[Witness, Turn]]:
    """Give the witness, and how to change what it sees."""
    if request.param == "made":
        yield _made_vcenter()
        return
    with running(request.getfixturevalue("certificates")) as simulator:
        yield _real_vcenter(simulator)


def test_vcenter(vcenter: tuple[Witness, Turn]) -> None:
    """On is up, off is down; a machine that it lost sight of, or does not have, and a server that is gone, are unknown."""
    seer, turn = vcenter
    target = Target("appserver", "primary", VM, "10.0.0.1")
    assert isinstance(seer.ask(target).evidence, Up)
    turn("off")
    assert isinstance(seer.ask(target).evidence, Down)
    turn("on")
    assert isinstance(seer.ask(target).evidence, Up)
    assert isinstance(seer.ask(Target("appserver", "primary", "nobody", "10.0.0.9")).evidence, Unknown)
    turn("lost")
    assert isinstance(seer.ask(target).evidence, Unknown)
    turn("gone")
    assert isinstance(seer.ask(target).evidence, Unknown)
