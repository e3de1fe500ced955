"""A mailstore's failover from end to end in the lab: the real habeat, the real adapters, a simulated Carbonio."""

from __future__ import annotations

import itertools
import json
import os
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conftest import LabFactory
from habeat.config.loader import load
from habeat.errors import CarbonioError, LockLostError
from habeat.journal import FailoverRecord, Journal
from habeat.lab import carbonio
from habeat.lab.sites import PRIMARY, STANDBY, EmbeddedWitness, Lab
from habeat.machine import Command
from habeat.model import Done, Waiting
from habeat.node import cycle_of
from habeat.report.log import Log
from habeat.saga import Job, Plan
from plans import hasty_plan, lose_the_lock


def fault(lab: Lab, **what: Any) -> None:
    """Plant a fault in the simulated Carbonio."""
    with carbonio.world_of(lab.world) as world:
        world["faults"].append(what)


def settings(lab: Lab, **what: Any) -> None:
    """Change the simulated Carbonio."""
    with carbonio.world_of(lab.world) as world:
        world.update(what)


def failover(lab: Lab) -> FailoverRecord:
    """Return the newest failover in the journal."""
    with closing(Journal.open(lab.state_dir)) as journal:
        return journal.failover(journal.last_failover() or 0)


def commands(lab: Lab, *wanted: str) -> list[list[str]]:
    """Return the calls of Carbonio's commands that have one of these words."""
    return [call["argv"] for call in carbonio.calls(lab.world) if set(wanted) & set(call["argv"])]


def assert_all_moved(lab: Lab, *, but: tuple[str, ...] = ()) -> None:
    """Assert that every account moved exactly once, and was flushed and restarted after it."""
    for item in lab.accounts():
        expected = (PRIMARY, 0) if item["accountName"] in but else (STANDBY, 1)
        assert expected == (item["accountMailHost"], item["promotions"]), item
        if item["accountName"] not in but:
            assert item["flushes"].get(STANDBY), item
            assert item["restarts"] == 1, item


def assert_nothing_moved(lab: Lab) -> None:
    """Assert that no account was touched and no promotion asked for."""
    assert {PRIMARY} == {item["accountMailHost"] for item in lab.accounts()}
    assert commands(lab, "promoteAccounts") == []


def fail_over(lab: Lab, cycles: int = 2) -> str:
    """Let the mailstore die and run cycles; return what the last one said."""
    lab.kill()
    return [lab.check() for _ in range(cycles)][-1].said


def test_healthy_cycle(lab: Lab) -> None:
    """While the peer answers, a cycle exits 0, says so in one sentence, and starts no command of Carbonio."""
    checked = lab.check()
    assert 0 == checked.code
    assert checked.said.startswith(f"{PRIMARY} is up: ")
    assert 0 == lab.cli_starts()


def test_death_is_followed_by_a_failover(lab: Lab) -> None:
    """The first dead cycle only suspects; the second promotes, reads back, flushes and restarts every account (I3)."""
    lab.kill()
    first = lab.check()
    assert 0 == first.code
    assert "looks dead (1 of 2 cycles)" in first.said
    assert_nothing_moved(lab)
    second = lab.check()
    assert 0 == second.code
    assert "8 of 8 accounts promoted" in second.said
    assert_all_moved(lab)
    assert [s.name for s in failover(lab).steps] == [
        "preflight",
        "lock",
        "inventory",
        "promote",
        "verify",
        "flush",
        "restart",
    ]
    assert {"done"} == {step.outcome for step in failover(lab).steps}


def test_dead_host_is_never_waited_for(lab: Lab) -> None:
    """Flushing everywhere leaves the dead mailstore out, instead of waiting 25 s for it per call."""
    fail_over(lab)
    hosts = {argv[1] for argv in commands(lab, "fc")}
    assert {STANDBY} == hosts


def test_blip_of_one_cycle(lab: Lab) -> None:
    """A death that is over by the next cycle causes nothing (I6)."""
    lab.kill()
    lab.check()
    lab.restore()
    assert not (lab.folder / "down-appserver").exists()
    assert "It was a blip" in lab.check().said
    lab.kill()
    assert "1 of 2 cycles" in lab.check().said
    assert_nothing_moved(lab)


