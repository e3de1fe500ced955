"""The fault simulator: it finds what is wrong, the same every time, and finds nothing in habeat as it is."""

from __future__ import annotations

import gc
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from habeat import judge, machine
from habeat.act.carbonio import Carbonio
from habeat.act.coordination import SharedLock
from habeat.errors import ConfigError
from habeat.guard import Action, Advice
from habeat.journal import Journal
from habeat.machine import Guard
from habeat.model import Done, Down, Sight, Unknown
from habeat.roles import returning
from habeat.roles.appserver import Appserver
from habeat.roles.switch import Takeover
from habeat.saga import Saga
from habeat.simulator.engine import Found, play, smallest
from habeat.simulator.generate import generate
from habeat.simulator.schedule import Fault, Schedule, parse

SCENARIOS = sorted((Path(__file__).parent / "scenarios").glob("*.txt"))
MOST = 600


@pytest.fixture(scope="module", autouse=True)
def unburdened() -> Iterator[None]:
    """Keep what is there already from being looked at by each collection of what a schedule leaves behind."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenarios(path: Path) -> None:
    """What was once wrong, or must never be, stays so; each file says which invariant it is about."""
    schedule = parse(path)
    assert re.match(r"(I[1-9]|L)\b", schedule.about)
    found = play(schedule)
    assert not found.invariant, "\n".join((found.why, *found.timeline))
    meant = {point_of(fault) for fault in schedule.faults} - {""}
    assert set() == meant - found.points, "a process was to be killed, or frozen, where it never came"


def point_of(fault: Fault) -> str:
    """Return the point at which a fault waits for a process, or nothing."""
    first = {"crash": 1, "freeze": 2}.get(fault.what, len(fault.args))
    return " ".join(fault.args[first:])


@pytest.mark.parametrize("part", range(4))
def test_slice(part: int) -> None:
    """The invariants hold in a fixed slice of all schedules, each of which has at least one fault."""
    for number in range(150 * part, 150 * (part + 1)):
        schedule = generate(f"slice:{number}")
        assert schedule.faults
        found = play(schedule)
        assert not found.invariant, f"seed slice:{number}: {found.why}"


def test_same_seed_same_world() -> None:
    """A seed gives the same schedule, and a schedule the same run, to the last word of the timeline."""
    for number in range(15):
        first, again = generate(f"same:{number}"), generate(f"same:{number}")
        assert str(first) == str(again)
        wrong = replace(first, expect=("rebuilt", "untouched"))
        assert play(wrong) == play(wrong)


def test_a_command_by_hand_can_be_killed() -> None:
    """A person's command that dies ends there, and not the simulator."""
    story = ["60 pause svc2 3000", "120 kill svc1", "120 kill svc3", "200 crash svc2 before journal note"]
    faults = [Fault(float(at), what, tuple(words)) for at, what, *words in map(str.split, story)]
    allowed = Fault(200.1, "hand", ("svc2", "allow"))
    found = play(Schedule("quorum", {}, (*faults, allowed), end=400.0))
    assert not found.invariant, found.why
    assert "before journal note" in found.points


def test_no_extra_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The made-up vCenter is asked where pyVmomi is not installed."""
    monkeypatch.setattr("habeat.config.needs.importlib.util.find_spec", lambda _name: None)
    deaths = tuple(Fault(130.0, "kill", (name,)) for name in ("svc1", "svc3"))
    found = play(Schedule("quorum", {"witnesses": "vcenter", "cooldown": "7h"}, deaths, expect=("rebuilt",)))
    assert not found.invariant, found.why


TIMELINES = """
from habeat.simulator.engine import play
from habeat.simulator.generate import generate
from dataclasses import replace
for number in range(12):
    schedule = generate(f"hash:{number}")
    print(schedule, *play(replace(schedule, expect=("untouched", "rebuilt"))).timeline, sep="\\n")
