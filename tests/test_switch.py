"""Roles proxyserver, mta, collaboration and video: the service is moved here and back, and nothing is called done unseen."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from balancer import ROLES, Balancer
from conftest import LabFactory
from habeat.journal import Journal
from habeat.lab.sites import ENVIRONMENT, PRIMARY, EmbeddedWitness, Lab
from habeat.machine import Command
from habeat.model import Done, Target, Waiting
from habeat.roles import switched
from habeat.saga import Job
from plans import hasty_plan, lose_the_lock

MakeBalancer = Callable[..., Balancer]


@pytest.fixture
def make(make_lab: LabFactory) -> MakeBalancer:
    """Give labs whose node has a role with a switch."""
    return lambda role="mta", **changes: Balancer(make_lab(1), role, **changes)


def state(lab: Lab) -> str:
    """Return the machine's state."""
    with closing(Journal.open(lab.state_dir)) as journal:
        return journal.events(limit=1)[0].after


def said(lab: Lab, *, code: int = 0) -> str:
    """Run one cycle, which must end with a code, and return what it said."""
    checked = lab.check()
    assert code == checked.code, checked.said
    return checked.said


@pytest.mark.parametrize("role", ROLES)
def test_there_and_back(make: MakeBalancer, role: str) -> None:
    """Every role takes over after the confirmations, and gives back when the other node is back for as many cycles."""
    node = make(role)
    lab = node.lab
    assert "is up" in said(lab)
    assert not node.asked()
    node.kill()
    assert "looks dead (1 of 2 cycles)" in said(lab)
    assert not node.asked()
    taken = said(lab)
    assert f"Failover of {PRIMARY} finished: 3 commands had to run: test -e {node.here} says yes." in taken
    assert ("ready take tell", "active") == (node.asked(), state(lab))
    assert (lab.folder / f"promotion-{role}").exists()
    assert "still dead" in said(lab)
    node.restore()
    assert "answers again (1 of 2 cycles)" in said(lab)
    assert node.here.exists()
    assert f"Failback of {PRIMARY} finished: 2 commands had to run" in said(lab)
    assert ("ready take tell untell give", "standby", False) == (node.asked(), state(lab), node.here.exists())
    assert not (lab.folder / f"promotion-{role}").exists()
    assert "is up" in said(lab)
    with closing(Journal.open(lab.state_dir)) as journal:
        assert journal.noted(switched(Target(role, "primary", PRIMARY, ""))) is None


def test_nothing_runs_that_is_not_enabled(make: MakeBalancer) -> None:
    """A proxy whose switch is not enabled shows what would run, runs nothing, and ends well."""
    node = make("proxyserver", local={"proxy_enable_activate": False, "proxy_enable_deactivate": False})
    node.lab.kill()
    said(node.lab)
    told = said(node.lab)
    assert "nothing will be run, so no lock is taken" in told
    assert f"it would run: `{node.tool} ready`; `{node.tool} take`; `{node.tool} tell`" in told
    node.restore()
    said(node.lab)
    assert "nothing to give back" in said(node.lab)
    assert ("", "standby") == (node.asked(), state(node.lab))


def test_a_switch_that_is_enabled_later(make: MakeBalancer) -> None:
    """A switch that a person enables while the node is dead is run in the next cycle."""
    node = make("proxyserver", local={"proxy_enable_activate": False, "proxy_enable_deactivate": False})
    node.kill()
    said(node.lab)
    said(node.lab)
    assert "still dead, and failed over" in said(node.lab)
    node.configure()
    assert "stands again: 3 commands had to run" in said(node.lab)
    assert ("ready take tell", True) == (node.asked(), node.here.exists())


def test_a_journal_that_is_lost(make: MakeBalancer) -> None:
    """What was taken over before the journal was lost is kept up all the same, while the node is dead."""
    node = make()
    node.take_over()
    for file in node.lab.state_dir.glob("habeat.db*"):
        file.unlink()
    said(node.lab)
    assert "it is here already, and not by habeat" in said(node.lab)
    node.here.unlink()
    assert "stands again" in said(node.lab)
    assert node.here.exists()