def test_only_the_path_is_cut(lab: Lab) -> None:
    """Silence alone is no death: while the witness sees the peer, nothing is done, for ever (I1)."""
    lab.cut()
    for _ in range(3):
        checked = lab.check()
        assert 3 == checked.code
        assert "alive but unreachable from here" in checked.said
        assert "Consul says that agent-mbox1-example-com is up" in checked.said
    assert_nothing_moved(lab)


@pytest.mark.parametrize(
    ("break_witness", "words"),
    [
        ("leaderless", "Consul has no leader"),
        ("unknown", "does not know agent-mbox1-example-com or server-mbox1-example-com"),
        ("left", "left the mesh gracefully"),
        ("blind", "shows this token no node at all"),
        ("elsewhere", "may be another machine"),
        ("odd", "gives an unclear state"),
    ],
)
def test_ignorant_witness(lab: Lab, break_witness: str, words: str) -> None:
    """Whatever keeps the witness from a clear answer, nothing is done, and the sentence tells what it is (I1)."""
    lab.kill()
    assert isinstance(lab.witness, EmbeddedWitness)
    mesh = lab.witness.mesh
    if break_witness == "leaderless":
        mesh.leader = False
    elif break_witness == "left":
        mesh.left.add("agent-mbox1-example-com")
    elif break_witness == "unknown":
        del mesh.nodes["agent-mbox1-example-com"]
    elif break_witness == "blind":
        mesh.nodes.clear()
    elif break_witness == "elsewhere":
        mesh.nodes["agent-mbox1-example-com"] = "127.0.0.99"
    else:
        mesh.status["agent-mbox1-example-com"] = "warning"
    for _ in range(3):
        checked = lab.check()
        assert 3 == checked.code
        assert words in checked.said
    assert_nothing_moved(lab)


def test_witness_gone(make_lab: LabFactory) -> None:
    """A witness that refuses connections is an unknown with its own sentence (I1)."""
    lab = make_lab(overrides={"consul": {"port": 1}})
    lab.kill()
    checked = [lab.check() for _ in range(3)][-1]
    assert 3 == checked.code
    assert "Consul cannot be asked (Connection refused)" in checked.said
    assert_nothing_moved(lab)


def test_healthy_peer_with_a_blind_witness(lab: Lab) -> None:
    """A witness that could not testify is told while there is still time to mend it; that alone is no failure."""
    assert isinstance(lab.witness, EmbeddedWitness)
    lab.witness.mesh.leader = False
    checked = lab.check()
    assert 0 == checked.code
    assert "If mbox1.example.com died now, habeat could not be sure of it: Consul has no leader" in checked.said


def test_return_and_second_death(lab: Lab) -> None:
    """After the return the accounts stay and the lock files go; a second death waits for `ack` in the cooldown (I6)."""
    marks = [lab.folder / "down-appserver", lab.folder / "promotion-appserver"]
    fail_over(lab)
    assert all(mark.exists() for mark in marks)
    lab.restore()
    assert 0 == lab.check().code
    assert not any(mark.exists() for mark in marks)
    assert "accounts stay here" in lab.check().said
    with carbonio.world_of(lab.world) as world:
        world["accounts"]["new"] = carbonio.account(99, PRIMARY, STANDBY)
    lab.kill()
    for _ in range(3):
        checked = lab.check()
    assert 3 == checked.code
    assert "within the cooldown of 8 h" in checked.said
    assert len(commands(lab, "promoteAccounts")) == 1
    assert "another may follow" in lab.run("ack", "--reason", "seen").said
    assert "1 of 1 accounts promoted" in lab.check().said


def test_pause_stops_and_resume_allows(lab: Lab) -> None:
    """A pause blocks action, not observation, and names who paused; after `resume` the failover follows (I7)."""
    assert lab.run("pause", "--reason", "storage work", "--by", "ann").code == 0
    said = fail_over(lab, 3)
    assert "is down, but habeat is paused by ann (storage work)" in said
    assert_nothing_moved(lab)
    lab.run("resume")
    lab.check()
    assert_all_moved(lab)


