"""What goes wrong on the way, one thing at a time; what matters only rarely is led up to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from habeat.simulator.plots import die
from habeat.simulator.story import COMMANDS, POINTS_OF, Story

Menu = Sequence[tuple[int, Callable[[Story], None]]]


def _crash(story: Story) -> None:
    point = story.random.choice(POINTS_OF[story.kind])
    _pave(story, point)
    name = story.random.choice(story.actors)
    if point.endswith("set_aside"):
        name = story.random.choice(story.victims)  # who returns throws its data away
    if point.endswith(("doStopService", "doStartService")):
        name = "mbox1"  # only the primary has an HA module to stop
    story.at(story.some_time() if story.random.random() < 0.3 else 0.1, "crash", name, *point.split())


def _pave(story: Story, point: str) -> None:
    """Let the plot come to a point where otherwise it seldom would."""
    name = point.rsplit(maxsplit=1)[-1]
    if name == "getAllOperations":
        story.at(story.begin, "carbonio", "promoteAccounts", "exit", "2")
    if name == "ga":
        story.settings["lists"] = "off"
    if name in ("doStopService", "doStartService"):
        story.settings["primary"] = "on"
        die(story, ["mbox2"], "return")
    if name == "restore":
        story.at(story.begin, "broken", "svc2", "4")
    if name == "remove_peers":
        story.at(0.1, "crash", "svc2", "before", "systemctl", "start")
        for victim in story.victims:
            story.at(2.0 * story.interval, "kill", victim)
        story.at(2.0 * story.interval + max(3.2 * story.interval, 110.0), "boot", "svc1")
    if name == "remove":
        story.at(0.1, "crash", "svc2", "after", "systemctl", "start")
        died = 2.0 * story.interval
        for victim in story.victims:
            story.at(died, "kill", victim)
            story.at(died + 3.2 * story.interval, "boot", victim)
        story.at(died + 3.2 * story.interval + 15.0, "kill", "svc3")


def _crash_now(story: Story) -> None:
    """Kill an instance in the middle of a cycle, wherever it is: cycles begin a second after every interval."""
    if _both_promote(story) and story.random.random() < 0.3:
        story.at(_slow_promotion(story), "crash", story.random.choice(("mbox2", "mbox3")))
        return
    begins = (1 + story.random.randrange(1, 12)) * story.interval + 1.0
    story.at(begins + story.random.uniform(0.0, 15.0), "crash", story.random.choice(story.actors))


def _both_promote(story: Story) -> bool:
    """Tell whether a second standby makes sense: none of them dies, and the lock is not refused."""
    refused = any("denied" in fault.args for fault in story.faults)
    return story.kind == "mail" and story.settings["primary"] == "off" and not refused


def _slow_promotion(story: Story) -> float:
    """Let one of two standbys promote slowly while the other looks often; return a time at which that may be."""
    story.settings |= {"standbys": "2", "interval": "5"}
    if not any(fault.what == "kill" for fault in story.faults):
        die(story, ["mbox1"], "for good")
    died = min(fault.at for fault in story.faults if fault.what == "kill")
    story.at(max(died - 1.0, 0.2), "carbonio", "promoteAccounts", "slow")
    slowly = 60.0 if "hetrix" in story.settings["witnesses"] else 15.0  # until it is called dead
    return died + slowly + story.random.uniform(0.0, 30.0)


def _freeze(story: Story) -> None:
    if _two(story) and any(fault.what == "unplug" or fault.args[1:] == ("*",) for fault in story.faults):
        return
    name, seconds = story.random.choice(story.actors), f"{story.random.uniform(5, 300):.0f}"
    if story.random.random() < 0.5:
        story.at(story.some_time(), "freeze", name, seconds)
    else:
        story.at(0.1, "freeze", name, seconds, *story.random.choice(POINTS_OF[story.kind]).split())


def _reboot(story: Story) -> None:
    story.at(story.some_time(), "reboot", story.random.choice([name for name in story.actors if name != "mbox1"]))


def _pause(story: Story) -> None:
    name, begun = story.random.choice(story.actors), story.some_time()
    story.at(begun, "pause", name, f"{story.random.uniform(1, 6) * story.interval:.0f}")
    if story.random.random() < 0.5:
        story.at(min(begun + story.random.uniform(0.2, 4) * story.interval, story.heal), "resume", name)


def _ack(story: Story) -> None:
    """Let a person acknowledge what happened, and it happen again."""
    died = [fault.at for fault in story.faults if fault.what == "kill"]
    if not died:
        die(story, story.victims, "again")
        died = [fault.at for fault in story.faults if fault.what == "kill"]
    when = min(died) + story.random.uniform(2, 8) * story.interval
    story.at(min(when, story.heal), "ack", story.random.choice(story.actors))


def _jump(story: Story) -> None:
    near = round(story.random.uniform(-120, -5))
    seconds = story.random.choice((-7200, near, near, 5, 90, 4000, 90000))
    story.at(story.some_time(), "jump", story.random.choice(story.actors), str(seconds))


def _disk(story: Story) -> None:
    name = story.random.choice(story.actors)
    story.mended("disk", name, "full", by=f"disk {name} free")


def _cut(story: Story) -> None:
    story.mended("cut", "primary", "secondary", by="mend")


def _one_way(story: Story) -> None:
    sites = (
        story.random.sample(("primary", "secondary", "third"), 2)
        if story.kind != "quorum"
        else ["primary", "secondary"]
    )
    story.mended("one-way", *sites, by="mend")


def _alone(story: Story) -> None:
    name = story.random.choice([name for name in story.actors if name != "mbox1"])
    how = ("unplug", name) if story.random.random() < 0.5 else ("cut", name, "*")
    if not (_two(story) and any(fault.what == "freeze" for fault in story.faults)):
        story.mended(*how, by="mend")


def _weak(story: Story) -> None:
    """Let a link lose some of what is sent over it, or delay it."""
    choose = story.random.choice
    sites = choose((("primary", "secondary"), ("primary", "secondary"), ("secondary", "third"), ("primary", "third")))
    if story.kind == "quorum" and sites == ("primary", "third"):
        return  # with the other link cut, a site that goes on is dead to everybody else: what habeat does not promise
    lossy = story.random.random() < 0.6
    how = ("lossy", *sites, choose(("20", "50", "80"))) if lossy else ("slow", *sites, choose(("0.3", "1.5", "5")))
    story.mended(*how, by="mend")


def _two(story: Story) -> bool:
    """Tell whether there are two survivors: one that was cut off while it led without the other looks dead to all."""
    return story.settings.get("survivors") == "2"


def _flap(story: Story) -> None:
    begun, width = story.some_time(), story.random.uniform(0.1, 0.7) * story.interval
    for turn in range(3):
        story.at(min(begun + 2 * turn * width, story.heal), "cut", "primary", "secondary")
        story.at(min(begun + (2 * turn + 1) * width, story.heal), "mend")


def _consul(story: Story) -> None:
    name = story.random.choice([name for name in story.actors if name != "mbox1"])
    troubles = ("filtered", "slow", *(("denied",) if story.settings.get("standbys") != "2" else ()))
    story.mended("consul", name, story.random.choice(troubles), by=f"consul {name} well")


def _witness(story: Story) -> None:
    """Let one of the witnesses that are asked be of no use, or behind."""
    troubles = {
        "hetrix": ("paused", "limited", "garbage", "maintenance", "silent"),
        "vcenter": ("silent", "refused", "stale"),
    }
    asked = story.settings["witnesses"].split(",")
    witness = story.random.choice([name for name in asked if name in troubles] or ["consul"])
    if witness == "consul":
        _consul(story)
    else:
        story.mended(witness, story.random.choice(troubles[witness]), by=f"{witness} well")


def _agent(story: Story) -> None:
    """Let the Consul agent of a host stop, as the target's or one of ours."""
    name = story.random.choice([*story.victims, *story.actors])
    story.mended("agent", name, "off", by=f"agent {name} on")


