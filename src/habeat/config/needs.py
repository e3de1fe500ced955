"""What a configuration lacks although each of its values is good by itself: what the role and the witnesses need."""

from __future__ import annotations

import difflib
import importlib.util
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
    if local.role not in (None, *NODES):
        yield "local.role", f"this version of habeat knows the roles {', '.join(NODES)}, not yet {local.role}"
    yield from _witnesses(config)
    for provider in (name for name in SECRETS if name == "consul" or name in config.providers):
        yield from _secret(config, provider)
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
    names = (getattr(site, keys.name) for keys in NODES.values())
    return [name for name in (*names, *site.consul_vmnames) if name]


def _secret(config: Config, provider: str) -> Iterator[Lack]:
    secret = SECRETS[provider]
    try:
        found = secret.of(config)
    except ValueError as error:
        given = getattr(getattr(config, provider), secret.key)
        yield f"{provider}.{secret.key if given else secret.file_key}", str(error)
        return
    if not found and provider != "consul":
        yield (
            f"{provider}.{secret.key}",
            f"needs a value for the witness {provider}, here or in the file {provider}.{secret.file_key}",
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
