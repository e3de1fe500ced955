"""Carbonio's command lines: `carbonio` for replicas, `zmprov` for caches, always as Carbonio's own user.

Each start costs a JVM of one to three seconds, so nothing here is done per account. Account names travel in files
(one a line) or as single arguments behind a fixed word, so no name can become an option or a command.

Wire format: the Advanced CLI's `--json` output as its public consumers read it; see docs/carbonio-simulator.md for
what is certain and what is tolerated.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from habeat.act.run import Completed, Runner
from habeat.errors import CarbonioError
from habeat.journal import Recall
from habeat.model import Account, Replica, sound

NAMESPACES = ("MailReplica", "ha")
REPLICATION = ("ha", "mailreplica", "zxha")
NO_PROMOTION = ("pause", "restart", "destination")  # in the names of what else the replication module does
SYNC_CODES = {1: "failed", 2: "was stopped", 3: "was removed", 4: "was interrupted"}
LARGEST_NUMBER = 2**63
UNREACHABLE = "Unable to communicate with server"
COMPLAINTS = (UNREACHABLE, "ERROR:")
MAILBOX_ID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
HOSTNAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


Hook = Callable[[dict[str, Any]], Any]


@dataclass(frozen=True)
class Operation:
    """A job on the Carbonio server: `started` in Unix seconds, or None where it was not said."""

    id: str
    name: str
    module: str
    started: float | None

    @property
    def may_promote(self) -> bool:
        """Tell whether it may be a promotion, as far as its name tells."""
        name, ours = self.name.lower(), self.module.lower() in REPLICATION
        return "promot" in name or (ours and not any(word in name for word in NO_PROMOTION))


@dataclass(frozen=True)
class Carbonio:
    """The `carbonio` command; `timeout` bounds one ordinary call, `long_timeout` one that moves mailboxes."""

    runner: Runner
    binary: str
    timeout: float
    long_timeout: float
    spool: Path
    recall: Recall
    namespace: str = "auto"

    # -- what it is asked

    def services(self) -> dict[str, Any]:
        """Return the state of the replication module's services; proves that Carbonio answers, and under which name.

        The module is called MailReplica from Carbonio 25.9 and `ha` before; what answers is remembered.
        """
        known = self.recall.read()
        names = (
            (self.namespace,)
            if self.namespace != "auto"
            else tuple(dict.fromkeys((known or NAMESPACES[0], *NAMESPACES)))
        )
        errors = []
        for name in names:
            try:
                response = self._json([name, "getServices"], self.timeout)
            except CarbonioError as error:
                errors.append(str(error))
                continue
            if name != known:
                self.recall.write(name)
            return _mapping(response)
        raise CarbonioError("; ".join(errors))

    def accounts(self, mail_host: str) -> list[Account]:
        """Return the replicated accounts whose mailbox lives on a mailstore."""
        response = _mapping(self._replica("getAccountStatus", "mailHost", _hostname(mail_host), hook=_slim))
        values = response.get("values")
        if not isinstance(values, list):
            raise CarbonioError("getAccountStatus answered without its list of accounts")
        accounts = [value for value in values if isinstance(value, Account)]
        if len(accounts) < len(values):
            raise CarbonioError(
                f"getAccountStatus answered with {len(values) - len(accounts)} entries that name no account"
            )
        foreign = [account for account in accounts if account.mail_host.lower() not in ("", mail_host.lower())]
        if foreign:
            raise CarbonioError(
                f"getAccountStatus was asked for {mail_host} and answered with {foreign[0].name!r}, "
                f"which lives on {foreign[0].mail_host}: its answer cannot be trusted"
            )
        return accounts

    def operations(self) -> list[Operation]:
        """Return the jobs that run or wait on the Carbonio server."""
        found = _mapping(self._json(["core", "getAllOperations"], self.timeout)).get("operationList")
        return [_operation(item) for item in found or [] if isinstance(item, dict)]

    def module_runs(self) -> bool | None:
        """Tell whether the replication module runs, or None where Carbonio's answer does not say."""
        return _running(self.services())

    # -- what it is told

    def promote_all(self, source: str, threads: int) -> None:
        """Promote every account of one mailstore and wait for the end."""
        self._sync("promoteAccounts", "source_mail_host", _hostname(source), "threads", str(threads))

    def promote(self, names: Sequence[str], threads: int) -> None:
        """Promote the named accounts and wait for the end."""
        with self._list(names) as path:
            self._sync("promoteAccounts", "input_file", path, "threads", str(threads))

    def restart_replicas(self, names: Sequence[str]) -> None:
        """Pause and restart the replication of the named accounts."""
        with self._list(names) as path:
            self._replica("pauseReplicas", "input_file", path, timeout=self.long_timeout)
            self._replica("restartReplicas", "input_file", path, timeout=self.long_timeout)

    def stop_module(self) -> None:
        """Stop the replication module."""
        self._replica("doStopService", "module")

    def start_module(self) -> None:
        """Start the replication module."""
        self._replica("doStartService", "module")

    # -- plumbing

    def _sync(self, command: str, *args: str) -> None:
        """Run a command that waits for its operation; its exit code and any JSON in its output must both be good."""
        done = self._run(["--json", "--sync", self._namespace(), command, *args], self.long_timeout)
        answer = _find_json(done.stdout)
        if answer is not None and answer.get("ok") is not True:
            raise CarbonioError(f"{command}: {_error(answer)}")
        if done.code != 0:
            raise CarbonioError(
                f"{command} {SYNC_CODES.get(done.code, f'ended with exit code {done.code}')}{_said(done)}"
            )
        if UNREACHABLE in done.stdout + done.stderr:
            raise CarbonioError(f"{command}: {UNREACHABLE}")

    def _replica(self, command: str, *args: str, timeout: float | None = None, hook: Hook | None = None) -> Any:
        return self._json([self._namespace(), command, *args], timeout or self.timeout, hook)

    def _namespace(self) -> str:
        return self.namespace if self.namespace != "auto" else self.recall.read() or NAMESPACES[0]

    def _json(self, args: Sequence[str], timeout: float, hook: Hook | None = None) -> Any:
        """Run a command and return its `response`; anything but a clear `"ok": true` is an error."""
        done = self._run(["--json", *args], timeout)
        answer = _find_json(done.stdout, hook)
        what = " ".join(args[:2])
        if answer is None:
            raise CarbonioError(f"{what} gave no JSON (exit code {done.code}){_said(done)}")
        if answer.get("ok") is not True:
            raise CarbonioError(f"{what}: {_error(answer)}")
        if done.code != 0:
            raise CarbonioError(f"{what} ended with exit code {done.code}{_said(done)}")
        return answer.get("response")

    def _run(self, args: Sequence[str], timeout: float) -> Completed:
        return self.runner.run([self.binary, *args], timeout)

    @contextlib.contextmanager
    def _list(self, names: Sequence[str]) -> Iterator[str]:
        """Write account names to a file that only Carbonio's user can read, and give its path.

        Carbonio may read it from its server process too, so it must not lie in a private /tmp.
        """
        if not names:
            raise CarbonioError("an empty list of accounts is refused: Carbonio would take it for all accounts")
        folder = self._folder()
        try:
            path = folder / "list"
            with path.open("x", encoding="utf-8") as file:
                file.write("".join(f"{name}\n" for name in names))
                self.runner.show(file.fileno(), 0o640)
            yield str(path)
        except OSError as error:
            raise CarbonioError(f"no list of accounts can be written in {self.spool}: {error.strerror}") from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _folder(self) -> Path:
        """Return a fresh folder in the spool; those of a killed habeat are removed, since only one is ever at work."""
        try:
            if not self.spool.exists():
                self.spool.mkdir(parents=True)
                self.spool.chmod(0o755)  # whatever our umask: Carbonio's user must be able to enter
            there = self.spool.lstat()
            if there.st_uid != os.geteuid() or there.st_mode & 0o022 or not stat.S_ISDIR(there.st_mode):
                raise CarbonioError(
                    f"{self.spool} must be a directory that only its owner, uid {os.geteuid()}, can write"
                )
            for stale in self.spool.glob("accounts-*"):
                shutil.rmtree(stale, ignore_errors=True)
            folder = Path(tempfile.mkdtemp(dir=self.spool, prefix="accounts-"))
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError as error:
            raise CarbonioError(f"no list of accounts can be written in {self.spool}: {error.strerror}") from error
        try:
            self.runner.show(descriptor, 0o750)
        finally:
            os.close(descriptor)
        return folder


