"""A made-up Carbonio: accounts with replicas on mailstores, and the commands that habeat runs.

The contract is that of docs/carbonio-simulator.md; the contract tests hold this one and the command-line double to it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from habeat.act.run import Completed
from habeat.simulator.world import World

PIECES = 2
PATIENCE, TRIES = 25.0, 2  # of zmprov for a mailstore
LONGEST = 100.0  # of a job
GARBAGE = Completed(0, "Picked up JAVA_TOOL_OPTIONS: {not json}\n\x00}{\n", "")
UNREACHABLE = Completed(0, "Unable to communicate with server\n", "")


@dataclass
class Mailbox:
    """One account; `moves` counts promotions, `flushed` names where its cache was dropped since the last.

    `by_hand` tells that a person promoted it.
    """

    key: str
    name: str
    host: str
    replica: str
    available: bool = True
    moves: int = 0
    flushed: set[str] = field(default_factory=set)
    restarted: int = 0
    by_hand: bool = False


@dataclass
class Operation:
    """A job of the server, which goes on when its client, on `host`, is gone; it started by the clock of that host."""

    id: str
    left: list[str]
    started: float
    client: Callable[[], bool]
    host: str
    by_hand: bool = False


@dataclass
class Carbonio:
    """One Carbonio, as all its hosts see it; `faults` maps a command to what goes wrong and how many times more.

    `misdated` tells that somebody, whose clock was set since, saw a job that seemed to be older than any is.
    """

    world: World
    boxes: dict[str, Mailbox] = field(default_factory=dict)
    stores: list[str] = field(default_factory=list)
    module: dict[str, bool] = field(default_factory=dict)
    operations: list[Operation] = field(default_factory=list)
    faults: dict[str, tuple[str, int]] = field(default_factory=dict)
    stalled: Callable[[str], bool] = lambda _host: False
    offset: Callable[[str], float] = lambda _host: 0.0  # how wrong the clock of a host is
    lists_promoted: bool = True
    begun: list[Callable[[Operation], None]] = field(default_factory=list)
    misdated: bool = False
    _count: int = 0

    def add(self, number: int, host: str, replica: str, *, available: bool = True) -> None:
        """Add an account on a mailstore, with a replica on another."""
        key = f"00000000-0000-4000-8000-{number:012d}"
        self.boxes[key] = Mailbox(key, f"user{number}@example.com", host, replica, available)

    def run(
        self, host: str, program: str, argv: Sequence[str], stdin: str, client: Callable[[], bool]
    ) -> Completed | None:
        """Return how a command ended on a host, or None for one that hangs; `client` tells whether its caller lives."""
        words = [word for word in argv if not word.startswith("--")]
        command = self._named(program, words)
        fault = self._fault(command)
        if fault == "hang" or (command == "promoteAccounts" and self.stalled(host)):
            return None
        if fault in ("garbage", "unreachable"):
            return GARBAGE if fault == "garbage" else UNREACHABLE
        if fault == "exit":
            return Completed(1, "Exception in thread main java.lang.OutOfMemoryError\n", "")
        if program == "zmprov":
            return self._zmprov(host, words, stdin)
        if words[0] not in ("core", "MailReplica"):
            return Completed(1, f"No such module {words[0]}\n", "")
        return self._command(host, command, dict(zip(words[2::2], words[3::2], strict=False)), fault, client)

    def _clock(self, host: str) -> float:
        return self.world.now + self.offset(host)

    def _named(self, program: str, words: Sequence[str]) -> str:
        if program != "zmprov":
            return words[1]
        return {"gas": "gas", "-s": "fc"}.get(words[0], "ga") if words else "ga"

    def _fault(self, command: str) -> str:
        kind, left = self.faults.get(command, ("", 0))
        if left > 0:
            self.faults[command] = (kind, left - 1)
            return kind
        return ""

    def _command(
        self, host: str, command: str, args: dict[str, str], fault: str, client: Callable[[], bool]
    ) -> Completed:
        self.world.wait(1.0)
        if command == "getServices":
            running = self.module.get(host, True)
            return _good({"services": {"module": {"name": "module", "running": running}}})
        if command in ("doStopService", "doStartService"):
            if fault != "none":
                self.module[host] = command == "doStartService"
            return _good({"message": "done"})
        if command == "getAccountStatus":
            found = [box for box in self.boxes.values() if box.host == args.get("mailHost", box.host)]
            found = [box for box in found if self.lists_promoted or not box.moves]
            return _good({"values": [_status(box) for box in found]})
        if command == "getAllOperations":
            now = self._clock(host)
            self.misdated |= any(now - operation.started > LONGEST for operation in self.operations)
            return _good({"operationList": [_told(operation) for operation in self.operations]})
        if command == "promoteAccounts":
            return self._promote(host, args, fault, client)
        for box in self._wanted(args):
            box.restarted += command == "restartReplicas" and fault != "none"
        return _good({"values": []})

    def _wanted(self, args: dict[str, str]) -> Iterator[Mailbox]:
        names = Path(args["input_file"]).read_text(encoding="utf-8").split() if "input_file" in args else None
        source = args.get("source_mail_host")
        for box in list(self.boxes.values()):
            if (names is None or box.name in names) and (source is None or box.host == source):
                yield box

    def promote_by_hand(self, host: str, source: str) -> None:
        """Let a person on a host promote a whole mailstore, and wait for it."""
        self._promote(host, {"source_mail_host": source}, "", lambda: True, by_hand=True)

    def _promote(
        self, host: str, args: dict[str, str], fault: str, client: Callable[[], bool], *, by_hand: bool = False
    ) -> Completed:
        wanted = list(self._wanted(args))
        refused = [box for box in wanted if not box.available]
        self._count += 1
        keys = [box.key for box in wanted]
        operation = Operation(f"operation-{self._count}", keys, self._clock(host), client, host, by_hand)
        for hear in self.begun:
            hear(operation)
        self.operations.append(operation)
        if fault == "slow":
            self.world.wait(40.0)
        if fault == "part":
            operation.left = operation.left[: len(operation.left) // 2]
        if fault == "none":
            operation.left = []
        size = max(1, -(-len(operation.left) // PIECES))
        while operation.left:
            self._move(operation, size)
            self.world.wait(1.0)
            if not client():
                self.world.at(self.world.now + 20.0, lambda: self._orphaned(operation))
                break
        if operation in self.operations and client():
            self.operations.remove(operation)
        if refused:
            message = f"{len(refused)} of {len(wanted)} accounts could not be promoted"
            return Completed(1, json.dumps({"ok": False, "error": {"message": message}}), "")
        return _good({"operationId": operation.id})

    def _move(self, operation: Operation, size: int) -> None:
        now, operation.left = operation.left[:size], operation.left[size:]
        for key in now:
            box = self.boxes[key]
            if box.available:
                box.host, box.replica, box.available = box.replica, box.host, False
                box.moves += 1
                box.flushed, box.by_hand = set(), operation.by_hand

    def _orphaned(self, operation: Operation) -> None:
        """Let the server finish what it does for a client that is gone."""
        self._move(operation, len(operation.left))
        if operation in self.operations:
            self.operations.remove(operation)

    def _zmprov(self, host: str, words: Sequence[str], stdin: str) -> Completed:
        self.world.wait(1.0)
        if words == ["gas", "mailbox"]:
            return Completed(0, "".join(f"{name}\n" for name in self.stores), "")
        if words[:1] == ["-s"]:
            if not self.world.answers(host, words[1], PATIENCE, TRIES):
                return Completed(2, "ERROR: zclient.IO_ERROR (connect timed out)\n", "")
            for key in words[4:]:
                if key not in self.boxes:
                    return Completed(2, f"ERROR: account.NO_SUCH_ACCOUNT (no such account: {key})\n", "")
                self.boxes[key].flushed.add(words[1])
            return Completed(0, "", "")
        lines = []
        for line in stdin.splitlines():
            box = self.boxes.get(line.split()[1])
            if box is None:
                lines.append("ERROR: account.NO_SUCH_ACCOUNT\n")
            else:
                lines.append(f"prov> # name {box.name}\nzimbraId: {box.key}\nzimbraMailHost: {box.host}\n\n")
        return Completed(0, "".join(lines), "")


def _good(response: Any) -> Completed:
    return Completed(0, json.dumps({"ok": True, "response": response}) + "\n", "")


def _status(box: Mailbox) -> dict[str, Any]:
    replica = {"accountId": box.key, "destination": box.replica, "available": box.available, "sequence": 1000}
    told = {"accountId": box.key, "accountName": box.name, "accountMailHost": box.host, "sequence": 1000}
    return {**told, "replicas": [{**replica, "priority": 1}]}


def _told(operation: Operation) -> dict[str, Any]:
    named = {"id": operation.id, "name": "PromoteAccounts", "module": "MailReplica", "state": "Started"}
    return {**named, "startTime": int(operation.started * 1000)}
