"""What each role watches and its plan of steps; the machine, the cycle and the journal are the same for all.

What the machine must know of a role in every cycle stands here as data; the plans themselves, and the adapters that
they need, are loaded only when there is something to do.
"""

from __future__ import annotations

from dataclasses import dataclass

HELD = "ha-module"
"""The journal's note that habeat stopped the HA module, and must start it again."""


@dataclass(frozen=True)
class Traits:
    """What the machine knows of a role's plan.

    `decisive` names the step after whose intent a failover can no longer be abandoned. `repeats` plans are run again
    while the target stays dead, for what turned up late. `automatic` ones are undone without a person.
    """

    decisive: str
    repeats: bool
    automatic: bool


TRAITS = {
    ("appserver", "secondary"): Traits("promote", repeats=True, automatic=False),
    ("appserver", "primary"): Traits("stop-module", repeats=False, automatic=True),
}
