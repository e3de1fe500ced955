"""The vCenter witness against a real SOAP server: govmomi's simulator over TLS, and what only looks like a vCenter.

I1 (no failover on ignorance) asks that only a machine which vCenter itself sees turned off is called down, I4 that no
server can hold an answer up, I9 (least harm) that no session is left behind and the password is never told.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.client import HTTPSConnection
from pathlib import Path

import pytest

from certificates import certify
from facts import TARGET, snapshot
from habeat.http import Alarm
from habeat.judge import judge
from habeat.model import Down, Evidence, Health, Policy, Sight, Unknown, Up, Vote
from habeat.observe import vcenter
from habeat.observe.vcenter import VcenterWitness
from vcsim import PASSWORD, USER, Vcsim, obstacle, running

pytestmark = [pytest.mark.vcsim, pytest.mark.xdist_group("vcsim")]

VM = TARGET.name
FIRST, SECOND = "DC0_H0_VM0", "DC1_H0_VM0"
UUID = "5012ab3c-0000-4000-8000-0000000000ff"
SHORT, GRACE = 0.4, 2.5
SILENT = f"did not answer within {SHORT} s"
HTTP_OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: 100000\r\n\r\n"

Talk = Callable[[socket.socket], None]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a CA and a certificate of its for loopback."""
    if (why := obstacle()) is not None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(why)
    folder = tmp_path_factory.mktemp("certificates")
    certify(folder, "127.0.0.1")
    return folder


@pytest.fixture(scope="module")
def shared(certificates: Path) -> Iterator[Vcsim]:
    """Give a vCenter that nobody may change, with the target's machine in it."""
    with running(certificates) as simulator:
        simulator.rename(FIRST, VM)
        yield simulator


@pytest.fixture
def calm(shared: Vcsim) -> Iterator[Vcsim]:
    """Give that vCenter with its orders taken back; I9: no session is left behind."""
    shared.calls()
    yield shared
    shared.reset()
    assert 0 == shared.sessions()


@pytest.fixture
def world(certificates: Path) -> Iterator[Vcsim]:
    """Give a vCenter of the test's own, with the target's machine in it; I9: no session is left behind."""
    with running(certificates) as simulator:
        simulator.rename(FIRST, VM)
        yield simulator
        if simulator.process.poll() is None:
            assert 0 == simulator.sessions()


def witness(simulator: Vcsim, **settings: object) -> VcenterWitness:
    """Return the witness that asks a simulator, as it is configured unless settings say otherwise."""
    usual = VcenterWitness(
        host=simulator.address,
        port=simulator.port,
        username=USER,
        password=PASSWORD,
        ca_file=simulator.ca_file,
        timeout=10.0,
        verify_tls=True,
        names={},
        clock=time.time,
    )
    return replace(usual, **settings)  # type: ignore[arg-type]


def asked(simulator: Vcsim, **settings: object) -> Evidence:
    """Return what the witness says of the target; what it says is always of this moment, and never the password."""
    answer = witness(simulator, **settings).ask(TARGET)
    assert (0.0, None) == (answer.age, answer.holds)
    assert PASSWORD not in repr(answer)
    return answer.evidence


def sight(evidence: Evidence) -> Sight:
    """Return what the judge makes of a silent target and this vote alone."""
    return judge(snapshot(Vote("vCenter", evidence)), Policy()).sight


def test_machine_that_is_on_is_up(world: Vcsim) -> None:
    """It is up, so that a silent node that runs is unreachable and not dead."""
    said = asked(world)
    assert Up(f"says that VM {VM} is powered on, on host {world.host(VM)}") == said
    assert Sight.UNREACHABLE == sight(said)


@pytest.mark.parametrize("beat", ["green", "yellow", "red"])
def test_guest_heartbeat_is_told(world: Vcsim, beat: str) -> None:
    """A machine that is on is up whatever its guest's heartbeat, which is told."""
    world.set_vm(VM, "guestHeartbeatStatus", beat)
    said = asked(world)
    assert Up(f"says that VM {VM} is powered on, on host {world.host(VM)}, with its guest heartbeat {beat}") == said


