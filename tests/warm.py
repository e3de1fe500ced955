"""Start habeat without starting Python: a server that has loaded it forks a process for each command that is asked of it.

A command is a process of its own as ever, which can be killed; what is saved is the third of a second that loading
takes. Run as a program this is the server; `Warm` is its client.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

from habeat.lab.sites import ENVIRONMENT, Checked, Lab

UNLOADABLE = ("habeat.__main__", "habeat.observe.vcenter")


class Warm:
    """The client: one command at a time; a context manager that leaves no server behind."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="habeat-warm-")
        self._server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
        )

    def close(self) -> None:
        """End the server."""
        self._server.communicate()
        self._folder.cleanup()

    def run(self, words: Sequence[str], *, die_at: int | None = None, names: Path | None = None) -> tuple[int, str]:
        """Run a habeat command; return its exit code and all it printed. With `die_at` it is as `mortal.py` says."""
        said = Path(self._folder.name) / "said"
        order = {"words": list(words), "said": str(said), "die_at": die_at, "names": str(names)}
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(order) + "\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline()), said.read_text(encoding="utf-8")


class WarmLab(Lab):
    """A lab whose commands are started by a warm server."""

    warm: Warm

    def run(self, *words: str) -> Checked:
        """Run a habeat command as the standby would."""
        begun = time.monotonic()
        code, said = self.warm.run([*self.argv(*words)[3:], "--log", str(self.log)])
        return Checked(code, said.strip(), time.monotonic() - begun)


def serve() -> None:
    """Answer each order on a line with the exit code of the process that carried it out."""
    import habeat

    for module in pkgutil.walk_packages(habeat.__path__, "habeat."):
        if module.name not in UNLOADABLE:
            importlib.import_module(module.name)
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            _obey(order)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        sys.stdout.write(f"{code}\n")
        sys.stdout.flush()


def _obey(order: dict[str, object]) -> NoReturn:
    """Be the command, and end as it would."""
    out = os.open(str(order["said"]), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, place in ((nothing, 0), (out, 1), (out, 2)):
        os.dup2(descriptor, place)
    os.closerange(3, 100)
    sys.argv = ["habeat", *map(str, order["words"])]  # type: ignore[call-overload]
    code: object = 1
    try:
        if order["die_at"] is not None:
            from mortal import arm

            arm(int(str(order["die_at"])), Path(str(order["names"])))
        from habeat.cli import main

        main()
        code = 0
    except SystemExit as stop:
        code = stop.code
    except BaseException:  # noqa: BLE001  as the interpreter would
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)


if __name__ == "__main__":
    serve()