"""


def test_same_seed_in_another_process() -> None:
    """Nothing hangs on the order of a set: another process, which hashes otherwise, tells the same to the last word."""

    def told(seed: str) -> str:
        command = [sys.executable, "-c", TIMELINES]
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout

    assert told("1") == told("2")


def test_a_schedule_is_read_as_it_is_written(tmp_path: Path) -> None:
    """The text of a schedule is the schedule."""
    path = tmp_path / "schedule.txt"
    for number in range(30):
        schedule = replace(generate(f"text:{number}"), expect=("promoted",), about="I1: why\nand what")
        path.write_text(str(schedule), encoding="utf-8")
        assert schedule == parse(path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kind mail\nset wrong 1\n", "schedule.txt:2: set: expected"),
        ("kind mail\nset interval 0\n", "schedule.txt:2: set: expected `set interval"),
        ("kind mail\nset primary yes\n", "schedule.txt:2: set: expected `set primary SWITCH`"),
        ("kind mail\nset witnesses all\n", "schedule.txt:2: set: expected"),
        ("kind mail\n1:xx  kill mbox1\n", "schedule.txt:2: 1:xx: expected a time"),
        ("kind mail\n1:-9  kill mbox1\n", "schedule.txt:2: 1:-9: expected a time"),
        ("kind mail\nend 1:inf\n", "schedule.txt:2: end: expected a time"),
        ("kind mail\n1:00  fly\n", "schedule.txt:2: 1:00: expected one of kill"),
        ("kind mail\n1:00  kill\n", "schedule.txt:2: 1:00: expected `kill HOST( lost)?`"),
        ("kind mail\n1:00  kill mbox9\n", "schedule.txt:2: 1:00: expected `kill HOST( lost)?`"),
        ("kind mail\n1:00  crash mbox2 after run nonsense\n", "schedule.txt:2: 1:00: expected `crash HOST( POINT)?`"),
        ("kind mail\n1:00  hetrix pasued\n", "schedule.txt:2: 1:00: expected `hetrix (paused|"),
        ("kind mail\nexpect untuched\n", "schedule.txt:2: expect: expected `expect untouched|"),
        ("kind mail\nexpect state mbox2 dead\n", "schedule.txt:2: expect: expected"),
        ("kind nothing\n", "schedule.txt:1: kind: expected"),
        ("1:00  kill mbox1\n", "schedule.txt: kind: expected a line `kind`"),
        ("kind mail\nkill mbox1\n", "schedule.txt:2: kill: expected"),
    ],
)
def test_bad_schedules(tmp_path: Path, text: str, told: str) -> None:
    """A schedule that cannot be read is told with its line and what was expected."""
    path = tmp_path / "schedule.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        parse(path)
    assert told in str(caught.value)


# -- planted bugs of each kind

Plant = Callable[[pytest.MonkeyPatch], None]
_HOLDS = machine._holds


def _blind(*guards: Guard) -> Plant:
    """Let guards never hold."""

    def holds(guard: Guard, verdict: Any, facts: Any) -> bool:
        return guard not in guards and _HOLDS(guard, verdict, facts)

    return lambda patch: patch.setattr(machine, "_holds", holds)


def _gullible(patch: pytest.MonkeyPatch) -> None:
    weigh = judge.weigh

    def trusting(*args: Any) -> Any:
        vote = weigh(*args)
        return replace(vote, evidence=Down("so be it")) if isinstance(vote.evidence, Unknown) else vote

    patch.setattr(judge, "weigh", trusting)


def _never_asks(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(returning, "advise", lambda situation, _heard: Advice(Action.START, "G0", "why not", situation.epoch))


def _forever(self: Takeover, *_: Any) -> None:
    while True:
        self.sleep(5.0)


def _gives_back_in_a_pause(patch: pytest.MonkeyPatch) -> None:
    def careless(guard: Guard, verdict: Any, facts: Any) -> bool:
        return not (guard is Guard.PAUSED and verdict.sight is Sight.UP) and _HOLDS(guard, verdict, facts)

    patch.setattr(machine, "_holds", careless)
    patch.setattr(Journal, "hold", lambda *_: None)


PLANTED: dict[str, tuple[str, Plant]] = {
    "one cycle is enough": ("I1", _blind(Guard.UNCONFIRMED)),
    "ignorance is death": ("I1", _gullible),
    "everybody has the lock": ("I2", lambda patch: patch.setattr(SharedLock, "acquire", lambda _self: None)),
    "old data starts": ("I3", _never_asks),
    "nobody flushes": ("L", lambda patch: patch.setattr(Appserver, "flush", lambda *_: Done("flushed"))),
    "what is told is not so": ("I5", lambda patch: patch.setattr(Takeover, "_reach", lambda *_: Done("it is here"))),
    "no cooldown": ("I6", _blind(Guard.COOLING)),
    "the module is never started again": ("L", lambda patch: patch.setattr(Carbonio, "start_module", lambda _self: None)),
    "a wait without an end": ("I4", lambda patch: patch.setattr(Takeover, "_await", _forever)),
    "a pause is nothing to a failback": ("I7", _gives_back_in_a_pause),
    "a pause is nothing": ("I7", lambda patch: [_blind(Guard.PAUSED)(patch), patch.setattr(Journal, "hold", lambda *_: None)]),  # type: ignore[dict-item]
    "half a sentence": ("I8", lambda patch: patch.setattr(machine, "_agreed", lambda *_: "{agreed}")),
    "the plan is never run": ("L", lambda patch: patch.setattr(Saga, "_step", lambda *_: Done("done"))),
}  # fmt: skip


def _hunt(invariant: str) -> Found:
    """Return the first schedule that breaks an invariant."""
    for number in range(MOST):
        found = play(generate(f"planted:{number}"))
        if found.invariant == invariant:
            return found
    return pytest.fail(f"{MOST} schedules, and {invariant} held in all of them")


@pytest.mark.parametrize("what", PLANTED)
def test_planted_bugs_are_found(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A simulator that finds nothing is suspect: it finds a planted bug of each kind."""
    invariant, plant = PLANTED[what]
    plant(monkeypatch)
    assert invariant == _hunt(invariant).invariant


