"""Killed with -9 at every boundary and inside every command, the following cycles finish (I3).

The boundaries are found by running one failover that is not killed, when the tests are collected.
"""

from __future__ import annotations

import tempfile
from contextlib import closing
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from balancer import ROLES, Balancer
from conftest import LabFactory, swapped
from habeat.journal import Journal
from habeat.lab import carbonio
from habeat.lab.sites import PRIMARY, STANDBY, Lab
from warm import Warm

QUICK: dict[str, Any] = {"policy": {"confirmations": 1}, "probes": {"count": 1, "timeout": "100ms"}}
CHANGES = {"promoteAccounts", "fc", "pauseReplicas", "restartReplicas"}


def mortal(warm: Warm, lab: Lab, die_at: int, names: Path) -> int:
    """Run one cycle that dies at a boundary, and return its exit code."""
    return warm.run(lab.argv("check")[3:], die_at=die_at, names=names)[0]


@cache
def discover() -> tuple[list[str], list[str]]:
    """Return the boundaries and the commands of a failover that nobody kills."""
    with Lab(4, overrides=QUICK) as lab, tempfile.TemporaryDirectory() as folder, closing(Warm()) as warm:
        lab.kill()
        names = Path(folder) / "names"
        assert 0 == mortal(warm, lab, 0, names)
        started = [" ".join(call["argv"][:4]) for call in carbonio.calls(lab.world)]
        return names.read_text(encoding="utf-8").splitlines(), started


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test of each boundary, and of each command and moment in it.

    Nothing is between the end of one effect and the begin of the next, so that every day takes one of the two. A command
    that only reads has no middle.
    """
    if {"boundary", "command"} & set(metafunc.fixturenames):
        boundaries, started = discover()
        if "boundary" in metafunc.fixturenames:
            cases = [
                pytest.param(number, id=f"{number}-{name}", marks=[pytest.mark.slow] if _same(name, following) else [])
                for number, (name, following) in enumerate(pairwise([*boundaries, ""]), 1)
            ]
            metafunc.parametrize("boundary", cases)
        else:
            cases = [
                pytest.param(number, at, id=f"{number}-{name}-{at}")
                for number, name in enumerate(started)
                for at in ("before", "middle", "after")
                if at != "middle" or CHANGES & set(name.split())
            ]
            metafunc.parametrize(("command", "at"), cases)


def _same(boundary: str, following: str) -> bool:
    return boundary.startswith("after") and following.startswith("before")


def finish(lab: Lab) -> int:
    """Run cycles until one ends well with the failover finished; return how many it took."""
    for number in range(1, 9):
        if lab.check().code == 0 and state(lab) == "active":
            return number
    pytest.fail(f"the failover never finished: {lab.run('history').said}")


def state(lab: Lab) -> str:
    """Return the machine's state."""
    with closing(Journal.open(lab.state_dir)) as journal:
        return journal.events(limit=1)[0].after


def assert_whole(lab: Lab) -> None:
    """Assert that every account was promoted exactly once, flushed after it and restarted, and that the ledger knows."""
    for item in lab.accounts():
        assert (STANDBY, 1) == (item["accountMailHost"], item["promotions"])
        assert item["flushes"].get(STANDBY)
        assert item["restarts"] >= 1
    with closing(Journal.open(lab.state_dir)) as journal:
        last = journal.last_failover()
        assert last is not None
        tally = journal.failover(last).tally
        assert (4, 4, 4, 4, 0) == (tally.total, tally.promoted, tally.flushed, tally.restarted, tally.refused)
    marks = [lab.folder / f"{name}-appserver" for name in ("down", "promotion")]
    assert all(mark.exists() for mark in marks)


def test_killed_at_a_boundary(warm: Warm, make_lab: LabFactory, tmp_path: Path, boundary: int) -> None:
    """A cycle killed at any boundary is followed by cycles that finish, with nothing done twice (I3)."""
    lab = make_lab(4, overrides=QUICK)
    lab.kill()
    assert -9 == mortal(warm, lab, boundary, tmp_path / "names")
    finish(lab)
    assert_whole(lab)


