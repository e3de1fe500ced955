"""What a person reads on the terminal, and its JSON twin: status, events, failovers."""

from __future__ import annotations

import os
from dataclasses import asdict
from datetime import datetime
from typing import Any

import click

from habeat.journal import Event, FailoverRecord, Journal
from habeat.machine import span
from habeat.model import Finding, Memory, Snapshot, Target, snapshot_from_json
from habeat.report.log import items, one_line

STATE_WORDS = {
    "standby": "watching",
    "suspect": "seen dead, not yet in enough cycles",
    "failing_over": "a failover is under way",
    "active": "failed over; the other side is still gone",
    "failing_back": "the other side is back; undoing the failover",
    "awaiting_failback": "the other side is back; a person must move back what was taken over (`habeat ack` ends this)",
}
COLOURS = {
    "info": "green",
    "warning": "yellow",
    "error": "red",
    "good": "green",
    "up": "green",
    "down": "red",
    "unknown": "yellow",
}
NAMED = 20


def colour(text: str, name: str) -> str:
    """Return text in the colour of a level or a kind of evidence, unless NO_COLOR is set."""
    return text if os.environ.get("NO_COLOR") else click.style(text, fg=COLOURS.get(name))


def when(at: float | None) -> str:
    """Return a moment in the machine's own time zone."""
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S %z") if at else "never"


def no_status(target: Target, here: str) -> dict[str, Any]:
    """Return what `habeat status` shows before the first cycle."""
    return {"here": here, "target": asdict(target), "state": Memory().state, "last_cycle": None}


def status_data(journal: Journal, target: Target, here: str, now: float) -> dict[str, Any]:
    """Return all that `habeat status` shows, as plain JSON types."""
    memory = journal.memory(target)
    last = next((event for event in journal.events(target, limit=50) if event.evidence), None)
    pause = journal.paused(now)
    failover = failover_data(journal, journal.failover(memory.failover)) if memory.failover else None
    return {
        "here": here,
        "target": asdict(target),
        "state": memory.state,
        "downs": memory.downs,
        "last_cycle": memory.seen_at or None,
        "sight": last.sight if last else None,
        "sentence": last.sentence if last else None,
        "evidence": last.evidence if last else None,
        "pause": asdict(pause) if pause else None,
        "failover": failover,
    }


def failover_data(journal: Journal, record: FailoverRecord) -> dict[str, Any]:
    """Return one failover with its steps, counts and the accounts that were not promoted."""
    refused = [{"account": entry.name, "reason": entry.reason} for entry in journal.entries(record.id, "refused")]
    return {**asdict(record), "not_promoted": refused}


def status_text(data: dict[str, Any], now: float) -> str:
    """Return the status for a person."""
    target = data["target"]
    lines = [
        f"this node    {data['here']}",
        f"watches      {target['name']} ({target['address']}, {target['site']} site, role {target['role']})",
        f"state        {click.style(data['state'], bold=True)}: {STATE_WORDS[data['state']]}",
    ]
    if data["last_cycle"] is None:
        return "\n".join([*lines, "last cycle   none yet: run `habeat check`"])
    age = now - data["last_cycle"]
    lines.append(f"last cycle   {when(data['last_cycle'])} ({span(age)} ago)")
    if data["sentence"]:
        lines.append(f"it said      {one_line(data['sentence'])}")
    if data["pause"]:
        pause = data["pause"]
        end = when(pause["until"]) if pause["until"] else "`habeat resume`"
        lines.append(
            colour(f"PAUSED       by {one_line(pause['owner'] + ': ' + pause['reason'])} (until {end})", "warning")
        )
    if data["evidence"]:
        lines += ["evidence", *(f"  {line}" for line in evidence_lines(snapshot_from_json(data["evidence"])))]
    if data["failover"]:
        lines += ["last failover", *(f"  {line}" for line in failover_lines(data["failover"]))]
    return "\n".join(lines)


def evidence_lines(snapshot: Snapshot) -> list[str]:
    """Return the evidence, one question a line."""
    lines = []
    for who, found, note in items(snapshot):
        kind = type(found).__name__.lower()
        lines.append(f"{colour(f'{kind:8}', kind)} {who}: {one_line(found.reason)}{f' ({note})' if note else ''}")
    return lines


def failover_lines(data: dict[str, Any]) -> list[str]:
    """Return a failover: when, how it stands, its steps, and whom it left behind."""
    tally = data["tally"]
    ended = f"ended {when(data['ended_at'])}" if data["ended_at"] else "not finished"
    lines = [f"number {data['id']}, started {when(data['started_at'])}, {ended}, round {data['round']}"]
    if tally["total"]:
        lines.append(
            f"{tally['promoted']} of {tally['total']} accounts promoted, {tally['flushed']} flushed, "
            f"{tally['restarted']} with replicas restarted, {tally['refused']} not promoted"
        )
    for step in data["steps"]:
        took = f" in {span(step['outcome_at'] - step['intent_at'])}" if step["outcome_at"] else ""
        tries = f" (attempt {step['attempts']})" if step["attempts"] > 1 else ""
        lines.append(f"{step['name']:10} {step['outcome'] or 'begun'}{took}{tries}: {one_line(step['detail'] or '')}")
    lines += [
        f"not promoted: {one_line(item['account'])}: {one_line(item['reason'] or '')}" for item in data["not_promoted"]
    ]
    return lines


def event_data(event: Event) -> dict[str, Any]:
    """Return one event as plain JSON types."""
    return asdict(event)


def event_line(event: Event) -> str:
    """Return one event on one line."""
    again = f" ({event.times} times since {when(event.first_at)})" if event.times > 1 else ""
    level = colour(f"{event.level:7}", event.level)
    return f"#{event.id:<5} {when(event.last_at)}  {level} {one_line(event.sentence)}{again}"


def explain_lines(event: Event) -> list[str]:
    """Return why a decision was made: the sentence, the rules, the evidence."""
    lines = [
        event_line(event),
        f"state        {event.before} -> {event.after} (row {event.row} of docs/states.md)",
    ]
    if event.rule:
        lines.append(f"verdict      {event.sight} by rule {event.rule} of the judge")
    if event.evidence:
        lines += ["evidence", *(f"  {line}" for line in evidence_lines(snapshot_from_json(event.evidence)))]
    return lines


def finding_lines(finding: Finding) -> list[str]:
    """Return what the doctor found on one thing, with whom it concerns and how to mend it."""
    kind = finding.health.value
    lines = [f"{colour(f'{kind:8}', kind)} {finding.subject}: {one_line(finding.says)}"]
    lines += [f"{'':9}- {one_line(name)}" for name in finding.names[:NAMED]]
    if len(finding.names) > NAMED:
        lines.append(f"{'':9}- and {len(finding.names) - NAMED} more; --json names all")
    return lines + ([f"{'':9}to mend it: {finding.mend}"] if finding.mend else [])