def test_a_list_that_is_changed_in_the_middle(make: MakeBalancer) -> None:
    """A list that was cut off and changed since begins again with its first command."""
    node = make(checked=False)
    node.spoil("tell", "fail")
    node.kill()
    said(node.lab)
    said(node.lab, code=1)
    node.configure(checked=False, activate=[f"{node.tool} new", f"{node.tool} take"])
    said(node.lab)
    assert "ready take tell new take" == node.asked()


def test_a_mending_that_fails_for_ever(make: MakeBalancer) -> None:
    """However often a step has failed, its pause stays bounded and the next cycle tries it again (I4)."""
    node = make()
    node.take_over()
    node.here.unlink()
    node.spoil("take", "lie")
    said(node.lab, code=1)
    with closing(sqlite3.connect(node.lab.state_dir / "habeat.db", isolation_level=None)) as journal:
        journal.execute("UPDATE step SET attempts=2000 WHERE name='mend'")
    assert "tried again in" in said(node.lab, code=3)


def test_a_person_gives_back_what_is_not_enabled(make: MakeBalancer) -> None:
    """Without leave to give back, the return is told with what would run, and waits for a person."""
    node = make("proxyserver", local={"proxy_enable_deactivate": False})
    node.take_over()
    node.restore()
    said(node.lab)
    assert f"it would run: `{node.tool} untell`; `{node.tool} give`." in said(node.lab)
    assert ("ready take tell", "awaiting_failback") == (node.asked(), state(node.lab))
    node.lab.run("ack")
    assert "is still here" in said(node.lab)
    assert "standby" == state(node.lab)
    node.here.unlink()
    assert "is still here" not in said(node.lab)


def test_without_a_switch_it_only_watches(make: MakeBalancer) -> None:
    """A node without a switch tells the death of the other one, and moves nothing."""
    node = make(local={"service_switch": ""})
    node.kill()
    said(node.lab)
    assert "no switch is configured for this role, so nothing is moved" in said(node.lab)
    node.restore()
    said(node.lab)
    said(node.lab)
    assert ("", "standby") == (node.asked(), state(node.lab))


def test_a_switch_that_is_taken_away(make: MakeBalancer) -> None:
    """What was taken over by a switch that is no longer configured is told on the return, since nobody gives it back."""
    node = make()
    node.take_over()
    node.configure(local={"service_switch": ""})
    node.restore()
    said(node.lab)
    for _ in range(2):
        assert "by a switch that is no longer configured" in said(node.lab, code=3)
    assert ("ready take tell", "failing_back") == (node.asked(), state(node.lab))
    node.configure()
    said(node.lab)
    assert ("standby", False) == (state(node.lab), node.here.exists())


@pytest.mark.parametrize("role", ROLES)
def test_the_other_site_still_announces(make: MakeBalancer, role: str) -> None:
    """While the other site's announcement is seen nothing is taken over, however dead the node looks; then it is."""
    node = make(role)
    node.lab.kill()
    said(node.lab)
    told = said(node.lab, code=3)
    assert f"waits: other-gone: the other site still announces: test -e {node.other} says yes" in told
    assert not node.asked()
    node.other.unlink()
    said(node.lab)
    assert node.here.exists()


def test_no_proof_that_the_other_site_is_gone(make: MakeBalancer) -> None:
    """A check that cannot tell is no proof, so nothing is taken over (I1)."""
    node = make(other_site=["/nowhere/at/all"])
    node.kill()
    said(node.lab)
    assert "it is not proved that the other site no longer announces" in said(node.lab, code=3)
    assert not node.asked()


def test_every_check_of_the_other_site_counts(make: MakeBalancer) -> None:
    """One check that says no is no proof while another cannot tell, or says yes."""
    node = make()
    sure = f"test -e {node.other}"
    for doubtful, words in (("/nowhere/at/all", "it is not proved"), (f"test -e {node.tool}", "still announces")):
        node.configure(other_site=[sure, doubtful])
        node.kill()
        node.lab.check()
        assert words in said(node.lab, code=3)
    assert not node.asked()


