"""The lock between instances: one failover of a mailstore at a time, however many standbys watch it.

Recipe and timings: Consul's session documentation. A session with a TTL holds a key; it is renewed at a third of
the TTL, and the first renewal that fails means that the lock may be gone: the work stops before its next step.
Carbonio's agents often hold tokens that may not write sessions; where Consul clearly refuses, and the lock is not
required, the local lock alone must do, and the failover says so. Any other trouble with Consul is waited out, but
for what needs no Consul to succeed: an address must be able to move while Consul's quorum is lost with the site.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from types import TracebackType

from habeat.consul import Consul
from habeat.edges import REAL, Edges
from habeat.errors import HttpError, HttpRefusedError, LockLostError

TTL = 30


class SharedLock:
    """A Consul lock on one key. Used as a context manager around the work; `lost` is asked before every step.

    `recall` and `remember` keep the session's id between cycles, so that a cycle that was killed can take up its
    own lock at once. `required` makes a lock that cannot be had an error instead of a notice in `note`; `waits` does so
    for every trouble but a clear refusal.
    """

    def __init__(
        self,
        consul: Consul | None,
        key: str,
        owner: str,
        *,
        required: bool,
        waits: bool = True,
        recall: Callable[[], str | None],
        remember: Callable[[str | None], None],
        edges: Edges = REAL,
    ) -> None:
        self._consul = consul
        self._key = key
        self._owner = owner
        self._required = required
        self._waits = waits
        self._recall = recall
        self._remember = remember
        self._session = ""
        self._lost = ""
        self._renewed = 0.0
        self._edges = edges
        self._end: Callable[[], None] | None = None
        self.note = "this machine's own lock only"

    def __enter__(self) -> SharedLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._end is not None:
            self._end()
        if self._session and self._consul is not None:
            with contextlib.suppress(HttpError):
                self._consul.release(self._key, self._session)
            with contextlib.suppress(HttpError):
                self._consul.destroy_session(self._session)
            self._remember(None)

    def acquire(self) -> None:
        """Take the lock; raises LockLostError where another has it, or where it is required and not to be had."""
        if self._consul is None or self._session:
            self.check()
            return
        try:
            self._session = self._own_session(self._consul)
            self._remember(self._session)
            self._renewed = self._edges.ticks()
            got = self._consul.acquire(self._key, self._session, self._owner)
            held = self._consul.lock(self._key)
        except HttpError as error:
            if self._required or (self._waits and not isinstance(error, HttpRefusedError)):
                raise LockLostError(f"the lock {self._key} in Consul cannot be had: Consul {error}") from error
            self.note = f"this machine's own lock only, since Consul {error}"
            return
        if not got or held is None or held.session != self._session:
            who = held.value if held and held.session else "nobody yet: Consul holds it back for some seconds"
            raise LockLostError(f"the lock {self._key} in Consul is held by {who}")
        self.note = f"the lock {self._key} in Consul (epoch {held.epoch})"
        self._end = self._edges.every(TTL / 3, partial(self._renew, self._consul))

    def lost(self) -> str | None:
        """Return why the lock may be gone since it was taken, or None."""
        since = self._edges.ticks() - self._renewed
        if self._end is not None and since > TTL:
            return f"the lock {self._key} may be lost: it was not renewed for {since:.0f} s"
        return self._lost or None

    def check(self) -> None:
        """Raise LockLostError if the lock may be gone since it was taken."""
        if (why := self.lost()) is not None:
            raise LockLostError(why)

    def _own_session(self, consul: Consul) -> str:
        old = self._recall()
        if old:
            with contextlib.suppress(HttpError):
                if consul.renew_session(old):
                    return old
        return consul.create_session(TTL, f"habeat {self._key}")

    def _renew(self, consul: Consul) -> bool:
        """Renew the session once, and tell whether that is to go on."""
        asked = self._edges.ticks()
        try:
            alive = consul.renew_session(self._session)
        except Exception as error:  # noqa: BLE001  whatever broke the renewal, the lock may be gone
            self._lost = f"the lock {self._key} may be lost: Consul {error}"
            return False
        if not alive:
            self._lost = f"the lock {self._key} was lost: its session in Consul is gone"
            return False
        self._renewed = asked
        return True
