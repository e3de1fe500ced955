"""Three sites in network namespaces, joined by a real Consul, with habeat on the standby mailstore.

    primary 10.77.1.0/24          secondary 10.77.2.0/24          elsewhere 10.77.3.0/24
    svc1, svc3 (Consul servers)   svc2  (Consul server)           watch (HetrixTools, vCenter)
    mbox1 (mailstore, agent)      mbox2 (standby, agent, habeat)
              |                             |                             |
              +------------- a router with one bridge for each site ------+

Consul runs with ACLs that deny by default, as in Carbonio: every agent has a default token that may read nodes.
Nothing leaves the machine, nothing is set outside the namespaces, and everything is gone after the test.
"""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import yaml

from habeat.lab import carbonio
from habeat.lab.sites import ENVIRONMENT

PRIMARY, STANDBY, THIRD = "mbox1.example.com", "mbox2.example.com", "mbox3.example.com"
NODES = {
    "svc1": "server-svc1-example-com",
    "svc2": "server-svc2-example-com",
    "svc3": "server-svc3-example-com",
    "mbox1": "agent-mbox1-example-com",
    "mbox2": "agent-mbox2-example-com",
}
ADDRESSES = {
    "svc1": "10.77.1.10",
    "svc2": "10.77.2.10",
    "svc3": "10.77.1.11",
    "mbox1": "10.77.1.20",
    "mbox2": "10.77.2.20",
    "watch": "10.77.3.10",
}
SILENT = "10.77.1.200"
MAILBOX = "carbonio-mailbox"
SERVERS = ("svc1", "svc2", "svc3")
SITES = (1, 2, 3)
FOLDER = Path(__file__).resolve().parents[1] / ".servers"

AGENT = "aaaaaaaa-0000-4000-8000-000000000001"
READER = "aaaaaaaa-0000-4000-8000-000000000002"
HABEAT = "aaaaaaaa-0000-4000-8000-000000000003"
BLIND = "aaaaaaaa-0000-4000-8000-000000000004"
WRONG = "aaaaaaaa-0000-4000-8000-00000000ffff"

NODE_READ = 'node_prefix "" { policy = "read" } '
SERVICE_READ = 'service_prefix "" { policy = "read" } '
RIGHTS = {
    AGENT: 'node_prefix "" { policy = "write" } service_prefix "" { policy = "write" }',
    READER: NODE_READ + 'service_prefix "" { policy = "write" }',
    HABEAT: NODE_READ
    + SERVICE_READ
    + 'session_prefix "" { policy = "write" } key_prefix "habeat" { policy = "write" }',
    BLIND: "",
}

CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


def binary() -> str | None:
    """Return the Consul program: the one on PATH, or the one that scripts/servers.py brought."""
    return shutil.which("consul", path=f"{os.environ.get('PATH', '')}:{FOLDER / 'bin'}")


