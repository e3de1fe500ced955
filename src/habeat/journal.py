"""The durable memory, and the only place that touches SQLite.

A failover is a saga: the intent of each step is on disk before the step runs and its outcome after it, so that a
cycle which follows a crash knows what was begun. Every public method is one transaction, and returns only after
it is on disk (WAL, synchronous=FULL).
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from habeat.errors import JournalError
from habeat.grounds import Grounds, grounds_to_json
from habeat.machine import Command, Decision, State
from habeat.model import Account, Memory, Outcome, Pause, Tally, Target, Verdict

KEEP_EVENTS = 100_000
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
)
"""What makes each format of the file out of the one before it, beginning with an empty file."""
VERSION = len(FORMATS)

P = ParamSpec("P")
R = TypeVar("R")


def _translated(method: Callable[Concatenate[Journal, P], R]) -> Callable[Concatenate[Journal, P], R]:
    @wraps(method)
    def inner(self: Journal, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(self, *args, **kwargs)
        except (sqlite3.Error, UnicodeError, OverflowError) as error:
            raise JournalError(
                f"the journal {self.path} cannot be used ({error}); nothing is done. Mend the disk first: "
                "the operations guide tells when it is safe to begin a new one"
            ) from error

    return inner


@dataclass(frozen=True)
class StepRecord:
    """What the journal knows of one step; `outcome` is None while its intent stands without an outcome."""

    name: str
    attempts: int
    first_at: float
    intent_at: float
    outcome_at: float | None
    outcome: str | None
    detail: str | None


@dataclass(frozen=True)
class FailoverRecord:
    """One failover with its steps of the latest round; times are Unix seconds."""

    id: int
    target: str
    started_at: float
    round: int
    ended_at: float | None
    result: str | None
    steps: tuple[StepRecord, ...]
    tally: Tally


@dataclass(frozen=True, slots=True)
class Entry:
    """One account in the ledger of a failover."""

    key: str
    name: str
    state: str
    destination: str | None
    lag: int | None
    reason: str | None


@dataclass(frozen=True)
class Event:
    """One journaled decision; equal ones in a row are kept once, with how often and when first and last."""

    id: int
    target: str
    first_at: float
    last_at: float
    times: int
    row: str
    rule: str
    sight: str
    before: str
    after: str
    level: str
    exit: int
    sentence: str
    evidence: dict[str, Any] | None
    failover: int | None
    circumstances: dict[str, Any] | None


class Recall:
    """One value that an adapter remembers between cycles: `read` returns the last that was written, or None."""

    def __init__(self, read: Callable[[], str | None], write: Callable[[str], None]) -> None:
        self.read = read
        self.write = write


class Journal:
    """The journal of one instance; open it with `Journal.open`."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._db = connection

    @classmethod
    def open(cls, state_dir: Path, *, create: bool = True) -> Journal:
        """Open the journal in a directory that only its owner can write, making both where they are missing.

        Raises JournalError where the directory is not safe, or the file cannot be read, written or understood.
        """
        path = state_dir / "habeat.db"
        if not create and not kept(state_dir):
            raise JournalError(f"there is no journal at {path}: no cycle has run on this machine yet")
        secure(state_dir)
        journal: Journal | None = None
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

    # -- the machine's memory and its decisions

    @_translated
    def memory(self, target: Target) -> Memory:
        """Return what is remembered of a target, or a fresh memory for one never seen."""
        row = self._db.execute(
            "SELECT state, downs, ups, seen_at, failover, failover_at, reached_at, served FROM target WHERE key=?",
            (target.key,),
        ).fetchone()
        return Memory(**row) if row else Memory()

    @_translated
    def record(
        self,
        target: Target,
        decision: Decision,
        now: float,
        verdict: Verdict | None = None,
        grounds: Grounds | None = None,
    ) -> Memory:
        """Write a decision with the verdict and the grounds it was made on, and return the memory as stored.

        A decision that starts a failover opens its saga, or the next round of it, in the same transaction.
        """
        memory = decision.memory
        with self._transaction():
            if decision.command is Command.ACTIVATE and decision.before is State.ACTIVE:
                self._db.execute(
                    "UPDATE failover SET round=round+1, ended_at=NULL, result=NULL WHERE id=?", (memory.failover,)
                )
            elif decision.command is Command.ACTIVATE and decision.before is not State.FAILING_OVER:
                opened = self._db.execute("INSERT INTO failover (target, started_at) VALUES (?,?)", (target.key, now))
                memory = replace(memory, failover=opened.lastrowid)
            elif (
                decision.after not in (State.FAILING_OVER, State.FAILING_BACK) and decision.after is not decision.before
            ):
                self._db.execute(
                    "UPDATE failover SET ended_at=?, result=? WHERE id=? AND ended_at IS NULL",
                    (now, decision.sentence, memory.failover),
                )
            if decision.before is State.FAILING_OVER and decision.after is State.STANDBY:
                # An abandoned failover leaves no trace in the memory: the one before it is the last one again.
                earlier = self._db.execute(
                    "SELECT max(id) AS id FROM failover WHERE target=? AND id<?", (target.key, memory.failover or 0)
                ).fetchone()
                memory = replace(memory, failover=earlier["id"])
            self._db.execute(
                "INSERT OR REPLACE INTO target (key, state, downs, ups, seen_at, failover, failover_at, reached_at,"
                " served) VALUES (?,?,?,?,?,?,?,?,?)",
                (
                    target.key,
                    memory.state,
                    memory.downs,
                    memory.ups,
                    memory.seen_at,
                    memory.failover,
                    memory.failover_at,
                    memory.reached_at,
                    memory.served,
                ),
            )
            self._event(target, replace(decision, memory=memory), now, verdict, grounds)
        return memory

    def _event(
        self, target: Target, decision: Decision, now: float, verdict: Verdict | None, grounds: Grounds | None
    ) -> None:
        rule = verdict.rule if verdict else ""
        kept = grounds_to_json(grounds) if grounds else {"snapshot": None, "facts": None}
        evidence, circumstances = (_json(kept[part]) for part in ("snapshot", "facts"))
        last = self._db.execute(
            "SELECT id, row, rule FROM event WHERE target=? ORDER BY id DESC LIMIT 1", (target.key,)
        ).fetchone()
        if last and (last["row"], last["rule"]) == (decision.row, rule):
            self._db.execute(
                "UPDATE event SET last_at=?, times=times+1, sentence=?, evidence=?, circumstances=? WHERE id=?",
                (now, decision.sentence, evidence, circumstances, last["id"]),
            )
            return
        added = self._db.execute(
            "INSERT INTO event (target, first_at, last_at, row, rule, sight, before, after, level, exit, sentence,"
            " evidence, circumstances, failover) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            (
                target.key,
                now,
                now,
                decision.row,
                rule,
                verdict.sight.value if verdict else "",
                decision.before.value,
                decision.after.value,
                decision.level.value,
                decision.exit,
                decision.sentence,
                evidence,
                circumstances,
                decision.memory.failover,
            ),
        )
        self._db.execute("DELETE FROM event WHERE id <= ?", ((added.lastrowid or 0) - KEEP_EVENTS,))

    @_translated
    def events(self, target: Target | None = None, limit: int = 20, event: int | None = None) -> list[Event]:
        """Return the newest events first: of one target or all, or the one with the given number."""
        rows = self._db.execute(
            "SELECT * FROM event WHERE (?1 IS NULL OR target=?1) AND (?2 IS NULL OR id=?2) ORDER BY id DESC LIMIT ?3",
            (target.key if target else None, event, limit),
        ).fetchall()
        return [
            Event(**{**dict(row), **{part: json.loads(row[part] or "null") for part in ("evidence", "circumstances")}})
            for row in rows
        ]

    # -- the saga

    @_translated
    def intend(self, failover: int, round_: int, step: str, now: float) -> int:
        """Write that a step is about to run, and return which attempt at it this is, from 1."""
        with self._transaction():
            self._db.execute(
                "INSERT INTO step (failover, round, name, attempts, first_at, intent_at) VALUES (?1,?2,?3,1,?4,?4)"
                " ON CONFLICT DO UPDATE"
                " SET attempts=attempts+1, intent_at=excluded.intent_at, outcome=NULL, outcome_at=NULL, detail=NULL",
                (failover, round_, step, now),
            )
            row = self._db.execute(
                "SELECT attempts FROM step WHERE failover=? AND round=? AND name=?", (failover, round_, step)
            ).fetchone()
        return int(row["attempts"])

    @_translated
    def conclude(self, failover: int, round_: int, step: str, outcome: Outcome, now: float) -> None:
        """Write how a step ended."""
        detail = getattr(outcome, "detail", None) or getattr(outcome, "why", "")
        with self._transaction():
            self._db.execute(
                "UPDATE step SET outcome=?, outcome_at=?, detail=? WHERE failover=? AND round=? AND name=?",
                (type(outcome).__name__.lower(), now, detail, failover, round_, step),
            )

    @_translated
    def failover(self, number: int) -> FailoverRecord:
        """Return one failover, with the steps of its latest round in the order in which they were first meant."""
        row = self._db.execute("SELECT * FROM failover WHERE id=?", (number,)).fetchone()
        if row is None:
            raise JournalError(f"there is no failover number {number} in {self.path}")
        steps = self._db.execute(
            "SELECT name, attempts, first_at, intent_at, outcome_at, outcome, detail FROM step"
            " WHERE failover=? AND round=?"
            " ORDER BY first_at",
            (number, row["round"]),
        ).fetchall()
        return FailoverRecord(**row, steps=tuple(StepRecord(**step) for step in steps), tally=self.tally(number))

    @_translated
    def last_failover(self) -> int | None:
        """Return the number of the newest failover of all."""
        row = self._db.execute("SELECT max(id) AS id FROM failover").fetchone()
        return None if row["id"] is None else int(row["id"])

    @_translated
    def step(self, failover: int, round_: int, step: str) -> StepRecord | None:
        """Return what is known of one step."""
        row = self._db.execute(
            "SELECT name, attempts, first_at, intent_at, outcome_at, outcome, detail FROM step"
            " WHERE failover=? AND round=? AND name=?",
            (failover, round_, step),
        ).fetchone()
        return StepRecord(**row) if row else None

    @_translated
    def ever_intended(self, failover: int, step: str) -> bool:
        """Tell whether a step was begun in any round of a failover."""
        found = self._db.execute("SELECT 1 FROM step WHERE failover=? AND name=? LIMIT 1", (failover, step)).fetchone()
        return found is not None

    # -- the account ledger

    @_translated
    def enlist(self, failover: int, accounts: Iterable[Account]) -> int:
        """Add the accounts found on the dead mailstore to the ledger as pending, and return how many are new.

        One that was already promoted and is found there again is pending again; a refused one may be tried again.
        """
        with self._transaction():
            before = self._count(failover)
            self._db.executemany(
                "INSERT INTO account (failover, key, name, destination, lag, state, reason) VALUES (?,?,?,?,?,?,?)"
                " ON CONFLICT DO UPDATE SET state=excluded.state, reason=excluded.reason,"
                " destination=excluded.destination, lag=excluded.lag, promoted_at=NULL, flushed_at=NULL,"
                " restarted_at=NULL",
                (
                    (
                        failover,
                        account.key,
                        account.name,
                        next((r.destination for r in account.usable()), None),
                        account.lag(),
                        "pending",
                        None,
                    )
                    for account in accounts
                ),
            )
            return self._count(failover) - before

    def _count(self, failover: int) -> int:
        counted = self._db.execute("SELECT count(*) FROM account WHERE failover=?", (failover,)).fetchone()
        return int(counted[0])

    @_translated
    def entries(self, failover: int, state: str, lacking: str = "") -> list[Entry]:
        """Return the ledger's accounts in a state; `lacking` ("flushed" or "restarted") keeps those not yet so."""
        rows = self._db.execute(
            "SELECT key, name, state, destination, lag, reason FROM account WHERE failover=?1 AND state=?2"
            " AND (?3<>'flushed' OR flushed_at IS NULL) AND (?3<>'restarted' OR restarted_at IS NULL) ORDER BY name",
            (failover, state, lacking),
        )
        return [Entry(**row) for row in rows]

    @_translated
    def promoted(self, failover: int, keys: Sequence[tuple[str, str]], now: float) -> None:
        """Write that accounts, given as (key, new mail host), were read back on their new mailstore."""
        with self._transaction():
            self._db.executemany(
                "UPDATE account SET state='promoted', promoted_at=?, reason=NULL, destination=?"
                " WHERE failover=? AND key=? AND state<>'promoted'",
                ((now, host, failover, key) for key, host in keys),
            )

    @_translated
    def refused(self, failover: int, reasons: Sequence[tuple[str, str]]) -> None:
        """Write that accounts, given as (key, reason), were not promoted."""
        with self._transaction():
            self._db.executemany(
                "UPDATE account SET state='refused', reason=? WHERE failover=? AND key=? AND state<>'promoted'",
                ((reason, failover, key) for key, reason in reasons),
            )

    @_translated
    def cared(self, failover: int, what: str, keys: Iterable[str], now: float) -> None:
        """Write that accounts were `what`: "flushed" or "restarted"."""
        column = {"flushed": "flushed_at", "restarted": "restarted_at"}[what]
        with self._transaction():
            self._db.executemany(
                f"UPDATE account SET {column}=? WHERE failover=? AND key=?",  # noqa: S608  column is one of two literals
                ((now, failover, key) for key in keys),
            )

    @_translated
    def tally(self, failover: int) -> Tally:
        """Return the counts of a failover's ledger."""
        row = self._db.execute(
            "SELECT count(*) AS total, count(promoted_at) AS promoted, count(flushed_at) AS flushed,"
            " count(restarted_at) AS restarted, max(promoted_at) AS last_at,"
            " count(CASE WHEN state='refused' THEN 1 END) AS refused"
            " FROM account WHERE failover=?",
            (failover,),
        ).fetchone()
        return Tally(**row)

    # -- a person's orders

    @_translated
    def pause(self, pause: Pause) -> None:
        """Begin a pause, which takes the place of one that stands."""
        with self._transaction():
            self._db.execute("UPDATE pause SET ended_at=? WHERE ended_at IS NULL", (pause.since,))
            self._db.execute(
                "INSERT INTO pause (owner, reason, since, until) VALUES (?,?,?,?)",
                (pause.owner, pause.reason, pause.since, pause.until),
            )

    @_translated
    def resume(self, now: float) -> bool:
        """End the pause, and tell whether there was one."""
        with self._transaction():
            ended = self._db.execute(
                "UPDATE pause SET ended_at=?1 WHERE ended_at IS NULL AND (until IS NULL OR until>?1)", (now,)
            )
        return ended.rowcount > 0

    @_translated
    def paused(self, now: float) -> Pause | None:
        """Return the pause that stands now."""
        row = self._db.execute(
            "SELECT owner, reason, since, until FROM pause WHERE ended_at IS NULL AND (until IS NULL OR until>?)"
            " ORDER BY id DESC LIMIT 1",
            (now,),
        ).fetchone()
        return Pause(**row) if row else None

    @_translated
    def acknowledge(self, owner: str, reason: str, now: float) -> None:
        """Write that a person has seen the last failover and allows the next."""
        with self._transaction():
            self._db.execute("INSERT INTO ack (at, owner, reason) VALUES (?,?,?)", (now, owner, reason))

    @_translated
    def acknowledged(self, failover: int | None) -> bool:
        """Tell whether a person has acknowledged a failover since it started."""
        row = self._db.execute(
            "SELECT 1 FROM ack, failover WHERE failover.id=? AND ack.at >= failover.started_at LIMIT 1", (failover,)
        ).fetchone()
        return row is not None

    # -- small facts worth remembering, such as Carbonio's namespace

    @_translated
    def note(self, key: str, value: str | None) -> None:
        """Remember a small fact, or forget it with None."""
        with self._transaction():
            if value is None:
                self._db.execute("DELETE FROM note WHERE key=?", (key,))
            else:
                self._db.execute("INSERT OR REPLACE INTO note (key, value) VALUES (?,?)", (key, value))

    @_translated
    def noted(self, key: str) -> str | None:
        """Return a remembered fact."""
        row = self._db.execute("SELECT value FROM note WHERE key=?", (key,)).fetchone()
        return str(row["value"]) if row else None

    def recall(self, key: str) -> Recall:
        """Return the place for one remembered value, which any thread may use: each use has a connection of its own."""

        def read() -> str | None:
            with contextlib.closing(Journal.open(self.path.parent, create=False)) as apart:
                return apart.noted(key)

        def write(value: str) -> None:
            with contextlib.closing(Journal.open(self.path.parent, create=False)) as apart:
                apart.note(key, value)

        return Recall(read, write)


def _json(value: dict[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)


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
