"""A schedule as it is made: its kind, its settings, who is in it, and what was decided to happen so far."""

from __future__ import annotations

from random import Random

from habeat.simulator.points import CARBONIO, POINTS
from habeat.simulator.schedule import Fault

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


POINTS_OF = {kind: points(kind) for kind in COMMANDS}


class Story:
    """One schedule as it is made; times in seconds, faults between `begin` and `heal`."""

    def __init__(self, seed: str) -> None:
        self.random = Random(seed)  # noqa: S311  it is to be the same again, not secret
        self.kind = self.random.choices(("mail", "proxy", "quorum"), (5, 3, 3))[0]
        self.settings: dict[str, str] = {}
        self.faults: list[Fault] = []
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
