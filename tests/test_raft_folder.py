"""Consul's data folder under the hands of root: only that user's own files, and nothing that is half done (I9)."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable
from pathlib import Path

import pytest

from habeat.act.raft_folder import PART, RaftFolder
from habeat.errors import FolderError

ME = pwd.getpwuid(os.geteuid()).pw_name
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def folder(tmp_path: Path) -> RaftFolder:
    """Give a data folder as Consul leaves it."""
    raft = tmp_path / "raft"
    (raft / "snapshots" / "1").mkdir(parents=True)
    (tmp_path / "node-id").write_text("id-1\n")
    for name in ("raft.db", "peers.info", "snapshots/1/state.bin"):
        (raft / name).write_bytes(name.encode() * 1000)
    return RaftFolder(tmp_path, ME)


def test_a_copy_is_complete(folder: RaftFolder) -> None:
    """All that is Consul's is in the copy, and nothing that habeat wrote: not peers.json, nor half of one."""
    (folder.path / "raft" / PART).write_text("[")
    folder.write_peers("[]")
    (folder.path / "raft" / PART).write_text("[")
    folder.copy("raft", "copy")
    copied = sorted(str(path.relative_to(folder.path / "copy")) for path in (folder.path / "copy").rglob("*"))
    assert ["peers.info", "raft.db", "snapshots", "snapshots/1", "snapshots/1/state.bin"] == copied


def test_what_is_not_written_leaves_nothing(folder: RaftFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails in mid-write leaves no part of peers.json, which nobody would expect there."""

    def fail(_file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(FolderError, match="No space left on device"):
        folder.write_peers("[]")
    assert ["peers.info", "raft.db", "snapshots"] == sorted(path.name for path in (folder.path / "raft").iterdir())


def _pipe_for_database(raft: Path) -> None:
    (raft / "raft.db").unlink()
    os.mkfifo(raft / "raft.db")


def _pipe(raft: Path) -> None:
    os.mkfifo(raft / "pipe")


def _link(raft: Path) -> None:
    (raft / "link").symlink_to("/etc/shadow")


def _folder_by_link(raft: Path) -> None:
    raft.rename(raft.parent / "else")
    raft.symlink_to(raft.parent / "else")


LEADS_OUT: dict[str, tuple[Callable[[Path], None], Callable[[RaftFolder], object]]] = {
    "a pipe for a database": (_pipe_for_database, lambda folder: folder.busy()),
    "a pipe among the files": (_pipe, lambda folder: folder.examine()),
    "a link among the files": (_link, lambda folder: folder.examine()),
    "a link that is copied": (_link, lambda folder: folder.copy("raft", "copy")),
    "a link for the raft folder": (_folder_by_link, lambda folder: folder.set_aside("aside")),
    "a link that is looked into": (_folder_by_link, lambda folder: folder.has("raft/raft.db")),
}


@pytest.mark.parametrize("case", LEADS_OUT)
def test_nothing_leads_out_of_the_folder(folder: RaftFolder, case: str) -> None:
    """What is no plain file or folder of Consul's is refused, at once and with a reason."""
    spoil, ask = LEADS_OUT[case]
    spoil(folder.path / "raft")
    with pytest.raises(FolderError):
        ask(folder)
    assert not (folder.path / "copy").exists()
    assert not (folder.path / "aside").exists()


@AS_ROOT
@pytest.mark.parametrize(
    ("name", "ask"),
    [
        (".", lambda folder: folder.node_id()),
        ("raft", lambda folder: folder.set_aside("aside")),
        ("raft/raft.db", lambda folder: folder.examine()),
        ("raft/raft.db", lambda folder: folder.copy("raft", "copy")),
        ("raft/raft.db", lambda folder: folder.busy()),
    ],
)
def test_what_belongs_to_somebody_else_is_refused(
    folder: RaftFolder, name: str, ask: Callable[[RaftFolder], object]
) -> None:
    """What another user put there is neither read nor moved, and the examination says so before anything is stopped."""
    os.chown(folder.path / name, 12345, 12345)
    with pytest.raises(FolderError, match="belongs to uid 12345, and not to consul.user"):
        ask(folder)
    assert (folder.path / "raft").is_dir()
    assert not (folder.path / "copy").exists()
