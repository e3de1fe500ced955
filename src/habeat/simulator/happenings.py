"""What can happen in a made-up world to hosts, links, witnesses, Carbonio, routes and instances; what people do."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from habeat.errors import HabeatError
from habeat.model import Pause
from habeat.simulator.points import Crash, Process, Trap
from habeat.simulator.world import BEGIN

if TYPE_CHECKING:
    from habeat.simulator.scene import Scene


def kill(scene: Scene, name: str, how: str = "") -> None:
    """Let a host lose its power; `lost` leaves vCenter without a word of it, as when its hypervisor dies."""
    host = scene.world.hosts[name]
    host.up, host.hypervisor = False, how != "lost"
    if name in scene.mesh.servers:
        scene.units.dies(name)
    if name in scene.instances:
        scene.instances[name].kill()


def boot(scene: Scene, name: str) -> None:
    """Give a host its power back; what starts with it starts."""
    host = scene.world.hosts[name]
    if host.up:
        return
    host.up, host.boot, host.hypervisor, host.service = True, host.boot + 1, True, True
    if name in scene.routes.speakers:
        scene.routes.restore(name, announcing=name == "proxy1")
    if name in scene.mesh.servers:
        scene.units.boots(name)


def reboot(scene: Scene, name: str) -> None:
    """Let a host lose its power for half a minute."""
    kill(scene, name)

    def back() -> None:
        boot(scene, name)
        scene.world.change()

    scene.world.at(scene.world.now + 30.0, back)


def cut(scene: Scene, one: str, other: str) -> None:
    """Cut two hosts or sites (`*`: all) from each other."""
    scene.world.cuts |= {(one, other), (other, one)}


def one_way(scene: Scene, one: str, other: str) -> None:
    """Let nothing from one arrive at the other."""
    scene.world.cuts.add((one, other))


def lossy(scene: Scene, one: str, other: str, percent: str) -> None:
    """Let a link between two hosts or sites lose some percent of what is asked over it."""
    scene.world.lossy |= {(one, other): float(percent) / 100, (other, one): float(percent) / 100}


def slow(scene: Scene, one: str, other: str, seconds: str) -> None:
    """Let an answer over a link take some seconds."""
    scene.world.slow |= {(one, other): float(seconds), (other, one): float(seconds)}


def mend(scene: Scene) -> None:
    """Mend all links."""
    for trouble in (scene.world.cuts, scene.world.lossy, scene.world.slow):
        trouble.clear()
    for host in scene.world.hosts.values():
        host.plugged = True


def unplug(scene: Scene, name: str) -> None:
    """Pull a host's own plug."""
    scene.world.hosts[name].plugged = False


def service(scene: Scene, name: str, state: str) -> None:
    """Stop (`off`) or start (`on`) a host's mail service."""
    scene.world.hosts[name].service = state == "on"


def agent(scene: Scene, name: str, state: str) -> None:
    """Stop (`off`) or start (`on`) a host's Consul agent."""
    scene.world.hosts[name].agent = state == "on"


def stale(scene: Scene, name: str, seconds: str) -> None:
    """Let Consul call a living host dead for some seconds, as after a cut that is mended."""
    scene.mesh.stale[name] = scene.world.now + float(seconds)


def broken(scene: Scene, name: str, times: str) -> None:
    """Let Consul's server on a host end at once, so many times."""
    scene.mesh.broken[name] = int(times)


def maintenance(scene: Scene, name: str, state: str) -> None:
    """Put a host into Consul's maintenance, or end that."""
    (scene.mesh.kept.add if state == "on" else scene.mesh.kept.discard)(name)


def consul(scene: Scene, name: str, trouble: str) -> None:
    """Let a host's agent refuse writes (`denied`), hide all (`filtered`), be `slow`, or be `well`."""
    scene.mesh.trouble[name] = trouble


def hetrixtools(scene: Scene, trouble: str) -> None:
    """Let HetrixTools be `paused`, `limited`, `garbage`, in `maintenance`, `silent`, or `well`."""
    scene.hetrix.trouble = "" if trouble == "well" else trouble


def vsphere(scene: Scene, trouble: str) -> None:
    """Let vCenter be `silent`, refuse the login (`refused`), know nothing newer (`stale`), or be `well`."""
    scene.vcenter.turn("" if trouble == "well" else trouble)


def command_fault(scene: Scene, command: str, kind: str, times: str = "1") -> None:
    """Let a command of Carbonio go wrong some times: hang, garbage, unreachable, exit, slow, part, none."""
    scene.carbonio.faults[command] = (kind, int(times))


def account(scene: Scene, host: str = "mbox1") -> None:
    """Let an account turn up late on a mailstore."""
    scene.carbonio.add(len(scene.carbonio.boxes) + 1, host, "mbox2")


