"""Let this process die: `arm(N, LIST)` makes habeat kill itself with -9 at its Nth boundary, or the first of a name.

As a program: `python mortal.py N-OR-NAME LIST habeat's words...`.

A boundary is either side of every journal transaction's commit, of every command, of every call to Consul and of
every change of a lock file or of Consul's data folder: all that habeat does to the world or to its own memory. While a
leader is asked for again and again, only the first time counts, since how often it takes is another thing in each run.
With N = 0 it lives, and the names of the boundaries are written to the file LIST.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from habeat.act.raft_folder import RaftFolder
from habeat.act.run import Runner
from habeat.http import Endpoint
from habeat.journal.store import Store
from habeat.report.lockfiles import LockFiles

ASKS_FOR_A_LEADER = "/v1/health/node/habeat-asks-for-a-leader?consistent"
ASKED = ["before the leader", "after the leader"]

passed: list[str] = []


def arm(die_at: int | str, names: Path) -> None:
    """Put the boundaries in, and let the process die at one: by its number, or its name, or its name after another's."""
    stages = str(die_at).split(", ")

    def boundary(name: str) -> None:
        if name in ASKED and passed[-2:] == ASKED:
            return
        passed.append(name)
        if die_at == 0:
            names.write_text("\n".join(passed), encoding="utf-8")
        if stages[0] == name:
            stages.pop(0)
        if die_at == len(passed) or not stages:
            os.kill(os.getpid(), signal.SIGKILL)

    @contextlib.contextmanager
    def mortal_transaction(self: Store) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        boundary("before commit")
        self._db.execute("COMMIT")
        boundary("after commit")

    for method in ("copy", "set_aside", "restore", "write_peers", "remove_peers"):
        _both_sides(boundary, RaftFolder, method, method)
    _both_sides(boundary, Runner, "run", "command")
    _both_sides(boundary, Endpoint, "call", "Consul")
    _both_sides(boundary, LockFiles, "sync", "lock files")
    Store._transaction = mortal_transaction  # type: ignore[method-assign]


def _both_sides(boundary: Callable[[str], None], owner: Any, method: str, name: str) -> None:
    original = getattr(owner, method)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        called = "the leader" if ASKS_FOR_A_LEADER in args else name
        boundary(f"before {called}")
        result = original(*args, **kwargs)
        boundary(f"after {called}")
        return result

    setattr(owner, method, wrapped)


if __name__ == "__main__":
    where = sys.argv[1]
    arm(int(where) if where.isdigit() else where, Path(sys.argv[2]))
    sys.argv[:] = ["habeat", *sys.argv[3:]]
    from habeat.cli import main

    main()
