"""A systemd unit: stopped, started, and looked at; `systemctl` is taken from PATH."""

from __future__ import annotations

from dataclasses import dataclass

from habeat.act.run import Runner
from habeat.errors import CommandError

LOOK, STOP, START = 10.0, 90.0, 90.0
ENDED = ("inactive", "failed")


@dataclass(frozen=True)
class Unit:
    """One unit by its name, and how long its start may take. Every method raises CommandError with what went wrong."""

    runner: Runner
    name: str
    patience: float = START

    def state(self) -> str:
        """Return its ActiveState; raises CommandError where there is no such unit."""
        done = self.runner.run(["systemctl", "show", "--property=LoadState,ActiveState", self.name], LOOK)
        said = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
        if done.code != 0 or "ActiveState" not in said:
            raise CommandError(f"systemctl does not tell how {self.name} is: {_said(done.stderr or done.stdout)}")
        if said.get("LoadState") != "loaded":
            raise CommandError(f"the unit {self.name} is not there to be started ({said.get('LoadState')})")
        return said["ActiveState"]

    def runs(self) -> bool:
        """Tell whether it runs; one that systemd only tries to start, or whose start is held, does not."""
        return self.state() == "active"

    def before(self) -> str:
        """Return the commands that systemd runs before it, as one text."""
        return self.runner.run(["systemctl", "show", "--property=ExecStartPre", self.name], LOOK).stdout

    def at_boot(self) -> bool:
        """Tell whether it starts with the machine."""
        return self.runner.run(["systemctl", "is-enabled", self.name], LOOK).stdout.strip() == "enabled"

    def stop(self) -> None:
        """Stop it, and make sure that it is stopped."""
        done = self.runner.run(["systemctl", "stop", self.name], STOP)
        state = self.state()
        if state not in ENDED:
            raise CommandError(f"{self.name} is {state} after `systemctl stop`: {_said(done.stderr)}")

    def start(self) -> None:
        """Start it, and make sure that it runs."""
        done = self.runner.run(["systemctl", "start", self.name], self.patience)
        state = self.state()
        if done.code != 0 or state != "active":
            raise CommandError(
                f"{self.name} does not start (it is {state}): {_said(done.stderr)}; see `journalctl -u {self.name}`"
            )


def _said(text: str) -> str:
    return " ".join(text.split())[-300:] or "nothing was said"
