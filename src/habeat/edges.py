"""Where a node meets the world: clocks, network, commands and files. `habeat simulate` puts a made-up world there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from habeat.config.model import Config
from habeat.config.secrets import secret_of
from habeat.config.services import ServiceUrl
from habeat.http import Endpoint
from habeat.observe import Question, Reach, S, Service, T, Witness, side_by_side
from habeat.observe.reach import Icmp, Tcp, own
from habeat.report.lockfiles import LockFiles

if TYPE_CHECKING:
    from habeat.act.channel import Channel
    from habeat.act.raft_folder import RaftFolder
    from habeat.act.run import Runner

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Edges:
    """The real world; what only acting needs is loaded only then."""

    def clock(self) -> float:
        """Return Unix seconds."""
        return time.time()

    def ticks(self) -> float:
        """Return seconds on a clock that never jumps, and goes on while the machine is suspended."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    def every(self, seconds: float, task: Callable[[], bool]) -> Callable[[], None]:
        """Run a task again and again in the background until it says False; return what ends that, and waits for it."""
        stop = threading.Event()

        def repeat() -> None:
            while not stop.wait(seconds) and task():
                pass

        thread = threading.Thread(target=repeat, daemon=True)
        thread.start()

        def end() -> None:
            stop.set()
            thread.join()

        return end

    def together(
        self, some: Sequence[Question[T]], others: Sequence[Question[S]], patience: float
    ) -> tuple[list[T], list[S]]:
        """Ask all questions at the same time, see `observe.side_by_side`."""
        return side_by_side(some, others, patience)

    def endpoint(
        self,
        host: str,
        port: int,
        scheme: str,
        timeout: float,
        ca_file: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Endpoint:
        """Return an HTTP server to call."""
        return Endpoint(host, port, scheme, timeout, ca_file, headers=headers or {})

    def reach(self, config: Config) -> Reach:
        """Return the way in which the peer is asked whether it lives."""
        probes = config.probes
        if probes.reach == "icmp":
            return Icmp(probes.count, probes.timeout)
        return Tcp(int(probes.reach.removeprefix("tcp:")), probes.count, probes.timeout)

    def service(self, config: Config, url: ServiceUrl) -> Service:
        """Return the way to find out whether a service on the target works."""
        from habeat.observe.service import HttpService, TcpService  # noqa: PLC0415  off unless asked for

        probes = config.probes
        if url.scheme == "tcp":
            return TcpService(url, probes.count, probes.timeout)
        return HttpService(url, probes.count, probes.timeout, probes.verify_tls, probes.ca_file)

    def vcenter(self, config: Config, site: str | None) -> Witness:
        """Return the witness vCenter."""
        from habeat.observe.vcenter import VcenterWitness  # noqa: PLC0415  pyVmomi is large

        return VcenterWitness(
            host=str(config.vcenter.hostname),
            port=config.vcenter.port,
            username=config.vcenter.username,
            password=secret_of(config, "vcenter"),
            verify_tls=config.vcenter.verify_tls,
            ca_file=config.vcenter.ca_file,
            timeout=config.witnesses.timeout,
            names=config.vcenter.names,
            clock=self.clock,
            site=site,
        )

    def runner(self, user: str, descriptor: int | None, secrets: tuple[str, ...] = ()) -> Runner:
        """Return what runs commands as a user; they inherit the descriptor."""
        from habeat.act.run import Runner  # noqa: PLC0415  a healthy cycle runs no command

        return Runner(user, descriptor, secrets)

    def folder(self, config: Config) -> RaftFolder:
        """Return the data folder of this host's Consul server."""
        from habeat.act.raft_folder import RaftFolder  # noqa: PLC0415  other roles do not need it

        return RaftFolder(Path(config.consul.data_dir), config.consul.user)

    def channel(self, config: Config) -> Channel:
        """Return the way to ask the habeats of all other Consul servers."""
        from habeat.act.channel import Channel  # noqa: PLC0415  other roles do not need it

        places = [(address, site) for site in ("primary", "secondary") for address in config.site(site).consul_ips]
        others = [place for place in places if not own(place[0])]
        return Channel(secret_of(config, "guard"), config.guard.port, others)

    def files(self, config: Config) -> LockFiles:
        """Return the lock files for other people's scripts."""
        local = config.local
        return LockFiles(
            down=f"{local.down_file}-{local.role}",
            promotion=f"{local.promotion_file}-{local.role}" if local.whoami == "secondary" else "",
            module=local.module_file,
        )

    def boot_id(self) -> str:
        """Return what tells this start of the machine from others."""
        return BOOT_ID.read_text(encoding="ascii").strip()


REAL = Edges()
