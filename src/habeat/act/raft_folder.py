"""Consul's data folder: its raft folder copied, its peers.json written, and put back, while Consul is stopped.

The folder belongs to Consul's user, and this runs as root: nothing is reached by a link, only that user's own regular
files are read, and what is made is handed to that user when it is complete. What must survive a power loss is synced.
Layout: `node-id`, `raft/{raft.db,peers.info,snapshots/}`; peers.json is taken in, and removed, when Consul starts, and
ignored where `peers.info` is missing (Consul's outage recovery).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from habeat.errors import FolderError

RAFT, PEERS, DATABASE, NODE_ID = "raft", "peers.json", "raft.db", "node-id"
PART = f".{PEERS}.part"
SPARE = 16 * 1024 * 1024
CHUNK = 1024 * 1024


@dataclass(frozen=True)
class RaftFolder:
    """A data folder and the user that it belongs to. Every method raises FolderError with what is wrong."""

    path: Path
    user: str

    def node_id(self) -> str:
        """Return this server's id, as raft knows it."""
        with self._data() as data:
            return self._read(data, NODE_ID).strip()

    def examine(self) -> str:
        """Prove, without a change that stays, that the raft folder can be copied and written; return its size."""
        with self._data() as data, self._inside(data, RAFT) as raft:
            for name, why in (("peers.info", "without it Consul ignores peers.json"), (DATABASE, "it has raft's log")):
                if not self.has(f"{RAFT}/{name}"):
                    raise FolderError(f"{self.path}/{RAFT} has no {name}: {why}")
            size = self._size(raft)
            for place in (data, raft):
                self._try_to_write(place)
        free = shutil.disk_usage(self.path).free
        if free < size + SPARE:
            raise FolderError(
                f"{self.path} has {free >> 20} MiB left, and a copy of the raft folder needs {(size + SPARE) >> 20} MiB"
            )
        return f"{size >> 10} KiB of raft data can be copied"

    def busy(self) -> bool:
        """Tell whether a process has raft's database open (it holds a lock on it)."""
        with self._data() as data, self._inside(data, RAFT) as raft, contextlib.suppress(FileNotFoundError):
            database = os.open(DATABASE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=raft)
            try:
                self._regular(os.fstat(database), DATABASE)
                fcntl.flock(database, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            finally:
                os.close(database)
        return False

    def has(self, name: str) -> bool:
        """Tell whether there is a folder or file of that name beside (or, for `raft/...`, in) the raft folder."""
        parent, _, leaf = name.rpartition("/")
        with self._data() as data, contextlib.suppress(FileNotFoundError):
            with self._inside(data, parent) if parent else contextlib.nullcontext(data) as folder:
                os.stat(leaf, dir_fd=folder, follow_symlinks=False)
            return True
        return False

    def copy(self, source: str, target: str) -> None:
        """Copy a folder beside itself, durably, and complete or not at all; one that is there is left as it is."""
        if self.has(target):
            return
        part = f"{target}.part"
        with self._data() as data:
            self._remove(part)
            try:
                with self._inside(data, source) as found:
                    self._copy(found, data, part)
                os.rename(part, target, src_dir_fd=data, dst_dir_fd=data)
                os.fsync(data)
            except BaseException:
                self._remove(part)
                raise

    def set_aside(self, target: str) -> None:
        """Give the raft folder another name, durably: Consul begins with none."""
        with self._data() as data, self._inside(data, RAFT):
            os.rename(RAFT, target, src_dir_fd=data, dst_dir_fd=data)
            os.fsync(data)

    def restore(self, backup: str, aside: str) -> None:
        """Put a copy of the backup in the raft folder's place; can be repeated after it was cut off anywhere."""
        fresh = f"{backup}.restored"
        if not self.has(aside):
            self.copy(backup, fresh)
            if self.has(RAFT):
                self.set_aside(aside)
        if self.has(fresh) and not self.has(RAFT):
            with self._data() as data:
                os.rename(fresh, RAFT, src_dir_fd=data, dst_dir_fd=data)
                os.fsync(data)

    def write_peers(self, text: str) -> None:
        """Write peers.json, durably, with its owner and mode right before it has its name."""
        with self._data() as data, self._inside(data, RAFT) as raft:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(PART, dir_fd=raft)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            file = os.open(PART, flags, 0o600, dir_fd=raft)
            try:
                _write(file, text.encode())
                self._hand_over(file, 0o600)
                os.fsync(file)
                os.rename(PART, PEERS, src_dir_fd=raft, dst_dir_fd=raft)
            except BaseException:
                os.unlink(PART, dir_fd=raft)
                raise
            finally:
                os.close(file)
            os.fsync(raft)

    def remove_peers(self) -> None:
        """Remove peers.json, where it is."""
        with self._data() as data, self._inside(data, RAFT) as raft, contextlib.suppress(FileNotFoundError):
            os.unlink(PEERS, dir_fd=raft)
            os.fsync(raft)

    # -- plumbing

    @contextlib.contextmanager
    def _data(self) -> Iterator[int]:
        """Give the data folder opened; every trouble inside is told as a FolderError."""
        try:
            folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                if os.fstat(folder).st_uid:
                    self._owned(folder, "the data folder")
                yield folder
            finally:
                os.close(folder)
        except (OSError, UnicodeError) as error:
            what = getattr(error, "strerror", None) or str(error)
            where = getattr(error, "filename", None)
            raise FolderError(
                f"{self.path}: {f'{where}: ' if where not in (None, str(self.path)) else ''}{what}"
            ) from error

    @contextlib.contextmanager
    def _inside(self, folder: int, name: str) -> Iterator[int]:
        inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        try:
            self._owned(inner, name)
            yield inner
        finally:
            os.close(inner)

    def _owned(self, descriptor: int, name: str) -> None:
        self._belongs(os.fstat(descriptor), name)

    def _belongs(self, found: os.stat_result, name: str) -> None:
        if found.st_uid != self._identity()[0]:
            raise FolderError(f"{self.path}: {name} belongs to uid {found.st_uid}, and not to consul.user {self.user}")

    def _regular(self, found: os.stat_result, name: str) -> None:
        self._belongs(found, name)
        if not stat.S_ISREG(found.st_mode):
            raise FolderError(f"{self.path}: {name} is neither a file nor a folder")

    def _identity(self) -> tuple[int, int]:
        try:
            entry = pwd.getpwnam(self.user)
        except KeyError as error:
            raise FolderError(f"the user {self.user} does not exist: correct consul.user") from error
        return entry.pw_uid, entry.pw_gid

    def _hand_over(self, descriptor: int, mode: int) -> None:
        os.fchmod(descriptor, mode)
        os.fchown(descriptor, *self._identity())

    def _read(self, folder: int, name: str) -> str:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=folder)
        try:
            return os.read(file, 4096).decode()
        finally:
            os.close(file)

    def _try_to_write(self, folder: int) -> None:
        name = ".habeat-tries-to-write"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        os.close(os.open(name, flags, 0o600, dir_fd=folder))
        os.unlink(name, dir_fd=folder)

    def _size(self, folder: int) -> int:
        total = 0
        for name in _entries(folder):
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                with self._inside(folder, name) as inner:
                    total += self._size(inner)
            else:
                self._regular(found, name)
                total += found.st_size
        return total

    def _copy(self, source: int, folder: int, name: str) -> None:
        """Copy an open folder to a new one of that name in `folder`."""
        os.mkdir(name, 0o700, dir_fd=folder)
        made = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        try:
            for entry in _entries(source):
                mode = os.stat(entry, dir_fd=source, follow_symlinks=False).st_mode
                if stat.S_ISDIR(mode):
                    with self._inside(source, entry) as inner:
                        self._copy(inner, made, entry)
                else:
                    self._copy_file(source, made, entry)
            self._hand_over(made, 0o700)
            os.fsync(made)
        finally:
            os.close(made)

    def _copy_file(self, source: int, target: int, name: str) -> None:
        taken = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=source)
        try:
            found = os.fstat(taken)
            self._regular(found, name)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            given = os.open(name, flags, 0o600, dir_fd=target)
            try:
                while block := os.read(taken, CHUNK):
                    _write(given, block)
                self._hand_over(given, stat.S_IMODE(found.st_mode) & 0o777)
                os.fsync(given)
            finally:
                os.close(given)
        finally:
            os.close(taken)

    def _remove(self, name: str) -> None:
        """Remove a folder of our own that was never finished; rmtree follows no link."""
        if os.path.lexists(self.path / name):
            shutil.rmtree(self.path / name)


def _write(file: int, block: bytes) -> None:
    """Write all of it; raises OSError where that cannot be."""
    view = memoryview(block)
    while view:
        view = view[os.write(file, view) :]


def _entries(folder: int) -> list[str]:
    """Return what is in a folder of Consul's, but what habeat writes into it."""
    return [name for name in os.listdir(folder) if name not in (PEERS, PART)]
