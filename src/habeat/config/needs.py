"""What a configuration lacks although each of its values is good by itself: what the role and the witnesses need."""

from __future__ import annotations

import difflib
import importlib.util
import ipaddress
import re
from collections.abc import Iterator

from habeat.config.model import NODES, Config, Site
from habeat.config.secrets import SECRETS
from habeat.config.switch import AddressCheck

REACH = re.compile(r"icmp|tcp:[1-9][0-9]{0,4}")

EXTRA_MISSING = (
    "the witness vcenter needs pyVmomi (the extra habeat[vcenter]), which is not installed here: run "
    "`pip install 'pyvmomi>=8.0.3'`, or build the single file with `make build EXTRAS=vcenter`"
)

Lack = tuple[str, str]
"""A key, and what is wrong with it."""


def lacking(config: Config) -> Iterator[Lack]:
    """Give everything that is lacking, with the key that should change."""
    local = config.local
    for name, value in (("whoami", local.whoami), ("dc_check", local.dc_check), ("role", local.role)):
        if value is None:
            yield f"local.{name}", "needs a value"
    yield from _witnesses(config)
    yield from _secrets(config)
    if not REACH.fullmatch(config.probes.reach):
        yield "probes.reach", f"expected `icmp` or `tcp:PORT`, found {config.probes.reach!r}"
    if config.policy.service_down == "failover" and not config.probes.services:
        yield "policy.service_down", "needs `probes.services` to act on: without them no service is ever seen dead"
    if config.policy.max_lag is not None and config.policy.max_lag < 0:
        yield "policy.max_lag", f"expected a whole number from 0, found {config.policy.max_lag}"
    if local.whoami and local.whoami == local.dc_check:
        yield (
            "local.dc_check",
            f"must be the other site than whoami ({local.whoami}): a node does not watch itself",
        )
    elif local.dc_check and local.whoami and local.role == "consulserver":
        yield from _consul_servers(config)
        yield from _self_witness(config)
    elif local.dc_check and local.whoami and local.role in NODES:
        yield from _nodes_of_the_role(config)
        yield from _switch(config)


