"""The Carbonio adapter against commands that answer in every way a real one may."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from habeat.act.carbonio import Carbonio, Zmprov
from habeat.act.run import Runner
from habeat.errors import CarbonioError, CommandTimeoutError
from habeat.journal import Recall
from habeat.model import Account, Replica

Says = Callable[..., Carbonio]


@pytest.fixture
def says(tmp_path: Path) -> Says:
    """Give a Carbonio whose command prints a text and exits with a code, and keeps its arguments in `argv`."""

    def make(answer: Any = "", code: int = 0, stderr: str = "") -> Carbonio:
        text = answer if isinstance(answer, str) else json.dumps(answer)
        (tmp_path / "answer").write_text(text, encoding="utf-8")
        binary = tmp_path / "carbonio"
        binary.write_text(
            f"#!/bin/sh\nprintf '%s\\n' \"$@\" >> {tmp_path}/argv\ncat {tmp_path}/answer\nprintf %s '{stderr}' >&2\nexit {code}\n"
        )
        binary.chmod(0o755)
        notes: dict[str, str] = {}
        recall = Recall(lambda: notes.get("ns"), lambda value: notes.update(ns=value))
        return Carbonio(Runner(), str(binary), 5.0, 5.0, tmp_path / "spool", recall)

    return make


def asked(folder: Path) -> list[str]:
    """Return every word that the command was given."""
    path = folder / "argv"
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def status(*values: Any) -> dict[str, Any]:
    """Return an answer of getAccountStatus."""
    return {"ok": True, "response": {"values": list(values)}}


FULL = {
    "accountId": "id-1",
    "accountName": "a@example.com",
    "accountMailHost": "mbox1",
    "sequence": "12",
    "paused": False,
    "replicas": [{"accountId": "id-1", "destination": "mbox2", "available": True, "sequence": 10, "priority": 1}],
}


def test_account_with_everything(says: Says) -> None:
    """All that is told of an account is kept, numbers that come as text included."""
    expected = Account(
        "a@example.com", "id-1", "mbox1", 12, (Replica("mbox2", available=True, sequence=10, priority=1),)
    )
    (account,) = says(status(FULL)).accounts("mbox1")
    assert expected == account
    assert (2, "mbox2") == (account.lag(), account.usable()[0].destination)


@pytest.mark.parametrize(
    "value",
    [
        {"accountName": "a@example.com"},
        {"accountName": "a@example.com", "replicas": None, "sequence": None, "accountMailHost": None},
        {"accountName": "a@example.com", "replicas": [{"destination": "mbox2"}], "sequence": "many"},
    ],
)
def test_account_with_little(says: Says, value: dict[str, Any]) -> None:
    """Only the name is certain; the rest may be missing or odd."""
    (account,) = says(status(value)).accounts("mbox1")
    assert ("a@example.com", "a@example.com", None) == (account.name, account.key, account.lag())


def test_best_replica(says: Says) -> None:
    """The replica with the lowest priority number comes first; unavailable ones are left out; an unsaid one is usable."""
    replicas = [
        {"destination": "c", "priority": 3},
        {"destination": "b", "priority": 1, "available": False},
        {"destination": "a", "priority": 2, "available": True},
    ]
    (account,) = says(status({**FULL, "replicas": replicas})).accounts("mbox1")
    assert ["a", "c"] == [replica.destination for replica in account.usable()]


NOT_OK: dict[str, tuple[Any, int, str]] = {
    "refused": ({"ok": False, "error": "no licence"}, 0, "no licence"),
    "refused with a message": ({"ok": False, "error": {"message": "no licence"}}, 0, "no licence"),
    "refused without a reason": ({"ok": False}, 0, "refused without a reason"),
    "ok is a word": ({"ok": "true", "response": {"values": []}}, 0, "refused"),
    "ok is a number": ({"ok": 1, "response": {"values": []}}, 0, "refused"),
    "no ok": ({"response": {"values": []}}, 0, "gave no JSON"),
    "no list": ({"ok": True, "response": {}}, 0, "without its list"),
    "a list of words": ({"ok": True, "response": ["a"]}, 0, "without its list"),
    "good words, bad code": (status(), 1, "exit code 1"),
    "nothing": ("", 0, "gave no JSON"),
    "half": ('{"ok": true, "response": {"values": [', 0, "gave no JSON"),
    "unreachable": ("Unable to communicate with server", 0, "Unable to communicate with server"),
    "nested without end": ("{" * 100_000, 0, "gave no JSON"),
    "somebody else's accounts": (status({**FULL, "accountMailHost": "mbox9"}), 0, "cannot be trusted"),
}


@pytest.mark.parametrize("case", NOT_OK)
def test_not_ok(says: Says, case: str) -> None:
    """Whatever is not a clear `"ok": true` is an error that says what came instead (I5)."""
    answer, code, words = NOT_OK[case]
    with pytest.raises(CarbonioError, match=words):
        says(answer, code).accounts("mbox1")


@pytest.mark.parametrize(
    "text",
    [
        "WARNING {deprecated}\n%s",
        "{}{}\n%s",
        '{"a": 1}\n%s\n{"ok": false}',
        "\x1b[31m%s\x1b[0m",
        "JVM [warning] {\n%s\n",
    ],
)
def test_json_behind_banners(says: Says, text: str) -> None:
    """The answer is found behind and before other text."""
    assert 1 == len(says(text % json.dumps(status(FULL))).accounts("mbox1"))


SYNC: dict[str, tuple[Any, int, str]] = {
    "1": ("failed", 1, "promoteAccounts failed"),
    "2": ("", 2, "promoteAccounts was stopped"),
    "3": ("", 3, "promoteAccounts was removed"),
    "4": ("", 4, "promoteAccounts was interrupted"),
    "9": ("", 9, "promoteAccounts ended with exit code 9"),
    "json": ({"ok": False, "error": "quota"}, 0, "quota"),
    "unreachable": ("Unable to communicate with server", 0, "Unable to communicate"),
}


@pytest.mark.parametrize("case", SYNC)
def test_codes_of_sync(says: Says, case: str) -> None:
    """Each exit code of a synchronous command has its meaning, and exit code 0 alone is not believed (I5)."""
    answer, code, words = SYNC[case]
    with pytest.raises(CarbonioError, match=words):
        says(answer, code).promote_all("mbox1", 4)


@pytest.mark.parametrize("answer", ["Operation completed", {"ok": True, "response": {"operationId": "x"}}])
def test_sync_in_text_or_json(says: Says, answer: Any, tmp_path: Path) -> None:
    """Plain text and JSON are both a success after --sync, and the words of the command are exactly these."""
    says(answer).promote_all("mbox1.example.com", 4)
    expected = "--json --sync MailReplica promoteAccounts source_mail_host mbox1.example.com threads 4"
    assert expected.split() == asked(tmp_path)


@pytest.mark.parametrize("host", ["", " ", "-h", "a b", "mbox1\n", "*"])
def test_all_accounts_are_never_meant(says: Says, tmp_path: Path, host: str) -> None:
    """A blank or odd host, or an empty list, would mean all accounts to Carbonio; no command is ever started with one."""
    carbonio = says(status())
    for call in (
        lambda: carbonio.promote_all(host, 4),
        lambda: carbonio.accounts(host),
        lambda: carbonio.promote([], 4),
    ):
        with pytest.raises(CarbonioError, match="not the host name of a mailstore|an empty list"):
            call()
    with pytest.raises(CarbonioError, match="not the host name"):
        Zmprov(Runner(), str(tmp_path / "carbonio"), 5).flush(host, ["id"])
    assert [] == asked(tmp_path)


class Spy(Runner):
    """Looks at the list of accounts while the command runs."""

    seen: ClassVar[dict[str, Any]] = {}

    def run(self, argv: Any, timeout: float, **rest: Any) -> Any:
        """Look, then run."""
        path = Path(argv[argv.index("input_file") + 1])
        file, folder = path.stat(), path.parent.stat()
        self.seen.update(path=path, text=path.read_text(encoding="utf-8"), file=file, folder=folder)
        return super().run(argv, timeout, **rest)


def test_list_vanishes(says: Says) -> None:
    """A list has one name a line, whatever the names, and is gone afterwards; left-overs of a killed habeat go too."""
    carbonio = says("done")
    (carbonio.spool / "accounts-old").mkdir(parents=True)
    carbonio.spool.chmod(0o755)
    Carbonio(Spy(), carbonio.binary, 5, 5, carbonio.spool, carbonio.recall).promote(
        ["-a@example.com", "o'b c@example.com"], 4
    )
    assert "-a@example.com\no'b c@example.com\n" == Spy.seen["text"]
    assert [] == list(carbonio.spool.iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run commands as somebody else")
def test_list_stays_ours() -> None:
    """The commands' user can read the list, and neither owns nor can swap it: a chown by name could be led astray (I9)."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        spool = Path(folder) / "spool"
        old = os.umask(0o077)
        try:
            with contextlib.suppress(CarbonioError):
                Carbonio(Spy("nobody"), "/bin/true", 5, 5, spool, Recall(lambda: None, lambda _v: None)).promote(
                    ["a@b"], 4
                )
        finally:
            os.umask(old)
    group = pwd.getpwnam("nobody").pw_gid
    file, there = Spy.seen["file"], Spy.seen["folder"]
    assert (0, group, 0o640) == (file.st_uid, file.st_gid, stat.S_IMODE(file.st_mode))
    assert (0, group, 0o750) == (there.st_uid, there.st_gid, stat.S_IMODE(there.st_mode))


