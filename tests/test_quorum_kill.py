"""habeat killed with -9 while it rebuilds Consul's quorum: the next cycles finish, and there is always a way back (I3).

The boundaries are found by a recovery that nobody kills. The suite takes some of them, another few in each step;
`make slow` takes every one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh import eventually, obstacle
from quorum_lab import QuorumLab

pytestmark = [pytest.mark.consul, pytest.mark.netns, pytest.mark.xdist_group("quorum-kill")]

EVERY = os.environ.get("HABEAT_SLOW") == "1"
STEPS = 6


class Doomed:
    """A lab whose svc2 has lost its quorum, and can be brought back to that moment."""

    def __init__(self, lab: QuorumLab) -> None:
        self.lab = lab
        self.home = lab.folder / "svc2"
        self.names = lab.folder / "names"
        for host in lab.servers:
            assert 0 == lab.check(host).code
        assert lab.api("svc2", "PUT", "/v1/kv/before", 7) == (200, True)
        lab.configure("svc2", policy={"confirmations": 1})
        lab.lose("svc1", "svc3")
        eventually(lambda: lab.leader("svc2") == "", "svc2 has no leader")
        lab.crash("svc2")
        for name in ("data", "state"):
            shutil.copytree(self.home / name, self.home / f"{name}.kept")

    def again(self) -> None:
        """Bring svc2 back to the moment after the loss."""
        with contextlib.suppress(OSError, ValueError):
            self.lab.crash("svc2")
        for name in ("data", "state"):
            shutil.rmtree(self.home / name)
            shutil.copytree(self.home / f"{name}.kept", self.home / name)
        self.lab.begin_unit("svc2")
        eventually(lambda: self.lab.api("svc2", "GET", "/v1/agent/self")[0] == 200, "svc2's agent answers")
        self.lab.testify(svc1="down", svc3="down")

    def finish(self) -> None:
        """Run cycles until the recovery is finished, and assert that it is whole."""
        for _ in range(12):
            if self.lab.check("svc2").states[-1] == "active":
                break
        else:
            pytest.fail(self.lab.run("svc2", "history").stdout)
        assert self.lab.leads("svc2")
        assert ["svc2"] == self.lab.voters("svc2")
        assert 200 == self.lab.api("svc2", "GET", "/v1/kv/before?consistent")[0]
        assert not (self.home / "data" / "raft" / "peers.json").exists()


def a_way_back(lab: QuorumLab) -> None:
    """Assert that the raft folder, or a complete copy of it, is there."""
    data = lab.data("svc2")
    places = [data / "raft", *data.glob("raft.habeat-*-before-epoch-1")]
    assert any((place / "raft.db").exists() and (place / "peers.info").exists() for place in places)


@pytest.fixture
def doomed(tmp_path: Path) -> Iterator[Doomed]:
    """Give one; where it cannot be built the test is skipped, and fails in CI."""
    if (why := obstacle()) is not None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(why)
    with QuorumLab(tmp_path, guard=False) as lab:
        yield Doomed(lab)


def test_killed_anywhere(doomed: Doomed) -> None:
    """Killed before or after any effect, and left or rebooted then, the next cycles rebuild the quorum once."""
    doomed.again()
    assert 0 == doomed.lab.mortal("svc2", "0", doomed.names)
    names = doomed.names.read_text(encoding="utf-8").splitlines()
    doomed.finish()
    chosen = range(1, len(names) + 1) if EVERY else sorted(_some(names))
    for number in chosen:
        doomed.again()
        assert -9 == doomed.lab.mortal("svc2", str(number), doomed.names), names[number - 1]
        a_way_back(doomed.lab)
        if number % 2:  # as after a power loss: systemd starts Consul before habeat runs again
            doomed.lab.begin_unit("svc2")
        doomed.finish()


def _some(names: list[str]) -> set[int]:
    """Return the boundaries that matter most: each side of what changes Consul's folder, and of its stop and start."""
    folder = {place for place, name in enumerate(names, 1) if name.endswith((" copy", " write_peers"))}
    commands = [place for place, name in enumerate(names, 1) if name.endswith(" command")]
    return folder | set(commands[:: max(1, len(commands) // STEPS)])