def test_the_proof_is_fresh_in_every_attempt(make: MakeBalancer) -> None:
    """A takeover that failed is not tried again once the other site announces; lock and proof are had anew each time."""
    node = make()
    node.spoil("take", "lie")
    node.kill()
    said(node.lab)
    said(node.lab, code=1)
    node.spoil("take", None)
    node.other.touch()
    assert "the other site still announces" in said(node.lab, code=3)
    assert "ready take tell" == node.asked()
    with closing(Journal.open(node.lab.state_dir)) as journal:
        steps = {step.name: step for step in journal.failover(1).steps}
    assert (2, 2, 1) == tuple(steps[name].attempts for name in ("lock", "other-gone", "activate"))
    assert f"the lock habeat/failover/mta/{PRIMARY} in Consul" in str(steps["lock"].detail)


def test_the_other_site_falls_silent_before_the_failback(make: MakeBalancer) -> None:
    """A failback that failed goes on only while all checks see the other site announce; what still stands here stays."""
    node = make()
    absent = node.lab.folder / "absent"
    node.configure(other_site=[f"test -e {node.other}", f"test ! -e {absent}"])
    absent.touch()
    node.take_over()
    absent.unlink()
    node.spoil("untell", "fail")
    node.spoil("give", "lie")
    node.restore()
    said(node.lab)
    said(node.lab, code=1)
    node.spoil("give", None)
    node.other.unlink()
    assert "the other site is not seen to announce" in said(node.lab, code=3)
    assert node.here.exists()
    node.other.touch()
    said(node.lab)
    assert ("standby", False) == (state(node.lab), node.here.exists())


def test_what_is_lost_twice_is_mended_twice(make: MakeBalancer) -> None:
    """Each loss is mended by running the commands, not by remembering that they were run."""
    node = make()
    node.take_over()
    for _ in range(2):
        node.here.unlink()
        assert "stands again" in said(node.lab)
        assert node.here.exists()


def test_an_announcement_that_ends_in_time(make: MakeBalancer) -> None:
    """A route that is gone within the time to settle is waited for in the same cycle."""
    node = make(settle="5s")
    node.lab.kill()
    said(node.lab)
    late = subprocess.Popen(["/bin/sh", "-c", f"sleep 1; rm {node.other}"])
    said(node.lab)
    late.wait(5)
    assert node.here.exists()


def test_a_command_that_fails(make: MakeBalancer) -> None:
    """Without checks a failing command stops its list, is told, and is where the next cycle goes on (I3, I5)."""
    node = make(checked=False)
    node.spoil("take", "fail")
    node.kill()
    said(node.lab)
    told = said(node.lab, code=1)
    assert (
        f"command 2 of 3: `{node.tool} take` ended with exit code 4 (the balancer is broken); 1 of them are done"
        in told
    )
    assert ("ready take", "failing_over") == (node.asked(), state(node.lab))
    node.spoil("take", None)
    assert "no check is configured that could prove it" in said(node.lab)
    assert ("ready take take tell", "active") == (node.asked(), state(node.lab))


def test_a_partial_takeover_is_undone(make: MakeBalancer) -> None:
    """When the node comes back in the middle of a takeover, that is told, and then given back whole."""
    node = make(checked=False)
    node.spoil("tell", "fail")
    node.kill()
    said(node.lab)
    said(node.lab, code=1)
    node.restore()
    assert "it was cut short after 2 of 3 commands, and is undone next" in said(node.lab)
    said(node.lab)
    assert ("standby", False) == (state(node.lab), node.here.exists())


def test_a_partial_takeover_is_never_unmentioned(make: MakeBalancer) -> None:
    """While a takeover is half done and the node no longer surely dead, every cycle says that it is held (I5)."""
    node = make(checked=False)
    node.spoil("tell", "fail")
    node.kill()
    said(node.lab)
    said(node.lab, code=1)
    assert isinstance(node.lab.witness, EmbeddedWitness)
    node.lab.witness.mesh.leader = False
    for _ in range(2):
        assert "step activate needs a target that is surely dead" in said(node.lab, code=3)
    assert "ready take tell" == node.asked()


def test_checks_are_the_judge(make: MakeBalancer) -> None:
    """With checks a complaint spoils nothing if they agree, but it is told; and the whole list is run."""
    node = make()
    node.spoil("ready", "fail")
    node.kill()
    said(node.lab)
    told = said(node.lab)
    assert f"says yes, which is what counts, although `{node.tool} ready` ended with exit code 4" in told
    assert "ready take tell" == node.asked()


