"""Two who look at the fabric all the time: a client that uses the service, and one who reads the router's table."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import subprocess
import threading
import time

from fabric import SERVICE, Fabric


class Client:
    """Somebody who asks for the service all the time, until the context ends; `answers` are who answered when."""

    PAUSE, PATIENCE = 0.02, 0.25

    def __init__(self, fabric: Fabric) -> None:
        self.answers: list[tuple[float, str | None]] = []
        self._fabric = fabric
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)

    def __enter__(self) -> Client:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(10)

    def longest_gap(self, since: float, until: float) -> float:
        """Return the longest time in seconds without an answer between two moments of `time.monotonic()`."""
        times = [at for at, name in tuple(self.answers) if name is not None and since < at < until]
        return max(later - sooner for sooner, later in itertools.pairwise([since, *times, until]))

    def names(self, since: float = 0.0) -> set[str | None]:
        """Return who answered since a moment; None is nobody."""
        return {name for at, name in tuple(self.answers) if at > since}

    def _poll(self) -> None:
        with self._fabric.inside("client"):
            while not self._ended.wait(self.PAUSE):
                name = self._ask()
                self.answers.append((time.monotonic(), name))

    def _ask(self) -> str | None:
        connection = http.client.HTTPConnection(SERVICE, 80, timeout=self.PATIENCE)
        try:
            connection.request("GET", "/")
            return connection.getresponse().read().decode()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()


class RouterWatch:
    """Somebody who looks all the time at whose routes the router has; `seen` are the proxies at each moment."""

    PAUSE = 0.02

    def __init__(self, fabric: Fabric) -> None:
        self.seen: list[tuple[float, frozenset[str]]] = []
        self._fabric = fabric
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)

    def __enter__(self) -> RouterWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(40)

    def changes(self) -> list[tuple[float, frozenset[str]]]:
        """Return what was seen, each time that it was another than before."""
        seen = tuple(self.seen)
        earlier = (None, *(proxies for _, proxies in seen))
        return [now for before, now in zip(earlier, seen, strict=False) if before != now[1]]

    def _poll(self) -> None:
        while not self._ended.wait(self.PAUSE):
            with contextlib.suppress(subprocess.SubprocessError, ValueError):  # a dead router has no routes to tell of
                self.seen.append((time.monotonic(), frozenset(self._fabric.announcers())))