def obstacle() -> str | None:
    """Return why the mesh cannot be built on this machine, or None."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "there is no `ip` command (package iproute2)"
    if binary() is None:
        return "there is no Consul here; `python scripts/servers.py .servers` brings it"
    return None


def eventually(holds: Callable[[], object], what: str, timeout: float = 30.0) -> None:
    """Wait until something holds; raises AssertionError if it does not in time (seconds)."""
    deadline = time.monotonic() + timeout
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:.0f} s: {what}")
        time.sleep(0.05)


class Network:
    """The namespaces and what joins them; closing it removes all of them, whatever state they are in."""

    def __init__(self, prefix: str, addresses: Mapping[str, str] = ADDRESSES) -> None:
        self._prefix = prefix
        self._addresses = addresses
        self._cleanup = ExitStack()
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Remove everything; the links vanish with their namespaces."""
        self._cleanup.close()

    def namespace(self, name: str) -> str:
        """Return the namespace of a host, or of the router (`core`)."""
        return f"{self._prefix}-{name}"

    def exec(self, host: str, argv: Sequence[str]) -> list[str]:
        """Return the command line that runs a command on a host; it keeps the process id that it is started with."""
        return ["ip", "netns", "exec", self.namespace(host), *argv]

    def unplug(self, host: str) -> None:
        """Pull a host's cable: it sees its link go down."""
        self._core("link", "set", host, "down")

    def cut(self, host: str) -> None:
        """Cut a host off behind its back: its link stays up, and no packet goes through."""
        self._core("link", "set", host, "nomaster")

    def join(self, host: str) -> None:
        """Undo `unplug` and `cut`, and let nobody remember who did not answer in the meantime."""
        self._core("link", "set", host, "master", f"site{self._site(host)}", "up")
        for name in ("core", host):
            ip("-n", self.namespace(name), "neighbour", "flush", "all")

    def isolate(self, site: str) -> None:
        """Drop, without a word, what goes into a site and out of it; inside it all stays as it was."""
        for direction in ("from", "to"):
            self._core("rule", "add", direction, f"10.77.{site}.0/24", "blackhole")

    def break_path(self, one: str, other: str) -> None:
        """Drop, without a word, what two hosts send each other; all other paths stay."""
        for source, target in ((one, other), (other, one)):
            self._core("rule", "add", "from", ADDRESSES[source], "to", ADDRESSES[target], "blackhole")

    def mend_paths(self) -> None:
        """Undo `isolate` and `break_path`."""
        while "blackhole" in self._core("rule", "show"):
            self._core("rule", "del", "blackhole")

    @contextlib.contextmanager
    def inside(self, host: str) -> Iterator[None]:
        """Let this thread's new sockets belong to a host."""
        with Path("/proc/self/ns/net").open("rb") as home, Path(f"/run/netns/{self.namespace(host)}").open("rb") as net:
            enter(net.fileno())
            try:
                yield
            finally:
                enter(home.fileno())

    def _build(self) -> None:
        for name in ("core", *self._addresses):
            ip("netns", "add", self.namespace(name))
            self._cleanup.callback(ip, "netns", "del", self.namespace(name))
            ip("-n", self.namespace(name), "link", "set", "lo", "up")
        with self.inside("core"):
            for name, value in (("ip_forward", "1"), ("conf/all/rp_filter", "0")):
                Path(f"/proc/sys/net/ipv4/{name}").write_text(value, encoding="ascii")
        for site in SITES:
            # with an address of its own, the bridge never answers to that of a port which `cut` took out of it
            self._core("link", "add", f"site{site}", "up", "address", f"02:77:00:00:00:0{site}", "type", "bridge")
            self._core("address", "add", f"10.77.{site}.1/24", "dev", f"site{site}")
        self._core("route", "add", "blackhole", SILENT)
        for host, address in self._addresses.items():
            here = self.namespace(host)
            self._core("link", "add", host, "type", "veth", "peer", "name", "eth0", "netns", here)
            ip("-n", here, "address", "add", f"{address}/24", "dev", "eth0")
            ip("-n", here, "link", "set", "eth0", "up")
            self.join(host)
            ip("-n", here, "route", "add", "default", "via", f"10.77.{self._site(host)}.1")

    def _site(self, host: str) -> str:
        return self._addresses[host].split(".")[2]

    def _core(self, *words: str) -> str:
        return ip("-n", self.namespace("core"), *words)