def test_what_is_found_is_made_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a schedule that breaks an invariant what matters is left, and it breaks it still."""
    _blind(Guard.UNCONFIRMED)(monkeypatch)
    found = smallest(_hunt("I1"))
    assert len(found.schedule.faults) <= 2
    assert "I1" == play(found.schedule).invariant
    assert any("Failing over now" in line for line in found.timeline)


# -- the command


def _simulate(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "habeat", "simulate", *words], capture_output=True, text=True, check=False, timeout=120
    )


def test_command() -> None:
    """It runs so many schedules, and tells how fast, and how much of the table and of the points it came to."""
    done = _simulate("--runs", "60", "--seed", "cli", "--json")
    told = json.loads(done.stdout)
    assert (0, 60, 0, []) == (done.returncode, told["schedules"], told["broken"], told["violations"])
    assert 6 == told["reached"]["states"]
    assert told["reached"]["transition rows"] > 20
    assert told["reached"]["crash points"] > 5
    assert "every invariant holds" in _simulate("--seed", "cli:7").stdout


def test_command_tells_a_violation(tmp_path: Path) -> None:
    """A schedule that does not come out as it must is told with its timeline, and exit code 1."""
    path = tmp_path / "schedule.txt"
    path.write_text(str(Schedule("mail", expect=("promoted",), end=300.0)), encoding="utf-8")
    done = _simulate(str(path))
    assert 1 == done.returncode
    assert "expect: all accounts were to be promoted once" in done.stdout
    assert "[S1] mbox1 is up" in done.stdout
    path.write_text("kind mail\n1:00  kill proxy1\n", encoding="utf-8")
    odd = _simulate(str(path))
    assert (2, True) == (odd.returncode, "`1:00  kill proxy1` cannot happen" in odd.stderr), odd


@pytest.mark.parametrize(
    "words",
    [
        ["--runs", "0"],
        ["--minutes", "0"],
        ["--minutes", "nan"],
        ["--seed", "7:x"],
        ["--seed", ":7"],
        ["--seed", "7:5", "--runs", "10"],
        ["--minutes", "1", "tests/scenarios/blip.txt"],
    ],
)
def test_command_refuses_what_makes_no_sense(words: list[str]) -> None:
    """Bad options end with one clear error and exit code 2."""
    done = _simulate(*words)
    assert (2, "") == (done.returncode, done.stdout)
    assert "Error: " in done.stderr
    assert "Traceback" not in done.stderr
