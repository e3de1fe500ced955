"""The Consul witness: what the cluster's quorum knows of a node's serfHealth.

Only a quorum-backed answer counts. A node that is not in the answer is unknown, never down: it may be misspelt,
hidden from the token, or gone for maintenance, and the sentence tells which.
"""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from habeat.consul import Consul
from habeat.errors import HttpError
from habeat.model import Down, Evidence, Finding, Health, Target, Unknown, Up
from habeat.observe import Answer

PREFIXES = ("agent-", "server-")


def node_names(hostname: str) -> tuple[str, ...]:
    """Return the names that Carbonio's service-discover may give a host in Consul, likeliest first."""
    dashed = hostname.replace(".", "-")
    return tuple(prefix + dashed for prefix in PREFIXES)


SERVICES = {"appserver": "carbonio-mailbox"}
"""What Carbonio calls each role's service in Consul; its checks are run by the node's own agent."""


@dataclass(frozen=True)
class ConsulWitness:
    """Asks Consul; `match_address` demands that the node called down also has the target's address.

    `servers` are the addresses of the Consul servers in the watched site, where the configuration names them.
    """

    consul: Consul
    match_address: bool = True
    site: str | None = None
    servers: Sequence[str] = ()
    name: str = "Consul"
    networked: bool = True
    sparing: bool = False

    def ask(self, target: Target) -> Answer:
        """Return what Consul's quorum knows of the target; the age is 0, since the read is consistent."""
        try:
            return Answer(self._evidence(target))
        except HttpError as error:
            return Answer(Unknown(str(error)))

    def ask_service(self, target: Target) -> Answer:
        """Return what the target's own agent last told the quorum of the mail service."""
        service = SERVICES[target.role]
        try:
            nodes = {name: self.consul.service_status(name, service) for name in node_names(target.name)}
        except HttpError as error:
            return Answer(Unknown(str(error)))
        for name, found in nodes.items():
            if found and set(found) == {"critical"}:
                return Answer(Down(f"says that {service} on {name} is critical"))
            if found:
                return Answer(Up(f"says that {service} on {name} is {' and '.join(sorted(set(found)))}"))
        where = " or ".join(nodes)
        return Answer(
            Unknown(f"has no check of {service} on {where}, or hides it from this token (service:read is needed)")
        )

    def examine(self, target: Target) -> Sequence[Finding]:
        """Return whether Consul can testify, by asking it, and whether it still could without the watched site."""
        evidence = self.ask(target).evidence
        good = not isinstance(evidence, Unknown)
        testimony = Finding(
            Health.GOOD if good else Health.ERROR,
            f"witness {self.name}",
            evidence.reason,
            "" if good else "check the section consul, the token's rights (node:read) and the node's name",
        )
        return [testimony, *self._examine_quorum(target)]

    def _examine_quorum(self, target: Target) -> Sequence[Finding]:
        subject = f"quorum of Consul without the {target.site} site"
        if not self.servers:
            return [
                Finding(
                    Health.WARNING,
                    subject,
                    f"cannot be reckoned: {target.site}.consul_ips is blank",
                    f"name the Consul servers of the {target.site} site in {target.site}.consul_ips",
                )
            ]
        try:
            peers = self.consul.peers()
        except HttpError as error:
            return [Finding(Health.ERROR, subject, f"cannot be reckoned: Consul {error}")]
        lost = sorted(set(peers) & set(self.servers))
        left, needed = len(peers) - len(lost), len(peers) // 2 + 1
        sum_ = (
            f"{len(peers)} servers vote, {len(lost)} of them stand there ({', '.join(lost) or 'none'}): "
            f"that leaves {left}, and {needed} are needed"
        )
        if left >= needed:
            return [Finding(Health.GOOD, subject, sum_)]
        return [
            Finding(
                Health.ERROR,
                subject,
                f"{sum_}. When that site is lost, Consul has no leader and cannot testify",
                "add a witness outside it (witnesses.providers: hetrix, vcenter), or a Consul server at a third place",
            )
        ]

    def _evidence(self, target: Target) -> Evidence:
        names = node_names(target.name)
        found = {name: status for name in names if (status := self.consul.serf_status(name)) is not None}
        for name, status in found.items():
            if status == "passing":
                return Up(f"says that {name} is up")
        if not found:
            return Unknown(self._absent(names))
        if set(found.values()) != {"critical"}:
            return Unknown("gives an unclear state: " + ", ".join(f"{n} is {s}" for n, s in found.items()))
        stranger = next(filter(None, (self._stranger(name, target) for name in found)), None)
        if stranger:
            return Unknown(stranger)
        return Down(f"says that {' and '.join(found)} is down")

    def _stranger(self, name: str, target: Target) -> str | None:
        """Return why the node may be another machine: the way from host names to node names is not unique."""
        try:
            wanted = ipaddress.ip_address(target.address)
        except ValueError:
            return None
        if not self.match_address:
            return None
        node = self.consul.node(name)
        if node is not None and wanted in map(_address, node.addresses):
            return None
        there = ", ".join(sorted(node.addresses)) if node else "no address at all"
        return (
            f"calls {name} down, but knows it at {there} and not at {target.address}, so it may be another machine "
            "(consul.match_address: false trusts the name alone)"
        )

    def _absent(self, names: Sequence[str]) -> str:
        gone = self.consul.left(names)
        if gone:
            return f"says that {gone} left the mesh gracefully, as for maintenance, which is not a death"
        known = [node.name for node in self.consul.nodes()]
        if not known:
            return "shows this token no node at all, so its rights are too narrow (node:read is needed)"
        near = difflib.get_close_matches(names[0], known, n=1)
        hint = f"; the nearest name it shows is {near[0]}" if near else ""
        return f"does not know {' or '.join(names)}, or hides it from this token{hint}"


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | str:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return text
