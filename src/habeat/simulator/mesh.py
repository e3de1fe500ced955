"""A made-up Consul: servers with raft's data, a leader where a quorum of them meets, health by gossip, sessions, locks.

It answers as far as `habeat.consul` asks, in Consul's own words; the contract tests ask it and a real agent the same.
A history is what servers agree on; one that is started with peers.json begins a new one from what it had.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from habeat.errors import Fault, HttpError
from habeat.http import Reply
from habeat.simulator.locks import TRUSTED, Store, checks, said
from habeat.simulator.world import World

DETECTION, JOIN = 6.0, 2.0
RETRIES = 3  # how often a packet is sent again before a call's time is up
HEARTBEAT = 1.0  # what raft and gossip wait for an answer before they take the other for lost
MISTAKEN = 10.0  # how long gossip stays with a wrong word about a host behind a link that loses packets


@dataclass
class History:
    """What a cluster agreed on: who votes (node id to host name), and what they store.

    `begun_at` is when peers.json began it, `chosen_at` when it last had a new leader.
    """

    number: int
    voters: dict[str, str]
    store: Store
    leader_at: float | None = None
    group: frozenset[str] = frozenset()
    led: bool = False
    begun_at: float = 0.0
    chosen_at: float = 0.0


@dataclass
class Server:
    """One Consul server; `data` is None for a clean one, `peers` what its peers.json says, `begun` what that began.

    `starts` counts how often it was started: what it has is written to while it runs. `missed` tells that it started
    clean beside a leader, and was cut off before that took it in.
    """

    host: str
    id: str
    data: History | None
    running: bool = True
    peers: tuple[str, ...] | None = None
    begun: History | None = None
    starts: int = 0
    missed: bool = False


@dataclass
class Mesh:
    """The whole of it; `trouble` maps a host to what its agent does wrong: `denied`, `filtered` or `slow`.

    `election` is how many seconds it takes until a quorum has a leader.
    """

    world: World
    election: float = 4.0
    servers: dict[str, Server] = field(default_factory=dict)
    histories: list[History] = field(default_factory=list)
    forks: dict[tuple[int, float, tuple[str, ...]], History] = field(default_factory=dict)
    trouble: dict[str, str] = field(default_factory=dict)
    stale: dict[str, float] = field(default_factory=dict)
    broken: dict[str, int] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)
    lost: dict[str, float] = field(default_factory=dict)
    elected: list[Callable[[History], None]] = field(default_factory=list)
    begins: list[Callable[[str], None]] = field(default_factory=list)
    removes: list[Callable[[str, str], None]] = field(default_factory=list)
    _sessions: int = 0

    def begin(self, hosts: list[str]) -> None:
        """Let servers on some hosts be one cluster that has long had its leader."""
        history = History(0, {f"id-{host}": host for host in hosts}, Store(self.failed))
        self.histories = [history]
        self.servers = {host: Server(host, f"id-{host}", history) for host in hosts}
        self.world.changed.append(self.look)
        self.look()
        history.leader_at, history.led = self.world.now, True

    # -- who leads

    def look(self) -> None:
        """See anew who leads and who is lost, after a change of the network or of who runs."""
        for server in self.servers.values():
            if server.running and server.data is None and not self.down(server.host):
                self.world.at(self.world.now + JOIN, lambda server=server: self._join(server))  # type: ignore[misc]
        for history in self.histories:
            self._elect(history)
        self._absorb()
        self._gossip()

    def _absorb(self) -> None:
        """Let a leader take in the servers that it sees by gossip and that follow nobody, whatever data they have."""
        for server in self.servers.values():
            found = self._reachable(server.host)
            if found is not None and self._takes(found, server):
                self.world.at(self.world.now + JOIN, lambda server=server: self._take_in(server))  # type: ignore[misc]

    def _take_in(self, server: Server) -> None:
        found = self._reachable(server.host)
        if found is not None and self._takes(found, server):
            server.data = found
            found.voters[server.id] = server.host
            self.look()

    def _takes(self, history: History, server: Server) -> bool:
        """Tell whether a leader takes in a server: one that does not vote, or has earlier data, or such as none led."""
        old = server.data
        if old is None or self.down(server.host):
            return False
        if old is history:
            return server.id not in history.voters
        return not self.leads(old) and (history.number > old.number or not old.led)

    def down(self, host: str) -> bool:
        """Tell whether a host's agent, or server, does not run."""
        machine = self.world.hosts[host]
        server = self.servers.get(host)
        runs = server.running if server else machine.agent
        return not (machine.up and runs and machine.frozen_until <= self.world.now)

    def _elect(self, history: History) -> None:
        group = self._quorum(history)
        if group is None:
            history.leader_at, history.group = None, frozenset()
        elif history.leader_at is None or not (history.group & group):
            history.leader_at, history.group = self.world.now + self.election, group
            self.world.at(history.leader_at, lambda: self._chosen(history))
        else:
            history.group = group

    def _chosen(self, history: History) -> None:
        if self.leads(history):
            history.led, history.chosen_at = True, self.world.now
            for host in history.group:
                self.servers[host].data = history
            self._absorb()
            history.store.begin_anew(self.world.now)
            for hear in self.elected:
                hear(history)

    def _quorum(self, history: History) -> frozenset[str] | None:
        """Return the voters of a history that run, meet, and are a majority."""
        needed = len(history.voters) // 2 + 1
        able = [
            server.host
            for server in self.servers.values()
            if server.running
            and self._votes(server, history)
            and server.id in history.voters
            and not self.down(server.host)
        ]
        for host in [host for host in able if self.servers[host].data is history]:
            group = frozenset(other for other in able if other == host or self._meet(host, other))
            if len(group) >= needed:
                return group
        return None

    def _votes(self, server: Server, history: History) -> bool:
        """Tell whether a server's log lets it vote for one with a history.

        A clean one votes for anybody, and one whose own history nobody led for whoever had a leader since that began.
        """
        own = server.data
        if own is None or own is history:
            return True
        return not own.led and own.begun_at < history.chosen_at and not self.leads(history)

    def leads(self, history: History) -> bool:
        """Tell whether a history has a leader now."""
        return history.leader_at is not None and history.leader_at <= self.world.now

    def leader(self, host: str) -> History | None:
        """Return the history whose leader a host's agent reaches; a server follows nobody but its own history's."""
        found, server = self._reachable(host), self.servers.get(host)
        return found if server is None or server.data is found else None

    def _reachable(self, host: str) -> History | None:
        for history in reversed(self.histories):
            if self.leads(history) and any(host == other or self.world.talk(host, other) for other in history.group):
                return history
        return None

    def _join(self, server: Server) -> None:
        """Let a clean server take over the data of the leader that it reaches."""
        found = self._reachable(server.host)
        if server.running and server.data is None and found is not None and not self.down(server.host):
            server.data, server.missed = found, False
            found.voters[server.id] = server.host
            self.look()
        elif server.running and server.data is None and not self.down(server.host):
            self.world.at(self.world.now + 5 * JOIN, lambda: self._join(server))

    def start(self, host: str) -> None:
        """Start a server with what it has: with peers.json it begins, or takes part in, a new history."""
        server = self.servers[host]
        if self.broken.get(host, 0) > 0:
            self.broken[host] -= 1
            return
        server.running = True
        if server.peers is not None and server.data is not None:
            for hear in self.begins:
                hear(host)
            place = (server.data.number, server.data.chosen_at, server.peers)
            if place not in self.forks:
                old = server.data
                voters = {peer: peer.removeprefix("id-") for peer in server.peers}
                self.forks[place] = History(len(self.histories), voters, old.store.copy(), begun_at=self.world.now)
                self.histories.append(self.forks[place])
            server.data = server.begun = self.forks[place]
            server.peers = None
        server.starts += 1
        server.missed = False
        if server.data is None and self._reachable(host) is not None:
            self.world.at(self.world.now + 2 * JOIN, partial(self._missed, server, server.starts))
        self.world.change()

    def _missed(self, server: Server, starts: int) -> None:
        server.missed = server.data is None and server.starts == starts

    def stop(self, host: str) -> None:
        """Stop a server."""
        self.servers[host].running = False
        self.world.change()

    # -- who is alive

    def _gossip(self) -> None:
        """Note since when nobody in the leader's company reaches a host."""
        for history in self.histories:
            if history.leader_at is None:
                continue
            company = [
                name
                for name in self.world.hosts
                if not self.down(name) and any(name == peer or self._meet(name, peer) for peer in history.group)
            ]
            for name in self.world.hosts:
                if not self.down(name) and any(name == other or self._meet(name, other) for other in company):
                    self.lost.pop(name, None)
                else:
                    self.lost.setdefault(name, self.world.now)

    def failed(self, name: str) -> bool:
        """Tell whether the quorum calls a host dead: it notices after a while, and may be wrong for some seconds."""
        if self.stale.get(name, 0.0) > self.world.now:
            return True
        if name in self.lost and self.world.now - self.lost[name] >= DETECTION:
            return True
        loss = self._loss(name)
        return loss > 0 and self.world.chance(f"gossip {name}", MISTAKEN) < loss**2

    def _loss(self, name: str) -> float:
        """Return the share of packets lost between a host and that one of the leader's company which it hears best."""
        group = next((history.group for history in reversed(self.histories) if self.leads(history)), frozenset[str]())
        return min((self.world.loss(peer, name) for peer in group), default=0.0)

    def _meet(self, one: str, other: str) -> bool:
        """Tell whether two hosts reach each other in time for raft and gossip, which send a lost packet again."""
        return self.world.talk(one, other) and self.world.delay(one, other) <= HEARTBEAT

    # -- what an agent answers

    def call(self, host: str, method: str, path: str, body: bytes | None, timeout: float) -> Reply:
        """Return what a host's agent answers; raises HttpError as `habeat.http` does."""
        trouble = self.trouble.get(host, "")
        if self.down(host):
            raise HttpError("cannot be asked (Connection refused)", Fault.REFUSED)
        if trouble == "slow":
            self.world.wait(timeout)
            raise HttpError(f"did not answer within {timeout:g} s", Fault.MUTE)
        words, query = _parts(path)
        if words[:2] == ["agent", "members"]:
            return said([self._member(name) for name in self.world.hosts if name in self.servers or name != host])
        history = self.leader(host)
        if words[:2] == ["operator", "raft"] and "stale" in query and host in self.servers and trouble != "denied":
            history = history or self.servers[host].data
        if words[:2] == ["status", "leader"]:
            return said(f"{next(iter(sorted(history.group)))}:8300" if history else "")
        if history is None:
            return Reply(500, {}, b"No cluster leader")
        if not self._forwarded(host, history, timeout):
            raise HttpError(f"did not answer within {timeout:g} s", Fault.MUTE)
        if trouble == "denied" and words[0] in ("session", "kv", "operator"):
            return Reply(403, {}, b"Permission denied")
        return self._answer(host, history, method, words, query, body or b"", hidden=trouble == "filtered")

    def _forwarded(self, host: str, history: History, timeout: float) -> bool:
        """Tell whether a host's agent has an answer from the leader in time."""
        if host in history.group or not (self.world.slow or self.world.lossy):
            return True
        near = [other for other in sorted(history.group) if self.world.talk(host, other)]
        if not near:
            return True
        best = min(near, key=lambda other: (self.world.delay(host, other), self.world.loss(host, other)))
        answered = self.world.answers(host, best, timeout, RETRIES)
        self.world.wait(0.0 if answered else timeout)
        return answered

    def _member(self, name: str) -> dict[str, Any]:
        return {
            "Name": node(name, self),
            "Addr": self.world.hosts[name].address,
            "Status": 4 if self.failed(name) else 1,
        }

    def _answer(  # noqa: PLR0911  one return for each kind of question
        self,
        host: str,
        history: History,
        method: str,
        words: list[str],
        query: dict[str, list[str]],
        body: bytes,
        *,
        hidden: bool,
    ) -> Reply:
        what, name = "/".join(words[:2]), "/".join(words[2:])
        if what == "health/node":
            return Reply(200, TRUSTED, b"[]" if hidden else self._health(name))
        if what == "catalog/node":
            return said(None if hidden else self._node(name), TRUSTED)
        if what == "catalog/nodes":
            return said([] if hidden else [self._node(node(host, self))["Node"] for host in self.world.hosts], TRUSTED)
        if what == "status/peers":
            return said([f"{self.world.hosts[host].address}:8300" for host in history.voters.values()])
        if what == "operator/raft" and method == "DELETE":
            if (removed := history.voters.pop(query["id"][0], None)) is not None:
                for hear in self.removes:
                    hear(host, removed)
            self.look()
            return said(None)
        if what == "operator/raft":
            return said(
                {"Index": 10 + history.number, "Servers": [self._voter(i, h) for i, h in history.voters.items()]}
            )
        if words[0] == "session":
            self._sessions += words[1] == "create"
            given = f"session-{self._sessions}" if words[1] == "create" else name
            return history.store.session(host, words[1], given, self.world.now)
        return history.store.key(method, "/".join(words[1:]), query, body.decode(), self.world.now)

    def _voter(self, number: str, host: str) -> dict[str, Any]:
        address = f"{self.world.hosts[host].address}:8300"
        return {"ID": number, "Node": node(host, self), "Address": address, "Voter": True, "Leader": False}

    def _host(self, name: str) -> str | None:
        host = name.partition("-")[2]
        return host if host in self.world.hosts and node(host, self) == name else None

    def _node(self, name: str) -> dict[str, Any]:
        host = self._host(name)
        address = self.world.hosts[host].address if host else ""
        return {"Node": {"Node": name, "Address": address, "TaggedAddresses": {"lan": address}}} if host else {}

    def _health(self, name: str) -> bytes:
        host = self._host(name)
        if host is None:
            return b"[]"
        return checks(name, works=self.world.hosts[host].service, failed=self.failed(host), kept=host in self.kept)

    # -- locks

    def holder(self, name: str) -> str | None:
        """Return the session that truly holds a lock, in the newest history that has it; None while nobody can."""
        for history in reversed(self.histories):
            history.store.expire(self.world.now)
            key = history.store.keys.get(name)
            if key is not None:
                return None if not key.session and key.free_at > self.world.now else key.session
        return ""


@lru_cache(maxsize=1000)
def _parts(path: str) -> tuple[list[str], dict[str, list[str]]]:
    """Return the words of a call's path after `v1`, and its query."""
    url = urlsplit(path)
    return unquote(url.path).strip("/").split("/")[1:], parse_qs(url.query, keep_blank_values=True)


def node(host: str, mesh: Mesh) -> str:
    """Return what Carbonio calls a host in Consul."""
    return f"{'server' if host in mesh.servers else 'agent'}-{host}"
