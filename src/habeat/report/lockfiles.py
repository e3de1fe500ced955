"""The lock files of the seed: an interface for other people's scripts, never habeat's memory.

They lie in /var/tmp, where everybody may write, so nothing there is trusted: a file is created with O_EXCL and
O_NOFOLLOW, and only one that is ours is ever removed. A stranger's file in that place is reported, and stops nothing.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class LockFiles:
    """The three files; a blank path means that the file is not used."""

    down: str = ""
    promotion: str = ""
    module: str = ""

    def sync(self, *, down: bool | None, promotion: bool, module: bool, sentence: str) -> list[str]:
        """Make the files say what is so (None: leave it as it was), and return a complaint for each that could not."""
        wanted = {self.down: down, self.promotion: promotion, self.module: module}
        complaints = (_set(path, wish, sentence) for path, wish in wanted.items() if path and wish is not None)
        return [complaint for complaint in complaints if complaint]


def _set(path: str, wanted: bool, sentence: str) -> str | None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return _create(path, sentence) if wanted else None
    except OSError as error:
        return f"the lock file {path} cannot be looked at: {error.strerror}"
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink != 1:
        return (
            f"the lock file {path} is not habeat's own (owner uid {found.st_uid}); it is left alone, and means nothing"
        )
    if wanted:
        return None
    try:
        Path(path).unlink()
    except OSError as error:
        return f"the lock file {path} cannot be removed: {error.strerror}"
    return None


def _create(path: str, sentence: str) -> str | None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    except OSError as error:
        return f"the lock file {path} cannot be made: {error.strerror}"
    try:
        os.fchmod(descriptor, 0o644)  # for whoever's script looks, whatever our umask
        os.write(descriptor, f"{sentence}\n".encode("utf-8", "backslashreplace"))
    except OSError as error:
        return f"the lock file {path} was made, but not written: {error.strerror}"
    finally:
        os.close(descriptor)
    return None
