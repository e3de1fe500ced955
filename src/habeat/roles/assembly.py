"""Put a role's plan together with its adapters; loaded only when there is something to do."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from habeat.act.carbonio import Carbonio, Zmprov
from habeat.act.coordination import SharedLock
from habeat.act.directory import Directory, carbonio_credentials
from habeat.act.run import Runner
from habeat.act.unit import START, Unit
from habeat.config.model import Config
from habeat.config.secrets import secret_of
from habeat.consul import Consul
from habeat.edges import REAL, Edges
from habeat.journal import Journal, Recall
from habeat.judge import judge
from habeat.model import Evidence, Target, Verdict
from habeat.node import epoch_key, observer_of, patience_of, policy_of
from habeat.observe import Question
from habeat.observe.announcement import Look, look
from habeat.observe.quorum import Leader
from habeat.quorum import Server
from habeat.roles import switched
from habeat.roles.appserver import Appserver, Options
from habeat.roles.attempt import Attempt
from habeat.roles.consulserver import Recoverer
from habeat.roles.survivors import Survivors
from habeat.roles.switch import Takeover, watch_only
from habeat.saga import Plan

LDAP_TIMEOUT = 5.0


def plan_of(
    config: Config,
    target: Target,
    journal: Journal,
    consul: Consul,
    descriptor: int | None = None,
    edges: Edges = REAL,
) -> Plan:
    """Return the plan of this node's role; commands inherit the `descriptor`."""
    secrets = (secret_of(config, "consul"),)
    if config.local.role == "appserver":
        return appserver(
            config, target, journal, consul, edges.runner(config.carbonio.user, descriptor, secrets), edges
        )
    if config.local.role == "consulserver":
        return recoverer_of(config, journal, consul, edges.runner("", descriptor, secrets), edges).plan()
    if config.switch is None:
        return watch_only(journal, switched(target))
    ours, theirs = looks_of(config, descriptor, edges)
    return Takeover(
        switch=config.switch,
        runs=config.runs,
        runner=edges.runner("", descriptor, secrets),
        ours=ours,
        theirs=theirs,
        lock=_lock(config, f"{target.role}/{target.name}", journal, consul, edges, waits=False),
        journal=journal,
        note=switched(target),
        boot=edges.boot_id(),
        hold=lambda: journal.hold(edges.clock()),
        clock=edges.ticks,
        sleep=edges.sleep,
    ).plan()


def recoverer_of(config: Config, journal: Journal, consul: Consul, runner: Runner, edges: Edges) -> Recoverer:
    """Return what rebuilds Consul's quorum on this server."""
    here, there = str(config.local.whoami), str(config.local.dc_check)
    reach = edges.reach(config)
    attempt = _attempt(config, journal, runner, edges)

    def leader() -> Evidence:
        return Leader(consul)().evidence

    def looks(addresses: Sequence[str]) -> Sequence[Evidence]:
        none: list[Question[Evidence]] = []
        questions = [Question[Evidence](partial(reach, address), lambda unknown: unknown) for address in addresses]
        return edges.together(questions, none, patience_of(config))[0]

    return Recoverer(
        site=here,
        here=config.site(here).consul_ips,
        there=config.site(there).consul_ips,
        key=epoch_key(config),
        consul=consul,
        attempt=attempt,
        survivors=_survivors(config, journal, attempt, leader, edges),
        leader=leader,
        looks=looks,
        journal=journal,
        clock=edges.clock,
        ticks=edges.ticks,
        sleep=edges.sleep,
    )


def _survivors(
    config: Config, journal: Journal, attempt: Attempt, leader: Callable[[], Evidence], edges: Edges
) -> Survivors:
    here = str(config.local.whoami)

    def look(server: Server) -> Verdict:
        named = {address: name for name, address in config.nodes(here)}
        target = Target(str(config.local.role), here, named.get(server.address, server.node), server.address)
        return judge(observer_of(config, journal, target, edges).observe(edges.clock()), policy_of(config))

    return Survivors(
        site=here,
        here=config.site(here).consul_ips,
        boot=edges.boot_id(),
        fresh=config.policy.confirmation_window,
        look=look,
        near=partial(edges.channel(config).ask, here),
        leader=leader,
        attempt=attempt,
        journal=journal,
        fresh_id=lambda: uuid.uuid4().hex,
        clock=edges.clock,
    )


