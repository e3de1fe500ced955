"""The vCenter witness: what vCenter, or an ESXi host, knows of the virtual machine that a node is.

Of exactly one machine with the right name or instance UUID, which is no template:

machine       its host      power        what it says
connected     connected     poweredOff   down
connected     connected     poweredOn    up
connected     hidden        poweredOn    up: its host could add nothing to that
all else                                 unknown

A host that died shows its machines as disconnected, and vSphere HA may be restarting them elsewhere: that is not a
death that anybody has seen. Wire format: vSphere Web Services API, vim25.
"""

from __future__ import annotations

import difflib
import http.client
import re
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from urllib.parse import unquote

from pyVmomi import SoapStubAdapter, vim, vmodl

from habeat.errors import HttpError
from habeat.http import Alarm, tls_context
from habeat.model import Down, Evidence, Finding, Health, Target, Unknown, Up
from habeat.observe import Answer

VERSION = "vim.version.version9"  # vSphere 5.5, which all later ones understand

STATE = ("name", "runtime.connectionState")
ALL = (*STATE, "runtime.powerState", "runtime.host", "guestHeartbeatStatus", "config.instanceUuid", "config.template")

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
TOLERATED_SKEW = 30.0
SHORTEST_FAREWELL, LONGEST_FAREWELL = 0.5, 1.0

LOOK = "look at the machine and its host in vCenter"
NAMES = "write what vCenter calls it, or (better) its instance UUID, into vcenter.names"
RIGHTS = "give the user (vcenter.username) the role Read-only on the machine and on its host"
PLACE = "check vcenter.hostname and vcenter.port, and the way there"
LOGIN = "check vcenter.username and its password"
TRUST = "name the CA of its certificate in vcenter.ca_file, and check vcenter.hostname"
HEALTH = "look into vCenter's own health"

LOST = {
    "disconnected": "its host does not answer vCenter, and vSphere HA may restart it elsewhere",
    "orphaned": "its host no longer knows it, and it may run elsewhere",
    "inaccessible": "its host cannot read its files",
    "invalid": "its host cannot read its configuration",
}

FAILURES: tuple[tuple[Any, str, str], ...] = (
    (TimeoutError, "did not answer within {own.timeout:g} s", PLACE),
    (HttpError, "cannot be asked: {error}", TRUST),
    (ssl.SSLCertVerificationError, "has a TLS certificate that is not trusted ({error.verify_message})", TRUST),
    (ssl.SSLError, "cannot be asked by TLS ({error.reason})", PLACE),
    (socket.gaierror, "cannot be asked: {own.host} is no name that can be resolved ({error.strerror})", PLACE),
    (ConnectionRefusedError, "cannot be asked: {own.host}:{own.port} refuses the connection", PLACE),
    (ConnectionError, "broke the connection off before it had answered", PLACE),
    (OSError, "cannot be asked ({error.strerror})", PLACE),
    (UnicodeError, "cannot be asked: the host name, user name or password has characters that cannot be sent", LOGIN),
    (vim.fault.InvalidLogin, "refuses the login of {own.username}", LOGIN),
    (vim.fault.NotAuthenticated, "ended the session before it had answered", HEALTH),
    (vim.fault.NoPermission, "denies {own.username} the right to look", RIGHTS),
    (vmodl.MethodFault, "could not answer ({kind})", HEALTH),
    (Exception, "does not answer as a vCenter does ({kind})", PLACE),
)
"""What may go wrong, the narrower before the wider, with the sentence for it and how to mend it."""

Shown = Mapping[str, Any]
"""The properties of one object that the user may see."""


@dataclass(frozen=True)
class _Testimony:
    """What was heard, how to make it better if it can be, and how far vCenter's clock is ahead of ours (seconds)."""

    evidence: Evidence
    mend: str = ""
    ahead: float | None = None


