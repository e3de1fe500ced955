"""Two sites that announce one address by BGP, in network namespaces, with real FRR (or BIRD) on every host.

    client 10.78.0.2 ----- 10.78.0.1 router 10.78.1.1 ----- 10.78.1.2 proxy1 (AS 65001)
                                AS 65000    10.78.2.1 ----- 10.78.2.2 proxy2 (AS 65002)

A proxy announces the service's address while that is on its `lo`. What proxy2 announces has a longer path, so while
both do, the router prefers proxy1 and still tells proxy2 of it. proxy2 has a second neighbour, the client (AS 65003),
which only listens: to a neighbour that a route was not heard from, it is announced again. Nothing leaves the machine, and everything is gone
after the test.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from mesh import FOLDER, enter, eventually, ip

SERVICE = "192.0.2.10"
PREFIX = f"{SERVICE}/32"
PROXIES = ("proxy1", "proxy2")
HOSTS = ("router", *PROXIES, "client")
ADDRESSES = {"client": "10.78.0.2", "proxy1": "10.78.1.2", "proxy2": "10.78.2.2"}
ROUTER = {host: address.removesuffix("2") + "1" for host, address in ADDRESSES.items()}
NUMBERS = {"router": 65000, "proxy1": 65001, "proxy2": 65002, "client": 65003}
PROGRAMS = Path("/usr/lib/frr")
UPSTREAM, LISTENER = (f"as{NUMBERS[host]}" for host in ("router", "client"))
"""The names of the proxies' protocols in BIRD."""

_NAMES = {address: host for host, address in ADDRESSES.items()}

COALESCE = 200
"""Milliseconds that FRR waits before it tells a new neighbour what it knows; a second is usual."""

_COUNT = itertools.count(1)

WEB = """
import http.server, socketserver, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(sys.argv[1].encode())
    def log_message(self, *words):
        pass
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
Server(("", 80), Handler).serve_forever()
"""


def bird_program(name: str = "bird") -> str | None:
    """Return one of BIRD's programs: the one on PATH, or the one that scripts/servers.py brought."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:{FOLDER / 'bin'}")


def obstacle() -> str | None:
    """Return why the fabric cannot be built on this machine, or None."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "there is no `ip` command (package iproute2)"
    if shutil.which("vtysh") is None or not (PROGRAMS / "bgpd").exists():
        return "there is no FRR here; `python scripts/servers.py .servers` brings it"
    if bird_program() is None or bird_program("birdc") is None:
        return "there is no BIRD here; `python scripts/servers.py .servers` brings it"
    return None


