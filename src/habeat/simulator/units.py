"""systemd on the hosts of Consul's servers: one that does not start is tried again and again, until it is stopped.

As deploy/systemd has it: the guard before the start, `Restart=on-failure`, and no limit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from habeat.act.run import Completed
from habeat.act.unit import ENDED

if TYPE_CHECKING:
    from habeat.simulator.scene import Scene

RESTART, BOOTING = 15.0, 5.0


class Units:
    """The units of one scene, by their hosts' names; `jobs` counts what was asked of each, and the last one counts.

    `put_down` are those that a person stopped, and nobody started since.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.trying: set[str] = set()
        self.put_down: set[str] = set()
        self.jobs: Counter[str] = Counter()

    def state(self, name: str) -> str:
        """Return its ActiveState."""
        if self.scene.mesh.servers[name].running:
            return "active"
        return "activating" if name in self.trying else ENDED[0]

    def boots(self, name: str) -> None:
        """Start it with its machine."""
        job = self._job(name)
        self.scene.world.at(self.scene.world.now + BOOTING, lambda: self._again(name, job))

    def dies(self, name: str) -> None:
        """Let it end with its machine."""
        self._job(name)
        self.trying.discard(name)
        self.scene.mesh.servers[name].running = False

    def stop(self, name: str) -> None:
        """Stop it, and try no more."""
        self._job(name)
        self.trying.discard(name)
        self.scene.mesh.stop(name)

    def start(self, name: str) -> bool:
        """Start it, and tell whether it runs then."""
        return self.scene.mesh.servers[name].running or self._try(name, self._job(name))

    def _job(self, name: str) -> int:
        self.jobs[name] += 1
        self.put_down.discard(name)
        return self.jobs[name]

    def _try(self, name: str, job: int) -> bool:
        scene, server = self.scene, self.scene.mesh.servers[name]
        self.trying.add(name)
        instance = scene.instances.get(name)
        why = instance.allows_consul() if instance else "it starts"
        if self.jobs[name] != job:  # stopped, or started anew, while its guard thought
            return server.running
        if why is not None:
            scene.mesh.start(name)
            scene.world.tell(f"{name}: Consul {'starts' if server.running else 'breaks'}: {why}")
        if server.running:
            self.trying.discard(name)
        else:
            scene.world.at(scene.world.now + RESTART, lambda: self._again(name, job))
        scene.invariants.changed()
        return server.running

    def _again(self, name: str, job: int) -> None:
        scene, host = self.scene, self.scene.world.hosts[name]
        if self.jobs[name] != job or not host.up:
            return
        if scene.world.now < host.frozen_until:
            scene.world.at(host.frozen_until, lambda: self._again(name, job))
        else:
            self._try(name, job)

    def systemctl(self, name: str, words: Iterable[str]) -> Completed:
        """Return how `systemctl` ended: `show`, `stop` or `start`."""
        verb, *_ = words
        if verb == "show":
            return Completed(0, f"LoadState=loaded\nActiveState={self.state(name)}\n", "")
        if verb == "stop":
            self.stop(name)
            return Completed(0, "", "")
        if self.start(name):
            return Completed(0, "", "")
        return Completed(1, "", "the control process exited with error code")
