"""Put a node together from its configuration: the only place that knows which adapter stands behind which port."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from habeat.config.model import WITNESS_NAMES, Config, Provider
from habeat.config.secrets import secret_of
from habeat.config.services import DEFAULT, DEFAULTS, ServiceUrl
from habeat.consul import Consul
from habeat.cycle import Cycle, Report
from habeat.http import Endpoint
from habeat.journal import Journal, Recall
from habeat.machine import State
from habeat.model import Policy, Snapshot, Target
from habeat.observe import Observer, Reach, Service, Spared, Witness
from habeat.observe.consul import ConsulWitness
from habeat.observe.reach import Icmp, Tcp
from habeat.report.lockfiles import LockFiles
from habeat.roles import EPOCH, HELD, RECOVERY, SAVED, switched, traits_of

if TYPE_CHECKING:
    from habeat.observe.quorum import Servers
    from habeat.saga import Plan

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

RUNNER_GRACE = 5.0
"""What it may take to end a look that hangs, in seconds beyond its time-out."""


def target_of(config: Config) -> Target:
    """Return what this node watches."""
    role, there, nodes = str(config.local.role), str(config.local.dc_check), nodes_of(config)
    if role != "consulserver":
        return nodes[0]
    return Target(role, there, f"Consul of the {there} site", ", ".join(node.address for node in nodes))


def nodes_of(config: Config) -> list[Target]:
    """Return the nodes of the other site that are watched, one by one."""
    role, there = str(config.local.role), str(config.local.dc_check)
    return [Target(role, there, name, address) for name, address in config.nodes(there)]


def policy_of(config: Config) -> Policy:
    """Return the numbers that the judge and the machine go by."""
    return Policy(
        confirmations=config.policy.confirmations,
        required=config.witnesses.required,
        freshness=config.witnesses.freshness,
        window=config.policy.confirmation_window,
        lasting=config.policy.confirmation_time,
        cooldown=config.policy.cooldown,
        repeat=config.policy.late_accounts,
        service_down=config.policy.service_down == "failover",
    )


def cycle_of(config: Config, journal: Journal, lock_descriptor: int, report: Report) -> Cycle:
    """Return the cycle that this node runs; raises ConfigError where a secret's file cannot be read."""
    target = target_of(config)
    consul = consul_of(config)
    secondary = config.local.whoami == "secondary"

    def plan() -> Plan:
        from habeat.roles.assembly import plan_of  # noqa: PLC0415  a healthy cycle runs no command

        return plan_of(config, target, journal, consul, lock_descriptor)

    def observe(now: float) -> Snapshot:
        active = config.runs("activate") and journal.memory(target).state == State.ACTIVE.value
        if servers is not None:
            return servers.observe(now)
        if config.switch is None or not (active or journal.noted(switched(target))):
            return observer.observe(now)
        from habeat.roles.assembly import looks_of  # noqa: PLC0415  only while something was taken over

        patience = max(observer.patience, config.switch.timeout + RUNNER_GRACE)
        return replace(observer, patience=patience).observe(now, *looks_of(config, lock_descriptor))

    observers = [observer_of(config, journal, node) for node in nodes_of(config)]
    observer = observers[0]
    servers = servers_of(config, journal, consul, observers) if config.local.role == "consulserver" else None

    return Cycle(
        target=target,
        policy=policy_of(config),
        observe=observe,
        traits=traits_of(config),
        plan=plan,
        journal=journal,
        clock=time.time,
        report=report,
        files=LockFiles(
            down=f"{config.local.down_file}-{config.local.role}",
            promotion=f"{config.local.promotion_file}-{config.local.role}" if secondary else "",
            module=config.local.module_file,
        ),
        held=lambda: journal.noted(HELD) is not None,
        taken=lambda: any(journal.noted(name) is not None for name in (HELD, RECOVERY, switched(target))),
    )


def observer_of(config: Config, journal: Journal, target: Target) -> Observer:
    """Return what observes one node."""
    return Observer(
        target=target,
        reach=reach_of(config),
        witnesses=[witness_of(provider, config, journal.recall(provider)) for provider in config.providers],
        gateways=config.policy.gateways,
        patience=max(config.witnesses.timeout, 2 * config.probes.timeout * config.probes.count) + 1.0,
        services=services_of(config, target),
        acts_on_services=config.policy.service_down == "failover",
    )