def _server(story: Story) -> None:
    story.at(story.some_time(), "reboot", story.random.choice(("svc1", "svc2", "svc3")))


def _stale(story: Story) -> None:
    peer = {"mail": "mbox1", "proxy": "proxy1", "quorum": "svc1"}[story.kind]
    when = story.some_time()
    story.at(when, "stale", peer, f"{story.random.uniform(1, 9):.0f}")
    if story.random.random() < 0.7:
        story.at(max(when - 1.0, story.begin), "cut", story.actors[0], peer)
        story.at(min(when + 2 * story.interval, story.heal), "mend")


def _service(story: Story) -> None:
    peer = {"mail": "mbox1", "proxy": "proxy1"}[story.kind]
    story.mended("service", peer, "off", by=f"service {peer} on")


def _maintenance(story: Story) -> None:
    peer = {"mail": "mbox1", "proxy": "proxy1"}[story.kind]
    story.mended("maintenance", peer, "on", by=f"maintenance {peer} off")


def _carbonio(story: Story) -> None:
    command = story.random.choice(COMMANDS["mail"])
    kinds = ("hang", "garbage", "unreachable", "exit")
    kind = story.random.choice((*kinds, "slow", "part", "none") if command == "promoteAccounts" else kinds)
    if (command, kind) == ("fc", "garbage"):
        return  # what a cache dropped cannot be read back: an exit code 0 with no complaint is all there is
    story.at(story.begin, "carbonio", command, kind, story.random.choice(("1", "1", "2", "3")))


