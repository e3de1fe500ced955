"""What many tests share: labs, and the plain facts that the core is fed with."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from habeat.lab.sites import PRIMARY, STANDBY, Lab
from mesh import obstacle
from quorum_lab import MakeQuorum, QuorumLab
from warm import Warm, WarmLab

LabFactory = Callable[..., Lab]

LONGEST = ("quorum-troubles", "quorum", "mesh", "quorum-kill", "fabric", "vcsim", "slapd")


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """Give a server that has habeat loaded."""
    server = Warm()
    yield server
    server.close()


@pytest.fixture
def make_lab(warm: Warm) -> Iterator[LabFactory]:
    """Give labs with the embedded witness, which vanish after the test."""
    with ExitStack() as stack:

        def make(accounts: int = 8, **settings: Any) -> Lab:
            lab = WarmLab(accounts, **settings)
            lab.warm = warm
            return stack.enter_context(lab)

        yield make


@pytest.fixture
def lab(make_lab: LabFactory) -> Lab:
    """Give one small lab."""
    return make_lab()


@pytest.fixture
def make_quorum(tmp_path: Path) -> Iterator[MakeQuorum]:
    """Give labs that vanish after the test; where they cannot be built it is skipped, and fails in CI."""
    if (why := obstacle()) is not None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(why)
    with ExitStack() as stack:
        yield lambda *args, **kwargs: stack.enter_context(QuorumLab(tmp_path, *args, **kwargs))


def swapped(lab: Lab, *, disable: bool = True) -> dict[str, Any]:
    """Return sections that make a lab's node the primary, which watches the lab's mortal host as its standby."""
    return {
        "local": {"whoami": "primary", "dc_check": "secondary", "disable_ha_module": disable},
        "primary": {"appserver_ip": lab.addresses[STANDBY], "appserver_vmname": STANDBY},
        "secondary": {"appserver_ip": lab.addresses[PRIMARY], "appserver_vmname": PRIMARY},
    }


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests measured, which is told and never judged."""
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    properties = [pair for report in reports for pair in getattr(report, "user_properties", ())]
    for name, value in dict.fromkeys(pair for pair in properties if pair[0] == "measured"):
        terminalreporter.write_line(f"{name}: {value}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the groups that take minutes, most of it waiting, so that the others run beside them."""
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    """Return the place of a test's group; those that are in none come last, in their order."""
    group = item.get_closest_marker("xdist_group")
    return LONGEST.index(group.args[0]) if group else len(LONGEST)
