"""The page on the state machine, generated from its table: `python -m habeat.report.states > docs/states.md`."""

from __future__ import annotations

import sys

from habeat.machine import RESULTS, TRANSITIONS, Guard, Row


def page() -> str:
    """Return docs/states.md."""
    lines = [
        "# States and transitions",
        "",
        "Generated from `src/habeat/machine.py` by `make docs`; a test fails if it differs. In a cell of several rows,",
        "the first whose condition holds is taken. `habeat explain` names the row of every decision.",
        "",
        "```mermaid",
        "stateDiagram-v2",
        "    [*] --> standby",
        *_arrows(),
        "```",
    ]
    for state, sights in TRANSITIONS.items():
        lines += [
            "",
            f"## {state.value}",
            "",
            "| row | seen | if | then | command | exit | what it says |",
            "|---|---|---|---|---|---|---|",
        ]
        lines += [_line(row, sight.value) for sight, rows in sights.items() for row in rows]
        lines += [_line(row, f"plan {result.value}") for result, row in RESULTS.get(state, {}).items()]
    return "\n".join(lines) + "\n"


def _arrows() -> list[str]:
    arrows: dict[tuple[str, str], list[str]] = {}
    for state, sights in TRANSITIONS.items():
        for row in (row for rows in sights.values() for row in rows):
            arrows.setdefault((state.value, row.then.value), []).append(row.id)
        for row in RESULTS.get(state, {}).values():
            arrows.setdefault((state.value, row.then.value), []).append(row.id)
    return [f"    {before} --> {after}: {' '.join(ids)}" for (before, after), ids in arrows.items() if before != after]


def _line(row: Row, seen: str) -> str:
    guard = "" if row.guard is Guard.ALWAYS else row.guard.value
    return f"| {row.id} | {seen} | {guard} | {row.then.value} | {row.command.value} | {row.exit} | {row.sentence} |"


if __name__ == "__main__":
    sys.stdout.write(page())
