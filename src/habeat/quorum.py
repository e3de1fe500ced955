"""Who votes in Consul, what remains of that when a site is lost, and how a recovery is told. Pure."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from typing import Any

from habeat.model import known


@dataclass(frozen=True)
class Server:
    """A Consul server as raft knows it: its node id, its node's name, its IP address and raft's port there."""

    id: str
    node: str
    address: str
    port: int = 8300
    voter: bool = True

    def __str__(self) -> str:
        return f"{self.node} ({self.address})"


@dataclass(frozen=True)
class Configuration:
    """Raft's configuration and its index; `at` is when it was last seen with a leader, `boot` in which machine start.

    Wire format of the servers: `/v1/operator/raft/configuration`.
    """

    servers: tuple[Server, ...]
    index: int = 0
    at: float = 0.0
    boot: str = ""

    @property
    def voters(self) -> tuple[Server, ...]:
        """Return those who vote, in the order of their addresses, which is the order in which they lead a recovery."""
        return tuple(sorted((server for server in self.servers if server.voter), key=lambda s: _place(s.address)))

    @property
    def needed(self) -> int:
        """Return how many of them make a quorum."""
        return sum(server.voter for server in self.servers) // 2 + 1

    def among(self, addresses: Sequence[str]) -> tuple[Server, ...]:
        """Return the voters at some addresses."""
        places = {_place(address) for address in addresses}
        return tuple(server for server in self.voters if _place(server.address) in places)


@dataclass(frozen=True)
class Epoch:
    """One recovery of the quorum: it begins a history of Consul's data that every server must share from then on.

    `number` counts recoveries from 1 (0: there was none), `id` tells two with the same number apart, `by` is the
    server that led it and `at` when (Unix seconds), `peers` are the node ids of those with whose data it begins.
    """

    number: int = 0
    id: str = ""
    by: str = ""
    at: float = 0.0
    peers: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"epoch {self.number}" + (f" (led by {self.by})" if self.by else "")


class Stage(Enum):
    """How far a recovery came on one server; each is durable before what follows it is begun."""

    PREPARED = "prepared"
    SAVED = "saved"  # the raft folder is copied
    WRITTEN = "written"  # the epoch is told to whoever asks, and peers.json is there, or was taken in by Consul
    PROVED = "proved"  # a leader, a consistent read and a write were seen
    LOST = "lost"  # servers that had returned to it were lost again, and its quorum with them
    UNDOING = "undoing"  # the copy is being put back
    UNDONE = "undone"


@dataclass(frozen=True)
class Recovery:
    """A recovery as one server's journal keeps it: `peers` are all that vote from now on, `backup` a folder's name.

    `failures` counts starts that brought no leader. `asked` is how many acknowledgements there were when a person was
    told that it waits for one, None before. `after` is the recovery that Consul took in here and that this one would
    take the place of.
    """

    failover: int
    round: int
    epoch: Epoch
    peers: tuple[Server, ...]
    stage: Stage = Stage.PREPARED
    backup: str = ""
    failures: int = 0
    asked: int | None = None
    after: Recovery | None = None

    @property
    def begun(self) -> bool:
        """Tell whether Consul may have been started with the new configuration."""
        return self.stage in (Stage.WRITTEN, Stage.PROVED, Stage.LOST)

    @property
    def unread(self) -> bool:
        """Tell whether a peers.json that is there is this recovery's, and not yet taken in by Consul."""
        return self.stage in (Stage.PREPARED, Stage.SAVED, Stage.WRITTEN, Stage.UNDOING)

    @property
    def ran(self) -> Recovery:
        """Return it after Consul ran with its old data, and wrote: a copy that was made is of the past from then on."""
        if self.stage not in (Stage.PREPARED, Stage.SAVED):
            return self
        return replace(self, backup="", stage=Stage.PREPARED)


def outlook(configuration: Configuration, here: Sequence[str], site: str) -> str:
    """Return what becomes of the quorum when the other `site` is lost, as a clause that follows its name."""
    left, needed = len(configuration.among(here)), configuration.needed
    count = f"{left} of {len(configuration.voters)} voters {'is' if left == 1 else 'are'} left, and {needed} are needed"
    if left >= needed:
        return f"stands without the {site} site: {count}"
    return f"falls with the {site} site: {count}; habeat would rebuild it"


def obstacle(
    configuration: Configuration | None, here: Sequence[str], there: Sequence[str], own: str, site: str
) -> str | None:
    """Return why the quorum may not be rebuilt from the voters `here` by the server with the id `own`, or None."""
    if configuration is None:
        return "raft's configuration was never saved, since no cycle has seen it with a leader"
    voters = configuration.voters
    if own not in {server.id for server in voters}:
        return f"this server's node-id {own} is none of the voters' ({_named(voters)}), so it has no say"
    left = configuration.among(here)
    placed = (*left, *configuration.among(there))
    strangers = [server for server in voters if server not in placed]
    if strangers:
        return f"{_named(strangers)} votes and stands in neither site's consul_ips, so it may be alive: name it there"
    if own not in {server.id for server in left}:
        return f"this server votes from an address that is not in {site}.consul_ips"
    if len(left) >= configuration.needed:
        return (
            f"{len(left)} of {len(voters)} voters stand in this site, which is a quorum without the others: if there "
            "is no leader, look for the cause here"
        )
    return None


def _named(servers: Sequence[Server]) -> str:
    return ", ".join(map(str, servers)) or "none"


@lru_cache(maxsize=256)
def _place(address: str) -> tuple[int, int, str]:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return (0, 0, address)
    return (ip.version, int(ip), "")


def peers_json(peers: Sequence[Server]) -> str:
    """Return the text of peers.json, raft protocol 3: the same bytes on every server (Consul's outage recovery)."""
    entries = [
        {"id": peer.id, "address": f"{_bracketed(peer.address)}:{peer.port}", "non_voter": False}
        for peer in sorted(peers, key=lambda server: _place(server.address))
    ]
    return json.dumps(entries, indent=2) + "\n"


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def to_json(fact: Configuration | Epoch | Recovery) -> str:
    """Return one of these facts as text."""
    return json.dumps(fact, default=lambda part: part.value if isinstance(part, Stage) else vars(part))


def configuration_of(text: str | None) -> Configuration | None:
    """Return the configuration in a text that `to_json` wrote, or None for none."""
    data = json.loads(text) if text else None
    return known(Configuration, {**data, "servers": _servers(data["servers"])}) if data else None


def epoch_of(data: dict[str, Any] | None) -> Epoch:
    """Return the epoch in what `to_json` wrote, once it is read as JSON; raises KeyError, TypeError or ValueError."""
    if not data:
        return Epoch()
    peers = tuple(map(str, data.get("peers", ())))
    epoch = Epoch(int(data["number"]), str(data["id"]), str(data["by"]), float(data["at"]), peers)
    if epoch.number < 0:
        raise ValueError("an epoch is not negative")
    return epoch


def recovery_of(data: dict[str, Any] | None) -> Recovery | None:
    """Return the recovery in what `to_json` wrote, once it is read as JSON; raises as `epoch_of`."""
    if not data:
        return None
    parts = {"epoch": epoch_of(data["epoch"]), "stage": Stage(data["stage"]), "after": recovery_of(data.get("after"))}
    return known(Recovery, {**data, **parts, "peers": _servers(data["peers"])})


def _servers(items: Sequence[dict[str, Any]]) -> tuple[Server, ...]:
    return tuple(known(Server, item) for item in items)
