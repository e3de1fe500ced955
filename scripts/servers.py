"""Bring the real servers that some tests need: `python scripts/servers.py FOLDER`.

What is on PATH is used as it is. What is missing comes from Debian's own packages, by way of the mirror that this
machine's apt already names and with its keyring. Consul (which left Debian after release 11), slapd and BIRD are
unpacked into FOLDER, so that no service of theirs is ever set up; plain tools are installed, and so is FRR without
its service, since its daemons need its users. The vCenter simulator is built from our own Go program and Debian's
library govmomi. Apt works in folders of its own here, so the machine's package lists and sources stay as they are.

Where this cannot be done, one line for each server tells which tests cannot run and why. That is no error, except
with CI=true in the environment.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OLD_SUITE = "bullseye"
GOPATH = Path("/usr/share/gocode")
GOVMOMI = GOPATH / "src/github.com/vmware/govmomi/simulator"
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin:/sbin:/bin"
QUICK, LONG = 60.0, 600.0
ONE_LINE = re.compile(r"deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<URIs>\S+)\s+(?P<Suites>\S+)\s+(?P<Components>[^#]+)")

Source = dict[str, str]
"""One entry of apt's sources as the fields of sources.list(5), deb822 style."""


class CannotError(Exception):
    """A server cannot be brought here; the message says why."""


@dataclass(frozen=True)
class Server:
    """A package, the program in it that tests start, and which tests do; `unpack` ones never touch the system.

    With a `source` the program is ours: it is built with the package, and again when the source is newer.
    """

    package: str
    program: str
    tests: str
    unpack: bool = False
    suite: str = ""
    source: str = ""


SERVERS = (
    Server("iproute2", "ip", "tests/test_consul_mesh.py"),
    Server("consul", "consul", "tests/test_consul_mesh.py", unpack=True, suite=OLD_SUITE),
    Server("slapd", "slapd", "tests/test_directory.py", unpack=True),
    Server("ldap-utils", "ldapmodify", "tests/test_directory.py"),
    Server("openssl", "openssl", "tests/test_directory.py"),
    Server("systemd", "systemd-analyze", "tests/test_deploy.py"),
    Server("bird2", "bird", "tests/test_announcement.py", unpack=True),
    Server("bird2", "birdc", "tests/test_announcement.py", unpack=True),
    Server("frr", "vtysh", "tests/test_announcement.py"),
    Server("golang-github-vmware-govmomi-dev", "vcsim", "tests/test_vcenter.py", source="tests/vcsim/main.go"),
)


def main(folder: Path) -> int:
    """Bring what is missing and return the exit code."""
    missing = [server for server in SERVERS if not present(server, folder)]
    failed = False
    with tempfile.TemporaryDirectory(prefix="habeat-servers-") as work:
        for server in missing:
            try:
                bring(server, folder, Path(work))
            except CannotError as error:
                failed = True
                print(f"{server.package} is not here, so {server.tests} cannot run: {error}")
            else:
                print(f"{server.package} is here now")
    return 1 if failed and os.environ.get("CI") == "true" else 0


def present(server: Server, folder: Path) -> bool:
    """Tell whether a server's program is on PATH or in the folder; one of ours must be there, and up to date."""
    if server.source:
        built = folder / "bin" / server.program
        return built.exists() and built.stat().st_mtime > (ROOT / server.source).stat().st_mtime
    return shutil.which(server.program, path=f"{PATH}:{folder / 'bin'}") is not None


def bring(server: Server, folder: Path, work: Path) -> None:
    """Build, unpack or install one server; raises CannotError where that cannot be done."""
    if server.source:
        build(server, folder, work)
    elif server.unpack:
        unpack(server, debian(server.suite, work).download(server.package, exactly=bool(server.suite)), folder)
    else:
        debian(server.suite, work).install(server.package)
    if not present(server, folder):
        raise CannotError(f"the package holds no program called {server.program}")