def test_pause_in_mid_failover(lab: Lab) -> None:
    """A pause that comes while a step runs stops the work before the next step (I7)."""
    fault(lab, command="promoteAccounts", kind="exit", at="after", code=0)
    settings(lab, startup=0.15)
    lab.kill()
    lab.check()
    with closing(Journal.open(lab.state_dir)) as journal:
        from habeat.model import Pause

        pid = os.fork()
        if pid == 0:
            deadline = time.time() + 20
            while time.time() < deadline and not commands(lab, "promoteAccounts"):
                time.sleep(0.01)
            with closing(Journal.open(lab.state_dir)) as other:
                other.pause(Pause("ann", "stop", time.time()))
            os._exit(0)
        checked = lab.check()
        os.waitpid(pid, 0)
        assert 3 == checked.code
        assert "habeat is paused by ann (stop)" in checked.said
        assert commands(lab, "fc") == []
        journal.resume(time.time())
    lab.check()
    assert_all_moved(lab)


def test_some_accounts_are_refused(lab: Lab) -> None:
    """Accounts that Carbonio will not promote are named with the reason, told as a failure, and never flushed (I5)."""
    bad = ("user00002@example.com", "user00005@example.com")
    settings(lab, refuse=dict.fromkeys(bad, "transport was customised"))
    lab.kill()
    lab.check()
    checked = lab.check()
    assert 1 == checked.code
    assert "6 of 8 accounts promoted" in checked.said
    assert all(repr(name) in checked.said for name in bad)
    assert_all_moved(lab, but=bad)
    settings(lab, refuse={})
    lab.configure({"policy": {"late_accounts": "1ms"}})
    assert "8 of 8 accounts promoted" in lab.check().said
    assert_all_moved(lab)


def test_account_without_a_replica(make_lab: LabFactory) -> None:
    """An account without an available replica is named as such and not asked for by name."""
    roster = [carbonio.account(n, PRIMARY, STANDBY, available=n != 3) for n in range(1, 6)]
    lab = make_lab(roster=roster)
    said = fail_over(lab)
    assert "'user00003@example.com': it has no available replica" in said
    assert_all_moved(lab, but=("user00003@example.com",))


def test_lagging_replicas_stay(make_lab: LabFactory) -> None:
    """With policy.max_lag, an account whose replica is too far behind stays, and is told (least harm)."""
    roster = [carbonio.account(n, PRIMARY, STANDBY, lag=50 if n == 2 else 0) for n in range(1, 6)]
    lab = make_lab(roster=roster, overrides={"policy": {"max_lag": 10}})
    said = fail_over(lab)
    assert "'user00002@example.com': its replica is 50 changes behind, and policy.max_lag is 10" in said
    assert_all_moved(lab, but=("user00002@example.com",))
    assert commands(lab, "source_mail_host") == []


def test_late_accounts_are_picked_up(make_lab: LabFactory) -> None:
    """An account that turns up on the dead mailstore after the failover is promoted by a later cycle (I3)."""
    lab = make_lab(overrides={"policy": {"late_accounts": "1ms"}})
    fail_over(lab)
    with carbonio.world_of(lab.world) as world:
        late = carbonio.account(77, PRIMARY, STANDBY)
        world["accounts"][late["accountId"]] = late
    assert "9 of 9 accounts promoted" in lab.check().said
    assert_all_moved(lab)


def test_promoted_accounts_that_are_listed_no_more(make_lab: LabFactory) -> None:
    """Where the replica status no longer lists a promoted account, the directory is asked where it lives (I5)."""
    lab = make_lab(world={"lists_promoted": False})
    assert "8 of 8 accounts promoted" in fail_over(lab)
    assert_all_moved(lab)


def test_account_that_vanishes(make_lab: LabFactory) -> None:
    """An account that left the dead mailstore and is seen nowhere is not called promoted (I5)."""
    lab = make_lab(world={"lose": ["user00003@example.com"]})
    lab.kill()
    lab.check()
    checked = lab.check()
    assert 1 == checked.code
    assert "7 of 8 accounts promoted" in checked.said
    assert "'user00003@example.com': it is no longer on mbox1.example.com, but no mailstore shows it" in checked.said
    assert_all_moved(lab)


