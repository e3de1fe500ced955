"""The ledger: which accounts a failover found on the dead mailstore, and how far each of them came."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from habeat.journal.store import Store, translated
from habeat.model import Account, Tally


@dataclass(frozen=True, slots=True)
class Entry:
    """One account in the ledger of a failover."""

    key: str
    name: str
    state: str
    destination: str | None
    lag: int | None
    reason: str | None


class Ledger(Store):
    """The accounts of every failover."""

    @translated
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

    @translated
    def entries(self, failover: int, state: str, lacking: str = "") -> list[Entry]:
        """Return the ledger's accounts in a state; `lacking` ("flushed" or "restarted") keeps those not yet so."""
        rows = self._db.execute(
            "SELECT key, name, state, destination, lag, reason FROM account WHERE failover=?1 AND state=?2"
            " AND (?3<>'flushed' OR flushed_at IS NULL) AND (?3<>'restarted' OR restarted_at IS NULL) ORDER BY name",
            (failover, state, lacking),
        )
        return [Entry(**row) for row in rows]

    @translated
    def promoted(self, failover: int, keys: Sequence[tuple[str, str]], now: float) -> None:
        """Write that accounts, given as (key, new mail host), were read back on their new mailstore."""
        with self._transaction():
            self._db.executemany(
                "UPDATE account SET state='promoted', promoted_at=?, reason=NULL, destination=?"
                " WHERE failover=? AND key=? AND state<>'promoted'",
                ((now, host, failover, key) for key, host in keys),
            )

    @translated
    def refused(self, failover: int, reasons: Sequence[tuple[str, str]]) -> None:
        """Write that accounts, given as (key, reason), were not promoted."""
        with self._transaction():
            self._db.executemany(
                "UPDATE account SET state='refused', reason=? WHERE failover=? AND key=? AND state<>'promoted'",
                ((reason, failover, key) for key, reason in reasons),
            )

    @translated
    def cared(self, failover: int, what: str, keys: Iterable[str], now: float) -> None:
        """Write that accounts were `what`: "flushed" or "restarted"."""
        column = {"flushed": "flushed_at", "restarted": "restarted_at"}[what]
        with self._transaction():
            self._db.executemany(
                f"UPDATE account SET {column}=? WHERE failover=? AND key=?",  # noqa: S608  column is one of two literals
                ((now, failover, key) for key in keys),
            )

    @translated
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
