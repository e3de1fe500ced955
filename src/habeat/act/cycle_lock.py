"""One cycle at a time on one machine, and nothing of a killed habeat's in the way.

Two locks in the state directory, both `flock`. `cycle.lock` is habeat's own: no command inherits it, and the kernel
frees it when habeat dies. `commands.lock` is inherited by every command, so that it tells whether one is left over
from a habeat that was killed: whoever holds it while we have the first lock is, and is ended. What such a command
achieved is found by reading back. Nothing is ever read from a file that a command's user could write.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from pathlib import Path
from types import TracebackType

from habeat.errors import HabeatError, JournalError
from habeat.journal import secure

PATIENCE = 5.0


class BusyError(HabeatError):
    """Another habeat is at work on this machine; nothing is wrong."""

    exit_code = 0


class CycleLock:
    """Held as a context manager; raises BusyError if a living habeat has it, JournalError if it cannot be had.

    `descriptor` is what commands inherit.
    """

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir
        self._commands = state_dir / "commands.lock"
        self._own = -1
        self.descriptor = -1

    def __enter__(self) -> CycleLock:
        secure(self._folder)
        self._own = _open(self._folder / "cycle.lock", os.O_RDWR)
        try:
            self._acquire()
            self.descriptor = _open(self._commands, os.O_RDONLY)
            self._end_left_overs()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        fcntl.flock(self.descriptor, fcntl.LOCK_UN)  # closing alone would leave it to a child that still has it
        self._close()

    def _close(self) -> None:
        for descriptor in (self.descriptor, self._own):
            if descriptor >= 0:
                os.close(descriptor)

    def _acquire(self) -> None:
        if not _try(self._own):
            owner = os.pread(self._own, 32, 0).decode(errors="replace").strip()
            raise BusyError(f"another habeat is at work on this machine (pid {owner}); this one leaves it to it")
        os.pwrite(self._own, f"{os.getpid():<10}\n".encode(), 0)

    def _end_left_overs(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while not _try(self.descriptor):
            if time.monotonic() > deadline:
                raise JournalError(f"a command of an earlier habeat still holds {self._commands}; nothing is done")
            for pid in _holders(self._commands):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)


def _open(path: Path, mode: int) -> int:
    try:
        return os.open(path, mode | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise JournalError(f"the lock {path} cannot be opened ({error.strerror}); nothing is done") from error


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holders(path: Path) -> list[int]:
    """Return the processes whose open descriptor of the file carries the lock (proc(5), fdinfo, `lock:`)."""
    name = str(path.resolve())
    found = []
    for entry in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            # The link's text is compared, since a look at the file behind it could hang on a dead file server.
            if str(entry.readlink()) == name and "lock:" in (entry.parents[1] / "fdinfo" / entry.name).read_text():
                found.append(int(entry.parts[2]))
    return found