def test_directory_that_cannot_be_read(make_lab: LabFactory) -> None:
    """An answer of the directory that cannot be read is no proof that an account lives nowhere: it is asked again."""
    lab = make_lab(world={"lists_promoted": False})
    fault(lab, program="zmprov", kind="garbage")
    assert "8 of 8 accounts promoted" not in fail_over(lab)
    assert "8 of 8 accounts promoted" in lab.check().said
    assert_all_moved(lab)


def test_directory_that_cannot_be_read_for_good(make_lab: LabFactory) -> None:
    """What only the directory could tell of does not keep the other accounts from being cared for, for good (I4)."""
    lost = "user00003@example.com"
    lab = make_lab(world={"lose": [lost]})
    fault(lab, program="zmprov", kind="garbage", times=3)
    assert "zmprov ga told of no account" in fail_over(lab)
    with closing(Journal.open(lab.state_dir)) as journal:
        verify = hasty_plan(lab, journal).activate[4]
        with pytest.raises(CarbonioError, match="zmprov ga told of no account"):
            verify.run(Job(1, 1, Command.ACTIVATE, 9))
        assert isinstance(verify.run(Job(1, 1, Command.ACTIVATE, 10)), Done)
        assert [lost] == [entry.name for entry in journal.entries(1, "refused")]
        assert 7 == journal.tally(1).promoted


def test_no_account_at_all(make_lab: LabFactory) -> None:
    """A dead mailstore without accounts is a failover with nothing to do, and no promotion is ever asked for."""
    lab = make_lab(roster=[carbonio.account(1, STANDBY, PRIMARY)])
    assert "nothing to promote" in fail_over(lab)
    assert commands(lab, "promoteAccounts") == []


NASTY = [
    "o'brien@example.com",
    "$(touch x)@example.com",
    "x;touch x@example.com",
    "-a@example.com",
    "ü ñ@example.com",
    '"q uoted"@example.com',
    "a,b@example.com",
    "back\\slash@example.com",
]


def test_names_stay_data(make_lab: LabFactory) -> None:
    """Names with quotes, spaces, unicode, commas or a leading dash are promoted, flushed and restarted like any (I9)."""
    roster = [carbonio.account(n, PRIMARY, STANDBY, name=name) for n, name in enumerate(NASTY, 1)]
    lab = make_lab(roster=roster, world={"refuse": {NASTY[0]: "busy"}})
    fail_over(lab)
    settings(lab, refuse={})
    lab.configure({"policy": {"late_accounts": "1ms"}})
    lab.check()
    assert_all_moved(lab)
    assert not (lab.folder / "x").exists()
    assert not Path("x").exists()


def test_name_with_a_line_break(make_lab: LabFactory) -> None:
    """A name that cannot stand on a line of a list can never smuggle a second account into it (I9)."""
    roster = [
        carbonio.account(1, PRIMARY, STANDBY, name="a@example.com\nadmin@example.com"),
        carbonio.account(2, PRIMARY, STANDBY),
        carbonio.account(3, STANDBY, PRIMARY, name="admin@example.com"),
    ]
    lab = make_lab(roster=roster, world={"refuse": {"a@example.com\nadmin@example.com": "odd"}})
    said = fail_over(lab)
    assert "its name cannot stand on a line of a list" in said
    assert "a@example.com\nadmin" not in said
    assert {STANDBY} == {
        item["accountMailHost"] for item in lab.accounts() if item["accountName"] == "admin@example.com"
    }
    assert len(lab.log.read_text(encoding="utf-8").split("Failing over now")[0].splitlines()) == 2


BANNER = "WARNING: ha is deprecated {use MailReplica}\nPicked up JAVA_TOOL_OPTIONS: -Xmx1g\n{}\n"


