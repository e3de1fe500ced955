"""The durable memory, and the only place that touches SQLite.

A failover is a saga: the intent of each step is on disk before the step runs and its outcome after it, so that a
cycle which follows a crash knows what was begun. Every public method is one transaction, and returns only after
it is on disk (WAL, synchronous=FULL).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from habeat.errors import JournalError
from habeat.grounds import Grounds, grounds_to_json
from habeat.journal.ledger import Entry, Ledger
from habeat.journal.store import FORMATS, kept, secure, translated
from habeat.machine import Command, Decision, State
from habeat.model import Memory, Outcome, Pause, Tally, Target, Verdict

__all__ = ["FORMATS", "Entry", "Event", "FailoverRecord", "Journal", "Recall", "StepRecord", "kept", "secure"]

KEEP_EVENTS = 100_000
_ENCODER = json.JSONEncoder(ensure_ascii=False, check_circular=False)


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


class Journal(Ledger):
    """The journal of one instance; open it with `Journal.open`."""

    # -- the machine's memory and its decisions

    @translated
    def memory(self, target: Target) -> Memory:
        """Return what is remembered of a target, or a fresh memory for one never seen."""
        row = self._db.execute(
            "SELECT state, downs, ups, since, seen_at, failover, failover_at, reached_at, served FROM target"
            " WHERE key=?",
            (target.key,),
        ).fetchone()
        return Memory(**row) if row else Memory()

    @translated
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
                # The clock may have been set back: what a person acknowledged until now is not for what begins now.
                self._db.execute("UPDATE ack SET at=?1-1 WHERE at>=?1", (now,))
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
                "INSERT OR REPLACE INTO target (key, state, downs, ups, since, seen_at, failover, failover_at,"
                " reached_at, served) VALUES (?,?,?,?,?,?,?,?,?,?)",
                (
                    target.key,
                    memory.state,
                    memory.downs,
                    memory.ups,
                    memory.since,
                    memory.seen_at,
                    memory.failover,
                    memory.failover_at,
                    memory.reached_at,
                    memory.served,
                ),
            )
            self._event(target, decision, memory.failover, now, verdict, grounds)
        return memory

    def _event(
        self,
        target: Target,
        decision: Decision,
        failover: int | None,
        now: float,
        verdict: Verdict | None,
        grounds: Grounds | None,
    ) -> None:
        rule = verdict.rule if verdict else ""
        kept = grounds_to_json(grounds) if grounds else {"snapshot": None, "facts": None}
        evidence, circumstances = (_json(kept[part]) for part in ("snapshot", "facts"))
        again = self._db.execute(
            "UPDATE event SET last_at=?, times=times+1, sentence=?, evidence=?, circumstances=?"
            " WHERE id=(SELECT max(id) FROM event WHERE target=?) AND row=? AND rule=?",
            (now, decision.sentence, evidence, circumstances, target.key, decision.row, rule),
        )
        if again.rowcount:
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
                failover,
            ),
        )
        self._db.execute("DELETE FROM event WHERE id <= ?", ((added.lastrowid or 0) - KEEP_EVENTS,))

    @translated
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

    @translated
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

    @translated
    def conclude(self, failover: int, round_: int, step: str, outcome: Outcome, now: float) -> None:
        """Write how a step ended."""
        detail = getattr(outcome, "detail", None) or getattr(outcome, "why", "")
        with self._transaction():
            self._db.execute(
                "UPDATE step SET outcome=?, outcome_at=?, detail=? WHERE failover=? AND round=? AND name=?",
                (type(outcome).__name__.lower(), now, detail, failover, round_, step),
            )

    @translated
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

    @translated
    def last_failover(self) -> int | None:
        """Return the number of the newest failover of all."""
        row = self._db.execute("SELECT max(id) AS id FROM failover").fetchone()
        return None if row["id"] is None else int(row["id"])

    @translated
    def step(self, failover: int, round_: int, step: str) -> StepRecord | None:
        """Return what is known of one step."""
        row = self._db.execute(
            "SELECT name, attempts, first_at, intent_at, outcome_at, outcome, detail FROM step"
            " WHERE failover=? AND round=? AND name=?",
            (failover, round_, step),
        ).fetchone()
        return StepRecord(**row) if row else None

    @translated
    def ever_intended(self, failover: int, step: str) -> bool:
        """Tell whether a step was begun in any round of a failover."""
        found = self._db.execute("SELECT 1 FROM step WHERE failover=? AND name=? LIMIT 1", (failover, step)).fetchone()
        return found is not None

    # -- a person's orders

    @translated
    def pause(self, pause: Pause) -> None:
        """Begin a pause, which takes the place of one that stands."""
        with self._transaction():
            self._db.execute("UPDATE pause SET ended_at=? WHERE ended_at IS NULL", (pause.since,))
            self._db.execute(
                "INSERT INTO pause (owner, reason, since, until) VALUES (?,?,?,?)",
                (pause.owner, pause.reason, pause.since, pause.until),
            )

    @translated
    def resume(self, now: float) -> bool:
        """End the pause, and tell whether there was one; one that is over stays so, if the clock is set back."""
        with self._transaction():
            standing = self.paused(now) is not None
            self._db.execute("UPDATE pause SET ended_at=min(?1, coalesce(until, ?1)) WHERE ended_at IS NULL", (now,))
        return standing

    @translated
    def paused(self, now: float) -> Pause | None:
        """Return the pause that stands now."""
        row = self._db.execute(
            "SELECT owner, reason, since, until FROM pause WHERE ended_at IS NULL AND (until IS NULL OR until>?)"
            " ORDER BY id DESC LIMIT 1",
            (now,),
        ).fetchone()
        return Pause(**row) if row else None

    def hold(self, now: float) -> str | None:
        """Return why nothing may be done now, by a person's order, or None."""
        pause = self.paused(now)
        return f"habeat is paused by {pause.owner} ({pause.reason})" if pause else None

    @translated
    def acknowledge(self, owner: str, reason: str, now: float) -> None:
        """Write that a person has seen the last failover and allows the next."""
        with self._transaction():
            self._db.execute("INSERT INTO ack (at, owner, reason) VALUES (?,?,?)", (now, owner, reason))

    @translated
    def acknowledgements(self) -> int:
        """Return how many acknowledgements there are: more than before is a newer one, whatever the clock says."""
        return int(self._db.execute("SELECT count(*) FROM ack").fetchone()[0])

    @translated
    def acknowledged(self, failover: int | None) -> bool:
        """Tell whether a person has acknowledged a failover since it started."""
        row = self._db.execute(
            "SELECT 1 FROM ack, failover WHERE failover.id=? AND ack.at >= failover.started_at LIMIT 1", (failover,)
        ).fetchone()
        return row is not None

    # -- small facts worth remembering, such as Carbonio's namespace

    @translated
    def note(self, key: str, value: str | None) -> None:
        """Remember a small fact, or forget it with None."""
        with self._transaction():
            if value is None:
                self._db.execute("DELETE FROM note WHERE key=?", (key,))
            else:
                self._db.execute("INSERT OR REPLACE INTO note (key, value) VALUES (?,?)", (key, value))

    @translated
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
    return None if value is None else _ENCODER.encode(value)
