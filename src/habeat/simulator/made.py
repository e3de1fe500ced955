"""Habeat's edges in the made-up world, of one process on one host; its methods are those of the real edges.

A point is passed before and after each effect, see `simulator.points`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from habeat.act.channel import TIMEOUT, Channel
from habeat.act.raft_folder import RaftFolder
from habeat.act.run import Completed, Runner
from habeat.config.model import Config
from habeat.config.services import ServiceUrl
from habeat.edges import Edges
from habeat.errors import CommandTimeoutError, FolderError
from habeat.guard import Heard
from habeat.http import Endpoint, Reply
from habeat.model import Down, Evidence, Probe, Target, Unknown, Up
from habeat.observe import Question, Reach, S, Service, T, Witness
from habeat.report.lockfiles import LockFiles
from habeat.simulator.outsiders import VcenterWitness
from habeat.simulator.points import Crash, Process, Seen

if TYPE_CHECKING:
    from typing_extensions import Self

    from habeat.simulator.instance import Instance


class Made(Edges):
    """The edges of one process on one host of the made-up world."""

    def __init__(self, instance: Instance, process: Process) -> None:
        self.instance, self._process = instance, process
        self._world = instance.scene.world

    def clock(self) -> float:
        return self.instance.clock

    def ticks(self) -> float:
        return self._world.now

    def sleep(self, seconds: float) -> None:
        self._world.wait(seconds)
        self.instance.awake(self._process)
        self.instance.lasts()

    def every(self, seconds: float, task: Callable[[], bool]) -> Callable[[], None]:
        running = [True]

        def again() -> None:
            frozen_until = self.instance.host.frozen_until
            if frozen_until > self._world.now:
                self._world.at(frozen_until, again)
            elif running and self._process.alive:
                try:
                    if task():
                        self._world.at(self._world.now + seconds, again)
                except Crash:
                    running.clear()

        self._world.at(self._world.now + seconds, again)
        return running.clear

    def together(
        self,
        some: Sequence[Question[T]],
        others: Sequence[Question[S]],
        patience: float,  # noqa: ARG002
    ) -> tuple[list[T], list[S]]:
        self.instance.awake(self._process)
        return [_asked(question) for question in some], [_asked(question) for question in others]

    def endpoint(
        self,
        host: str,
        port: int,
        scheme: str,
        timeout: float,
        ca_file: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Endpoint:
        return _Endpoint(host, port, scheme, timeout, ca_file, headers=headers or {}).within(self)

    def reach(self, config: Config) -> Reach:
        return _Ping(self.instance, config.probes.count, config.probes.timeout)

    def service(self, config: Config, url: ServiceUrl) -> Service:
        return _MailService(self.instance, str(url), url.host, url.port, config.probes.count, config.probes.timeout)

    def vcenter(self, config: Config, site: str | None) -> Witness:  # noqa: ARG002
        return _Heard(VcenterWitness(self.instance.scene.vcenter, self.instance.name, site), self.instance)

    def runner(self, user: str, descriptor: int | None, secrets: tuple[str, ...] = ()) -> Runner:
        return _Runner(user, descriptor, secrets).within(self)

    def folder(self, config: Config) -> RaftFolder:
        return _Folder(_path(config.consul.data_dir), config.consul.user).within(self)

    def channel(self, config: Config) -> Channel:
        places = [(address, site) for site in ("primary", "secondary") for address in config.site(site).consul_ips]
        own = self.instance.host.address
        return _Channel("", 0, [place for place in places if place[0] != own]).within(self)

    def files(self, config: Config) -> LockFiles:  # noqa: ARG002
        return LockFiles()  # none: other people's scripts are not part of this world

    def boot_id(self) -> str:
        return f"boot-{self.instance.host.boot}"

    def point(self, name: str) -> None:
        """Pass a point."""
        self.instance.point(self._process, name)

    def refused(self, reply: Reply) -> None:
        """Note that Consul refused something: without the right to lock, the machine's own lock must do."""
        self._process.refused = self._process.refused or reply.status == 403  # forbidden

    def awake(self) -> None:
        """Be there, or be killed."""
        self.instance.awake(self._process)

    def alive(self) -> bool:
        """Tell whether the process lives."""
        return self._process.alive and self.instance.host.up


