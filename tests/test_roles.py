"""What the machine is told of a role fits the plan that is made only when it is needed."""

from __future__ import annotations

from contextlib import closing

import pytest

from balancer import ROLES, Balancer
from habeat.config import load
from habeat.config.model import NODES
from habeat.consul import Consul
from habeat.http import Endpoint
from habeat.journal import Journal
from habeat.lab.sites import Lab
from habeat.machine import Command
from habeat.model import Waiting
from habeat.node import target_of
from habeat.roles import Traits, traits_of
from habeat.roles.assembly import plan_of
from habeat.saga import Job, Plan


def given(lab: Lab) -> tuple[Traits, Plan]:
    """Return what the machine is told of a lab's role, and the plan."""
    config = load(lab.config)
    with closing(Journal.open(lab.state_dir)) as journal:
        plan = plan_of(config, target_of(config), journal, Consul(Endpoint("127.0.0.1", 1)))
    return traits_of(config), plan


def assert_fit(traits: Traits, plan: Plan) -> None:
    """Assert that the decisive step is one of the plan's that take from the target, and no name is used twice."""
    assert [True] == [step.needs_down for step in plan.activate if step.name == traits.decisive]
    names = [step.name for step in (*plan.activate, *plan.deactivate, *plan.mend)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("site", ["primary", "secondary"])
def test_traits_fit_the_plan(lab: Lab, site: str) -> None:
    """The decisive step is one of the plan's, takes from the target, and only automatic roles give back."""
    text = lab.config.read_text(encoding="utf-8")
    if site == "primary":
        text = text.replace("whoami: secondary", "whoami: primary").replace("dc_check: primary", "dc_check: secondary")
    lab.config.write_text(text, encoding="utf-8")
    traits, plan = given(lab)
    assert_fit(traits, plan)
    assert traits.automatic == bool(plan.deactivate)


def test_mending_looks_again(lab: Lab) -> None:
    """Between the evidence and the mending the other site may have come back: the step looks itself, and leaves it."""
    node = Balancer(lab)
    config = load(lab.config)
    with closing(Journal.open(lab.state_dir)) as journal:
        (step,) = plan_of(config, target_of(config), journal, Consul(Endpoint("127.0.0.1", 1))).mend
        outcome = step.run(Job(1, 1, Command.MEND))
    assert outcome == Waiting(f"the other site still announces: test -e {node.other} says yes")
    assert not node.asked()


@pytest.mark.parametrize("role", ROLES)
def test_traits_fit_the_switch(lab: Lab, role: str) -> None:
    """The roles with a switch share one plan, with it and without."""
    node = Balancer(lab, role)
    traits, plan = given(lab)
    assert_fit(traits, plan)
    assert (True, True, True) == (traits.automatic, bool(plan.deactivate), bool(plan.mend))
    node.configure(local={NODES[role].switch: "", "proxy_enable_activate": False, "proxy_enable_deactivate": False})
    assert_fit(*given(lab))