@pytest.mark.parametrize(("role", "how"), [*((role, "lie") for role in ROLES), ("mta", "fail"), ("video", "hang")])
def test_a_takeover_that_is_none(make: MakeBalancer, role: str, how: str) -> None:
    """A command that says 0 and does nothing, fails or hangs is bounded, told, tried again, and no success (I4, I5)."""
    node = make(role, timeout="2s")
    node.spoil("take", how)
    node.kill()
    said(node.lab)
    checked = node.lab.check()
    assert (1, "failing_over") == (checked.code, state(node.lab))
    assert f"3 commands ran{'' if how == 'lie' else f' (`{node.tool} take`'}" in checked.said
    assert f"but test -e {node.here} says no" in checked.said
    assert checked.seconds < 12
    node.spoil("take", None)
    said(node.lab)
    assert ("ready take tell ready take tell", "active") == (node.asked(), state(node.lab))


@pytest.mark.parametrize("how", ["lie", "fail"])
def test_a_failback_that_is_none(make: MakeBalancer, how: str) -> None:
    """What is still announced here after its commands is not given back; that is told and tried again (I5)."""
    node = make()
    node.take_over()
    node.spoil("give", how)
    node.restore()
    said(node.lab)
    assert f"but test -e {node.here} says yes" in said(node.lab, code=1)
    assert "failing_back" == state(node.lab)
    node.spoil("give", None)
    said(node.lab)
    assert ("standby", False) == (state(node.lab), node.here.exists())


@pytest.mark.parametrize("sight", ["down", "unreachable", "unknown", "up"])
def test_what_is_lost_is_mended(make: MakeBalancer, sight: str) -> None:
    """What no longer stands here is noticed in the next cycle and taken over again, whatever is seen of the node."""
    node = make()
    node.take_over()
    node.here.unlink()
    mesh = node.lab.witness
    assert isinstance(mesh, EmbeddedWitness)
    if sight == "unreachable":
        mesh.revive(PRIMARY)
    elif sight == "unknown":
        mesh.mesh.leader = False
    elif sight == "up":
        node.lab.restore()
    told = said(node.lab)
    assert "no longer stands here" in told
    assert f"stands again: 3 commands had to run: test -e {node.here} says yes" in told
    assert ("ready take tell ready take tell", "active", True) == (node.asked(), state(node.lab), node.here.exists())


def test_what_cannot_be_mended_is_told(make: MakeBalancer) -> None:
    """A mending that does not work is told with exit code 1, and tried again (I5)."""
    node = make()
    node.take_over()
    node.here.unlink()
    node.spoil("take", "lie")
    assert "could not be mended" in said(node.lab, code=1)
    node.spoil("take", None)
    assert "stands again" in said(node.lab)


def test_nothing_is_mended_that_is_not_enabled(make: MakeBalancer) -> None:
    """What is lost after its switch was disabled is told in every cycle with what would run, and nothing runs."""
    node = make("proxyserver")
    node.take_over()
    node.here.unlink()
    node.configure(local={"proxy_enable_activate": False})
    assert f"it is not enabled; it would run: `{node.tool} ready`" in said(node.lab, code=3)
    assert "ready take tell" == node.asked()


def lock_for_another(node: Balancer) -> None:
    """Let another instance have the lock."""
    assert isinstance(node.lab.witness, EmbeddedWitness)
    mesh = node.lab.witness.mesh
    mesh.sessions.add("another")
    mesh.keys[f"habeat/failover/mta/{PRIMARY}"] = {"Session": "another", "Value": "bXRhMw==", "LockIndex": 1}


def test_nothing_is_taken_over_while_another_holds_the_lock(make: MakeBalancer) -> None:
    """A node is taken over by one instance at a time (I2)."""
    node = make()
    lock_for_another(node)
    node.kill()
    said(node.lab)
    assert "is held by mta3" in said(node.lab, code=3)
    assert "" == node.asked()


def test_nothing_is_mended_while_another_holds_the_lock(make: MakeBalancer) -> None:
    """Mending, too, is done by one instance at a time (I2)."""
    node = make()
    node.take_over()
    node.here.unlink()
    lock_for_another(node)
    assert "is held by mta3" in said(node.lab, code=3)
    assert "ready take tell" == node.asked()


