"""What can go wrong: each adapter translates into these once, and only the command line turns them to words."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from enum import Enum


class HabeatError(Exception):
    """Something went wrong that a person must be told in one sentence."""

    exit_code = 1


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a configuration file; `line` counts from 1, and 0 means the whole file."""

    file: str
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}"


class ConfigError(HabeatError):
    """The configuration cannot be used; `problems` holds every reason found, not only the first."""

    exit_code = 2

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class UsageError(HabeatError):
    """The command line asks for something that cannot be."""

    exit_code = 2


class JournalError(HabeatError):
    """The durable state cannot be read or written, so nothing may be done."""


class CommandError(HabeatError):
    """A command could not be run, failed, or was ended because it took too long."""


class CommandMissingError(CommandError):
    """The program does not exist, or this process may not run it as the wanted user."""


class CommandTimeoutError(CommandError):
    """The program was still running at its time-out and was ended with all its children."""


class CarbonioError(HabeatError):
    """Carbonio answered, and the answer is not a success."""


class FolderError(HabeatError):
    """Consul's data folder is not as it must be, or cannot be read or written."""


LOCAL_FAULTS = {
    errno.ENETUNREACH,
    errno.ENETDOWN,
    errno.EADDRNOTAVAIL,
    errno.EACCES,
    errno.EPERM,
    errno.EINVAL,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOBUFS,
    errno.ENOMEM,
}
"""What the kernel says when a question never left this host, so that no answer says nothing of the other."""


class Fault(Enum):
    """Why an HTTP call got no usable answer."""

    OURS = "the question never left this host"
    SILENT = "nobody took the connection"
    REFUSED = "the connection was refused"
    UNTRUSTED = "there is somebody whose certificate is not trusted"
    MUTE = "there is somebody, who did not answer in time"
    BROKEN = "there is somebody, and what came is no answer"


class HttpError(HabeatError):
    """An HTTP call got no usable answer: refused, timed out, TLS not trusted, or not the expected format."""

    def __init__(self, message: str, fault: Fault = Fault.BROKEN) -> None:
        self.fault = fault
        super().__init__(message)


class HttpRefusedError(HttpError):
    """The server is well and refuses: who asks lacks the right."""


class LockLostError(HabeatError):
    """Another instance holds, or may hold, the right to act: the work stops before its next step."""