def test_gray_heartbeat_is_not_told(world: Vcsim) -> None:
    """Gray is how vCenter says that it knows of no heartbeat."""
    world.set_vm(VM, "guestHeartbeatStatus", "gray")
    assert Up(f"says that VM {VM} is powered on, on host {world.host(VM)}") == asked(world)


def test_machine_that_is_off_is_down(world: Vcsim) -> None:
    """Off, seen by vCenter itself on a host that it reaches, is a death."""
    world.power_off(VM)
    said = asked(world)
    assert Down(f"says that VM {VM} is powered off on host {world.host(VM)}") == said
    assert Sight.DOWN == sight(said)


def test_machine_that_is_on_again_is_up(world: Vcsim) -> None:
    """Nothing is remembered from one question to the next."""
    world.power_off(VM)
    assert isinstance(asked(world), Down)
    world.power_on(VM)
    assert isinstance(asked(world), Up)


def test_suspended_machine_is_unknown(world: Vcsim) -> None:
    """I1: who suspended it may resume it at any moment, with all the mail that it holds."""
    world.suspend(VM)
    said = asked(world)
    assert Unknown(f"says that VM {VM} is suspended on host {world.host(VM)}, which is not a death") == said
    assert Sight.UNKNOWN == sight(said)


CUT_OFF = {
    "disconnected": "its host does not answer vCenter, and vSphere HA may restart it elsewhere",
    "orphaned": "its host no longer knows it, and it may run elsewhere",
    "inaccessible": "its host cannot read its files",
    "invalid": "its host cannot read its configuration",
}


@pytest.mark.parametrize("turn", ["on", "off"])
@pytest.mark.parametrize("state", CUT_OFF)
def test_machine_that_vcenter_does_not_reach_is_unknown(world: Vcsim, state: str, turn: str) -> None:
    """I1: what vCenter last saw of it, on or off, is from before it was lost; a dead host looks like that too."""
    if turn == "off":
        world.power_off(VM)
    world.set_vm(VM, "runtime.connectionState", state)
    said = asked(world)
    assert Unknown(f"says that VM {VM} on host {world.host(VM)} is {state}: {CUT_OFF[state]}") == said
    assert Sight.UNKNOWN == sight(said)


@pytest.mark.parametrize("turn", ["on", "off"])
@pytest.mark.parametrize("state", ["notResponding", "disconnected"])
def test_machine_on_a_host_that_vcenter_does_not_reach_is_unknown(world: Vcsim, state: str, turn: str) -> None:
    """I1: vSphere HA may be restarting it elsewhere just now."""
    if turn == "off":
        world.power_off(VM)
    host = world.host(VM)
    world.set_host(host, "runtime.connectionState", state)
    said = asked(world)
    power = "powered on, on" if turn == "on" else "powered off on"
    assert (
        Unknown(f"says that VM {VM} is {power} host {host}, which is {state}, so vSphere HA may restart it elsewhere")
        == said
    )
    assert Sight.UNKNOWN == sight(said)


def test_renamed_machine_is_unknown_until_it_is_named(world: Vcsim) -> None:
    """I1: no match is no death, even if the machine is off; the sentence names the nearest, and the map finds it."""
    world.power_off(VM)
    world.rename(VM, "mbox1")
    said = asked(world)
    assert Unknown(f"shows this user no VM called {VM}; the nearest names are mbox1") == said
    assert Sight.UNKNOWN == sight(said)
    assert isinstance(asked(world, names={VM: "mbox1"}), Down)


def test_name_must_match_exactly(world: Vcsim) -> None:
    """I1: MBOX1 and mbox1 may be two machines."""
    world.rename(VM, VM.upper())
    assert Unknown(f"shows this user no VM called {VM}; the nearest names are {VM.upper()}") == asked(world)


