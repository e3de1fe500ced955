"""Put a role's plan together with its adapters; loaded only when there is something to do."""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path

from habeat.act.carbonio import Carbonio, Zmprov
from habeat.act.channel import Channel
from habeat.act.coordination import SharedLock
from habeat.act.directory import Directory, carbonio_credentials
from habeat.act.raft_folder import RaftFolder
from habeat.act.run import Runner
from habeat.act.unit import START, Unit
from habeat.config.model import Config
from habeat.config.secrets import secret_of
from habeat.consul import Consul
from habeat.journal import Journal, Recall
from habeat.judge import judge
from habeat.model import Target, Up, Verdict
from habeat.node import boot_id, epoch_key, observer_of, policy_of, reach_of
from habeat.observe.announcement import Look, look
from habeat.observe.quorum import Leader
from habeat.observe.reach import own
from habeat.quorum import Server
from habeat.roles import switched
from habeat.roles.appserver import Appserver, Options
from habeat.roles.consulserver import Recoverer
from habeat.roles.switch import Takeover, watch_only
from habeat.saga import Plan

LDAP_TIMEOUT = 5.0


def plan_of(config: Config, target: Target, journal: Journal, consul: Consul, descriptor: int | None = None) -> Plan:
    """Return the plan of this node's role; commands inherit the `descriptor`."""
    secrets = (secret_of(config, "consul"),)
    if config.local.role == "appserver":
        return appserver(config, target, journal, consul, Runner(config.carbonio.user, descriptor, secrets))
    if config.local.role == "consulserver":
        return recoverer_of(config, journal, consul, Runner("", descriptor, secrets)).plan()
    if config.switch is None:
        return watch_only(journal, switched(target))
    ours, theirs = looks_of(config, descriptor)
    return Takeover(
        switch=config.switch,
        runs=config.runs,
        runner=Runner("", descriptor, secrets),
        ours=ours,
        theirs=theirs,
        lock=_lock(config, f"{target.role}/{target.name}", journal, consul, waits=False),
        journal=journal,
        note=switched(target),
        boot=boot_id(),
        hold=lambda: journal.hold(time.time()),
        clock=time.monotonic,
        sleep=time.sleep,
    ).plan()


def recoverer_of(config: Config, journal: Journal, consul: Consul, runner: Runner) -> Recoverer:
    """Return what rebuilds Consul's quorum on this server."""
    here, there = str(config.local.whoami), str(config.local.dc_check)
    reach = reach_of(config)

    def look(server: Server) -> Verdict:
        named = {address: name for name, address in config.nodes(here)}
        target = Target(str(config.local.role), here, named.get(server.address, server.node), server.address)
        return judge(observer_of(config, journal, target).observe(time.time()), policy_of(config))

    return Recoverer(
        site=here,
        here=config.site(here).consul_ips,
        there=config.site(there).consul_ips,
        key=epoch_key(config),
        boot=boot_id(),
        fresh=config.policy.confirmation_window,
        consul=consul,
        unit=unit_of(config, runner),
        folder=folder_of(config),
        look=look,
        ask=channel_of(config).ask,
        leader=lambda: Leader(consul)().evidence,
        reached=lambda address: isinstance(reach(address), Up),
        journal=journal,
        fresh_id=lambda: uuid.uuid4().hex,
        clock=time.time,
        ticks=time.monotonic,
        sleep=time.sleep,
    )


def folder_of(config: Config) -> RaftFolder:
    """Return the data folder of this host's Consul server."""
    return RaftFolder(Path(config.consul.data_dir), config.consul.user)


def unit_of(config: Config, runner: Runner) -> Unit:
    """Return the unit of this host's Consul server, whose start may be held by the guard."""
    return Unit(runner, config.consul.unit, START + config.guard.hold)


def channel_of(config: Config) -> Channel:
    """Return the way to ask the habeats of all other Consul servers."""
    places = [(address, site) for site in ("primary", "secondary") for address in config.site(site).consul_ips]
    return Channel(secret_of(config, "guard"), config.guard.port, [place for place in places if not own(place[0])])


def looks_of(config: Config, descriptor: int | None = None) -> tuple[list[Look], list[Look]]:
    """Return how to see whether the service is announced here, and in the other site."""
    switch, runner = config.switch, Runner("", descriptor)
    if switch is None:
        return [], []
    ours = [look(check, runner, switch.timeout, ours=True) for check in switch.verify]
    return ours, [look(check, runner, switch.timeout, ours=False) for check in switch.other_site]


def _lock(config: Config, what: str, journal: Journal, consul: Consul, *, waits: bool) -> SharedLock:
    coordination = config.coordination
    return SharedLock(
        consul if coordination.consul != "off" else None,
        f"{coordination.key_prefix}/failover/{what}",
        f"{socket.gethostname()} ({config.called or config.local.whoami})",
        required=coordination.consul == "required",
        waits=waits,
        recall=partial(journal.noted, "consul-session"),
        remember=partial(journal.note, "consul-session"),
    )


def appserver(config: Config, target: Target, journal: Journal, consul: Consul, runner: Runner) -> Plan:
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
        lock=_lock(config, target.name, journal, consul, waits=True),
        journal=journal,
        clock=time.time,
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