@dataclass(frozen=True)
class VcenterWitness:
    """Asks vCenter in a session of its own, which is over within `timeout` (seconds), whatever vCenter does.

    `names` tells what vCenter calls a node, if not by its host name: the machine's name there or its instance UUID.
    """

    host: str
    port: int
    username: str
    password: str = field(repr=False)
    ca_file: str
    timeout: float
    verify_tls: bool
    names: Mapping[str, str]
    clock: Callable[[], float]
    site: str | None = None
    name: str = "vCenter"
    networked: bool = True
    sparing: bool = True

    def ask(self, target: Target) -> Answer:
        """Return what vCenter knows of the target's machine; the age is 0, since vCenter tells what it sees now."""
        return Answer(self._hear(target).evidence)

    def ask_service(self, target: Target) -> Answer:  # noqa: ARG002  the answer is the same for every target
        """Return that vCenter cannot tell."""
        return Answer(Unknown("sees machines, not services"))

    def examine(self, target: Target) -> Sequence[Finding]:
        """Return whether vCenter can testify, whether its clock is right, and whether it surely is vCenter."""
        heard = self._hear(target, timed=True)
        health = Health.WARNING if heard.mend else Health.GOOD
        health = Health.ERROR if isinstance(heard.evidence, Unknown) else health
        findings = [Finding(health, f"witness {self.name}", heard.evidence.reason, heard.mend)]
        if heard.ahead is not None:
            far = abs(heard.ahead) > TOLERATED_SKEW
            way = "ahead of" if heard.ahead > 0 else "behind"
            says = f"is {abs(heard.ahead):.0f} s {way} that of this host" if far else "agrees with that of this host"
            health, mend = (Health.WARNING, "synchronise both clocks") if far else (Health.GOOD, "")
            findings.append(Finding(health, f"clock of {self.name}", says, mend))
        if not self.verify_tls:
            says = "is not verified: whoever stands in between can lie and has the password"
            mend = "set vcenter.verify_tls: true, and name the CA in vcenter.ca_file"
            findings.append(Finding(Health.WARNING, f"TLS of {self.name}", says, mend))
        return findings

    def _hear(self, target: Target, *, timed: bool = False) -> _Testimony:
        """Return what vCenter says in one session, or why it says nothing; `timed` asks for its clock too."""
        begun = time.monotonic()
        alarm = Alarm(self.timeout)
        try:
            with ExitStack() as end, alarm:
                stub = self._stub()
                stub.scheme = partial(_Connection, alarm, end)
                service = vim.ServiceInstance("ServiceInstance", stub)
                content = service.RetrieveContent()
                end.callback(self._leave, end, stub, content.sessionManager, alarm, begun)
                content.sessionManager.Login(self.username, self.password)
                heard = self._testimony(content, target)
                ahead = service.CurrentTime().timestamp() - self.clock() if timed else None
                alarm.check()
                return replace(heard, ahead=ahead)
        except Exception as error:  # noqa: BLE001  whatever stands there in place of vCenter is an unknown
            return self._failure(TimeoutError() if alarm.rang else error)

    def _stub(self) -> Any:
        """Return the way to talk to vCenter; pyVmomi's SmartConnect would ask for its version first, unbounded."""
        context = tls_context(self.ca_file, verify=self.verify_tls)
        where = {"host": self.host, "port": self.port, "sslContext": context, "httpConnectionTimeout": self.timeout}
        return SoapStubAdapter(version=VERSION, **where)

    def _leave(self, end: ExitStack, stub: Any, session: Any, alarm: Alarm, begun: float) -> None:
        """Log out within what is left of the time, or a moment; a session that stays ends by itself when idle."""
        if alarm.rang:
            stub.DropConnections()
        seconds = min(max(begun + self.timeout - time.monotonic(), SHORTEST_FAREWELL), LONGEST_FAREWELL)
        with suppress(Exception), Alarm(seconds) as last:
            for connection, _ in stub.pool:
                last.watch(connection)
            stub.scheme = partial(_Connection, last, end)
            stub.schemeArgs["timeout"] = seconds
            if stub.cookie:
                session.Logout()

    def _failure(self, error: Exception) -> _Testimony:
        """Return why there is no answer; what the other side wrote is not quoted: it has seen the password."""
        status = str(error).partition(" ")[0]
        kind = f"HTTP {status}" if status.isdigit() else type(error).__name__
        says, mend = next((says, mend) for kinds, says, mend in FAILURES if isinstance(error, kinds))
        return _Testimony(Unknown(says.format(own=self, error=error, kind=kind)), mend)

    def _testimony(self, content: Any, target: Target) -> _Testimony:
        wanted = self.names.get(target.name, target.name)
        by_uuid = UUID.fullmatch(wanted) is not None
        path, fold = ("config.instanceUuid", str.lower) if by_uuid else ("name", str)
        such = f"with the instance UUID {wanted}" if by_uuid else f"called {wanted}"
        machines = [machine for machine in _machines(content) if not machine.get("config.template")]
        found = [machine for machine in machines if path in machine and fold(machine[path]) == fold(wanted)]
        if not machines:
            return _Testimony(Unknown("shows this user no VM at all"), RIGHTS)
        if not found:
            hidden = sum(path not in machine for machine in machines)
            hint = f" ({hidden} of its {len(machines)} VMs do not show theirs)" if hidden else ""
            hint += _nearest(target.name if by_uuid else wanted, machines)
            return _Testimony(Unknown(f"shows this user no VM {such}{hint}"), NAMES)
        if len(found) > 1:
            uuids = ", ".join(sorted(str(machine.get("config.instanceUuid")) for machine in found))
            says = f"has {len(found)} VMs {such}{'' if by_uuid else f', with the instance UUIDs {uuids}'}"
            return _Testimony(Unknown(says), "write the instance UUID of the right one into vcenter.names")
        return _weigh(found[0], _host(content, found[0]))


