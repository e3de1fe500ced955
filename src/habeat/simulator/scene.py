"""The stage for one schedule: the world of its kind, the instances in it, and what can happen to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from habeat.act.run import Completed
from habeat.cycle import Ended
from habeat.errors import UsageError
from habeat.http import Reply
from habeat.machine import Decision
from habeat.model import Down, Evidence, Up
from habeat.simulator.configs import HOSTS, OUTSIDE, configured
from habeat.simulator.goals import Goals
from habeat.simulator.happenings import ACTIONS
from habeat.simulator.instance import Instance, fresh_journal
from habeat.simulator.invariants import Invariants
from habeat.simulator.made import Made
from habeat.simulator.mail import Carbonio
from habeat.simulator.mesh import Mesh, node
from habeat.simulator.outsiders import Hetrix, Vcenter
from habeat.simulator.routes import Routes, Speaker
from habeat.simulator.schedule import Fault, Schedule
from habeat.simulator.units import Units
from habeat.simulator.world import BEGIN, THIRD, World

FRESH, CALM = 170.0, 15.0
OF_THE_WORLD = ("accounts", "standbys", "interval", "primary", "lists", "election", "lag")


class Scene:
    """One run of a schedule."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.world = World()
        self.instances: dict[str, Instance] = {}
        self.folders: dict[str, dict[str, Any]] = {}
        self.full: set[str] = set()
        self.torn = False  # a person must choose between two epochs
        self.mesh = Mesh(self.world, float(schedule.setting("election")))
        self.carbonio = Carbonio(self.world)
        self.hetrix = Hetrix(self.world, "watch")
        self.vcenter = Vcenter(self.world, "vc")
        self.routes = Routes(self.world, "router", float(schedule.setting("lag")))
        self.units = Units(self)
        self._build()
        self.invariants = Invariants(self)
        self.goals = Goals(self, self.invariants)
        for fault in schedule.faults:
            self.world.at(BEGIN + fault.at, lambda fault=fault: self.happen(fault))  # type: ignore[misc]

    def _build(self) -> None:
        schedule, kind = self.schedule, self.schedule.kind
        two = schedule.setting("survivors") == "2"
        hosts = {name: place for name, place in HOSTS[kind].items() if two or name not in ("svc4", "svc5")}
        for name, (site, address) in hosts.items():
            self.world.add(name, site, address)
        for name, address in OUTSIDE.items():
            self.world.add(name, "secondary" if name == "gateway" else THIRD, address)
        self.mesh.begin([name for name in hosts if name.startswith("svc")])
        self.hetrix.begin([name for name in hosts if kind == "quorum" or not name.startswith("svc")])
        if kind == "mail":
            self.carbonio.stores = ["mbox1", "mbox2", "mbox3"]
            self.carbonio.lists_promoted = schedule.setting("lists") == "on"
            self.carbonio.stalled = lambda host: self.mesh.leader(host) is None
            self.carbonio.offset = lambda host: self.instances[host].offset if host in self.instances else 0.0
            for number in range(1, int(schedule.setting("accounts")) + 1):
                self.carbonio.add(number, "mbox1", "mbox3" if number % 3 == 0 else "mbox2")
            standbys = ["mbox2", "mbox3"][: int(schedule.setting("standbys"))]
            names = [*standbys, *(["mbox1"] if schedule.setting("primary") == "on" else [])]
        elif kind == "proxy":
            self.routes.speakers = {"proxy1": Speaker(address=True, network=True), "proxy2": Speaker()}
            names = ["proxy2"]
        else:
            names = [name for name in hosts if name.startswith("svc")]
        interval = float(schedule.setting("interval"))
        for place, name in enumerate(names):
            config = configured(kind, name, self.world.hosts[name].site, tuple(sorted(self._settings().items())))
            self.instances[name] = Instance(name, config, interval, self, fresh_journal())
            self.world.at(BEGIN + 1.0 + place * interval / (len(names) + 1), self.instances[name].check)

    def _settings(self) -> dict[str, str]:
        found = dict(self.schedule.settings)
        return {name: value for name, value in found.items() if name not in OF_THE_WORLD}

    def run(self) -> None:
        """Run it to its end, or until all that must come has come and nothing more is to happen; raises Violation."""
        last = max((fault.at for fault in self.schedule.faults), default=0.0)
        end, step = BEGIN + self.schedule.end, float(self.schedule.setting("interval"))
        self.world.run(BEGIN + min(last, self.schedule.end))
        while self.world.now < end and not self.goals.settled():
            self.world.wait(step)
        self.goals.at_the_end()

    def targets(self, instance: Instance) -> Sequence[str]:
        """Return the hosts that an instance watches."""
        if self.schedule.kind == "mail":
            return ["mbox2"] if instance.name == "mbox1" else ["mbox1"]
        if self.schedule.kind == "proxy":
            return ["proxy1"]
        here = self.world.hosts[instance.name].site
        return [name for name in self.mesh.servers if self.world.hosts[name].site != here]

    # -- what the instances do, and see

    def command(self, program: str, words: Sequence[str]) -> str:
        """Return the name of a command in a point's name."""
        if program in ("carbonio", "zmprov"):
            plain = [word for word in words if not word.startswith("--")]
            named = {"gas": "gas", "-s": "fc"}.get(plain[0], "ga") if plain else "ga"
            return plain[1] if program == "carbonio" else named
        return words[0] if program == "systemctl" else program

    def execute(self, made: Made, program: str, words: list[str], stdin: str) -> Completed | None:
        """Return how a command of an instance ended, or None for one that hangs."""
        if program in ("carbonio", "zmprov"):
            command = self.command(program, words[1:])
            self.invariants.acts(made.instance, command)
            return self.carbonio.run(made.instance.name, program, words[1:], stdin, made.alive)
        if program == "systemctl":
            if words[1] == "stop":
                self.invariants.acts(made.instance, "stop")
            return self.units.systemctl(made.instance.name, words[1:])
        if program != "vtysh":
            self.invariants.acts(made.instance, program)
        return self.routes.run(made.instance.name, [program, *words[1:]])

    def heard(self, instance: Instance, witness: str, target: str, evidence: Evidence) -> None:
        """Note what a witness truly said of a target in this cycle."""
        if not instance.seen or target not in instance.targets:
            return
        seen = instance.seen[-1]
        if isinstance(evidence, Up):
            seen.up.add(f"{witness} {target}")
        if isinstance(evidence, Down):
            seen.down.add(f"{witness} {target}")

    def heard_consul(self, instance: Instance, path: str, reply: Reply) -> None:
        """Note what Consul's quorum said of the target's health."""
        target = instance.targets[0]
        if not path.startswith(f"/v1/health/node/{node(target, self.mesh)}"):
            return
        if b'"serfHealth", "Status": "passing"' in reply.body:
            self.heard(instance, "Consul", target, Up("passing"))
        elif b'"serfHealth", "Status": "critical"' in reply.body and b"_node_maintenance" not in reply.body:
            self.heard(instance, "Consul", target, Down("critical"))

    def heard_hetrix(self, instance: Instance, path: str) -> None:
        """Note what HetrixTools knows of a host, where it gave a whole and fresh answer."""
        host = path.partition("name=")[2].partition("&")[0]
        monitor = self.hetrix.monitors.get(host)
        if monitor is None or self.hetrix.trouble not in ("", "paused"):
            return
        age = self.world.now - monitor.checked
        if monitor.up and age <= FRESH:
            self.heard(instance, "HetrixTools", host, Up("up"))
        elif not monitor.up and age <= FRESH + CALM:
            self.heard(instance, "HetrixTools", host, Down("down"))

    def decided(self, instance: Instance, decision: Decision) -> None:
        """Check a decision of an instance."""
        self.invariants.decided(instance, decision)

    def ended(self, instance: Instance, ended: Ended) -> None:
        """Check a cycle of an instance."""
        self.invariants.ended(instance, ended)

    # -- what happens

    def happen(self, fault: Fault) -> None:
        """Let a fault happen."""
        self.world.tell(f"-- {fault.what} {' '.join(fault.args)}")
        try:
            ACTIONS[fault.what](self, *fault.args)
        except (KeyError, IndexError) as error:
            raise UsageError(f"`{fault}` cannot happen in this schedule: there is no {error}") from error
        self.world.change()
        self.invariants.changed()