@pytest.mark.parametrize(
    "world",
    [
        {"banner": BANNER},
        {"namespaces": ["ha"]},
        {"namespaces": ["MailReplica"]},
        {"sync_text": True},
        {"banner": BANNER, "namespaces": ["ha"], "sync_text": True},
    ],
    ids=["banner", "old", "new", "text", "all"],
)
def test_every_known_carbonio(make_lab: LabFactory, world: dict[str, Any]) -> None:
    """Banners before the JSON, either namespace, and plain text after --sync are all understood."""
    lab = make_lab(world=world)
    fail_over(lab)
    assert_all_moved(lab)


def test_namespace_is_remembered(make_lab: LabFactory) -> None:
    """The namespace is looked for once; later cycles start no command for it."""
    lab = make_lab(world={"namespaces": ["ha"]}, overrides={"policy": {"late_accounts": "1ms"}})
    fail_over(lab, 3)
    assert len(commands(lab, "MailReplica")) == 1


FAULTS: dict[str, dict[str, Any]] = {
    "hangs": {"kind": "hang"},
    "garbage": {"kind": "garbage"},
    "silent": {"kind": "silent"},
    "unreachable": {"kind": "unreachable"},
    "fails": {"kind": "exit", "code": 1},
    "fails half-way": {"kind": "exit", "code": 4, "at": "middle"},
    "succeeds and says it failed": {"kind": "exit", "code": 1, "at": "after"},
}
COMMANDS = ("getServices", "getAccountStatus", "promoteAccounts", "fc", "pauseReplicas", "restartReplicas")


UNTOLD = {("garbage", "fc"), ("silent", "fc")}
"""`zmprov fc` says nothing when it succeeds, so these two cannot be told from success; the cache expires by itself."""


@pytest.mark.parametrize(("name", "command"), sorted(set(itertools.product(FAULTS, COMMANDS)) - UNTOLD))
def test_faulty_command(make_lab: LabFactory, command: str, name: str) -> None:
    """A command that hangs, lies, or fails at any point is bounded and told, and the next cycles finish (I3, I4, I5)."""
    lab = make_lab(4, overrides={"carbonio": {"timeout": "1s", "promote_timeout": "2s"}})
    fault(lab, command=command, **FAULTS[name])
    lab.kill()
    lab.check()
    begun = time.monotonic()
    checked = lab.check()
    assert time.monotonic() - begun < 12
    finished = "Failover of mbox1.example.com finished" in checked.said
    assert finished == (checked.code == 0)
    for _ in range(4):
        if checked.code == 0:
            break
        checked = lab.check()
    assert 0 == checked.code
    for item in lab.accounts():
        assert (item["accountMailHost"], item["promotions"]) == (STANDBY, 1)
        assert item["flushes"].get(STANDBY)
        assert item["restarts"] >= 1


def test_a_promotion_that_moves_none_is_tried_again(lab: Lab) -> None:
    """Where Carbonio promotes nobody, that is a failure that the next cycle repeats, and not the end (I5)."""
    for _ in ("all at once", "by name"):
        fault(lab, command="promoteAccounts", kind="exit", code=1)
    lab.kill()
    lab.check()
    checked = lab.check()
    assert (1, True) == (checked.code, "none of 8 accounts was promoted" in checked.said), checked.said
    assert "8 of 8 accounts promoted" in lab.check().said
    assert_all_moved(lab)


def test_nothing_is_promoted_without_a_leader(lab: Lab) -> None:
    """Without Consul's leader Carbonio's database has no primary: a promotion would stall, and is not begun (I4)."""
    assert isinstance(lab.witness, EmbeddedWitness)
    lab.witness.mesh.leader = False
    with closing(Journal.open(lab.state_dir)) as journal:
        outcome = hasty_plan(lab, journal).activate[0].run(Job(1, 1, Command.ACTIVATE))
    assert isinstance(outcome, Waiting)
    assert "without it Carbonio's database has no primary and a promotion stalls" in outcome.why