def test_a_lost_lock_stops_a_list(make: MakeBalancer) -> None:
    """Once the lock is lost no further command runs, even of a list that was begun: another may have it (I2)."""
    node = make()
    node.kill()
    with closing(Journal.open(node.lab.state_dir)) as journal:
        plan = hasty_plan(node.lab, journal)
        job = Job(1, 1, Command.ACTIVATE)
        with plan.guard:
            assert isinstance(plan.activate[0].run(job), Done)
            lose_the_lock(node.lab, plan)
            outcome = plan.activate[2].run(job)
    assert isinstance(outcome, Waiting)
    assert "was lost: its session in Consul is gone; 0 of 3 commands are done" in outcome.why
    assert "" == node.asked()


def test_a_failback_that_is_disabled_in_the_middle(make: MakeBalancer) -> None:
    """A failback that a person disables after it began runs nothing more, shows what would run, and is told ever after."""
    node = make("proxyserver")
    node.take_over()
    node.spoil("give", "lie")
    node.restore()
    said(node.lab)
    said(node.lab, code=1)
    node.spoil("give", None)
    node.configure(local={"proxy_enable_deactivate": False})
    for _ in range(2):
        assert f"it would run: `{node.tool} untell`; `{node.tool} give`" in said(node.lab, code=3)
    assert ("ready take tell untell give", "failing_back") == (node.asked(), state(node.lab))
    node.here.unlink()
    assert "a person gave it back" in said(node.lab)
    assert "standby" == state(node.lab)


def test_a_second_death_in_the_failback_that_is_none(make: MakeBalancer) -> None:
    """When the node dies in its failback and returns before anything more is done, the failback is not forgotten."""
    node = make()
    node.take_over()
    node.spoil("give", "fail")
    node.restore()
    said(node.lab)
    said(node.lab, code=1)
    node.lab.kill()
    said(node.lab, code=3)
    assert "the other site still announces" in said(node.lab, code=3)
    node.lab.restore()
    node.spoil("give", None)
    assert "what an earlier failover took over is still to be given back" in said(node.lab)
    said(node.lab)
    assert ("standby", False) == (state(node.lab), node.here.exists())


def test_nothing_is_taken_from_a_node_that_is_back(make: MakeBalancer) -> None:
    """A takeover that did not work is not tried on against a node that is up again: it is broken off, and undone."""
    node = make(other_site=[])
    node.spoil("take", "lie")
    node.kill()
    said(node.lab)
    said(node.lab, code=1)
    node.spoil("take", None)
    node.restore()
    assert f"finished: it was broken off (3 commands ran, but test -e {node.here} says no" in said(node.lab)
    said(node.lab)
    assert ("standby", "ready take tell untell give") == (state(node.lab), node.asked())


def test_two_roles_on_one_machine(make: MakeBalancer) -> None:
    """What one role took over is none of another role's business, though both keep it in the same journal."""
    node = make("mta")
    node.take_over()
    node.role = "video"
    node.configure(verify=["false"])
    said(node.lab)
    assert "announcement" not in node.lab.run("explain").said


def test_a_reboot_in_the_middle_of_a_list(make: MakeBalancer) -> None:
    """What a list set up before a reboot may be gone after it, so the list begins with its first command (I3)."""
    node = make(checked=False)
    node.spoil("tell", "fail")
    node.kill()
    said(node.lab)
    said(node.lab, code=1)
    with closing(sqlite3.connect(node.lab.state_dir / "habeat.db", isolation_level=None)) as journal:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        journal.execute("UPDATE note SET value=replace(value, ?, 'another')", (boot,))
    node.spoil("tell", None)
    said(node.lab)
    assert "ready take tell ready take tell" == node.asked()


def test_a_list_of_the_other_way_is_begun_anew(make: MakeBalancer) -> None:
    """What a failback that was cut off had run counts for nothing when the work is taken back (I3)."""
    node = make()
    node.configure(deactivate=[f"{node.tool} ready", f"{node.tool} give"])
    node.take_over()
    node.spoil("give", "die after")
    node.restore()
    said(node.lab)
    assert -9 == node.lab.check().code
    node.other.unlink()
    assert "Neither site announces" in said(node.lab)
    assert "ready take tell ready give ready take tell" == node.asked()


