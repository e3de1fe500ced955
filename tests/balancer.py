"""A lab whose node has another role: its service is moved by a little tool that can fail in every way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from habeat.config.model import NODES
from habeat.lab.sites import PRIMARY, STANDBY, Lab

ROLES = ("proxyserver", "mta", "collaboration", "video")
TOOL = """#!/bin/sh
# lb WORD: does what WORD says, unless the file lb.WORD tells how it goes wrong
folder=$(dirname "$0")
echo "$1" >> "$folder/lb.log"
how=$(cat "$folder/lb.$1" 2>/dev/null)
case "$how" in
die) rm "$folder/lb.$1"; kill -9 $PPID; exit 0 ;;
fail) echo "the balancer is broken" >&2; exit 4 ;;
hang) sleep 60 ;;
lie) exit 0 ;;
esac
case "$1" in
take) touch "$folder/here" ;;
give) rm -f "$folder/here" ;;
esac
if [ "$how" = "die after" ]; then rm "$folder/lb.$1"; kill -9 $PPID; fi
"""


class Balancer:
    """The tool of one lab, what it was asked, and what the checks find."""

    def __init__(self, lab: Lab, role: str = "mta", **changes: Any) -> None:
        self.lab = lab
        self.role = role
        self.tool = lab.folder / "lb"
        self.here, self.other = lab.folder / "here", lab.folder / "other"
        self.tool.write_text(TOOL, encoding="utf-8")
        self.tool.chmod(0o755)
        self.other.touch()
        self.configure(**changes)

    def configure(
        self,
        *,
        local: dict[str, Any] | None = None,
        policy: dict[str, Any] | None = None,
        checked: bool = True,
        **switch: Any,
    ) -> None:
        """Write the configuration; what is given changes what is plain, and not `checked` leaves the checks out."""
        keys = NODES[self.role]
        checks = {"verify": [f"test -e {self.here}"], "other_site": [f"test -e {self.other}"]} if checked else {}
        plain = {
            "activate": [f"{self.tool} ready", f"{self.tool} take", f"{self.tool} tell"],
            "deactivate": [f"{self.tool} untell", f"{self.tool} give"],
            **checks,
            "timeout": "20s",
            "settle": "500ms",
        }
        enabled = {"proxy_enable_activate": True, "proxy_enable_deactivate": True}
        self.lab.configure(
            {
                "local": {
                    "role": self.role,
                    keys.switch: "lb",
                    **(enabled if self.role == "proxyserver" else {}),
                    **(local or {}),
                },
                "primary": {keys.address: self.lab.addresses[PRIMARY], keys.name: PRIMARY},
                "secondary": {keys.address: self.lab.addresses[STANDBY], keys.switch: {"lb": {**plain, **switch}}},
                "policy": {"confirmation_time": "1ms", **(policy or {})},
                "probes": {"count": 1, "timeout": "100ms"},
            }
        )

    def kill(self) -> None:
        """Let the other site's node die, and its announcement with it."""
        self.lab.kill()
        self.other.unlink(missing_ok=True)

    def restore(self) -> None:
        """Let it come back, and announce again."""
        self.lab.restore()
        self.other.touch()

    def spoil(self, word: str, how: str | None) -> None:
        """Let one of the tool's commands `fail`, `hang` or `lie`, kill habeat (`die`, `die after`), or mend it with None."""
        fault = Path(f"{self.tool}.{word}")
        fault.unlink(missing_ok=True)
        if how:
            fault.write_text(how, encoding="utf-8")

    def asked(self) -> str:
        """Return the words that the tool was called with, in order."""
        log = Path(f"{self.tool}.log")
        return " ".join(log.read_text(encoding="utf-8").split()) if log.exists() else ""

    def take_over(self) -> None:
        """Let the node die and be taken over."""
        self.kill()
        assert 0 == self.lab.check().code
        assert 0 == self.lab.check().code
        assert self.here.exists()