def test_nothing_is_promoted_once_the_lock_is_lost(lab: Lab) -> None:
    """A lock that is lost while the accounts are looked at keeps them from being promoted: another may do it (I2)."""
    fault(lab, command="promoteAccounts", kind="kill-parent", at="before")
    lab.kill()
    lab.check()
    assert -9 == lab.check().code
    with closing(Journal.open(lab.state_dir)) as journal:
        plan, job = hasty_plan(lab, journal), Job(1, 1, Command.ACTIVATE, 2)
        with plan.guard:
            assert isinstance(plan.activate[1].run(job), Done)
            lose_the_lock(lab, plan)
            with pytest.raises(LockLostError, match="its session in Consul is gone"):
                plan.activate[3].run(job)
    assert [item["promotions"] for item in lab.accounts()] == [0] * 8


def test_rejoining_wins_over_every_plan(lab: Lab) -> None:
    """What a Consul server had planned without the others ends when it rejoins them, in the very same cycle (I3)."""
    with closing(Journal.open(lab.state_dir)) as journal:
        cycle = cycle_of(load(lab.config), journal, None, Log(None, quiet=True))
        lab.kill()
        cycle.run()
        ended = replace(cycle, rejoin=lambda _snapshot: "It rejoins.", plan=never_made).run()
    assert [Command.ACTIVATE] == [decision.command for decision in ended.decisions]


def never_made() -> Plan:
    """Stand for a plan that is not to be made."""
    raise AssertionError("a plan was made")


def test_missing_commands(make_lab: LabFactory) -> None:
    """Without Carbonio's commands the failover waits, says why, and goes on when they are there."""
    lab = make_lab(overrides={"carbonio": {"binary": "/nowhere/carbonio"}})
    lab.kill()
    lab.check()
    checked = lab.check()
    assert 3 == checked.code
    assert "`/nowhere/carbonio` cannot be started" in checked.said
    lab.configure({})
    assert 0 == lab.check().code
    assert_all_moved(lab)


def test_wrong_user(make_lab: LabFactory) -> None:
    """Carbonio's commands refuse other users; the failover waits and says what they said."""
    lab = make_lab(world={"user": "zextras"})
    lab.kill()
    lab.check()
    checked = lab.check()
    assert 3 == checked.code
    assert "must be run as zextras" in checked.said


def test_done_steps_are_not_repeated(lab: Lab) -> None:
    """A resumed failover goes on where it stopped: what is done is not asked for again (I3)."""
    fault(lab, command="fc", kind="kill-parent")
    lab.kill()
    lab.check()
    assert -9 == lab.check().code
    before = len(commands(lab, "getAccountStatus", "promoteAccounts"))
    assert 0 == lab.check().code
    assert before == len(commands(lab, "getAccountStatus", "promoteAccounts"))
    assert_all_moved(lab)


def test_peer_returns_in_mid_failover(lab: Lab) -> None:
    """No further account is taken from a peer that is back; those taken are cared for, the others are named."""
    fault(lab, command="promoteAccounts", kind="kill-parent", at="middle")
    with carbonio.world_of(lab.world) as world:
        world["linger"] = 10_000
    lab.kill()
    lab.check()
    assert -9 == lab.check().code
    moved = [item["accountName"] for item in lab.accounts() if item["accountMailHost"] == STANDBY]
    assert 0 < len(moved) < 8
    lab.configure({"carbonio": {"promote_timeout": "1s"}})
    time.sleep(2)
    lab.restore()
    checked = lab.check()
    assert 1 == checked.code
    assert "its mailstore came back before it was promoted" in checked.said
    stayed = tuple(item["accountName"] for item in lab.accounts() if item["accountName"] not in moved)
    assert_all_moved(lab, but=stayed)


def test_doubt_in_mid_failover_holds(lab: Lab) -> None:
    """When a resumed failover can no longer be sure, it takes nothing more, and goes on when it is sure again (I1)."""
    assert isinstance(lab.witness, EmbeddedWitness)
    fault(lab, command="promoteAccounts", kind="kill-parent", at="before")
    lab.kill()
    lab.check()
    assert -9 == lab.check().code
    lab.witness.mesh.leader = False
    for _ in range(2):
        checked = lab.check()
        assert 3 == checked.code
        assert "no longer surely dead" in checked.said
    assert [item["promotions"] for item in lab.accounts()] == [0] * 8
    lab.witness.mesh.leader = True
    assert "is held" in lab.check().said
    lab.check()
    assert_all_moved(lab)