def _witnesses(config: Config) -> Iterator[Lack]:
    key = "witnesses.providers" if config.witnesses.providers else "local.provider"
    if len(set(config.providers)) < len(config.providers):
        yield key, "names a witness twice; a witness has one vote"
    required = config.witnesses.required
    if required > len(config.providers):
        yield "witnesses.required", f"asks for {required} witnesses, and {len(config.providers)} are configured"
    if "vcenter" in config.providers:
        for name in ("hostname", "username"):
            if not getattr(config.vcenter, name):
                yield f"vcenter.{name}", "needs a value for the witness vcenter"
        if importlib.util.find_spec("pyVmomi") is None:
            yield key, EXTRA_MISSING
    nodes = [node for site in (config.primary, config.secondary) for node in _named(site)]
    for section, names in (("hetrix", config.hetrix.names), ("vcenter", config.vcenter.names)):
        for stranger in [name for name in names if name not in nodes]:
            near = difflib.get_close_matches(stranger, nodes, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            yield f"{section}.names", f"{stranger} is none of the nodes that this file names as ..._vmname{hint}"


def _named(site: Site) -> list[str]:
    names = (getattr(site, keys.name) for role, keys in NODES.items() if role != "consulserver")
    return [name for name in (*names, *site.consul_vmnames) if name]


def _secrets(config: Config) -> Iterator[Lack]:
    needed: dict[str, str] = {
        name: f"the witness {name}" for name in SECRETS if name in config.providers and name != "consul"
    }
    if config.local.role == "consulserver":
        needed["guard"] = "the role consulserver: it proves that word of a recovery is not forged"
    for section in ("consul", *needed):
        yield from _secret(config, section, needed.get(section, ""))


def _secret(config: Config, provider: str, purpose: str) -> Iterator[Lack]:
    secret = SECRETS[provider]
    try:
        found = secret.of(config)
    except ValueError as error:
        given = getattr(getattr(config, provider), secret.key)
        yield f"{provider}.{secret.key if given else secret.file_key}", str(error)
        return
    if not found and purpose:
        yield (
            f"{provider}.{secret.key}",
            f"needs a value for {purpose}, here or in the file {provider}.{secret.file_key}",
        )


def _nodes_of_the_role(config: Config) -> Iterator[Lack]:
    here, there = str(config.local.whoami), str(config.local.dc_check)
    address, name = config.keys.address, config.keys.name
    if getattr(config.site(there), address) is None:
        yield f"{there}.{address}", "needs a value: it is the address that is probed"
    for site in (there, here) if config.local.role == "appserver" else (there,):
        if getattr(config.site(site), name) is None:
            known = "in Consul and in Carbonio" if config.local.role == "appserver" else "to the witnesses"
            yield f"{site}.{name}", f"needs a value: it is the node's name {known}"
    for key in (name, address):
        one, other = getattr(config.primary, key), getattr(config.secondary, key)
        if one is not None and one.lower() == str(other).lower():
            yield f"{there}.{key}", "is the same for both sites, so this node would watch itself"


def _consul_servers(config: Config) -> Iterator[Lack]:
    here, there = str(config.local.whoami), str(config.local.dc_check)
    for name in (there, here):
        site = config.site(name)
        if not site.consul_ips:
            yield f"{name}.consul_ips", "needs the addresses of the Consul servers there"
        if len(site.consul_vmnames) != len(site.consul_ips):
            told = f"{len(site.consul_vmnames)} names for {len(site.consul_ips)} addresses"
            yield f"{name}.consul_vmnames", f"must name the same servers as consul_ips, in the same order: {told}"
        for address in site.consul_ips:
            if not _is_ip(address):
                yield f"{name}.consul_ips", f"expected IP addresses, by which the servers know each other: {address!r}"
    for key in ("consul_ips", "consul_vmnames"):
        both = set(getattr(config.primary, key)) & set(getattr(config.secondary, key))
        if both:
            yield f"{there}.{key}", f"names {', '.join(sorted(both))}, which stands in the other site too"


def _self_witness(config: Config) -> Iterator[Lack]:
    if "consul" not in config.providers:
        return
    key = "witnesses.providers" if config.witnesses.providers else "local.provider"
    if not config.witnesses.allow_self_witness:
        why = (
            "Consul cannot witness the loss of its own servers: when they are lost it has no leader to say so, and a "
            "server that is only cut off sees all others as dead; use hetrix or vcenter "
            "(witnesses.allow_self_witness: true trusts it all the same, and can split the cluster)"
        )
        yield key, why
    elif not config.policy.gateways:
        yield (
            "policy.gateways",
            "needs addresses where Consul witnesses its own loss: only they tell a cut from a death",
        )


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _switch(config: Config) -> Iterator[Lack]:
    """Give what keeps the role's switch from being run; without one the role only watches."""
    keys, local = config.keys, config.local
    if not keys.switch:
        return
    wanted = [way for way in ("activate", "deactivate") if config.runs(way)]
    if not config.tool:
        if local.role == "proxyserver" and wanted:
            yield f"local.{keys.switch}", f"needs the name of a tool, since local.proxy_enable_{wanted[0]} is true"
        return
    place = f"{local.whoami}.{keys.switch}"
    if (switch := config.switch) is None:
        if wanted:
            known = list(getattr(config.site(str(local.whoami)), keys.switch))
            near = difflib.get_close_matches(config.tool, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            yield f"local.{keys.switch}", f"names {config.tool}, which is not under {place}{hint}"
        return
    for way in wanted:
        if not getattr(switch, way):
            yield f"{place}.{config.tool}.{way}", "needs commands: it is enabled, and this list is blank"
    if any(isinstance(check, AddressCheck) for check in switch.other_site):
        yield f"{place}.{config.tool}.other_site", "`address` looks at this host, and tells nothing of the other site"