@pytest.mark.parametrize("trap", ["file", "writable"])
def test_spool_that_is_not_ours(says: Says, tmp_path: Path, trap: str) -> None:
    """A place for lists that is no directory, or that others may write, is refused (I9)."""
    if trap == "file":
        (tmp_path / "spool").write_text("")
    else:
        (tmp_path / "spool").mkdir()
        (tmp_path / "spool").chmod(0o777)
    with pytest.raises(CarbonioError, match="that only its owner"):
        says("done").promote(["a@example.com"], 4)


@pytest.mark.parametrize("sequence", [1e999, 2**64, -(2**64), "9" * 5000, float("nan")])
def test_absurd_numbers(says: Says, sequence: Any) -> None:
    """A number that no database can hold is a number that was not told."""
    (account,) = says(json.dumps(status({**FULL, "sequence": sequence}))).accounts("mbox1")
    assert account.sequence is None


def test_half_a_surrogate(says: Says) -> None:
    """A name that no file can hold is spelled out."""
    (account,) = says(json.dumps(status({**FULL, "accountName": "a\ud800@example.com"}))).accounts("mbox1")
    assert "a\\ud800@example.com" == account.name


def test_entry_without_a_name(says: Says) -> None:
    """An entry that names no account is not passed over in silence (I5)."""
    with pytest.raises(CarbonioError, match="1 entries that name no account"):
        says(status(FULL, {"accountId": "id-2"})).accounts("mbox1")


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ({"services": {"module": {"running": True}}}, True),
        ({"module": {"running": False, "name": "module"}}, False),
        ({"mbox2": {"services": {"other": {"running": True}, "module": {"running": False}}}}, False),
        ({"services": {"module": "running"}}, None),
        ({}, None),
        (["module"], None),
    ],
)
def test_state_of_the_module(says: Says, response: Any, expected: bool | None) -> None:
    """The module's state is found at whatever depth, and unknown where it is not told."""
    assert expected is says({"ok": True, "response": response}).module_runs()