def debian(suite: str, work: Path) -> Apt:
    """Return an apt that knows its packages; raises CannotError where this machine can have none."""
    if os.geteuid() != 0:
        raise CannotError("only root can bring it")
    if _release().get("ID") != "debian":
        raise CannotError("this machine is no Debian")
    if shutil.which("apt-get", path=PATH) is None:
        raise CannotError("there is no apt-get")
    apt = apt_for(suite, work)
    apt.update()
    return apt


def build(server: Server, folder: Path, work: Path) -> None:
    """Build a Go program of ours with Debian's Go and a library that it has as a package, and without the network."""
    if shutil.which("go", path=PATH) is None:
        debian("", work).install("golang-go")
    if not GOVMOMI.exists():
        debian("", work).install(server.package)
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    fresh = folder / "bin" / f".{server.program}"
    alone = {"GO111MODULE": "off", "GOPATH": str(GOPATH), "GOCACHE": str(work / "go"), "CGO_ENABLED": "0"}
    run(["go", "build", "-o", str(fresh), str(ROOT / server.source)], LONG, environment=alone)
    fresh.rename(fresh.with_name(server.program))


def unpack(server: Server, archives: list[Path], folder: Path) -> None:
    """Unpack packages under the folder, and put a starter for the program into its bin folder."""
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    root = folder / server.package
    fresh = Path(tempfile.mkdtemp(dir=folder, prefix="unpacking-"))
    try:
        for archive in archives:
            run(["dpkg", "-x", str(archive), str(fresh)], QUICK)
        fresh.chmod(0o755)
        shutil.rmtree(root, ignore_errors=True)
        fresh.rename(root)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    program = next((p for place in ("usr/sbin", "usr/bin") if (p := root / place / server.program).exists()), None)
    if program is not None:
        libraries = ":".join(map(str, sorted(root.glob("usr/lib/*-linux-gnu*"))))
        starter = folder / "bin" / f".{server.program}"
        starter.write_text(f"#!/bin/sh\nLD_LIBRARY_PATH='{libraries}' exec '{program}' \"$@\"\n", encoding="utf-8")
        starter.chmod(0o755)
        starter.rename(starter.with_name(server.program))


@dataclass(frozen=True)
class Apt:
    """Apt with its lists and caches in a folder of its own; `options` say which sources it knows."""

    folder: Path
    options: tuple[str, ...] = ()

    def update(self) -> None:
        """Get the lists of packages, unless they are there; of the machine's own sources some may be broken."""
        if not (self.folder / "lists").exists():
            for name in ("lists/partial", "cache/archives/partial"):
                (self.folder / name).mkdir(parents=True)
            with contextlib.suppress(*(() if self.options else (CannotError,))):
                self._get("update", "-o", "APT::Update::Error-Mode=any")

    def download(self, package: str, *, exactly: bool) -> list[Path]:
        """Return the package's archive and, unless `exactly`, those of all that it needs and the machine has not."""
        if exactly:
            self._get("download", package)
            return sorted(self.folder.glob("*.deb"))
        self._get("install", "--download-only", "--reinstall", package)
        return sorted(self.folder.glob("cache/archives/*.deb"))

    def install(self, package: str) -> None:
        """Install a package without its service, if it has one: what systemd is told of would be started at once."""
        service = (f"/etc/init.d/{package}", *(f"{usr}/lib/systemd/system/{package}.service" for usr in ("", "/usr")))
        self._get(
            *(word for path in service for word in ("-o", f"DPkg::Options::=--path-exclude={path}")), "install", package
        )

    def _get(self, *words: str) -> None:
        options = [
            *self.options,
            f"Dir::State::lists={self.folder / 'lists'}",
            f"Dir::Cache={self.folder / 'cache'}",
            "Acquire::Languages=none",
            "Acquire::Retries=3",
            "APT::Sandbox::User=root",
            "APT::Install-Recommends=false",
            "APT::Keep-Downloaded-Packages=true",
            "DPkg::Lock::Timeout=120",
        ]
        run(["apt-get", "-qy", *(word for option in options for word in ("-o", option)), *words], LONG, self.folder)