def servers_of(config: Config, journal: Journal, consul: Consul, observers: Sequence[Observer]) -> Servers:
    """Return what observes the other site's Consul servers, and the leader here."""
    from habeat.act.raft_folder import RaftFolder  # noqa: PLC0415  other roles need neither
    from habeat.observe.quorum import Keeper, Leader, Servers  # noqa: PLC0415
    from habeat.quorum import Stage, recovery_of  # noqa: PLC0415

    here, there = str(config.local.whoami), str(config.local.dc_check)
    keeper = Keeper(
        consul=consul,
        node_id=RaftFolder(Path(config.consul.data_dir), config.consul.user).node_id,
        here=config.site(here).consul_ips,
        there=config.site(there).consul_ips,
        site=here,
        other=there,
        boot=boot_id(),
        key=epoch_key(config),
        saved=journal.recall(SAVED),
        epoch=journal.recall(EPOCH),
    )
    patience = 2 * max(observer.patience for observer in observers) + RUNNER_GRACE
    recovery = journal.recall(RECOVERY)

    def halted() -> bool:
        found = recovery_of(json.loads(recovery.read() or "null"))
        return found is not None and found.stage in (Stage.PREPARED, Stage.SAVED, Stage.WRITTEN)

    return Servers(target_of(config), observers, Leader(consul, halted), keeper, patience)


def epoch_key(config: Config) -> str:
    """Return the key under which Consul's own data tells its epoch."""
    return f"{config.coordination.key_prefix}/consul-epoch"


def boot_id() -> str:
    """Return what tells this start of the machine from others."""
    return BOOT_ID.read_text(encoding="ascii").strip()


def reach_of(config: Config) -> Reach:
    """Return the way in which the peer is asked whether it lives."""
    probes = config.probes
    if probes.reach == "icmp":
        return Icmp(probes.count, probes.timeout)
    return Tcp(int(probes.reach.removeprefix("tcp:")), probes.count, probes.timeout)


def services_of(config: Config, target: Target) -> list[Service]:
    """Return the services on the target that are probed."""
    probes = config.probes
    if not probes.services:
        return []
    from habeat.observe.service import HttpService, TcpService  # noqa: PLC0415  off unless asked for

    texts = [t for text in probes.services for t in (DEFAULTS[target.role] if text == DEFAULT else (text,))]
    urls = [ServiceUrl.parse(text).at(target) for text in dict.fromkeys(texts)]
    return [
        TcpService(url, probes.count, probes.timeout)
        if url.scheme == "tcp"
        else HttpService(url, probes.count, probes.timeout, probes.verify_tls, probes.ca_file)
        for url in urls
    ]


def witness_of(provider: Provider, config: Config, recall: Recall) -> Witness:
    """Return one witness, with a place to remember what it last heard."""
    site = getattr(config.witnesses.site, provider)
    if provider == "consul" and config.local.role == "consulserver":
        from habeat.observe.quorum import GossipWitness  # noqa: PLC0415  off unless asked for

        return GossipWitness(consul_of(config), site)
    if provider == "consul":
        return ConsulWitness(consul_of(config), config.consul.match_address, site)
    if provider == "hetrix":
        return Spared(WITNESS_NAMES["hetrix"], site, lambda: _hetrix(config, recall, site))
    return Spared(WITNESS_NAMES["vcenter"], site, lambda: _vcenter(config, site))


def _hetrix(config: Config, recall: Recall, site: str | None) -> Witness:
    from habeat.observe.hetrix import HetrixWitness  # noqa: PLC0415  loaded when it is asked

    return HetrixWitness(
        host=config.hetrix.hostname,
        port=config.hetrix.port,
        api=config.hetrix.api,
        token=secret_of(config, "hetrix"),
        ca_file=config.hetrix.ca_file,
        timeout=config.witnesses.timeout,
        freshness=config.witnesses.freshness,
        names=config.hetrix.names,
        recall=recall,
        clock=time.time,
        site=site,
    )


def _vcenter(config: Config, site: str | None) -> Witness:
    from habeat.observe.vcenter import VcenterWitness  # noqa: PLC0415  pyVmomi is large

    return VcenterWitness(
        host=str(config.vcenter.hostname),
        port=config.vcenter.port,
        username=config.vcenter.username,
        password=secret_of(config, "vcenter"),
        verify_tls=config.vcenter.verify_tls,
        ca_file=config.vcenter.ca_file,
        timeout=config.witnesses.timeout,
        names=config.vcenter.names,
        clock=time.time,
        site=site,
    )


def consul_of(config: Config) -> Consul:
    """Return the client of Consul's local agent."""
    section, token = config.consul, secret_of(config, "consul")
    return Consul(
        Endpoint(
            host=section.hostname,
            port=section.port,
            scheme=section.scheme,
            timeout=config.witnesses.timeout,
            ca_file=section.ca_file,
            headers={"X-Consul-Token": token} if token else {},
        )
    )
