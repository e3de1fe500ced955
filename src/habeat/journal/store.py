"""The file: its formats, its connection, and what makes every use of it one durable transaction."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from habeat.errors import JournalError

PATIENCE = 10.0
PAUSE = 0.05

SCHEMA = """
CREATE TABLE target (
    key TEXT PRIMARY KEY, state TEXT NOT NULL, downs INTEGER NOT NULL, ups INTEGER NOT NULL,
    seen_at REAL NOT NULL, failover INTEGER, failover_at REAL
) WITHOUT ROWID;
CREATE TABLE event (
    id INTEGER PRIMARY KEY AUTOINCREMENT, target TEXT NOT NULL, first_at REAL NOT NULL, last_at REAL NOT NULL,
    times INTEGER NOT NULL DEFAULT 1, row TEXT NOT NULL, rule TEXT NOT NULL, sight TEXT NOT NULL,
    before TEXT NOT NULL, after TEXT NOT NULL, level TEXT NOT NULL, exit INTEGER NOT NULL,
    sentence TEXT NOT NULL, evidence TEXT, failover INTEGER
);
CREATE TABLE failover (
    id INTEGER PRIMARY KEY AUTOINCREMENT, target TEXT NOT NULL, started_at REAL NOT NULL,
    round INTEGER NOT NULL DEFAULT 1, ended_at REAL, result TEXT
);
CREATE TABLE step (
    failover INTEGER NOT NULL REFERENCES failover, round INTEGER NOT NULL, name TEXT NOT NULL,
    attempts INTEGER NOT NULL, first_at REAL NOT NULL, intent_at REAL NOT NULL,
    outcome_at REAL, outcome TEXT, detail TEXT,
    PRIMARY KEY (failover, round, name)
) WITHOUT ROWID;
CREATE TABLE account (
    failover INTEGER NOT NULL REFERENCES failover, key TEXT NOT NULL, name TEXT NOT NULL, destination TEXT,
    lag INTEGER, state TEXT NOT NULL, reason TEXT, promoted_at REAL, flushed_at REAL, restarted_at REAL,
    PRIMARY KEY (failover, key)
) WITHOUT ROWID;
CREATE TABLE pause (
    id INTEGER PRIMARY KEY, owner TEXT NOT NULL, reason TEXT NOT NULL, since REAL NOT NULL, until REAL, ended_at REAL
);
CREATE TABLE ack (id INTEGER PRIMARY KEY, at REAL NOT NULL, owner TEXT NOT NULL, reason TEXT NOT NULL);
CREATE TABLE note (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
FORMATS = (
    SCHEMA,
    """
ALTER TABLE target ADD COLUMN reached_at REAL;
ALTER TABLE target ADD COLUMN served TEXT NOT NULL DEFAULT '';
ALTER TABLE event ADD COLUMN circumstances TEXT
""",
    """
ALTER TABLE target ADD COLUMN since REAL NOT NULL DEFAULT 0
""",
)
"""What makes each format of the file out of the one before it, beginning with an empty file."""
VERSION = len(FORMATS)

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound="Store")


def translated(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Return the method with what SQLite says against it told as a JournalError."""

    @wraps(method)
    def inner(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(self, *args, **kwargs)
        except (sqlite3.Error, UnicodeError, OverflowError) as error:
            raise JournalError(
                f"the journal {self.path} cannot be used ({error}); nothing is done. Mend the disk first: "
                "the operations guide tells when it is safe to begin a new one"
            ) from error

    return inner


class Store:
    """One open file; what may be kept in it is told by those that are made of this."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._db = connection

    @classmethod
    def open(cls: type[S], state_dir: Path, *, create: bool = True) -> S:  # noqa: PYI019  Python 3.10 knows no Self
        """Open the journal in a directory that only its owner can write, making both where they are missing.

        Raises JournalError where the directory is not safe, or the file cannot be read, written or understood.
        """
        path = state_dir / "habeat.db"
        if not create and not kept(state_dir):
            raise JournalError(f"there is no journal at {path}: no cycle has run on this machine yet")
        secure(state_dir)
        journal: S | None = None
        try:
            connection = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
            connection.row_factory = sqlite3.Row
            journal = cls(path, connection)
            journal._prepare(create=create)
        except sqlite3.Error as error:
            if journal is not None:
                journal.close()
            raise JournalError(f"the journal {path} cannot be used ({error}); nothing is done") from error
        return journal

    def _prepare(self, *, create: bool) -> None:
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("PRAGMA foreign_keys=ON")
        found = self._db.execute("PRAGMA user_version").fetchone()[0]
        if found == VERSION:
            return
        if not create and 0 <= found < VERSION:
            self.close()
            raise JournalError(
                f"the journal {self.path} has format {found}: the next `habeat check` brings it to format {VERSION}"
            )
        self._write_ahead()
        with self._transaction():
            found = self._db.execute("PRAGMA user_version").fetchone()[0]
            if 0 <= found < VERSION:
                for statement in ";".join(FORMATS[found:]).split(";"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version={VERSION}")
        if not 0 <= found <= VERSION:
            self.close()
            raise JournalError(
                f"the journal {self.path} has format {found}, and this habeat knows format {VERSION}; nothing is done"
            )
        self.path.chmod(0o600)

    def _write_ahead(self) -> None:
        # SQLite refuses at once, without its own wait, when two connections turn the same new file into a WAL.
        for left in reversed(range(int(PATIENCE / PAUSE))):
            try:
                self._db.execute("PRAGMA journal_mode=WAL")
            except sqlite3.OperationalError as error:
                if not left or "locked" not in str(error):
                    raise
                time.sleep(PAUSE)
            else:
                return

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


def kept(state_dir: Path) -> bool:
    """Tell whether there is a journal; raises JournalError where this user may not even look."""
    try:
        return (state_dir / "habeat.db").exists()
    except OSError as error:
        raise JournalError(
            f"{state_dir} cannot be read ({error.strerror}): only its owner, usually root, may"
        ) from error


def secure(state_dir: Path) -> None:
    """Make the state directory where it is missing; raises JournalError where others could have written in it."""
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = state_dir.stat()
    except OSError as error:
        raise JournalError(
            f"the state directory {state_dir} cannot be used ({error.strerror}); nothing is done"
        ) from error
    if not stat.S_ISDIR(found.st_mode):
        raise JournalError(f"the state directory {state_dir} is not a directory; nothing is done")
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise JournalError(
            f"the state directory {state_dir} must belong to uid {os.geteuid()} and be writable by nobody else; "
            "nothing is done"
        )
