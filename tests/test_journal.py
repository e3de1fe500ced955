"""The journal: durable, exclusive, and clear about what it cannot do (I3)."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from facts import SAYS_DOWN, TARGET, circumstances, snapshot, verdict, vote
from habeat.errors import JournalError
from habeat.grounds import Grounds
from habeat.journal import FORMATS, Journal
from habeat.machine import Decision, decide
from habeat.model import Account, Done, Failed, Memory, Pause, Replica, Sight, Target

ACCOUNTS = [
    Account(f"user{n}@example.com", f"id-{n}", "mbox1", 10, (Replica("mbox2", available=True, sequence=9),))
    for n in range(3)
]


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """Give an open journal in a fresh directory."""
    opened = Journal.open(tmp_path / "state")
    yield opened
    opened.close()


def decision(sight: Sight, memory: Memory) -> Decision:
    """Return what follows from a sight."""
    return decide(verdict(sight), TARGET.name, circumstances(memory))


def record(journal: Journal, sight: Sight, memory: Memory, now: float = 1000.0) -> Memory:
    """Write what follows from a sight, with made-up grounds, and return the memory as stored."""
    grounds = Grounds(snapshot(vote(SAYS_DOWN)), circumstances(memory))
    return journal.record(TARGET, decision(sight, memory), now, verdict(sight), grounds)


def failing_over(journal: Journal) -> int:
    """Bring the journal to the start of a failover, and return its number."""
    memory = Memory()
    for _ in range(2):
        memory = record(journal, Sight.DOWN, memory)
    assert memory.failover is not None
    return memory.failover


def test_memory_is_kept(journal: Journal, tmp_path: Path) -> None:
    """What was recorded is there for the next process, each target for itself."""
    failing_over(journal)
    again = Journal.open(tmp_path / "state")
    memory = again.memory(TARGET)
    again.close()
    assert ("failing_over", 2, 1) == (memory.state, memory.downs, memory.failover)
    assert Memory() == journal.memory(Target("appserver", "primary", "other", "10.0.0.9"))


def test_failover_is_opened_with_its_decision(journal: Journal) -> None:
    """A crash right after the decision finds the failover there: they are one transaction (I3)."""
    number = failing_over(journal)
    record = journal.failover(number)
    assert (1, None, ()) == (record.round, record.ended_at, record.steps)


def test_events_that_repeat_are_kept_once(journal: Journal) -> None:
    """A thousand healthy cycles are one event with a count, and the newest evidence."""
    memory = Memory()
    for now in range(1000, 1010):
        memory = record(journal, Sight.UP, memory, float(now))
    (event,) = journal.events(TARGET)
    assert (10, 1000.0, 1009.0) == (event.times, event.first_at, event.last_at)
    record(journal, Sight.DOWN, memory, 1010.0)
    assert ["S4", "S1"] == [event.row for event in journal.events(TARGET)]


def test_steps(journal: Journal) -> None:
    """A step's intent stands until its outcome; attempts are counted; an intent after an outcome takes it back."""
    number = failing_over(journal)
    assert 1 == journal.intend(number, 1, "promote", 1.0)
    assert None is journal.failover(number).steps[0].outcome
    journal.conclude(number, 1, "promote", Failed("no"), 2.0)
    assert ("failed", "no") == (journal.failover(number).steps[0].outcome, journal.failover(number).steps[0].detail)
    assert 2 == journal.intend(number, 1, "promote", 3.0)
    assert None is journal.failover(number).steps[0].outcome
    journal.conclude(number, 1, "promote", Done("yes"), 4.0)
    assert "done" == journal.failover(number).steps[0].outcome
    assert journal.ever_intended(number, "promote")
    assert not journal.ever_intended(number, "flush")