class Mesh:
    """The network with Consul on every host. A context manager that leaves neither process nor namespace behind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._consul = str(binary())
        self._agents: dict[str, subprocess.Popen[bytes]] = {}
        self._apart: set[str] = set()
        self._outdated: set[str] = set()
        self._management = ""
        self.ca_file = self._certificates()
        self.net = Network(f"hb{os.getpid()}")
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Mesh:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every agent and remove the network."""
        for host in tuple(self._agents):
            self.stop_agent(host)
        self.net.close()

    # -- what can happen

    def kill(self, host: str) -> None:
        """Let a host die: its agent is gone between two instructions, and its link with it."""
        self.stop_agent(host)
        self.net.unplug(host)
        self.wait_for(host, "critical")

    def stop_agent(self, host: str) -> None:
        """End a host's agent as a crash would."""
        agent = self._agents.pop(host)
        agent.kill()
        agent.wait(10)

    def leave(self, host: str) -> None:
        """Let a host's agent leave the mesh gracefully, and its link go down after it."""
        self.api(host, "PUT", "/v1/agent/leave")
        self._agents.pop(host).wait(30)
        self.net.unplug(host)
        eventually(lambda: self.status(host) is None, f"{host} has left the catalog")
        eventually(lambda: self.members("mbox2")[NODES[host]] == 3, f"mbox2 knows that {host} left")

    def lose_quorum(self) -> None:
        """Kill two of the three servers."""
        self.stop_agent("svc1")
        self.stop_agent("svc3")
        self._wait_for_the_loss()

    def _wait_for_the_loss(self) -> None:
        eventually(lambda: self.api("svc2", "GET", "/v1/status/leader")[1] == "", "the last server has no leader")
        eventually(lambda: self.believes_failed("mbox2", "svc1", "svc3"), "the standby's agent has given up on both")

    def lose_site(self) -> None:
        """Let the whole primary site die: both its Consul servers, the mailstore, and the link to it."""
        self.net.isolate("1")
        for host in ("svc1", "svc3", "mbox1"):
            self.stop_agent(host)
        self._wait_for_the_loss()

    def recover_quorum(self) -> None:
        """Make the last server a cluster of its own, as an operator would, by its peers.json."""
        self.stop_agent("svc2")
        data = self.folder / "svc2" / "data"
        peer = {
            "id": (data / "node-id").read_text().strip(),
            "address": f"{ADDRESSES['svc2']}:8300",
            "non_voter": False,
        }
        (data / "raft" / "peers.json").write_text(json.dumps([peer]), encoding="utf-8")
        self._outdated = {"svc1", "svc3"}
        self._start("svc2")
        eventually(lambda: self.api("svc2", "GET", "/v1/status/leader")[1], "the last server leads itself")

    def cut(self, host: str, how: str) -> None:
        """Cut a host off, `unplugged` or `silently`, or `with its site`, which goes on talking within itself."""
        if how == "with its site":
            self.net.isolate(_site(host))
        else:
            {"unplugged": self.net.unplug, "silently": self.net.cut}[how](host)
        self._apart |= {host} if how != "with its site" else {near for near in NODES if _site(near) == _site(host)}

    def rejoin(self, host: str) -> None:
        """Let a host hear the others' gossip again at once; by itself that would take half a minute."""
        assert self.api("svc2", "PUT", f"/v1/agent/join/{ADDRESSES[host]}")[0] == 200

    def heal(self) -> None:
        """Bring everything back, and wait until every node is passing and everybody knows it.

        Agents that were cut off are started anew: a call that hung on the cut may keep them busy for 40 s more.
        Servers come first: one that has not caught up tells agents that their tokens do not exist, and they believe
        that for half a minute. By itself gossip would take as long to end a doubt that nobody heard the answer to.
        """
        self.net.mend_paths()
        for host in NODES:
            self.net.join(host)
        self._restore(SERVERS)
        self._restore(("mbox1", "mbox2"))
        self._apart.clear()
        eventually(self._acquainted, "every agent knows every other", 60.0)
        eventually(lambda: all(self.status(host) == "passing" for host in NODES), "every node is passing")
        eventually(lambda: len(self.voters()) == len(SERVERS), "every server votes")

    def _acquainted(self) -> bool:
        """Tell whether each agent knows that every other is alive; who doubts one is made to talk to it."""
        views = {host: self.members(host) for host in NODES}
        doubts = [(host, other) for host, view in views.items() for other in NODES if view.get(NODES[other]) != 1]
        for host, other in doubts:
            self.api(host, "PUT", f"/v1/agent/join/{ADDRESSES[other]}")
        return not doubts and all(len(view) == len(NODES) for view in views.values())

    def _restore(self, hosts: Sequence[str]) -> None:
        """Start the agents that are not there or were cut off, and wait until they know our token."""
        for host in self._apart & set(hosts) & set(self._agents):
            self.stop_agent(host)
        fresh = [host for host in hosts if host not in self._agents]
        for host in fresh:
            self._start(host)
        for host in fresh:
            eventually(partial(self.members, host), f"the agent of {host} knows our token")

    @contextlib.contextmanager
    def serving(self, host: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
        """Let a host have Carbonio's mail service, an HTTP server on a port, and its agent check it."""
        argv = self.net.exec(host, [sys.executable, "-m", "http.server", str(port)])
        quiet = subprocess.DEVNULL
        server = subprocess.Popen(argv, cwd=self.folder / host, stdin=quiet, stdout=quiet, stderr=quiet)
        check = {"TCP": f"127.0.0.1:{port}", "Interval": "200ms", "Timeout": "1s"}
        service = {"Name": MAILBOX, "Port": port, "Check": check}
        try:
            assert self.api(host, "PUT", "/v1/agent/service/register", service)[0] == 200
            eventually(lambda: self.service(host) == "passing", f"Consul finds the service of {host} at work")
            yield server
        finally:
            server.kill()
            server.wait(10)
            self.api(host, "PUT", f"/v1/agent/service/deregister/{MAILBOX}")

    # -- what can be asked

    def voters(self) -> list[str]:
        """Return the names of the servers that have a vote, asked on the second site."""
        _, raft = self.api("svc2", "GET", "/v1/operator/raft/configuration")
        return [server["Node"] for server in (raft or {}).get("Servers", []) if server["Voter"]]

    def maintained(self, host: str) -> bool:
        """Tell whether Consul's quorum knows a host to be in maintenance."""
        _, checks = self.api("svc2", "GET", f"/v1/health/node/{NODES[host]}?consistent")
        return any(check["CheckID"] == "_node_maintenance" for check in checks or [])

    def service(self, host: str) -> str | None:
        """Return what Consul's quorum knows of a host's mail service."""
        _, checks = self.api("svc2", "GET", f"/v1/health/node/{NODES[host]}?consistent")
        found = [check["Status"] for check in checks or [] if check["ServiceName"] == MAILBOX]
        return str(found[0]) if found else None

    def api(self, host: str, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
        """Call a host's agent with every right; return the status and the answer, or 0 and None if there is none."""
        connection = http.client.HTTPConnection("127.0.0.1", 8500, timeout=5)
        headers = {"X-Consul-Token": self._management} if self._management else {}
        try:
            with self.net.inside(host):
                connection.connect()
            connection.request(method, path, json.dumps(body) if body else None, headers)
            response = connection.getresponse()
            return response.status, _json(response.read())
        except (OSError, http.client.HTTPException):
            return 0, None
        finally:
            connection.close()

    def status(self, host: str) -> str | None:
        """Return what Consul's quorum knows of a host, asked on the second site."""
        _, checks = self.api("svc2", "GET", f"/v1/health/node/{NODES[host]}?consistent")
        found = [check["Status"] for check in checks or [] if check["CheckID"] == "serfHealth"]
        return str(found[0]) if found else None

    def members(self, host: str) -> dict[str, int]:
        """Return how one agent sees all others: 1 alive, 3 left, 4 failed."""
        _, members = self.api(host, "GET", "/v1/agent/members")
        return {member["Name"]: member["Status"] for member in members or []}

    def believes_failed(self, host: str, *others: str) -> bool:
        """Tell, from an agent's log since a cut makes its API hang, whether it last heard that others failed."""
        told = re.findall(r"EventMember(\w+): (\S+)", (self.folder / host / "log").read_text(encoding="utf-8"))
        last = {name: event for event, name in told}
        return all(last.get(NODES[other]) == "Failed" for other in others)

    def wait_for(self, host: str, status: str) -> None:
        """Wait until Consul's quorum knows a host to be in a state."""
        eventually(lambda: self.status(host) == status, f"Consul calls {host} {status}")

    def end_session(self, session: str) -> None:
        """Destroy a session under its owner's hands."""
        assert self.api("svc2", "PUT", f"/v1/session/destroy/{session}")[0] == 200

    def lock_session(self, key: str) -> str | None:
        """Return the session that holds a key, "" for none, or None where there is no such key."""
        _, found = self.api("svc2", "GET", f"/v1/kv/{key}?consistent")
        return str(found[0].get("Session", "")) if found else None

    # -- plumbing

    def _begin(self) -> None:
        for host in SERVERS:
            self._start(host)
        eventually(lambda: self.api("svc2", "GET", "/v1/status/leader")[1], "the servers have a leader")
        self._make_tokens()
        for host in ("mbox1", "mbox2"):
            self._start(host)
        self.heal()

    def _make_tokens(self) -> None:
        eventually(self._bootstrap, "Consul gives its first token")
        for token, rules in RIGHTS.items():
            name = f"rights-{token[-1]}"
            self._must("PUT", "/v1/acl/policy", {"Name": name, "Rules": rules})
            self._must("PUT", "/v1/acl/token", {"SecretID": token, "Policies": [{"Name": name}]})

    def _bootstrap(self) -> bool:
        status, token = self.api("svc2", "PUT", "/v1/acl/bootstrap")
        self._management = str(token["SecretID"]) if status == 200 else ""
        return status == 200

    def _must(self, method: str, path: str, body: dict[str, Any]) -> None:
        eventually(lambda: self.api("svc2", method, path, body)[0] == 200, f"{method} {path} succeeds")

    def _start(self, host: str) -> None:
        folder = self.folder / host
        folder.mkdir(exist_ok=True)
        if host in self._outdated:  # with its old raft data it would count itself into a quorum that is gone
            self._outdated.remove(host)
            for old in ("raft", "serf"):
                shutil.rmtree(folder / "data" / old)
        config = folder / "config.json"
        config.write_text(json.dumps(self._config(host, folder)), encoding="utf-8")
        consul = ["nice", "-n", "-10", self._consul, "agent", f"-config-file={config}"]  # a busy machine is no death
        with (folder / "log").open("ab") as log:
            self._agents[host] = subprocess.Popen(
                self.net.exec(host, consul), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        eventually(lambda: self.api(host, "GET", "/v1/status/leader")[0] != 0, f"the agent of {host} answers")

    def _config(self, host: str, folder: Path) -> dict[str, Any]:
        patience = {"autopilot": {"server_stabilization_time": "200ms"}}
        server = {"server": True, "bootstrap_expect": len(SERVERS), **patience} if host in SERVERS else {}
        https = {"cert_file": str(self.folder / "cert.pem"), "key_file": str(self.folder / "key.pem")}
        return {
            "node_name": NODES[host],
            "bind_addr": ADDRESSES[host],
            "client_addr": "127.0.0.1",
            "data_dir": str(folder / "data"),
            "retry_join": [ADDRESSES[server] for server in SERVERS],
            "retry_interval": "1s",
            "disable_update_check": True,
            "leave_on_terminate": False,
            "acl": {
                "enabled": True,
                "default_policy": "deny",
                "tokens": {"agent": AGENT, "default": READER},
            },
            "performance": {"raft_multiplier": 1, "rpc_hold_timeout": "1s", "leave_drain_time": "100ms"},
            "gossip_lan": {
                "probe_interval": "200ms",
                "probe_timeout": "100ms",
                "gossip_interval": "50ms",
                "suspicion_mult": 2,
            },
            "ports": {"serf_wan": -1, "dns": -1, "https": 8501 if host == "mbox2" else -1},
            **server,
            **(https if host == "mbox2" else {}),
        }

    def _certificates(self) -> str:
        """Make a CA and a certificate for 127.0.0.1, and return the CA's file."""
        _run([self._consul, "tls", "ca", "create"], self.folder)
        _run([self._consul, "tls", "cert", "create", "-server"], self.folder)
        (self.folder / "dc1-server-consul-0.pem").rename(self.folder / "cert.pem")
        (self.folder / "dc1-server-consul-0-key.pem").rename(self.folder / "key.pem")
        return str(self.folder / "consul-agent-ca.pem")


@dataclass(frozen=True)
class Cycle:
    """How one `habeat check` ended; `sentence` is its last decision's, `states` are those after each decision."""

    code: int
    sight: str
    states: tuple[str, ...]
    sentence: str


class Networked(Protocol):
    """Something that has a network with a host mbox2."""

    net: Network


class Standby:
    """One habeat on mbox2 with a Carbonio of its own, or with that of `world`; `config` sections change the plain one."""

    def __init__(self, mesh: Networked, folder: Path, *, world: Path | None = None, **config: dict[str, Any]) -> None:
        folder.mkdir(exist_ok=True)
        self._mesh = mesh
        self._folder = folder
        self.world = world or _new_world(folder)
        self.key = f"habeat-{folder.name}/failover/{PRIMARY}"
        carbonio.install(self.world, folder / "bin")
        self._config = self._plain_config()
        self.configure(**config)

    def configure(self, **config: dict[str, Any]) -> None:
        """Change sections of the configuration."""
        for name, values in config.items():
            self._config[name] = {**self._config.get(name, {}), **values}
        path = self._folder / "habeat.yml"
        path.write_text(yaml.safe_dump(self._config), encoding="utf-8")
        path.chmod(0o600)

    def check(self) -> Cycle:
        """Run one cycle to its end."""
        return self.read(self.begin())

    def begin(self) -> subprocess.Popen[str]:
        """Start one cycle."""
        return subprocess.Popen(
            self._argv("check"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
        )

    def read(self, process: subprocess.Popen[str]) -> Cycle:
        """Wait for a cycle and return how it ended."""
        try:
            out, err = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
        try:
            told = json.loads(out)
        except ValueError as error:
            raise AssertionError(f"habeat ended with {process.returncode}: {out}{err}") from error
        decisions = told["decisions"]
        return Cycle(
            process.returncode,
            told["sight"],
            tuple(decision["after"] for decision in decisions),
            decisions[-1]["sentence"],
        )

    def steps(self) -> dict[str, dict[str, Any]]:
        """Return the steps of the first failover as the journal has them."""
        done = subprocess.run(
            self._argv("explain", "--failover", "1"),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            env=ENVIRONMENT,
        )
        return {step["name"]: step for step in json.loads(done.stdout)["steps"]}

    def explained(self, event: int) -> str:
        """Return what is told of an event, its evidence included."""
        argv = self._argv("explain", str(event))
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True, env=ENVIRONMENT).stdout

    def doctor(self) -> dict[str, dict[str, Any]]:
        """Return what the doctor finds, by subject."""
        done = subprocess.run(
            self._argv("doctor"), capture_output=True, text=True, timeout=120, check=False, env=ENVIRONMENT
        )
        found = {finding["subject"]: finding for finding in json.loads(done.stdout)}
        assert done.returncode == int("error" in {finding["health"] for finding in found.values()})
        return found

    def accounts(self) -> list[dict[str, Any]]:
        """Return all accounts of its Carbonio."""
        with carbonio.world_of(self.world) as world:
            return list(world["accounts"].values())

    def actions(self) -> list[str]:
        """Return every command of Carbonio that was started, on one line each."""
        return [" ".join([call["program"], *call["argv"]]) for call in carbonio.calls(self.world)]

    def runs(self, command: str) -> bool:
        """Tell whether a command of Carbonio was started, and long enough ago to be in the middle of it."""
        calls = carbonio.calls(self.world)
        return any(command in call["argv"] and time.time() - call["at"] > 0.2 for call in calls)

    def lock_files(self) -> list[str]:
        """Return the names of the lock files that stand."""
        return sorted(path.name for path in self._folder.glob("lockfile-*"))

    def _argv(self, *words: str) -> list[str]:
        options = {"--config": "habeat.yml", "--state-dir": "state", "--log": "habeat.log"}
        paths = [word for option, name in options.items() for word in (option, str(self._folder / name))]
        return self._mesh.net.exec("mbox2", [sys.executable, "-m", "habeat", *words, *paths, "--json"])

    def _plain_config(self) -> dict[str, dict[str, Any]]:
        programs = {name: str(self._folder / "bin" / name) for name in ("zmprov", "zmlocalconfig")}
        return {
            "local": {
                "whoami": "secondary",
                "dc_check": "primary",
                "role": "appserver",
                "provider": "consul",
                "checkDownFile": str(self._folder / "lockfile-down"),
                "checkPromotionFile": str(self._folder / "lockfile-promotion"),
                "checkRestartReplicaFile": str(self._folder / "lockfile-module"),
                "flush_cache": True,
                "flush_arguments_a": True,
                "restart_replica": True,
            },
            "primary": {"appserver_ip": ADDRESSES["mbox1"], "appserver_vmname": PRIMARY},
            "secondary": {"appserver_ip": ADDRESSES["mbox2"], "appserver_vmname": STANDBY},
            "probes": {"reach": "icmp", "count": 2, "timeout": "100ms"},
            "policy": {"confirmation_time": "1ms"},
            "witnesses": {"timeout": "3s"},
            "carbonio": {
                "binary": str(self._folder / "bin" / "carbonio"),
                **programs,
                "user": pwd.getpwuid(os.geteuid()).pw_name,
                "spool": str(self._folder / "spool"),
                "timeout": "20s",
                "promote_timeout": "30s",
            },
            "coordination": {"key_prefix": self.key.split("/")[0]},
            "consul": {"hostname": "127.0.0.1", "port": 8500, "token": HABEAT},
        }


def _new_world(folder: Path) -> Path:
    world = folder / "world"
    accounts = [carbonio.account(number, PRIMARY, STANDBY) for number in range(1, 7)]
    carbonio.create(world, accounts, [PRIMARY, STANDBY], dead=[PRIMARY])
    return world


def _site(host: str) -> str:
    return ADDRESSES[host].split(".")[2]


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def enter(namespace: int) -> None:
    """Move this thread to another network namespace, given by a descriptor of it."""
    if _LIBC.setns(namespace, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "the network namespace cannot be entered")


def ip(*words: str) -> str:
    """Return what the `ip` command prints."""
    return _run(["ip", *words])


def _run(argv: Sequence[str], folder: Path = Path("/")) -> str:
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=30, check=True).stdout
