"""The plans of a lab's node, whose steps a test runs one by one."""

from __future__ import annotations

from collections.abc import Callable

from habeat.config.loader import load
from habeat.edges import Edges
from habeat.journal import Journal
from habeat.lab.sites import EmbeddedWitness, Lab
from habeat.node import consul_of, target_of
from habeat.roles.assembly import plan_of
from habeat.saga import Plan
from mesh import eventually


class Hasty(Edges):
    """The real edges, on which a lock is renewed so often that its loss is known at once."""

    def every(self, seconds: float, task: Callable[[], bool]) -> Callable[[], None]:
        """Run a task far more often than it should be."""
        return super().every(seconds / 1000, task)


def hasty_plan(lab: Lab, journal: Journal) -> Plan:
    """Return the plan of a lab's node, whose lock is renewed all the time."""
    config = load(lab.config)
    return plan_of(config, target_of(config), journal, consul_of(config), edges=Hasty())


def lose_the_lock(lab: Lab, plan: Plan) -> None:
    """End the sessions that hold locks in Consul, and wait until the plan knows that."""
    assert isinstance(lab.witness, EmbeddedWitness)
    lab.witness.mesh.sessions.clear()
    eventually(plan.lost, "the lock is known to be lost")
