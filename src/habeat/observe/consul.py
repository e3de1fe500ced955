"""The Consul witness: what the cluster's quorum knows of a node's serfHealth.

Only a quorum-backed answer counts. A node that is not in the answer is unknown, never down: it may be misspelt,
hidden from the token, or gone for maintenance, and the sentence tells which.
"""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from habeat.consul import Consul, NodeHealth
from habeat.errors import HttpError
from habeat.model import Down, Evidence, Finding, Health, Target, Unknown, Up
from habeat.observe import Answer

PREFIXES = ("agent-", "server-")


def node_names(hostname: str) -> tuple[str, ...]:
    """Return the names that Carbonio's service-discover may give a host in Consul, likeliest first."""
    dashed = hostname.replace(".", "-")
    return tuple(prefix + dashed for prefix in PREFIXES)


SERVICES = {"appserver": "carbonio-mailbox", "proxyserver": "carbonio-proxy"}
"""What Carbonio calls a role's service in Consul, where it has one; its checks are run by the node's own agent."""


@dataclass(frozen=True)
class ConsulWitness:
    """Asks Consul; `match_address` demands that the node called down also has the target's address."""

    consul: Consul
    match_address: bool = True
    site: str | None = None
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
        """Return what the target's own agent, while it takes part in the mesh, tells the quorum of the mail service."""
        try:
            return Answer(self._service_evidence(target))
        except HttpError as error:
            return Answer(Unknown(str(error)))

    def examine(self, target: Target) -> Sequence[Finding]:
        """Return whether Consul can testify, by asking it."""
        evidence = self.ask(target).evidence
        good = not isinstance(evidence, Unknown)
        mend = "check the section consul, the token's rights (node:read) and the node's name"
        health = Health.GOOD if good else Health.ERROR
        return [Finding(health, f"witness {self.name}", evidence.reason, "" if good else mend)]

    def _evidence(self, target: Target) -> Evidence:
        found = self._nodes(target)
        for name, health in found.items():
            if health.serf == "passing":
                return Up(f"says that {name} is up")
        if not found:
            return Unknown(self._absent(node_names(target.name)))
        if {health.serf for health in found.values()} != {"critical"}:
            return Unknown("gives an unclear state: " + ", ".join(f"{n} is {h.serf}" for n, h in found.items()))
        doubt = self._doubt(found, target)
        return Unknown(doubt) if doubt else Down(f"says that {' and '.join(found)} is down")

    def _service_evidence(self, target: Target) -> Evidence:
        if target.role not in SERVICES:
            return Unknown(f"has no service to ask for on a node of the role {target.role}")
        service, found = SERVICES[target.role], self._nodes(target)
        seen = {name: health for name, health in found.items() if health.service and health.serf == "passing"}
        where = " or ".join(node_names(target.name))
        if not seen:
            return Unknown(
                f"has no check of {service} by a living agent on {where}, or hides it from this token "
                "(service:read is needed)"
            )
        states = {state for health in seen.values() for state in health.service}
        told = f"says that {service} on {' and '.join(seen)} is {' and '.join(sorted(states))}"
        if states != {"critical"}:
            return Up(told)
        doubt = self._doubt(seen, target)
        return Unknown(doubt) if doubt else Down(told)

    def _nodes(self, target: Target) -> dict[str, NodeHealth]:
        """Return what is known of the names that the target may have; those that Consul does not show are left out."""
        asked = {name: self.consul.health(name, SERVICES.get(target.role, "")) for name in node_names(target.name)}
        return {name: health for name, health in asked.items() if health.serf is not None}

    def _doubt(self, found: dict[str, NodeHealth], target: Target) -> str | None:
        """Return why a death of these nodes is none that counts: an operator's doing, or another machine's."""
        kept = next((name for name, health in found.items() if health.maintenance), None)
        if kept:
            return f"says that {kept} is in maintenance by an operator's word, which is not a death"
        return next(filter(None, (self._stranger(name, target) for name in found)), None)

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
