"""The lock between instances: only a clear refusal lets the local lock do; all else waits (I2)."""

from __future__ import annotations

import pytest

from habeat.act import coordination
from habeat.act.coordination import SharedLock
from habeat.consul import Consul, Lock
from habeat.edges import REAL
from habeat.errors import HttpError, HttpRefusedError, LockLostError
from habeat.http import Endpoint


class Hiccup(Consul):
    """A Consul whose calls go as told: an error to raise, or whether the key is got, and who holds it."""

    def __init__(
        self, *, create: Exception | None = None, got: bool = True, held: Exception | Lock | None = None
    ) -> None:
        super().__init__(Endpoint("127.0.0.1", 1))
        self.create, self.got, self.held = create, got, held

    def create_session(self, ttl: int, name: str) -> str:
        """Create."""
        if self.create:
            raise self.create
        return "mine"

    def acquire(self, key: str, session: str, value: str) -> bool:
        """Acquire."""
        return self.got

    def lock(self, key: str) -> Lock | None:
        """Read back."""
        if isinstance(self.held, Exception):
            raise self.held
        return self.held

    def release(self, key: str, session: str) -> None:
        """Release."""

    def destroy_session(self, session: str) -> None:
        """Destroy."""


def lock_on(consul: Consul | None, *, required: bool = False, waits: bool = True) -> SharedLock:
    """Return a lock that remembers nothing."""
    return SharedLock(
        consul, "key", "me", required=required, waits=waits, recall=lambda: None, remember=lambda _session: None
    )


def test_got_and_read_back() -> None:
    """A lock that was got and reads back as ours is held."""
    with lock_on(Hiccup(held=Lock("mine", "me", 3))) as lock:
        lock.acquire()
        assert ("the lock key in Consul (epoch 3)", None) == (lock.note, lock.lost())


def test_what_needs_no_consul_does_not_wait_for_it() -> None:
    """An address moves while Consul has no leader, with the local lock alone; never while another holds the lock."""
    lost = Hiccup(create=HttpError("has no leader"))
    with lock_on(lost, waits=False) as lock:
        lock.acquire()
        assert ("this machine's own lock only, since Consul has no leader", None) == (lock.note, lock.lost())
    with lock_on(lost, waits=False, required=True) as lock, pytest.raises(LockLostError, match="cannot be had"):
        lock.acquire()
    other = Hiccup(got=False, held=Lock("theirs", "another", 1))
    with lock_on(other, waits=False) as lock, pytest.raises(LockLostError, match="is held by another"):
        lock.acquire()


def test_refusal_leaves_the_local_lock() -> None:
    """A token that may not lock leaves this machine's lock, which is told; where the lock is required it does not."""
    refusal = HttpRefusedError("refuses the configured token")
    with lock_on(Hiccup(create=refusal)) as lock:
        lock.acquire()
        assert "this machine's own lock only, since Consul refuses" in lock.note
    with lock_on(Hiccup(create=refusal), required=True) as lock, pytest.raises(LockLostError, match="cannot be had"):
        lock.acquire()


@pytest.mark.parametrize(
    "consul",
    [
        Hiccup(create=HttpError("did not answer within 5 s")),
        Hiccup(got=False, held=HttpError("did not answer within 5 s")),
        Hiccup(got=True, held=HttpError("has no leader")),
        Hiccup(got=False, held=Lock("other", "mbox3", 1)),
        Hiccup(got=True, held=Lock("other", "mbox3", 1)),
        Hiccup(got=False, held=None),
    ],
)
def test_any_other_trouble_waits(consul: Consul) -> None:
    """A hiccup, or another's lock, is never taken for leave to act."""
    with lock_on(consul) as lock, pytest.raises(LockLostError):
        lock.acquire()


def test_lock_that_was_not_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that was frozen for longer than the lock lives knows that it may have lost it."""
    with lock_on(Hiccup(held=Lock("mine", "me", 3))) as lock:
        lock.acquire()
        now = REAL.ticks()
        monkeypatch.setattr(REAL, "ticks", lambda: now + coordination.TTL + 1)
        assert "may be lost: it was not renewed" in str(lock.lost())
        with pytest.raises(LockLostError):
            lock.check()


def test_without_consul() -> None:
    """Without a Consul the local lock must do."""
    with lock_on(None) as lock:
        lock.acquire()
        assert ("this machine's own lock only", None) == (lock.note, lock.lost())
