"""Put a node together from its configuration: the only place that knows which adapter stands behind which port."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

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
from habeat.roles import HELD, TRAITS

if TYPE_CHECKING:
    from habeat.saga import Plan


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

    def plan() -> Plan:
        from habeat.act.run import Runner  # noqa: PLC0415  a healthy cycle runs no command
        from habeat.roles.assembly import appserver  # noqa: PLC0415

        runner = Runner(config.carbonio.user, lock_descriptor, (token,))
        return appserver(config, target, journal, consul, runner)

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
        traits=TRAITS[target.role, str(config.local.whoami)],
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
