"""One habeat in the made-up world: the real cycle over made-up edges, which can be killed, or frozen, at every point.

A process that was killed has no further effect, whatever its code still does to clean up.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from habeat.config.model import Config
from habeat.errors import HabeatError
from habeat.guard import Action
from habeat.journal import Journal, Recall
from habeat.journal.store import FORMATS, VERSION
from habeat.machine import Decision, Level
from habeat.model import Outcome, Snapshot, Target
from habeat.node import cycle_of
from habeat.roles.returning import Returning, holds
from habeat.simulator.made import Made
from habeat.simulator.points import WRITES, Crash, Process, Seen, Trap
from habeat.simulator.world import BEGIN, Host

if TYPE_CHECKING:
    from habeat.simulator.scene import Scene


@dataclass
class Instance:
    """One habeat on a host.

    `jumped` is by how much its clock was set, `drift` how much of a second it gains each second.
    """

    name: str
    config: Config
    interval: float
    scene: Scene
    db: sqlite3.Connection
    jumped: float = 0.0
    drift: float = 0.0
    busy: bool = False
    process: Process = field(default_factory=Process)
    traps: list[Trap] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    points: set[str] = field(default_factory=set)
    rows: set[str] = field(default_factory=set)
    decisions: list[tuple[float, Decision]] = field(default_factory=list)
    thawed_at: float = -1.0

    # -- life and death

    def check(self) -> None:
        """Run one cycle, as the timer does, and set the next."""
        self.scene.world.at(self.scene.world.now + self.interval, self.check)
        self.run()

    def run(self) -> None:
        """Run one cycle, unless one runs or the machine is not there."""
        self._alone(self._cycle)

    def rejoin(self) -> None:
        """Let Consul's server rejoin the others, as by `habeat consul rejoin --now`, if that is needed."""
        self._alone(self._rejoin)

    def _cycle(self, process: Process) -> None:
        self.seen.append(Seen(process.begun))
        cycle = cycle_of(self.config, self.journal(process), None, _Told(self), Made(self, process))
        self.scene.ended(self, cycle.run())

    def _rejoin(self, process: Process) -> None:
        def say(text: str) -> None:
            self.scene.world.tell(f"{self.name}: {text}")

        process.step_at = 0.0  # a person may do that in a pause too
        returning = self.returning(process)
        advice = returning.advice()[0]
        if advice.action is Action.CLEAN:
            say(returning.rejoin(advice.epoch, say))

    def _alone(self, work: Callable[[Process], None]) -> None:
        """Run something as habeat's one process on this host, unless there is one or the machine is not there."""
        world = self.scene.world
        if self.busy or not self.up():
            return
        self.busy, self.process = True, Process(world.now)
        self.begins_step()
        try:
            work(self.process)
        except Crash:
            world.tell(f"{self.name} was killed")
        except HabeatError as error:
            world.tell(f"{self.name} ended: {error}")
        finally:
            self.process.alive = False
            self.busy = False

    @cached_property
    def host(self) -> Host:
        """Return its machine."""
        return self.scene.world.hosts[self.name]

    @cached_property
    def targets(self) -> Sequence[str]:
        """Return the hosts that it watches."""
        return self.scene.targets(self)

    def up(self) -> bool:
        """Tell whether its machine runs now."""
        return self.host.up and self.scene.world.now >= self.host.frozen_until

    @property
    def offset(self) -> float:
        """Return how wrong its clock is now."""
        return self.jumped + self.drift * (self.scene.world.now - BEGIN)

    @property
    def clock(self) -> float:
        """Return what its clock says now."""
        return self.scene.world.now + self.offset

    def begins_step(self) -> None:
        """Note that its process begins a step."""
        self.process.step_at = self.scene.world.now
        self.process.step_clock = self.clock

    def kill(self) -> None:
        """End the process, wherever it is."""
        self.process.alive = False

    def point(self, process: Process, name: str) -> None:
        """Pass a point: be killed here, or frozen, if that is what is to happen."""
        self.awake(process)
        if not self.traps:
            return
        trap = next((trap for trap in self.traps if trap.point == name), None)
        if trap is None:
            return
        self.traps.remove(trap)
        self.points.add(name)
        if trap.kind == "crash":
            self.scene.world.tell(f"{self.name} is killed {name}")
            process.alive = False
        else:
            self.freeze(trap.seconds)
        self.awake(process)

    def lasts(self) -> None:
        """See whether its cycle lasts too long."""
        if self.busy:
            self.scene.invariants.lasts(self)

    def freeze(self, seconds: float) -> None:
        """Stop the machine for a while, with all that runs on it."""
        world, host = self.scene.world, self.host
        world.tell(f"{self.name} is frozen for {seconds:g} s")
        host.frozen_until = max(host.frozen_until, world.now + seconds)
        world.change()
        world.at(host.frozen_until, world.change)

    def awake(self, process: Process) -> None:
        """Wait while the machine is frozen, and end a process that was killed."""
        world, host = self.scene.world, self.host
        while process.alive and host.up and world.now < host.frozen_until:
            world.run(host.frozen_until)
            self.thawed_at = world.now
        if not process.alive or not host.up:
            process.alive = False
            raise Crash

    def journal(self, process: Process) -> Journal:
        """Return the journal as a process has it open."""
        return _Journal(self, process)

    # -- Consul's server on this host

    def returning(self, process: Process) -> Returning:
        """Return what guards this host's Consul server, and tells its word."""
        return Returning(self.config, self.journal(process), Made(self, process))

    def allows_consul(self) -> str | None:
        """Return why the guard allows Consul's server to start, or None where it must not."""
        world, process = self.scene.world, Process()
        try:
            advice = self.returning(process).guard(lambda text: world.tell(f"{self.name}: {text}"))
        except Crash:
            return None
        except HabeatError as error:
            world.tell(f"{self.name}: the guard cannot do its work: {error}")
            return None
        self.scene.torn = self.scene.torn or advice.rule == "G3"
        if holds(advice, self.config):
            world.tell(f"{self.name}: Consul must not start: {advice.why} ({advice.rule})")
            return None
        return f"{advice.why} ({advice.rule})"


