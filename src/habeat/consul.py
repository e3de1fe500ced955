"""A thin Consul client: only the calls habeat makes, with the headers that tell whether an answer is worth anything.

Wire format: Consul's HTTP API (health, catalog, agent, status, session and kv endpoints, API version 1).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from habeat.errors import HttpError, HttpRefusedError
from habeat.http import Endpoint, Reply
from habeat.quorum import Configuration, Server

MAINTENANCE = ("_node_maintenance", "_service_maintenance")
LEFT = 3  # serf's member status for a graceful leave


@dataclass(frozen=True)
class Node:
    """A Consul node: its name, and every address that the catalog has for it."""

    name: str
    addresses: frozenset[str]


@dataclass(frozen=True)
class NodeHealth:
    """A node's serfHealth status (None: unknown, or hidden from the token, never dead), and its service's checks.

    `maintenance` tells that an operator put the node or a service of its into maintenance.
    """

    serf: str | None
    maintenance: bool
    service: tuple[str, ...]


@dataclass(frozen=True)
class Lock:
    """A key as read back: the session that holds it ("" for none), its text, and how often it changed hands."""

    session: str
    value: str
    epoch: int


class Consul:
    """The local agent's API. Every method raises HttpError with a clause that reads well after the word Consul."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def health(self, node: str, service: str = "") -> NodeHealth:
        """Return what a quorum-backed read tells of a node and of a service on it; None and () where it tells nothing.

        Only a token with service:read is shown the checks of services.
        """
        checks = self._checks(node)
        serf = [str(check.get("Status")) for check in checks if check.get("CheckID") == "serfHealth"]
        return NodeHealth(
            serf[0] if serf else None,
            any(str(check.get("CheckID")).startswith(MAINTENANCE) for check in checks),
            tuple(str(check.get("Status")) for check in checks if check.get("ServiceName") == service),
        )

    def node(self, name: str) -> Node | None:
        """Return a node of the catalog by a quorum-backed read, or None where it is not there or not to be seen."""
        found = self._read(f"/v1/catalog/node/{quote(name, safe='')}")
        return _node(found["Node"]) if isinstance(found, dict) and isinstance(found.get("Node"), dict) else None

    def nodes(self) -> Sequence[Node]:
        """Return all nodes that the token may see."""
        found = self._read("/v1/catalog/nodes")
        return [_node(item) for item in found if isinstance(item, dict)] if isinstance(found, list) else []

    def left(self, names: Sequence[str]) -> str | None:
        """Return which of the nodes left gracefully, by the local agent's own view: good only for telling why."""
        reply = self._call("GET", "/v1/agent/members")
        members = reply.json() if reply.status == 200 else []
        listed = members if isinstance(members, list) else []
        gone = [item.get("Name") for item in listed if isinstance(item, dict) and item.get("Status") == LEFT]
        return next((name for name in names if name in gone), None)

    def peers(self) -> Sequence[str]:
        """Return the addresses of the servers that vote for a leader; needs no right."""
        found = self._good(self._call("GET", "/v1/status/peers")).json()
        listed = found if isinstance(found, list) else []
        return [str(peer).rpartition(":")[0].strip("[]") for peer in listed]

    def gossip(self) -> dict[str, int]:
        """Return each member's status (1 alive, 3 left, 4 failed) by address, by the local agent's own view alone."""
        found = self._good(self._call("GET", "/v1/agent/members")).json()
        listed = found if isinstance(found, list) else []
        return {str(item.get("Addr")): int(item.get("Status") or 0) for item in listed if isinstance(item, dict)}

    def raft(self, *, stale: bool = False) -> Configuration:
        """Return who votes, as the leader knows it, or, where there is none (`stale`), this server; operator:read."""
        path = "/v1/operator/raft/configuration"
        found = self._good(self._call("GET", f"{path}?stale" if stale else path)).json()
        try:
            return Configuration(tuple(map(_server, found["Servers"])), int(found["Index"]))
        except (KeyError, TypeError, ValueError) as error:
            raise HttpError("described its raft configuration in a form that is not Consul's") from error

    def bootstraps(self) -> bool:
        """Tell whether the local server, without data, begins a cluster of its own; needs agent:read."""
        found = self._good(self._call("GET", "/v1/agent/self")).json()
        config = found.get("DebugConfig") if isinstance(found, dict) else None
        if not isinstance(config, dict):
            raise HttpError("does not tell how it is configured")
        return config.get("Bootstrap") is True or config.get("BootstrapExpect") == 1

    def remove_voter(self, server: Server) -> None:
        """Take a dead server out of the raft configuration; needs operator:write."""
        self._good(self._call("DELETE", f"/v1/operator/raft/peer?{urlencode({'id': server.id})}"))

    def put(self, key: str, value: str) -> None:
        """Write a key; needs key:write."""
        if self._good(self._call("PUT", f"/v1/kv/{quote(key)}", value.encode())).json() is not True:
            raise HttpError(f"did not write the key {key}")

    def leader(self) -> str:
        """Return the address of the leader as the local agent knows it (for 5 s it may be a dead one), or ""."""
        found = self._good(self._call("GET", "/v1/status/leader")).json()
        return found if isinstance(found, str) else ""

    def require_leader(self) -> None:
        """Prove that the cluster has a leader backed by a quorum; raises HttpError where it has not."""
        self._read("/v1/health/node/habeat-asks-for-a-leader")

    # -- sessions and locks

    def create_session(self, ttl: int, name: str) -> str:
        """Create a session that lives `ttl` seconds past its last renewal and frees its locks when it ends."""
        body = json.dumps({"Name": name, "TTL": f"{ttl}s", "LockDelay": "15s", "Behavior": "release"}).encode()
        answer = self._good(self._call("PUT", "/v1/session/create", body)).json()
        if not isinstance(answer, dict) or not isinstance(answer.get("ID"), str):
            raise HttpError("gave a session without an id")
        return str(answer["ID"])

    def renew_session(self, session: str) -> bool:
        """Renew a session, and tell whether it still lives."""
        reply = self._call("PUT", f"/v1/session/renew/{quote(session, safe='')}")
        return reply.status != 404 and bool(self._good(reply))

    def destroy_session(self, session: str) -> None:
        """End a session and free what it holds."""
        self._good(self._call("PUT", f"/v1/session/destroy/{quote(session, safe='')}"))

    def acquire(self, key: str, session: str, value: str) -> bool:
        """Try to take a lock for a session, and tell whether Consul says it was got (read it back to be sure)."""
        query = urlencode({"acquire": session})
        return self._good(self._call("PUT", f"/v1/kv/{quote(key)}?{query}", value.encode())).json() is True

    def release(self, key: str, session: str) -> None:
        """Give a lock back, so that the next one gets it at once: the end of a session would hold it back a while."""
        self._good(self._call("PUT", f"/v1/kv/{quote(key)}?{urlencode({'release': session})}"))

    def lock(self, key: str) -> Lock | None:
        """Return a lock by a quorum-backed read, or None where the key does not exist."""
        reply = self._call("GET", f"/v1/kv/{quote(key)}?consistent")
        if reply.status == 404:
            return None
        try:
            (item,) = _trusted(self._good(reply)).json()
            value = base64.b64decode(item.get("Value") or "").decode(errors="replace")
            return Lock(str(item.get("Session") or ""), value, int(item.get("LockIndex") or 0))
        except (TypeError, ValueError, AttributeError) as error:
            raise HttpError("described the lock in a form that is not Consul's") from error

    # -- plumbing

    def _checks(self, node: str) -> list[dict[str, Any]]:
        checks = self._read(f"/v1/health/node/{quote(node, safe='')}")
        if not isinstance(checks, list) or not all(isinstance(check, dict) for check in checks):
            raise HttpError("answered in a form that is not Consul's")
        return [check for check in checks if check.get("Node") == node]

    def _read(self, path: str) -> Any:
        return _trusted(self._good(self._call("GET", f"{path}?consistent"))).json()

    def _call(self, method: str, path: str, body: bytes | None = None) -> Reply:
        return self._endpoint.call(method, path, body)

    def _good(self, reply: Reply) -> Reply:
        if reply.status == 200:
            return reply
        text = reply.text()
        if "No cluster leader" in text:
            raise HttpError("has no leader, so its quorum is lost or out of reach from here")
        if "No known Consul servers" in text:
            raise HttpError(
                "has an agent here that knows no server: it was never joined, or is cut off from all of them"
            )
        if "ACL not found" in text:
            raise HttpRefusedError("does not know the configured token (403 ACL not found)")
        if reply.status in (401, 403):
            raise HttpRefusedError(f"refuses the configured token ({reply.status} {text})")
        raise HttpError(f"answered {reply.status} {text}")


def _trusted(reply: Reply) -> Reply:
    if reply.headers.get("x-consul-knownleader") != "true":
        raise HttpError("does not say that it has a leader, so its answer may be old")
    if reply.headers.get("x-consul-effective-consistency", "consistent") == "stale":
        raise HttpError("answered from old data")
    return reply


def _server(item: dict[str, Any]) -> Server:
    address, _, port = str(item["Address"]).rpartition(":")
    return Server(str(item["ID"]), str(item["Node"]), address.strip("[]"), int(port), bool(item["Voter"]))


def _node(item: dict[str, Any]) -> Node:
    tagged = item.get("TaggedAddresses")
    addresses = [item.get("Address"), *(tagged.values() if isinstance(tagged, dict) else ())]
    return Node(str(item.get("Node")), frozenset(str(address) for address in addresses if address))
