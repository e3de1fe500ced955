"""What each role watches and its plan of steps; the machine, the cycle and the journal are the same for all.

What the machine must know of a role in every cycle stands here as data; the plans themselves, and the adapters that
they need, are loaded only when there is something to do.
"""

from __future__ import annotations

from dataclasses import dataclass

from habeat.config.model import Config
from habeat.config.switch import listed
from habeat.model import Target

HELD = "ha-module"
"""The journal's note that habeat stopped the HA module, and must start it again."""


RECOVERY = "consul-recovery"
"""The journal's note of how far rebuilding Consul's quorum came; there until the other site's servers are back."""

EPOCH, SAVED = "consul-epoch", "consul-raft"
"""The journal's notes of the newest epoch of Consul's data that this server shares, and of raft's configuration."""

ALLOWED, STARTING = "consul-allowed", "consul-starting"
"""The journal's notes that a person allowed Consul's next start, and that habeat's own recovery starts it: in which
start of the machine."""

REJOINING = "consul-rejoining"
"""The journal's note of the epoch in which this server is rejoining clean; there until its Consul is started."""

ASKED = "consul-asked"
"""The journal's note of when a Consul server of the other site last asked this one, or answered, in Unix seconds."""


def switched(target: Target) -> str:
    """Return the name of the journal's note of how far taking over or giving back came; there until it is all back."""
    return f"switch {target.key}"


@dataclass(frozen=True)
class Traits:
    """What the machine knows of a role's plan.

    `decisive` names the step after whose intent a failover can no longer be abandoned. `repeats` plans are run again
    while the target stays dead, for what turned up late. `automatic` ones are undone without a person; of the others
    `stays` tells what a person finds on the target's return. `relapses` tells that a target which is seen down while
    its failover stands has undone it.
    """

    decisive: str
    repeats: bool = False
    automatic: bool = True
    stays: str = "What was taken over stays here"
    relapses: bool = False


PROMOTION = Traits(
    "promote", repeats=True, automatic=False, stays="The accounts stay here until a person moves them back"
)
MODULE_STOP = Traits("stop-module")
QUORUM = Traits("stop", relapses=True)


def traits_of(config: Config) -> Traits:
    """Return what the machine must know of this node's role."""
    if config.local.role == "appserver":
        return PROMOTION if config.local.whoami == "secondary" else MODULE_STOP
    if config.local.role == "consulserver":
        return QUORUM
    switch = config.switch
    if switch is None or not config.runs("activate") or config.runs("deactivate"):
        return Traits("activate")
    return Traits(
        "activate",
        automatic=False,
        stays="Nothing is given back by itself, since proxy_enable_deactivate is false; "
        f"it would run: {listed(switch.deactivate)}",
    )