def test_names_are_decoded(world: Vcsim) -> None:
    """What vCenter writes as %2f, %5c and %25 is a slash, a backslash and a percent sign."""
    world.rename(VM, "mail%2fbox%5c1 (100%25)")
    said = asked(world, names={VM: "mail/box\\1 (100%)"})
    assert Up(f"says that VM mail/box\\1 (100%) is powered on, on host {world.host('mail%2fbox%5c1 (100%25)')}") == said


def test_two_machines_of_that_name_are_unknown_until_one_is_named_by_uuid(world: Vcsim) -> None:
    """I1: which of them is the mailstore cannot be told by the name, and surely by the instance UUID, in any case."""
    mine, other = world.uuid(VM), world.uuid(SECOND)
    world.power_off(SECOND)
    world.rename(SECOND, VM)
    said = asked(world)
    uuids = ", ".join(sorted((mine, other)))
    assert Unknown(f"has 2 VMs called {VM}, with the instance UUIDs {uuids}") == said
    assert Sight.UNKNOWN == sight(said)
    assert isinstance(asked(world, names={VM: mine}), Up)
    assert isinstance(asked(world, names={VM: other.upper()}), Down)


def test_unknown_uuid_is_unknown(world: Vcsim) -> None:
    """I1: a UUID that no machine has is no death, and a machine's name is never taken for one."""
    world.power_off(VM)
    world.rename(SECOND, UUID)
    said = asked(world, names={VM: UUID})
    assert Unknown(f"shows this user no VM with the instance UUID {UUID}; the nearest names are {VM}") == said


def test_two_machines_with_that_uuid_are_unknown(world: Vcsim) -> None:
    """I1: copies made behind vCenter's back may share it."""
    uuid = world.uuid(VM)
    world.set_vm(SECOND, "config.instanceUuid", uuid)
    assert Unknown(f"has 2 VMs with the instance UUID {uuid}") == asked(world, names={VM: uuid})


def test_template_does_not_count(world: Vcsim) -> None:
    """I1: a template is always off, and never was the mailstore."""
    world.power_off(VM)
    world.mark_as_template(VM)
    assert Unknown(f"shows this user no VM called {VM}") == asked(world)


def test_template_beside_the_machine_does_not_count(world: Vcsim) -> None:
    """A template of the same name does not make the machine ambiguous."""
    world.rename(SECOND, "other")
    world.power_off("other")
    world.mark_as_template("other")
    world.rename("other", VM)
    assert isinstance(asked(world), Up)


def test_empty_vcenter_is_unknown(certificates: Path) -> None:
    """I1: who sees no machine at all has too few rights."""
    with running(certificates, "-machines", "0") as empty:
        assert Unknown("shows this user no VM at all") == asked(empty)


def test_esxi_host_testifies(certificates: Path) -> None:
    """A single ESXi host speaks the same language."""
    with running(certificates, "-esx") as host:
        host.rename(host.names()[0], VM)
        assert isinstance(asked(host), Up)
        host.power_off(VM)
        assert isinstance(asked(host), Down)


def test_every_page_is_read(calm: Vcsim) -> None:
    """The listing comes in pages of three, and machines on every page are found."""
    names = calm.names()
    assert 8 == len(names)
    assert [True] * 8 == [isinstance(asked(calm, names={VM: name}), Up) for name in names]
    assert 8 * 2 == calm.calls().count("ContinueRetrievePropertiesEx")


def test_questions_of_one_session(calm: Vcsim) -> None:
    """I9: one listing of all machines and one look at the host, the view destroyed, logged out."""
    asked(calm)
    listing = ["RetrievePropertiesEx", *2 * ["ContinueRetrievePropertiesEx"]]
    view = ["CreateContainerView", *listing, "DestroyView"]
    assert ["RetrieveServiceContent", "Login", *view, "RetrievePropertiesEx", "Logout"] == calm.calls()


def test_hidden_name_is_unknown(calm: Vcsim) -> None:
    """I1: a machine whose name the user may not see is not found."""
    calm.hide_vm(VM, "name")
    assert Unknown(f"shows this user no VM called {VM} (1 of its 8 VMs do not show theirs)") == asked(calm)


