"""Weigh one cycle's evidence into a verdict. Pure: no I/O, no clock, nothing remembered.

The rules, first match wins:

J1  a probe reached the target                          -> up
J2  a witness with fresh knowledge sees it alive        -> unreachable (alive, but not from here)
J3  a probe could not even be sent                      -> unknown (our own fault)
J4  gateways are set and none of them answers           -> unknown (we are cut off)
J5  no gateways are set and no witness that needs the
    network gave a clear, fresh answer                  -> unknown (we may be cut off)
J6  fewer fresh down votes than `required`              -> unknown (not enough witnesses)
J7  silence everywhere and enough down votes            -> down

Unknown is never a vote. A vote counts as unknown when its knowledge is older than `policy.freshness`, or when
the witness stands in the suspect site and would therefore be worth nothing exactly when it matters.
"""

from __future__ import annotations

from dataclasses import replace

from habeat.model import Down, Policy, Sight, Snapshot, Unknown, Up, Verdict, Vote


def judge(snapshot: Snapshot, policy: Policy) -> Verdict:  # noqa: PLR0911  one return for each rule
    """Return the verdict on the snapshot's target by the rules at the top of this module."""
    site = snapshot.target.site
    votes = tuple(weigh(vote, site, policy) for vote in snapshot.votes)
    reached = [probe for probe in snapshot.probes if isinstance(probe.evidence, Up)]
    unsent = [probe for probe in snapshot.probes if isinstance(probe.evidence, Unknown)]
    alive = [vote for vote in votes if isinstance(vote.evidence, Up)]
    dead = [vote for vote in votes if isinstance(vote.evidence, Down)]
    silence = "; ".join(f"{probe.address} {probe.evidence.reason}" for probe in snapshot.probes)

    if reached:
        return Verdict(Sight.UP, "J1", f"{reached[0].address} {reached[0].evidence.reason}")
    if alive:
        return Verdict(Sight.UNREACHABLE, "J2", f"{silence}, but {tell(alive)}")
    if unsent or not snapshot.probes:
        return Verdict(Sight.UNKNOWN, "J3", f"the probe could not be made: {silence or 'none is configured'}")
    if snapshot.gateways and not any(isinstance(probe.evidence, Up) for probe in snapshot.gateways):
        names = ", ".join(probe.address for probe in snapshot.gateways)
        return Verdict(Sight.UNKNOWN, "J4", f"this host is cut off: no gateway answers ({names})")
    if not snapshot.gateways and not any(vote.networked for vote in dead):
        return Verdict(Sight.UNKNOWN, "J5", f"{silence}, and this host may itself be cut off: {tell(votes)}")
    if len(dead) < policy.required:
        wanted = f"{len(dead)} of {policy.required} needed witnesses call it down"
        return Verdict(Sight.UNKNOWN, "J6", f"{silence}, but only {wanted}: {tell(votes)}")
    return Verdict(Sight.DOWN, "J7", f"{silence}, and {tell(dead)}")


def weigh(vote: Vote, suspect_site: str, policy: Policy) -> Vote:
    """Return the vote as it counts: stale or misplaced ones become unknown, and say why."""
    if isinstance(vote.evidence, Unknown):
        return vote
    if not 0 <= vote.age <= policy.freshness:
        why = f"knows nothing newer than {vote.age:.0f} s"
    elif vote.site == suspect_site and isinstance(vote.evidence, Down):
        why = f"stands in the suspect site {suspect_site} itself"
    else:
        return vote
    return replace(vote, evidence=Unknown(why))


def tell(votes: tuple[Vote, ...] | list[Vote]) -> str:
    """Return the votes as one clause: each witness with what it says and how old its knowledge is."""

    def one(vote: Vote) -> str:
        age = f" ({vote.age:.0f} s ago)" if vote.age >= 1 else ""
        return f"{vote.witness} {vote.evidence.reason}{age}"

    return "; ".join(one(vote) for vote in votes) or "no witness is configured"


def blind_spot(snapshot: Snapshot, policy: Policy) -> str | None:
    """Return what would keep us from failing over if the target died now, or None where nothing would."""
    votes = [weigh(vote, snapshot.target.site, policy) for vote in snapshot.votes]
    able = [vote for vote in votes if not isinstance(vote.evidence, Unknown)]
    if len(able) >= policy.required:
        return None
    return tell([vote for vote in votes if isinstance(vote.evidence, Unknown)])
