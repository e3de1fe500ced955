"""The command line: exit codes, sentences, JSON twins, and never a traceback."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import LabFactory
from habeat.lab import carbonio
from habeat.lab.sites import PRIMARY, Lab

COMMANDS = (
    "check",
    "status",
    "explain",
    "history",
    "pause",
    "resume",
    "ack",
    "config",
    "doctor",
    "consul",
    "lab",
    "simulate",
)


def habeat(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run habeat outside any lab."""
    return subprocess.run(
        [sys.executable, "-m", "habeat", *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def failed_over(lab: Lab) -> None:
    """Bring a lab to a finished failover."""
    lab.kill()
    lab.check()
    assert 0 == lab.check().code


def test_options_alone_are_check(lab: Lab) -> None:
    """`habeat --config F --log L`, as the seed's unit has it, is the same as `habeat check`."""
    argv = ["--config", str(lab.config), "--log", str(lab.log), "--state-dir", str(lab.state_dir)]
    bare, named = habeat(*argv), habeat("check", *argv)
    assert (0, 0) == (bare.returncode, named.returncode)
    assert bare.stdout == named.stdout
    assert 2 == len(lab.log.read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize(
    "words", [["--conifg", "x"], ["chekc"], ["check", "x"], ["pause"], ["explain", "x"], ["history", "--limit", "0"]]
)
def test_bad_usage(words: list[str]) -> None:
    """What habeat does not understand is told, with exit code 2."""
    done = habeat(*words)
    assert 2 == done.returncode
    assert "Error: " in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_configuration(tmp_path: Path) -> None:
    """Without a configuration nothing is done, with exit code 2 and the place that was looked at."""
    done = habeat("--config", str(tmp_path / "none.yml"), "--state-dir", str(tmp_path / "state"))
    assert (2, f"habeat: {tmp_path}/none.yml: cannot be read: No such file or directory\n") == (
        done.returncode,
        done.stderr,
    )
    assert not (tmp_path / "state").exists()


def test_configuration_error_is_logged_too(lab: Lab) -> None:
    """A bad configuration blocks every action, loudly: all problems on the terminal, and a line in the log (I7)."""
    lab.config.write_text("local:\n  whoami: secondary\n  rloe: x\n  threads: y\n", encoding="utf-8")
    checked = lab.check()
    assert 2 == checked.code
    assert ["3", "4"] == re.findall(r"habeat.yml:(\d+): ", checked.said)
    assert "local.rloe: unknown key" in lab.log.read_text(encoding="utf-8")


def test_status(lab: Lab) -> None:
    """`status` tells what is watched, the state, the verdict's evidence and the last failover, to people and to scripts."""
    assert "none yet" in lab.run("status").said
    failed_over(lab)
    words = lab.run("status").said
    assert all(
        part in words
        for part in (
            "mbox2.example.com (secondary site)",
            f"watches      {PRIMARY}",
            "active",
            "witness Consul: says that agent-mbox1",
            "8 of 8 accounts promoted",
            "number 1",
        )
    )
    data = json.loads(lab.run("status", "--json").said)
    assert ("active", "down", 8) == (data["state"], data["sight"], data["failover"]["tally"]["promoted"])


def test_history_and_explain(lab: Lab) -> None:
    """Every decision is told in order; each can be explained down to its rule and its evidence (I8)."""
    failed_over(lab)
    events = json.loads(lab.run("history", "--json").said)
    assert ["S4", "U7", "R1"] == [event["row"] for event in events]
    assert 3 == len(lab.run("history").said.splitlines())
    words = lab.run("explain", str(events[1]["id"])).said
    assert all(part in words for part in ("suspect -> failing_over", "row U7", "rule J7", "witness Consul"))
    assert "Failover of mbox1.example.com finished" in lab.run("explain").said
    assert "restart" in lab.run("explain", "--failover", "1").said
    missing = lab.run("explain", "99")
    assert (2, True) == (missing.code, "there is no event 99" in missing.said)
    assert "there is no failover number 7" in lab.run("explain", "--failover", "7").said


def test_reading_before_the_first_cycle(lab: Lab) -> None:
    """Without a journal, reading commands say that no cycle has run, and exit 1."""
    for command in ("explain", "history", "resume", "ack"):
        checked = lab.run(command)
        assert (1, True) == (checked.code, "no cycle has run" in checked.said)


def test_pause_has_an_end(lab: Lab) -> None:
    """A pause can have a duration; a bad one is told and pauses nothing."""
    bad = lab.run("pause", "--reason", "x", "--for", "soon")
    assert (2, True) == (bad.code, "--for: expected a duration such as 90s" in bad.said)
    assert "until" in lab.run("pause", "--reason", "x", "--for", "1s").said
    lab.kill()
    lab.check()
    time.sleep(1)
    assert "Failing over now" in lab.check().said


def test_ack_without_a_failover(lab: Lab) -> None:
    """There is nothing to acknowledge before a failover."""
    lab.check()
    assert "nothing to acknowledge" in lab.run("ack").said


def test_second_habeat_leaves_it_to_the_first(make_lab: LabFactory) -> None:
    """A cycle that starts while another runs ends at once, with exit code 0 and a sentence (I2)."""
    lab = make_lab(world={"startup": 1.0})
    lab.kill()
    lab.check()
    with subprocess.Popen(lab.argv("check"), stdout=subprocess.DEVNULL) as first:
        deadline = time.monotonic() + 10
        while lab.cli_starts() == 0 and time.monotonic() < deadline:
            time.sleep(0.02)
        second = lab.check()
        assert (0, True) == (second.code, f"another habeat is at work on this machine (pid {first.pid})" in second.said)
        assert 0 == first.wait()


def test_unusable_state(lab: Lab) -> None:
    """Without a journal that can be written nothing is done, exit code 1 (I3)."""
    lab.state_dir.mkdir(mode=0o700)
    (lab.state_dir / "habeat.db").write_bytes(b"garbage " * 1000)
    lab.kill()
    for _ in range(3):
        checked = lab.check()
        assert (1, True) == (checked.code, "the journal" in checked.said and "nothing is done" in checked.said)
    assert 0 == lab.cli_starts()


def test_full_log_disk_stops_nothing(lab: Lab) -> None:
    """A log that takes no more lines is told, and the failover goes on."""
    lab.log = Path("/dev/full")
    lab.kill()
    lab.check()
    checked = lab.check()
    assert 0 == checked.code
    assert "/dev/full cannot be written" in checked.said
    assert "8 of 8 accounts promoted" in checked.said


def test_terminal_that_is_gone_stops_nothing(lab: Lab) -> None:
    """An output that takes no more words is no reason to stop a failover (I3)."""
    lab.kill()
    for _ in range(2):
        with Path("/dev/full").open("w") as full:
            code = subprocess.run(lab.argv("check"), stdout=full, stderr=subprocess.DEVNULL, check=False).returncode
    assert 0 == code
    assert {"mbox2.example.com"} == {item["accountMailHost"] for item in lab.accounts()}


def test_odd_words_can_pause(lab: Lab) -> None:
    """Words that the terminal's encoding spoiled are no reason not to pause (I7)."""
    lab.check()
    words: list[str | bytes] = [*lab.argv("pause"), "--reason", b"wartung f\xfcr"]
    assert 0 == subprocess.run(words, stdout=subprocess.DEVNULL, check=False).returncode
    assert "PAUSED" in lab.run("status").said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_reading_without_the_right(lab: Lab) -> None:
    """Who may not read the journal is told so, in a sentence."""
    lab.check()
    lab.folder.chmod(0o755)
    lab.config.chmod(0o644)
    for command in ("status", "history"):
        done = subprocess.run(
            ["setpriv", "--reuid=65534", "--clear-groups", *lab.argv(command)],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
        )
        assert 1 == done.returncode, done.stderr
        assert "only its owner, usually root, may" in done.stderr or "Permission denied" in done.stderr
        assert "defect" not in done.stderr


def test_secrets_appear_nowhere(make_lab: LabFactory) -> None:
    """The token is in no output, log, journal or process list (I9)."""
    lab = make_lab(overrides={"consul": {"token": "hunter2-secret", "port": 1}})
    lab.kill()
    said = (
        lab.check().said + lab.run("status").said + lab.run("explain", "--json").said + lab.run("config", "show").said
    )
    files = [path for path in (*lab.state_dir.iterdir(), lab.log) if path.is_file()]
    assert "hunter2" not in said
    assert not any(b"hunter2" in path.read_bytes() for path in files)


def test_token_from_a_file(make_lab: LabFactory, tmp_path: Path) -> None:
    """The token may lie in a file of its own; one that cannot be read is a configuration error."""
    lab = make_lab(overrides={"consul": {"token_file": str(tmp_path / "token")}})
    checked = lab.check()
    assert (2, True) == (checked.code, "consul.token_file" in checked.said and "cannot be read" in checked.said)
    (tmp_path / "token").write_text("abc\n")
    assert "can be read by everybody" in lab.check().said
    (tmp_path / "token").chmod(0o600)
    assert 0 == lab.check().code
    (tmp_path / "token").write_text("AccessorID: x\nSecretID: hunter2\n")
    checked = lab.check()
    assert (2, True) == (checked.code, "must hold the token alone" in checked.said)
    assert "hunter2" not in checked.said


def test_config_commands(lab: Lab) -> None:
    """`config` shows, checks and describes."""
    assert "is good" in lab.run("config", "check").said
    assert "confirmations: 2" in lab.run("config", "show").said
    assert PRIMARY == json.loads(lab.run("config", "show", "--json").said)["primary"]["appserver_vmname"]
    assert "habeat" == json.loads(habeat("config", "schema").stdout)["title"]


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help(command: str) -> None:
    """Every command explains itself."""
    done = habeat(*command.split(), "--help")
    assert (0, True) == (done.returncode, "Usage: habeat" in done.stdout)


def test_readme_knows_every_command() -> None:
    """README names every command that `--help` lists, and no other."""
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    table = set(re.findall(r"^\| `habeat ([a-z]+)", readme, re.MULTILINE))
    listed = set(re.findall(r"^  ([a-z]+) ", habeat("--help").stdout.split("Commands:")[1], re.MULTILINE))
    assert listed == table


def test_doctor(lab: Lab) -> None:
    """In health all is good but what nobody configured, and nothing is changed; the exit code is 0."""
    done = subprocess.run(lab.argv("doctor"), capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, done.stderr)
    for line in (
        "good     witness Consul: says that agent-mbox1-example-com is up",
        "good     witnesses: 1 of 1 may call mbox1.example.com dead, and 1 must",
        "good     Carbonio: answers",
        "good     accounts of mbox1.example.com: 8 are replicated, and each could be promoted",
        "warning  journal: there is none in",
        "to mend it: run `habeat check`, or the timer",
    ):
        assert line in done.stdout
    assert not lab.state_dir.exists()
    assert {0} == {item["promotions"] for item in lab.accounts()}


def test_doctor_finds_what_is_wrong(lab: Lab) -> None:
    """What would keep a failover from succeeding is an error with a way to mend it, and the exit code is 1."""
    with carbonio.world_of(lab.world) as world:
        for account in list(world["accounts"].values())[:2]:
            account["replicas"] = []
    lab.configure(
        {
            "witnesses": {"site": {"consul": "primary"}},
            "policy": {"gateways": ["no-such-host.invalid"]},
            "probes": {"services": ["tcp://{ip}:1"]},
        }
    )
    done = subprocess.run([*lab.argv("doctor"), "--json"], capture_output=True, text=True, check=False)
    found = {item["subject"]: item for item in json.loads(done.stdout)}
    assert 1 == done.returncode
    assert ("error", "0 of 1 may call mbox1.example.com dead, and 1 must") == (
        found["witnesses"]["health"],
        found["witnesses"]["says"],
    )
    assert "stands in the suspect site primary itself" in found["place of Consul"]["says"]
    assert "error" == found["gateway no-such-host.invalid"]["health"]
    service = found[f"service tcp://{lab.addresses[PRIMARY]}:1"]
    assert ("warning", "refuses connections") == (service["health"], service["says"])
    accounts = found["accounts of mbox1.example.com"]
    assert "2 of 8 have no usable replica, and could not be promoted" == accounts["says"]
    assert 2 == len(accounts["names"])


def test_doctor_of_a_witness_that_looks_at_another(lab: Lab) -> None:
    """One that calls the peer dead while it answers is an error: with the next broken path it would kill it (I1)."""
    lab.witness.kill(PRIMARY)
    done = subprocess.run(lab.argv("doctor"), capture_output=True, text=True, check=False)
    assert 1 == done.returncode
    assert "error    witness Consul on the peer: calls mbox1.example.com dead although it answers us" in done.stdout
    assert "although it answers" in lab.check().said


def test_replay_without_the_services(lab: Lab) -> None:
    """What the other configuration does not probe counts for nothing there."""
    lab.configure({"probes": {"services": ["tcp://{ip}:1"]}})
    assert 3 == lab.check().code
    lab.configure({"probes": {"services": []}})
    argv = [*lab.argv("explain", "--replay", "1"), "--json"]
    told = json.loads(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)
    assert ("service_down", "up") == (told["recorded"]["sight"], told["under"]["sight"])
    assert [f"tcp://{lab.addresses[PRIMARY]}:1 is not probed"] == told["witnesses"]


def test_doctor_where_carbonio_is_dead(lab: Lab) -> None:
    """A Carbonio that does not answer is told, in bounded time, and the other findings with it."""
    lab.configure({"carbonio": {"binary": "/nowhere/carbonio"}})
    done = subprocess.run(lab.argv("doctor"), capture_output=True, text=True, check=False)
    assert 1 == done.returncode
    assert "error    Carbonio: " in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_doctor_where_carbonio_does_not_list_its_jobs(lab: Lab) -> None:
    """Nothing is promoted before it is known what Carbonio does already: what would keep that from us is an error."""
    with carbonio.world_of(lab.world) as world:
        world["faults"].append({"command": "getAllOperations", "kind": "exit"})
    done = subprocess.run(lab.argv("doctor"), capture_output=True, text=True, check=False)
    assert 1 == done.returncode
    assert "error    Carbonio: " in done.stdout


def test_replay(lab: Lab) -> None:
    """A past decision is judged the same again, and differently under another policy; the difference is named (I8)."""
    failed_over(lab)
    old = Path(shutil.copy(lab.config, lab.folder / "old.yml"))
    lab.configure({"witnesses": {"site": {"consul": "primary"}}})
    same = subprocess.run(
        lab.argv("explain", "--replay", "2", "--policy", str(old)), capture_output=True, text=True, check=True
    )
    assert "now          the same" in same.stdout
    argv = [*lab.argv("explain", "--replay", "2"), "--json"]
    told = json.loads(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)
    assert (True, ["Consul stands in primary, not in neither"]) == (told["reproduced"], told["witnesses"])
    assert ("down", "failing_over") == (told["recorded"]["sight"], told["recorded"]["after"])
    assert ("unknown", "standby", "none") == tuple(told["under"][key] for key in ("sight", "after", "command"))


def test_errors_as_json(lab: Lab, tmp_path: Path) -> None:
    """What is wrong is JSON too where that is wanted: for a script, each problem with its file, line and key."""
    lab.config.write_text(lab.config.read_text(encoding="utf-8") + "polcy: {}\n", encoding="utf-8")
    done = subprocess.run([*lab.argv("config", "check"), "--json"], capture_output=True, text=True, check=False)
    (problem,) = json.loads(done.stdout)["problems"]
    assert (2, "polcy", str(lab.config)) == (done.returncode, problem["key"], problem["file"])
    assert problem["line"] > 0
    done = habeat("explain", "--json", "--state-dir", str(tmp_path / "none"))
    told = json.loads(done.stdout)
    assert (1, 1) == (done.returncode, told["exit"])
    assert "no cycle has run" in told["error"]


def test_replay_under_a_configuration_that_asks_others(lab: Lab) -> None:
    """Whom nobody asked then is named: no replay can know what they would have said."""
    lab.check()
    asked = {"policy": {"gateways": ["10.0.0.254"]}, "probes": {"services": ["tcp://{ip}:7025"]}}
    lab.configure({**asked, "witnesses": {"providers": ["consul", "hetrix"]}, "hetrix": {"api_token": "x"}})
    shown = subprocess.run(lab.argv("explain", "--replay", "1"), capture_output=True, text=True, check=True).stdout
    others = f"HetrixTools, 10.0.0.254, tcp://{lab.addresses[PRIMARY]}:7025"
    assert f"not known    what these would have said, who were not asked then: {others}" in shown


def test_replay_of_an_earlier_habeat(lab: Lab) -> None:
    """An event that was kept without its circumstances says so."""
    lab.check()
    with sqlite3.connect(lab.state_dir / "habeat.db") as db:
        db.execute("UPDATE event SET circumstances=NULL")
    db.close()
    done = subprocess.run(lab.argv("explain", "--replay", "1"), capture_output=True, text=True, check=False)
    assert 2 == done.returncode
    assert "was written by an earlier habeat" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--replay", "3"), "event 3 has no evidence to judge"),
        (("--replay", "99"), "there is no event 99"),
        (("--policy", "x"), "--policy goes with --replay EVENT"),
        (("--replay", "1", "--policy", "/nowhere"), "/nowhere: cannot be read"),
    ],
)
def test_replay_of_nothing(lab: Lab, words: tuple[str, ...], said: str) -> None:
    """What cannot be replayed is told, with exit code 2."""
    failed_over(lab)
    done = subprocess.run(lab.argv("explain", *words), capture_output=True, text=True, check=False)
    assert 2 == done.returncode
    assert said in done.stderr


def test_completion() -> None:
    """Shells can complete commands."""
    done = habeat(_HABEAT_COMPLETE="bash_source")
    assert "_habeat_completion" in done.stdout


def test_demo() -> None:
    """`habeat lab` shows a failover, checks it, and exits 0 only if it holds."""
    done = habeat("lab", "--accounts", "20")
    assert 0 == done.returncode, done.stdout
    assert "20 of 20 accounts promoted" in done.stdout
    assert "NO " not in done.stdout


@pytest.mark.consul
def test_demo_with_a_real_consul() -> None:
    """With a consul on PATH the lab's witness is a real one, and the failover holds the same."""
    path = f"{Path(__file__).parents[1] / '.servers' / 'bin'}:{os.environ['PATH']}"
    if shutil.which("consul", path=path) is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("no consul: run `make test` as root on Debian")
    done = habeat("lab", "--accounts", "10", PATH=path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "a real Consul" in done.stdout


def test_interactive_lab() -> None:
    """A person can kill, look and leave."""
    words = "check\nkill\ncheck\ncheck\naccounts\nnonsense\nstatus\nquit\n"
    done = subprocess.run(
        [sys.executable, "-m", "habeat", "lab", "--interactive", "--accounts", "5"],
        input=words,
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    assert "mbox2.example.com: 5" in done.stdout