@pytest.mark.parametrize("hidden", ["runtime.powerState", "runtime.connectionState"])
def test_hidden_state_is_unknown(calm: Vcsim, hidden: str) -> None:
    """I1: what the user may not see is not guessed."""
    calm.hide_vm(VM, hidden)
    said = asked(calm)
    assert Unknown(f"shows VM {VM}, but not its state") == said
    assert Sight.UNKNOWN == sight(said)


def test_what_may_be_a_template_is_never_down(world: Vcsim) -> None:
    """I1: where the user may not see whether it is a template, a machine that is off may be one."""
    world.power_off(VM)
    world.hide_vm(VM, "config.template")
    assert Unknown(f"shows VM {VM}, but not its state") == asked(world)


@pytest.mark.parametrize("hidden", [["runtime.connectionState"], ["runtime.connectionState", "name"]])
def test_machine_that_is_off_on_a_hidden_host_is_unknown(world: Vcsim, hidden: list[str]) -> None:
    """I1: whether its host is connected decides, and the user may not see that."""
    host = world.host(VM)
    world.power_off(VM)
    for path in hidden:
        world.hide_host(host, path)
    said = asked(world)
    called = "that it does not name" if "name" in hidden else host
    assert Unknown(f"says that VM {VM} is powered off on host {called}, but not whether that host is connected") == said


def test_machine_that_is_on_on_a_hidden_host_is_up(calm: Vcsim) -> None:
    """I1: its veto does not depend on rights on the host, and the doctor tells that a death could not be seen."""
    host = calm.host(VM)
    calm.hide_host(host, "runtime.connectionState")
    finding = witness(calm).examine(TARGET)[0]
    said = f"says that VM {VM} is powered on, on host {host}, but not whether that host is connected"
    assert Up(said) == asked(calm)
    assert (Health.WARNING, said) == (finding.health, finding.says)
    assert "role Read-only" in finding.mend


@pytest.mark.parametrize("fault", ["NoPermission", "ManagedObjectNotFound"])
def test_host_that_vcenter_denies_is_hidden(world: Vcsim, fault: str) -> None:
    """I1: a machine that is off on a host that the user cannot see at all is unknown."""
    world.power_off(VM)
    world.before("HostSystem</type>", fault)
    said = asked(world)
    host = "host that it does not name"
    assert Unknown(f"says that VM {VM} is powered off on {host}, but not whether that host is connected") == said


FAULTS = {
    ("<Login ", "InvalidLogin"): f"refuses the login of {USER}",
    ("<Login ", "NoPermission"): f"denies {USER} the right to look",
    ("<CreateContainerView ", "NoPermission"): f"denies {USER} the right to look",
    ("<RetrievePropertiesEx ", "NotAuthenticated"): "ended the session before it had answered",
    ("HostSystem</type>", "NotAuthenticated"): "ended the session before it had answered",
    ("<ContinueRetrievePropertiesEx ", "InvalidArgument"): "could not answer (vmodl.fault.InvalidArgument)",
    ("<RetrieveServiceContent ", "HostNotReachable"): "could not answer (vmodl.fault.HostNotReachable)",
    ("<RetrievePropertiesEx ", "Nonsense"): "does not answer as a vCenter does (KeyError)",
}


@pytest.mark.parametrize(("method", "fault"), FAULTS)
def test_fault_is_unknown(calm: Vcsim, method: str, fault: str) -> None:
    """I1, I9: every fault at every step is unknown with its own sentence; what the server writes is not repeated."""
    calm.before(method, fault)
    said = asked(calm)
    assert Unknown(FAULTS[method, fault]) == said
    assert Sight.UNKNOWN == sight(said)


@pytest.mark.parametrize(
    "method", ["<CreateContainerView ", "<RetrievePropertiesEx ", "<ContinueRetrievePropertiesEx ", "HostSystem</type>"]
)
def test_session_that_ends_in_mid_question_is_unknown(calm: Vcsim, method: str) -> None:
    """I1: a session that vCenter ends is no answer, however much had been told."""
    calm.before(method, "expire")
    said = asked(calm)
    assert isinstance(said, Unknown)
    assert said.reason in (
        "ended the session before it had answered",
        "could not answer (vmodl.fault.ManagedObjectNotFound)",
    )


