"""Role appserver: watch the other site's mailstore.

On the secondary site its death means: promote every account whose mailbox lives there, read back that they live
elsewhere now, flush caches, and restart replicas if asked. The accounts stay when the mailstore returns.

On the primary site nothing is ever promoted. With `disable_ha_module` the replication module is stopped, so that it
does not queue for a standby that is gone, and started again when the standby is back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from habeat.act.carbonio import Carbonio, Zmprov
from habeat.act.coordination import SharedLock
from habeat.consul import Consul
from habeat.errors import CarbonioError, CommandError, HabeatError, HttpError
from habeat.journal import Entry, Journal
from habeat.machine import Command, span
from habeat.model import Done, Failed, Outcome, Waiting
from habeat.roles import HELD
from habeat.saga import Job, Plan, Step

T = TypeVar("T")

NAMED_IN_A_SENTENCE = 5
FLUSH_ATTEMPTS = 3
CARE_ATTEMPTS = 10
NO_SUCH_ACCOUNT = "NO_SUCH_ACCOUNT"
SPELLED = re.compile(r"\\ud[89a-f][0-9a-f]{2}")  # half a surrogate pair, see `model.sound`
NOT_PROMOTED = {
    Command.ACTIVATE: "Carbonio did not promote it",
    Command.CLOSE: "its mailstore came back before it was promoted",
    Command.CARE: "its mailstore is no longer surely dead",
}


@dataclass(frozen=True)
class Options:
    """What the configuration says of this role; `max_lag` is in changes of the mailbox, None for any."""

    source: str
    here: str
    threads: int
    batch: int
    flush_cache: bool
    flush_everywhere: bool
    restart_replica: bool
    disable_ha_module: bool
    max_lag: int | None
    long_timeout: float


@dataclass(frozen=True)
class Appserver:
    """The steps of both sites' plans; each may be run again after it was cut off at any point."""

    options: Options
    carbonio: Carbonio
    zmprov: Zmprov
    directory: Callable[[], str] | None
    consul: Consul | None
    lock: SharedLock
    journal: Journal
    clock: Callable[[], float]

    def promotion(self) -> Plan:
        """Return the plan of the secondary site."""
        return Plan(
            activate=(
                Step("preflight", self.preflight, needs_down=True, every_run=True),
                Step("lock", self.take_lock, needs_down=True, every_run=True),
                Step("inventory", self.inventory, needs_down=True),
                Step("promote", self.promote, needs_down=True),
                Step("verify", self.verify),
                *((Step("flush", self.flush),) if self.options.flush_cache else ()),
                *((Step("restart", self.restart),) if self.options.restart_replica else ()),
            ),
            deactivate=(),
            summary=self.summary,
            undone=self.undone,
            guard=self.lock,
            lost=self.lock.lost,
        )

    def module_stop(self) -> Plan:
        """Return the plan of the primary site."""
        return Plan(
            activate=(Step("stop-module", self.stop_module, needs_down=True),),
            deactivate=(Step("start-module", self.start_module),),
            summary=self.module_summary,
            undone=lambda _failover: 0,
        )

    # -- the secondary site

    def preflight(self, _job: Job) -> Outcome:
        """Make sure that a promotion can succeed: Carbonio, the directory and Consul's leader."""
        try:
            self.carbonio.services()
        except HabeatError as error:
            return Waiting(f"Carbonio on this host is not ready: {error}")
        proved = ["Carbonio answers"]
        if self.directory is not None:
            try:
                proved.append(self.directory())
            except HabeatError as error:
                return Waiting(str(error))
        if self.consul is not None:
            try:
                self.consul.require_leader()
            except HttpError as error:
                return Waiting(f"Consul {error}; without it Carbonio's database has no primary and a promotion stalls")
            proved.append("Consul has a leader")
        return Done(", ".join(proved))

    def take_lock(self, _job: Job) -> Outcome:
        """Make sure that no other instance fails this mailstore over."""
        self.lock.acquire()
        return Done(self.lock.note)

    def inventory(self, job: Job) -> Outcome:
        """Write every account that lives on the dead mailstore into the ledger."""
        accounts = self.carbonio.accounts(self.options.source)
        if not accounts and not self._knows_source():
            return Failed(
                f"Carbonio lists no account on {self.options.source}, and its directory knows no mailstore of that "
                "name: is appserver_vmname its zimbraMailHost?"
            )
        new = self.journal.enlist(job.failover, accounts)
        return Done(f"{len(accounts)} accounts live on {self.options.source}, {new} of them new to this failover")

    def promote(self, job: Job) -> Outcome:
        """Promote all at once, then by name what is left, until nothing is left that can be or nothing moves.

        What another one promoted before we had the lock is waited for, and not promoted again.
        """
        if (running := self._running(job)) is not None:
            return Waiting(running)
        accounts = self.carbonio.accounts(self.options.source)
        self.journal.enlist(job.failover, accounts)
        there = {account.key for account in accounts}
        pending = [entry for entry in self.journal.entries(job.failover, "pending") if entry.key in there]
        if not pending:
            return Done("nothing to promote")
        said = self._promote_at_once(pending)
        left = self._left(pending)
        while wanted := [entry for entry in left if self._obstacle(entry) is None]:
            if said and (running := self._running(job)) is not None:
                return Waiting(running)
            said = self._promote_by_name(wanted) or said
            before, left = left, self._left(left)
            if len(left) == len(before):
                break
        self._refuse(job, left, f"Carbonio did not promote it{f' ({said})' if said else ''}")
        if said and len(left) == len(pending) and any(self._obstacle(entry) is None for entry in left):
            return Failed(f"none of {len(left)} accounts was promoted: {said}")
        return Done(f"{len(pending) - len(left)} of {len(pending)} accounts left {self.options.source}")

    def verify(self, job: Job) -> Outcome:
        """Read back where every account lives now; only one that is seen on another mailstore counts as promoted."""
        if job.command is not Command.ACTIVATE and (running := self._running(job)) is not None:
            return Waiting(running)
        open_ = self.journal.entries(job.failover, "pending") + self.journal.entries(job.failover, "refused")
        left = self._left(open_)
        self._refuse(job, [entry for entry in left if entry.reason is None], NOT_PROMOTED[job.command])
        staying = {entry.key for entry in left}
        moved = [entry for entry in open_ if entry.key not in staying]
        homes = self._homes(job, moved)
        lost = [entry for entry in moved if entry.key not in homes]
        self._refuse(job, lost, f"it is no longer on {self.options.source}, but no mailstore shows it: look by hand")
        return Done(
            f"{len(homes)} accounts read back on {', '.join(sorted(set(homes.values()))) or 'no other mailstore'}"
        )

    def flush(self, job: Job) -> Outcome:
        """Drop the promoted accounts from the caches of live mailstores, in batches, never waiting on the dead one."""
        entries = self.journal.entries(job.failover, "promoted", lacking="flushed")
        if not entries:
            return Done("nothing to flush")
        needed = {self.options.here, *(entry.destination for entry in entries if entry.destination)}
        hosts = sorted(needed | set(self.zmprov.mailstores() if self.options.flush_everywhere else ()))
        hosts = [host for host in hosts if host.lower() != self.options.source.lower()]
        failed: dict[str, str] = {}
        for batch in _batches(entries, self.options.batch):
            for host in [host for host in hosts if host not in failed]:
                try:
                    self._flush(host, [entry.key for entry in batch])
                except (CarbonioError, CommandError) as error:
                    failed[host] = str(error)
            if not needed & set(failed):
                self.journal.cared(job.failover, "flushed", [entry.key for entry in batch], self.clock())
        told = "; ".join(f"{host}: {why}" for host, why in failed.items())
        if any(job.attempt < (CARE_ATTEMPTS if host in needed else FLUSH_ATTEMPTS) for host in failed):
            return Failed(f"caches were not flushed on {told}")
        missed = f"; given up on {told}: caches there expire within 15 minutes" if failed else ""
        return Done(f"{len(entries)} accounts flushed on {', '.join(h for h in hosts if h not in failed)}{missed}")

    def _flush(self, host: str, keys: Sequence[str]) -> None:
        """Flush a batch; one that an account spoils, because it is gone by now, is halved until that one is alone."""
        try:
            self.zmprov.flush(host, keys)
        except CarbonioError as error:
            if NO_SUCH_ACCOUNT not in str(error):
                raise
            if len(keys) > 1:
                self._flush(host, keys[: len(keys) // 2])
                self._flush(host, keys[len(keys) // 2 :])

    def restart(self, job: Job) -> Outcome:
        """Pause and restart the replication of the promoted accounts, in batches."""
        promoted = self.journal.entries(job.failover, "promoted", lacking="restarted")
        entries = [entry for entry in promoted if _listable(entry)]
        try:
            for batch in _batches(entries, self.options.batch):
                self.carbonio.restart_replicas([entry.name for entry in batch])
                self.journal.cared(job.failover, "restarted", [entry.key for entry in batch], self.clock())
        except CarbonioError as error:
            if job.attempt < CARE_ATTEMPTS:
                raise
            return Done(f"given up on restarting replicas after {job.attempt} attempts: {error}")
        left = len(promoted) - len(entries)
        missed = f"; {left} have names that cannot stand in a list: restart theirs by hand" if left else ""
        return Done(f"replicas of {len(entries)} accounts restarted{missed}")

    def undone(self, failover: int) -> int:
        """Return how many accounts a failover could not do everything for."""
        tally = self.journal.tally(failover)
        unflushed = tally.promoted - tally.flushed if self.options.flush_cache else 0
        unrestarted = tally.promoted - tally.restarted if self.options.restart_replica else 0
        return tally.refused + max(unflushed, unrestarted)

    def summary(self, failover: int) -> str:
        """Return how a failover ended, in one clause with counts and the accounts that remain."""
        record, tally = self.journal.failover(failover), self.journal.tally(failover)
        if tally.total == 0:
            return f"no account has its mailbox on {self.options.source}, so there was nothing to promote"
        took = span((tally.last_at or self.clock()) - record.started_at)
        text = f"{tally.promoted} of {tally.total} accounts promoted in {took}"
        text += f", {tally.flushed} flushed" if self.options.flush_cache else ""
        text += f", {tally.restarted} with replicas restarted" if self.options.restart_replica else ""
        refused = self.journal.entries(failover, "refused")
        named = "; ".join(f"{entry.name!r}: {entry.reason}" for entry in refused[:NAMED_IN_A_SENTENCE])
        more = f"; and {len(refused) - NAMED_IN_A_SENTENCE} more" if len(refused) > NAMED_IN_A_SENTENCE else ""
        return text + (
            f"; not promoted: {named}{more} (all in `habeat explain --failover {failover}`)" if refused else ""
        )

    def _promote_at_once(self, pending: Sequence[Entry]) -> str:
        """Promote all that can be in one go; returns Carbonio's complaint, or "".

        By their names: a promotion of the whole mailstore would take along what turned up after the inventory, which is
        written down nowhere. Only where a name cannot stand in a list it is the whole mailstore.
        """
        wanted = [entry for entry in pending if entry.destination is not None and self._must_stay(entry) is None]
        if not wanted:
            return ""
        threads = self.options.threads
        if all(map(_listable, wanted)):
            return self._attempt(lambda: self.carbonio.promote([entry.name for entry in wanted], threads))
        if any(map(self._must_stay, pending)):
            return ""
        return self._attempt(lambda: self.carbonio.promote_all(self.options.source, threads))

    def _promote_by_name(self, wanted: Sequence[Entry]) -> str:
        said = ""
        for batch in _batches([entry.name for entry in wanted], self.options.batch):
            said = self._attempt(partial(self.carbonio.promote, batch, self.options.threads)) or said
        return said

    def _attempt(self, call: Callable[[], None]) -> str:
        self.lock.check()
        try:
            call()
        except CarbonioError as error:
            return str(error)
        return ""

    def _running(self, job: Job) -> str | None:
        """Return which promotion Carbonio may still be working on, whoever asked for it, or None.

        The client of another standby may have lost the lock while its job goes on. The name under which a promotion is
        listed is not known for sure, so any job of the replication module counts whose name does not say otherwise.
        None is waited for once it is older than we would wait for a promotion; nor is a list that cannot be had.
        """
        now, longest = self.clock(), 2 * self.options.long_timeout
        first = self.journal.step(job.failover, job.round, "promote")
        tried_at = now if first is None else first.first_at
        try:
            operations = self.carbonio.operations()
        except HabeatError:
            if now - tried_at <= longest:
                raise
            return None
        for operation in operations:
            began = tried_at if operation.started is None else operation.started
            if now - began <= longest and operation.may_promote:
                return f"Carbonio may still work on a promotion (operation {operation.id}, {operation.name})"
        return None

    def _knows_source(self) -> bool:
        return self.options.source.lower() in (host.lower() for host in self.zmprov.mailstores())

    def _left(self, entries: Sequence[Entry]) -> list[Entry]:
        there = {account.key for account in self.carbonio.accounts(self.options.source)} if entries else set()
        return [entry for entry in entries if entry.key in there]

    def _homes(self, job: Job, moved: Sequence[Entry]) -> dict[str, str]:
        """Return, and journal, the new mailstore of each account seen on one: by replica status, else the directory."""
        hosts = {self.options.here, *(entry.destination for entry in moved if entry.destination)} if moved else set()
        seen = {
            account.key: host
            for host in sorted(hosts - {self.options.source})
            for account in self.carbonio.accounts(host)
        }
        homes = {entry.key: seen[entry.key] for entry in moved if entry.key in seen}
        self.journal.promoted(job.failover, list(homes.items()), self.clock())
        for batch in _batches([entry.key for entry in moved if entry.key not in homes], self.options.batch):
            try:
                found = self.zmprov.mail_hosts(batch)
            except (CarbonioError, CommandError):
                if job.attempt < CARE_ATTEMPTS:
                    raise
                found = {}  # those that were seen elsewhere wait to be cared for
            elsewhere = {key: host for key, host in found.items() if host.lower() != self.options.source.lower()}
            self.journal.promoted(job.failover, list(elsewhere.items()), self.clock())
            homes |= elsewhere
        return homes

    def _obstacle(self, entry: Entry) -> str | None:
        """Return why an account cannot be promoted by name, or None."""
        if entry.destination is None:
            return "it has no available replica"
        if not _listable(entry):
            return "its name cannot stand on a line of a list"
        return self._must_stay(entry)

    def _must_stay(self, entry: Entry) -> str | None:
        """Return why an account must not be promoted, even with all others at once, or None."""
        limit = self.options.max_lag
        if limit is None or entry.destination is None or (entry.lag is not None and entry.lag <= limit):
            return None
        lag = "an unknown number of" if entry.lag is None else str(entry.lag)
        return f"its replica is {lag} changes behind, and policy.max_lag is {limit}"

    def _refuse(self, job: Job, entries: Sequence[Entry], why: str) -> None:
        self.journal.refused(job.failover, [(entry.key, self._obstacle(entry) or why) for entry in entries])

    # -- the primary site

    def stop_module(self, _job: Job) -> Outcome:
        """Stop the replication module, unless somebody else had stopped it already."""
        if not self.options.disable_ha_module:
            return Done("nothing is to be stopped: disable_ha_module is false")
        held = self.journal.noted(HELD) is not None
        if self.carbonio.module_runs() is False:
            return Done("the HA module is stopped" if held else "the HA module was already stopped, and not by habeat")
        self.journal.note(HELD, "stopped by habeat")
        self.carbonio.stop_module()
        return self._module_is(running=False)

    def start_module(self, _job: Job) -> Outcome:
        """Start the replication module, if it was habeat that stopped it."""
        if self.journal.noted(HELD) is None:
            return Done("the HA module was not stopped by habeat")
        if self.carbonio.module_runs() is not True:
            self.carbonio.start_module()
        outcome = self._module_is(running=True)
        if isinstance(outcome, Done):
            self.journal.note(HELD, None)
        return outcome

    def module_summary(self, _failover: int) -> str:
        """Return what was done on this site, in one clause."""
        held = self.journal.noted(HELD) is not None
        if not held and not self.options.disable_ha_module:
            return "nothing is done on this site (promotions are the secondary site's, disable_ha_module is false)"
        return "the HA module is stopped until the other site is back" if held else "the HA module is not held"

    def _module_is(self, *, running: bool) -> Outcome:
        state = self.carbonio.module_runs()
        wanted = "started" if running else "stopped"
        if state is None:
            return Done(f"the HA module was asked to be {wanted}; Carbonio does not tell its state")
        return Done(f"the HA module is {wanted}") if state is running else Failed(f"the HA module was not {wanted}")


def _listable(entry: Entry) -> bool:
    """Tell whether an account's name can stand in a list: on one line, and not one that had to be spelled out."""
    return entry.name.isprintable() and SPELLED.search(entry.name) is None


def _batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
