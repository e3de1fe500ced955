"""What must hold in every schedule, by the truth of the made-up world and not by what habeat believes.

I1  nothing is taken over but after enough cycles in which the target was truly silent and witnesses truly said so
I2  who takes over holds the lock, and no two promotions have the same account at once
I3  no account is promoted again; in the end every one is promoted, flushed and restarted, or named; and Consul's
    servers never go on with a history that another one took the place of, nor with two at a time
I4  every cycle ends
I5  what is told as done is so
I6  no second failover within the cooldown, unless a person acknowledged
I7  nothing is begun while a person has paused
I8  every decision is one whole sentence, and follows again from what the journal kept
I9  (no shell, least rights) has no place in a made-up world; the test suite holds it

Liveness is in `goals`.
"""

from __future__ import annotations

import json
import re
from itertools import takewhile
from typing import TYPE_CHECKING

from habeat.cycle import Ended
from habeat.grounds import conclude, grounds_from_json
from habeat.machine import Command, Decision, State
from habeat.node import target_of
from habeat.quorum import Recovery, Stage, epoch_of, recovery_of
from habeat.roles import EPOCH, RECOVERY
from habeat.simulator.instance import Instance
from habeat.simulator.mail import Operation
from habeat.simulator.mesh import History
from habeat.simulator.points import Process, Seen
from habeat.simulator.violation import Violation
from habeat.simulator.world import BEGIN

if TYPE_CHECKING:
    from habeat.simulator.scene import Scene

GIVES = ("untell", "give", "doStartService")
TAKES = ("promoteAccounts", "doStopService", "take", "tell", "stop")
STARTS = ("S7", "U7", "W8", "A23")
LONGEST_CYCLE = 1500.0
CALM, SLACK = 20.0, 4.0
REMEMBERED = 70.0
NOT_SO = (
    "cut short",
    "broken off",
    "no longer stands here",
    "cannot be told whether",
    "still to be given back",
    "nothing was taken over",
)
NOT_OURS = "what is still here is not habeat's"
TOLD = ("R1", "R2", "R9", "R5")


