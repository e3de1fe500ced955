"""Consul servers of the simulator's made-up world, at rest: a test calls what it wants to see, and nothing else runs."""

from __future__ import annotations

from dataclasses import dataclass

from habeat.edges import Edges
from habeat.journal import Journal
from habeat.machine import Command
from habeat.node import consul_of
from habeat.quorum import Configuration, Epoch, Recovery, Server, Stage, to_json
from habeat.roles import RECOVERY
from habeat.roles.assembly import recoverer_of
from habeat.roles.consulserver import Recoverer
from habeat.roles.returning import Returning
from habeat.saga import Job
from habeat.simulator import mesh
from habeat.simulator.locks import Key
from habeat.simulator.made import Made
from habeat.simulator.points import Process
from habeat.simulator.scene import Scene
from habeat.simulator.schedule import Schedule

JOB = Job(1, 1, Command.ACTIVATE)


@dataclass
class MadeUp:
    """One server, and the world around it."""

    scene: Scene
    name: str

    @property
    def server(self) -> mesh.Server:
        """Return its Consul, as it truly is."""
        return self.scene.mesh.servers[self.name]

    @property
    def journal(self) -> Journal:
        """Return its journal."""
        return self.scene.instances[self.name].journal(Process())

    @property
    def edges(self) -> Edges:
        """Return its edges."""
        return Made(self.scene.instances[self.name], Process())

    @property
    def returning(self) -> Returning:
        """Return what guards its Consul."""
        return self.scene.instances[self.name].returning(Process())

    @property
    def recoverer(self) -> Recoverer:
        """Return what rebuilds Consul's quorum here."""
        config, edges = self.scene.instances[self.name].config, self.edges
        return recoverer_of(config, self.journal, consul_of(config, edges), edges.runner("", None), edges)

    def plan(self, stage: Stage, *peers: str, number: int = 1, backup: str = "") -> Recovery:
        """Let its journal have a recovery with some servers, and return that."""
        servers = tuple(self.voter(name) for name in peers or (self.name,))
        recovery = Recovery(JOB.failover, JOB.round, Epoch(number, f"id-{number}", "svc2"), servers, stage, backup)
        self.journal.note(RECOVERY, to_json(recovery))
        return recovery

    def voter(self, name: str) -> Server:
        """Return a server as raft knows it."""
        return Server(self.scene.mesh.servers[name].id, f"server-{name}", self.scene.world.hosts[name].address)

    @property
    def configuration(self) -> Configuration:
        """Return raft's configuration with all servers."""
        return Configuration(tuple(map(self.voter, self.scene.mesh.servers)))

    def tell(self, epoch: Epoch | None) -> None:
        """Let Consul's data tell an epoch, or none."""
        history, key = self.server.data, self.recoverer.key
        assert history is not None
        history.store.keys.pop(key, None)
        if epoch is not None:
            history.store.keys[key] = Key(to_json(epoch))

    def boot(self, *names: str) -> None:
        """Let machines come back, and Consul find a leader."""
        for name in names:
            self.scene.world.hosts[name].up = True
        self.scene.world.change()
        self.scene.world.wait(60.0)

    def lose(self, *names: str) -> None:
        """Let machines die, and Consul notice it."""
        for name in names:
            self.scene.world.hosts[name].up = False
        self.scene.world.change()
        self.scene.world.wait(60.0)


def made_up(name: str, survivors: int = 1) -> MadeUp:
    """Return a server of two sites at rest, of which the second has so many."""
    scene = Scene(Schedule("quorum", {"survivors": str(survivors)}))
    for instance in scene.instances.values():
        instance.busy, instance.process = True, Process(scene.world.now)  # so that no cycle runs
    return MadeUp(scene, name)