def test_wrong_password_is_unknown(calm: Vcsim) -> None:
    """I1: and it is not told, neither the right nor the wrong one."""
    said = asked(calm, password=f"{PASSWORD}er")
    assert Unknown(f"refuses the login of {USER}") == said
    assert Sight.UNKNOWN == sight(said)
    assert ["RetrieveServiceContent", "Login"] == calm.calls()


@pytest.mark.parametrize("password", [f"{PASSWORD}\udce4", f"{PASSWORD}\0", f"{PASSWORD}]]>", ""])
def test_password_that_cannot_be_is_unknown(calm: Vcsim, password: str) -> None:
    """I9: whatever it breaks on the way, it is not told."""
    assert isinstance(asked(calm, password=password), Unknown)


def test_password_is_in_no_repr(calm: Vcsim) -> None:
    """I9: a witness in a trace does not tell it."""
    assert PASSWORD not in repr(witness(calm))


def test_certificate_that_is_not_trusted_is_unknown(calm: Vcsim) -> None:
    """I1, I9: who cannot be trusted is not asked, and never gets the password; `verify_tls: false` trusts anybody."""
    said = asked(calm, ca_file="")
    assert Unknown("has a TLS certificate that is not trusted (unable to get local issuer certificate)") == said
    assert [] == calm.calls()
    assert isinstance(asked(calm, ca_file="", verify_tls=False), Up)


def test_certificate_for_another_name_is_unknown(calm: Vcsim) -> None:
    """I1, I9: `localhost` is no exception."""
    said = asked(calm, host="localhost")
    assert isinstance(said, Unknown)
    assert said.reason.startswith("has a TLS certificate that is not trusted (Hostname mismatch")
    assert [] == calm.calls()


def test_ca_file_that_cannot_be_read_is_unknown(calm: Vcsim) -> None:
    """I1: the sentence names the file."""
    assert Unknown("cannot be asked: the CA file /nowhere/ca.pem cannot be read (No such file or directory)") == asked(
        calm, ca_file="/nowhere/ca.pem"
    )


def test_nobody_there_is_unknown(world: Vcsim) -> None:
    """I1: a vCenter that died with its site says nothing of the mailstore."""
    world.kill()
    said = asked(world)
    assert Unknown(f"cannot be asked: 127.0.0.1:{world.port} refuses the connection") == said
    assert Sight.UNKNOWN == sight(said)


@pytest.mark.parametrize("method", ["<Login ", "<RetrievePropertiesEx ", "HostSystem</type>"])
def test_vcenter_that_dies_in_mid_question_is_unknown(certificates: Path, method: str) -> None:
    """I1: half an answer is none."""
    with running(certificates) as doomed:
        doomed.rename(FIRST, VM)
        doomed.power_off(VM)
        doomed.before(method, "exit")
        assert Unknown("broke the connection off before it had answered") == asked(doomed)


def test_name_that_cannot_be_resolved_is_unknown(calm: Vcsim, monkeypatch: pytest.MonkeyPatch) -> None:
    """I1: the sentence names it."""

    def unresolved(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unresolved)
    said = witness(calm, host="vc.example.com").ask(TARGET).evidence
    monkeypatch.undo()
    why = "cannot be asked: vc.example.com is no name that can be resolved (Name or service not known)"
    assert Unknown(why) == said


def bounded(ask: Callable[[], Evidence]) -> Evidence:
    """Return an answer that comes soon enough, and of whose asking no thread is left; fails where it does not."""
    before = threading.active_count()
    found: list[Evidence] = []
    asking = threading.Thread(target=lambda: found.append(ask()), daemon=True)
    begun = time.monotonic()
    asking.start()
    asking.join(4 * GRACE)
    assert time.monotonic() - begun < SHORT + GRACE, "the question is not bounded"
    while threading.active_count() > before:
        assert time.monotonic() - begun < SHORT + GRACE, threading.enumerate()
        time.sleep(0.01)
    return found[0]