def test_ledger(journal: Journal) -> None:
    """Each account is in one state; what was promoted is not refused, and is pending again only if found there again."""
    number = failing_over(journal)
    assert 3 == journal.enlist(number, ACCOUNTS)
    assert 0 == journal.enlist(number, ACCOUNTS)
    journal.promoted(number, [("id-0", "mbox2")], 5.0)
    journal.refused(number, [("id-0", "no"), ("id-1", "its replica is gone")])
    journal.cared(number, "flushed", ["id-0"], 6.0)
    tally = journal.tally(number)
    assert (3, 1, 1, 0, 1) == (tally.total, tally.promoted, tally.flushed, tally.restarted, tally.refused)
    assert ["its replica is gone"] == [entry.reason for entry in journal.entries(number, "refused")]
    assert [] == journal.entries(number, "promoted", lacking="flushed")
    assert ["id-0"] == [entry.key for entry in journal.entries(number, "promoted", lacking="restarted")]
    journal.enlist(number, ACCOUNTS[:1])
    assert {"id-0", "id-2"} == {entry.key for entry in journal.entries(number, "pending")}
    assert [1, 1] == [entry.lag for entry in journal.entries(number, "pending")]


def test_pause_and_its_end(journal: Journal) -> None:
    """A pause holds until its time, until resumed, or until another takes its place (I7)."""
    journal.pause(Pause("ann", "work", 100.0, 200.0))
    assert "ann" == getattr(journal.paused(199.0), "owner", None)
    assert journal.paused(200.0) is None
    journal.pause(Pause("bob", "more work", 150.0))
    assert "bob" == getattr(journal.paused(9e9), "owner", None)
    assert journal.resume(300.0)
    assert journal.paused(301.0) is None
    assert not journal.resume(302.0)


def test_acknowledgement_counts_from_the_failover(journal: Journal) -> None:
    """An acknowledgement from before a failover says nothing about it (I6)."""
    journal.acknowledge("ann", "", 999.0)
    number = failing_over(journal)
    assert not journal.acknowledged(number)
    journal.acknowledge("ann", "", 1001.0)
    assert journal.acknowledged(number)
    assert not journal.acknowledged(None)


def test_acknowledgement_before_the_clock_was_set_back(journal: Journal) -> None:
    """What was acknowledged before a failover began is not for it, whatever the clock said then (I6)."""
    journal.acknowledge("ann", "", 8200.0)
    assert not journal.acknowledged(failing_over(journal))


def test_notes(journal: Journal) -> None:
    """Small facts are kept, changed and forgotten."""
    journal.note("a", "1")
    journal.note("a", "2")
    assert "2" == journal.noted("a")
    journal.note("a", None)
    assert journal.noted("a") is None


@pytest.mark.parametrize("content", [b"", b"not a database at all" * 100])
def test_corrupted_file(tmp_path: Path, content: bytes) -> None:
    """A file that is no journal is a clear error, and is left as it is; an empty one is a new journal."""
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    (state / "habeat.db").write_bytes(content)
    if not content:
        Journal.open(state).close()
        return
    with pytest.raises(JournalError, match="cannot be used .file is not a database.; nothing is done"):
        Journal.open(state)
    assert content == (state / "habeat.db").read_bytes()


def test_damaged_in_use(journal: Journal) -> None:
    """Damage that shows only later is the same clear error."""
    journal._db.execute("DROP TABLE target")
    with pytest.raises(JournalError, match="no such table"):
        journal.memory(TARGET)


def test_format_of_an_earlier_version(tmp_path: Path) -> None:
    """A journal of an earlier habeat is brought forward by a cycle, not by a look at it, and remembers what it knew."""
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    with sqlite3.connect(state / "habeat.db") as db:
        db.executescript(FORMATS[0])
        db.execute("INSERT INTO target VALUES (?, 'suspect', 1, 0, 1000.0, NULL, NULL)", (TARGET.key,))
        db.execute("PRAGMA user_version=1")
    db.close()
    with pytest.raises(JournalError, match="has format 1: the next `habeat check` brings it to format 3"):
        Journal.open(state, create=False)
    journal = Journal.open(state)
    memory = journal.memory(TARGET)
    assert Memory("suspect", 1, 0, 1000.0) == memory
    assert "failing_over" == record(journal, Sight.DOWN, memory).state
    (event,) = journal.events(TARGET)
    journal.close()
    assert event.circumstances is not None


