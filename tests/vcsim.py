"""A vCenter for tests: govmomi's simulator over TLS (tests/vcsim/main.go), and its administrator.

The administrator works through a Unix socket and pyVmomi, so the simulator may stand in any network namespace.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from pyVmomi import SoapStubAdapter, vim

from certificates import certify

PROGRAM = Path(__file__).resolve().parents[1] / ".servers/bin/vcsim"  # govmomi's own, on PATH, knows less
USER, PASSWORD = "habeat@vsphere.local", "correct-horse-battery"


def obstacle() -> str | None:
    """Return why the simulator cannot run on this machine, or None."""
    missing = [Path(name).name for name in (str(PROGRAM), "openssl") if shutil.which(name) is None]
    return f"no {', '.join(missing)} here; `python scripts/servers.py .servers` brings it" if missing else None


@dataclass(frozen=True)
class Vcsim:
    """A running simulator, the CA file of its certificate, and the administrator's socket."""

    process: subprocess.Popen[str]
    address: str
    port: int
    ca_file: str
    admin: str

    def kill(self) -> None:
        """End it; only then is it sure that it takes no connection, rather than breaking one off as it goes."""
        self.process.kill()
        self.process.wait(10)

    @contextlib.contextmanager
    def administrator(self) -> Iterator[Any]:
        """Give vCenter's ServiceContent in a session of the administrator's."""
        stub = SoapStubAdapter(sock=self.admin, version="vim.version.version9")
        content = vim.ServiceInstance("ServiceInstance", stub).RetrieveContent()
        content.sessionManager.Login(USER, PASSWORD)
        try:
            yield content
        finally:
            content.sessionManager.Logout()
            stub.DropConnections()

    def sessions(self) -> int:
        """Return how many sessions there are besides the administrator's own."""
        with self.administrator() as content:
            return len(content.sessionManager.sessionList) - 1

    def end_sessions(self) -> None:
        """End all sessions but the administrator's own."""
        with self.administrator() as content:
            own = content.sessionManager.currentSession.key
            keys = [session.key for session in content.sessionManager.sessionList if session.key != own]
            content.sessionManager.TerminateSession(keys)

    def names(self) -> list[str]:
        """Return the names of all virtual machines."""
        with self.administrator() as content:
            return sorted(vm.name for vm in _all(content, vim.VirtualMachine))

    def uuid(self, name: str) -> str:
        """Return a machine's instance UUID."""
        with self.administrator() as content:
            return str(_only(content, vim.VirtualMachine, name).config.instanceUuid)

    def host(self, name: str) -> str:
        """Return the name of the host that a machine is on."""
        with self.administrator() as content:
            return str(_only(content, vim.VirtualMachine, name).runtime.host.name)

    def power_off(self, name: str) -> None:
        """Turn a machine off."""
        self._task(name, "PowerOffVM_Task")

    def power_on(self, name: str) -> None:
        """Turn a machine on."""
        self._task(name, "PowerOnVM_Task")

    def suspend(self, name: str) -> None:
        """Suspend a machine."""
        self._task(name, "SuspendVM_Task")

    def rename(self, name: str, new: str) -> None:
        """Give a machine another name, which others may have too."""
        self._task(name, "Rename_Task", new)

    def mark_as_template(self, name: str) -> None:
        """Turn a machine that is off into a template."""
        with self.administrator() as content:
            _only(content, vim.VirtualMachine, name).MarkAsTemplate()

    def set_vm(self, name: str, path: str, value: str) -> None:
        """Set a property of a machine by force."""
        with self.administrator() as content:
            self._order("set", _only(content, vim.VirtualMachine, name), property=path, value=value)

    def set_host(self, name: str, path: str, value: str) -> None:
        """Set a property of a host by force."""
        with self.administrator() as content:
            self._order("set", _only(content, vim.HostSystem, name), property=path, value=value)

    def hide_vm(self, name: str, path: str) -> None:
        """Hide a property of a machine for want of rights."""
        with self.administrator() as content:
            self._order("hide", _only(content, vim.VirtualMachine, name), property=path)

    def hide_host(self, name: str, path: str) -> None:
        """Hide a property of a host for want of rights."""
        with self.administrator() as content:
            self._order("hide", _only(content, vim.HostSystem, name), property=path)

    def before(self, text: str, does: str) -> None:
        """Let requests that contain a text `exit`, `hang`, `freeze` it, `expire` (end the session first) or get a fault."""
        self._order("before", text=text, does=does)

    def reset(self) -> None:
        """Take back what was hidden and ordered."""
        self._order("reset")

    def calls(self) -> list[str]:
        """Return which methods were called through the network since this was last asked."""
        return self._order("calls").split()

    def _task(self, name: str, method: str, *arguments: str) -> None:
        with self.administrator() as content:
            task = getattr(_only(content, vim.VirtualMachine, name), method)(*arguments)
            deadline = time.monotonic() + 10
            while task.info.state in ("queued", "running"):
                assert time.monotonic() < deadline, f"{method} of {name} takes too long"
                time.sleep(0.01)
            assert task.info.state == "success", (name, method, task.info.error)

    def _order(self, what: str, item: Any = None, **words: str) -> str:
        place = {"type": item._wsdlName, "id": item._moId} if item is not None else {}
        connection = http.client.HTTPConnection("simulator", timeout=10)
        connection.sock = socket.socket(socket.AF_UNIX)
        with contextlib.closing(connection):
            connection.sock.connect(self.admin)
            connection.request("POST", f"/habeat/{what}?{urlencode({**place, **words})}")
            response = connection.getresponse()
            assert response.status == 200, (what, response.status)
            return response.read().decode()


def _all(content: Any, kind: Any) -> list[Any]:
    view = content.viewManager.CreateContainerView(content.rootFolder, [kind], recursive=True)
    return list(view.view)


def _only(content: Any, kind: Any, name: str) -> Any:
    found = [item for item in _all(content, kind) if item.name == name]
    assert len(found) == 1, (name, found)
    return found[0]


@contextlib.contextmanager
def running(certificates: Path, *flags: str, address: str = "127.0.0.1", prefix: Sequence[str] = ()) -> Iterator[Vcsim]:
    """Run a simulator at an address, on a port that it chooses; `prefix` is a command that runs it elsewhere.

    The folder of certificates is filled if it is empty; they are good for that address alone.
    """
    if not (certificates / "ca.pem").exists():
        certify(certificates, address)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="vcsim-"))  # sockets need short paths
        files = [
            "-cert",
            f"{certificates}/cert.pem",
            "-key",
            f"{certificates}/key.pem",
            "-admin",
            f"{folder}/admin.sock",
        ]
        who = ["-listen", f"{address}:0", "-user", USER, "-password", PASSWORD]
        process = stack.enter_context(
            subprocess.Popen(
                [*prefix, str(PROGRAM), *files, *who, *flags],
                env={**os.environ, "TMPDIR": folder},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        stack.callback(process.kill)
        assert process.stdout is not None
        said = process.stdout.readline()
        found = re.fullmatch(r"listening at .*:(\d+)\n", said)
        assert found, f"the simulator does not listen: {said!r}"
        yield Vcsim(process, address, int(found[1]), str(certificates / "ca.pem"), f"{folder}/admin.sock")
