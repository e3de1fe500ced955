"""A made-up pair of routers' daemons: who announces the service's address, and what FRR tells of that by vtysh.

It answers the three questions of `habeat.observe.frr`; the contract tests ask it and a real bgpd the same.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from habeat.act.run import Completed
from habeat.simulator.world import World

PREFIX, PEER = "203.0.113.10/32", "10.0.3.1"


@dataclass
class Speaker:
    """One host's bgpd: whether the address is there, the network is configured, and since when that is so."""

    address: bool = False
    network: bool = False
    running: bool = True
    since: float = 0.0


@dataclass
class Routes:
    """All speakers, by host; `router` in the third site hears and tells them all, after `lag` seconds."""

    world: World
    router: str
    lag: float = 3.0
    speakers: dict[str, Speaker] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)

    def announces(self, host: str) -> bool:
        """Tell whether the router hears a host's announcement now."""
        return self.offers(host) and self.world.now - self.speakers[host].since >= self.lag

    def offers(self, host: str) -> bool:
        """Tell whether a host sends its announcement to the router now."""
        speaker = self.speakers[host]
        stands = speaker.address and speaker.network and speaker.running and self.world.hosts[host].up
        return stands and self.world.talk(host, self.router)

    def silent(self, host: str) -> bool:
        """Tell whether a host is up and does not announce, so that nothing may be given back to it."""
        return self.world.hosts[host].up and not self.offers(host)

    def restore(self, host: str, *, announcing: bool) -> None:
        """Let a host come back with the configuration that it has on disk."""
        self.speakers[host] = Speaker(announcing, announcing, since=self.world.now)

    def run(self, host: str, argv: Sequence[str]) -> Completed:
        """Return how a command ended on a host: `take`, `tell`, `untell`, `give`, or a question by vtysh."""
        speaker, word = self.speakers[host], argv[0]
        if word == "vtysh":
            return self._documents(
                host, [text for flag, text in zip(argv[1::2], argv[2::2], strict=False) if flag == "-c"]
            )
        self.world.wait(0.2)
        if self.faults.get(word, 0) > 0:
            self.faults[word] -= 1
            return Completed(0 if self.faults[word] % 2 else 1, "", "it did not work")
        speaker.since = self.world.now
        if word in ("take", "give"):
            speaker.address = word == "take"
        else:
            speaker.network = word == "tell"
        return Completed(0, "", "")

    def _documents(self, host: str, commands: Sequence[str]) -> Completed:
        """Return what vtysh prints for some questions, one document after the other."""
        if not self.speakers[host].running:
            return Completed(1, "", "failed to connect to any daemons")
        return Completed(0, "\n".join(json.dumps(self._document(host, command)) for command in commands), "")

    def _document(self, host: str, command: str) -> dict[str, Any]:
        stands = self.world.talk(host, self.router)
        if command.startswith("show bgp neighbors"):
            told = {"bgpState": "Established" if stands else "Connect", "bgpTimerUpMsec": 600_000 if stands else 0}
            return {PEER: {**told, "gracefulRestartInfo": {"endOfRibRecv": {"ipv4Unicast": True}}}}
        paths = self._paths(host)
        if "advertised-routes" in command:
            own = any(path.get("sourced") and path["valid"] for path in paths)
            return {"advertisedRoutes": {PREFIX: {}} if own and stands else {}}
        return {"prefix": PREFIX, "paths": paths} if paths else {}

    def _paths(self, host: str) -> list[dict[str, Any]]:
        speaker = self.speakers[host]
        paths: list[dict[str, Any]] = []
        if speaker.network:
            paths.append({"sourced": True, "valid": speaker.address, "bestpath": {"overall": speaker.address}})
        for other in self.speakers:
            if other != host and self.announces(other) and self.world.talk(host, self.router):
                told = {"valid": True, "peer": {"peerId": PEER}, "aspath": {"string": "65001"}}
                paths.append({**told, "bestpath": {"overall": not speaker.address}})
        return paths
