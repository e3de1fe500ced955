"""The command line."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from habeat import __version__
from habeat.errors import ConfigError, HabeatError
from habeat.machine import Level

STATE_DIR = "/var/lib/habeat"

F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class Options:
    """What may stand before or after the command's name."""

    config: str | None = None
    log: str | None = None
    state_dir: str = STATE_DIR
    json: bool = False


def shared(function: F) -> F:
    """Add the options that every command knows; given twice, the one after the command's name counts."""

    def keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
        options = ctx.ensure_object(Options)
        if value not in (None, False):
            setattr(options, str(param.name), value)

    for name, kwargs in reversed(
        (
            (
                "--config",
                {"metavar": "FILE", "help": "Configuration file [/etc/hamon/habeat.yml, then /etc/habeat/habeat.yml]."},
            ),
            ("--log", {"metavar": "FILE", "help": "Log file, one line an event."}),
            ("--state-dir", {"metavar": "DIR", "help": f"Where the journal lies [{STATE_DIR}]."}),
            ("--json", {"is_flag": True, "help": "Answer as JSON."}),
        )
    ):
        function = click.option(name, callback=keep, expose_value=False, is_eager=True, **kwargs)(function)
    return function


class Lazy(click.Group):
    """Loads the modules of all other commands only when one of them is asked for: `check` must be quick and small."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by its name."""
        if cmd_name not in self.commands:
            self._load()
        return super().get_command(ctx, cmd_name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        self._load()
        return super().list_commands(ctx)

    def _load(self) -> None:
        from habeat.cli import operator, quorum, setup, simulator  # noqa: F401, PLC0415  they add their commands to this group


@click.group(cls=Lazy, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@shared
@click.version_option(__version__, prog_name="habeat")
@click.pass_context
def habeat(ctx: click.Context) -> None:
    """Automatic failover for Carbonio: promote replicated mailboxes when a mailstore is dead, and only then.

    Without a command: the same as `habeat check`.

    Exit codes: 0 all well or handled, 1 a step failed, 2 bad usage or configuration, 3 cannot tell.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(check)


@habeat.command()
@shared
@click.pass_obj
def check(options: Options) -> None:
    """Run one cycle: observe, judge, decide and, if need be, act."""
    from habeat.act.cycle_lock import BusyError, CycleLock  # noqa: PLC0415  each command loads only what it needs
    from habeat.config.loader import find, load  # noqa: PLC0415
    from habeat.journal import Journal  # noqa: PLC0415
    from habeat.node import cycle_of  # noqa: PLC0415
    from habeat.report.log import Log  # noqa: PLC0415

    log = Log(Path(options.log) if options.log else None, quiet=options.json)
    state_dir = Path(options.state_dir)
    try:
        config = load(find(options.config))
        with CycleLock(state_dir) as lock, closing(Journal.open(state_dir)) as journal:
            ended = cycle_of(config, journal, lock.descriptor, log).run()
    except BusyError as error:
        log.say(Level.INFO, str(error))
        answer(options, {"exit": 0, "busy": str(error)})
        sys.exit(0)
    except Exception as error:
        log.write(Level.ERROR, str(error) if isinstance(error, HabeatError) else defect(error))
        raise
    answer(
        options,
        {
            "exit": ended.exit,
            "sight": ended.verdict.sight.value,
            "rule": ended.verdict.rule,
            "decisions": [
                {
                    "row": d.row,
                    "before": d.before.value,
                    "after": d.after.value,
                    "command": d.command.value,
                    "sentence": d.sentence,
                }
                for d in ended.decisions
            ],
        },
    )
    sys.exit(ended.exit)


def answer(options: Options, data: Any, words: str = "") -> None:
    """Print the data as JSON if that was asked for, or else the words."""
    if options.json:
        click.echo(json.dumps(data, ensure_ascii=False, indent=2))
    elif words:
        click.echo(words)


def main() -> None:
    """Run habeat, and turn every error into a sentence and an exit code."""
    try:
        habeat(standalone_mode=False, prog_name="habeat")
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.Abort:
        sys.exit(130)
    except ConfigError as error:
        for problem in error.problems:
            click.echo(f"habeat: {problem}", err=True)
        _fail({"exit": error.exit_code, "problems": [vars(problem) for problem in error.problems]})
    except HabeatError as error:
        click.echo(f"habeat: {error}", err=True)
        _fail({"exit": error.exit_code, "error": str(error)})
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:  # noqa: BLE001  the last line of defence: a sentence, never a traceback
        click.echo(f"habeat: {defect(error)}", err=True)
        sys.exit(1)


def _fail(told: dict[str, Any]) -> NoReturn:
    if "--json" in sys.argv:
        click.echo(json.dumps(told, ensure_ascii=False, indent=2))
    sys.exit(told["exit"])


def defect(error: Exception) -> str:
    """Return a sentence for an error that should never have come this far."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = f" ({Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno})" if place else ""
    what = f"{type(error).__name__}: {error}{where}"
    return f"a defect of habeat stopped it: {what}; please report this"
