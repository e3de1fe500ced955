"""What ends a run of a plan before its time."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from habeat.journal import Journal
from habeat.machine import Command, Result
from habeat.model import Done, Outcome
from habeat.saga import Job, Plan, Progress, Saga, Step
from test_journal import failing_over


def test_a_lost_lock_ends_the_run(tmp_path: Path) -> None:
    """Once the lock is lost no further step runs, or is intended: another standby may have it."""
    ran: list[str] = []

    def first(_job: Job) -> Outcome:
        ran.append("first")
        return Done("it is done")

    def second(_job: Job) -> Outcome:
        ran.append("second")
        return Done("it is done")

    plan = Plan(
        activate=(Step("first", first), Step("second", second)),
        deactivate=(),
        summary=lambda _failover: "it ended",
        undone=lambda _failover: 0,
        lost=lambda: "the lock was lost" if ran else None,
    )
    with closing(Journal.open(tmp_path / "state")) as journal:
        number = failing_over(journal)
        saga = Saga(plan, journal, clock=lambda: 0.0, hold=lambda: None, told=lambda _name, _outcome: None)
        assert Progress(Result.WAITING, "second: the lock was lost") == saga.run(number, Command.ACTIVATE)
        assert ["first"] == [step.name for step in journal.failover(number).steps]
    assert ["first"] == ran