@pytest.mark.parametrize(
    "method", ["<RetrieveServiceContent ", "<Login ", "<CreateContainerView ", "HostSystem</type>"]
)
def test_vcenter_that_falls_silent_is_unknown(calm: Vcsim, method: str) -> None:
    """I4: it costs no more than the time-out, at whatever question; and the session is ended all the same."""
    calm.before(method, "hang")
    said = bounded(lambda: asked(calm, timeout=SHORT))
    assert Unknown(SILENT) == said
    assert Sight.UNKNOWN == sight(said)


def test_vcenter_that_freezes_is_unknown(certificates: Path) -> None:
    """I4: where even the farewell finds nobody, that has a bound of its own."""
    with running(certificates) as frozen:
        frozen.before("<CreateContainerView ", "freeze")
        assert Unknown(SILENT) == bounded(lambda: asked(frozen, timeout=SHORT))


def test_farewell_is_short(calm: Vcsim, monkeypatch: pytest.MonkeyPatch) -> None:
    """I4: when the time is up, the connection for the farewell is given half a second, not the whole time again."""
    patience: list[float] = []
    connect = socket.create_connection

    def watched(address: tuple[str, int], timeout: float, *rest: object) -> socket.socket:
        patience.append(timeout)
        return connect(address, timeout, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "create_connection", watched)
    calm.before("<CreateContainerView ", "hang")
    asked(calm, timeout=2 * SHORT)
    assert [2 * SHORT, 0.5] == patience


def test_logout_that_hangs_does_not_change_the_answer(calm: Vcsim) -> None:
    """I4: the answer is there before, and the farewell has a bound of its own, however long the time-out is."""
    calm.before("<Logout ", "hang")
    said = bounded(lambda: asked(calm))
    calm.end_sessions()
    assert isinstance(said, Up)


def test_logout_that_fails_does_not_change_the_answer(calm: Vcsim) -> None:
    """The answer is there before."""
    calm.before("<Logout ", "expire")
    assert isinstance(asked(calm), Up)


