"""The stage for one schedule: the world of its kind, the instances in it, and what can happen to them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from habeat.act.run import Completed
from habeat.cycle import Ended
from habeat.errors import HabeatError, UsageError
from habeat.http import Reply
from habeat.machine import Decision
from habeat.model import Down, Evidence, Pause, Up
from habeat.simulator.configs import HOSTS, OUTSIDE, configured
from habeat.simulator.instance import Instance, fresh_journal
from habeat.simulator.invariants import Invariants
from habeat.simulator.made import Made, systemctl
from habeat.simulator.mail import Carbonio
from habeat.simulator.mesh import Mesh, node
from habeat.simulator.outsiders import Hetrix, Vcenter
from habeat.simulator.points import Process, Trap
from habeat.simulator.routes import Routes, Speaker
from habeat.simulator.schedule import Fault, Schedule
from habeat.simulator.world import BEGIN, THIRD, World

RESTART = 15.0
FRESH, CALM = 170.0, 15.0
OF_THE_WORLD = ("accounts", "standbys", "interval", "primary", "election", "lag")


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
        self._build()
        self.invariants = Invariants(self)
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
        while self.world.now < end and not self.invariants.settled():
            self.world.wait(step)
        self.invariants.at_the_end()

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
            return systemctl(made, words[1:])
        if program != "vtysh":
            self.invariants.acts(made.instance, program)
        return self.routes.run(made.instance.name, [program, *words[1:]])

    def heard(self, instance: Instance, witness: str, target: str, evidence: Evidence) -> None:
        """Note what a witness truly said of a target in this cycle."""
        if not instance.seen or target not in self.targets(instance):
            return
        seen = instance.seen[-1]
        if isinstance(evidence, Up):
            seen.up.add(f"{witness} {target}")
        if isinstance(evidence, Down):
            seen.down.add(f"{witness} {target}")

    def heard_consul(self, instance: Instance, path: str, reply: Reply) -> None:
        """Note what Consul's quorum said of the target's health."""
        target = self.targets(instance)[0]
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

    def kill(self, name: str, how: str = "") -> None:
        """Let a host lose its power; `lost` leaves vCenter without a word of it, as when its hypervisor dies."""
        host = self.world.hosts[name]
        host.up, host.hypervisor = False, how != "lost"
        if name in self.mesh.servers:
            self.mesh.servers[name].running = False
        if name in self.instances:
            self.instances[name].kill()

    def boot(self, name: str) -> None:
        """Give a host its power back; what starts with it starts."""
        host = self.world.hosts[name]
        if host.up:
            return
        host.up, host.boot, host.hypervisor, host.service = True, host.boot + 1, True, True
        self.routes.restore(name, announcing=name == "proxy1") if name in self.routes.speakers else None
        if name in self.mesh.servers:
            self.world.at(self.world.now + 5.0, lambda: self._systemd(name, host.boot))

    def _systemd(self, name: str, boot: int) -> None:
        """Start Consul at boot, again and again while it does not start."""
        host, server = self.world.hosts[name], self.mesh.servers[name]
        if not host.up or host.boot != boot or server.running:
            return
        if name in self.instances and self.world.now < self.instances[name].frozen_until:
            self.world.at(self.instances[name].frozen_until, lambda: self._systemd(name, boot))
            return
        started = self.instances[name].start_consul() if name in self.instances else None
        if started is None:
            self.mesh.start(name)
        elif not started:
            self.world.at(self.world.now + RESTART, lambda: self._systemd(name, boot))
        self.invariants.changed()

    def reboot(self, name: str) -> None:
        """Let a host lose its power for half a minute."""
        self.kill(name)

        def back() -> None:
            self.boot(name)
            self.world.change()

        self.world.at(self.world.now + 30.0, back)

    def cut(self, one: str, other: str) -> None:
        """Cut two hosts or sites (`*`: all) from each other."""
        self.world.cuts |= {(one, other), (other, one)}

    def one_way(self, one: str, other: str) -> None:
        """Let nothing from one arrive at the other."""
        self.world.cuts.add((one, other))

    def mend(self) -> None:
        """Mend all links."""
        self.world.cuts.clear()
        for host in self.world.hosts.values():
            host.plugged = True

    def unplug(self, name: str) -> None:
        """Pull a host's own plug."""
        self.world.hosts[name].plugged = False

    def service(self, name: str, state: str) -> None:
        """Stop (`off`) or start (`on`) a host's mail service."""
        self.world.hosts[name].service = state == "on"

    def agent(self, name: str, state: str) -> None:
        """Stop (`off`) or start (`on`) a host's Consul agent."""
        self.world.hosts[name].agent = state == "on"

    def stale(self, name: str, seconds: str) -> None:
        """Let Consul call a living host dead for some seconds, as after a cut that is mended."""
        self.mesh.stale[name] = self.world.now + float(seconds)

    def broken(self, name: str, times: str) -> None:
        """Let Consul's server on a host end at once, so many times."""
        self.mesh.broken[name] = int(times)

    def maintenance(self, name: str, state: str) -> None:
        """Put a host into Consul's maintenance, or end that."""
        (self.mesh.kept.add if state == "on" else self.mesh.kept.discard)(name)

    def consul(self, name: str, trouble: str) -> None:
        """Let a host's agent refuse writes (`denied`), hide all (`filtered`), be `slow`, or be `well`."""
        self.mesh.trouble[name] = trouble

    def hetrixtools(self, trouble: str) -> None:
        """Let HetrixTools be `paused`, `limited`, `garbage`, in `maintenance`, `silent`, or `well`."""
        self.hetrix.trouble = "" if trouble == "well" else trouble

    def vsphere(self, trouble: str) -> None:
        """Let vCenter be `silent`, or `well`."""
        self.vcenter.trouble = "" if trouble == "well" else trouble

    def command_fault(self, command: str, kind: str, times: str = "1") -> None:
        """Let a command of Carbonio go wrong some times: hang, garbage, unreachable, exit, slow, part, none."""
        self.carbonio.faults[command] = (kind, int(times))

    def account(self, host: str = "mbox1") -> None:
        """Let an account turn up late on a mailstore."""
        self.carbonio.add(len(self.carbonio.boxes) + 1, host, "mbox2")

    def unavailable(self, number: str) -> None:
        """Let the replica of an account be of no use."""
        list(self.carbonio.boxes.values())[int(number) - 1].available = False

    def crash(self, name: str, *point: str) -> None:
        """Kill a process: now, or when it next passes a point."""
        if point:
            self.instances[name].traps.append(Trap(" ".join(point), "crash"))
        else:
            self.instances[name].kill()

    def freeze(self, name: str, seconds: str, *point: str) -> None:
        """Freeze a machine for some seconds: now, or when its process next passes a point."""
        if point:
            self.instances[name].traps.append(Trap(" ".join(point), "freeze", float(seconds)))
        else:
            self.instances[name].freeze(float(seconds))

    def jump(self, name: str, seconds: str) -> None:
        """Let a machine's clock jump."""
        self.instances[name].jumped += float(seconds)

    def drift(self, name: str, percent: str) -> None:
        """Let a machine's clock gain some percent from now on."""
        instance, right = self.instances[name], self.world.now - BEGIN
        instance.jumped += (instance.drift - float(percent) / 100) * right
        instance.drift = float(percent) / 100

    def pause(self, name: str, seconds: str) -> None:
        """Let a person pause an instance for some seconds, as by `habeat pause`."""
        instance = self.instances[name]
        now = self.world.now + instance.offset
        with suppress(HabeatError):
            instance.journal(Process()).pause(Pause("ann", "maintenance", now, now + float(seconds)))
            self.invariants.paused[name] = (self.world.now, now + float(seconds))

    def resume(self, name: str) -> None:
        """Let a person end that, as by `habeat resume`."""
        instance = self.instances[name]
        with suppress(HabeatError):
            instance.journal(Process()).resume(self.world.now + instance.offset)
            self.invariants.paused.pop(name, None)

    def ack(self, name: str) -> None:
        """Let a person acknowledge the last failover, as by `habeat ack`."""
        instance = self.instances[name]
        with suppress(HabeatError):
            instance.journal(Process()).acknowledge("ann", "seen", self.world.now + instance.offset)
            self.invariants.acknowledged.add(name)

    def disk(self, name: str, state: str) -> None:
        """Let an instance's disk be `full`, or `free` again."""
        instance = self.instances[name]
        pages = instance.db.execute("PRAGMA page_count").fetchone()[0] if state == "full" else 1_000_000
        with suppress(sqlite3.Error):
            instance.db.execute(f"PRAGMA max_page_count={pages}")
        (self.full.add if state == "full" else self.full.discard)(name)

    def route(self, name: str, what: str, times: str = "1") -> None:
        """Let a host's bgpd lose its configuration (`lost`) or die (`dead`, `alive`), or a command of it fail."""
        speaker = self.routes.speakers[name]
        if what == "lost":
            speaker.network = False
        elif what in ("dead", "alive"):
            speaker.running = what == "alive"
        else:
            self.routes.faults[what] = int(times)


ACTIONS: dict[str, Callable[..., object]] = {
    "kill": Scene.kill,
    "boot": Scene.boot,
    "reboot": Scene.reboot,
    "cut": Scene.cut,
    "one-way": Scene.one_way,
    "mend": Scene.mend,
    "unplug": Scene.unplug,
    "service": Scene.service,
    "agent": Scene.agent,
    "stale": Scene.stale,
    "broken": Scene.broken,
    "maintenance": Scene.maintenance,
    "consul": Scene.consul,
    "hetrix": Scene.hetrixtools,
    "vcenter": Scene.vsphere,
    "carbonio": Scene.command_fault,
    "account": Scene.account,
    "unavailable": Scene.unavailable,
    "crash": Scene.crash,
    "freeze": Scene.freeze,
    "jump": Scene.jump,
    "drift": Scene.drift,
    "pause": Scene.pause,
    "resume": Scene.resume,
    "ack": Scene.ack,
    "disk": Scene.disk,
    "route": Scene.route,
}
"""What can happen, by the word that stands for it in a schedule."""
