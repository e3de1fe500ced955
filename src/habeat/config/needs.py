"""What a configuration lacks although each of its values is good by itself: what the role and the witnesses need."""

from __future__ import annotations

import difflib
import importlib.util
import re
from collections.abc import Iterator

from habeat.config.model import Config, Site
from habeat.config.secrets import SECRETS

SUPPORTED_ROLES = ("appserver",)
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
    if local.role not in (None, *SUPPORTED_ROLES):
        yield "local.role", f"this version of habeat knows the role appserver only, not {local.role}"
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
    elif local.dc_check and local.whoami and local.role == "appserver":
        yield from _appserver(config)


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
    nodes = [node for site in (config.primary, config.secondary) for node in _nodes(site)]
    for section, names in (("hetrix", config.hetrix.names), ("vcenter", config.vcenter.names)):
        for stranger in [name for name in names if name not in nodes]:
            near = difflib.get_close_matches(stranger, nodes, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            yield f"{section}.names", f"{stranger} is none of the nodes that this file names as ..._vmname{hint}"


def _nodes(site: Site) -> list[str]:
    return [name for name in (site.appserver_vmname, site.proxyserver_vmname, *site.consul_vmnames) if name]


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


def _appserver(config: Config) -> Iterator[Lack]:
    here, there = str(config.local.whoami), str(config.local.dc_check)
    if config.site(there).appserver_ip is None:
        yield f"{there}.appserver_ip", "needs a value: it is the address that is probed"
    for site in (there, here):
        if config.site(site).appserver_vmname is None:
            yield (
                f"{site}.appserver_vmname",
                "needs a value: it is the mailstore's name in Consul and in Carbonio",
            )
    for name in ("appserver_vmname", "appserver_ip"):
        one, other = getattr(config.primary, name), getattr(config.secondary, name)
        if one is not None and one.lower() == str(other).lower():
            yield f"{there}.{name}", "is the same for both sites, so this node would watch itself"
