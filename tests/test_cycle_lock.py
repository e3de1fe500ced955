"""One cycle at a time on one machine, and no killed habeat's left-overs in the way (I2, I4)."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from habeat.act.cycle_lock import BusyError, CycleLock
from habeat.act.run import Runner
from habeat.errors import JournalError
from processes import gone

HOLDER = """
import sys, time
from pathlib import Path
from habeat.act.cycle_lock import CycleLock
from habeat.act.run import Runner
with CycleLock(Path(sys.argv[1])) as lock:
    print("held", flush=True)
    Runner(keep=lock.descriptor).run(["sh", "-c", "trap '' TERM; echo $$ > " + sys.argv[1] + "/child; sleep 60; :"], 60)
"""


def holder(folder: Path) -> subprocess.Popen[bytes]:
    """Start a habeat that holds the lock and runs a command that will not end by itself."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE)
    deadline = time.monotonic() + 10
    while not (folder / "child").exists() or not (folder / "child").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


def test_second_habeat_stands_back(tmp_path: Path) -> None:
    """While one is at work another is refused with its number, and may go on once it is done."""
    with CycleLock(tmp_path), pytest.raises(BusyError, match=f"pid {os.getpid()}"), CycleLock(tmp_path):
        pass
    with CycleLock(tmp_path):
        pass


def test_killed_habeat_leaves_nothing(tmp_path: Path) -> None:
    """A habeat that was killed leaves a running command; the next one ends it before it goes on."""
    process = holder(tmp_path)
    process.kill()
    process.communicate()
    child = int((tmp_path / "child").read_text())
    assert Path(f"/proc/{child}").exists()
    with CycleLock(tmp_path):
        assert gone(child)


def test_living_habeat_keeps_its_command(tmp_path: Path) -> None:
    """A living habeat's command is never touched, however long it takes."""
    process = holder(tmp_path)
    child = int((tmp_path / "child").read_text())
    try:
        with pytest.raises(BusyError, match=f"pid {process.pid}"), CycleLock(tmp_path):
            pass
        assert Path(f"/proc/{child}").exists()
    finally:
        process.kill()
        process.communicate()
        with CycleLock(tmp_path):
            pass


def test_daemon_of_a_finished_cycle_does_not_wedge(tmp_path: Path) -> None:
    """A daemon that a command left in a session of its own inherits the lock's file, but not the lock (I4)."""
    with CycleLock(tmp_path) as lock:
        command = (
            f"setsid sh -c 'echo $$ > {tmp_path}/daemon; exec sleep 60' & while [ ! -s {tmp_path}/daemon ]; do :; done"
        )
        Runner(keep=lock.descriptor).run(["sh", "-c", command], 10)
    daemon = int((tmp_path / "daemon").read_text())
    try:
        with CycleLock(tmp_path):
            pass
    finally:
        subprocess.run(["kill", "-9", str(daemon)], check=False)


def test_commands_cannot_forge_the_lock(tmp_path: Path) -> None:
    """What a command inherits can neither be written, nor free the cycle's own lock, nor hold up the next cycle (I2, I9)."""
    with CycleLock(tmp_path) as lock:
        assert os.O_RDONLY == fcntl.fcntl(lock.descriptor, fcntl.F_GETFL) & os.O_ACCMODE
        hostile = os.dup(lock.descriptor)
        fcntl.flock(hostile, fcntl.LOCK_UN)
        with pytest.raises(BusyError), CycleLock(tmp_path):
            pass
    os.close(hostile)
    keeper = subprocess.Popen(["flock", str(tmp_path / "commands.lock"), "sleep", "60"])
    try:
        while subprocess.run(["flock", "-n", str(tmp_path / "commands.lock"), "true"], check=False).returncode == 0:
            time.sleep(0.02)
        with CycleLock(tmp_path):
            pass
    finally:
        keeper.kill()
        keeper.wait()


def test_lock_follows_no_link(tmp_path: Path) -> None:
    """A symbolic link in the lock's place is refused, and what it points to stays as it is (I9)."""
    precious = tmp_path / "precious"
    precious.write_text("keep")
    (tmp_path / "cycle.lock").symlink_to(precious)
    with pytest.raises(JournalError, match="cannot be opened"), CycleLock(tmp_path):
        pass
    assert "keep" == precious.read_text()
