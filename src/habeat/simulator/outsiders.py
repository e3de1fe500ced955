"""Made-up witnesses from outside: HetrixTools by HTTP, and vCenter as `habeat.observe` sees it.

HetrixTools checks every host once a minute from the host `watch`, and may be paused, out of calls, or behind.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

from habeat.errors import Fault, HttpError
from habeat.http import Reply
from habeat.model import Down, Finding, Target, Unknown, Up
from habeat.observe import Answer
from habeat.simulator.world import World

INTERVAL = 60.0
PATIENCE, TRIES = 3.0, 3


@dataclass
class Monitor:
    """What HetrixTools knows of one host: whether it saw it up, and when it looked last."""

    up: bool
    checked: float


@dataclass
class Hetrix:
    """The service; `trouble` is what it does wrong: `paused`, `limited`, `garbage`, `maintenance` or `silent`."""

    world: World
    watch: str
    monitors: dict[str, Monitor] = field(default_factory=dict)
    trouble: str = ""
    _missed: dict[str, int] = field(default_factory=dict)

    def begin(self, hosts: Sequence[str]) -> None:
        """Check some hosts every minute from now on."""
        for place, host in enumerate(hosts):
            self.monitors[host] = Monitor(up=True, checked=self.world.now - 5.0 * place)
            self.world.at(self.world.now + INTERVAL - 5.0 * place, lambda host=host: self._check(host))  # type: ignore[misc]

    def _check(self, host: str) -> None:
        if self.trouble != "paused":
            self.monitors[host] = Monitor(self.world.answers(self.watch, host, PATIENCE, TRIES), self.world.now)
        self.world.at(self.world.now + INTERVAL, lambda: self._check(host))

    def call(self, host: str, path: str, timeout: float) -> Reply:
        """Return what it answers to a host; raises HttpError as `habeat.http` does."""
        if self.trouble == "silent" or not self.world.answers(host, self.watch, timeout, TRIES):
            self.world.wait(timeout)
            raise HttpError(f"did not answer within {timeout:g} s", Fault.SILENT)
        headers = {"date": formatdate(self.world.now, usegmt=True), "content-type": "application/json"}
        if self.trouble == "limited":
            return Reply(429, {**headers, "retry-after": "45"}, b'{"message": "rate limit"}')
        if self.trouble == "garbage":
            return Reply(200, headers, b"<html>maintenance</html>")
        listed = [self._listed(name, monitor) for name, monitor in self.monitors.items() if f"name={name}&" in path]
        page = {"pagination": {"current": 1, "last": 1, "next": None}}
        return Reply(200, headers, json.dumps({"monitors": listed, "meta": page}).encode())

    def greet(self, host: str) -> None:
        """Be there for a host, or raise HttpError."""
        if self.trouble == "silent" or not self.world.answers(host, self.watch, PATIENCE, TRIES):
            raise HttpError("cannot be reached", Fault.SILENT)

    def _listed(self, name: str, monitor: Monitor) -> dict[str, Any]:
        state = "maintenance" if self.trouble == "maintenance" else "active"
        status = "up" if monitor.up else "down"
        seen = {"frankfurt": {"uptime_status": status, "last_check": int(monitor.checked)}}
        return {
            "id": name,
            "name": name,
            "type": "ping",
            "monitor_status": state,
            "uptime_status": status,
            "last_check": int(monitor.checked),
            "check_frequency": 1,
            "locations": seen,
        }


@dataclass
class Vcenter:
    """vCenter on a host, which knows every machine's power state but for those whose hypervisor it lost.

    `trouble` is what it does wrong: `silent`, `refused` (no login), or `stale`: it tells what it knew by then.
    """

    world: World
    host: str
    trouble: str = ""
    _known: dict[str, Answer] = field(default_factory=dict)

    def turn(self, trouble: str) -> None:
        """Let something be wrong with it from now on, or nothing."""
        self._known = {name: self._state(name) for name in self.world.hosts}
        self.trouble = trouble

    def answer(self, asker: str, target: Target) -> Answer:
        """Return what it knows of a machine, asked from a host."""
        if self.trouble == "silent" or not self.world.answers(asker, self.host, PATIENCE, TRIES):
            return Answer(Unknown("did not answer within 3 s"))
        if self.trouble == "refused":
            return Answer(Unknown("refuses the login"))
        if target.name not in self.world.hosts:
            return Answer(Unknown(f"has no machine named {target.name}"))
        return self._known[target.name] if self.trouble == "stale" else self._state(target.name)

    def _state(self, name: str) -> Answer:
        machine = self.world.hosts[name]
        if not machine.hypervisor:
            return Answer(Unknown("says that its host does not answer vCenter"))
        if machine.up:
            return Answer(Up("says that it is powered on"))
        return Answer(Down("says that it is powered off"))


@dataclass(frozen=True)
class VcenterWitness:
    """The witness on one host."""

    vcenter: Vcenter
    asker: str
    site: str | None
    name: str = "vCenter"
    networked: bool = True
    sparing: bool = True

    def ask(self, target: Target) -> Answer:
        """Return what it knows of the host."""
        return self.vcenter.answer(self.asker, target)

    def ask_service(self, _target: Target) -> Answer:
        """Return that it sees hosts only."""
        return Answer(Unknown("sees hosts only"))

    def examine(self, _target: Target) -> Sequence[Finding]:
        """Return nothing: the doctor does not come here."""
        return []