@dataclass(frozen=True)
class _Told:
    """Writes what a process says into the timeline."""

    instance: Instance

    def say(self, _level: Level, sentence: str, _detail: str = "") -> None:
        self.instance.scene.world.tell(f"{self.instance.name}: {sentence}")

    def decision(self, _target: Target, decision: Decision, _rule: str, _snapshot: Snapshot | None) -> None:
        instance = self.instance
        instance.rows.add(decision.row)
        instance.decisions.append((instance.scene.world.now, decision))
        instance.scene.world.tell(f"{instance.name}: [{decision.row}] {decision.sentence}")
        instance.scene.decided(instance, decision)

    def step(self, _target: Target, name: str, outcome: Outcome | None) -> None:
        instance = self.instance
        if outcome is None:
            instance.begins_step()
            return
        why = str(getattr(outcome, "detail", None) or getattr(outcome, "why", ""))
        instance.scene.world.tell(f"{instance.name}:   {name} {type(outcome).__name__.lower()}: {why}")
        instance.scene.invariants.told(instance, why)


@cache
def _path(name: str) -> Path:
    return Path(f"journal of {name}")


class _Journal(Journal):
    """The real journal in memory, whose writes are points."""

    def __init__(self, instance: Instance, process: Process) -> None:
        super().__init__(_path(instance.name), instance.db)
        self._instance, self._process = instance, process

    def recall(self, key: str) -> Recall:
        return Recall(lambda: self.noted(key), lambda value: self.note(key, value))


def _pointed(name: str) -> Callable[..., Any]:
    real = getattr(Journal, name)

    @wraps(real)
    def write(self: _Journal, *args: Any, **kwargs: Any) -> Any:
        self._instance.point(self._process, f"before journal {name}")
        result = real(self, *args, **kwargs)
        if name == "record":
            self._instance.seen[-1].counted = True
        self._instance.point(self._process, f"after journal {name}")
        return result

    return write


for _name in WRITES:
    setattr(_Journal, _name, _pointed(_name))


def fresh_journal() -> sqlite3.Connection:
    """Return an empty journal in memory."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.row_factory = sqlite3.Row
    _TEMPLATE.backup(connection)
    return connection


def _template() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    connection.executescript(";".join(FORMATS))
    connection.execute(f"PRAGMA user_version={VERSION}")
    return connection


_TEMPLATE = _template()