def _attempt(config: Config, journal: Journal, runner: Runner, edges: Edges) -> Attempt:
    return Attempt(
        unit=unit_of(config, runner),
        folder=edges.folder(config),
        journal=journal,
        ask=edges.channel(config).ask,
        boot=edges.boot_id(),
        clock=edges.clock,
        ticks=edges.ticks,
        sleep=edges.sleep,
    )


def unit_of(config: Config, runner: Runner) -> Unit:
    """Return the unit of this host's Consul server, whose start may be held by the guard."""
    return Unit(runner, config.consul.unit, START + config.guard.hold)


def looks_of(config: Config, descriptor: int | None = None, edges: Edges = REAL) -> tuple[list[Look], list[Look]]:
    """Return how to see whether the service is announced here, and in the other site."""
    switch, runner = config.switch, edges.runner("", descriptor)
    if switch is None:
        return [], []
    ours = [look(check, runner, switch.timeout, ours=True) for check in switch.verify]
    return ours, [look(check, runner, switch.timeout, ours=False) for check in switch.other_site]


def _lock(config: Config, what: str, journal: Journal, consul: Consul, edges: Edges, *, waits: bool) -> SharedLock:
    coordination = config.coordination
    return SharedLock(
        consul if coordination.consul != "off" else None,
        f"{coordination.key_prefix}/failover/{what}",
        f"{socket.gethostname()} ({config.called or config.local.whoami})",
        required=coordination.consul == "required",
        waits=waits,
        recall=partial(journal.noted, "consul-session"),
        remember=partial(journal.note, "consul-session"),
        edges=edges,
    )


def appserver(config: Config, target: Target, journal: Journal, consul: Consul, runner: Runner, edges: Edges) -> Plan:
    """Return the plan of the role appserver on this site."""
    section = config.carbonio
    here = config.site(str(config.local.whoami))
    role = Appserver(
        options=Options(
            source=target.name,
            here=str(here.appserver_vmname),
            threads=config.local.threads,
            batch=section.batch,
            flush_cache=config.local.flush_cache,
            flush_everywhere=config.local.flush_arguments_a,
            restart_replica=config.local.restart_replica,
            disable_ha_module=config.local.disable_ha_module,
            max_lag=config.policy.max_lag,
            long_timeout=section.promote_timeout,
        ),
        carbonio=carbonio_of(config, journal.recall("carbonio-namespace"), runner),
        zmprov=Zmprov(runner, section.zmprov, section.timeout),
        directory=directory_of(config, runner),
        consul=consul,
        lock=_lock(config, target.name, journal, consul, edges, waits=True),
        journal=journal,
        clock=edges.clock,
    )
    return role.promotion() if config.local.whoami == "secondary" else role.module_stop()


def carbonio_of(config: Config, recall: Recall, runner: Runner) -> Carbonio:
    """Return the `carbonio` command of this host."""
    section = config.carbonio
    return Carbonio(
        runner,
        section.binary,
        section.timeout,
        section.promote_timeout,
        Path(section.spool),
        recall,
        section.namespace,
    )


def directory_of(config: Config, runner: Runner) -> Callable[[], str] | None:
    """Return how to prove that this site's directory takes writes, or None where it is not configured."""
    address = config.site(str(config.local.whoami)).directorysrv_ip
    if address is None:
        return None
    section = config.carbonio
    ca_file = section.ldap_ca_file if Path(section.ldap_ca_file).exists() else ""
    directory = Directory(address, LDAP_TIMEOUT, ca_file)
    return lambda: directory.require(carbonio_credentials(runner, section.zmlocalconfig, section.timeout))
