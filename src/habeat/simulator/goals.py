"""What must have come in the end: liveness, by the truth of the made-up world, and what a scenario expects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from habeat.machine import State
from habeat.simulator.points import Process
from habeat.simulator.violation import Violation

if TYPE_CHECKING:
    from habeat.simulator.instance import Instance
    from habeat.simulator.invariants import Invariants
    from habeat.simulator.mail import Mailbox
    from habeat.simulator.scene import Scene

LATE, LONG = 600.0, 1e9
QUIET, STUCK = 2, 20
FOR_A_PERSON = ("`habeat ack`", "was never saved", "look for the cause here", "is not put back", "a person must choose")
MOVING = ("suspect", "failing_over")


class Goals:
    """Watches one scene, whose `invariants` know what was seen on the way."""

    def __init__(self, scene: Scene, invariants: Invariants) -> None:
        self.scene, self.seen = scene, invariants
        self.quiet, self.stuck = 0, 0
        self.looked_at = scene.world.now

    def settled(self) -> bool:
        """Tell whether all has come that must come, for some time."""
        calm = self.seen.disturbed_at <= self.looked_at and self._goal() is None
        self.looked_at, self.quiet = self.scene.world.now, self.quiet + 1 if calm else 0
        self.stuck = 0 if calm or self._able() else self.stuck + 1
        return self.quiet > QUIET or self.stuck > STUCK

    def at_the_end(self) -> None:
        """Demand that what must come has come, and what the schedule expects."""
        missing = self._goal() if self.quiet <= QUIET else None
        if missing is not None and self._able():
            raise Violation("L", missing)
        for what in self.scene.schedule.expect:
            self._expected(what)

    def _goal(self) -> str | None:
        return {"mail": self._mail, "proxy": self._proxy, "quorum": self._quorum}[self.scene.schedule.kind]()

    def _mail(self) -> str | None:
        scene, dead = self.scene, not self.scene.world.hosts["mbox1"].up
        standbys = [i for i in scene.instances.values() if i.name != "mbox1"]
        # Else it may be the one that promoted that is not.
        able = all(i.up() and not self._paused(i) for i in standbys) and not scene.carbonio.misdated
        for box in scene.carbonio.boxes.values():
            if dead and box.host == "mbox1" and box.available and box.moves == 0:
                return f"{box.name} is still on the dead mbox1"
            if able and box.moves and not box.by_hand and not self._cared(box):
                told = f"flushed on {box.flushed}, {box.restarted} restarts"
                return f"{box.name} was promoted, and not cared for ({told})"
            if dead and box.host == "mbox1" and not box.moves and box.key not in self._named():
                return f"{box.name} stays on the dead mbox1, and is not named with the reason"
        waiting = [i for i in standbys if i.up() and not self._paused(i) and self._state(i) in MOVING]
        if waiting:
            return f"{waiting[0].name} has not come to an end"
        primary, stands = scene.instances.get("mbox1"), scene.carbonio.module.get("mbox1", True)
        back = primary is not None and primary.up() and scene.world.hosts["mbox2"].up and self._may(primary)
        return "the HA module of mbox1 is stopped, though mbox2 is back" if back and not stands else None

    def _cared(self, box: Mailbox) -> bool:
        return bool(box.host in box.flushed and box.restarted) or box.key in self._given_up()

    def _given_up(self) -> set[str]:
        """Return the accounts that were told as promoted, and as not cared for in spite of all tries."""
        return {
            entry.key
            for instance in self.scene.instances.values()
            for _, decision in instance.decisions
            if decision.row == "R2" and decision.memory.failover is not None
            if any(
                "given up" in (step.detail or "")
                for step in instance.journal(Process()).failover(decision.memory.failover).steps
            )
            for what in ("flushed", "restarted")
            for entry in instance.journal(Process()).entries(decision.memory.failover, "promoted", lacking=what)
        }

    def _named(self) -> set[str]:
        """Return the accounts that some standby wrote down as not promoted, with the reason."""
        found = set()
        for instance in self.scene.instances.values():
            failover = instance.decisions[-1][1].memory.failover if instance.decisions else None
            entries = instance.journal(Process()).entries(failover, "refused") if failover is not None else []
            found |= {entry.key for entry in entries if entry.reason}
        return found

    def _proxy(self) -> str | None:
        routes, back = self.scene.routes, self.scene.world.hosts["proxy1"].up
        instance = self.scene.instances["proxy2"]
        if not back:
            return None if routes.announces("proxy2") else "nobody announces what the dead proxy1 had"
        if self._state(instance) in ("failing_over", "failing_back", "active", "suspect"):
            return f"proxy2 has not come to rest: it is {self._state(instance)}"
        automatic = self.scene.schedule.setting("deactivate") == "on" and not _announced_by_hand(self.scene)
        return "proxy2 still announces, though proxy1 is back" if automatic and routes.announces("proxy2") else None

    def _quorum(self) -> str | None:
        mesh, world = self.scene.mesh, self.scene.world
        leading = [history for history in mesh.histories if mesh.leads(history)]
        if not leading:
            return "Consul has no leader"
        apart = [s.host for s in mesh.servers.values() if world.hosts[s.host].up and s.data is not leading[0]]
        if apart:
            return f"{apart[0]} is not part of the cluster"
        waiting = [i for i in self._live() if self._state(i) in ("failing_over", "failing_back")]
        return f"{waiting[0].name} has not come to rest: it is {self._state(waiting[0])}" if waiting else None

    def _live(self) -> list[Instance]:
        return [instance for instance in self.scene.instances.values() if instance.up()]

    def _state(self, instance: Instance) -> str:
        return instance.decisions[-1][1].after.value if instance.decisions else State.STANDBY.value

    def _able(self) -> bool:
        """Tell whether somebody could have done what is missing."""
        scene = self.scene
        if scene.world.cuts or not all(h.plugged and h.agent and h.service for h in scene.world.hosts.values()):
            return False
        if scene.torn or scene.units.put_down or (scene.schedule.kind == "proxy" and scene.routes.silent("proxy1")):
            return False
        if any(scene.routes.faults.values()) or not all(s.running for s in scene.routes.speakers.values()):
            return False
        if any(trouble not in ("", "well") for trouble in scene.mesh.trouble.values()) or scene.full:
            return False
        if scene.schedule.kind == "quorum" and not self._enough():
            return False
        names = {"mail": ["mbox2", "mbox3"], "proxy": ["proxy2"], "quorum": list(scene.mesh.servers)}
        found = [i for i in self._live() if i.name in names[scene.schedule.kind]]
        needed = any if scene.schedule.kind == "mail" else all  # of two standbys one will do
        return bool(found) and needed(self._may(instance) for instance in found)

    def _enough(self) -> bool:
        """Tell whether enough live to elect a leader, or the whole other site is dead, so that habeat rebuilds that."""
        mesh, hosts = self.scene.mesh, self.scene.world.hosts
        if not any(hosts[name].up for name in mesh.servers if hosts[name].site == "primary"):
            return True
        held = [server.data for server in mesh.servers.values() if server.data and hosts[server.host].up]
        newest = max(held, key=lambda history: history.number, default=None)
        living = [] if newest is None else [host for host in newest.voters.values() if hosts[host].up]
        return newest is not None and len(living) > len(newest.voters) // 2

    def _may(self, instance: Instance) -> bool:
        world, scene, acknowledged = self.scene.world, self.scene, self.seen.acknowledged
        if self._paused(instance):
            return False
        server = scene.mesh.servers.get(instance.name)
        returned = server is not None and server.data is None and instance.config.local.whoami == "primary"
        if not returned and instance.decisions and any(t in instance.decisions[-1][1].sentence for t in FOR_A_PERSON):
            return False
        if scene.schedule.kind == "proxy" and scene.schedule.setting("checks") == "off" and scene.schedule.spoils():
            return False  # without checks nobody can see that what was taken over stands no longer
        ended = self.seen.finished.get(instance.name, -LONG)
        cooling = world.now - ended < LATE + instance.config.policy.cooldown and instance.name not in acknowledged
        if cooling and self._state(instance) in ("standby", "suspect", "awaiting_failback"):
            return False
        if scene.mesh.leader(instance.name) is None and scene.schedule.kind == "mail":
            return False
        dead = [name for name in instance.targets if not world.hosts[name].up]
        can = {
            "consul": scene.mesh.leader(instance.name) is not None and not scene.mesh.kept & set(dead),
            "hetrix": scene.hetrix.trouble == "",
            "vcenter": scene.vcenter.trouble == "" and all(world.hosts[name].hypervisor for name in dead),
        }
        return sum(can[provider] for provider in instance.config.providers) >= instance.config.witnesses.required

    def _paused(self, instance: Instance) -> bool:
        """Tell whether a person paused an instance until now, by its own clock, or until just now."""
        paused = self.seen.paused.get(instance.name)
        return paused is not None and paused[1] > instance.clock - LATE

    def _expected(self, what: str) -> None:
        """Demand what a scenario expects."""
        boxes = self.scene.carbonio.boxes.values()
        word, *rest = what.split()
        moved = [box.name for box in boxes if box.moves]
        if word == "untouched" and (moved or len(self.seen.led) > 1 or self.seen.finished):
            raise Violation(
                "expect", f"nothing was to be touched, and {moved or self.seen.finished or self.seen.led} were"
            )
        if word == "promoted" and any(box.moves != 1 for box in boxes if box.available or box.moves):
            raise Violation("expect", f"all accounts were to be promoted once, and only {moved} were")
        if word == "rebuilt" and len(self.seen.led) < 2:
            raise Violation("expect", "Consul's quorum was to be rebuilt, and was not")
        if word == "announced" and not self.scene.routes.announces(rest[0]):
            raise Violation("expect", f"{rest[0]} was to announce, and does not")
        if word == "state" and self._state(self.scene.instances[rest[0]]) != rest[1]:
            state = self._state(self.scene.instances[rest[0]])
            raise Violation("expect", f"{rest[0]} was to be {rest[1]}, and is {state}")


def _announced_by_hand(scene: Scene) -> bool:
    """Tell whether a person announced the address: what is not by habeat, habeat does not give back."""
    return any(fault.args[1:] in (("take",), ("tell",)) for fault in scene.schedule.faults if fault.what == "hand")