def test_a_list_of_an_earlier_failover_is_begun_anew(make: MakeBalancer) -> None:
    """What was taken over in an earlier failover, and given back by a person unseen, is taken over anew (I3)."""
    node = make("proxyserver")
    node.configure(checked=False, local={"proxy_enable_deactivate": False}, policy={"cooldown": "1ms"})
    node.take_over()
    node.restore()
    said(node.lab)
    node.lab.run("ack", "--by", "ann")
    said(node.lab)
    node.kill()
    said(node.lab)
    said(node.lab)
    assert "ready take tell ready take tell" == node.asked()


def test_a_half_takeover_from_a_node_that_is_back_unreachably(make: MakeBalancer) -> None:
    """A takeover that is half done is given back to a node that lives, unreachable from here, and announces."""
    node = make()
    node.configure(verify=[f"test -e {node.here}", "false"])
    node.kill()
    said(node.lab)
    said(node.lab, code=1)
    assert isinstance(node.lab.witness, EmbeddedWitness)
    node.lab.witness.revive(PRIMARY)
    node.other.touch()
    said(node.lab, code=3)
    said(node.lab)
    node.configure()
    said(node.lab)
    assert ("standby", False) == (state(node.lab), node.here.exists())


def test_nothing_is_mended_without_proof(make: MakeBalancer) -> None:
    """What is lost is not taken over again while it cannot be told whether the other site has it (I1)."""
    node = make()
    node.take_over()
    node.here.unlink()
    node.configure(other_site=["/nowhere/at/all"])
    assert "it is not proved that the other site no longer announces" in said(node.lab, code=3)
    assert ("ready take tell", False) == (node.asked(), node.here.exists())


def test_the_other_site_falls_silent_while_it_is_given_back(make: MakeBalancer) -> None:
    """A failback is finished only if the other site still announces after it; else the service is taken back."""
    node = make()
    node.configure(deactivate=[f"{node.tool} give", f"rm {node.other}"])
    node.take_over()
    node.restore()
    said(node.lab)
    assert "the other site is not seen to announce" in said(node.lab, code=3)
    assert "Neither site announces" in said(node.lab)
    assert ("active", True) == (state(node.lab), node.here.exists())


def test_nobody_announces_while_a_person_is_waited_for(make: MakeBalancer) -> None:
    """When the service is gone here before a person's failback, and the other site has it not, it is taken back."""
    node = make("proxyserver", local={"proxy_enable_deactivate": False})
    node.take_over()
    node.restore()
    said(node.lab)
    said(node.lab)
    assert "awaiting_failback" == state(node.lab)
    node.here.unlink()
    node.other.unlink()
    assert "Neither site announces" in said(node.lab)
    assert ("active", True) == (state(node.lab), node.here.exists())


def test_nothing_is_mended_against_the_other_site(make: MakeBalancer) -> None:
    """What the other site announces again is not taken back, dead as its node may look."""
    node = make()
    node.take_over()
    node.here.unlink()
    node.other.touch()
    told = said(node.lab, code=3)
    assert f"the other site: test -e {node.other} says yes" in told
    assert ("ready take tell", False) == (node.asked(), node.here.exists())


def test_a_double_announcement_is_told(make: MakeBalancer) -> None:
    """While both sites announce and the node is dead all the same, each cycle says so with exit code 3."""
    node = make()
    node.take_over()
    node.other.touch()
    told = said(node.lab, code=3)
    assert "is not in order" in told
    assert f"the other site: test -e {node.other} says yes" in told
    assert "ready take tell" == node.asked()


def test_a_veiled_announcement_is_told(make: MakeBalancer) -> None:
    """While it cannot be told whether it is announced here, each cycle says so, and runs nothing."""
    node = make()
    node.take_over()
    node.configure(verify=["/nowhere/at/all"])
    assert "is not in order" in said(node.lab, code=3)
    assert "ready take tell" == node.asked()