def test_what_was_taken_is_cared_for_in_doubt(lab: Lab) -> None:
    """Accounts that a killed cycle had promoted are flushed and restarted even while the witness is blind (I3)."""
    assert isinstance(lab.witness, EmbeddedWitness)
    fault(lab, command="promoteAccounts", kind="kill-parent", at="middle")
    settings(lab, linger=10_000)
    lab.configure({"carbonio": {"promote_timeout": "1s"}})
    lab.kill()
    lab.check()
    assert -9 == lab.check().code
    lab.witness.mesh.leader = False
    time.sleep(2)
    assert 3 == lab.check().code
    moved = [item for item in lab.accounts() if item["accountMailHost"] == STANDBY]
    assert 0 < len(moved) < 8
    assert all(item["flushes"].get(STANDBY) and item["restarts"] == 1 for item in moved)
    lab.witness.mesh.leader = True
    for _ in range(3):
        lab.check()
    assert_all_moved(lab)


def killed_while_carbonio_promotes(lab: Lab) -> None:
    """Let habeat die in mid-promotion, while Carbonio goes on with it."""
    fault(lab, command="promoteAccounts", kind="kill-parent", at="middle")
    settings(lab, linger=2)
    lab.kill()
    lab.check()
    assert -9 == lab.check().code


def test_return_while_carbonio_still_promotes(lab: Lab) -> None:
    """A promotion that Carbonio still works on when the peer returns is waited for; what it moved is cared for (I3)."""
    killed_while_carbonio_promotes(lab)
    lab.restore()
    checked = lab.check()
    assert (3, True) == (checked.code, "Carbonio may still work on a promotion" in checked.said)
    for _ in range(5):
        lab.check()
    assert_all_moved(lab)


def test_killed_while_carbonio_still_promotes(lab: Lab) -> None:
    """A promotion that outlives us is waited for before the next is asked for: two at once could move one twice (I3)."""
    killed_while_carbonio_promotes(lab)
    asked = commands(lab, "promoteAccounts")
    assert "Carbonio may still work on a promotion" in lab.check().said
    assert asked == commands(lab, "promoteAccounts")
    for _ in range(5):
        lab.check()
    assert_all_moved(lab)


def listed(lab: Lab, name: str, module: str, age: float) -> None:
    """Let Carbonio list a job that is not ours; it goes on as long as the process of these tests."""
    started = int((time.time() - age) * 1000)
    job = {"id": f"operation-0-{os.getpid()}", "name": name, "module": module, "state": "Started", "startTime": started}
    settings(lab, operations=[{**job, "left": [], "linger": 0}])


@pytest.mark.parametrize(
    ("name", "module", "age"), [("PromoteAccounts", "MailReplica", 60), ("doPromote", "core", 60), ("Job", "ZxHA", 60)]
)
def test_promotion_of_another(lab: Lab, name: str, module: str, age: float) -> None:
    """What may be a promotion of who had the lock before is waited for, already by our first attempt (I2)."""
    listed(lab, name, module, age)
    lab.kill()
    lab.check()
    checked = lab.check()
    assert (3, True) == (
        checked.code,
        "Carbonio may still work on a promotion (operation operation-0" in checked.said,
    )
    assert commands(lab, "promoteAccounts") == []
    settings(lab, operations=[])
    lab.check()
    assert_all_moved(lab)


@pytest.mark.parametrize(
    ("name", "module", "age"),
    [
        ("restartReplicas", "MailReplica", 5),
        ("Pause replicas", "ha", 5),
        ("RemoveAccountDestination", "ZxHA", 5),
        ("Job", "ZxBackup", 5),
        ("PromoteAccounts", "MailReplica", 3600),
    ],
)
def test_what_is_no_promotion_holds_nothing_up(lab: Lab, name: str, module: str, age: float) -> None:
    """A job that is surely no promotion, or older than a promotion is waited for, holds no failover up."""
    listed(lab, name, module, age)
    fail_over(lab)
    assert_all_moved(lab)