def _account(story: Story) -> None:
    story.at(story.some_time(), "account")


def _unavailable(story: Story) -> None:
    if story.settings["accounts"] != "0":
        story.at(0.1, "unavailable", "1")


def _route(story: Story) -> None:
    what = story.random.choice(("lost", "dead", "take", "tell", "untell", "give"))
    if what == "dead":
        story.mended("route", "proxy2", "dead", by="route proxy2 alive")
    else:
        story.at(story.some_time(), "route", "proxy2", what, story.random.choice(("1", "2", "3")))


def _routeless(story: Story) -> None:
    """Cut the standby's proxy from the router."""
    story.mended("cut", "proxy2", "router", by="mend")


def _own_stale(story: Story) -> None:
    """Let Consul call one of ours dead for a while: its sessions end, and with them its lock."""
    when, name = story.some_time(), story.actors[0]
    if _both_promote(story) and story.random.random() < 0.5:
        when, name = _slow_promotion(story), story.random.choice(("mbox2", "mbox3"))
    story.at(when, "stale", name, f"{story.random.uniform(1, 40):.0f}")


def _hand(story: Story) -> None:
    """Let a person run a command by hand."""
    begun, name = story.some_time(), story.random.choice(story.actors)
    if story.kind == "quorum":
        command = story.random.choice(("check", "rejoin", "allow", "start", "stop"))
        name = story.random.choice((*story.actors, *story.victims))
    elif story.kind == "proxy":
        command = story.random.choice(("check", "take", "tell", "untell", "give"))
    else:
        command = story.random.choice(("check", "promote"))
    story.at(begun, "hand", name, command)
    if command == "stop":
        story.at(min(begun + story.random.uniform(0.2, 4) * story.interval, story.heal), "hand", name, "start")


def _one_server(story: Story) -> None:
    story.at(story.some_time(), "reboot", story.random.choice((*story.victims, *story.actors)))


def _broken(story: Story) -> None:
    story.at(story.some_time(), "broken", "svc2", story.random.choice(("1", "2", "4")))


COMMON: Menu = (
    (8, _crash),
    (3, _crash_now),
    (3, _freeze),
    (2, _reboot),
    (2, _pause),
    (2, _ack),
    (1, _jump),
    (1, _disk),
    (2, _cut),
    (1, _one_way),
    (2, _alone),
    (1, _flap),
    (2, _weak),
    (2, _witness),
    (2, _hand),
)
OF_A_NODE: Menu = ((2, _consul), (1, _server), (2, _stale), (2, _service), (1, _maintenance), (1, _agent))
OF_A_KIND: dict[str, Menu] = {
    "mail": (
        (5, _carbonio),
        (2, _account),
        (1, _unavailable),
        *OF_A_NODE,
        (2, _own_stale),
    ),
    "proxy": (
        (6, _route),
        *OF_A_NODE,
        (1, _routeless),
        (1, _own_stale),
    ),
    "quorum": ((3, _one_server), (2, _broken), (1, _stale)),
}
