"""The primary side: never a promotion, and the HA module is stopped and started as asked."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest

from conftest import LabFactory, swapped
from habeat.journal import Journal
from habeat.lab import carbonio
from habeat.lab.sites import PRIMARY, Lab


def primary_side(lab: Lab, *, disable: bool = True) -> Lab:
    """Make the lab's habeat the primary's, watching the mortal host as its standby."""
    lab.configure(swapped(lab, disable=disable))
    return lab


def world(lab: Lab, **changes: Any) -> dict[str, Any]:
    """Change the simulated Carbonio, and return it."""
    with carbonio.world_of(lab.world) as there:
        there.update(changes)
        return dict(there)


def asked(lab: Lab) -> list[str]:
    """Return what Carbonio was told to do, in order."""
    telling = ("promoteAccounts", "doStopService", "doStartService", "fc")
    return [word for call in carbonio.calls(lab.world) for word in call["argv"] if word in telling]


def test_module_is_stopped_and_started(lab: Lab) -> None:
    """While the standby is dead the module is stopped and its lock file stands; on the return both are undone."""
    primary_side(lab)
    lab.kill()
    lab.check()
    assert [] == asked(lab)
    assert "the HA module is stopped until the other site is back" in lab.check().said
    assert ["doStopService"] == asked(lab)
    assert world(lab)["running"] is False
    assert (lab.folder / "module").exists()
    assert not (lab.folder / "promotion-appserver").exists()
    lab.check()
    lab.restore()
    lab.check()
    assert "Failback of mbox1.example.com finished" in lab.check().said
    assert ["doStopService", "doStartService"] == asked(lab)
    assert world(lab)["running"] is True
    assert not (lab.folder / "module").exists()
    assert "is up" in lab.check().said


def test_killed_just_after_the_stop(lab: Lab) -> None:
    """A cycle that dies once Carbonio has stopped the module knows in the next that it was habeat, and starts it again."""
    primary_side(lab)
    world(lab, faults=[{"command": "doStopService", "kind": "kill-parent", "at": "after"}])
    lab.kill()
    lab.check()
    assert -9 == lab.check().code
    assert world(lab)["running"] is False
    lab.check()
    lab.restore()
    for _ in range(2):
        lab.check()
    assert world(lab)["running"] is True


def test_nothing_without_the_option(lab: Lab) -> None:
    """Without disable_ha_module the death of the standby is told, and nothing is touched."""
    primary_side(lab, disable=False)
    lab.kill()
    for _ in range(3):
        assert 0 == lab.check().code
    lab.restore()
    for _ in range(3):
        assert 0 == lab.check().code
    assert [] == asked(lab)
    assert {PRIMARY} == {item["accountMailHost"] for item in lab.accounts()}


def test_module_that_somebody_else_stopped(lab: Lab) -> None:
    """A module that was stopped before is nobody's but its stopper's: habeat does not start it."""
    primary_side(lab)
    world(lab, running=False)
    lab.kill()
    lab.check()
    lab.check()
    lab.restore()
    for _ in range(3):
        assert 0 == lab.check().code
    assert [] == asked(lab)
    assert world(lab)["running"] is False


@pytest.mark.parametrize("kind", ["exit", "hang", "garbage", "unreachable"])
def test_module_that_does_not_stop(make_lab: LabFactory, kind: str) -> None:
    """A stop that fails is told with exit code 1, and tried again until it holds (I5)."""
    lab = make_lab(overrides={})
    primary_side(lab)
    world(lab, faults=[{"command": "doStopService", "kind": kind}])
    config = lab.config.read_text(encoding="utf-8").replace("timeout: 20s", "timeout: 1s")
    lab.config.write_text(config, encoding="utf-8")
    lab.kill()
    lab.check()
    assert 1 == lab.check().code
    assert 0 == lab.check().code
    assert world(lab)["running"] is False


def test_module_that_says_it_stopped(lab: Lab) -> None:
    """A stop that is answered with success and stops nothing is a failure (I5)."""
    primary_side(lab)
    world(lab, stuck=True)
    lab.kill()
    lab.check()
    checked = lab.check()
    assert (1, True) == (checked.code, "the HA module was not stopped" in checked.said)


def test_module_that_says_it_started(lab: Lab) -> None:
    """A start that is answered with success and starts nothing is tried again: the module is still habeat's to start."""
    primary_side(lab)
    lab.kill()
    for _ in range(2):
        lab.check()
    world(lab, stuck=True)
    lab.restore()
    assert 1 in [lab.check().code for _ in range(2)]
    world(lab, stuck=False)
    for _ in range(2):
        lab.check()
    assert world(lab)["running"] is True


def test_option_that_is_switched_off_meanwhile(lab: Lab) -> None:
    """A module that habeat stopped is started again on the return, whatever the configuration says by then."""
    primary_side(lab)
    lab.kill()
    lab.check()
    lab.check()
    assert world(lab)["running"] is False
    primary_side(lab, disable=False)
    lab.restore()
    for _ in range(3):
        lab.check()
    assert world(lab)["running"] is True
    assert not (lab.folder / "module").exists()


def test_module_that_runs_already(lab: Lab) -> None:
    """A module that somebody else started meanwhile is not started again, and no longer habeat's business."""
    primary_side(lab)
    lab.kill()
    lab.check()
    lab.check()
    world(lab, running=True)
    lab.restore()
    for _ in range(3):
        assert 0 == lab.check().code
    assert ["doStopService"] == asked(lab)


def test_never_a_promotion_whatever_happens(lab: Lab) -> None:
    """However long the standby is dead, the primary side promotes nothing."""
    primary_side(lab)
    lab.kill()
    for _ in range(5):
        lab.check()
    assert "promoteAccounts" not in asked(lab)
    with closing(Journal.open(lab.state_dir)) as journal:
        assert 0 == journal.failover(1).tally.total
