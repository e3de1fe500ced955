"""What the machine is told of a role fits the plan that is made only when it is needed."""

from __future__ import annotations

from contextlib import closing

import pytest

from habeat.act.run import Runner
from habeat.config import load
from habeat.consul import Consul
from habeat.http import Endpoint
from habeat.journal import Journal
from habeat.lab.sites import Lab
from habeat.node import target_of
from habeat.roles import TRAITS
from habeat.roles.assembly import appserver


@pytest.mark.parametrize("site", ["primary", "secondary"])
def test_traits_fit_the_plan(lab: Lab, site: str) -> None:
    """The decisive step is one of the plan's, takes from the target, and only automatic roles give back."""
    text = lab.config.read_text(encoding="utf-8")
    if site == "primary":
        text = text.replace("whoami: secondary", "whoami: primary").replace("dc_check: primary", "dc_check: secondary")
    lab.config.write_text(text, encoding="utf-8")
    config = load(lab.config)
    with closing(Journal.open(lab.state_dir)) as journal:
        plan = appserver(config, target_of(config), journal, Consul(Endpoint("127.0.0.1", 1)), Runner())
    traits = TRAITS["appserver", site]
    assert [True] == [step.needs_down for step in plan.activate if step.name == traits.decisive]
    assert traits.automatic == bool(plan.deactivate)
    names = [step.name for step in (*plan.activate, *plan.deactivate)]
    assert len(names) == len(set(names))