@contextlib.contextmanager
def impostor(certificates: Path, talk: Talk, *, tls: bool = True) -> Iterator[Vcsim]:
    """Run a server that is no vCenter but has its certificate; every connection is handed to `talk`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "cert.pem", certificates / "key.pem")
    stop = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(10)
            with context.wrap_socket(connection, server_side=True) if tls else connection as wrapped:
                talk(wrapped)

    def accept() -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError):
                connections.append(threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True))
                connections[-1].start()

    connections: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        port = int(listener.getsockname()[1])
        yield Vcsim(None, "127.0.0.1", port, str(certificates / "ca.pem"), "")  # type: ignore[arg-type]
        stop.set()
        listener.shutdown(socket.SHUT_RDWR)
        for thread in (accepting, *connections):
            thread.join(10)


def silence(connection: socket.socket) -> None:
    """Take everything and never say a word."""
    while connection.recv(4096):
        pass


def drip(beginning: bytes) -> Talk:
    """Return a talk that begins well and goes on one byte at a time, faster than any time-out for one byte."""

    def talk(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(beginning)
        for _ in range(200):
            connection.sendall(b" ")
            time.sleep(SHORT / 5)

    return talk


TRICKLES = {
    "silent before TLS": (silence, False),
    "TLS that drips": (drip(b"\x16\x03\x03\x40\x00"), False),
    "silent after TLS": (silence, True),
    "headers that drip": (drip(b"HTTP/1.1 200 OK\r\nX: "), True),
    "body that drips": (drip(HTTP_OK), True),
    "chunks that drip": (drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n"), True),
    "fault that drips": (drip(HTTP_OK.replace(b"200 OK", b"500 No")), True),
}


@pytest.mark.parametrize("case", TRICKLES)
def test_server_that_trickles_is_unknown(certificates: Path, case: str) -> None:
    """I4: a server that accepts and stays silent, or never comes to an end, costs no more than the time-out."""
    talk, tls = TRICKLES[case]
    with impostor(certificates, talk, tls=tls) as place:
        before = threading.active_count()
        begun = time.monotonic()
        said = asked(place, timeout=SHORT)
        took = time.monotonic() - begun
        while threading.active_count() > before + 1:  # the impostor's own thread for the connection
            assert time.monotonic() - begun < SHORT + GRACE, threading.enumerate()
            time.sleep(0.01)
    assert Unknown(SILENT) == said
    assert took < SHORT + GRACE


def connection_to(place: Vcsim, alarm: Alarm, end: contextlib.ExitStack, timeout: float) -> HTTPSConnection:
    """Return a connection as the witness makes them."""
    context = ssl.create_default_context(cafile=place.ca_file)
    return vcenter._Connection(alarm, end, context=context, host=place.address, port=place.port, timeout=timeout)


def test_handshake_is_broken_off(certificates: Path) -> None:
    """I4: what is left of the time counts, and not what a connection by itself would wait."""
    begun = time.monotonic()
    with impostor(certificates, silence, tls=False) as place, contextlib.ExitStack() as end, Alarm(SHORT) as alarm:
        connection = connection_to(place, alarm, end, 10.0)
        with pytest.raises(OSError, match="EOF|closed"):
            connection.connect()
    assert time.monotonic() - begun < SHORT + GRACE


def test_alarm_that_rang_too_early_still_counts(certificates: Path) -> None:
    """I4: a connection that is made only after the time is up is not used: nothing would break it off any more."""
    with impostor(certificates, drip(HTTP_OK)) as place, contextlib.ExitStack() as end, Alarm(0.0) as alarm:
        while not alarm.rang:
            time.sleep(0.01)
        with pytest.raises(TimeoutError):
            connection_to(place, alarm, end, SHORT).connect()


def say(text: str) -> Talk:
    """Return a talk that answers everything with a text."""

    def talk(connection: socket.socket) -> None:
        heard = b""
        while not heard.endswith(b":Envelope>") and (part := connection.recv(65536)):
            heard += part
        connection.sendall(text.encode())

    return talk


def page(status: str, body: str = "") -> str:
    """Return an answer of HTTP."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"


SOAP = '<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body>{}</e:Body></e:Envelope>'
STRANGERS = {
    "a web page": (page("200 OK", "<html><body><p>It works!</body></html>"), "as a vCenter does (ExpatError)"),
    "nothing there": (page("404 Not Found", "no"), "as a vCenter does (HTTP 404)"),
    "out of order": (page("503 Service Unavailable"), "as a vCenter does (HTTP 503)"),
    "elsewhere": (page("302 Found"), "as a vCenter does (HTTP 302)"),
    "an error page": (page("500 Oops", "<html>"), "as a vCenter does (ExpatError)"),
    "garbage": ("hello\r\n\r\n", "as a vCenter does (BadStatusLine)"),
    "an empty page": (page("200 OK"), "as a vCenter does (ExpatError)"),
    "an empty envelope": (page("200 OK", SOAP.format("")), "as a vCenter does"),
    "another service": (page("200 OK", SOAP.format('<Hello xmlns="urn:x">you</Hello>')), "as a vCenter does"),
    "half an answer": (page("200 OK", SOAP)[:-30], "as a vCenter does"),
    "nobody speaks": ("", "broke the connection off before it had answered"),
}


@pytest.mark.parametrize("case", STRANGERS)
def test_stranger_is_unknown(certificates: Path, case: str) -> None:
    """I1: whatever is no vCenter says nothing of the mailstore."""
    text, why = STRANGERS[case]
    with impostor(certificates, say(text)) as place:
        said = asked(place)
    assert isinstance(said, Unknown)
    assert why in said.reason
    assert Sight.UNKNOWN == sight(said)