def apt_for(suite: str, work: Path) -> Apt:
    """Return an apt that knows the machine's own sources, or only another suite on their mirror, with their keyring."""
    if not suite:
        return Apt(work / "own")
    own = own_mirror()
    fields = {"Types": "deb", "URIs": own["URIs"], "Suites": suite, "Components": "main"}
    fields |= {"Signed-By": own["Signed-By"]} if "Signed-By" in own else {}
    parts = work / suite / "sources"
    parts.mkdir(parents=True, exist_ok=True)
    (parts / "one.sources").write_text("".join(f"{k}: {v}\n" for k, v in fields.items()), encoding="utf-8")
    nothing = ("sourcelist", "preferences", "preferencesparts")
    options = [f"Dir::Etc::sourceparts={parts}", *(f"Dir::Etc::{name}=/dev/null" for name in nothing)]
    return Apt(work / suite, tuple(options))


def own_mirror() -> Source:
    """Return the machine's own source of Debian's main packages; raises CannotError where it names none."""
    codename = _release().get("VERSION_CODENAME", "")
    found = [
        source
        for source in sources(Path("/etc/apt"))
        if {codename, "stable"} & set(source["Suites"].split()) and "main" in source["Components"].split()
        if "://" in source["URIs"]
    ]
    found.sort(key=lambda source: not source["URIs"].split()[0].rstrip("/").endswith("/debian"))
    if not found:
        raise CannotError("this machine's apt names no source of Debian's main packages")
    return found[0]


def sources(etc: Path) -> Iterator[Source]:
    """Give every enabled source of binary packages in apt's configuration."""
    for path in [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*.list"))]:
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            if match := ONE_LINE.match(line.strip()):
                options = dict(option.split("=", 1) for option in (match["options"] or "").split() if "=" in option)
                signed = {"Signed-By": options["signed-by"].replace(",", " ")} if "signed-by" in options else {}
                yield {name: match[name] for name in ("URIs", "Suites", "Components")} | signed
    for path in sorted((etc / "sources.list.d").glob("*.sources")):
        for paragraph in re.split(r"\n\s*\n", path.read_text(encoding="utf-8")):
            source = _fields(paragraph)
            wanted = {"URIs", "Suites", "Components"} <= set(source) and "deb" in source.get("Types", "").split()
            if wanted and source.get("Enabled", "yes").lower() not in ("no", "false", "off", "0"):
                yield source


def _fields(paragraph: str) -> Source:
    """Return the fields of one deb822 paragraph, under the names that sources.list(5) uses; values keep their lines."""
    known = {name.lower(): name for name in ("Types", "URIs", "Suites", "Components", "Signed-By", "Enabled")}
    fields: Source = {}
    name = ""
    for line in paragraph.splitlines():
        if line.startswith("#"):
            continue
        if line[:1].isspace():
            fields[name] = f"{fields.get(name, '')}\n{line}"
        elif ":" in line:
            key, _, value = line.partition(":")
            name = known.get(key.lower(), key)
            fields[name] = value.strip()
    return fields


def _release() -> dict[str, str]:
    """Return the fields of os-release(5)."""
    path = Path("/etc/os-release")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {name: value.strip("\"'") for name, _, value in (line.partition("=") for line in lines)}


def run(
    argv: list[str], timeout: float, folder: Path = Path("/"), environment: Mapping[str, str] | None = None
) -> None:
    """Run a command that asks nothing and starts no service; raises CannotError with its last words if it fails."""
    quiet = {**os.environ, "PATH": PATH, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    quiet |= environment or {}
    try:
        done = subprocess.run(
            argv, cwd=folder, env=quiet, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        raise CannotError(f"`{argv[0]}` was still at work after {timeout:.0f} s") from None
    except OSError as error:
        raise CannotError(f"`{argv[0]}` cannot be started: {error.strerror}") from None
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).decode(errors="replace").split())
        raise CannotError(f"`{argv[0]}` ended with exit code {done.returncode}: {said[-300:]}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: servers.py FOLDER")
    sys.exit(main(Path(sys.argv[1]).resolve()))
