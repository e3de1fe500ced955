"""Commands for the person on duty: what is, what was and why, and the ways to stop and to allow."""

from __future__ import annotations

import os
import pwd
import socket
import sys
import time
from contextlib import closing
from pathlib import Path

import click

from habeat.cli import Options, answer, habeat, shared
from habeat.config.loader import duration, find, load
from habeat.errors import UsageError
from habeat.journal import Event, Journal, kept
from habeat.machine import span
from habeat.model import Pause, sound
from habeat.node import target_of
from habeat.report import text
from habeat.report.replay import replay_data, replay_lines


def _open(options: Options, *, create: bool = False) -> Journal:
    return Journal.open(Path(options.state_dir), create=create)


def _who() -> str:
    return os.environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name


@habeat.command()
@shared
@click.option("--watch", is_flag=True, help="Show it again every two seconds.")
@click.pass_obj
def status(options: Options, *, watch: bool) -> None:
    """Show what is watched, how it stands, on what evidence, and the last failover."""
    config = load(find(options.config))
    target = target_of(config)
    here = f"{config.called or socket.gethostname()} ({config.local.whoami} site)"
    while True:
        if kept(Path(options.state_dir)):
            with closing(_open(options)) as journal:
                data = text.status_data(journal, target, here, time.time())
        else:
            data = text.no_status(target, here)
        if watch:
            click.clear()
        answer(options, data, text.status_text(data, time.time()))
        if not watch:
            return
        time.sleep(2)


@habeat.command()
@shared
@click.argument("event", required=False, type=int)
@click.option("--failover", type=int, help="Explain this failover instead, with every account it could not promote.")
@click.option("--replay", metavar="EVENT", type=int, help="Judge that event's evidence again, under today's policy.")
@click.option("--policy", metavar="FILE", help="With --replay: under the policy of this configuration file instead.")
@click.pass_obj
def explain(options: Options, event: int | None, failover: int | None, replay: int | None, policy: str | None) -> None:
    """Tell why habeat did, or did not, act: the newest decision, or the one with number EVENT."""
    if policy is not None and replay is None:
        raise UsageError("--policy goes with --replay EVENT")
    with closing(_open(options)) as journal:
        if replay is not None:
            data = replay_data(_event(journal, replay), load(find(policy or options.config)))
            answer(options, data, "\n".join(replay_lines(data)))
            return
        if failover is not None:
            data = text.failover_data(journal, journal.failover(failover))
            answer(options, data, "\n".join(text.failover_lines(data)))
            return
        found = _event(journal, event)
        answer(options, text.event_data(found), "\n".join(text.explain_lines(found)))


def _event(journal: Journal, event: int | None) -> Event:
    events = journal.events(event=event, limit=1)
    if not events:
        raise UsageError(
            f"there is no event {event} in the journal" if event is not None else "the journal has no events yet"
        )
    return events[0]


@habeat.command()
@shared
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="How many, newest last.")
@click.pass_obj
def history(options: Options, limit: int) -> None:
    """List the latest decisions, oldest first; equal ones in a row are told once."""
    with closing(_open(options)) as journal:
        events = journal.events(limit=limit)[::-1]
    answer(
        options, [text.event_data(event) for event in events], "\n".join(map(text.event_line, events)) or "nothing yet"
    )


@habeat.command()
@shared
@click.option("--for", "length", metavar="DURATION", help="For how long, such as 30m or 8h [until `habeat resume`].")
@click.option("--reason", required=True, help="Why, for whoever finds habeat paused.")
@click.option("--by", default=_who, help="Who pauses [the user at work].")
@click.pass_obj
def pause(options: Options, length: str | None, reason: str, by: str) -> None:
    """Forbid every action, now and between the steps of a running failover; observation goes on."""
    now = time.time()
    try:
        until = now + duration(length) if length else None
    except ValueError as error:
        raise UsageError(f"--for: {error}") from None
    with closing(_open(options, create=True)) as journal:
        journal.pause(Pause(sound(by), sound(reason), now, until))
    end = f"until {text.when(until)} ({span(until - now)})" if until else "until `habeat resume`"
    answer(options, {"paused": True, "until": until}, f"habeat is paused by {by} {end}: {reason}")


@habeat.command()
@shared
@click.pass_obj
def resume(options: Options) -> None:
    """End a pause."""
    with closing(_open(options)) as journal:
        ended = journal.resume(time.time())
    answer(options, {"paused": False, "was": ended}, "habeat acts again" if ended else "habeat was not paused")


@habeat.command()
@shared
@click.option("--reason", default="", help="What was found.")
@click.option("--by", default=_who, help="Who acknowledges [the user at work].")
@click.pass_obj
def ack(options: Options, reason: str, by: str) -> None:
    """Acknowledge the last failover: the next one may follow within the cooldown."""
    with closing(_open(options)) as journal:
        last = journal.last_failover()
        if last is None:
            answer(options, {"acknowledged": None}, "there was no failover, so there is nothing to acknowledge")
            sys.exit(0)
        journal.acknowledge(sound(by), sound(reason), time.time())
    answer(
        options,
        {"acknowledged": last},
        f"failover {last} is acknowledged by {by}; another may follow without waiting for the cooldown",
    )