def test_nothing_is_given_back_to_a_mute_site(make: MakeBalancer) -> None:
    """A node that answers, but is not seen to announce, gets nothing back; there is always somebody who announces."""
    node = make()
    node.take_over()
    node.lab.restore()
    for _ in range(3):
        assert "answers again (0 of 2 cycles): " in said(node.lab)
    assert ("ready take tell", True) == (node.asked(), node.here.exists())
    node.other.touch()
    said(node.lab)
    said(node.lab)
    assert ("standby", False) == (state(node.lab), node.here.exists())


def test_given_back_to_a_site_that_announces_unreachably(make: MakeBalancer) -> None:
    """A node that lives, unreachable from here, and announces for enough cycles, gets its service back."""
    node = make()
    node.take_over()
    assert isinstance(node.lab.witness, EmbeddedWitness)
    node.lab.witness.revive(PRIMARY)
    assert "was failed over. Now: " in said(node.lab, code=3)
    node.other.touch()
    said(node.lab, code=3)
    assert "back, though not reachable from here" in said(node.lab)
    assert ("standby", False) == (state(node.lab), node.here.exists())


def test_a_failback_after_which_nobody_announces(make: MakeBalancer) -> None:
    """When the other site falls silent in the middle of a failback, what was given away is taken back at once."""
    node = make()
    node.configure(verify=[f"test -e {node.here}", f"test -e {node.tool}"])
    node.take_over()
    node.restore()
    said(node.lab)
    said(node.lab, code=1)
    assert ("failing_back", False) == (state(node.lab), node.here.exists())
    node.other.unlink()
    told = said(node.lab)
    assert "Neither site announces" in told
    assert ("active", True) == (state(node.lab), node.here.exists())


def test_what_somebody_else_announces(make: MakeBalancer) -> None:
    """What is announced here already, and not by habeat, is neither taken over nor given back by it."""
    node = make()
    node.here.touch()
    node.kill()
    said(node.lab)
    assert "it is here already, and not by habeat" in said(node.lab)
    node.restore()
    said(node.lab)
    assert f"what is still here is not habeat's: test -e {node.here} says yes" in said(node.lab)
    assert ("", "standby", True) == (node.asked(), state(node.lab), node.here.exists())


@pytest.mark.parametrize("role", ROLES)
def test_a_pause_stops_between_two_commands(make: MakeBalancer, role: str) -> None:
    """A pause in the middle of a list stops it before its next command, and the list goes on there after it (I7)."""
    node = make(role)
    argv = " ".join(node.lab.argv("pause", "--reason", "wait", "--by", "ann"))
    node.configure(
        activate=[
            f"{node.tool} ready",
            {"shell": f"PYTHONPATH={ENVIRONMENT['PYTHONPATH']} {argv}"},
            f"{node.tool} take",
        ]
    )
    node.kill()
    said(node.lab)
    assert "paused by ann (wait); 2 of 3 commands are done" in said(node.lab, code=3)
    assert "ready" == node.asked()
    node.lab.run("resume")
    said(node.lab)
    assert ("ready take", "active") == (node.asked(), state(node.lab))


def test_a_pause_stops_mending(make: MakeBalancer) -> None:
    """While habeat is paused nothing is mended, and what is lost is told all the same (I7)."""
    node = make()
    node.take_over()
    node.here.unlink()
    node.lab.run("pause", "--reason", "wait")
    assert f"here test -e {node.here} says no" in said(node.lab, code=3)
    assert "ready take tell" == node.asked()


@pytest.mark.parametrize("role", ROLES)
def test_one_instance_at_a_time(make: MakeBalancer, role: str) -> None:
    """Several cycles at the same time take over once (I2)."""
    node = make(role)
    node.configure(activate=["sleep 1", f"{node.tool} take"])
    node.kill()
    said(node.lab)
    quiet = subprocess.DEVNULL
    runs = [subprocess.Popen(node.lab.argv("check"), env=ENVIRONMENT, stdout=quiet, stderr=quiet) for _ in range(4)]
    assert {0} == {run.wait(30) for run in runs}
    assert ("take", "active") == (node.asked(), state(node.lab))