def _asked(question: Question[Any]) -> Any:
    try:
        return question.ask()
    except Exception as error:  # noqa: BLE001  as `side_by_side` does
        return question.unanswered(Unknown(f"could not be asked ({type(error).__name__}: {error})"))


_path = cache(Path)


class _Within:
    """Knows the edges that it is part of; the frozen dataclasses that it stands beside have no place for that."""

    made: Made

    def within(self, made: Made) -> Self:
        object.__setattr__(self, "made", made)
        return self


class _Endpoint(_Within, Endpoint):
    def call(self, method: str, path: str, body: bytes | None = None) -> Reply:
        made, scene = self.made, self.made.instance.scene
        made.awake()
        if self.host == "hetrix":
            reply = scene.hetrix.call(made.instance.name, path, self.timeout)
            scene.heard_hetrix(made.instance, path)
            return reply
        name = _verb(method, path)
        if name:
            made.point(f"before consul {name}")
        reply = scene.mesh.call(made.instance.name, method, path, body, self.timeout)
        scene.heard_consul(made.instance, path, reply)
        made.refused(reply)
        if name:
            made.point(f"after consul {name}")
        return reply

    def greet(self) -> None:
        self.made.instance.scene.hetrix.greet(self.made.instance.name)


def _verb(method: str, path: str) -> str:
    """Return what a call changes in Consul, or nothing."""
    if method == "GET":
        return ""
    if path.startswith("/v1/session/"):
        return path.split("/")[3]
    if method == "DELETE":
        return "remove"
    return "acquire" if "acquire=" in path else "release" if "release=" in path else "put"


@dataclass(frozen=True)
class _Ping:
    instance: Instance
    count: int
    timeout: float
    kind: str = "icmp"

    def __call__(self, address: str) -> Evidence:
        world, name = self.instance.scene.world, self.instance.name
        host = world.by_address(address)
        if not self.instance.host.plugged:
            return Unknown("cannot be pinged: no packet could be sent from here (no route, or the link is down)")
        answers = host is not None and world.answers(name, host.name, self.timeout, self.count)
        if host is not None and host.name in self.instance.targets:
            seen = self.instance.seen[-1] if self.instance.seen else Seen(world.now)
            seen.silent, seen.reached = seen.silent or not answers, seen.reached or answers
        return Up("answers ping in 0.5 ms") if answers else Down("does not answer ping (3 sent)")


@dataclass(frozen=True)
class _MailService:
    instance: Instance
    address: str
    host: str
    port: int
    count: int
    timeout: float
    kind: str = "service"

    def __call__(self) -> Probe:
        world = self.instance.scene.world
        host = world.by_address(self.host)
        if host is None or not world.answers(self.instance.name, host.name, self.timeout, self.count):
            return Probe(self.kind, self.address, Down("does not answer (3 tries)"), port=self.port)
        evidence: Evidence = Up("answers") if host.service else Down("refuses connections")
        return Probe(self.kind, self.address, evidence, lives=True, answered=True, port=self.port)


@dataclass(frozen=True)
class _Heard:
    """A witness whose testimony is noted."""

    witness: Witness
    instance: Instance

    def __getattr__(self, name: str) -> Any:
        return getattr(self.witness, name)

    def ask(self, target: Target) -> Any:
        answer = self.witness.ask(target)
        self.instance.scene.heard(self.instance, self.witness.name, target.name, answer.evidence)
        return answer


