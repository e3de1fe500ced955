"""Commands for Consul's servers: the guard of their return, rejoining by hand, and the word to the others."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import click

from habeat.act.channel import serve
from habeat.act.cycle_lock import BusyError, CycleLock
from habeat.cli import Options, answer, habeat, shared
from habeat.config.loader import find, load
from habeat.config.model import Config
from habeat.config.secrets import secret_of
from habeat.errors import HabeatError, UsageError
from habeat.guard import Action, Heard, Word
from habeat.journal import Journal
from habeat.machine import Level
from habeat.observe.reach import own
from habeat.report.log import Log, one_line
from habeat.roles.returning import Returning, holds

HINTS = {
    "G3": "on the side whose writes are to be given up run `habeat consul rejoin --now --anyway`, on the other "
    "`habeat consul allow`",
    "G10": "`habeat consul allow` allows it once, where a person is sure",
}
"""What a person can do where Consul must not start, by the guard's rule."""
BLOCKED = (
    "the guard does not let Consul start, since it cannot do its work: mend that, or take away its drop-in "
    "habeat-guard.conf and run `systemctl daemon-reload`"
)


@habeat.group()
def consul() -> None:
    """Keep Consul's servers from harm when they return after a recovery (role consulserver)."""


def _load(options: Options) -> Config:
    config = load(find(options.config))
    if config.local.role != "consulserver":
        raise UsageError(f"this is for the role consulserver, and local.role is {config.local.role}")
    return config


@contextmanager
def _returning(options: Options, config: Config) -> Iterator[Returning]:
    with closing(Journal.open(Path(options.state_dir))) as journal:
        yield Returning(config, journal)


def _voice(options: Options) -> Callable[[str], None]:
    """Return how something is told: to whoever looks on, and to the log file."""
    log = Log(Path(options.log) if options.log else None, quiet=True)

    def say(text: str) -> None:
        click.echo(f"habeat: {one_line(text)}", err=True)
        log.write(Level.WARNING, text)

    return say


@consul.command()
@shared
@click.pass_obj
def guard(options: Options) -> None:
    """Before Consul starts (ExecStartPre): ask the other servers whether it may, with the data that is here.

    Data from before a recovery is moved to a dated folder. Exit codes: 0 start, 1 do not start, 2 bad configuration.
    """
    say = _voice(options)
    try:
        config = _load(options)
        with _returning(options, config) as returning:
            advice = returning.guard(say)
    except HabeatError as error:
        say(f"{BLOCKED}. The reason: {error}")
        raise
    held = holds(advice, config)
    hint = f"; {HINTS[advice.rule]}" if held and advice.rule in HINTS else ""
    say(f"Consul {'must not' if held else 'may'} start: {advice.why} (rule {advice.rule}){hint}")
    answer(options, {"start": not held, "action": advice.action.value, "rule": advice.rule, "why": advice.why})
    sys.exit(1 if held else 0)


@consul.command()
@shared
@click.pass_obj
def allow(options: Options) -> None:
    """Let the guard allow Consul's next start with the data that is here, until it starts or the machine reboots."""
    with _returning(options, _load(options)) as returning:
        returning.allow()
    answer(options, {"allowed": True}, "Consul's next start is allowed; now start its unit")


@consul.command()
@shared
@click.option("--now", is_flag=True, help="Really do it; without, only say what would be done.")
@click.option("--anyway", is_flag=True, help="Also where no newer recovery is known.")
@click.pass_obj
def rejoin(options: Options, *, now: bool, anyway: bool) -> None:
    """Throw this server's raft data away (into a dated folder) and let it rejoin the rebuilt cluster."""
    config = _load(options)
    with _returning(options, config) as returning:
        advice, heard = returning.advice()
        newer = advice.action is Action.CLEAN
        folder = Path(config.consul.data_dir) / "raft"
        steps = [
            f"stop {config.consul.unit}",
            f"move {folder} to a dated folder beside it",
            f"start {config.consul.unit}",
        ]
        lines = [*map(_heard, heard), f"it would {', '.join(steps)}: {advice.why}"]
        if not now:
            lines.append("nothing was done; --now does it" if newer or anyway else "not needed, as far as is known")
            told = {"needed": newer, "why": advice.why, "done": False, "heard": [_heard(item) for item in heard]}
            answer(options, told, "\n".join(lines))
            return
        if not newer and not anyway:
            raise HabeatError(f"no newer recovery is known, so nothing was done: {advice.why} (--anyway does it)")
        try:
            with CycleLock(Path(options.state_dir)):
                ended = returning.rejoin(advice.epoch, _voice(options))
        except BusyError as error:
            raise HabeatError(f"{error}; so nothing was done") from error
    answer(options, {"needed": newer, "why": advice.why, "done": True, "ended": ended}, ended)


def _heard(item: Heard) -> str:
    said = f"knows {item.word.epoch}" if isinstance(item.word, Word) else item.word.reason
    return f"{item.address} ({item.site}) {one_line(said)}"


@consul.command("serve")
@shared
@click.pass_obj
def serve_(options: Options) -> None:
    """Tell the other Consul servers' habeats, if they know the shared secret, of recoveries: runs until it is ended."""
    config = _load(options)
    secret, port, say = secret_of(config, "guard"), config.guard.port, _voice(options)
    servers = {*config.primary.consul_ips, *config.secondary.consul_ips}
    mine = [address for address in config.site(str(config.local.whoami)).consul_ips if own(address)]
    listen = config.guard.listen or next(iter(mine), None)
    if listen is None:
        raise HabeatError(f"none of {config.local.whoami}.consul_ips is this host's: name its address in guard.listen")

    def word(asker: str) -> Word:
        with _returning(options, config) as returning:
            if asker in config.site(str(config.local.dc_check)).consul_ips:
                returning.asked()
            return returning.word()

    say(f"answers on {listen} port {port}")
    try:
        serve(secret, (listen, port), servers, word, say)
    except OSError as error:
        raise HabeatError(f"cannot listen on {listen} port {port}: {error.strerror or error}") from error
