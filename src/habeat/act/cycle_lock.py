"""One cycle at a time on one machine: a lock that a killed habeat's left-over commands keep, until the next ends them.

The lock is a `flock` on a file in the state directory. Commands inherit its descriptor, so while a command that a
killed habeat left behind is still running, the lock is still held. The next habeat sees from the file that its
owner is gone, ends whoever still holds the lock, and goes on: what the command achieved is found by reading back.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import time
from pathlib import Path
from types import TracebackType

from habeat.errors import HabeatError, JournalError

PATIENCE = 5.0


class BusyError(HabeatError):
    """Another habeat is at work on this machine; nothing is wrong."""

    exit_code = 0


class CycleLock:
    """Held as a context manager; raises BusyError if a living habeat has it, JournalError if it cannot be had."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "cycle.lock"
        self.descriptor = -1

    def __enter__(self) -> CycleLock:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise JournalError(f"the lock {self._path} cannot be opened ({error.strerror}); nothing is done") from error
        try:
            self._acquire()
            self._sign()
        except BaseException:
            os.close(self.descriptor)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        fcntl.flock(self.descriptor, fcntl.LOCK_UN)  # closing alone would leave it to a child that still has it
        os.close(self.descriptor)

    def _acquire(self) -> None:
        deadline = time.monotonic() + PATIENCE
        seen: tuple[int, str] | None = None
        while not self._try():
            owner = self._owner()
            if owner is None or _born(owner[0]) == owner[1]:
                who = f"pid {owner[0]}" if owner else "it has only just started"
                raise BusyError(f"another habeat is at work on this machine ({who}); this one leaves it to it")
            if time.monotonic() > deadline:
                raise JournalError(f"a command of an earlier habeat still holds {self._path}; nothing is done")
            for pid in self._holders() if owner == seen else ():  # seen twice: not one that is about to sign
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            seen = owner
            time.sleep(0.1)

    def _try(self) -> bool:
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _sign(self) -> None:
        data = json.dumps([os.getpid(), _born(os.getpid())]).encode().ljust(64) + b"\n"
        os.pwrite(self.descriptor, data, 0)

    def _owner(self) -> tuple[int, str] | None:
        try:
            pid, born = json.loads(os.pread(self.descriptor, 64, 0))
            return int(pid), str(born)
        except (ValueError, TypeError):
            return None

    def _holders(self) -> list[int]:
        """Return the processes whose open descriptor of the file carries the lock (proc(5), fdinfo, `lock:`)."""
        ours = os.fstat(self.descriptor)
        found = []
        for entry in Path("/proc").glob("[0-9]*/fd/*"):
            try:
                there = entry.stat()
                if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
                    info = entry.parent.with_name("fdinfo") / entry.name
                    if "lock:" in info.read_text(encoding="ascii"):
                        found.append(int(entry.parts[2]))
            except OSError:
                continue
        return found


def _born(pid: int) -> str:
    """Return what tells this process from a later one with the same number: its start time, or "" if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
