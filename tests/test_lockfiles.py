"""The seed's lock files in a directory where everybody may write (I9)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from habeat.report.lockfiles import LockFiles


def sync(path: Path, *, down: bool | None) -> list[str]:
    """Bring one file in line."""
    return LockFiles(down=str(path)).sync(down=down, promotion=False, module=False, sentence="mbox1 is dead.")


def test_made_and_removed(tmp_path: Path) -> None:
    """The file is there while it should be, tells why, and making or removing it twice is the same as once."""
    path = tmp_path / "down-appserver"
    assert [] == sync(path, down=True) == sync(path, down=True)
    assert ("mbox1 is dead.\n", 0o644) == (path.read_text(), path.stat().st_mode & 0o777)
    assert [] == sync(path, down=None)
    assert path.exists()
    assert [] == sync(path, down=False) == sync(path, down=False)
    assert not path.exists()


@pytest.mark.parametrize("kind", ["link", "dangling", "hardlink", "directory", "fifo"])
def test_trap_is_left_alone(tmp_path: Path, kind: str) -> None:
    """A link, a directory or a pipe that somebody laid there is reported, and neither followed nor removed."""
    path, precious = tmp_path / "down", tmp_path / "precious"
    precious.write_text("keep")
    if kind == "link":
        path.symlink_to(precious)
    elif kind == "dangling":
        path.symlink_to(tmp_path / "nowhere")
    elif kind == "hardlink":
        path.hardlink_to(precious)
    elif kind == "directory":
        path.mkdir()
    else:
        os.mkfifo(path)
    for wanted in (True, False):
        (complaint,) = sync(path, down=wanted)
        assert "is not habeat's own" in complaint
    assert os.path.lexists(path)
    assert "keep" == precious.read_text()
    assert not (tmp_path / "nowhere").exists()


def test_trap_laid_in_the_last_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that appears between the look and the making is not followed either."""
    path, precious = tmp_path / "down", tmp_path / "precious"
    path.symlink_to(precious)

    def look(_path: str) -> os.stat_result:
        raise FileNotFoundError

    monkeypatch.setattr(os, "lstat", look)
    assert "cannot be made: File exists" in sync(path, down=True)[0]
    assert not precious.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file of somebody else's")
def test_strangers_file_is_left_alone(tmp_path: Path) -> None:
    """A file that belongs to another user is reported, means nothing, and stays."""
    path = tmp_path / "down"
    path.write_text("")
    os.chown(path, 65534, 65534)
    assert "owner uid 65534" in sync(path, down=True)[0]
    assert "owner uid 65534" in sync(path, down=False)[0]
    assert path.exists()


def test_directory_that_is_not_there(tmp_path: Path) -> None:
    """A path that cannot be made is a complaint, not a failure."""
    assert "cannot be made" in sync(tmp_path / "none" / "down", down=True)[0]
