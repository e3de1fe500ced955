"""A decision of the past, made again offline from what the journal kept, under another policy."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from habeat.config.model import WITNESS_NAMES, Config
from habeat.errors import UsageError
from habeat.grounds import Grounds, conclude, grounds_from_json
from habeat.journal import Event
from habeat.model import Snapshot, Vote
from habeat.node import policy_of, services_of
from habeat.report.log import one_line
from habeat.report.text import when

RECORDED = ("sight", "rule", "row", "after", "sentence")
"""What the journal keeps of a decision itself, and a replay must find again."""


def replay_data(event: Event, config: Config) -> dict[str, Any]:
    """Return what was decided, what this habeat decides on the same grounds, and what it would under `config`.

    Raises UsageError for an event that has no grounds: one that tells how a plan went.
    """
    if event.evidence is None:
        raise UsageError(
            f"event {event.id} has no evidence to judge: it tells how a plan went; replay the decision before it"
        )
    if event.circumstances is None:
        raise UsageError(
            f"event {event.id} was written by an earlier habeat, which did not keep all that it decided on"
        )
    grounds = grounds_from_json({"snapshot": event.evidence, "facts": event.circumstances})
    other = _under(grounds, config)
    then, now = grounds.facts.policy, other.facts.policy
    recorded, again = {key: getattr(event, key) for key in RECORDED}, _decided(grounds)
    return {
        "event": event.id,
        "at": event.last_at,
        "recorded": recorded,
        "again": again,
        "reproduced": recorded == {key: again[key] for key in RECORDED},
        "file": str(config.path),
        "policy": {key: [was, asdict(now)[key]] for key, was in asdict(then).items() if was != asdict(now)[key]},
        "witnesses": _witness_changes(grounds.snapshot, other.snapshot),
        "not_asked": _not_asked(grounds.snapshot, config),
        "under": _decided(other),
    }


def _under(grounds: Grounds, config: Config) -> Grounds:
    """Return the grounds with another configuration's policy, and its witnesses where they stand there."""
    sites = {WITNESS_NAMES[provider]: getattr(config.witnesses.site, provider) for provider in config.providers}

    def placed(votes: tuple[Vote, ...]) -> tuple[Vote, ...]:
        return tuple(replace(vote, site=sites[vote.witness]) for vote in votes if vote.witness in sites)

    seen = grounds.snapshot
    wanted = {service.address for service in services_of(config, seen.target)}
    services = tuple(probe for probe in seen.services if probe.address in wanted)
    seen = replace(
        seen,
        votes=placed(seen.votes),
        service_votes=placed(seen.service_votes),
        gateways=tuple(probe for probe in seen.gateways if probe.address in config.policy.gateways),
        services=services,
        served=replace(seen, services=services).asked_services if seen.served == seen.asked_services else seen.served,
    )
    return Grounds(seen, replace(grounds.facts, policy=policy_of(config)))


def _decided(grounds: Grounds) -> dict[str, Any]:
    verdict, decision = conclude(grounds)
    return {
        "sight": verdict.sight.value,
        "rule": verdict.rule,
        "row": decision.row,
        "after": decision.after.value,
        "command": decision.command.value,
        "sentence": decision.sentence,
    }


def _witness_changes(before: Snapshot, after: Snapshot) -> list[str]:
    then = {vote.witness: vote.site for vote in (*before.votes, *before.service_votes)}
    now = {vote.witness: vote.site for vote in (*after.votes, *after.service_votes)}
    changes = [f"{name} is not heard" for name in then if name not in now]
    changes += [f"{probe.address} is not probed" for probe in before.services if probe not in after.services]
    return changes + [
        f"{name} stands in {now[name] or 'neither site'}, not in {site or 'neither'}"
        for name, site in then.items()
        if name in now and now[name] != site
    ]


def _not_asked(seen: Snapshot, config: Config) -> list[str]:
    """Return what that configuration would have asked and nobody asked then, so that no replay can know the answer."""
    target = seen.target
    heard = {*seen.unasked, *(vote.witness for vote in seen.votes)}
    asked = heard | {probe.address for probe in (*seen.gateways, *seen.services)}
    wanted = [WITNESS_NAMES[provider] for provider in config.providers]
    wanted += [*config.policy.gateways, *(service.address for service in services_of(config, target))]
    return [name for name in wanted if name not in asked]


def replay_lines(data: dict[str, Any]) -> list[str]:
    """Return the replay for a person."""
    lines = [f"event #{data['event']} of {when(data['at'])}", f"recorded     {_line(data['recorded'])}"]
    if not data["reproduced"]:
        lines.append(f"this habeat  {_line(data['again'])} (the rules have changed since)")
    differences = [f"{key} {was} -> {now}" for key, (was, now) in data["policy"].items()] + data["witnesses"]
    lines.append(f"policy       {data['file']}: {', '.join(differences) or 'the same as then'}")
    if data["not_asked"]:
        lines.append(
            f"not known    what these would have said, who were not asked then: {', '.join(data['not_asked'])}"
        )
    same = data["under"] == data["again"]
    lines.append("now          the same" if same else f"now          {_line(data['under'])}")
    return lines


def _line(decided: dict[str, Any]) -> str:
    return (
        f"{decided['sight']} by rule {decided['rule']}, row {decided['row']}, then {decided['after']}: "
        f"{one_line(decided['sentence'])}"
    )