class _Runner(_Within, Runner):
    def run(self, argv: Sequence[str], timeout: float, *, stdin: str = "") -> Completed:
        made, scene = self.made, self.made.instance.scene
        program, words = argv[0].rpartition("/")[2], list(argv)
        name = scene.command(program, words[1:])
        kind = "systemctl" if program == "systemctl" else "run"
        made.point(f"before {kind} {name}")
        done = scene.execute(made, program, words, stdin)
        if done is None:
            scene.world.wait(timeout)
            made.awake()
            raise CommandTimeoutError(f"`{program} {name}` was still running after {timeout:g} s and was ended")
        made.point(f"after {kind} {name}")
        return done

    def show(self, descriptor: int, mode: int) -> None:
        """Do nothing: there is only one user here."""


class _Folder(_Within, RaftFolder):
    """Consul's data folder, as the made-up server has it."""

    def _server(self) -> Any:
        self.made.awake()
        return self.made.instance.scene.mesh.servers[self.made.instance.name]

    def _kept(self) -> dict[str, Any]:
        folders: dict[str, Any] = self.made.instance.scene.folders.setdefault(self.made.instance.name, {})
        return folders

    def node_id(self) -> str:
        return str(self._server().id)

    def examine(self) -> str:
        if self.made.instance.name in self.made.instance.scene.full:
            raise FolderError("there is no room for a copy of the raft folder")
        if self._server().data is None:
            raise FolderError("raft has no peers.info: without it Consul ignores peers.json")
        return "64 KiB of raft data can be copied"

    def busy(self) -> bool:
        return bool(self._server().running)

    def has(self, name: str) -> bool:
        server = self._server()
        if name == "raft":
            return server.data is not None
        if name == "raft/peers.json":
            return server.peers is not None
        return name in self._kept() or name == "node-id"

    def copy(self, source: str, target: str) -> None:
        self.made.point("before folder copy")
        if self.made.instance.name in self.made.instance.scene.full:
            raise FolderError("No space left on device")
        if target not in self._kept():
            server = self._server()
            self._kept()[target] = (server.data, server.starts) if source == "raft" else self._kept()[source]
        self.made.point("after folder copy")

    def set_aside(self, target: str) -> None:
        self.made.point("before folder set_aside")
        self.made.instance.scene.invariants.cleans(self.made.instance)
        server = self._server()
        self._kept()[target] = (server.data, server.starts)
        server.data, server.peers = None, None
        self.made.point("after folder set_aside")

    def restore(self, backup: str, aside: str) -> None:
        self.made.point("before folder restore")
        self.made.instance.scene.invariants.restores(self.made.instance, backup)
        server = self._server()
        if aside not in self._kept():
            self._kept()[aside] = (server.data, server.starts)
            (server.data, _), server.peers = self._kept()[backup], None
        self.made.point("after folder restore")

    def write_peers(self, text: str) -> None:
        self.made.point("before folder write_peers")
        self.made.instance.scene.invariants.rebuilds(self.made.instance)
        self._server().peers = tuple(sorted(item["id"] for item in json.loads(text)))
        self.made.point("after folder write_peers")

    def remove_peers(self) -> None:
        self.made.point("before folder remove_peers")
        self._server().peers = None
        self.made.point("after folder remove_peers")


class _Channel(_Within, Channel):
    def ask(self, site: str = "") -> list[Heard]:
        self.made.awake()
        return [self._word(address, place) for address, place in self.places if site in ("", place)]

    def _word(self, address: str, site: str) -> Heard:
        scene, own = self.made.instance.scene, self.made.instance.name
        host = scene.world.by_address(address)
        other = scene.instances.get(host.name) if host else None
        if host is None or other is None or not scene.world.answers(own, host.name, TIMEOUT) or not other.up():
            return Heard(address, site, Unknown("gives no answer on port 8399"))
        returning = other.returning(Process())
        if scene.world.hosts[own].site != site:
            returning.asked()
        return Heard(address, site, returning.word())
