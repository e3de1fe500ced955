"""The log file: one line an event, with the sentence and the evidence, for a person at four in the morning."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from io import TextIOWrapper
from logging.handlers import WatchedFileHandler
from pathlib import Path

from habeat.machine import Decision, Level
from habeat.model import Evidence, Outcome, Snapshot, Target, Unknown

PRIORITIES: Mapping[Level, tuple[int, int]] = {
    Level.INFO: (logging.INFO, 6),
    Level.WARNING: (logging.WARNING, 4),
    Level.ERROR: (logging.ERROR, 3),
}


class Log:
    """Writes to the log file (which may be rotated under it at any time), and to the terminal or systemd's journal."""

    def __init__(self, path: Path | None, *, quiet: bool = False) -> None:
        self._logger = logging.Logger("habeat")  # noqa: LOG001  its own, so that nothing else can log into the file
        self._logger.addHandler(logging.NullHandler())  # without a file, no fallback of logging's either
        self._quiet = quiet
        self._prefix = "JOURNAL_STREAM" in os.environ
        if path is not None:
            self._open(path)

    def _open(self, path: Path) -> None:
        try:
            handler = _File(path, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            self.say(Level.WARNING, f"the log file {path} cannot be written ({error.strerror}); going on without it")
            return
        handler.setFormatter(_Formatter("%(asctime)s %(levelname)-7s %(message)s"))
        self._logger.addHandler(handler)

    def close(self) -> None:
        """Close the file."""
        for handler in self._logger.handlers:
            handler.close()

    def say(self, level: Level, sentence: str, detail: str = "") -> None:
        """Tell one event: the sentence to everybody, the detail to the file."""
        self.write(level, f"{sentence} | {detail}" if detail else sentence)
        if not self._quiet:
            sentence, priority = one_line(sentence), PRIORITIES[level][1]
            with contextlib.suppress(
                OSError, ValueError, AttributeError
            ):  # a terminal or pipe that is gone must not stop a failover
                sys.stdout.write(f"<{priority}>{sentence}\n" if self._prefix else f"{sentence}\n")
                sys.stdout.flush()

    def write(self, level: Level, line: str) -> None:
        """Write one line to the file alone."""
        with contextlib.suppress(OSError):  # reopening after a rotation may fail too, and must not stop a failover
            self._logger.log(PRIORITIES[level][0], "%s", one_line(line))

    def decision(self, target: Target, decision: Decision, rule: str, snapshot: Snapshot | None) -> None:
        """Tell a decision with its row, its rule and its evidence."""
        change = f"{decision.before.value}->{decision.after.value}"
        detail = f"{target.key} {change} row={decision.row} rule={rule or '-'}"
        self.say(decision.level, decision.sentence, f"{detail} {evidence(snapshot)}" if snapshot else detail)

    def step(self, target: Target, name: str, outcome: Outcome | None) -> None:
        """Tell that a step begins (None) or how it ended."""
        if outcome is None:
            self.say(Level.INFO, f"step {name} begins", target.key)
            return
        kind = type(outcome).__name__.lower()
        said = getattr(outcome, "detail", "") or getattr(outcome, "why", "")
        self.say(Level.INFO if kind == "done" else Level.ERROR, f"step {name} {kind}: {said}", target.key)


class _File(WatchedFileHandler):
    """Reopens when the file was moved away, so that rotation loses no line; follows no link that anybody could lay."""

    def _open(self) -> TextIOWrapper:
        path = Path(self.baseFilename)
        shared = bool(path.parent.stat().st_mode & stat.S_IWOTH)

        def opener(name: str, flags: int) -> int:
            descriptor = os.open(name, flags | os.O_NONBLOCK | (os.O_NOFOLLOW if shared else 0), 0o640)
            found = os.fstat(descriptor)
            if shared and (not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid()):
                os.close(descriptor)
                raise OSError(errno.EPERM, "it is somebody else's, in a directory where everybody may write")
            return descriptor

        return open(path, "a", encoding=self.encoding, errors=self.errors, opener=opener)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, ARG002  logging's name
        """Say that a line could not be written, and go on: a full disk must not stop a failover."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            sys.stderr.write(f"habeat: the log file {self.baseFilename} cannot be written: {sys.exc_info()[1]}\n")


class _Formatter(logging.Formatter):
    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802, ARG002  logging's name
        return datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="seconds")


def evidence(snapshot: Snapshot) -> str:
    """Return all evidence of a cycle on one line."""
    return "; ".join(
        f"{who}: {type(found).__name__.lower()}, {found.reason}{f' ({note})' if note else ''}"
        for who, found, note in items(snapshot)
    )


def items(snapshot: Snapshot) -> Iterator[tuple[str, Evidence, str]]:
    """Give each piece of evidence: who says it, what, and a note on it."""
    for node in snapshot.nodes:
        yield from ((f"{node.target.name}: {who}", found, note) for who, found, note in items(node))
    for probe in (*snapshot.leader, *snapshot.rebuild):
        yield f"{probe.kind}: {probe.address}", probe.evidence, ""
    for probe in (*snapshot.probes, *snapshot.services):
        yield f"{probe.kind} {probe.address}", probe.evidence, ""
    for vote in snapshot.votes:
        yield f"witness {vote.witness}", vote.evidence, f"age {vote.age:.0f} s"
    for name in snapshot.unasked:
        yield f"witness {name}", Unknown("was not asked, because the target answered"), ""
    for vote in snapshot.service_votes:
        yield f"witness {vote.witness} on the service", vote.evidence, f"age {vote.age:.0f} s"
    for probe in (*snapshot.ours, *snapshot.theirs):
        yield f"{probe.kind} {probe.address}", probe.evidence, ""
    for probe in snapshot.gateways:
        yield f"gateway {probe.address}", probe.evidence, ""


def one_line(text: str) -> str:
    """Return text as one printable line: names and answers from outside must not forge lines or move the cursor."""
    return "".join(char if char.isprintable() else " " if char in "\n\t" else repr(char)[1:-1] for char in text)
