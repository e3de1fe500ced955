"""What a decision was made on, and the decision made from it: live, or again from the journal. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from habeat.judge import judge
from habeat.machine import Circumstances, Decision, decide
from habeat.model import Memory, Pause, Policy, Snapshot, Verdict, known, snapshot_from_json, snapshot_to_json


@dataclass(frozen=True)
class Grounds:
    """All that a decision depends on: the evidence, and the circumstances, the policy among them."""

    snapshot: Snapshot
    facts: Circumstances


def conclude(grounds: Grounds) -> tuple[Verdict, Decision]:
    """Return the verdict and the decision that follow from the grounds; the same grounds give the same, always."""
    verdict = judge(grounds.snapshot, grounds.facts.policy)
    return verdict, decide(verdict, grounds.snapshot.target.name, grounds.facts)


def grounds_to_json(grounds: Grounds) -> dict[str, Any]:
    """Return the grounds as plain JSON types."""
    facts = vars(grounds.facts)
    parts = {part: dict(vars(facts[part])) for part in ("policy", "memory", "pause") if facts[part] is not None}
    return {"snapshot": snapshot_to_json(grounds.snapshot), "facts": {**facts, **parts}}


def grounds_from_json(data: dict[str, Any]) -> Grounds:
    """Return the grounds that `grounds_to_json` wrote; what another version of habeat kept besides is left out."""
    facts = data["facts"]
    pause = known(Pause, facts["pause"]) if facts["pause"] else None
    parts = {"policy": known(Policy, facts["policy"]), "memory": known(Memory, facts["memory"]), "pause": pause}
    return Grounds(snapshot_from_json(data["snapshot"]), known(Circumstances, {**facts, **parts}))
