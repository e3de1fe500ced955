"""Make schedules by the number: the same seed and number give the same schedule, on every machine.

A schedule tells one story of its kind (a death, a blip, a return, or nothing), with some faults on the way, all of
which are mended in the end but for the death itself. What habeat does not promise is not tried: a majority of Consul's
servers that is cut off from the other site and from the witness while it goes on (docs/consul.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from habeat.simulator.points import CARBONIO, POINTS
from habeat.simulator.schedule import Fault, Schedule

Menu = Sequence[tuple[int, Callable[["Story"], None]]]

AFTER = {
    "mail": ("journal", "run", "consul"),
    "proxy": ("journal", "run", "consul"),
    "quorum": ("journal", "system", "folder"),
}
COMMANDS = {
    "mail": (*CARBONIO, "doStopService", "doStartService", "gas", "fc", "ga"),
    "proxy": ("take", "tell", "untell", "give", "vtysh"),
    "quorum": (),
}
NOT_HERE = {
    "mail": (" put", " remove"),
    "proxy": (" enlist", " promoted", " refused", " cared", " put", " remove"),
    "quorum": (" enlist", " promoted", " refused", " cared"),
}


def points(kind: str) -> list[str]:
    """Return the points that an instance of a kind of world may pass."""
    found = []
    for point in POINTS:
        _, where, name = point.split()
        fits = where.startswith(AFTER[kind]) or (kind == "quorum" and name in ("put", "remove"))
        if fits and not (where == "run" and name not in COMMANDS[kind]) and not point.endswith(NOT_HERE[kind]):
            found.append(point)
    return found


_POINTS = {kind: points(kind) for kind in COMMANDS}


class Story:
    """One schedule as it is made; times in seconds, faults between `begin` and `heal`."""

    def __init__(self, seed: str) -> None:
        self.random = Random(seed)  # noqa: S311  it is to be the same again, not secret
        self.kind = self.random.choices(("mail", "proxy", "quorum"), (5, 3, 3))[0]
        self.settings: dict[str, str] = {}
        self.faults: list[Fault] = []
        self.mends: dict[tuple[str, ...], str] = {}
        self._settle()
        self.interval = float(self.settings["interval"])
        self.begin, self.heal = 1.5 * self.interval, 14 * self.interval

    def _settle(self) -> None:
        choose, settings = self.random.choice, self.settings
        settings["interval"] = choose(("60", "60", "60", "20", "5"))
        settings["confirmations"] = choose(("1", "2", "2", "2", "3"))
        settings["gateway"] = choose(("off", "off", "on"))
        settings["services"] = choose(("off", "on")) if self.kind != "quorum" else "off"
        settings["cooldown"] = choose(("8h", "8h", "8h", "5m"))
        if self.kind == "quorum":
            settings["survivors"] = choose(("1", "1", "2"))
            settings["witnesses"] = choose(("hetrix", "hetrix", "vcenter", "hetrix,vcenter"))
        else:
            settings["witnesses"] = choose(("consul", "consul", "hetrix", "consul,hetrix", "consul,vcenter"))
        settings["required"] = choose(("1", "1", "2")) if "," in settings["witnesses"] else "1"
        if self.kind == "mail":
            settings["standbys"] = choose(("1", "1", "2"))
            settings["primary"] = choose(("off", "off", "on"))
            settings["accounts"] = choose(("0", "1", "4", "5"))
        if self.kind == "proxy":
            settings["deactivate"] = choose(("on", "on", "off"))
            settings["checks"] = choose(("on", "on", "on", "off"))

    # -- what tells it

    def at(self, when: float, what: str, *args: str) -> None:
        """Let something happen."""
        self.faults.append(Fault(round(when, 1), what, args))

    def some_time(self) -> float:
        """Return a time at which something may go wrong."""
        return self.random.uniform(self.begin, self.heal - self.interval)

    def mended(self, what: str, *args: str, by: str) -> None:
        """Let something go wrong at some time, and be mended after a while, at the latest in the end."""
        begun = self.some_time()
        self.at(begun, what, *args)
        until = self.heal if self.random.random() < 0.3 else begun + self.random.expovariate(1 / (3 * self.interval))
        word, *rest = by.split()
        self.at(min(until, self.heal), word, *rest)

    @property
    def actors(self) -> list[str]:
        """Return the hosts whose instance may be killed, frozen, paused."""
        if self.kind == "mail":
            return ["mbox2", "mbox3"][: int(self.settings["standbys"])] + ["mbox1"] * (self.settings["primary"] == "on")
        if self.kind == "proxy":
            return ["proxy2"]
        return ["svc2", *(["svc4"] if self.settings["survivors"] == "2" else [])]

    @property
    def victims(self) -> list[str]:
        """Return the hosts that may die for good, together."""
        if self.kind == "mail":
            return ["mbox1"] if self.settings["primary"] == "off" or self.random.random() < 0.7 else ["mbox2"]
        if self.kind == "proxy":
            return ["proxy1"]
        return ["svc1", "svc3", *(["svc5"] if self.settings["survivors"] == "2" else [])]


def generate(seed: str) -> Schedule:
    """Return the schedule of a seed."""
    story = Story(seed)
    _plot(story)
    menu = [*COMMON, *OF_A_KIND[story.kind]]
    weights = [weight for weight, _ in menu]
    for _, fault in story.random.choices(menu, weights, k=story.random.choice((1, 1, 2, 2, 3, 4, 6))):
        fault(story)
    _pace(story)
    for name in story.actors:
        story.at(story.heal + 0.1, "disk", name, "free")
    return Schedule(
        story.kind, story.settings, tuple(sorted(story.faults)), story.heal + max(45 * story.interval, 900.0)
    )


def _pace(story: Story) -> None:
    """Let elections and announcements take longer or shorter, and clocks drift."""
    story.settings["election"] = story.random.choice(("1", "4", "4", "12"))
    story.settings["lag"] = story.random.choice(("1", "3", "3", "7"))
    if story.random.random() < 0.15:
        story.at(0.2, "drift", story.random.choice(story.actors), story.random.choice(("-1", "-0.1", "0.1", "1")))


def _plot(story: Story) -> None:
    """Let the victims die for good, die and return, or only be gone for a moment; or nobody."""
    how = story.random.choices(("for good", "return", "blip", "nobody", "again"), (5, 4, 2, 2, 2))[0]
    if how != "nobody":
        _die(story, story.victims, how)


def _die(story: Story, victims: Sequence[str], how: str) -> None:
    died = story.random.uniform(story.begin, 5 * story.interval)
    lost = ["lost"] if "vcenter" in story.settings["witnesses"] and story.random.random() < 0.2 else []
    for victim in victims:
        story.at(died, "kill", victim, *lost)
    if how == "for good":
        return
    back = died + story.random.uniform(0.2, 1.5 if how == "blip" else 8.0) * story.interval
    for victim in victims:
        story.at(back, "boot", victim)
    if story.kind == "proxy" and story.random.random() < 0.7:
        story.random.choice((_late, _late, _orphan))(story, back)
    if story.kind == "quorum" and story.random.random() < 0.15:
        _shut_out(story, back)
    if story.random.random() < 0.15:  # in mid-failover
        _held(story, died)
    if how == "again":
        for victim in story.random.sample(victims, story.random.randint(1, len(victims))):
            story.at(back + story.random.uniform(1, 6) * story.interval, "kill", victim)


def _held(story: Story, died: float) -> None:
    """Let a failover be stopped half-way, and the target be seen in every way meanwhile."""
    name, peer = story.actors[0], story.victims[0]
    after = story.random.choice(("folder write_peers", "systemctl start"))
    point = {"mail": "run promoteAccounts", "proxy": "run tell", "quorum": after}[story.kind]
    story.at(0.1, "crash", name, story.random.choice(("before", "after")), *point.split())
    when = died + story.random.uniform(1.0, 4.0) * story.interval
    if story.random.random() < 0.7:
        story.at(when, "boot", peer)
    if story.random.random() < 0.5:
        story.at(when, "pause", name, f"{3 * story.interval:.0f}")
    if story.random.random() < 0.5:
        story.at(when, "cut", name, peer)
        story.at(min(when + 6 * story.interval, story.heal), "mend")
    elif story.kind != "quorum":
        story.at(when + 0.1, "service", peer, "off")
        story.at(story.heal, "service", peer, "on")
    if story.random.random() < 0.3:
        story.at(
            when, "consul" if story.kind != "quorum" else "ack", name, *(["slow"] if story.kind != "quorum" else [])
        )
        story.at(story.heal, "consul", name, "well")


def _shut_out(story: Story, back: float) -> None:
    """Let Consul not start on the servers that return, and these die again while that is waited for."""
    for victim in story.victims:
        story.at(back - 0.1, "broken", victim, "99")
        story.at(back + 5 * story.interval, "kill", victim)
        story.at(story.heal, "broken", victim, "0")


def _orphan(story: Story, back: float) -> None:
    """Let neither site announce, while the work is given back or waits for a person, however the peer is seen then."""
    if story.random.random() < 0.6:
        story.at(back, "route", "proxy2", story.random.choice(("give", "untell")), "99")
    when = back + story.random.uniform(2.5, 6.0) * story.interval
    seen: tuple[tuple[str, ...], ...] = story.random.choice(
        (
            (),
            (("service", "proxy1", "off"),),
            (("cut", "proxy1", "proxy2"),),
            (
                ("cut", "proxy1", "proxy2"),
                ("consul", "proxy2", "filtered"),
                ("hetrix", "paused"),
                ("vcenter", "silent"),
            ),
            (("kill", "proxy1"),),
        )
    )
    for what in seen:
        story.at(when, *what)
    if story.random.random() < 0.6:
        story.at(when, "route", "proxy1", "lost")
        story.at(when, "route", "proxy2", "lost")
    if story.random.random() < 0.4:
        story.at(when, "pause", "proxy2", f"{4 * story.interval:.0f}")
    until = min(when + 6 * story.interval, story.heal)
    mends = (
        "route proxy2 give 0",
        "route proxy2 untell 0",
        "service proxy1 on",
        "mend",
        "consul proxy2 well",
        "hetrix well",
        "vcenter well",
    )
    for mend in mends:
        word, *rest = mend.split()
        story.at(until, word, *rest)


def _late(story: Story, back: float) -> None:
    """Let things go wrong while the work is given back."""
    for _ in range(story.random.choice((1, 2, 3))):
        when = min(back + story.random.uniform(0.0, 5.0) * story.interval, story.heal)
        until = min(when + story.random.uniform(0.5, 5.0) * story.interval, story.heal)
        what: tuple[tuple[str, ...], tuple[str, ...]] = story.random.choice(
            (
                (("cut", "proxy2", "proxy1"), ("mend",)),
                (("cut", "primary", "secondary"), ("mend",)),
                (("cut", "proxy1", "router"), ("mend",)),
                (("service", "proxy1", "off"), ("service", "proxy1", "on")),
                (("route", "proxy2", "give", "2"), ("route", "proxy2", "give", "0")),
                (("route", "proxy2", "untell", "5"), ("route", "proxy2", "untell", "0")),
                (("route", "proxy1", "dead"), ("route", "proxy1", "alive")),
                (("route", "proxy2", "lost"), ("ack", "proxy2")),
                (("unplug", "proxy2"), ("mend",)),
                (("consul", "proxy2", "slow"), ("consul", "proxy2", "well")),
                (("kill", "proxy1"), ("boot", "proxy1")),
                (("cut", "proxy1", "*"), ("mend",)),
                (("cut", "proxy2", "proxy1"), ("route", "proxy2", "lost")),
                (("service", "proxy1", "off"), ("route", "proxy2", "lost")),
                (("route", "proxy1", "lost"), ("route", "proxy2", "lost")),
                (("one-way", "proxy1", "proxy2"), ("mend",)),
                (("pause", "proxy2", f"{until - when:.0f}"), ("resume", "proxy2")),
                (("crash", "proxy2", "before", "run", story.random.choice(("untell", "give"))), ("ack", "proxy2")),
                (("crash", "proxy2", "before", "journal", "conclude"), ("ack", "proxy2")),
            )
        )
        story.at(when, *what[0])
        story.at(until, *what[1])


def _crash(story: Story) -> None:
    name = story.random.choice(story.actors)
    point = story.random.choice(_POINTS[story.kind])
    _pave(story, point)
    if point.endswith("set_aside"):
        name = story.random.choice(story.victims)  # who returns throws its data away
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
        _die(story, ["mbox2"], "return")
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
    story.at(story.some_time(), "crash", story.random.choice(story.actors))


def _freeze(story: Story) -> None:
    if _two(story) and any(fault.what == "unplug" or fault.args[1:] == ("*",) for fault in story.faults):
        return
    name, seconds = story.random.choice(story.actors), f"{story.random.uniform(5, 300):.0f}"
    if story.random.random() < 0.5:
        story.at(story.some_time(), "freeze", name, seconds)
    else:
        story.at(0.1, "freeze", name, seconds, *story.random.choice(_POINTS[story.kind]).split())


def _reboot(story: Story) -> None:
    story.at(story.some_time(), "reboot", story.random.choice([name for name in story.actors if name != "mbox1"]))


def _pause(story: Story) -> None:
    name, begun = story.random.choice(story.actors), story.some_time()
    story.at(begun, "pause", name, f"{story.random.uniform(1, 6) * story.interval:.0f}")
    if story.random.random() < 0.5:
        story.at(min(begun + story.random.uniform(0.2, 4) * story.interval, story.heal), "resume", name)


def _ack(story: Story) -> None:
    story.at(story.some_time(), "ack", story.random.choice(story.actors))


def _jump(story: Story) -> None:
    seconds = story.random.choice((-7200, -90, -5, 5, 90, 4000, 90000))
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


def _hetrix(story: Story) -> None:
    trouble = story.random.choice(("paused", "limited", "garbage", "maintenance", "silent"))
    story.mended("hetrix", trouble, by="hetrix well")


def _vcenter(story: Story) -> None:
    story.mended("vcenter", "silent", by="vcenter well")


def _server(story: Story) -> None:
    story.at(story.some_time(), "reboot", story.random.choice(("svc1", "svc2", "svc3")))


def _stale(story: Story) -> None:
    peer = {"mail": "mbox1", "proxy": "proxy1"}[story.kind]
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
    (1, _hetrix),
    (1, _vcenter),
)
OF_A_KIND: dict[str, Menu] = {
    "mail": (
        (5, _carbonio),
        (2, _account),
        (1, _unavailable),
        (2, _consul),
        (1, _server),
        (2, _stale),
        (2, _service),
        (1, _maintenance),
    ),
    "proxy": ((6, _route), (2, _consul), (1, _server), (2, _stale), (2, _service), (1, _maintenance)),
    "quorum": ((3, _one_server), (2, _broken)),
}
