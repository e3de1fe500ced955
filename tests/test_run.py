"""Running commands: bounded, with no shell, and with nothing left behind (I4, I9)."""

from __future__ import annotations

import os
import pwd
import sys
import time
from pathlib import Path

import pytest

from habeat.act import run
from habeat.act.run import Runner, shown
from habeat.errors import CommandError, CommandMissingError, CommandTimeoutError
from processes import gone

PYTHON = sys.executable


def test_gives_back_what_happened() -> None:
    """Exit code, both outputs and standard input go through unchanged, unicode included."""
    code = "import sys; print(sys.stdin.read() + 'ü'); print('bad', file=sys.stderr); sys.exit(7)"
    done = Runner().run([PYTHON, "-c", code], 10, stdin="é")
    assert (done.code, done.stdout, done.stderr) == (7, "éü\n", "bad\n")


@pytest.mark.parametrize("word", ["$(touch x)", "a b", "';\"", "-x", "ü\n", "*"])
def test_words_stay_data(word: str, tmp_path: Path) -> None:
    """No word is ever interpreted on its way (I9)."""
    done = Runner().run([PYTHON, "-c", "import sys; sys.stdout.write(sys.argv[1])", word], 10)
    assert word == done.stdout
    assert [] == list(tmp_path.iterdir())


def test_time_out_ends_the_whole_group(tmp_path: Path) -> None:
    """A command that hangs is ended with its children, even ones that ignore SIGTERM, within time-out plus grace."""
    pids = tmp_path / "pids"
    child = (
        "import os,signal,time,sys; signal.signal(15, signal.SIG_IGN); print(os.getpid(), flush=True); time.sleep(60)"
    )
    code = (
        "import subprocess,sys,os,time; out=open(sys.argv[1],'w');"
        "subprocess.Popen([sys.executable,'-c',sys.argv[2]],stdout=out);"
        "print('half', flush=True); time.sleep(60)"
    )
    begun = time.monotonic()
    with pytest.raises(CommandTimeoutError, match="still running after 1 s.*half"):
        Runner().run([PYTHON, "-c", code, str(pids), child], 1.0)
    assert time.monotonic() - begun < 1.0 + 2 * run.GRACE + 1
    assert gone(int(pids.read_text(encoding="ascii")))


def test_children_left_behind_are_ended(tmp_path: Path) -> None:
    """A command that ends well and leaves a child in its group leaves nothing."""
    code = "import subprocess,sys; print(subprocess.Popen(['sleep','60']).pid)"
    done = Runner().run([PYTHON, "-W", "ignore", "-c", code], 10)
    assert gone(int(done.stdout))


def test_too_much_output_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that prints without end is ended; memory stays bounded."""
    monkeypatch.setattr(run, "LARGEST_ANSWER", 1_000_000)
    with pytest.raises(CommandError, match="printed more than 1000000 bytes"):
        Runner().run([PYTHON, "-c", "while True: print('x' * 1000)"], 30)


@pytest.mark.parametrize("argv", [["/nowhere/carbonio"], ["/"], [__file__]])
def test_missing_program(argv: list[str]) -> None:
    """A program that is not there, or is not one, is said to be so."""
    with pytest.raises(CommandMissingError, match="cannot be started"):
        Runner().run(argv, 5)


def test_nul_in_a_word() -> None:
    """A word that no command line can carry is refused, without a traceback."""
    with pytest.raises(CommandMissingError, match="cannot be started"):
        Runner().run([PYTHON, "-c", "pass", "a\0b"], 5)


def test_unknown_user() -> None:
    """A user that does not exist is named, with what that usually means."""
    with pytest.raises(CommandMissingError, match="the user nobody-at-all does not exist: is Carbonio installed"):
        Runner("nobody-at-all").run(["true"], 5)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can switch users")
def test_switches_user_completely() -> None:
    """As root, the command runs with the user's uid, gid, groups and home, and without ours."""
    entry = pwd.getpwnam("nobody")
    done = Runner("nobody").run(["/bin/sh", "-c", 'id -u; id -g; id -G; echo "$HOME $TERM $USER"'], 10)
    expected = [str(entry.pw_uid), str(entry.pw_gid), str(entry.pw_gid), f"{entry.pw_dir} dumb nobody"]
    assert expected == done.stdout.splitlines()


def test_secrets_are_masked() -> None:
    """A secret never appears in an error or in what a command complained (I9)."""
    done = Runner(secrets=("hunter2",)).run([PYTHON, "-c", "import sys; print('token hunter2', file=sys.stderr)"], 10)
    assert "token ***\n" == done.stderr
    with pytest.raises(CommandTimeoutError) as caught:
        Runner(secrets=("hunter2",)).run(["sh", "-c", "sleep 60", "hunter2"], 0.1)
    assert "hunter2" not in str(caught.value)


def test_shown_is_short_and_on_one_line() -> None:
    """A command in an error is readable, however long or odd its words."""
    assert shown(["fc", "account", "o k", "a\nb"]) == "fc account 'o k' 'a\\nb'"
    assert len(shown(["x" * 1000])) <= 301