@pytest.mark.parametrize("kind", ["kill-parent", "orphan"])
def test_killed_inside_a_command(make_lab: LabFactory, command: int, at: str, kind: str) -> None:
    """A cycle killed while a command runs, which dies with it or goes on alone, is finished by the next ones (I3)."""
    lab = make_lab(4, overrides=QUICK)
    with carbonio.world_of(lab.world) as world:
        world["faults"] = [{"skip": command, "kind": kind, "at": at}]
    lab.kill()
    assert -9 == lab.check().code
    finish(lab)
    assert_whole(lab)


def test_killed_again_and_again(warm: Warm, make_lab: LabFactory, tmp_path: Path) -> None:
    """Cycles that are killed a little later each time get there in the end (I3)."""
    lab = make_lab(4, overrides=QUICK)
    lab.kill()
    for die_at in range(8, 80, 7):
        mortal(warm, lab, die_at, tmp_path / "names")
    finish(lab)
    assert_whole(lab)


@pytest.mark.parametrize("die_at", range(1, 60, 3))
def test_primary_side_killed(warm: Warm, make_lab: LabFactory, tmp_path: Path, die_at: int) -> None:
    """On the primary side, too, a killed cycle is resumed: the HA module ends stopped, and later started again."""
    lab = make_lab(4)
    lab.configure({**QUICK, **swapped(lab)})
    lab.kill()
    mortal(warm, lab, die_at, tmp_path / "names")
    finish(lab)
    with carbonio.world_of(lab.world) as world:
        assert world["running"] is False
    assert (lab.folder / "module").exists()
    lab.restore()
    mortal(warm, lab, die_at, tmp_path / "names")
    for _ in range(5):
        lab.check()
    with carbonio.world_of(lab.world) as world:
        assert world["running"] is True
    assert not (lab.folder / "module").exists()
    assert "standby" == state(lab)
    assert {PRIMARY} == {item["accountMailHost"] for item in lab.accounts()}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("die_at", range(1, 65, 4))
def test_a_switch_killed(warm: Warm, make_lab: LabFactory, tmp_path: Path, die_at: int, role: str) -> None:
    """A takeover and a failback that are killed at any boundary are finished: here while the node is dead, then gone."""
    die_at += ROLES.index(role)  # each boundary is met by one of the roles, which share all of the code
    node = Balancer(make_lab(1), role)
    node.configure(policy={"confirmations": 1})
    node.kill()
    assert mortal(warm, node.lab, die_at, tmp_path / "names") == -9 or die_at > 60
    finish(node.lab)
    assert node.here.exists()
    assert {"ready", "take", "tell"} == set(node.asked().split())
    node.restore()
    assert mortal(warm, node.lab, die_at, tmp_path / "names") == -9 or die_at > 40
    for _ in range(4):
        node.lab.check()
    assert ("standby", False) == (state(node.lab), node.here.exists())
    assert {"untell", "give"} < set(node.asked().split())


@pytest.mark.parametrize("word", ["ready", "take", "tell", "untell", "give"])
@pytest.mark.parametrize("how", ["die", "die after"])
def test_a_switch_killed_inside_a_command(make_lab: LabFactory, word: str, how: str) -> None:
    """Killed while a command of the switch runs, before or after that had its effect, the next cycles finish."""
    node = Balancer(make_lab(1), "proxyserver")
    node.configure(policy={"confirmations": 1})
    node.kill()
    node.spoil(word, how)
    codes = [node.lab.check().code]
    finish(node.lab)
    assert node.here.exists()
    node.restore()
    codes += [node.lab.check().code for _ in range(4)]
    assert -9 in codes
    assert ("standby", False) == (state(node.lab), node.here.exists())


def test_killed_after_the_first_command(make_lab: LabFactory) -> None:
    """What a killed cycle took over with its very first command is known to be habeat's, and is given back."""
    node = Balancer(make_lab(1), "mta")
    node.configure(policy={"confirmations": 1}, activate=[f"{node.tool} take"])
    node.kill()
    node.spoil("take", "die after")
    assert -9 == node.lab.check().code
    finish(node.lab)
    node.restore()
    for _ in range(2):
        node.lab.check()
    assert ("standby", False) == (state(node.lab), node.here.exists())
