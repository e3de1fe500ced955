"""What `habeat lab` shows: a failover from end to end, checked; or a lab to play with."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import closing

import click

from habeat.journal import Event, Journal
from habeat.lab import carbonio
from habeat.lab.sites import PRIMARY, STANDBY, Lab

PATIENCE = 45.0


def show(accounts: int) -> int:
    """Show healthy cycles, a death, the failover and the return; check the result, and return the exit code."""
    with Lab(accounts, consul=shutil.which("consul")) as lab:
        _title("The lab")
        click.echo(
            f"{accounts} mailboxes live on {PRIMARY} (primary site) and are replicated to {STANDBY} (secondary site)."
        )
        click.echo(f"habeat runs on {STANDBY}. Its witness is {lab.witness.title}.")
        click.echo("Carbonio is a simulator; habeat is the real one.")
        _title("All is well")
        for _ in range(2):
            _cycle(lab)
        _title(f"{PRIMARY} dies")
        killed = time.time()
        lab.kill()
        while time.time() - killed < PATIENCE and _state(lab) != "active":
            _cycle(lab, killed)
        _cycle(lab, killed)
        starts = lab.cli_starts()
        _timeline(lab, killed, starts)
        marks = (lab.folder / "promotion-appserver").exists(), (lab.folder / "down-appserver").exists()
        _title(f"{PRIMARY} comes back")
        lab.restore()
        time.sleep(1)
        for _ in range(2):
            _cycle(lab, killed)
        return _verdict(lab, accounts, all(marks))


def play(accounts: int) -> int:
    """Let a person kill, cut and restore things, and watch."""
    with Lab(accounts, consul=shutil.which("consul")) as lab:
        commands: dict[str, tuple[str, Callable[[], object]]] = {
            "check": ("run one cycle of habeat", lambda: _cycle(lab)),
            "status": ("show habeat's status", lambda: click.echo(lab.run("status").said)),
            "history": ("show habeat's decisions", lambda: click.echo(lab.run("history").said)),
            "explain": ("show why it decided as it did", lambda: click.echo(lab.run("explain").said)),
            "kill": (f"let {PRIMARY} die", lab.kill),
            "restore": (f"bring {PRIMARY} back", lab.restore),
            "cut": ("cut the path between the two mailstores only", lab.cut),
            "heal": ("mend that path", lab.heal),
            "pause": ("forbid habeat to act", lambda: click.echo(lab.run("pause", "--reason", "played with").said)),
            "resume": ("allow it again", lambda: click.echo(lab.run("resume").said)),
            "ack": ("acknowledge the last failover", lambda: click.echo(lab.run("ack").said)),
            "accounts": ("count the accounts of each mailstore", lambda: click.echo(_homes(lab))),
        }
        click.echo(f"The lab lies in {lab.folder}. Its witness is {lab.witness.title}.")
        while True:
            for name, (meaning, _) in commands.items():
                click.echo(f"  {name:9} {meaning}")
            click.echo("  quit      leave; the lab vanishes")
            while (word := click.prompt("lab", prompt_suffix="> ").strip()) in commands:
                commands[word][1]()
            if word in ("quit", "exit", "q"):
                return 0


def _title(text: str) -> None:
    click.echo("\n" + click.style(f"== {text}", bold=True))


def _cycle(lab: Lab, since: float | None = None) -> None:
    checked = lab.check()
    when = f"{time.time() - since:5.1f} s  " if since else ""
    for line in checked.said.splitlines():
        click.echo(f"  {when}{line}")
        when = " " * len(when)
    if checked.code:
        click.echo(click.style(f"  {when}(exit code {checked.code})", dim=True))


def _state(lab: Lab) -> str:
    events = _events(lab)
    return events[-1].after if events else "standby"


def _events(lab: Lab) -> list[Event]:
    with closing(Journal.open(lab.state_dir)) as journal:
        return journal.events(limit=1000)[::-1]


def _homes(lab: Lab) -> str:
    counts: dict[str, int] = {}
    for item in lab.accounts():
        counts[item["accountMailHost"]] = counts.get(item["accountMailHost"], 0) + 1
    return ", ".join(f"{host}: {count}" for host, count in sorted(counts.items()))


def _timeline(lab: Lab, killed: float, starts: int) -> None:
    _title("Timeline, in seconds after the death")
    downs = [event for event in _events(lab) if event.sight == "down"]
    confirmed = next((event for event in downs if event.after == "failing_over"), None)
    rows = [
        ("detected", downs[0].first_at) if downs else None,
        ("confirmed", confirmed.first_at) if confirmed else None,
    ]
    if confirmed is not None and confirmed.failover is not None:
        with closing(Journal.open(lab.state_dir)) as journal:
            record = journal.failover(confirmed.failover)
        rows += [(step.name, step.outcome_at) for step in record.steps if step.outcome_at]
        for name, at in filter(None, rows):
            click.echo(f"  {at - killed:6.2f}  {name}")
        tally = record.tally
        click.echo(
            f"  {tally.promoted} of {tally.total} accounts promoted, {tally.flushed} flushed, "
            f"{tally.restarted} with replicas restarted, with {starts} starts of Carbonio's commands"
        )


def _verdict(lab: Lab, accounts: int, marked: bool) -> int:
    _title("Does it hold?")
    there = lab.accounts()
    with closing(Journal.open(lab.state_dir)) as journal:
        last = journal.last_failover()
        record = journal.failover(last) if last is not None else None
    checks = {
        f"all {accounts} mailboxes live on {STANDBY}": all(item["accountMailHost"] == STANDBY for item in there),
        "each was promoted exactly once": all(item["promotions"] == 1 for item in there),
        f"each was flushed on {STANDBY}, after its promotion": all(item["flushes"].get(STANDBY) for item in there),
        f"nothing waited for {PRIMARY}'s cache while it was dead": not any(
            call["argv"][:3] == ["-s", PRIMARY, "fc"] for call in carbonio.calls(lab.world)
        ),
        "each had its replicas restarted once": all(item["restarts"] == 1 for item in there),
        "there was one failover, and every step of it is done": last == 1
        and record is not None
        and all(step.outcome == "done" for step in record.steps)
        and record.tally.promoted == accounts,
        "the lock files stood while it was dead, and are gone": marked
        and not any((lab.folder / name).exists() for name in ("down-appserver", "promotion-appserver")),
        "after the return the accounts stay, and a person is waited for": _state(lab) == "awaiting_failback",
    }
    for text, holds in checks.items():
        click.echo(f"  {click.style('yes', fg='green') if holds else click.style('NO ', fg='red')}  {text}")
    return 0 if all(checks.values()) else 1
