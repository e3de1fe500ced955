"""Looking at processes from tests."""

from __future__ import annotations

import time
from pathlib import Path


def gone(pid: int) -> bool:
    """Wait a little for a process to vanish, or to be a zombie that only its parent has not buried."""
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False