def _nearest(wanted: str, machines: Sequence[Shown]) -> str:
    """Return the machines' names that are most like a name or its first label, as the end of a sentence."""
    known = {machine["name"].lower(): machine["name"] for machine in machines if "name" in machine}
    words = wanted.lower(), wanted.lower().partition(".")[0]
    near = dict.fromkeys(known[name] for word in words for name in difflib.get_close_matches(word, known))
    return f"; the nearest names are {', '.join(near)}" if near else ""


def _weigh(machine: Shown, host: Shown) -> _Testimony:  # noqa: PLR0911  one return for each state
    """Return what a machine's state says, by the table at the top of this module."""
    vm = f"VM {machine.get('name', 'that it does not name')}"
    power, connection = machine.get("runtime.powerState"), machine.get("runtime.connectionState")
    place, reach = f"host {host.get('name', 'that it does not name')}", host.get("runtime.connectionState")
    if power is None or connection is None or (power == "poweredOff" and machine.get("config.template") is None):
        return _Testimony(Unknown(f"shows {vm}, but not its state"), RIGHTS)
    if connection != "connected":
        says = f"says that {vm} on {place} is {connection}: {LOST.get(connection, 'it knows nothing newer')}"
        return _Testimony(Unknown(says), LOOK)
    if power == "suspended":
        return _Testimony(Unknown(f"says that {vm} is suspended on {place}, which is not a death"), LOOK)
    if power not in ("poweredOn", "poweredOff"):
        return _Testimony(Unknown(f"gives an unclear power state of {vm}: {power}"), LOOK)
    says = f"says that {vm} is powered {'on,' if power == 'poweredOn' else 'off'} on {place}"
    if reach is None:
        blind = f"{says}, but not whether that host is connected"
        return _Testimony(Up(blind) if power == "poweredOn" else Unknown(blind), RIGHTS)
    if reach != "connected":
        return _Testimony(Unknown(f"{says}, which is {reach}, so vSphere HA may restart it elsewhere"), LOOK)
    if power == "poweredOff":
        return _Testimony(Down(says))
    beat = machine.get("guestHeartbeatStatus")
    return _Testimony(Up(says if beat in (None, "gray") else f"{says}, with its guest heartbeat {beat}"))


def _machines(content: Any) -> list[Shown]:
    """Return what the user may see of every virtual machine, in one listing."""
    view = content.viewManager.CreateContainerView(content.rootFolder, [vim.VirtualMachine], recursive=True)
    way = vmodl.query.PropertyCollector.TraversalSpec(type=vim.view.ContainerView, path="view", skip=False)
    listed = _shown(content, vim.VirtualMachine, ALL, obj=view, skip=True, selectSet=[way])
    view.DestroyView()
    # vCenter writes /, \ and % in names as %2f, %5c and %25.
    return [{**m, "name": unquote(m["name"])} if "name" in m else m for m in listed]


def _host(content: Any, machine: Shown) -> Shown:
    """Return what the user may see of a machine's host, which may be nothing."""
    try:
        host = machine.get("runtime.host")
        return next(iter(_shown(content, vim.HostSystem, STATE, obj=host)), {}) if host else {}
    except (vim.fault.NoPermission, vmodl.fault.ManagedObjectNotFound) as error:
        if isinstance(error, vim.fault.NotAuthenticated):
            raise
        return {}


def _shown(content: Any, kind: Any, paths: Sequence[str], **objects: Any) -> list[Shown]:
    """Return the properties of all selected objects, page by page."""
    query = vmodl.query.PropertyCollector
    properties = query.PropertySpec(type=kind, all=False, pathSet=list(paths))
    wanted = query.FilterSpec(objectSet=[query.ObjectSpec(**objects)], propSet=[properties])
    shown: list[Shown] = []
    page = content.propertyCollector.RetrievePropertiesEx([wanted], query.RetrieveOptions())
    while page:
        if any(isinstance(m.fault, vim.fault.NotAuthenticated) for item in page.objects for m in item.missingSet):
            raise vim.fault.NotAuthenticated
        shown += [{property_.name: property_.val for property_ in item.propSet} for item in page.objects]
        page = content.propertyCollector.ContinueRetrievePropertiesEx(page.token) if page.token else None
    return shown


class _Connection(http.client.HTTPSConnection):
    """A connection that its alarm can break off at any time, even while TLS is being agreed on, closed at the end."""

    def __init__(self, alarm: Alarm, end: ExitStack, *place: Any, context: ssl.SSLContext, **more: Any) -> None:
        super().__init__(*place, context=context, **more)  # pyVmomi's versions give the place in different ways
        self._alarm, self._tls = alarm, context
        alarm.watch(self)
        end.callback(self.close)

    def connect(self) -> None:
        """Connect; raises TimeoutError if the alarm rang before there was anything to break off."""
        http.client.HTTPConnection.connect(self)
        tls = self._tls.wrap_socket(self.sock, server_hostname=self.host, do_handshake_on_connect=False)
        self.sock = tls
        self._alarm.check()
        tls.do_handshake()