def test_operations(says: Says) -> None:
    """Running jobs are read with their start in seconds, whether it comes in seconds, milliseconds or not at all."""
    jobs = [
        {"id": "a", "name": "x", "module": "ha", "startTime": 1_700_000_000_000},
        {"id": "b", "startTime": "1700000000"},
        {"id": "c"},
    ]
    found = says({"ok": True, "response": {"operationList": jobs}}).operations()
    assert [("a", 1.7e9), ("b", 1.7e9), ("c", None)] == [(job.id, job.started) for job in found]


def test_mail_hosts_from_the_directory(says: Says, tmp_path: Path) -> None:
    """`zmprov ga` blocks are read with or without prompts; only well-formed ids are ever asked for."""
    key, other = "0f1e2d3c-0000-4000-8000-00000000000a", "0f1e2d3c-0000-4000-8000-00000000000b"
    says(
        f"prov> # name a@example.com\nzimbraId: {key}\nzimbraMailHost: mbox2\n\nERROR: account.NO_SUCH_ACCOUNT\n"
        f"# name b@example.com\nzimbraId: {other}\n"
    )
    zmprov = Zmprov(Runner(), str(tmp_path / "carbonio"), 5)
    assert {key: "mbox2"} == zmprov.mail_hosts([key, other])
    assert {} == zmprov.mail_hosts(["a@example.com; rm", "-x", ""])


@pytest.mark.parametrize(
    ("text", "code"), [("ERROR: service.FAILURE", 0), ("", 0), ("", 1), ("Picked up JAVA_TOOL_OPTIONS: {", 0)]
)
def test_directory_that_tells_nothing(says: Says, tmp_path: Path, text: str, code: int) -> None:
    """An answer that names no account, with whatever exit code, is no proof that an account lives nowhere (I5)."""
    says(text, code)
    with pytest.raises(CarbonioError, match=f"zmprov ga told of no account, and ended with exit code {code}"):
        Zmprov(Runner(), str(tmp_path / "carbonio"), 5).mail_hosts(["0f1e2d3c-0000-4000-8000-00000000000a"])


@pytest.mark.parametrize(
    ("text", "code"), [("ERROR: service.FAILURE", 0), ("", 1), ("", 2), ("Unable to communicate with server", 0)]
)
def test_flush_that_failed(says: Says, tmp_path: Path, text: str, code: int) -> None:
    """A flush that complained, with whatever exit code, has failed (I5)."""
    says(text, code)
    with pytest.raises(CarbonioError, match="zmprov -s mbox2 fc"):
        Zmprov(Runner(), str(tmp_path / "carbonio"), 5).flush("mbox2", ["id"])


def test_hanging_command(tmp_path: Path) -> None:
    """A command that hangs is ended at its time-out (I4)."""
    binary = tmp_path / "carbonio"
    binary.write_text("#!/bin/sh\nsleep 60\n")
    binary.chmod(0o755)
    carbonio = Carbonio(Runner(), str(binary), 0.3, 0.3, tmp_path, Recall(lambda: None, lambda _value: None))
    with pytest.raises(CommandTimeoutError, match="still running after 0.3 s"):
        carbonio.services()
