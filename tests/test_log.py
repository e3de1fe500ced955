"""The log file: one line an event, whatever is in it, and no line lost in rotation (I8, I9)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from facts import SAYS_DOWN, TARGET, circumstances, snapshot, verdict, vote
from habeat.machine import Level, decide
from habeat.model import Done, Failed, Memory, Sight
from habeat.report.log import Log, one_line


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    """Give a log that writes to the file `log`, and to the terminal."""
    with closing(Log(tmp_path / "log")) as opened:
        yield opened


def test_line_has_sentence_and_evidence(tmp_path: Path, log: Log) -> None:
    """A decision is one line with the moment, the sentence, the row, the rule and all evidence."""
    decision = decide(verdict(Sight.DOWN), TARGET.name, circumstances(Memory()))
    log.decision(TARGET, decision, "J7", snapshot(vote(SAYS_DOWN, age=3)))
    (line,) = (tmp_path / "log").read_text().splitlines()
    assert "WARNING mbox1.example.com looks dead (1 of 2 cycles): because of a test." in line
    assert "standby->suspect row=S4 rule=J7" in line
    assert (
        "icmp 10.0.0.1: down, does not answer ping (3 sent); witness Consul: down, says that it is down (age 3 s)"
        in line
    )


def test_rotation_loses_nothing(tmp_path: Path, log: Log) -> None:
    """A log file that is moved away or removed in mid-run is made anew, and every line is in one of the files."""
    path = tmp_path / "log"
    for number in range(30):
        log.say(Level.INFO, f"line {number}")
        if number % 10 == 9:
            path.rename(tmp_path / f"log.{number}")
    lines = [line for file in tmp_path.iterdir() for line in file.read_text().splitlines()]
    assert [f"line {n}" for n in range(30)] == sorted(
        (line.split("INFO    ")[1] for line in lines), key=lambda t: int(t[5:])
    )


def test_names_cannot_forge_lines(tmp_path: Path, log: Log, capsys: pytest.CaptureFixture[str]) -> None:
    """Line breaks, escapes and bells from outside stay on their line, in the file and on the terminal (I9)."""
    log.say(Level.ERROR, "a\nERROR forged\r\x1b[2J\x07b")
    assert 1 == len((tmp_path / "log").read_text().splitlines())
    assert "a ERROR forged\\r\\x1b[2J\\x07b\n" == capsys.readouterr().out
    assert "ü 漢" == one_line("ü 漢")


def test_unwritable_log_stops_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A log file that cannot be made is told, and the rest goes on."""
    Log(tmp_path / "none" / "log").say(Level.INFO, "still here")
    said = capsys.readouterr().out
    assert "cannot be written" in said
    assert "still here" in said


def test_no_link_is_followed_where_anybody_may_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A link laid in a world-writable directory is not written through (I9)."""
    shared, precious = tmp_path / "shared", tmp_path / "precious"
    shared.mkdir()
    shared.chmod(0o777)
    precious.write_text("keep")
    (shared / "log").symlink_to(precious)
    Log(shared / "log").say(Level.INFO, "x")
    assert "keep" == precious.read_text()
    assert "cannot be written" in capsys.readouterr().out


def test_priorities_for_the_journal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Under systemd each line carries its priority."""
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    log = Log(None)
    log.step(TARGET, "flush", None)
    log.step(TARGET, "flush", Done("well"))
    log.step(TARGET, "flush", Failed("badly"))
    assert "<6>step flush begins\n<6>step flush done: well\n<3>step flush failed: badly\n" == capsys.readouterr().out
