"""Run habeat with a wish to die: `python mortal.py N LIST habeat-arguments…` is killed with -9 at its Nth boundary.

A boundary is either side of every journal transaction's commit, of every command, of every call to Consul and of
every change of a lock file: all that habeat does to the world or to its own memory. With N = 0 it lives, and the
names of the boundaries are written to the file LIST.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from habeat.act.run import Runner
from habeat.cli import main
from habeat.http import Endpoint
from habeat.journal import Journal
from habeat.report.lockfiles import LockFiles

DIE_AT, LIST = int(sys.argv[1]), Path(sys.argv[2])
passed: list[str] = []


def boundary(name: str) -> None:
    """Die here, if this is the one."""
    passed.append(name)
    if len(passed) == DIE_AT:
        os.kill(os.getpid(), signal.SIGKILL)


def both_sides(owner: Any, method: str, name: str) -> None:
    """Put a boundary before and after a method."""
    original = getattr(owner, method)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        boundary(f"before {name}")
        result = original(*args, **kwargs)
        boundary(f"after {name}")
        return result

    setattr(owner, method, wrapped)


@contextlib.contextmanager
def mortal_transaction(self: Journal) -> Iterator[None]:
    """Do what Journal._transaction does, with a boundary on both sides of the commit."""
    self._db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        self._db.execute("ROLLBACK")
        raise
    boundary("before commit")
    self._db.execute("COMMIT")
    boundary("after commit")


if __name__ == "__main__":
    both_sides(Runner, "run", "command")
    both_sides(Endpoint, "call", "Consul")
    both_sides(LockFiles, "sync", "lock files")
    Journal._transaction = mortal_transaction  # type: ignore[method-assign]
    sys.argv = ["habeat", *sys.argv[3:]]
    try:
        main()
    finally:
        if DIE_AT == 0:
            LIST.write_text("\n".join(passed), encoding="utf-8")