class Invariants:
    """Watches one scene; raises Violation."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.paused: dict[str, tuple[float, float]] = {}
        self.acknowledged: set[str] = set()
        self.finished: dict[str, float] = {}
        self.led: set[int] = set()
        self.before: dict[str, History | None] = {}
        self.undone: dict[str, tuple[int, int]] = {}
        self.disturbed_at = BEGIN
        self.beyond = False  # an old history leads by the votes of clean servers that were cut off: not promised
        scene.carbonio.begun.append(self._begun)
        scene.mesh.elected.append(self._elected)
        scene.mesh.begins.append(self.begins)
        scene.mesh.removes.append(self._removes)

    # -- while it runs

    def changed(self) -> None:
        """See whether the histories of Consul are still one, after something happened."""
        self.disturbed_at = self.scene.world.now
        for history in self.scene.mesh.histories:
            if self.scene.mesh.leads(history):
                self._elected(history)

    def _elected(self, history: History) -> None:
        mesh = self.scene.mesh
        newer = [number for number in self.led if number > history.number]
        if newer and any(mesh.servers[host].missed for host in history.group):
            self.beyond = self.scene.torn = True
        if self.beyond:
            return
        for other in mesh.histories:
            if other is not history and mesh.leads(other):
                raise Violation("I3", f"two leaders serve: of history {history.number} and of {other.number}")
        if newer:
            raise Violation("I3", f"history {history.number} goes on after {newer[0]} had taken its place")
        self.led.add(history.number)

    def _begun(self, new: Operation) -> None:
        """Demand of a promotion that no other still has one of its accounts, and that none has left already."""
        instance, carbonio = self.scene.instances.get(new.host), self.scene.carbonio
        if instance is None or new.by_hand or instance.thawed_at >= instance.process.step_at:
            return
        longest = 2 * instance.config.carbonio.promote_timeout  # older ones are not waited for: everything is bounded
        for other in carbonio.operations:
            recent = instance.clock - other.started <= longest - SLACK
            if recent and not other.by_hand and (same := set(new.left) & set(other.left)):
                name = carbonio.boxes[min(same)].name
                raise Violation("I2", f"two promotions of {name} at once: by {other.host}, and by {new.host}")
        if again := [box.name for box in map(carbonio.boxes.__getitem__, new.left) if box.moves and not box.by_hand]:
            raise Violation("I3", f"{new.host} promotes {again[0]} again")

    def acts(self, instance: Instance, command: str) -> None:
        """Check a command that is about to run."""
        if command not in (*TAKES, *GIVES) or not instance.decisions:
            return
        process, paused = instance.process, self.paused.get(instance.name)
        if paused and paused[0] < process.step_at and process.step_clock < paused[1]:
            raise Violation("I7", f"{instance.name} runs {command}, though it was paused before this step")
        if command in TAKES:
            self._takes(instance, command)

    def _takes(self, instance: Instance, command: str) -> None:
        """Check a command that takes something over."""
        now, decision = self.scene.world.now, instance.decisions[-1][1]
        if decision.command is Command.ACTIVATE and decision.row != "F18":
            self._dead(instance, command)
        if decision.command in (Command.CARE, Command.CLOSE) and command != "stop":
            raise Violation("I1", f"{instance.name} runs {command} though {decision.sentence}")
        if command == "promoteAccounts":
            self._locked(instance)
        woke = instance.thawed_at >= instance.process.step_at  # frozen between its last look and this command
        if command == "take" and self.scene.schedule.setting("checks") == "on" and not woke:
            other = self.scene.routes.speakers["proxy1"]
            if self.scene.routes.announces("proxy1") and now - max(other.since, self.disturbed_at) > CALM:
                raise Violation("I1", f"{instance.name} takes over what the other site announces")

    def rebuilds(self, instance: Instance) -> None:
        """Check peers.json, which is about to be written."""
        name, journal = instance.name, instance.journal(Process())
        recovery = _recovery(instance)
        if recovery is None or epoch_of(json.loads(journal.noted(EPOCH) or "null")).id != recovery.epoch.id:
            raise Violation("I3", f"{name} writes peers.json before it tells the epoch")
        if instance.decisions[-1][1].command is not Command.ACTIVATE:
            return  # it follows others, whose history has begun
        back = [host for host in instance.targets if self._answers(instance, host)]
        if back and self.disturbed_at < instance.process.step_at:
            raise Violation("I1", f"{name} writes peers.json, and {back[0]} answers")
        if recovery.epoch.by == f"server-{name}":
            self._leads(instance, recovery)

    def _went_on(self, instance: Instance, recovery: Recovery) -> bool:
        """Tell whether another began a recovery's history, which this one only follows, though it had made the plan."""
        plans = [_recovery(other) for other in self.scene.instances.values() if other is not instance]
        return any(plan is not None and plan.begun and plan.epoch.id == recovery.epoch.id for plan in plans)

    def _leads(self, instance: Instance, recovery: Recovery) -> None:
        """Check the plan of the survivor that made it: whom it counts on, and that none was undone before, unasked."""
        scene, name = self.scene, instance.name
        if self.undone.get(name) == (recovery.failover, recovery.round) and not self._went_on(instance, recovery):
            raise Violation("I6", f"{name} rebuilds the quorum again after that was undone, and nobody acknowledged")
        began = instance.journal(Process()).failover(recovery.failover).started_at - instance.offset
        for peer in recovery.peers:
            self._agreed(scene.instances[peer.node.removeprefix("server-")], began)
        counted, planned = {peer.id for peer in recovery.peers}, recovery.epoch.at - instance.offset - CALM
        if self.disturbed_at >= planned or self._jumped(instance):
            return
        history = scene.mesh.servers[name].data
        for server in scene.mesh.servers.values():
            host = scene.world.hosts[server.host]
            near = host.site == instance.host.site and host.frozen_until < planned
            # A clean one that no leader has taken in has nothing to bring, nor has one that rebuilt another history.
            votes = server.data is not None and history is not None and server.id in history.voters
            if near and votes and server.id not in counted and self._answers(instance, server.host):
                raise Violation("I1", f"{name} rebuilds the quorum without {server.host}, which answers")

    def restores(self, instance: Instance, backup: str) -> None:
        """Check that no history which has had a leader is lost when a copy is about to be put back."""
        server, recovery = self.scene.mesh.servers[instance.name], _recovery(instance)
        copied, _ = self.scene.folders[instance.name][backup]
        if server.data is not None and server.data is not copied and server.data.led:
            raise Violation("I3", f"{instance.name} puts old data back, and the new has had a leader")
        if recovery is not None:
            self.undone[instance.name] = (recovery.failover, recovery.round)

    def acknowledges(self, name: str) -> None:
        """Note that a person acknowledged what an instance did last."""
        self.acknowledged.add(name)
        self.undone.pop(name, None)

    def _removes(self, by: str, name: str) -> None:
        """Check that a server which loses its vote is not alive."""
        instance = self.scene.instances[by]
        if self._answers(instance, name) and self.disturbed_at < instance.process.step_at:
            raise Violation("I1", f"{by} takes the vote of {name}, which answers")

    def _answers(self, instance: Instance, host: str) -> bool:
        """Tell whether another host surely answers a ping in time."""
        world, name = self.scene.world, instance.name
        prompt = world.delay(name, host) < instance.config.probes.timeout
        return world.talk(name, host) and prompt and world.loss(name, host) == 0

    def begins(self, name: str) -> None:
        """Check peers.json, which Consul's server on a host is about to take in."""
        server = self.scene.mesh.servers[name]
        if (server.data, server.starts) not in self.scene.folders.get(name, {}).values():
            raise Violation("I3", f"{name} takes peers.json in, and has no copy of its data as it is now")

    def cleans(self, instance: Instance) -> None:
        """Check that nobody who is there counts on the data that a server is about to throw away."""
        mesh, own = self.scene.mesh, self.scene.mesh.servers[instance.name].id
        for other in filter(Instance.up, self.scene.instances.values()):
            plan, server = _recovery(other), mesh.servers[other.name]
            waits = plan is not None and plan.stage is Stage.WRITTEN and own in {peer.id for peer in plan.peers}
            if other is not instance and waits and (server.peers is not None or not (server.data and server.data.led)):
                raise Violation("I3", f"{instance.name} throws away its data, on which {other.name} counts")

    def _agreed(self, survivor: Instance, began: float) -> None:
        """Demand that another survivor called the other site dead at some time since a failover began, or before."""
        earlier = [decision for at, decision in survivor.decisions if at < began][-1:]
        later = [decision for at, decision in survivor.decisions if at >= began]
        noted = survivor.journal(Process()).memory(target_of(survivor.config)).state  # killed before it told that
        if noted != State.FAILING_OVER.value and not any(d.after is State.FAILING_OVER for d in (*earlier, *later)):
            raise Violation(
                "I1", f"the quorum is rebuilt with {survivor.name}, which does not call the other site dead"
            )

    def _dead(self, instance: Instance, command: str) -> None:
        """Demand that the last cycles truly saw a dead target."""
        policy = instance.config.policy
        counted = [seen for seen in instance.seen if seen.counted]
        dead = list(takewhile(lambda seen: self._saw_death(instance, seen), reversed(counted)))
        spans = policy.confirmations == 1 or (dead and dead[0].at - dead[-1].at >= policy.confirmation_time - SLACK)
        spans = spans or self._jumped(instance)
        if len(dead) < policy.confirmations or not spans:
            last = counted[-policy.confirmations :]
            raise Violation("I1", f"{instance.name} runs {command}, and what it saw was {last}")

    def _saw_death(self, instance: Instance, seen: Seen) -> bool:
        quiet = seen.silent and not seen.reached and not seen.up
        return quiet and self._told(instance, seen) >= instance.config.witnesses.required

    def _told(self, instance: Instance, cycle: Seen) -> int:
        """Return how many witnesses truly called all targets dead in a cycle, or shortly before and were remembered."""
        near = [seen for seen in instance.seen if cycle.at - REMEMBERED <= seen.at <= cycle.at]
        words = {word for seen in near for word in seen.down if word.startswith("Hetrix")} | cycle.down
        targets = instance.targets
        names = ("Consul", "HetrixTools", "vCenter")
        return sum(all(f"{name} {target}" in words for target in targets) for name in names)

    def _locked(self, instance: Instance) -> None:
        mesh = self.scene.mesh
        if mesh.leader(instance.name) is None or instance.process.refused:
            return
        session = instance.journal(Process()).noted("consul-session")
        holder = mesh.holder("habeat/failover/mbox1")
        if holder not in (session, None) and instance.thawed_at < instance.process.step_at:
            raise Violation("I2", f"{instance.name} promotes, and the lock is held by {holder or 'nobody'}")

    def decided(self, instance: Instance, decision: Decision) -> None:
        """Check a decision."""
        sentence, now = decision.sentence, self.scene.world.now
        if re.search(r"\{[a-z]+\}", sentence) or not sentence.endswith("."):
            raise Violation("I8", f"{instance.name} says no whole sentence: {sentence!r}")
        if decision.row in STARTS:
            self._cooled(instance, now)
            if decision.before is not State.ACTIVE:  # else it is the same failover, which is acknowledged as a whole
                self.acknowledged.discard(instance.name)
                self._begins_anew(instance)
        relapsed = decision.before is State.FAILING_BACK and decision.command is Command.ACTIVATE
        if relapsed and _recovery(instance) is None:  # all that was rebuilt had been given back
            self._begins_anew(instance)
        self.told(instance, sentence)
        if decision.row in ("R1", "R2"):
            self.finished[instance.name] = now
        if decision.row in TOLD and now - max(self.disturbed_at, instance.thawed_at) > CALM:
            self._so(instance, decision)

    def _begins_anew(self, instance: Instance) -> None:
        """Remember what Consul's server had begun before anything is rebuilt."""
        server = self.scene.mesh.servers.get(instance.name)
        self.before[instance.name] = None if server is None else server.begun

    def _cooled(self, instance: Instance, now: float) -> None:
        ended = self.finished.get(instance.name)
        if ended is None or instance.name in self.acknowledged or self._jumped(instance):
            return
        if now - ended < instance.config.policy.cooldown * (1 - abs(instance.drift)) - SLACK:
            raise Violation("I6", f"{instance.name} fails over again {now - ended:.0f} s after the last time")

    def _jumped(self, instance: Instance) -> bool:
        """Tell whether its clock jumps in this schedule: habeat measures across its runs by the machine's clock."""
        return any((fault.what, fault.args[:1]) == ("jump", (instance.name,)) for fault in self.scene.schedule.faults)

    def told(self, instance: Instance, text: str) -> None:
        """Check what a decision or a step tells of Consul's data: whether it took peers.json in in this failover."""
        server = self.scene.mesh.servers.get(instance.name)
        if server is None:
            return
        changed = server.begun is not self.before.get(instance.name)
        if changed and ("nothing is rebuilt here" in text or "nothing was rebuilt" in text):
            raise Violation("I5", f"{instance.name} says that nothing is rebuilt there, and it is")
        started = re.search(r"service-discover\.service (runs|is started)", text)
        if started and not server.running and self.disturbed_at < instance.process.step_at:
            raise Violation("I5", f"{instance.name} says that Consul runs, and it does not")
        given = changed or server.peers is not None
        if "already given the new configuration" in text and not given:
            raise Violation("I5", f"{instance.name} says that Consul was given a new configuration, and it was not")

    def _so(self, instance: Instance, decision: Decision) -> None:
        """Demand that what is told as done is so."""
        scene, checks = self.scene, self.scene.schedule.setting("checks") == "on"
        if scene.schedule.kind == "mail" and instance.name != "mbox1" and decision.memory.failover is not None:
            journal = instance.journal(Process())
            for entry in journal.entries(decision.memory.failover, "promoted"):
                if scene.carbonio.boxes[entry.key].host == "mbox1":
                    raise Violation("I5", f"{entry.name} is told as promoted and is still on mbox1")
            lacking = {entry.key for entry in journal.entries(decision.memory.failover, "promoted", lacking="flushed")}
            for entry in journal.entries(decision.memory.failover, "promoted"):
                box = scene.carbonio.boxes[entry.key]
                if entry.key not in lacking and box.host not in box.flushed:
                    raise Violation("I5", f"{entry.name} is told as flushed and is not, on {box.host}")
        if scene.schedule.kind == "proxy" and checks:
            told = any(text in decision.sentence for text in NOT_SO)
            took = decision.row in ("R1", "R9") and not told
            if took and not scene.routes.offers("proxy2"):
                raise Violation("I5", f"{instance.name} says that it took over, and nothing is announced")
            if decision.row == "R5" and scene.routes.announces("proxy2") and NOT_OURS not in decision.sentence:
                raise Violation("I5", f"{instance.name} says that it gave back, and still announces")
        rebuilt = scene.schedule.kind == "quorum" and decision.row == "R1" and "was rebuilt" in decision.sentence
        if rebuilt and scene.mesh.leader(instance.name) is None:
            raise Violation("I5", f"{instance.name} says that the quorum is rebuilt, and there is no leader")

    def lasts(self, instance: Instance) -> None:
        """Check a cycle that is not yet at its end."""
        took = self.scene.world.now - instance.process.begun
        if took > LONGEST_CYCLE:
            raise Violation("I4", f"a cycle of {instance.name} has not ended after {took:.0f} s")

    def ended(self, instance: Instance, ended: Ended) -> None:
        """Check a cycle that came to its end."""
        first = ended.decisions[0]
        if first.command is not Command.NONE or first.before is not first.after:
            event = instance.journal(Process()).events(limit=len(ended.decisions))[-1]
            again = conclude(grounds_from_json({"snapshot": event.evidence, "facts": event.circumstances}))[1]
            if (again.row, again.sentence) != (event.row, event.sentence):
                raise Violation("I8", f"{event.row} of {instance.name} does not follow again from what was kept")


def _recovery(instance: Instance) -> Recovery | None:
    """Return how far a recovery came on a host, by its journal."""
    return recovery_of(json.loads(instance.journal(Process()).noted(RECOVERY) or "null"))