def test_server_without_tls_is_unknown(certificates: Path) -> None:
    """I1, I9: it is not asked in the clear."""

    def refuse(connection: socket.socket) -> None:
        assert PASSWORD.encode() not in connection.recv(65536)
        connection.sendall(page("400 Bad Request").encode())

    with impostor(certificates, refuse, tls=False) as place:
        said = asked(place)
    assert isinstance(said, Unknown)
    assert said.reason.startswith("cannot be asked by TLS (")


def test_time_that_is_up_between_two_questions_is_up(calm: Vcsim) -> None:
    """I4: an answer that is complete too late does not count, and the session is ended on another connection."""

    def slow() -> float:
        time.sleep(2 * SHORT)
        return time.time()

    finding = witness(calm, timeout=SHORT, clock=slow).examine(TARGET)[0]
    assert (Health.ERROR, SILENT) == (finding.health, finding.says)


def test_services_are_not_seen(calm: Vcsim) -> None:
    """A machine that runs tells nothing of the mail service, so vCenter is not even asked."""
    assert Unknown("sees machines, not services") == witness(calm).ask_service(TARGET).evidence
    assert [] == calm.calls()


def test_examine_finds_all_well(calm: Vcsim) -> None:
    """A clear answer and clocks that agree need no mending."""
    findings = witness(calm).examine(TARGET)
    assert [
        (Health.GOOD, "witness vCenter", f"says that VM {VM} is powered on, on host {calm.host(VM)}", ""),
        (Health.GOOD, "clock of vCenter", "agrees with that of this host", ""),
    ] == [(finding.health, finding.subject, finding.says, finding.mend) for finding in findings]


@pytest.mark.parametrize(("ours", "says"), [(-95, "is 95 s ahead of"), (95, "is 95 s behind")])
def test_examine_finds_a_wrong_clock(calm: Vcsim, ours: int, says: str) -> None:
    """More than 30 s apart is worth a warning."""
    finding = witness(calm, clock=lambda: time.time() + ours).examine(TARGET)[1]
    assert (Health.WARNING, "clock of vCenter") == (finding.health, finding.subject)
    assert f"{says} that of this host" == finding.says
    assert "synchronise both clocks" == finding.mend


def test_examine_finds_that_tls_is_not_verified(calm: Vcsim) -> None:
    """Who trusts anybody is told what that means."""
    finding = witness(calm, verify_tls=False).examine(TARGET)[-1]
    assert (Health.WARNING, "TLS of vCenter") == (finding.health, finding.subject)
    assert "is not verified: whoever stands in between can lie and has the password" == finding.says
    assert "vcenter.ca_file" in finding.mend


def test_examine_finds_a_death(world: Vcsim) -> None:
    """Down is a clear answer: vCenter can testify."""
    world.power_off(VM)
    finding = witness(world).examine(TARGET)[0]
    assert (Health.GOOD, "") == (finding.health, finding.mend)


MENDS: dict[str, tuple[dict[str, object], str]] = {
    "name": ({"names": {VM: "mbox9"}}, "vcenter.names"),
    "login": ({"password": "wrong"}, "vcenter.username"),
    "trust": ({"ca_file": ""}, "vcenter.ca_file"),
    "ca_file": ({"ca_file": "/nowhere"}, "vcenter.ca_file"),
    "address": ({"port": 1}, "vcenter.hostname"),
}


@pytest.mark.parametrize("case", MENDS)
def test_examine_tells_how_to_mend(calm: Vcsim, case: str) -> None:
    """Each way in which vCenter cannot testify is an error, with the key to look at; nothing else can then be said."""
    settings, mend = MENDS[case]
    findings = witness(calm, **settings).examine(TARGET)
    assert (Health.ERROR, "witness vCenter") == (findings[0].health, findings[0].subject)
    assert mend in findings[0].mend
    assert PASSWORD not in repr(findings)


def test_examine_tells_which_rights_are_missing(calm: Vcsim) -> None:
    """A hidden state is mended by the role Read-only."""
    calm.hide_vm(VM, "runtime.powerState")
    finding = witness(calm).examine(TARGET)[0]
    assert Health.ERROR == finding.health
    assert "give the user (vcenter.username) the role Read-only on the machine and on its host" == finding.mend
