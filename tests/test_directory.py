"""The directory check against a real OpenLDAP server, and against what only looks like one.

A promotion is a write to Carbonio's directory, so I5 (a failure is never reported as success) asks for a directory
that takes writes, I9 (least harm) for a password that never travels in the clear, and I4 that all of it is bounded.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from certificates import certify
from conftest import LabFactory
from habeat.act.directory import Credentials, Directory, DirectoryError
from habeat.lab import carbonio
from habeat.lab.sites import PRIMARY, STANDBY

pytestmark = [
    pytest.mark.slapd,
    pytest.mark.xdist_group("slapd"),
    # What ldap3 does by itself: it imports old names of pyasn1 and ssl, and drops a socket whose certificate is wrong.
    pytest.mark.filterwarnings("ignore:(tag|type)Map is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:ssl.match_hostname:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*<ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning"),
]

SERVERS = Path(__file__).resolve().parents[1] / ".servers"
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:{SERVERS / 'bin'}"
NAME, PASSWORD = "uid=zimbra,cn=admins,cn=zimbra", "correct-horse-battery"
ZIMBRA = Credentials(NAME, PASSWORD)
TIMEOUT = 1.0
LDAP, LDAPS = 389, 636
UNASKED = "whether it takes writes could not be asked"

Talk = Callable[[socket.socket], None]


def obstacle() -> str | None:
    """Return why these tests cannot run on this machine, or None."""
    if os.geteuid() != 0:
        return "ports 389 and 636 need root"
    missing = [name for name in ("slapd", "ldapmodify", "openssl") if shutil.which(name, path=PATH) is None]
    return (
        f"no {', '.join(missing)} here; `python scripts/servers.py .servers` brings what Debian has"
        if missing
        else None
    )


def run(argv: Sequence[str], folder: Path, *, stdin: str = "", **environment: str) -> str:
    """Run a tool to its good end and return what it printed."""
    done = subprocess.run(
        argv,
        cwd=folder,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={"PATH": PATH, **environment},
    )
    assert done.returncode == 0, (argv, done.stdout, done.stderr)
    return done.stdout


def free_address() -> str:
    """Return a loopback address that no other test run is likely to use."""
    return f"127.{random.randint(64, 250)}.{random.randint(1, 250)}.{random.randint(1, 250)}"  # noqa: S311  no secret


@dataclass(frozen=True)
class Slapd:
    """One OpenLDAP server with Carbonio's suffix, listening at `address`; `folder` holds its files and the CA."""

    folder: Path
    address: str

    @property
    def ca_file(self) -> str:
        """Return the file of the CA that its certificate comes from."""
        return str(self.folder / "ca.pem")

    def configure(self, *lines: str) -> None:
        """Write its configuration, with more lines for its database, and the entries it begins with."""
        root = SERVERS / "slapd" if shutil.which("slapd", path=PATH) == str(SERVERS / "bin" / "slapd") else Path("/")
        config = [
            f"include {root / 'etc/ldap/schema/core.schema'}",
            f"modulepath {root / 'usr/lib/ldap'}",
            "moduleload back_mdb",
            f"TLSCertificateFile {self.folder / 'cert.pem'}",
            f"TLSCertificateKeyFile {self.folder / 'key.pem'}",
            "database mdb",
            "suffix cn=zimbra",
            f"directory {self.folder / 'data'}",
            f"rootdn {NAME}",
            f"rootpw {PASSWORD}",
            *lines,
        ]
        (self.folder / "data").mkdir()
        (self.folder / "slapd.conf").write_text("\n".join(config) + "\n", encoding="utf-8")
        entry = "dn: cn=zimbra\nobjectClass: organizationalRole\ncn: zimbra\ndescription: as it was\n"
        self._tool("add", stdin=entry)

    @contextlib.contextmanager
    def running(self, *urls: str) -> Iterator[Slapd]:
        """Run it at these URLs, or at its address with and without TLS from the start."""
        urls = urls or (f"ldap://{self.address}:{LDAP}", f"ldaps://{self.address}:{LDAPS}")
        argv = [str(shutil.which("slapd", path=PATH)), "-d", "0", "-f", "slapd.conf", "-h", " ".join(urls)]
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(argv, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 20
            while not all(answers(url) for url in urls):
                assert process.poll() is None, (self.folder / "log").read_text(encoding="utf-8")
                assert time.monotonic() < deadline, "slapd does not listen"
                time.sleep(0.02)
            yield self
        finally:
            process.kill()
            process.wait(10)

    def content(self) -> str:
        """Return every entry in its database."""
        return self._tool("cat")

    def write(self) -> None:
        """Change an entry as an ordinary client does; fails where the directory refuses."""
        change = "dn: cn=zimbra\nchangetype: modify\nreplace: description\ndescription: changed\n"
        argv = ["ldapmodify", "-x", "-ZZ", "-H", f"ldap://{self.address}", "-D", NAME, "-w", PASSWORD]
        run(argv, self.folder, stdin=change, LDAPTLS_CACERT=self.ca_file)

    def _tool(self, name: str, stdin: str = "") -> str:
        return run(["slapd", "-T", name, "-f", "slapd.conf"], self.folder, stdin=stdin)


def answers(url: str) -> bool:
    """Tell whether something listens at an LDAP URL."""
    host, _, port = url.rpartition("//")[2].partition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


@dataclass
class Listener:
    """Something at a port that is no directory: every connection is handed to `talk`; what came in is kept."""

    address: str
    port: int
    talk: Talk

    def __enter__(self) -> Listener:
        self._socket = socket.create_server((self.address, self.port))
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)

    def _serve(self) -> None:
        threads = []
        while True:
            try:
                connection = self._socket.accept()[0]
            except OSError:
                break
            self._open.append(connection)
            threads.append(threading.Thread(target=self._one, args=(connection,), daemon=True))
            threads[-1].start()
        for thread in threads:
            thread.join(10)

    def _one(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            self.talk(connection)


def silence(connection: socket.socket) -> None:
    """Take everything and never say a word."""
    while connection.recv(4096):
        pass


def web(connection: socket.socket) -> None:
    """Answer as a web server does when it is spoken to in LDAP."""
    connection.recv(4096)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def trickle(connection: socket.socket) -> None:
    """Begin a very long LDAP message and let it drip, faster than any time-out for one byte."""
    connection.recv(4096)
    connection.sendall(b"\x30\x84\x00\x10\x00\x00")
    while True:
        connection.sendall(b"\x02")
        time.sleep(TIMEOUT / 4)


def recorder(target: str, record: list[bytes]) -> Talk:
    """Return a talk that passes everything on to a real directory, and keeps what the client sends."""

    def talk(connection: socket.socket) -> None:
        with socket.create_connection((target, LDAP)) as onward:
            back = threading.Thread(target=_copy, args=(onward, connection, []), daemon=True)
            back.start()
            _copy(connection, onward, record)
            with contextlib.suppress(OSError):
                onward.shutdown(socket.SHUT_RDWR)
            back.join(10)

    return talk


def _copy(source: socket.socket, target: socket.socket, record: list[bytes]) -> None:
    with contextlib.suppress(OSError):
        while part := source.recv(4096):
            record.append(part)
            target.sendall(part)


@pytest.fixture
def address() -> str:
    """Give a loopback address of the test's own; tests without a real slapd need no more."""
    if os.geteuid() != 0:
        unable("ports 389 and 636 need root")
    return free_address()


@pytest.fixture
def slapd(tmp_path: Path, address: str) -> Slapd:
    """Give a directory server that is not yet running, with a certificate for its address."""
    if (why := obstacle()) is not None:
        unable(why)
    certify(tmp_path, address)
    return Slapd(tmp_path, address)


def unable(why: str) -> None:
    """Skip the test; in CI it fails instead."""
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(why)


def refused(directory: Directory, credentials: Credentials = ZIMBRA) -> str:
    """Return why a directory is refused; fails where it is not, or where that takes long."""
    found: list[str] = []

    def ask() -> None:
        try:
            found.append(f"accepted: {directory.require(credentials)}")
        except DirectoryError as error:
            found.append(str(error))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(8 * directory.timeout)
    assert not asking.is_alive(), "the question is not bounded"
    assert not found[0].startswith("accepted"), found
    return found[0]


def test_a_writable_directory_takes_writes(slapd: Slapd) -> None:
    """I5: it is said to take writes, an ordinary client finds the same, and the question itself changed nothing."""
    slapd.configure()
    before = slapd.content()
    with slapd.running():
        said = Directory(slapd.address, TIMEOUT, slapd.ca_file).require(ZIMBRA)
        assert f"the directory at ldap://{slapd.address}:389 takes writes" == said
        assert before == slapd.content()
        slapd.write()
    assert before != slapd.content()


def test_a_directory_with_tls_from_the_start_takes_writes(slapd: Slapd) -> None:
    """Where only port 636 is open, it is asked there."""
    slapd.configure()
    with slapd.running(f"ldaps://{slapd.address}:{LDAPS}"):
        said = Directory(slapd.address, TIMEOUT, slapd.ca_file).require(ZIMBRA)
    assert f"the directory at ldaps://{slapd.address}:636 takes writes" == said


@pytest.mark.parametrize(
    ("lines", "verdict"),
    [
        pytest.param(["readonly on"], "unwillingToPerform", id="read-only"),
        pytest.param(
            [
                "syncrepl rid=001 provider=ldap://127.0.0.1:1 searchbase=cn=zimbra type=refreshOnly retry=3600,+",
                "updateref ldap://master.example.com",
            ],
            "referral",
            id="replica",
        ),
    ],
)
def test_a_directory_that_would_not_take_a_write_is_refused(slapd: Slapd, lines: list[str], verdict: str) -> None:
    """I5: on a read-only directory and on a replica a promotion would fail, so it must not begin."""
    slapd.configure(*lines)
    with slapd.running():
        directory = Directory(slapd.address, TIMEOUT, slapd.ca_file)
        assert f"the directory at ldap://{slapd.address}:389 would not take a write ({verdict})" == refused(directory)
        with pytest.raises(AssertionError):
            slapd.write()


def test_a_certificate_that_is_not_trusted_gets_no_password(slapd: Slapd) -> None:
    """I5, I9: it answers, whether it takes writes is not known, and the password has not left this machine."""
    slapd.configure()
    seen: list[bytes] = []
    between = free_address()
    with slapd.running(), Listener(between, LDAP, recorder(slapd.address, seen)):
        said = Directory(between, TIMEOUT).require(ZIMBRA)
    assert said.startswith(f"the directory answers at ldap://{between}:389 ({UNASKED}: ")
    assert "certificate verify failed" in said
    assert PASSWORD.encode() not in b"".join(seen)


def test_a_certificate_of_another_host_gets_no_password(slapd: Slapd) -> None:
    """I9: the CA is trusted, but the certificate is for another address: whoever that is, it is not told the password."""
    slapd.configure()
    seen: list[bytes] = []
    between = free_address()
    with slapd.running(), Listener(between, LDAP, recorder(slapd.address, seen)):
        said = Directory(between, TIMEOUT, slapd.ca_file).require(ZIMBRA)
    assert said.startswith(f"the directory answers at ldap://{between}:389 ({UNASKED}: ")
    assert PASSWORD.encode() not in b"".join(seen)


def test_the_password_of_a_trusted_directory_travels_encrypted(slapd: Slapd) -> None:
    """I9: between us and a directory that takes writes nobody can read the password."""
    between = free_address()
    certify(slapd.folder, between)
    slapd.configure()
    seen: list[bytes] = []
    with slapd.running(), Listener(between, LDAP, recorder(slapd.address, seen)):
        said = Directory(between, TIMEOUT, slapd.ca_file).require(ZIMBRA)
    assert f"the directory at ldap://{between}:389 takes writes" == said
    assert PASSWORD.encode() not in b"".join(seen)
    assert b"".join(seen) != b""


def test_a_directory_that_refuses_the_password_still_answers(slapd: Slapd) -> None:
    """I5: with a password that it does not know nothing is claimed about writes."""
    slapd.configure()
    with slapd.running():
        said = Directory(slapd.address, TIMEOUT, slapd.ca_file).require(Credentials(NAME, "wrong"))
    assert f"the directory answers at ldap://{slapd.address}:389 ({UNASKED}: " in said
    assert "invalidCredentials" in said


def test_without_credentials_only_the_presence_is_told(slapd: Slapd) -> None:
    """I5: nobody to ask as, so nothing is claimed about writes."""
    slapd.configure()
    with slapd.running():
        said = Directory(slapd.address, TIMEOUT, slapd.ca_file).require(Credentials())
    assert f"the directory answers at ldap://{slapd.address}:389 ({UNASKED}: no credentials)" == said


def test_a_proxy_at_one_port_does_not_hide_the_directory_at_the_other(slapd: Slapd) -> None:
    """Port 389 of a Carbonio host may be something else; the directory at 636 is found all the same."""
    slapd.configure()
    with Listener(slapd.address, LDAP, web), slapd.running(f"ldaps://{slapd.address}:{LDAPS}"):
        said = Directory(slapd.address, TIMEOUT, slapd.ca_file).require(ZIMBRA)
    assert f"the directory at ldaps://{slapd.address}:636 takes writes" == said


@pytest.mark.parametrize("talk", [silence, web, trickle])
def test_what_is_no_directory_is_refused_in_time(address: str, talk: Talk) -> None:
    """I4, I5: something listens that does not speak LDAP: it is refused, and never waited for long."""
    with Listener(address, LDAP, talk), Listener(address, LDAPS, talk):
        why = refused(Directory(address, TIMEOUT))
    assert address in why
    assert " does not " in why


def test_where_nobody_listens_the_directory_does_not_answer(address: str) -> None:
    """I5: both ports are closed, and both are named."""
    why = refused(Directory(address, TIMEOUT))
    assert why.startswith(f"the directory does not answer: ldap://{address}:389: ")
    assert f"; ldaps://{address}:636: " in why


def test_a_failover_waits_for_a_directory_that_takes_writes(slapd: Slapd, make_lab: LabFactory) -> None:
    """I5, I8: nothing is promoted before this site's directory is seen to take writes, with Carbonio's own credentials."""
    slapd.configure()
    where = {"secondary": {"directorysrv_ip": slapd.address}, "carbonio": {"ldap_ca_file": slapd.ca_file}}
    lab = make_lab(2, overrides={**where, "policy": {"confirmations": 1}})
    with carbonio.world_of(lab.world) as world:
        world["localconfig"] = {"zimbra_ldap_userdn": NAME, "zimbra_ldap_password": PASSWORD}
    lab.kill()
    waits = lab.check()
    assert (3, True) == (waits.code, "the directory does not answer" in waits.said), waits
    assert {PRIMARY} == {item["accountMailHost"] for item in lab.accounts()}
    with slapd.running():
        doctor = lab.run("doctor")
        assert 0 == lab.check().code
    assert f"the directory at ldap://{slapd.address}:389 takes writes" in doctor.said
    assert {STANDBY} == {item["accountMailHost"] for item in lab.accounts()}
    assert PASSWORD not in doctor.said + lab.log.read_text(encoding="utf-8") + lab.run("history", "--json").said
