"""What is copied to real nodes: units that systemd accepts, and a single file that runs on every supported Python."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SYSTEMD = ROOT / "deploy" / "systemd"


def interpreters() -> list[str]:
    """Return one of each supported Python at hand: this one, those on PATH, and those that pyenv keeps."""
    on_path = [shutil.which(f"python3.{minor}") for minor in range(10, 14)]
    kept = (Path.home() / ".pyenv" / "versions").glob("3.1[0-3].*/bin/python3")
    found: dict[str, str] = {}
    for path in [sys.executable, *filter(None, on_path), *map(str, sorted(kept))]:
        asked = [path, "-c", "import sys; print(sys.version_info[:2])"]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            found.setdefault(done.stdout, path)
    return list(found.values())


needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def analyze(*words: str) -> str:
    """Run systemd-analyze, and return what it says."""
    done = subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@needs_systemd
def test_units_are_accepted(tmp_path: Path) -> None:
    """Systemd finds nothing to complain of in either unit or the drop-in, and no cycle between them."""
    shutil.copytree(SYSTEMD, tmp_path, dirs_exist_ok=True)
    names = ("habeat.service", "habeat.timer", "habeat-consul.service", "service-discover.service")
    (tmp_path / names[-1]).write_text("[Service]\nExecStart=/bin/true\n", encoding="utf-8")
    (tmp_path / f"{names[-1]}.d" / "habeat-guard.conf").write_text(
        (tmp_path / f"{names[-1]}.d" / "habeat-guard.conf")
        .read_text(encoding="utf-8")
        .replace("/usr/local/sbin/habeat", sys.executable)
    )
    units = [tmp_path / name for name in names]
    for unit in units:
        unit.write_text(unit.read_text(encoding="utf-8").replace("/usr/local/sbin/habeat", sys.executable))
    assert "" == analyze("verify", *map(str, units))
    drop_in = tmp_path / "habeat.service.d" / "switch.conf"
    drop_in.write_text(drop_in.read_text(encoding="utf-8") + "Nonsense=yes\n")
    assert "Nonsense" in analyze("verify", *map(str, units))


@needs_systemd
def test_calendar_is_every_five_minutes() -> None:
    """The calendar expression parses, and means every five minutes."""
    (calendar,) = re.findall(r"^OnCalendar=(.*)$", (SYSTEMD / "habeat.timer").read_text(encoding="utf-8"), re.MULTILINE)
    assert "Normalized form: *-*-* *:00/5:00" in analyze("calendar", calendar)


@needs_systemd
def test_service_is_hardened() -> None:
    """The service may do little more than it needs."""
    said = analyze("security", "--offline=yes", str(SYSTEMD / "habeat.service"))
    (exposure,) = re.findall(r"exposure level for habeat.service: ([\d.]+)", said)
    assert float(exposure) < 5


def test_no_circular_dependency() -> None:
    """The timer starts the service; neither requires the other, and no unit is named that does not exist."""
    service, timer = ((SYSTEMD / f"habeat.{kind}").read_text(encoding="utf-8") for kind in ("service", "timer"))
    assert "habeat.timer" not in service
    assert "Requires=" not in service + timer
    assert {"network-online.target"} == set(re.findall(r"^(?:Wants|After)=(.*)$", service, re.MULTILINE))


@pytest.fixture(scope="module")
def single_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the single file."""
    output = tmp_path_factory.mktemp("dist") / "habeat"
    subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "build.py"), str(output)], check=True, stdout=subprocess.DEVNULL
    )
    return output


@pytest.mark.parametrize("python", interpreters())
def test_single_file_runs(single_file: Path, tmp_path: Path, python: str) -> None:
    """The single file fails the lab over on each Python at hand, without this checkout or its environment."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LANG": "C.UTF-8"}
    done = subprocess.run(
        [python, "-I", str(single_file), "lab", "--accounts", "5"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    assert "5 of 5 accounts promoted" in done.stdout


@pytest.mark.parametrize("extra", [(), ("--extra", "vcenter")])
def test_single_file_and_the_extra(tmp_path: Path, extra: tuple[str, ...]) -> None:
    """Without pyVmomi the witness vcenter is a clear error that says how to get it; built with the extra, all is well."""
    config, output = tmp_path / "habeat.yml", tmp_path / "habeat"
    account = "{hostname: vcenter.example.com, username: habeat, password: secret}"
    nodes = [
        f"{site}: {{appserver_ip: 10.0.0.{n}, appserver_vmname: mbox{n}}}"
        for n, site in ((1, "primary"), (2, "secondary"))
    ]
    local = "local: {whoami: secondary, dc_check: primary, role: appserver, provider: vcenter}"
    config.write_text("\n".join([local, *nodes, f"vcenter: {account}"]), encoding="utf-8")
    config.chmod(0o600)
    build = [sys.executable, str(ROOT / "scripts" / "build.py"), *extra, str(output)]
    subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
    argv = [sys.executable, "-I", "-S", str(output), "config", "check", "--config", str(config)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if extra:
        assert (0, f"{config} is good\n") == (done.returncode, done.stdout)
    else:
        assert 2 == done.returncode
        assert (
            "local.provider: the witness vcenter needs pyVmomi (the extra habeat[vcenter]), which is not installed"
            in done.stderr
        )
        assert "make build EXTRAS=vcenter" in done.stderr


def test_single_file_refuses_an_old_python(single_file: Path) -> None:
    """A Python that is too old is told so in a sentence, not by a syntax error."""
    code = "import runpy, sys; sys.version_info = (3, 6, 8); runpy.run_path(sys.argv[1], run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code, str(single_file)], capture_output=True, text=True, check=False)
    assert (1, "habeat needs Python 3.10 or newer, and this is Python 3.6\n") == (done.returncode, done.stderr)


def test_nothing_compiled_is_inside(single_file: Path) -> None:
    """The single file is pure Python."""
    listed = subprocess.run(
        [sys.executable, "-m", "zipfile", "-l", str(single_file)], capture_output=True, text=True, check=True
    )
    assert ".so" not in listed.stdout
    assert "habeat/cycle.py" in listed.stdout
