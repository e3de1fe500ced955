"""The command `simulate`: the fault simulator."""

from __future__ import annotations

import sys
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any

import click

from habeat.cli import Options, answer, habeat, shared
from habeat.simulator.engine import ALL, Found, Tally, many, play, smallest
from habeat.simulator.generate import generate
from habeat.simulator.schedule import parse

USUAL, MOST = 1000, 100_000_000


@habeat.command()
@shared
@click.option("--runs", type=click.IntRange(1), help="How many schedules.  [default: 1000, or as --minutes says]")
@click.option("--seed", default="0", show_default=True, help="Which ones; SEED:NUMBER, as it is printed, is one alone.")
@click.option("--minutes", type=click.FloatRange(0, 1e6, min_open=True), help="Stop after so long.")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.pass_obj
def simulate(options: Options, *, runs: int | None, seed: str, minutes: float | None, files: tuple[Path, ...]) -> None:
    """Prove the invariants: run habeat in a made-up world under seeded faults, or the schedules in FILES.

    Nothing real is touched. Exit code 1 where an invariant does not hold: the schedule, made as small as it can be, is
    printed with the timeline; written to a file, it can be run again.
    """
    name, alone, number = seed.partition(":")
    if alone and not (name and number.isdecimal()):
        raise click.UsageError(f"--seed {seed}: expected SEED or SEED:NUMBER")
    if minutes is not None and not isfinite(minutes):
        raise click.UsageError("--minutes: expected a number")
    if (files or alone) and (runs or minutes):
        raise click.UsageError("--runs and --minutes are for schedules by a seed, not for one alone or from a file")
    if files or alone:
        schedules = [parse(file) for file in files] or [generate(seed)]
        tally = Tally()
        for schedule in schedules:
            tally.add(play(schedule, seed if alone and not files else ""))
    else:
        tally = _many(seed, runs or (MOST if minutes else USUAL), minutes)
    broken = [found if files else smallest(found) for found in tally.broken[:1]]
    told = _told(tally)
    lines = [_words(told), *(_violation(found) for found in broken)]
    answer(options, {**told, "violations": [_data(found) for found in broken]}, "\n".join(lines))
    sys.exit(1 if tally.broken else 0)


def _many(seed: str, runs: int, minutes: float | None) -> Tally:
    tally = Tally()
    with click.progressbar(length=runs, label="schedules", file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
        for tally in many(seed, runs, minutes):
            bar.update(tally.runs - bar.pos)
    return tally


def _told(tally: Tally) -> dict[str, Any]:
    missing = tally.missing
    return {
        "schedules": tally.runs,
        "faults": tally.faults,
        "seconds": round(tally.took, 1),
        "a_second": round(tally.runs / tally.took, 1) if tally.took else None,
        "reached": {kind: len(ALL[kind]) - len(names) for kind, names in missing.items()},
        "missing": missing,
        "broken": len(tally.broken),
    }


def _words(told: dict[str, Any]) -> str:
    speed = f" in {told['seconds']:g} s, {told['a_second']:g} a second" if told["a_second"] else ""
    lines = [f"{told['schedules']} schedules with {told['faults']} faults{speed}"]
    for kind, missing in told["missing"].items():
        named = f"; not: {', '.join(missing)}" if missing else ""
        lines.append(f"{told['reached'][kind]} of {len(ALL[kind])} {kind} reached{named}")
    lines.append(f"{told['broken']} violations" if told["broken"] else "every invariant holds")
    return "\n".join(lines)


def _violation(found: Found) -> str:
    seed = f"seed {found.seed}\n\n" if found.seed else ""
    schedule = replace(found.schedule, about=found.schedule.about or found.why)
    return f"\n{found.why}\n{seed}{schedule}\n" + "\n".join(found.timeline)


def _data(found: Found) -> dict[str, Any]:
    return {
        "invariant": found.invariant,
        "why": found.why,
        "seed": found.seed,
        "schedule": str(found.schedule),
        "timeline": list(found.timeline),
    }