def unavailable(scene: Scene, number: str) -> None:
    """Let the replica of an account be of no use."""
    list(scene.carbonio.boxes.values())[int(number) - 1].available = False


def crash(scene: Scene, name: str, *point: str) -> None:
    """Kill a process: now, or when it next passes a point."""
    if point:
        scene.instances[name].traps.append(Trap(" ".join(point), "crash"))
    else:
        scene.instances[name].kill()


def freeze(scene: Scene, name: str, seconds: str, *point: str) -> None:
    """Freeze a machine for some seconds: now, or when its process next passes a point."""
    if point:
        scene.instances[name].traps.append(Trap(" ".join(point), "freeze", float(seconds)))
    else:
        scene.instances[name].freeze(float(seconds))


def jump(scene: Scene, name: str, seconds: str) -> None:
    """Let a machine's clock jump."""
    scene.instances[name].jumped += float(seconds)


def drift(scene: Scene, name: str, percent: str) -> None:
    """Let a machine's clock gain some percent from now on."""
    instance, right = scene.instances[name], scene.world.now - BEGIN
    instance.jumped += (instance.drift - float(percent) / 100) * right
    instance.drift = float(percent) / 100


def pause(scene: Scene, name: str, seconds: str) -> None:
    """Let a person pause an instance for some seconds, as by `habeat pause`."""
    instance = scene.instances[name]
    now = instance.clock
    with suppress(HabeatError):
        instance.journal(Process()).pause(Pause("ann", "maintenance", now, now + float(seconds)))
        scene.invariants.paused[name] = (scene.world.now, now + float(seconds))


def resume(scene: Scene, name: str) -> None:
    """Let a person end that, as by `habeat resume`."""
    instance = scene.instances[name]
    with suppress(HabeatError):
        instance.journal(Process()).resume(instance.clock)
        scene.invariants.paused.pop(name, None)


def ack(scene: Scene, name: str) -> None:
    """Let a person acknowledge the last failover, as by `habeat ack`."""
    instance = scene.instances[name]
    with suppress(HabeatError):
        instance.journal(Process()).acknowledge("ann", "seen", instance.clock)
        scene.invariants.acknowledges(name)


def hand(scene: Scene, name: str, command: str) -> None:
    """Let a person run a command on a host: of habeat (`check`, `rejoin`, `allow`), systemd, Carbonio or the switch."""
    host = scene.world.hosts[name]
    if not host.up or host.frozen_until > scene.world.now:
        return
    if command == "start":
        scene.units.start(name)
    elif command == "stop":
        scene.units.stop(name)
        scene.units.put_down.add(name)
    elif command == "promote":
        if not scene.carbonio.stalled(name):
            scene.carbonio.promote_by_hand(name, "mbox1")
    elif command == "check":
        scene.instances[name].run()
    elif command == "rejoin":
        scene.instances[name].rejoin()
    elif command == "allow":
        if not any(scene.mesh.leads(history) for history in scene.mesh.histories):  # a person looks first
            with suppress(HabeatError, Crash):  # a person's command can be killed too
                scene.instances[name].returning(Process()).allow()
    else:
        scene.routes.run(name, [command])


def disk(scene: Scene, name: str, state: str) -> None:
    """Let an instance's disk be `full`, or `free` again."""
    instance = scene.instances[name]
    pages = instance.db.execute("PRAGMA page_count").fetchone()[0] if state == "full" else 1_000_000
    with suppress(sqlite3.Error):
        instance.db.execute(f"PRAGMA max_page_count={pages}")
    (scene.full.add if state == "full" else scene.full.discard)(name)


def route(scene: Scene, name: str, what: str, times: str = "1") -> None:
    """Let a host's bgpd lose its configuration (`lost`) or die (`dead`, `alive`), or a command of it fail."""
    speaker = scene.routes.speakers[name]
    if what == "lost":
        speaker.network = False
    elif what in ("dead", "alive"):
        speaker.running = what == "alive"
    else:
        scene.routes.faults[what] = int(times)


ACTIONS: dict[str, Callable[..., object]] = {
    "kill": kill,
    "boot": boot,
    "reboot": reboot,
    "cut": cut,
    "one-way": one_way,
    "lossy": lossy,
    "slow": slow,
    "mend": mend,
    "unplug": unplug,
    "service": service,
    "agent": agent,
    "stale": stale,
    "broken": broken,
    "maintenance": maintenance,
    "consul": consul,
    "hetrix": hetrixtools,
    "vcenter": vsphere,
    "carbonio": command_fault,
    "account": account,
    "unavailable": unavailable,
    "crash": crash,
    "freeze": freeze,
    "jump": jump,
    "drift": drift,
    "pause": pause,
    "resume": resume,
    "ack": ack,
    "hand": hand,
    "disk": disk,
    "route": route,
}
"""What can happen, by the word that stands for it in a schedule."""