@dataclass(frozen=True)
class Zmprov:
    """The `zmprov` command; `timeout` bounds one call."""

    runner: Runner
    binary: str
    timeout: float

    def mailstores(self) -> list[str]:
        """Return the host names of all mailstores that the directory knows."""
        done = self._good(["gas", "mailbox"])
        return [line.strip() for line in done.stdout.splitlines() if HOSTNAME.fullmatch(line.strip())]

    def flush(self, host: str, accounts: Sequence[str]) -> None:
        """Drop the named (or numbered) accounts from one mailstore's cache."""
        if accounts:
            self._good(["-s", _hostname(host), "fc", "account", *accounts])

    def mail_hosts(self, ids: Iterable[str]) -> dict[str, str]:
        """Return where the directory says that accounts live, by account id; what is not an id is passed over.

        Raises CarbonioError where it tells nothing: that is no proof that they live nowhere.
        """
        wanted = [key for key in ids if MAILBOX_ID.fullmatch(key)]
        if not wanted:
            return {}
        commands = "".join(f"ga {key} zimbraId zimbraMailHost\n" for key in wanted)
        done = self.runner.run([self.binary], self.timeout, stdin=commands)
        found = _mail_hosts(done.stdout)
        unread = _complains(done) or "# name" not in done.stdout
        if not found and unread and "NO_SUCH_ACCOUNT" not in done.stdout + done.stderr:
            raise CarbonioError(f"zmprov ga told of no account, and ended with exit code {done.code}{_said(done)}")
        return found

    def _good(self, args: Sequence[str]) -> Completed:
        done = self.runner.run([self.binary, *args], self.timeout)
        if _complains(done):
            raise CarbonioError(f"zmprov {' '.join(args[:3])} ended with exit code {done.code}{_said(done)}")
        return done