@pytest.mark.parametrize("role", ROLES)
def test_no_second_takeover_within_the_cooldown(make: MakeBalancer, role: str) -> None:
    """After a takeover and its return, the next death waits for the cooldown or for a person (I6)."""
    node = make(role)
    node.take_over()
    node.restore()
    said(node.lab)
    said(node.lab)
    node.kill()
    said(node.lab)
    assert "within the cooldown" in said(node.lab, code=3)
    assert "ready take tell untell give" == node.asked()
    node.lab.run("ack")
    said(node.lab)
    assert ("active", True) == (state(node.lab), node.here.exists())


@pytest.mark.parametrize("role", ROLES)
def test_ignorance_moves_nothing(make: MakeBalancer, role: str) -> None:
    """A witness that cannot tell, or sees the node alive, stops these roles as it stops all others (I1)."""
    node = make(role)
    node.lab.cut()
    node.other.unlink()
    for _ in range(3):
        assert "alive but unreachable from here" in said(node.lab, code=3)
    assert isinstance(node.lab.witness, EmbeddedWitness)
    node.lab.witness.mesh.leader = False
    for _ in range(3):
        assert "Consul has no leader" in said(node.lab, code=3)
    assert not node.asked()


def findings(node: Balancer) -> dict[str, Any]:
    """Return what the doctor finds, by subject and what it says."""
    found = json.loads(node.lab.run("doctor", "--json").said)
    return {f"{finding['subject']}: {finding['says']}": finding["health"] for finding in found}


def test_doctor_tries_the_switch(make: MakeBalancer) -> None:
    """The doctor tells which commands exist, which need a shell, and what the checks see, and runs no command."""
    node = make("proxyserver")
    node.configure(activate=[f"{node.tool} take", "nowhere-at-all x"], deactivate=[{"shell": f"{node.tool} give"}])
    found = findings(node)
    assert "good" == found[f"command to activate: `{node.tool} take` can be run"]
    assert "error" == found["command to activate: `nowhere-at-all x`: there is no program nowhere-at-all here"]
    shell = next(health for text, health in found.items() if "runs in a shell, as root" in text)
    assert "warning" == shell
    assert "good" == found[f"here: test -e {node.here}: says no (exit code 1)"]
    assert "good" == found[f"other site: test -e {node.other}: says yes"]
    node.other.unlink()
    node.here.touch()
    found = findings(node)
    assert "error" == found[f"other site: test -e {node.other}: says no (exit code 1), although the peer answers"]
    assert "warning" == found[f"here: test -e {node.here}: says yes"]
    assert "" == node.asked()


def test_doctor_tells_what_is_not_there(make: MakeBalancer) -> None:
    """The doctor warns of a switch without checks, of one that is not enabled, and of none at all."""
    node = make("proxyserver", local={"proxy_enable_activate": False}, checked=False)
    found = findings(node)
    assert any(text.startswith("switch to activate: not enabled; it would run `") for text in found)
    assert any(text.startswith("proof of the switch: ") for text in found)
    assert any(text.startswith("proof of the other site: ") for text in found)
    node.configure(local={"proxy_switch": "", "proxy_enable_deactivate": False, "proxy_enable_activate": False})
    assert "warning" == findings(node)["switch: none is configured: this node only watches and tells"]


@pytest.mark.parametrize("role", ROLES)
def test_every_decision_explains_itself(make: MakeBalancer, role: str) -> None:
    """What is seen of the announcements is kept with the decision, told by `explain`, and judged again the same (I8)."""
    node = make(role)
    node.take_over()
    node.other.touch()
    said(node.lab, code=3)
    told = node.lab.run("explain").said
    assert f"up       announcement test -e {node.here}: says yes" in told
    assert f"up       other site test -e {node.other}: says yes" in told
    (event,) = json.loads(node.lab.run("history", "--limit", "1", "--json").said)
    replayed = node.lab.run("explain", "--replay", str(event["id"])).said
    assert "row A20, then active" in replayed
    assert "now          the same" in replayed
    assert "this habeat" not in replayed


def test_status_names_this_node(make: MakeBalancer) -> None:
    """The status of such a role tells what it watches, by its own name."""
    node = make("mta")
    said(node.lab)
    told = node.lab.run("status").said
    assert f"watches      {PRIMARY}" in told
    assert "role mta" in told
    assert "None" not in told
