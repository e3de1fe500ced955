"""What `habeat doctor` tries on a Consul server: all that a recovery, and the guard of a return, depend on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from habeat.act.raft_folder import RaftFolder
from habeat.act.run import Runner
from habeat.act.unit import Unit
from habeat.config.model import Config
from habeat.consul import Consul
from habeat.edges import REAL
from habeat.errors import HabeatError, HttpError
from habeat.guard import Heard, Word
from habeat.model import Finding, Health
from habeat.node import consul_of
from habeat.quorum import obstacle, outlook
from habeat.roles.assembly import unit_of

GOOD, WARNING, ERROR = Health.GOOD, Health.WARNING, Health.ERROR
GUARD, SERVICE = "consul guard", "habeat-consul.service"
DROP_IN = "install deploy/systemd/service-discover.service.d/habeat-guard.conf"


def examined(config: Config) -> Iterator[Finding]:
    """Give what is found; nothing is changed but a file that is made and removed in Consul's data folder."""
    consul, folder = consul_of(config), REAL.folder(config)
    yield from _voters(config, consul, folder)
    yield _bootstrap(consul)
    yield _tried("data of Consul", folder.examine, "see consul.data_dir and consul.user; a recovery would wait for it")
    unit = unit_of(config, Runner())
    yield _tried("unit of Consul", lambda: f"{unit.name} is {unit.state()}", "see consul.unit, and run as root")
    yield _guard(unit)
    yield _service(Unit(unit.runner, SERVICE))
    heard = REAL.channel(config).ask()
    if not heard:
        yield Finding(
            ERROR, "the other servers", "there is nobody to ask", "name all servers in consul_ips of both sites"
        )
    yield from (_word(item, config.guard.port) for item in heard)


def _tried(subject: str, ask: Callable[[], str], mend: str) -> Finding:
    try:
        return Finding(GOOD, subject, ask())
    except HabeatError as error:
        return Finding(ERROR, subject, str(error), mend)


def _voters(config: Config, consul: Consul, folder: RaftFolder) -> Iterator[Finding]:
    here, there, subject = str(config.local.whoami), str(config.local.dc_check), "quorum of Consul"
    near = config.site(here).consul_ips
    try:
        found = consul.raft()
        why = obstacle(found, near, config.site(there).consul_ips, folder.node_id(), here)
    except HabeatError as error:
        says = f"it cannot be read who votes: {error}"
        yield Finding(ERROR, subject, says, "the token needs operator:read; without it nothing could be rebuilt")
        return
    if why is not None and len(found.among(near)) < found.needed:
        yield Finding(ERROR, subject, why, "correct consul_ips of both sites; until then nothing could be rebuilt")
        return
    yield Finding(GOOD, subject, f"it {outlook(found, near, there)}")


def _bootstrap(consul: Consul) -> Finding:
    subject = "clean start of Consul"
    try:
        alone = consul.bootstraps()
    except HttpError as error:
        return Finding(WARNING, subject, f"it cannot be seen how Consul is configured: {error}", "see bootstrap_expect")
    if alone:
        says = "with bootstrap_expect 1 this server leads an empty cluster of its own until it finds the others"
        return Finding(WARNING, subject, says, "set bootstrap_expect to the number of all servers, or remove it")
    return Finding(GOOD, subject, "without data this server joins the others, and begins no cluster of its own")


def _guard(unit: Unit) -> Finding:
    subject = "guard of Consul's return"
    try:
        found = unit.before()
    except HabeatError as error:
        return Finding(ERROR, subject, str(error), DROP_IN)
    if GUARD in found:
        return Finding(GOOD, subject, f"it runs before {unit.name}")
    says = f"{unit.name} does not run it before its start: after a lost site this server could return with old data"
    return Finding(ERROR, subject, says, DROP_IN)


def _service(unit: Unit) -> Finding:
    subject = "habeat's word to the other servers"
    try:
        found = unit.at_boot()
    except HabeatError as error:
        return Finding(ERROR, subject, str(error), f"install deploy/systemd/{SERVICE}")
    if found:
        return Finding(GOOD, subject, f"{unit.name} starts with the machine")
    says = f"{unit.name} does not start with the machine: after a reboot the others could not ask this one"
    return Finding(ERROR, subject, says, f"install deploy/systemd/{SERVICE}, then `systemctl enable --now {SERVICE}`")


def _word(item: Heard, port: int) -> Finding:
    subject = f"habeat on {item.address} ({item.site} site)"
    if not isinstance(item.word, Word):
        mend = f"run habeat-consul.service there, with the same guard.secret, and let port {port} through"
        return Finding(ERROR, subject, item.word.reason, mend)
    age = f", of {time.strftime('%Y-%m-%d %H:%M', time.localtime(item.word.epoch.at))}" if item.word.epoch.at else ""
    return Finding(GOOD, subject, f"answers, and knows {item.word.epoch}{age}")
