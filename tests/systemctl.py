"""A stand-in for systemctl where no systemd runs: one unit, kept by a pid file beside this program.

It knows `show --property=LoadState,ActiveState UNIT`, `show --property=ExecStartPre UNIT`, `start UNIT`, `stop UNIT` and `is-enabled UNIT` with systemd's words and exit codes. `unit.json` beside
it has `name`, `argv`, `log`, and `before`: commands that run before a start, as ExecStartPre does (one that fails
fails the start). With a file `broken` beside it the unit does not start, with `disabled` it is not enabled. Every call is a line in `calls`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
PID = FOLDER / "pid"


def running() -> int | None:
    """Return the pid of the unit's process, if it lives."""
    try:
        pid = int(PID.read_text())
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (OSError, ValueError):
        return None
    return None if stat.rpartition(")")[2].split()[0] == "Z" else pid


def start(unit: dict[str, object]) -> int:
    """Start the process, if what comes before it allows that."""
    if running() is not None:
        return 0
    for before in unit["before"]:  # type: ignore[attr-defined]
        done = subprocess.run(before, check=False, capture_output=True, text=True)
        with (FOLDER / "before.log").open("a") as log:
            log.write(done.stderr)
        if done.returncode != 0:
            sys.stderr.write(f"Job for {unit['name']} failed because the control process exited with error code.\n")
            return 1
    argv = ["false"] if (FOLDER / "broken").exists() else unit["argv"]
    with Path(str(unit["log"])).open("ab") as log_:
        process = subprocess.Popen(  # type: ignore[call-overload]
            argv, stdin=subprocess.DEVNULL, stdout=log_, stderr=log_, start_new_session=True
        )
    PID.write_text(str(process.pid))
    time.sleep(0.3)
    return 0


def stop() -> None:
    """End the process, and wait for its end."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + 1.5
        while (pid := running()) is not None and time.monotonic() < deadline:
            os.kill(pid, sign)
            time.sleep(0.05)
    PID.unlink(missing_ok=True)


def main() -> int:
    """Do what is asked."""
    unit = json.loads((FOLDER / "unit.json").read_text())
    verb, name = sys.argv[1], sys.argv[-1]
    with (FOLDER / "calls").open("a") as calls:
        calls.write(f"{verb} {name}\n")
    if sys.argv[2] == "--property=ExecStartPre":
        sys.stdout.write("".join(f"ExecStartPre={{ argv[]={' '.join(before)} }}\n" for before in unit["before"]))
        return 0
    if verb == "show":
        state = "active" if running() is not None else "failed" if PID.exists() else "inactive"
        loaded = name == unit["name"]
        sys.stdout.write(f"LoadState={'loaded' if loaded else 'not-found'}\nActiveState={state}\n")
        return 0
    if verb == "start":
        return start(unit)
    if verb == "stop":
        stop()
        return 0
    if verb == "is-enabled":
        sys.stdout.write("disabled\n" if (FOLDER / "disabled").exists() else "enabled\n")
        return int((FOLDER / "disabled").exists())
    sys.stderr.write(f"Unknown command verb {verb}.\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
