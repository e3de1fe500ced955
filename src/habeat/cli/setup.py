"""Commands that look at the configuration and at all that it names, and the lab."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from habeat.cli import Options, answer, habeat, shared
from habeat.config.loader import find, load
from habeat.config.reference import effective, plain, reference, schema
from habeat.model import Health
from habeat.report.text import finding_lines


@habeat.group()
def config() -> None:
    """Look at the configuration."""


@config.command("show")
@shared
@click.pass_obj
def config_show(options: Options) -> None:
    """Print the configuration in force: defaults filled in, secrets hidden."""
    loaded = load(find(options.config))
    answer(options, plain(loaded), effective(loaded).rstrip())


@config.command("check")
@shared
@click.pass_obj
def config_check(options: Options) -> None:
    """Say everything that is wrong with the configuration, or that it is good."""
    path = find(options.config)
    notices = load(path).notices
    words = "\n".join([*(f"notice: {notice}" for notice in notices), f"{path} is good"])
    answer(options, {"file": str(path), "ok": True, "notices": notices}, words)


@config.command("schema")
@click.option("--markdown", is_flag=True, help="As the reference page of the documentation.")
def config_schema(*, markdown: bool) -> None:
    """Print the JSON schema of the configuration, for editors and checkers."""
    click.echo(reference() if markdown else json.dumps(schema(), indent=2), nl=not markdown)


@habeat.command()
@shared
@click.pass_obj
def doctor(options: Options) -> None:
    """Try for real everything that a failover depends on, and say how to mend what is not well; changes nothing.

    Exit codes: 0 nothing wrong (perhaps warnings), 1 something is wrong, 2 bad configuration.
    """
    from habeat.doctor import examine  # noqa: PLC0415  it loads every adapter there is

    loaded = load(find(options.config))
    findings = []
    for finding in examine(loaded, Path(options.state_dir)):
        findings.append(finding)
        if not options.json:
            click.echo("\n".join(finding_lines(finding)))
    answer(options, [{**asdict(finding), "health": finding.health.value} for finding in findings])
    sys.exit(1 if any(finding.health is Health.ERROR for finding in findings) else 0)


@habeat.command()
@click.option("--accounts", default=200, show_default=True, type=click.IntRange(1), help="Mailboxes on the primary.")
@click.option("--interactive", is_flag=True, help="Kill, cut and restore things yourself, and watch.")
def lab(accounts: int, *, interactive: bool) -> None:
    """Fail a mailstore over in a small world of its own: no root, no network, nothing of yours is touched."""
    from habeat.lab.show import play, show  # noqa: PLC0415  only this command needs it

    sys.exit(play(accounts) if interactive else show(accounts))
