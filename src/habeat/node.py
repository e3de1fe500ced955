"""Put a node together from its configuration: the only place that knows which adapter stands behind which port."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from habeat.act.carbonio import Carbonio, Recall, Zmprov
from habeat.act.coordination import SharedLock
from habeat.act.directory import Directory, carbonio_credentials
from habeat.act.run import Runner
from habeat.config.loader import read_token
from habeat.config.model import Config
from habeat.consul import Consul
from habeat.cycle import Cycle, Report
from habeat.errors import ConfigError, Problem
from habeat.http import Endpoint
from habeat.journal import Journal
from habeat.model import Policy, Target
from habeat.observe import Observer, Reach, Witness
from habeat.observe.consul import ConsulWitness
from habeat.observe.reach import Icmp, Tcp
from habeat.report.lockfiles import LockFiles
from habeat.roles.appserver import HELD, Appserver, Options
from habeat.saga import Plan

LDAP_TIMEOUT = 5.0


def target_of(config: Config) -> Target:
    """Return what this node watches."""
    peer = config.site(str(config.local.dc_check))
    return Target(
        str(config.local.role), str(config.local.dc_check), str(peer.appserver_vmname), str(peer.appserver_ip)
    )


def policy_of(config: Config) -> Policy:
    """Return the numbers that the judge and the machine go by."""
    return Policy(
        confirmations=config.policy.confirmations,
        required=config.witnesses.required,
        freshness=config.witnesses.freshness,
        window=config.policy.confirmation_window,
        cooldown=config.policy.cooldown,
        repeat=config.policy.late_accounts,
    )


def cycle_of(config: Config, journal: Journal, lock_descriptor: int, report: Report) -> Cycle:
    """Return the cycle that this node runs; raises ConfigError where a secret's file cannot be read."""
    target = target_of(config)
    token = _token(config)
    consul = Consul(_consul_endpoint(config, token))
    secondary = config.local.whoami == "secondary"
    return Cycle(
        target=target,
        policy=policy_of(config),
        observe=Observer(
            target=target,
            reach=_reach(config),
            witnesses=_witnesses(config, consul),
            gateways=config.policy.gateways,
            patience=max(config.witnesses.timeout, 2 * config.probes.timeout * config.probes.count) + 1.0,
        ).observe,
        plan=_plan(config, journal, consul, Runner(config.carbonio.user, lock_descriptor, (token,))),
        journal=journal,
        clock=time.time,
        report=report,
        files=LockFiles(
            down=f"{config.local.down_file}-{config.local.role}",
            promotion=f"{config.local.promotion_file}-{config.local.role}" if secondary else "",
            module=config.local.module_file,
        ),
        held=lambda: journal.noted(HELD) is not None,
    )


def _reach(config: Config) -> Reach:
    probes = config.probes
    if probes.reach == "icmp":
        return Icmp(probes.count, probes.timeout)
    return Tcp(int(probes.reach.removeprefix("tcp:")), probes.count, probes.timeout)


def _witnesses(config: Config, consul: Consul) -> list[Witness]:
    return [
        ConsulWitness(consul, config.consul.match_address)
        for _ in config.witnesses.providers or (config.local.provider,)
    ]


def _consul_endpoint(config: Config, token: str) -> Endpoint:
    section = config.consul
    return Endpoint(
        host=section.hostname,
        port=section.port,
        scheme=section.scheme,
        timeout=config.witnesses.timeout,
        ca_file=section.ca_file,
        headers={"X-Consul-Token": token} if token else {},
    )


def _token(config: Config) -> str:
    """Return Consul's token: from the file, from the file that it names, or from systemd's credentials."""
    section = config.consul
    handed = Path(os.environ.get("CREDENTIALS_DIRECTORY", "/nowhere")) / "habeat.consul.token"
    if section.token:
        return section.token
    if not section.token_file and not handed.exists():
        return ""
    try:
        return read_token(Path(section.token_file) if section.token_file else handed)
    except ValueError as error:
        raise ConfigError([Problem(str(config.path), 0, "consul.token_file", str(error))]) from None


def _plan(config: Config, journal: Journal, consul: Consul, runner: Runner) -> Plan:
    section = config.carbonio
    target = target_of(config)
    here = config.site(str(config.local.whoami))
    coordination = config.coordination
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
        carbonio=Carbonio(
            runner,
            section.binary,
            section.timeout,
            section.promote_timeout,
            Path(section.spool),
            Recall(partial(journal.noted, "carbonio-namespace"), partial(journal.note, "carbonio-namespace")),
            section.namespace,
        ),
        zmprov=Zmprov(runner, section.zmprov, section.timeout),
        directory=_directory(config, runner),
        consul=consul,
        lock=SharedLock(
            consul if coordination.consul != "off" else None,
            f"{coordination.key_prefix}/failover/{target.name}",
            f"{socket.gethostname()} ({here.appserver_vmname})",
            required=coordination.consul == "required",
            recall=partial(journal.noted, "consul-session"),
            remember=partial(journal.note, "consul-session"),
        ),
        journal=journal,
        clock=time.time,
    )
    return role.promotion() if config.local.whoami == "secondary" else role.module_stop()


def _directory(config: Config, runner: Runner) -> Callable[[], str] | None:
    address = config.site(str(config.local.whoami)).directorysrv_ip
    if address is None:
        return None
    section = config.carbonio
    ca_file = section.ldap_ca_file if Path(section.ldap_ca_file).exists() else ""
    directory = Directory(address, LDAP_TIMEOUT, ca_file)
    return lambda: directory.require(carbonio_credentials(runner, section.zmlocalconfig, section.timeout))