def _complains(done: Completed) -> bool:
    return done.code != 0 or any(complaint in done.stdout for complaint in COMPLAINTS)


def _hostname(name: str) -> str:
    """Return a mailstore's name, or refuse it: a blank one would mean all mailstores to Carbonio."""
    if not HOSTNAME.fullmatch(name):
        raise CarbonioError(f"{name!r} is not the host name of a mailstore")
    return name


def _find_json(text: str, hook: Hook | None = None) -> dict[str, Any] | None:
    """Return the first JSON object with an "ok" in it, whatever banner or warning stands before or behind it."""
    decoder = json.JSONDecoder(object_hook=hook)
    for match in re.finditer(r"\{", text):
        with contextlib.suppress(ValueError, RecursionError):
            found, _ = decoder.raw_decode(text, match.start())
            if isinstance(found, dict) and "ok" in found:
                return found
    return None


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _error(answer: dict[str, Any]) -> str:
    error = answer.get("error")
    text = error.get("message") if isinstance(error, dict) else error
    return " ".join(str(text or "refused without a reason").split())[:300]


def _said(done: Completed) -> str:
    text = " ".join((done.stderr or done.stdout).split())
    return f": {text[-300:]}" if text else ""


def _slim(item: dict[str, Any]) -> Any:
    """Turn an account, or a replica in it, into a fact as soon as it is parsed: a mailstore has 100,000 of them."""
    if isinstance(item.get("accountName"), str) and item["accountName"]:
        return Account(
            name=sound(item["accountName"]),
            id=sound(str(item.get("accountId") or "")),
            mail_host=sys.intern(sound(str(item.get("accountMailHost") or ""))),
            sequence=_number(item.get("sequence")),
            replicas=tuple(replica for replica in item.get("replicas") or () if isinstance(replica, Replica)),
        )
    if "destination" in item:
        available = item.get("available")
        return Replica(
            destination=sys.intern(sound(str(item["destination"] or ""))),
            available=available if isinstance(available, bool) else None,
            sequence=_number(item.get("sequence")),
            priority=_number(item.get("priority")),
        )
    return item


def _number(value: Any) -> int | None:
    try:
        number = None if isinstance(value, bool) else int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number is not None and abs(number) < LARGEST_NUMBER else None


def _operation(item: dict[str, Any]) -> Operation:
    told = _number(item.get("startTime")) or _number(item.get("queuedTime"))
    started = None if told is None else told / 1000 if told > 10**11 else float(told)
    return Operation(str(item.get("id")), str(item.get("name")), str(item.get("module")), started)


def _running(services: Any) -> bool | None:
    """Return the `running` of the entry called `module`, wherever it is nested."""
    if not isinstance(services, dict):
        return None
    module = services.get("module")
    if isinstance(module, dict) and isinstance(module.get("running"), bool):
        return bool(module["running"])
    return next((state for value in services.values() if (state := _running(value)) is not None), None)


def _mail_hosts(output: str) -> dict[str, str]:
    """Return zimbraId → zimbraMailHost from the attribute blocks that `zmprov ga` prints."""
    found: dict[str, str] = {}
    current: dict[str, str] = {}
    for line in [*output.splitlines(), "# name"]:
        text = line.removeprefix("prov>").strip()
        if text.startswith("# name"):
            if "zimbraId" in current and "zimbraMailHost" in current:
                found[current["zimbraId"]] = current["zimbraMailHost"]
            current = {}
        elif ": " in text:
            name, _, value = text.partition(": ")
            current[name] = value.strip()
    return found
