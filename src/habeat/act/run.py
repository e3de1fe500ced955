"""Run commands: the only place in habeat that starts a process.

A command is an argument list and never meets a shell. It runs in a process group of its own with a time-out, after
which the whole group is ended. It inherits one file descriptor, that of `commands.lock` (see `act.cycle_lock`), so that
a command that outlives a killed habeat is noticed, and ended, by the next one.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import IO

from habeat.errors import CommandError, CommandMissingError, CommandTimeoutError

GRACE = 2.0
LARGEST_ANSWER = 512 * 1024 * 1024
QUOTED = 300


@dataclass(frozen=True)
class Completed:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Runner:
    """Runs commands as one user.

    `user` is a user name, or empty for the user that habeat runs as. `keep` is the descriptor that commands inherit
    (see `act.cycle_lock`). `secrets` never appear in an error or in what a command complained.
    """

    user: str = ""
    keep: int | None = None
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def run(self, argv: Sequence[str], timeout: float, *, stdin: str = "") -> Completed:
        """Run a command to its end and return how it ended, whatever its exit code.

        Raises CommandMissingError if it cannot be started, CommandTimeoutError if it had to be ended, CommandError
        if it printed more than can be read.
        """
        deadline = time.monotonic() + timeout
        try:
            return self._run(argv, timeout, deadline, stdin)
        except OSError as error:
            raise CommandError(f"`{argv[0]}` cannot be run: {error.strerror or error}") from error

    def _run(self, argv: Sequence[str], timeout: float, deadline: float, stdin: str) -> Completed:
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, tempfile.TemporaryFile() as inp:
            inp.write(stdin.encode())
            inp.seek(0)
            process = self._start(argv, inp, out, err)
            try:
                code = self._wait(process, (out, err), deadline)
            finally:
                _end_group(process)
            if code is None:
                said = _mask(_tail(err) or _tail(out), self.secrets)
                raise CommandTimeoutError(
                    f"`{_mask(shown(argv), self.secrets)}` was still running after {timeout:g} s and was ended"
                    + (f"; it said: {said}" if said else "")
                )
            return Completed(code, _read(out), _mask(_read(err), self.secrets))

    def show(self, descriptor: int, mode: int) -> None:
        """Let the commands' user see an open file or folder, which stays ours and is not reached by name."""
        _, group, _, _ = _identity(self.user)
        if group is not None:
            os.fchown(descriptor, -1, group)
        os.fchmod(descriptor, mode)

    def _start(self, argv: Sequence[str], inp: IO[bytes], out: IO[bytes], err: IO[bytes]) -> subprocess.Popen[bytes]:
        user, group, groups, home = _identity(self.user)
        try:
            return subprocess.Popen(
                list(argv),
                stdin=inp,
                stdout=out,
                stderr=err,
                cwd="/",
                env=_environment(self.user, home),
                user=user,
                group=group,
                extra_groups=groups,
                start_new_session=True,
                pass_fds=() if self.keep is None else (self.keep,),
            )
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise CommandMissingError(f"`{argv[0]}` cannot be started: {reason}") from error

    def _wait(self, process: subprocess.Popen[bytes], outputs: Sequence[IO[bytes]], deadline: float) -> int | None:
        code = None
        while code is None and time.monotonic() < deadline:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(timeout=max(0.0, min(1.0, deadline - time.monotonic())))
            if any(os.fstat(output.fileno()).st_size > LARGEST_ANSWER for output in outputs):
                raise CommandError(f"a command printed more than {LARGEST_ANSWER} bytes and was ended")
        return code


def shown(argv: Sequence[str]) -> str:
    """Return a command as a person would type it, on one line and not too long."""
    words = (word if word and word.isprintable() and " " not in word else repr(word) for word in argv)
    text = " ".join(words)
    return text if len(text) <= QUOTED else text[:QUOTED] + "…"


def _identity(name: str) -> tuple[int | None, int | None, list[int] | None, str]:
    """Return uid, gid, groups and home to switch to, or Nones where no switch is needed."""
    own = pwd.getpwuid(os.geteuid())
    if not name or name == own.pw_name:
        return None, None, None, own.pw_dir
    try:
        entry = pwd.getpwnam(name)
    except KeyError as error:
        raise CommandMissingError(f"the user {name} does not exist: is Carbonio installed on this machine?") from error
    if os.geteuid() != 0:
        raise CommandMissingError(f"only root can run commands as {name}, and this is {own.pw_name}")
    return entry.pw_uid, entry.pw_gid, os.getgrouplist(name, entry.pw_gid), entry.pw_dir


def _environment(user: str, home: str) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
        "HOME": home,
        "USER": user or "root",
        "LOGNAME": user or "root",
        "LANG": "C.UTF-8",
        "TERM": "dumb",
    }


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End what is left of the command's process group: politely, then surely."""
    for sign, patience in ((signal.SIGTERM, GRACE), (signal.SIGKILL, GRACE)):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            break
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and _alive(process):
            time.sleep(0.01)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=GRACE)


def _alive(process: subprocess.Popen[bytes]) -> bool:
    process.poll()
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def _read(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read(LARGEST_ANSWER).decode(errors="replace")


def _tail(stream: IO[bytes]) -> str:
    stream.seek(0, os.SEEK_END)
    stream.seek(max(0, stream.tell() - QUOTED))
    return " ".join(stream.read().decode(errors="replace").split())


def _mask(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, "***") if secret else text
    return text
