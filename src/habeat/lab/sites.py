"""The lab's two sites: hosts that can be killed, a link that can be cut, a mesh, Carbonio, and habeat on the standby.

A host is a loopback address with a listening port. A dead one, or one behind a cut link, is silent rather than
refusing: its queue of waiting connections is full, so the kernel drops what else comes.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from habeat.lab import carbonio
from habeat.lab.consul import EmbeddedConsul, Mesh

PRIMARY, STANDBY = "mbox1.example.com", "mbox2.example.com"
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
    "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
}
NODES = {PRIMARY: "agent-mbox1-example-com", STANDBY: "agent-mbox2-example-com"}


class Host:
    """A machine that answers on one port, or is silent."""

    def __init__(self, address: str) -> None:
        self._listener = socket.socket()
        self._listener.bind((address, 0))
        self._listener.listen(0)
        self._listener.settimeout(0.02)
        self.port = int(self._listener.getsockname()[1])
        self._silent = threading.Event()
        self._idle = threading.Event()
        self._closed = threading.Event()
        self._stuffing: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def silence(self) -> None:
        """Stop answering, without a refusal."""
        self._silent.set()
        self._idle.wait(10)
        for _ in range(2):
            stuffing = socket.socket()
            stuffing.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                stuffing.connect(self._listener.getsockname())
            self._stuffing.append(stuffing)
        time.sleep(0.05)

    def speak(self) -> None:
        """Answer again."""
        while self._stuffing:
            self._stuffing.pop().close()
        self._silent.clear()
        time.sleep(0.1)

    def close(self) -> None:
        """Vanish."""
        self._closed.set()
        self.speak()
        self._listener.close()

    def _serve(self) -> None:
        while not self._closed.is_set():
            if self._silent.is_set():
                self._idle.set()
                time.sleep(0.01)
                continue
            self._idle.clear()
            with contextlib.suppress(OSError):
                self._listener.accept()[0].close()


class EmbeddedWitness:
    """The embedded Consul."""

    title = "an embedded witness that speaks Consul's API"

    def __init__(self, addresses: dict[str, str]) -> None:
        self.mesh = Mesh(
            {NODES[name]: address for name, address in addresses.items()}, dict.fromkeys(NODES.values(), "passing")
        )
        self._server = EmbeddedConsul(addresses[STANDBY], self.mesh)
        self.address, self.port = addresses[STANDBY], self._server.port

    def kill(self, host: str) -> None:
        """Let a node be found dead."""
        self.mesh.status[NODES[host]] = "critical"

    def revive(self, host: str) -> None:
        """Let a node be found alive."""
        self.mesh.status[NODES[host]] = "passing"

    def close(self) -> None:
        """Stop."""
        self._server.close()


class RealWitness:
    """A real Consul: one server, and an agent on each mailstore."""

    def __init__(self, binary: str, folder: Path, addresses: dict[str, str], server: str) -> None:
        self._binary, self._folder, self._addresses, self._server = binary, folder, addresses, server
        self._agents: dict[str, subprocess.Popen[bytes]] = {}
        self.address, self.port = addresses[STANDBY], 8500
        version = subprocess.run([binary, "version"], capture_output=True, text=True, check=False).stdout.split("\n")[0]
        self.title = f"a real {version}"
        try:
            self._start("server", server, "-server", "-bootstrap-expect=1")
            for host in addresses:
                self.revive(host)
            self._wait_ready()
        except BaseException:
            self.close()
            raise

    def kill(self, host: str) -> None:
        """Kill a node's agent, as its power supply would."""
        agent = self._agents.pop(host)
        agent.kill()
        agent.wait()

    def revive(self, host: str) -> None:
        """Start a node's agent."""
        self._start(
            host, self._addresses[host], f"-node={NODES[host]}", f"-retry-join={self._server}", "-retry-interval=1s"
        )

    def close(self) -> None:
        """Stop all agents."""
        for agent in self._agents.values():
            agent.kill()
            agent.wait()

    def _start(self, name: str, address: str, *options: str) -> None:
        data = self._folder / f"consul-{name}"
        data.mkdir(exist_ok=True)
        (data / "habeat.json").write_text(
            json.dumps(
                {
                    "disable_update_check": True,
                    "performance": {"raft_multiplier": 1},
                    "leave_on_terminate": False,
                    "gossip_lan": {"probe_interval": "300ms", "probe_timeout": "150ms", "suspicion_mult": 2},
                }
            )
        )
        with (data / "log").open("ab") as log:
            self._agents[name] = subprocess.Popen(
                [
                    self._binary,
                    "agent",
                    f"-bind={address}",
                    f"-client={address}",
                    f"-data-dir={data}",
                    f"-config-file={data / 'habeat.json'}",
                    "-log-level=warn",
                    *options,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _wait_ready(self) -> None:
        from habeat.consul import Consul  # noqa: PLC0415  the lab's other witness needs none
        from habeat.errors import HttpError  # noqa: PLC0415
        from habeat.http import Endpoint  # noqa: PLC0415

        consul = Consul(Endpoint(self.address, self.port, timeout=2.0))
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with contextlib.suppress(HttpError):
                if all(consul.health(node).serf == "passing" for node in NODES.values()):
                    return
            time.sleep(0.1)
        raise HttpError("the lab's Consul did not become ready within 30 s; is the consul on PATH a good one?")


@dataclass
class Checked:
    """One `habeat check` of the lab: its exit code, what it said, how long it took."""

    code: int
    said: str
    seconds: float


class Lab:
    """The whole lab in one temporary folder; a context manager that leaves nothing behind."""

    def __init__(
        self,
        accounts: int = 200,
        *,
        consul: str | None = None,
        overrides: dict[str, Any] | None = None,
        world: dict[str, Any] | None = None,
        roster: Sequence[dict[str, Any]] | None = None,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="habeat-lab-"))
        net = f"127.{random.randint(64, 250)}.{random.randint(1, 250)}"  # noqa: S311  to keep two labs apart, not secret
        self.addresses = {PRIMARY: f"{net}.1", STANDBY: f"{net}.2"}
        self.host = Host(self.addresses[PRIMARY])
        self.witness: EmbeddedWitness | RealWitness = (
            RealWitness(consul, self.folder, self.addresses, f"{net}.3") if consul else EmbeddedWitness(self.addresses)
        )
        self.world = self.folder / "world"
        carbonio.create(
            self.world,
            list(roster or (carbonio.account(n, PRIMARY, STANDBY) for n in range(1, accounts + 1))),
            [PRIMARY, STANDBY],
            **(world or {}),
        )
        carbonio.install(self.world, self.folder / "bin")
        self.state_dir = self.folder / "state"
        self.log = self.folder / "habeat.log"
        self.config = self.folder / "habeat.yml"
        self.configure(overrides or {})

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.witness.close()
        self.host.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def configure(self, overrides: dict[str, Any]) -> None:
        """Write the standby's configuration: a plain one for this lab, with sections changed by `overrides`."""
        bin_dir = self.folder / "bin"
        sections: dict[str, dict[str, Any]] = {
            "local": {
                "whoami": "secondary",
                "dc_check": "primary",
                "role": "appserver",
                "provider": "consul",
                "checkDownFile": str(self.folder / "down"),
                "checkPromotionFile": str(self.folder / "promotion"),
                "checkRestartReplicaFile": str(self.folder / "module"),
                "flush_cache": True,
                "flush_arguments_a": True,
                "restart_replica": True,
            },
            "primary": {"appserver_ip": self.addresses[PRIMARY], "appserver_vmname": PRIMARY},
            "secondary": {"appserver_ip": self.addresses[STANDBY], "appserver_vmname": STANDBY},
            "probes": {"reach": f"tcp:{self.host.port}", "count": 2, "timeout": "200ms"},
            "policy": {"confirmation_time": "1ms"},
            "witnesses": {"timeout": "10s"},
            "carbonio": {
                "binary": str(bin_dir / "carbonio"),
                "zmprov": str(bin_dir / "zmprov"),
                "zmlocalconfig": str(bin_dir / "zmlocalconfig"),
                "user": pwd.getpwuid(os.geteuid()).pw_name,
                "spool": str(self.folder / "spool"),
                "timeout": "20s",
                "promote_timeout": "60s",
            },
            "consul": {"hostname": self.witness.address, "port": self.witness.port},
        }
        for name, values in overrides.items():
            sections[name] = {**sections.get(name, {}), **values}
        self.config.write_text(yaml.safe_dump(sections, sort_keys=False), encoding="utf-8")
        self.config.chmod(0o600)

    def argv(self, *words: str) -> list[str]:
        """Return the command line of a habeat command in this lab."""
        return [
            sys.executable,
            "-m",
            "habeat",
            *words,
            "--config",
            str(self.config),
            "--state-dir",
            str(self.state_dir),
        ]

    def run(self, *words: str) -> Checked:
        """Run a habeat command as the standby would."""
        begun = time.monotonic()
        done = subprocess.run(
            [*self.argv(*words), "--log", str(self.log)], capture_output=True, text=True, check=False, env=ENVIRONMENT
        )
        return Checked(done.returncode, (done.stdout + done.stderr).strip(), time.monotonic() - begun)

    def check(self) -> Checked:
        """Run one cycle as the timer would."""
        return self.run("check")

    def kill(self) -> None:
        """Let the primary mailstore die: its power is gone."""
        self.host.silence()
        self.witness.kill(PRIMARY)
        with carbonio.world_of(self.world) as world:
            world["dead"] = [PRIMARY]

    def restore(self) -> None:
        """Bring the primary mailstore back."""
        with carbonio.world_of(self.world) as world:
            world["dead"] = []
        self.witness.revive(PRIMARY)
        self.host.speak()

    def cut(self) -> None:
        """Cut the path between the two mailstores, and nothing else."""
        self.host.silence()

    def heal(self) -> None:
        """Mend the path between the two mailstores."""
        self.host.speak()

    def accounts(self) -> list[dict[str, Any]]:
        """Return all accounts of the simulated Carbonio."""
        with carbonio.world_of(self.world) as world:
            return list(world["accounts"].values())

    def cli_starts(self) -> int:
        """Return how often a command of Carbonio was started."""
        return len(carbonio.calls(self.world))