def test_name_that_carbonio_does_not_know(make_lab: LabFactory) -> None:
    """A mailstore on which nothing lives because its name is wrong is no success (I5)."""
    lab = make_lab(
        overrides={
            "primary": {"appserver_ip": "127.0.0.1", "appserver_vmname": "mbox1-example.com"},
            "consul": {"match_address": False},
        }
    )
    lab.configure({"primary": {"appserver_ip": lab.addresses[PRIMARY], "appserver_vmname": "mbox1-example.com"}})
    lab.kill()
    lab.check()
    checked = lab.check()
    assert (1, True) == (checked.code, "its directory knows no mailstore of that name" in checked.said)


def test_account_that_is_gone_at_the_flush(lab: Lab) -> None:
    """One account that was deleted meanwhile does not keep the others of its batch from being flushed (I3)."""
    fault(lab, command="fc", kind="kill-parent")
    lab.kill()
    lab.check()
    assert -9 == lab.check().code
    with carbonio.world_of(lab.world) as world:
        del world["accounts"]["00000000-0000-4000-8000-000000000003"]
    assert 0 == lab.check().code
    assert_all_moved(lab)


def test_only_hopeless_accounts_are_left(make_lab: LabFactory) -> None:
    """While only accounts without a replica remain, late looks end, and ask for no promotion (I5)."""
    roster = [carbonio.account(n, PRIMARY, STANDBY, available=n != 3) for n in range(1, 6)]
    lab = make_lab(roster=roster, overrides={"policy": {"late_accounts": "1ms"}})
    fail_over(lab)
    before = len(commands(lab, "promoteAccounts"))
    for _ in range(2):
        assert "Failover of mbox1.example.com finished, but not for everything" in lab.check().said
    assert before == len(commands(lab, "promoteAccounts"))


def test_odd_account_does_not_stop_the_others(make_lab: LabFactory) -> None:
    """An account with an absurd number or a broken name is promoted with the rest (I3)."""
    roster = [carbonio.account(n, PRIMARY, STANDBY) for n in range(1, 5)]
    roster[1]["sequence"] = 2**70
    roster[2]["accountName"] = "a\ud800@example.com"
    lab = make_lab(roster=roster)
    lab.kill()
    lab.check()
    assert "4 of 4 accounts promoted" in lab.check().said


@pytest.mark.parametrize("many", [2, 5])
def test_many_processes_at_once(make_lab: LabFactory, many: int) -> None:
    """However many cycles start at the same moment, there is one failover and one promotion (I2)."""
    import subprocess

    lab = make_lab(world={"startup": 0.05})
    lab.kill()
    lab.check()
    started = [subprocess.Popen(lab.argv("check"), stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(many)]
    codes = [(process.communicate()[0], process.returncode)[1] for process in started]
    assert [0] * many == codes
    assert len(commands(lab, "promoteAccounts")) == 1
    assert_all_moved(lab)


def test_many_accounts_in_few_starts(make_lab: LabFactory) -> None:
    """2,000 accounts with a JVM of half a second are failed over with at most 40 starts of Carbonio's commands."""
    lab = make_lab(2000, world={"startup": 0.5})
    fail_over(lab)
    assert_all_moved(lab)
    assert lab.cli_starts() <= 40


def test_json_answer(lab: Lab) -> None:
    """`check --json` prints one JSON document and nothing else."""
    lab.kill()
    lab.check()
    answer = json.loads(lab.run("check", "--json").said)
    assert (answer["sight"], [d["row"] for d in answer["decisions"]]) == ("down", ["U7", "R1"])


def test_evidence_tells_when_it_was_last_reached(lab: Lab) -> None:
    """What a witness saw before that is another death: each cycle is judged with the moment that the last one kept (I1)."""
    lab.check()
    lab.kill()
    lab.check()
    with closing(Journal.open(lab.state_dir)) as journal:
        down, up = journal.events()
    assert down.evidence is not None
    assert up.last_at - 1 < down.evidence["reached_at"] <= up.last_at
