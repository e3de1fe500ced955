"""Run schedules by the thousand, and make what breaks an invariant small enough to be read."""

from __future__ import annotations

import gc
import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace

from habeat.errors import HabeatError
from habeat.machine import RESULTS, TRANSITIONS, State
from habeat.simulator.generate import generate
from habeat.simulator.points import POINTS
from habeat.simulator.scene import Scene
from habeat.simulator.schedule import SETTINGS, Schedule, clock
from habeat.simulator.violation import Violation
from habeat.simulator.world import BEGIN

CHUNK = 50
IMPOSSIBLE = ("R6", "R10", "W15")
"""Rows that make the table whole and that no role comes to: only a takeover can be finished in part, and the Consul
servers' failback never waits for a person."""

ROWS_OF = {
    state.value: [
        row.id
        for row in (*(row for rows in TRANSITIONS[state].values() for row in rows), *RESULTS.get(state, {}).values())
        if row.id not in IMPOSSIBLE
    ]
    for state in State
}
"""The rows of the state machine's tables, by the state in which they are taken."""

ALL = {"states": tuple(ROWS_OF), "transition rows": tuple(row for rows in ROWS_OF.values() for row in rows)} | {
    "crash points": POINTS
}
"""What schedules are to come to."""


@dataclass(frozen=True)
class Found:
    """What one schedule came to: the invariant that does not hold ("" if all do) and why, and what was reached."""

    schedule: Schedule
    invariant: str = ""
    why: str = ""
    timeline: Sequence[str] = ()
    rows: frozenset[str] = frozenset()
    points: frozenset[str] = frozenset()
    seed: str = ""


@dataclass
class Tally:
    """What many schedules came to; `took` in seconds."""

    runs: int = 0
    faults: int = 0
    took: float = 0.0
    rows: set[str] = field(default_factory=set)
    points: set[str] = field(default_factory=set)
    broken: list[Found] = field(default_factory=list)

    def add(self, found: Found) -> None:
        """Count one."""
        self.runs += 1
        self.faults += len(found.schedule.faults)
        self.rows |= found.rows
        self.points |= found.points
        if found.invariant:
            self.broken.append(found)

    @property
    def missing(self) -> dict[str, list[str]]:
        """Return what nothing came to of each kind of `ALL`."""
        states = [state for state, rows in ROWS_OF.items() if self.rows & set(rows)]
        reached = {*states, *self.rows, *self.points}
        return {kind: [name for name in names if name not in reached] for kind, names in ALL.items()}


def play(schedule: Schedule, seed: str = "") -> Found:
    """Run one schedule; a defect of habeat in it is a violation too."""
    scene = Scene(schedule)
    invariant, why = "", ""
    try:
        scene.run()
    except Violation as violation:
        invariant, why = violation.invariant, str(violation)
    except HabeatError:
        raise  # the schedule makes no sense
    except Exception as error:  # noqa: BLE001  habeat turns all that may go wrong into a HabeatError
        invariant, why = "defect", f"{type(error).__name__}: {error}"
    told = tuple(_timeline(scene.world.told)) if invariant else ()
    instances = scene.instances.values()
    rows = frozenset(row for instance in instances for row in instance.rows)
    points = frozenset(point for instance in instances for point in instance.points)
    return Found(schedule, invariant, why, told, rows, points, seed)


def _timeline(told: Sequence[tuple[float, str]]) -> Iterator[str]:
    """Yield what happened line by line, without what was said just before in the same words."""
    last: dict[str, str] = {}
    for at, text in told:
        who, words = text.partition(":")[0], re.sub(r"[0-9]+", "", text)
        if last.get(who) != words:
            yield f"{clock(at - BEGIN):>8}  {text}"
        last[who] = words


def smallest(found: Found) -> Found:
    """Return the same violation with as few faults and settings as will do."""
    while (smaller := next(filter(None, (_same(found, less) for less in _less(found.schedule))), None)) is not None:
        found = smaller
    return found


def _same(found: Found, schedule: Schedule) -> Found | None:
    try:
        again = play(schedule, found.seed)
    except HabeatError:  # what is left makes no sense
        return None
    return again if again.invariant == found.invariant else None


def _less(schedule: Schedule) -> Iterator[Schedule]:
    for place in range(len(schedule.faults)):
        yield replace(schedule, faults=schedule.faults[:place] + schedule.faults[place + 1 :])
    for name, value in schedule.settings.items():
        if value != SETTINGS[name] and name != "interval":
            yield replace(schedule, settings={key: it for key, it in schedule.settings.items() if key != name})


def many(seed: str, runs: int, minutes: float | None = None) -> Iterator[Tally]:
    """Run schedules on all processors, and yield the tally as it grows: so many, for so long, or until one breaks."""
    tally, begun = Tally(), time.monotonic()
    jobs: Iterable[tuple[str, int, int]] = ((seed, start, min(start + CHUNK, runs)) for start in range(0, runs, CHUNK))
    workers = os.cpu_count() or 1
    with ProcessPoolExecutor(workers) as pool:
        pending = []
        for job in jobs:
            pending.append(pool.submit(_chunk, *job))
            if len(pending) > 2 * workers:
                yield _counted(tally, pending.pop(0).result(), begun)
            if tally.broken or (minutes is not None and time.monotonic() - begun > 60 * minutes):
                break
        for future in pending:
            yield _counted(tally, future.result(), begun)


def _counted(tally: Tally, part: Tally, begun: float) -> Tally:
    tally.runs += part.runs
    tally.faults += part.faults
    tally.rows |= part.rows
    tally.points |= part.points
    tally.broken += part.broken
    tally.took = time.monotonic() - begun
    return tally


def _chunk(seed: str, start: int, stop: int) -> Tally:
    """Run some schedules in a process of the pool; what they leave behind is collected once, since all of it goes.

    What was there before them stays, so it is not looked at then.
    """
    gc.disable()
    gc.freeze()
    tally = Tally()
    for number in range(start, stop):
        name = f"{seed}:{number}"
        tally.add(play(generate(name), name))
    gc.collect()
    return tally