def test_format_of_a_later_version(tmp_path: Path) -> None:
    """A journal of a later habeat is not touched."""
    Journal.open(tmp_path / "state").close()
    with sqlite3.connect(tmp_path / "state" / "habeat.db") as db:
        db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(JournalError, match="has format 99, and this habeat knows format 3"):
        Journal.open(tmp_path / "state")


@pytest.mark.parametrize("mode", [0o777, 0o722, 0o770])
def test_directory_that_others_can_write(tmp_path: Path, mode: int) -> None:
    """State that others could have written is not believed (I9)."""
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(mode)
    with pytest.raises(JournalError, match="writable by nobody else"):
        Journal.open(state)


def test_directory_that_is_a_file(tmp_path: Path) -> None:
    """A file in the directory's place is told."""
    (tmp_path / "state").write_text("")
    with pytest.raises(JournalError, match="cannot be used"):
        Journal.open(tmp_path / "state")


def test_files_are_private(journal: Journal) -> None:
    """Nobody else can read the journal: it names every account."""
    assert 0o700 == os.stat(journal.path.parent).st_mode & 0o777
    assert 0o600 == os.stat(journal.path).st_mode & 0o777


def test_writes_are_on_disk(journal: Journal) -> None:
    """Each transaction is forced to disk before it returns (I3): synchronous is FULL, and the journal a WAL."""
    assert (2, "wal") == tuple(
        journal._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("synchronous", "journal_mode")
    )


def test_no_journal_yet(tmp_path: Path) -> None:
    """Reading a journal that was never written says so, and does not make one."""
    with pytest.raises(JournalError, match="no cycle has run"):
        Journal.open(tmp_path / "state", create=False)
    assert not (tmp_path / "state").exists()


def test_eight_processes_write_at_once(tmp_path: Path) -> None:
    """Eight processes that open a new journal and write at the same instant all succeed, and lose nothing (I2)."""
    code = (
        "import sys, time; from pathlib import Path; from habeat.journal import Journal\n"
        "while time.time() < float(sys.argv[3]): pass\n"
        "j = Journal.open(Path(sys.argv[1]))\n"
        "for n in range(5): j.note(f'{sys.argv[2]}-{n}', 'x')\n"
    )
    for attempt in range(3):
        state = tmp_path / f"state{attempt}"
        start = str(time.time() + 0.8)
        started = [subprocess.Popen([sys.executable, "-c", code, str(state), str(n), start]) for n in range(8)]
        assert [0] * 8 == [process.wait() for process in started]
        journal = Journal.open(state)
        counted = journal._db.execute("SELECT count(*) FROM note").fetchone()[0]
        journal.close()
        assert 40 == counted


def test_unwritable_disk(journal: Journal) -> None:
    """A disk that takes no more is a clear error before anything is done (I3)."""
    journal._db.execute(f"PRAGMA max_page_count={journal._db.execute('PRAGMA page_count').fetchone()[0]}")
    with pytest.raises(JournalError, match="full"):
        journal.note("a", "x" * 100_000)
    assert journal.noted("a") is None


def test_a_cooled_failover_keeps_its_number(journal: Journal) -> None:
    """The end of a failover is written once, with the sentence that ended it."""
    number = failing_over(journal)
    memory = journal.memory(TARGET)
    ended = replace(decision(Sight.UP, memory), memory=replace(memory, state="standby"))
    journal.record(TARGET, ended, 1010.0)
    assert (1010.0, ended.sentence) == (journal.failover(number).ended_at, journal.failover(number).result)


def test_remembered_values_can_be_used_from_any_thread(journal: Journal) -> None:
    """A witness is asked in a thread of its own, and what it remembers is there for the next one (I1)."""
    recall, heard = journal.recall("hetrix"), []
    for act in (lambda: recall.write("x"), lambda: heard.append(recall.read())):
        thread = threading.Thread(target=act)
        thread.start()
        thread.join()
    assert ["x"] == heard
    assert "x" == journal.noted("hetrix")
