"""Two sites of real Consul servers in network namespaces, with a habeat of the role consulserver on each of them.

    primary 10.77.1.0/24: svc1, svc3 (and svc5)       secondary 10.77.2.0/24: svc2 (and svc4)
    elsewhere 10.77.3.0/24: watch, where our own HetrixTools runs

Each server's unit is kept by `systemctl.py`, with or without the guard before it. A machine's start has an id of its
own, so that a return can be told from a restart.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from certificates import certify
from habeat.lab.sites import ENVIRONMENT
from mesh import Cycle, Network, binary, eventually

THREE = {"svc1": "10.77.1.10", "svc3": "10.77.1.11", "svc2": "10.77.2.10"}
FIVE = {**THREE, "svc5": "10.77.1.12", "svc4": "10.77.2.11"}
WATCH = "10.77.3.10"
SECRET = "0123456789abcdef0123456789abcdef"
BOOT_ID = "/proc/sys/kernel/random/boot_id"
UNIT = "service-discover.service"
BOUND = 'mount --bind "$1" ' + BOOT_ID + ' && shift && exec "$@"'


class QuorumLab:
    """The servers; a context manager that leaves neither process nor namespace behind."""

    def __init__(
        self,
        folder: Path,
        servers: Mapping[str, str] = THREE,
        more: Mapping[str, str] | None = None,
        *,
        guard: bool = True,
        hold: str = "4s",
        **config: dict[str, Any],
    ) -> None:
        self.folder = folder
        self.servers = servers
        self._agents = more or {}
        self._guard = guard
        self._hold = hold
        self._more = config
        self.before: dict[str, str] = {}
        self._processes: list[subprocess.Popen[Any]] = []
        self._serving: dict[str, subprocess.Popen[Any]] = {}
        self.net = Network(f"hq{os.getpid()}", {**servers, **self._agents, "watch": WATCH})
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> QuorumLab:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End everything that was started, and remove the network."""
        for host in (*self.servers, *self._agents):
            with contextlib.suppress(OSError, ValueError):
                os.kill(int((self.folder / host / "bin" / "pid").read_text()), signal.SIGKILL)
        for process in (*self._processes, *self._serving.values()):
            process.kill()
            process.communicate(timeout=10)
        self.net.close()

    # -- what can happen

    def lose(self, *hosts: str, witnessed: bool = True, cut: bool = True) -> None:
        """Let servers die, and the link to their site with them; the witness sees it, or says they are up."""
        if cut:
            self.net.isolate("1")
        for host in hosts:
            self.crash(host)
            serving = self._serving.pop(host, None)
            if serving is not None:
                serving.kill()
                serving.wait(10)
        if witnessed:
            self.testify(**dict.fromkeys(hosts, "down"))

    def crash(self, host: str) -> None:
        """End a server's Consul as a power loss would."""
        os.kill(int((self.folder / host / "bin" / "pid").read_text()), signal.SIGKILL)

    def testify(self, **status: str) -> None:
        """Let the witness say of servers that they are `up` or `down`, from now on."""
        self._status.update(status)
        monitors = [
            {
                "id": host,
                "name": f"{host}.example.com",
                "type": "ping",
                "monitor_status": "active",
                "check_frequency": 1,
                "uptime_status": said,
                "ago": -1,
            }
            for host, said in self._status.items()
        ]
        fresh = self.folder / "state.new"
        fresh.write_text(json.dumps({"monitors": monitors}), encoding="utf-8")
        fresh.replace(self.folder / "state.json")

    def boot(self, *hosts: str) -> list[subprocess.Popen[Any]]:
        """Let machines start: habeat's service, and Consul's unit; return the starts, which the guard may hold."""
        starts = []
        for host in hosts:
            self.reboot(host)
            self.serve(host)
            starts.append(self._background(host, ["systemctl", "start", UNIT]))
        return starts

    def reboot(self, host: str) -> None:
        """Let a machine's start have another id."""
        (self.folder / host / "boot_id").write_text(f"{uuid.uuid4()}\n")

    def begin_unit(self, host: str) -> None:
        """Start a host's Consul, as systemd does."""
        subprocess.run(self.exec(host, ["systemctl", "start", UNIT]), check=True, timeout=60)

    def serve(self, host: str) -> None:
        """Let a host's habeat answer the others."""
        self._serving[host] = self._background(host, self._habeat(host, "consul", "serve"))

    # -- habeat

    def mortal(self, host: str, die_at: str, names: Path) -> int:
        """Run one cycle that dies with -9 at the boundary of that name or number; return its exit code."""
        words = self._habeat(host, "check")[3:]
        program = [sys.executable, str(Path(__file__).with_name("mortal.py")), die_at, str(names), *words]
        done = subprocess.run(
            self.exec(host, program), capture_output=True, text=True, timeout=120, check=False, env=ENVIRONMENT
        )
        return done.returncode

    def check(self, host: str, **env: str) -> Cycle:
        """Run one cycle to its end."""
        return self.read(self.begin(host, **env))

    def begin(self, host: str, **env: str) -> subprocess.Popen[str]:
        """Start one cycle."""
        return subprocess.Popen(
            self.exec(host, self._habeat(host, "check", "--json")),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**ENVIRONMENT, **env},
        )

    def read(self, process: subprocess.Popen[str]) -> Cycle:
        """Wait for a cycle and return how it ended."""
        out, err = process.communicate(timeout=120)
        try:
            told = json.loads(out)
            decisions = told["decisions"]
        except (ValueError, KeyError) as error:
            raise AssertionError(f"habeat ended with {process.returncode}: {out}{err}") from error
        states = tuple(decision["after"] for decision in decisions)
        return Cycle(process.returncode, told["sight"], states, decisions[-1]["sentence"])

    def run(self, host: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run any habeat command on a host."""
        argv = self.exec(host, self._habeat(host, *words))
        return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False, env=ENVIRONMENT)

    def configure(self, host: str, **sections: dict[str, Any]) -> None:
        """Change sections of a host's configuration."""
        path = self.folder / host / "habeat.yml"
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        for name, values in sections.items():
            config[name] = {**config.get(name, {}), **values}
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        path.chmod(0o600)

    def guarded(self, host: str) -> str:
        """Return all that the guard said on a host."""
        log = self.folder / host / "bin" / "before.log"
        return log.read_text(encoding="utf-8") if log.exists() else ""

    def exec(self, host: str, argv: Sequence[str]) -> list[str]:
        """Return the command line that runs a command on a host, in the machine's present start."""
        path = f"PATH={self.folder / host / 'bin'}:{os.environ['PATH']}"
        boot = str(self.folder / host / "boot_id")
        script = f"{self.before.get(host, 'true')} && {BOUND}"
        return self.net.exec(host, ["env", path, "sh", "-c", script, "sh", boot, *argv])

    # -- Consul

    def api(self, host: str, method: str, path: str, body: Any = None, timeout: float = 5.0) -> tuple[int, Any]:
        """Call a host's agent; return the status and the answer, or 0 and None if there is none."""
        connection = http.client.HTTPConnection("127.0.0.1", 8500, timeout=timeout)
        try:
            with self.net.inside(host):
                connection.connect()
            connection.request(method, path, None if body is None else json.dumps(body))
            response = connection.getresponse()
            text = response.read()
            return response.status, json.loads(text) if text.strip() else None
        except (OSError, http.client.HTTPException, ValueError):
            return 0, None
        finally:
            connection.close()

    def leader(self, host: str) -> str:
        """Return who leads, as a host knows it, or ""."""
        return str(self.api(host, "GET", "/v1/status/leader")[1] or "")

    def leads(self, host: str) -> bool:
        """Tell whether a host leads a quorum, by its own consistent read."""
        status, _ = self.api(host, "GET", "/v1/kv/any?consistent&keys")
        return status in (200, 404) and self.leader(host).startswith(self.servers[host])

    def voters(self, host: str) -> list[str]:
        """Return the names of those who vote, as a host knows it."""
        _, raft = self.api(host, "GET", "/v1/operator/raft/configuration")
        return sorted(server["Node"] for server in (raft or {}).get("Servers", []) if server["Voter"])

    def keys(self, host: str, prefix: str) -> set[str]:
        """Return the keys under a prefix that a host's own copy of the data has."""
        status, found = self.api(host, "GET", f"/v1/kv/{prefix}/?keys&stale")
        return set(found or ()) if status == 200 else set()

    def data(self, host: str) -> Path:
        """Return a host's data folder."""
        return self.folder / host / "data"

    # -- plumbing

    def _begin(self) -> None:
        self._status = dict.fromkeys(self.servers, "up")
        for host in (*self.servers, *self._agents):
            self._install(host)
        self._watch()
        self.testify()
        for host in (*self.servers, *self._agents):
            self.begin_unit(host)
            if host in self.servers:
                self.serve(host)
        # the guard is there from the first reboot on: it knows nothing of a cluster that was never up
        for host in self.servers:
            self._unit(host, guard=self._guard)
        eventually(lambda: self.voters("svc2") == sorted(self.servers), "every server votes")

    def _install(self, host: str) -> None:
        folder = self.folder / host
        (folder / "bin").mkdir(parents=True)
        program = Path(__file__).with_name("systemctl.py").read_text(encoding="utf-8")
        (folder / "bin" / "systemctl").write_text(f"#!{sys.executable}\n{program}", encoding="utf-8")
        (folder / "bin" / "systemctl").chmod(0o755)
        (folder / "boot_id").write_text(f"{uuid.uuid4()}\n")
        (folder / "consul.json").write_text(json.dumps(self._consul(host)), encoding="utf-8")
        self._unit(host, guard=False)
        if host in self.servers:
            (folder / "habeat.yml").write_text(yaml.safe_dump(self._config(host)), encoding="utf-8")
            (folder / "habeat.yml").chmod(0o600)

    def _unit(self, host: str, *, guard: bool) -> None:
        folder = self.folder / host
        unit = {
            "name": UNIT,
            "argv": ["nice", "-n", "-10", str(binary()), "agent", f"-config-file={folder / 'consul.json'}"],
            "log": str(folder / "consul.log"),
            "before": [self._habeat(host, "consul", "guard")] if guard else [],
        }
        (folder / "bin" / "unit.json").write_text(json.dumps(unit), encoding="utf-8")

    def _habeat(self, host: str, *words: str) -> list[str]:
        options = {"--config": "habeat.yml", "--state-dir": "state", "--log": "habeat.log"}
        paths = [word for option, name in options.items() for word in (option, str(self.folder / host / name))]
        return [sys.executable, "-m", "habeat", *words, *paths]

    def _background(self, host: str, argv: Sequence[str]) -> subprocess.Popen[Any]:
        log = (self.folder / host / "background.log").open("ab")
        with log:
            process = subprocess.Popen(
                self.exec(host, argv), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=ENVIRONMENT
            )
        self._processes.append(process)
        return process

    def _consul(self, host: str) -> dict[str, Any]:
        server = {
            "server": True,
            "bootstrap_expect": len(self.servers),
            "autopilot": {"server_stabilization_time": "200ms"},
        }
        return {
            "node_name": host if host in self.servers else f"agent-{host}-example-com",
            "bind_addr": self.servers.get(host) or self._agents[host],
            "client_addr": "127.0.0.1",
            "data_dir": str(self.data(host)),
            "retry_join": list(self.servers.values()),
            "retry_interval": "1s",
            "disable_update_check": True,
            "leave_on_terminate": False,
            "skip_leave_on_interrupt": True,
            "performance": {"raft_multiplier": 1, "rpc_hold_timeout": "1s"},
            "gossip_lan": {"probe_interval": "200ms", "probe_timeout": "100ms", "gossip_interval": "50ms"},
            "ports": {"serf_wan": -1, "dns": -1},
            **(server if host in self.servers else {}),
        }

    def _config(self, host: str) -> dict[str, Any]:
        def site(number: str) -> dict[str, Any]:
            hosts = [name for name, address in self.servers.items() if address.split(".")[2] == number]
            return {
                "consul_ips": [self.servers[name] for name in hosts],
                "consul_vmnames": [f"{name}.example.com" for name in hosts],
            }

        here, there = ("primary", "secondary") if self.servers[host].split(".")[2] == "1" else ("secondary", "primary")
        config: dict[str, Any] = {
            "local": {
                "whoami": here,
                "dc_check": there,
                "role": "consulserver",
                "provider": "hetrix",
                "checkDownFile": str(self.folder / host / "lockfile-down"),
                "checkPromotionFile": str(self.folder / host / "lockfile-promotion"),
                "checkRestartReplicaFile": str(self.folder / host / "lockfile-module"),
            },
            "primary": site("1"),
            "secondary": site("2"),
            "probes": {"count": 2, "timeout": "100ms"},
            "policy": {"confirmation_time": "1ms"},
            "witnesses": {"timeout": "5s"},
            "consul": {"data_dir": str(self.data(host)), "unit": UNIT, "user": "root"},
            "guard": {"secret": SECRET, "hold": self._hold},
            "hetrix": {"hostname": WATCH, "api_token": "hunter2", "ca_file": str(self.folder / "ca.pem")},
        }
        for name, values in self._more.items():
            config[name] = {**config.get(name, {}), **values}
        return config

    def _watch(self) -> None:
        certify(self.folder, WATCH)
        self.testify()
        files = [word for name in ("cert", "key") for word in (f"--{name}", str(self.folder / f"{name}.pem"))]
        double = [sys.executable, str(Path(__file__).with_name("hetrix_double.py")), "--address", WATCH, *files]
        argv = self.net.exec("watch", [*double, "--state", str(self.folder / "state.json"), "--token", "hunter2"])
        server = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self._processes.append(server)
        assert server.stdout is not None
        assert server.stdout.readline().startswith("listening")


@contextlib.contextmanager
def writing(lab: QuorumLab, host: str, prefix: str) -> Iterator[list[str]]:
    """Write keys on a host all the time; give the list of those that were acknowledged."""
    acknowledged: list[str] = []
    end = threading.Event()

    def write() -> None:
        number = 0
        while not end.is_set():
            number += 1
            key = f"{prefix}/{number:06}"
            if lab.api(host, "PUT", f"/v1/kv/{key}", number, timeout=2.0) == (200, True):
                acknowledged.append(key)
            time.sleep(0.05)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    try:
        yield acknowledged
    finally:
        end.set()
        thread.join(10)


def watched(lab: QuorumLab) -> None:
    """Let every server's habeat run its healthy cycle, so that who votes is saved."""
    for host in lab.servers:
        cycle = lab.check(host)
        assert (0, "up", ("standby",)) == (cycle.code, cycle.sight, cycle.states), cycle


def untouched(lab: QuorumLab, host: str = "svc2") -> bool:
    """Tell whether Consul's unit was never stopped, and its data folder is as Consul made it."""
    calls = (lab.folder / host / "bin" / "calls").read_text().split("\n")
    return f"stop {UNIT}" not in calls and not list(lab.data(host).glob("raft.*"))


def confirmed(lab: QuorumLab, host: str = "svc2") -> Cycle:
    """Run cycles until one has acted, and return it; until then nothing was touched."""
    for _ in range(8):
        cycle = lab.check(host)
        if cycle.states[0] == "failing_over":
            return cycle
        assert cycle.states in (("standby",), ("suspect",)), cycle
        assert untouched(lab, host)
    pytest.fail(f"it was never confirmed: {cycle}")


def recovered(lab: QuorumLab, host: str = "svc2") -> None:
    """Assert that a host leads a quorum of its own."""
    eventually(lambda: lab.leads(host), f"{host} leads", 20)


def lost_and_rebuilt(lab: QuorumLab) -> None:
    """Lose the primary site, and let svc2 rebuild the quorum."""
    watched(lab)
    lab.lose("svc1", "svc3")
    assert ("failing_over", "active") == confirmed(lab).states
    recovered(lab)


MakeQuorum = Callable[..., QuorumLab]
