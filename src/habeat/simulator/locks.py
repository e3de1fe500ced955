"""What a made-up Consul agreed on: keys, the locks on them, and the sessions that hold these.

It answers as Consul's HTTP API does (session and kv endpoints).

A session ends when it is not renewed, or when gossip calls its node dead; what it held is then kept from everybody for
a while (Consul's lock-delay).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from habeat.http import Reply

LOCK_DELAY = 15.0
TRUSTED = {"x-consul-knownleader": "true"}
LIFETIME, MOST = 30.0, 60.0  # a session's TTL, and when Consul ends one: between one and two TTLs after its renewal


@dataclass
class Key:
    """One key; `index` counts how often its lock changed hands, `free_at` is until when nobody gets it."""

    value: str
    session: str = ""
    index: int = 0
    free_at: float = 0.0


@dataclass
class Session:
    """One session, of a host; `end` is when it ends unless it is renewed."""

    host: str
    end: float


@dataclass
class Store:
    """The keys, and the sessions by their ids; `failed` tells whether gossip calls a host dead. Times in seconds."""

    failed: Callable[[str], bool]
    keys: dict[str, Key] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)

    def copy(self) -> Store:
        """Return what is left of it in raft's data alone: the values."""
        return Store(self.failed, {name: Key(key.value) for name, key in self.keys.items()})

    def begin_anew(self, now: float) -> None:
        """Let every session live its whole time again, as under a new leader."""
        for session in self.sessions.values():
            session.end = now + MOST

    def expire(self, now: float) -> None:
        """End the sessions whose time is up, or whose host is called dead."""
        for name, session in list(self.sessions.items()):
            if session.end <= now:
                self._end(name, session.end)
            elif self.failed(session.host):
                self._end(name, now)

    def _end(self, session: str, at: float) -> None:
        del self.sessions[session]
        for key in self.keys.values():
            if key.session == session:
                key.session, key.free_at = "", at + LOCK_DELAY

    def session(self, host: str, verb: str, name: str, now: float) -> Reply:
        """Return the answer to a host's call about sessions; `name` is the id, for `create` the one to give."""
        self.expire(now)
        if verb == "create":
            if self.failed(host):
                return Reply(500, {}, f"Check 'serfHealth' is in critical state on {host}".encode())
            self.sessions[name] = Session(host, now + MOST)
            return said({"ID": name})
        if name not in self.sessions:
            return said(data=True) if verb == "destroy" else Reply(404, {}, b"Session id not found")
        if verb == "renew":
            self.sessions[name].end = now + MOST
            return said([{"ID": name}])
        self._end(name, now)
        return said(data=True)

    def key(  # noqa: PLR0911  one return for each way it can go
        self, method: str, name: str, query: dict[str, list[str]], value: str, now: float
    ) -> Reply:
        """Return the answer to a call about a key."""
        self.expire(now)
        key = self.keys.get(name)
        if method == "GET":
            if key is None:
                return Reply(404, {}, b"")
            text = base64.b64encode(key.value.encode()).decode()
            told = {"Key": name, "Value": text, "LockIndex": key.index}
            return said([{**told, **({"Session": key.session} if key.session else {})}], TRUSTED)
        if "release" in query:
            held = key is not None and key.session == query["release"][0]
            if key is not None and held:
                key.session = ""
            return said(held)
        key = self.keys.setdefault(name, Key(""))
        if "acquire" in query:
            session = query["acquire"][0]
            if key.free_at > now:
                return said(data=False)
            if session not in self.sessions:
                return Reply(500, {}, f"rpc error: invalid session {session}".encode())
            if key.session not in ("", session):
                return said(data=False)
            key.index += key.session != session
            key.session = session
        key.value = value
        return said(data=True)


def said(data: Any, headers: dict[str, str] | None = None) -> Reply:
    """Return an answer in JSON."""
    return Reply(200, headers or {}, json.dumps(data).encode())


@cache
def checks(node: str, *, works: bool, failed: bool, kept: bool) -> bytes:
    """Return the checks of a node in JSON: by gossip, by maintenance where it is `kept` in that, and of its mail."""
    serf, mail = ("critical" if bad else "passing" for bad in (failed, not works))
    found = [{"Node": node, "CheckID": "serfHealth", "Status": serf, "ServiceName": ""}]
    if kept:
        found.append({"Node": node, "CheckID": "_node_maintenance", "Status": "critical", "ServiceName": ""})
    found.append({"Node": node, "CheckID": "service:mail", "Status": mail, "ServiceName": "carbonio-mailbox"})
    return json.dumps(found).encode()
