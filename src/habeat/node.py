"""Put a node together from its configuration: the only place that knows which adapter stands behind which port."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from habeat.config.model import WITNESS_NAMES, Config, Provider
from habeat.config.secrets import secret_of
from habeat.config.services import DEFAULT, DEFAULTS, ServiceUrl
from habeat.consul import Consul
from habeat.cycle import Cycle, Report
from habeat.edges import REAL, Edges
from habeat.errors import HabeatError
from habeat.journal import Journal, Recall
from habeat.machine import State
from habeat.model import Down, Memory, Policy, Snapshot, Target
from habeat.observe import Observer, Service, Spared, Witness
from habeat.observe.consul import ConsulWitness
from habeat.roles import ASKED, EPOCH, HELD, RECOVERY, REJOINING, SAVED, switched, traits_of

if TYPE_CHECKING:
    from habeat.observe.quorum import Servers
    from habeat.saga import Plan

RUNNER_GRACE = 5.0
"""What it may take to end a look that hangs, in seconds beyond its time-out."""


def target_of(config: Config) -> Target:
    """Return what this node watches."""
    role, there = str(config.local.role), str(config.local.dc_check)
    nodes = config.nodes(there)
    if role != "consulserver":
        return Target(role, there, *nodes[0])
    return Target(role, there, f"Consul of the {there} site", ", ".join(address for _, address in nodes))


def nodes_of(config: Config) -> list[Target]:
    """Return the nodes of the other site that are watched, one by one."""
    role, there = str(config.local.role), str(config.local.dc_check)
    return [Target(role, there, *node) for node in config.nodes(there)]


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


def cycle_of(
    config: Config, journal: Journal, lock_descriptor: int | None, report: Report, edges: Edges = REAL
) -> Cycle:
    """Return the cycle that this node runs; raises ConfigError where a secret's file cannot be read."""
    target = target_of(config)
    consul = consul_of(config, edges)

    def plan() -> Plan:
        from habeat.roles.assembly import plan_of  # noqa: PLC0415  a healthy cycle runs no command

        return plan_of(config, target, journal, consul, lock_descriptor, edges)

    def observe(now: float, memory: Memory) -> Snapshot:
        if servers is not None:
            return servers.observe(now)
        if config.switch is None or not _has_taken_over(config, journal, target, memory):
            return observer.observe(now)
        from habeat.roles.assembly import looks_of  # noqa: PLC0415  only while something was taken over

        patience = max(observer.patience, config.switch.timeout + RUNNER_GRACE)
        return replace(observer, patience=patience).observe(now, *looks_of(config, lock_descriptor, edges))

    def owed(memory: Memory) -> bool:
        """Tell whether other survivors went on with a recovery that needs this server, or may have."""
        if servers is None or memory.state != State.FAILING_OVER.value:
            return False
        from habeat.roles.assembly import recoverer_of  # noqa: PLC0415  only while a failover is under way

        recoverer = recoverer_of(config, journal, consul, edges.runner("", lock_descriptor), edges)
        try:
            return recoverer.survivors.owed() is not None or bool(recoverer.survivors.mute())
        except HabeatError:  # the steps tell what is wrong here
            return False

    def rejoin(snapshot: Snapshot) -> str | None:
        leaderless = any(isinstance(probe.evidence, Down) for probe in snapshot.leader)
        wanted = leaderless or journal.noted(REJOINING) is not None
        if servers is None or not wanted or journal.paused(edges.clock()) is not None:
            return None
        from habeat.roles.returning import Returning  # noqa: PLC0415  only while Consul has no leader

        return Returning(config, journal, edges).overtaken()

    observers = [observer_of(config, journal, node, edges) for node in nodes_of(config)]
    observer = observers[0]
    several = config.local.role == "consulserver"
    servers = servers_of(config, target, journal, consul, observers, edges) if several else None

    return Cycle(
        target=target,
        policy=policy_of(config),
        observe=observe,
        traits=traits_of(config),
        plan=plan,
        journal=journal,
        clock=edges.clock,
        report=report,
        files=edges.files(config),
        met=lambda: _met(journal, edges.clock()),
        held=lambda: journal.noted(HELD) is not None,
        taken=lambda memory: _to_give_back(journal, target) or owed(memory),
        halfway=lambda: _halfway(config, journal, target),
        rejoin=rejoin,
    )


def _has_taken_over(config: Config, journal: Journal, target: Target, memory: Memory) -> bool:
    """Tell whether there may be something here that was taken over."""
    active = config.runs("activate") and memory.state == State.ACTIVE.value
    return active or journal.noted(switched(target)) is not None


def _to_give_back(journal: Journal, target: Target) -> bool:
    return any(journal.noted(name) is not None for name in (HELD, RECOVERY, switched(target)))


