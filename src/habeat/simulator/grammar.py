"""What may stand in a schedule: the words of each thing that can happen, of each setting, and of what is expected."""

from __future__ import annotations

import re

from habeat.simulator.points import COMMANDS, POINTS

NUMBER = r"-?\d+(\.\d+)?"
SOME = r"\d+(\.\d+)?"
HOST = r"(mbox[123]|proxy[12]|svc[1-5])"
PLACE = rf"({HOST}|primary|secondary|third|router|\*)"
SWITCH = "(on|off)"
POINT = f"({'|'.join(map(re.escape, POINTS))})"
STATE = "(standby|suspect|failing_over|active|failing_back|awaiting_failback)"
WITNESSES = "(consul|hetrix|vcenter)"
PARTS = {
    "NUMBER": NUMBER,
    "SECONDS": SOME,
    "PERCENT": SOME,
    "TIMES": r"\d+",
    "HOST": HOST,
    "PLACE": PLACE,
    "SWITCH": SWITCH,
} | {
    "POINT": POINT,
    "COMMAND": f"({'|'.join(COMMANDS)})",
    "STATE": STATE,
}

FAULTS: dict[str, str] = {
    "kill": "HOST( lost)?",
    "boot": "HOST",
    "reboot": "HOST",
    "cut": "PLACE PLACE",
    "one-way": "PLACE PLACE",
    "lossy": "PLACE PLACE PERCENT",
    "slow": "PLACE PLACE SECONDS",
    "mend": "",
    "unplug": "HOST",
    "service": "HOST SWITCH",
    "agent": "HOST SWITCH",
    "stale": "HOST SECONDS",
    "broken": "HOST TIMES",
    "maintenance": "HOST SWITCH",
    "consul": "HOST (denied|filtered|slow|well)",
    "hetrix": "(paused|limited|garbage|maintenance|silent|well)",
    "vcenter": "(silent|refused|stale|well)",
    "carbonio": "COMMAND (hang|garbage|unreachable|exit|slow|part|none)( TIMES)?",
    "account": "(HOST)?",
    "unavailable": "TIMES",
    "crash": "HOST( POINT)?",
    "freeze": "HOST SECONDS( POINT)?",
    "jump": "HOST NUMBER",
    "drift": "HOST NUMBER",
    "pause": "HOST SECONDS",
    "resume": "HOST",
    "ack": "HOST",
    "hand": "HOST (check|rejoin|allow|start|stop|promote|take|tell|untell|give)",
    "disk": "HOST (full|free)",
    "route": "HOST (lost|dead|alive|(take|tell|untell|give)( TIMES)?)",
}
SETTINGS: dict[str, str] = {
    "interval": "[1-9][0-9]*",
    "confirmations": "[1-9]",
    "lasting": "TIMES",
    "required": "[123]",
    "witnesses": f"{WITNESSES}(,{WITNESSES})*",
    "standbys": "[12]",
    "survivors": "[12]",
    "accounts": "TIMES",
    "election": "SECONDS",
    "lag": "SECONDS",
    "cooldown": "[0-9]+[smh]",
}
EXPECTED = "untouched|promoted|rebuilt|announced HOST|state HOST STATE"


def fault(what: str, args: str) -> str | None:
    """Return what was expected in place of a fault, or None where it makes sense."""
    if what not in FAULTS:
        return f"expected one of {', '.join(FAULTS)}"
    return _expected(FAULTS[what], args, what)


def setting(name: str, value: str) -> str | None:
    """Return what was expected in place of a setting's value, or None where it makes sense."""
    return _expected(SETTINGS.get(name, "SWITCH"), value, f"set {name}")


def wish(text: str) -> str | None:
    """Return what was expected in place of what a schedule expects, or None where it makes sense."""
    return _expected(EXPECTED, text, "expect")


def _expected(form: str, text: str, word: str) -> str | None:
    pattern = re.sub(r"[A-Z]+", lambda part: PARTS[part[0]], form)
    return None if re.fullmatch(pattern, text) else f"expected `{f'{word} {form}'.strip()}`"