class Fabric:
    """The running fabric: nothing is announced yet. A context manager that leaves nothing behind, whatever happens."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._prefix = f"hb{os.getpid()}f{next(_COUNT)}"
        self._processes: dict[tuple[str, str], subprocess.Popen[bytes]] = {}
        self._birds: set[str] = set()
        self._cleanup = ExitStack()
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Fabric:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every process and remove namespaces and folders."""
        self._cleanup.close()

    # -- where things are

    def namespace(self, host: str) -> str:
        """Return the network namespace of a host."""
        return f"{self._prefix}-{host}"

    def instance(self, host: str) -> str:
        """Return the name of a host's FRR (`vtysh -N`)."""
        return self.namespace(host)

    def socket(self, host: str) -> str:
        """Return the control socket of a host's BIRD (`birdc -s`)."""
        return str(self._run(host) / "bird.ctl")

    def exec(self, host: str, argv: Sequence[str]) -> list[str]:
        """Return the command line that runs a command on a host; it keeps the process id that it is started with."""
        return ["ip", "netns", "exec", self.namespace(host), *argv]

    @contextlib.contextmanager
    def inside(self, host: str) -> Iterator[None]:
        """Let this thread's new sockets, and the processes it starts, belong to a host."""
        with (
            Path("/proc/thread-self/ns/net").open("rb") as home,
            Path(f"/run/netns/{self.namespace(host)}").open("rb") as net,
        ):
            enter(net.fileno())
            try:
                yield
            finally:
                enter(home.fileno())

    # -- what can happen

    def add_service(self, host: str) -> None:
        """Put the service's address on a proxy, which announces it from then on."""
        self._ip(host, "address", "replace", PREFIX, "dev", "lo")

    def del_service(self, host: str) -> None:
        """Take the service's address from a proxy, if it is there."""
        with contextlib.suppress(subprocess.CalledProcessError):
            self._ip(host, "address", "del", PREFIX, "dev", "lo")

    def start_bgp(self, host: str) -> None:
        """Start a host's BGP daemon, unless it runs, and wait until it takes commands."""
        if host in self._birds:
            self._start_bird(host)
        else:
            self._start_frr(host)

    def stop_bgp(self, host: str) -> None:
        """End a host's BGP daemon as a crash would."""
        self._kill(host, self._daemon(host))

    def freeze_bgp(self, host: str) -> None:
        """Let a host's BGP daemon stand still."""
        self._signal(host, signal.SIGSTOP)

    def thaw_bgp(self, host: str) -> None:
        """Let a host's BGP daemon go on, if there is one."""
        self._signal(host, signal.SIGCONT)

    def kill_host(self, host: str) -> None:
        """Let a host die: its link is down and its processes are gone, without a word to anybody."""
        self.unplug(host)
        for owner, program in tuple(self._processes):
            if owner == host:
                self._kill(owner, program)

    def unplug(self, host: str) -> None:
        """Pull a host's cable (the router's: all of them); both ends see that."""
        self._set_links(host, "down")

    def plug(self, host: str) -> None:
        """Put a host's cable back."""
        self._set_links(host, "up")

    def restore_host(self, host: str) -> None:
        """Bring a host back to life, with the addresses it had, and wait until its session stands."""
        self._restore(host)
        for proxy in PROXIES if host == "router" else (host,):
            self.wait_for_session(proxy)

    def use_bird(self, host: str, *, used: bool = True) -> None:
        """Let BIRD speak BGP on a proxy instead of FRR, or FRR again, and wait until its session stands."""
        self._choose(host, bird=used)
        self.start_bgp(host)
        self.wait_for_session(host)

    def heal(self, *birds: str) -> None:
        """Bring everything back, with nothing announced and FRR on all hosts but these, and wait until all know it."""
        for host in HOSTS:
            self.plug(host)
            self.thaw_bgp(host)
        for host in PROXIES:
            self.del_service(host)
            self._choose(host, bird=host in birds)
        for host in HOSTS:
            self._restore(host)
        for host in PROXIES:
            self.wait_for_session(host)
        self.wait_for()

    # -- what can be asked

    def vtysh(self, host: str, *commands: str) -> str:
        """Return what a host's FRR answers to some commands."""
        words = [word for command in commands for word in ("-c", command)]
        argv = ["vtysh", "-N", self.instance(host), *words]
        return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True).stdout

    def birdc(self, host: str, *words: str) -> str:
        """Return what a host's BIRD answers to a command."""
        argv = [str(bird_program("birdc")), "-s", self.socket(host), *words]
        return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False).stdout

    def announcers(self) -> set[str]:
        """Return the proxies whose routes to the service the router has."""
        told = json.loads(self.vtysh("router", f"show bgp ipv4 unicast {PREFIX} json"))
        peers = {path["peer"]["peerId"] for path in told.get("paths", []) if path.get("valid")}
        return {proxy for proxy in PROXIES if ADDRESSES[proxy] in peers}

    def session(self, host: str) -> str:
        """Return the state of a proxy's session with the router, as the router sees it."""
        address = ADDRESSES[host]
        told = json.loads(self.vtysh("router", f"show bgp neighbors {address} json"))
        return str(told[address]["bgpState"])

    def wait_for_session(self, host: str) -> None:
        """Wait until a proxy's session with the router stands."""
        eventually(lambda: self.session(host) == "Established", f"the router has a session with {host}")

    def wait_for(self, *proxies: str) -> None:
        """Wait until the router has the routes of these proxies, and of no other."""
        eventually(lambda: self.announcers() == set(proxies), f"announced by {proxies}")

    # -- plumbing

    def _build(self) -> None:
        for host in HOSTS:
            ip("netns", "add", self.namespace(host))
            self._cleanup.callback(ip, "netns", "del", self.namespace(host))
            self._ip(host, "link", "set", "lo", "up")
            with self.inside(host):
                for name, value in (("ip_forward", "1"), ("conf/all/rp_filter", "0"), ("conf/default/rp_filter", "0")):
                    Path(f"/proc/sys/net/ipv4/{name}").write_text(value, encoding="ascii")
        for host, address in ADDRESSES.items():
            self._ip("router", *f"link add {host} type veth peer name eth0 netns {self.namespace(host)}".split())
            self._ip("router", "address", "add", f"{ROUTER[host]}/24", "dev", host)
            self._ip(host, "address", "add", f"{address}/24", "dev", "eth0")
            self._ip(host, "link", "set", "eth0", "up")
            self.plug(host)
            self._ip(host, "route", "add", "default", "via", ROUTER[host])
        for host in HOSTS:
            self._folders(host)
        self._cleanup.callback(self._kill_all)
        for host in HOSTS:
            self._restore(host)
        for host in PROXIES:
            self.wait_for_session(host)

    def _ip(self, host: str, *words: str) -> str:
        return ip("-n", self.namespace(host), *words)

    def _restore(self, host: str) -> None:
        self.plug(host)
        if host in PROXIES and (host, "web") not in self._processes:
            self._start(host, "web", [sys.executable, "-c", WEB, host])
        self.start_bgp(host)

    def _choose(self, host: str, *, bird: bool) -> None:
        if bird != (host in self._birds):
            self.stop_bgp(host)
            self._birds ^= {host}

    def _set_links(self, host: str, state: str) -> None:
        for link in ADDRESSES if host == "router" else (host,):
            self._ip("router", "link", "set", link, state)

    def _etc(self, host: str) -> Path:
        return Path("/etc/frr") / self.instance(host)

    def _run(self, host: str) -> Path:
        return Path("/var/run/frr") / self.instance(host)

    def _daemon(self, host: str) -> str:
        return "bird" if host in self._birds else "bgpd"

    def _folders(self, host: str) -> None:
        for folder in (self._etc(host), self._run(host)):
            folder.mkdir(mode=0o755, parents=True)
            self._cleanup.callback(shutil.rmtree, folder, ignore_errors=True)
            shutil.chown(folder, "frr", "frr")
        texts = {"vtysh": "", "zebra": "ip nht resolve-via-default\n", "bgpd": _frr(host), "bird": _bird(host)}
        for name, text in texts.items():
            path = self._etc(host) / f"{name}.conf"
            path.write_text(text, encoding="ascii")
            shutil.chown(path, "frr", "frr")

    def _start_frr(self, host: str) -> None:
        if (host, "zebra") not in self._processes:
            self._start_daemon(host, "zebra", "zserv.api")
        if (host, "bgpd") not in self._processes:
            self._start_daemon(host, "bgpd", "bgpd.vty")
        eventually(lambda: "65" in self._said(host), f"the bgpd of {host} answers")

    def _said(self, host: str) -> str:
        with contextlib.suppress(subprocess.CalledProcessError):
            return self.vtysh(host, "show bgp summary json")
        return ""

    def _start_daemon(self, host: str, program: str, socket: str) -> None:
        (self._run(host) / socket).unlink(missing_ok=True)
        config = str(self._etc(host) / f"{program}.conf")
        quiet = ["--log", "stdout", "-A", "127.0.0.1", "-P", "0"]
        self._start(host, program, [str(PROGRAMS / program), "-N", self.instance(host), "-f", config, *quiet])
        eventually((self._run(host) / socket).exists, f"the {program} of {host} listens")

    def _start_bird(self, host: str) -> None:
        if (host, "bird") in self._processes:
            return
        Path(self.socket(host)).unlink(missing_ok=True)
        config = str(self._etc(host) / "bird.conf")
        self._start(host, "bird", [str(bird_program()), "-f", "-c", config, "-s", self.socket(host)])
        eventually(lambda: "Daemon is up" in self.birdc(host, "show", "status"), f"the BIRD of {host} answers")

    def _start(self, host: str, program: str, argv: Sequence[str]) -> None:
        with (self.folder / f"{host}-{program}.log").open("ab") as log:
            self._processes[host, program] = subprocess.Popen(
                self.exec(host, argv), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _signal(self, host: str, number: signal.Signals) -> None:
        process = self._processes.get((host, self._daemon(host)))
        if process is not None:
            process.send_signal(number)

    def _kill(self, host: str, program: str) -> None:
        process = self._processes.pop((host, program), None)
        if process is not None:
            process.kill()
            process.wait(10)

    def _kill_all(self) -> None:
        for host, program in tuple(self._processes):
            self._kill(host, program)


def _neighbours(host: str) -> dict[str, int]:
    """Return whom a host speaks BGP with: the neighbours' addresses and numbers."""
    if host == "router":
        return {ADDRESSES[proxy]: NUMBERS[proxy] for proxy in PROXIES}
    if host == "client":
        return {ADDRESSES["proxy2"]: NUMBERS["proxy2"]}
    listener = {ADDRESSES["client"]: NUMBERS["client"]} if host == "proxy2" else {}
    return {ROUTER[host]: NUMBERS["router"], **listener}


def _frr(host: str) -> str:
    own, address = NUMBERS[host], ADDRESSES.get(host, ROUTER["client"])
    # without this a daemon lets nothing through a route map in the first five seconds of its life
    lines = ["bgp route-map delay-timer 0", f"router bgp {own}", f"bgp router-id {address}"]
    lines += ["no bgp ebgp-requires-policy", "timers bgp 1 3", f"coalesce-time {COALESCE}"]
    for neighbour, number in _neighbours(host).items():
        lines += [f"neighbor {neighbour} remote-as {number}", f"neighbor {neighbour} timers connect 1"]
        lines += [f"neighbor {neighbour} ebgp-multihop 2"] if "client" in (host, _NAMES.get(neighbour)) else []
    if host in PROXIES:
        lines += ["address-family ipv4 unicast", f"network {PREFIX}"]
    if host == "proxy2":
        lines += [f"neighbor {neighbour} route-map LONGER out" for neighbour in _neighbours(host)]
        lines += ["exit-address-family", "exit", "route-map LONGER permit 10", f"set as-path prepend {own} {own}"]
    return "\n".join([*lines, ""])


def _bird(host: str) -> str:
    own, address = NUMBERS[host], ADDRESSES.get(host, ROUTER["client"])
    longer = f"bgp_path.prepend({own}); " * 2 if host == "proxy2" else ""
    text = f'router id {address};\nprotocol device {{}}\nprotocol direct own {{ ipv4; interface "lo"; }}\n'
    for neighbour, number in _neighbours(host).items():
        away = "multihop 2" if number == NUMBERS["client"] else "direct"
        text += f"""
protocol bgp as{number} {{
    local {address} as {own};
    neighbor {neighbour} as {number};
    {away};
    hold time 3;
    keepalive time 1;
    connect retry time 1;
    connect delay time 1;
    error wait time 1, 2;
    ipv4 {{
        import all;
        export filter {{ {longer}if net = {PREFIX} then accept; reject; }};
    }};
}}
"""
    return text