def _met(journal: Journal, now: float) -> float | None:
    """Return when a server of the other site last gave a sign of life; no later than now, should our clock go back."""
    if (noted := journal.noted(ASKED)) is None:
        return None
    if float(noted) > now:
        journal.note(ASKED, repr(now))
    return min(float(noted), now)


def _halfway(config: Config, journal: Journal, target: Target) -> bool:
    """Tell whether a list of a switch's commands was cut short, by the journal's note."""
    if config.switch is None or not config.runs("activate") or (noted := journal.noted(switched(target))) is None:
        return False
    from habeat.roles.switch import progress_of  # noqa: PLC0415  only while something was taken over

    return not progress_of(noted).whole


def patience_of(config: Config) -> float:
    """Return within how many seconds it is told whether a host answers."""
    return 2 * config.probes.timeout * config.probes.count + 1.0


def observer_of(config: Config, journal: Journal, target: Target, edges: Edges = REAL) -> Observer:
    """Return what observes one node."""
    return Observer(
        target=target,
        reach=edges.reach(config),
        witnesses=[witness_of(provider, config, journal.recall(provider), edges) for provider in config.providers],
        gateways=config.policy.gateways,
        patience=max(config.witnesses.timeout + 1.0, patience_of(config)),
        services=services_of(config, target, edges),
        acts_on_services=config.policy.service_down == "failover",
        together=edges.together,
    )


def servers_of(
    config: Config, target: Target, journal: Journal, consul: Consul, observers: Sequence[Observer], edges: Edges
) -> Servers:
    """Return what observes the other site's Consul servers, and the leader here."""
    from habeat.observe.quorum import Keeper, Leader, Servers  # noqa: PLC0415  other roles need none
    from habeat.quorum import Stage, recovery_of  # noqa: PLC0415

    here, there = str(config.local.whoami), str(config.local.dc_check)
    keeper = Keeper(
        consul=consul,
        node_id=edges.folder(config).node_id,
        here=config.site(here).consul_ips,
        there=config.site(there).consul_ips,
        site=here,
        other=there,
        boot=edges.boot_id(),
        key=epoch_key(config),
        saved=journal.recall(SAVED),
        epoch=journal.recall(EPOCH),
    )
    patience = 2 * max(observer.patience for observer in observers) + RUNNER_GRACE
    recovery = journal.recall(RECOVERY)

    def halted() -> bool:
        found = recovery_of(json.loads(recovery.read() or "null"))
        return found is not None and found.stage in (Stage.PREPARED, Stage.SAVED, Stage.WRITTEN)

    return Servers(target, observers, Leader(consul, halted), keeper, patience, edges.together)


def epoch_key(config: Config) -> str:
    """Return the key under which Consul's own data tells its epoch."""
    return f"{config.coordination.key_prefix}/consul-epoch"


def services_of(config: Config, target: Target, edges: Edges = REAL) -> list[Service]:
    """Return the services on the target that are probed."""
    probes = config.probes
    texts = [t for text in probes.services for t in (DEFAULTS[target.role] if text == DEFAULT else (text,))]
    urls = [ServiceUrl.parse(text).at(target) for text in dict.fromkeys(texts)]
    return [edges.service(config, url) for url in urls]


def witness_of(provider: Provider, config: Config, recall: Recall, edges: Edges = REAL) -> Witness:
    """Return one witness, with a place to remember what it last heard."""
    site = getattr(config.witnesses.site, provider)
    if provider == "consul" and config.local.role == "consulserver":
        from habeat.observe.quorum import GossipWitness  # noqa: PLC0415  off unless asked for

        return GossipWitness(consul_of(config, edges), site)
    if provider == "consul":
        return ConsulWitness(consul_of(config, edges), config.consul.match_address, site)
    if provider == "hetrix":
        return Spared(WITNESS_NAMES["hetrix"], site, lambda: _hetrix(config, recall, site, edges))
    return Spared(WITNESS_NAMES["vcenter"], site, lambda: edges.vcenter(config, site))


def _hetrix(config: Config, recall: Recall, site: str | None, edges: Edges) -> Witness:
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
        clock=edges.clock,
        site=site,
        steady=edges.ticks,
        endpoint=edges.endpoint,
    )


def consul_of(config: Config, edges: Edges = REAL, patience: float | None = None) -> Consul:
    """Return the client of Consul's local agent, which waits as long as for a witness, or for `patience` seconds."""
    section, token = config.consul, secret_of(config, "consul")
    return Consul(
        edges.endpoint(
            host=section.hostname,
            port=section.port,
            scheme=section.scheme,
            timeout=patience or config.witnesses.timeout,
            ca_file=section.ca_file,
            headers={"X-Consul-Token": token} if token else {},
        )
    )
