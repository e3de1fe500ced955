"""`habeat doctor`: try everything for real that a failover would depend on, and say how to mend what is not well.

Nothing is changed anywhere: every question here is a read.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from habeat.act.carbonio import Carbonio, Zmprov
from habeat.act.run import Runner
from habeat.config.model import NODES, WITNESS_NAMES, Config, Provider
from habeat.config.secrets import secret_of
from habeat.config.switch import Command
from habeat.edges import REAL
from habeat.errors import HabeatError, HttpError, JournalError
from habeat.journal import Journal, Recall, kept
from habeat.model import Down, Evidence, Finding, Health, Target, Unknown, Up
from habeat.node import consul_of, nodes_of, services_of, target_of, witness_of
from habeat.observe import Reach
from habeat.observe.reach import own
from habeat.roles import switched
from habeat.roles.assembly import carbonio_of, directory_of, looks_of
from habeat.roles.examination import examined

SLACK = 5.0

GOOD, WARNING, ERROR = Health.GOOD, Health.WARNING, Health.ERROR


def examine(config: Config, state_dir: Path) -> Iterator[Finding]:
    """Give what is found, one thing after another, each within its own time-out."""
    target = target_of(config)
    yield Finding(GOOD, "configuration", f"{config.path} is good", names=config.notices)
    yield _journal(state_dir)
    reach, nodes = REAL.reach(config), nodes_of(config)
    for node in nodes:
        yield from _reached(reach, node)
    yield from _gateways(reach, config.policy.gateways)
    for service in services_of(config, target):
        yield _asked(
            f"service {service.address}",
            "",
            service().evidence,
            "start it on the peer, or take it out of probes.services",
            "for its name write {ip}; for its certificate set probes.ca_file, or probes.verify_tls: false",
        )
    yield from _places(config, target)
    for provider in config.providers:
        for node in nodes:
            about = f" on {node.name}" if len(nodes) > 1 else ""
            yield from (replace(f, subject=f.subject + about) for f in _witness(provider, config, node, reach))
    if config.local.role == "consulserver":
        yield from examined(config)
        return
    yield from _consul(config, target)
    if config.local.role != "appserver":
        yield from _switch(config, state_dir, reach(target.address))
    elif config.local.whoami == "secondary" or config.local.disable_ha_module:
        yield from _carbonio(config, target)


def _journal(state_dir: Path) -> Finding:
    try:
        if not kept(state_dir):
            return Finding(WARNING, "journal", f"there is none in {state_dir} yet", "run `habeat check`, or the timer")
        Journal.open(state_dir, create=False).close()
    except JournalError as error:
        return Finding(ERROR, "journal", str(error), "without it habeat does nothing")
    return Finding(GOOD, "journal", f"{state_dir} can be written")


def _reached(reach: Reach, target: Target) -> Iterator[Finding]:
    yield _asked(
        f"probe of {target.name}",
        f"{target.address} ",
        reach(target.address),
        "if it lives, let its answers through, or set probes.reach to tcp:PORT",
        "ping takes root or CAP_NET_RAW, and there must be a route and an address",
    )
    if own(target.address):
        mend = f"name the peer's address in {target.site}.{NODES[target.role].address}"
        yield Finding(ERROR, f"address of {target.name}", f"{target.address} is this host's own", mend)


def _gateways(reach: Reach, gateways: Sequence[str]) -> Iterator[Finding]:
    for gateway in gateways:
        mend = "name addresses in policy.gateways that answer whenever this host is connected"
        yield _asked(f"gateway {gateway}", "", reach(gateway), mend, mend)


def _asked(subject: str, prefix: str, evidence: Evidence, silent: str, unasked: str) -> Finding:
    says = f"{prefix}{evidence.reason}"
    if isinstance(evidence, Unknown):
        return Finding(ERROR, subject, says, unasked)
    return Finding(WARNING, subject, says, silent) if isinstance(evidence, Down) else Finding(GOOD, subject, says)


def _places(config: Config, target: Target) -> Iterator[Finding]:
    """Give whether the witnesses that could still testify are enough when the watched site is lost."""
    for provider in set(config.providers) - set(_able(config, target)):
        yield Finding(
            WARNING,
            f"place of {WITNESS_NAMES[provider]}",
            f"it stands in the suspect site {target.site} itself, so it can never call {target.name} dead",
            "add a witness that stands elsewhere to witnesses.providers",
        )
    if "vcenter" in config.providers and config.witnesses.site.vcenter is None:
        yield Finding(
            WARNING,
            f"place of {WITNESS_NAMES['vcenter']}",
            "the configuration does not say where it runs",
            "say it in witnesses.site.vcenter, if it runs in one of the two sites: there it dies with its site",
        )
    able, required = len(_able(config, target)), config.witnesses.required
    told = f"{able} of {len(config.providers)} may call {target.name} dead, and {required} must"
    mend = "add witnesses, or lower witnesses.required" if able < required else ""
    yield Finding(ERROR if mend else GOOD, "witnesses", told, mend)


def _able(config: Config, target: Target) -> list[Provider]:
    return [provider for provider in config.providers if getattr(config.witnesses.site, provider) != target.site]


def _witness(provider: Provider, config: Config, target: Target, reach: Reach) -> Sequence[Finding]:
    subject = f"witness {WITNESS_NAMES[provider]}"
    found: list[Finding] = []
    patience = 3 * config.witnesses.timeout + SLACK

    def ask() -> None:
        try:
            witness = witness_of(provider, config, memory())
            found.extend(witness.examine(target))
            if isinstance(witness.ask(target).evidence, Down) and isinstance(reach(target.address), Up):
                found.append(_mistaken(subject, provider, target))
            if config.policy.service_down == "failover":
                found.append(_on_services(subject, witness.ask_service(target).evidence))
        except Exception as error:  # noqa: BLE001  one witness that breaks must not hide the others
            found.append(Finding(ERROR, subject, f"could not be asked ({error})", f"see the section {provider}"))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(patience)
    return list(found) or [Finding(ERROR, subject, f"did not come to an end within {patience:g} s", "see its address")]


def _mistaken(subject: str, provider: Provider, target: Target) -> Finding:
    says = f"calls {target.name} dead although it answers us: it looks at something else, and would kill it one day"
    node = NODES[target.role]
    keys = f"{target.site}.{node.name} and {target.site}.{node.address}"
    return Finding(
        ERROR,
        f"{subject} on the peer",
        says,
        f"check {keys}{'' if provider == 'consul' else f', and {provider}.names'}",
    )


def _on_services(subject: str, evidence: Evidence) -> Finding:
    blind = isinstance(evidence, Unknown)
    mend = "without it a dead service is failed over only if two probes on different ports agree" if blind else ""
    return Finding(WARNING if blind else GOOD, f"{subject} on the service", evidence.reason, mend)


def _consul(config: Config, target: Target) -> Iterator[Finding]:
    """Give whether Consul has a leader, which a failover waits for, and would have one without the watched site."""
    consul, servers = consul_of(config), config.site(target.site).consul_ips
    try:
        consul.require_leader()
        voters = consul.peers()
    except HttpError as error:
        yield Finding(
            ERROR, "leader of Consul", f"Consul {error}", "a failover would wait for it: see the section consul"
        )
        return
    yield Finding(GOOD, "leader of Consul", "there is one")
    subject = f"quorum of Consul without the {target.site} site"
    lost = sorted(set(voters) & set(servers))
    if not lost:
        named = f"none of {', '.join(servers)} is a voter" if servers else f"{target.site}.consul_ips is blank"
        says = f"cannot be reckoned: {named}; the voters are {', '.join(sorted(voters))}"
        yield Finding(
            WARNING, subject, says, f"name the addresses of those that stand there in {target.site}.consul_ips"
        )
        return
    left, needed = len(voters) - len(lost), len(voters) // 2 + 1
    says = (
        f"{len(voters)} servers vote, {len(lost)} of them stand there ({', '.join(lost)}): "
        f"that leaves {left}, and {needed} are needed"
    )
    if left >= needed:
        yield Finding(GOOD, subject, says)
        return
    says += (
        ". When that site is lost, Consul has no leader: it cannot testify, and Carbonio cannot promote until it has"
    )
    others = [provider for provider in _able(config, target) if provider != "consul"]
    if len(others) >= config.witnesses.required:
        yield Finding(WARNING, subject, says, "place a Consul server at a third site, or be ready to bring quorum back")
    else:
        mend = "add a witness outside it (witnesses.providers: hetrix, vcenter), or a Consul server at a third site"
        yield Finding(ERROR, subject, says, mend)


def _switch(config: Config, state_dir: Path, peer: Evidence) -> Iterator[Finding]:
    """Give whether the commands of the switch could run, and what its checks see now, while nothing has happened."""
    if (switch := config.switch) is None:
        mend = f"name a tool in local.{config.keys.switch}, or leave it so"
        yield Finding(WARNING, "switch", "none is configured: this node only watches and tells", mend)
        return
    for way, commands in (("activate", switch.activate), ("deactivate", switch.deactivate)):
        if not config.runs(way):
            says = f"not enabled; it would run {'; '.join(f'`{command}`' for command in commands) or 'nothing'}"
            yield Finding(WARNING, f"switch to {way}", says, f"set local.proxy_enable_{way}: true when it is right")
        yield from (_command(f"command to {way}", command) for command in commands)
    yield from (_command("check", check) for check in switch.verify + switch.other_site if isinstance(check, Command))
    if not switch.verify:
        mend = f"name checks in {config.keys.switch}.{config.tool}.verify"
        yield Finding(WARNING, "proof of the switch", "a command's word is all there is", mend)
    if not switch.other_site:
        says = "a node that lives, but cannot be reached from here, may still announce"
        mend = f"name checks in {config.keys.switch}.{config.tool}.other_site"
        yield Finding(WARNING, "proof of the other site", says, mend)
    ours, theirs = looks_of(config)
    taken = kept(state_dir) and _taken(state_dir, target_of(config))
    yield from (_seen_here(look().evidence, look.address, taken=taken) for look in ours)
    yield from (_seen_there(look().evidence, look.address, peer) for look in theirs)


def _taken(state_dir: Path, target: Target) -> bool:
    with contextlib.suppress(JournalError), contextlib.closing(Journal.open(state_dir, create=False)) as journal:
        return journal.noted(switched(target)) is not None
    return False


def _command(subject: str, command: Command) -> Finding:
    if shutil.which(command.argv[0]) is None:
        return Finding(
            ERROR, subject, f"`{command}`: there is no program {command.argv[0]} here", "correct or install it"
        )
    if command.needs_shell:
        says = f"`{command}` runs in a shell, as root: what it expands and what it hides is yours to check"
        return Finding(WARNING, subject, says, "write it without a shell where that can be")
    return Finding(GOOD, subject, f"`{command}` can be run")


def _seen_here(evidence: Evidence, name: str, *, taken: bool) -> Finding:
    subject, mend = f"here: {name}", "a takeover could not be proved: mend what it names"
    if isinstance(evidence, Up) and not taken:
        mend = "habeat took nothing over; whoever did must give it back, or the check says yes to something else"
        return Finding(WARNING, subject, evidence.reason, mend)
    return (
        Finding(ERROR, subject, evidence.reason, mend)
        if isinstance(evidence, Unknown)
        else Finding(GOOD, subject, evidence.reason)
    )


def _seen_there(evidence: Evidence, name: str, peer: Evidence) -> Finding:
    subject = f"other site: {name}"
    if isinstance(evidence, Up):
        return Finding(GOOD, subject, evidence.reason)
    if isinstance(evidence, Unknown):
        return Finding(ERROR, subject, evidence.reason, "a takeover would wait for it: mend what it names")
    if isinstance(peer, Up):
        mend = "if the other site announces now, the check is blind: its `no` would prove nothing"
        return Finding(ERROR, subject, f"{evidence.reason}, although the peer answers", mend)
    return Finding(WARNING, subject, evidence.reason, "")


def _carbonio(config: Config, target: Target) -> Iterator[Finding]:
    runner = Runner(config.carbonio.user, None, (secret_of(config, "consul"),))
    carbonio = carbonio_of(config, memory(), runner)
    zmprov = Zmprov(runner, config.carbonio.zmprov, config.carbonio.timeout)
    yield _tried("Carbonio", lambda: _modules(carbonio), "look at Carbonio on this host; a failover would wait for it")
    directory = directory_of(config, runner)
    if directory is not None:
        keys = f"{config.local.whoami}.directorysrv_ip and carbonio.ldap_ca_file"
        yield _tried("directory", directory, f"check {keys}; a failover would wait for it")
    if config.local.whoami == "secondary":
        yield _accounts(carbonio, zmprov, target)


def _modules(carbonio: Carbonio) -> str:
    carbonio.services()
    carbonio.operations()  # without a look at what it does already, nothing is promoted
    return "answers, and lists what it does"


def _tried(subject: str, ask: Callable[[], str], mend: str) -> Finding:
    try:
        return Finding(GOOD, subject, ask())
    except HabeatError as error:
        return Finding(ERROR, subject, str(error), mend)


def _accounts(carbonio: Carbonio, zmprov: Zmprov, target: Target) -> Finding:
    subject = f"accounts of {target.name}"
    try:
        known, accounts = zmprov.mailstores(), carbonio.accounts(target.name)
    except HabeatError as error:
        return Finding(ERROR, subject, str(error), "look at Carbonio on this host; a failover could not list accounts")
    if target.name.lower() not in (host.lower() for host in known):
        return Finding(
            ERROR,
            subject,
            f"Carbonio knows no mailstore of that name, only {', '.join(sorted(known)) or 'none at all'}",
            f"correct {target.site}.appserver_vmname",
        )
    bare = sorted(account.name for account in accounts if not account.usable())
    if not bare:
        return Finding(GOOD, subject, f"{len(accounts)} are replicated, and each could be promoted")
    return Finding(
        WARNING,
        subject,
        f"{len(bare)} of {len(accounts)} have no usable replica, and could not be promoted",
        "give them a destination (setAccountDestination), and see that it is available",
        tuple(bare),
    )


def memory() -> Recall:
    """Return a place to remember one value that ends with this process."""
    written: list[str] = []
    return Recall(lambda: written[-1] if written else None, written.append)
