"""Weigh one cycle's evidence into a verdict. Pure: no I/O, no clock, nothing remembered.

The rules, first match wins:

J1  a probe reached the target, and its services work   -> up
J8  it was reached, but not all its services work (as
    they did before), and J9 does not hold              -> service down
J9  it was reached, all its services are dead, they were
    seen at work before, the policy acts on that, and
    enough witnesses or a second probe agree            -> down
J2  a witness with fresh knowledge sees it alive        -> unreachable (alive, but not from here)
J3  a probe could not even be sent                      -> unknown (our own fault)
J4  gateways are set and none of them answers           -> unknown (we are cut off)
J5  no gateways are set and no witness that needs the
    network gave a clear, fresh answer                  -> unknown (we may be cut off)
J6  fewer fresh down votes than `required`              -> unknown (not enough witnesses)
J7  silence everywhere and enough down votes            -> down

A target that is several nodes, the Consul servers of a site, is judged node by node, and then:

J10 one of them was reached, or all are dead and Consul
    has a leader without them                           -> up (without a leader: service down), or quorate
J11 one of them is alive, but not from here             -> unreachable
J12 one of them, or whether Consul has a leader here,
    cannot be told                                      -> unknown
J13 all are dead, and Consul has no leader here         -> down

What was taken over from the target is seen beside that, by checks of the announcement here and in the other site.
A target is back when it is up and, where that can be checked, announces again: all those checks say so. One that is
alive but unreachable from here is back only if they do.

Unknown is never a vote. A vote counts as unknown when its knowledge is older than it may be; and a vote for death
also when the witness stands in the suspect site, and would therefore be worth nothing exactly when it matters, or
when its knowledge is from before we last reached the target ourselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from habeat.model import Down, Policy, Probe, Sight, Snapshot, Unknown, Up, Verdict, Vote


def judge(snapshot: Snapshot, policy: Policy) -> Verdict:
    """Return the verdict on the snapshot's target, and on what was taken over from it."""
    judged = _several(snapshot, policy) if snapshot.nodes else _judged(snapshot, policy)
    return _announced(judged, snapshot)


def _judged(snapshot: Snapshot, policy: Policy) -> Verdict:  # noqa: PLR0911  one return for each rule
    """Return the verdict on the target by the rules at the top of this module."""
    votes = tuple(weigh(vote, snapshot, policy) for vote in snapshot.votes)
    probes = (*snapshot.probes, *snapshot.services)
    reached = [probe for probe in probes if probe.reached]
    unsent = [probe for probe in snapshot.probes if isinstance(probe.evidence, Unknown)]
    alive = [vote for vote in votes if isinstance(vote.evidence, Up)]
    dead = [vote for vote in votes if isinstance(vote.evidence, Down)]
    silence = probed(probes)

    if reached:
        return _reached(snapshot, reached[0], policy)
    if alive:
        return Verdict(Sight.UNREACHABLE, "J2", f"{silence}, but {tell(votes)}")
    if unsent or not snapshot.probes:
        return Verdict(Sight.UNKNOWN, "J3", f"the probe could not be made: {probed(unsent) or 'none is configured'}")
    if snapshot.gateways and not any(isinstance(probe.evidence, Up) for probe in snapshot.gateways):
        names = ", ".join(probe.address for probe in snapshot.gateways)
        return Verdict(Sight.UNKNOWN, "J4", f"this host is cut off: no gateway answers ({names})")
    if not snapshot.gateways and not any(vote.networked for vote in dead):
        unproved = "nothing proves that this host is not itself cut off"
        return Verdict(Sight.UNKNOWN, "J5", f"{silence}, and {unproved}: {tell(votes)}")
    if len(dead) < policy.required:
        wanted = f"{len(dead)} of {policy.required} needed witnesses call it down"
        return Verdict(Sight.UNKNOWN, "J6", f"{silence}, but only {wanted}: {tell(votes)}")
    return Verdict(Sight.DOWN, "J7", f"{silence}, and {tell(votes)}")


def _several(snapshot: Snapshot, policy: Policy) -> Verdict:
    """Return the verdict on a target of several nodes, by those on each of them and by Consul's leader here."""
    nodes = [_judged(replace(node, reached_at=snapshot.reached_at), policy) for node in snapshot.nodes]
    sights = {verdict.sight for verdict in nodes}
    leader = {type(probe.evidence) for probe in snapshot.leader}
    each = [f"{node.target.name}: {verdict.why}" for node, verdict in zip(snapshot.nodes, nodes, strict=True)]
    why = "; ".join([*each, probed((*snapshot.leader, *snapshot.rebuild))])
    if any(verdict.reached for verdict in nodes):
        return Verdict(Sight.SERVICE_DOWN if leader == {Down} else Sight.UP, "J10", why, reached=True)
    if Sight.UNREACHABLE in sights:
        return Verdict(Sight.UNREACHABLE, "J11", why)
    if sights != {Sight.DOWN} or leader not in ({Up}, {Down}):
        return Verdict(Sight.UNKNOWN, "J12", why)
    return Verdict(Sight.QUORATE, "J10", why) if leader == {Up} else Verdict(Sight.DOWN, "J13", why)


def _announced(verdict: Verdict, snapshot: Snapshot) -> Verdict:
    """Return the verdict with what is seen of the announcements; a target that announces nothing is not back."""
    ours, theirs = ([type(probe.evidence) for probe in probes] for probes in (snapshot.ours, snapshot.theirs))
    seen, gone = bool(theirs) and set(theirs) == {Up}, bool(theirs) and set(theirs) == {Down}
    amiss = [probe for probe in snapshot.ours if not isinstance(probe.evidence, Up)]
    heard = snapshot.theirs if seen or not gone or verdict.sight is Sight.UP else ()
    told = [
        verdict.why,
        *(f"here {probed(amiss)}" for _ in amiss[:1]),
        *(f"the other site: {probed(heard)}" for _ in heard[:1]),
    ]
    back = seen if verdict.sight is Sight.UNREACHABLE else verdict.sight is Sight.UP and (seen or not theirs)
    return replace(
        verdict,
        why="; ".join(told),
        back=back,
        lost=Down in ours and Up not in theirs and not back,
        contested=Up in theirs,
        orphaned=Down in ours and gone,
        veiled=Unknown in ours,
    )


def _reached(snapshot: Snapshot, first: Probe, policy: Policy) -> Verdict:
    """Return the verdict on a host that lives: by its services, and what witnesses say of them."""
    idle = [probe for probe in snapshot.services if not isinstance(probe.evidence, Up)]
    dead = [probe for probe in idle if isinstance(probe.evidence, Down)]
    served = snapshot.asked_services == snapshot.served
    if not dead and not (idle and served):
        works = "" if idle else snapshot.asked_services
        return Verdict(Sight.UP, "J1", f"{first.address} {first.evidence.reason}", reached=True, served=works)
    votes = tuple(weigh(vote, snapshot, policy) for vote in snapshot.service_votes)
    seen = probed([first, *(probe for probe in snapshot.services if probe is not first)])
    said = f"{seen}{f'; {tell(votes)}' if votes else ''}"
    if not policy.service_down:
        return Verdict(Sight.SERVICE_DOWN, "J8", said, reached=True)
    doubt = _doubt(snapshot, votes, policy)
    if doubt:
        return Verdict(Sight.SERVICE_DOWN, "J8", f"{said}, but {doubt}", reached=True)
    return Verdict(Sight.DOWN, "J9", f"the host lives, but its service is dead: {said}", reached=True)


def _doubt(snapshot: Snapshot, votes: tuple[Vote, ...], policy: Policy) -> str | None:
    """Return why the death of all services is not sure enough to act on, or None.

    What was never seen at work may not be there at all. Silence is weak: a firewall makes it too. A second probe
    path agrees only if both, on ports of their own, said the bad news themselves.
    """
    if snapshot.asked_services != snapshot.served:
        return "these services were never seen at work, so the configuration may be wrong"
    other = [probe for probe in snapshot.services if not isinstance(probe.evidence, Down)]
    if other:
        return f"{other[0].address} {other[0].evidence.reason}"
    alive = [vote for vote in votes if isinstance(vote.evidence, Up)]
    if alive:
        return f"{alive[0].witness} sees it at work"
    told = {probe.port for probe in snapshot.services if probe.answered}
    if sum(isinstance(vote.evidence, Down) for vote in votes) >= policy.required or len(told) > 1:
        return None
    return "neither enough witnesses confirm it nor a second port that says so itself"


def probed(probes: Iterable[Probe]) -> str:
    """Return what was asked and what it gave as one clause."""
    return "; ".join(f"{probe.address} {probe.evidence.reason}" for probe in probes)


def weigh(vote: Vote, snapshot: Snapshot, policy: Policy) -> Vote:
    """Return the vote as it counts: stale or misplaced ones become unknown, and say why."""
    if isinstance(vote.evidence, Unknown):
        return vote
    down = isinstance(vote.evidence, Down)
    reached = None if snapshot.reached_at is None else min(snapshot.reached_at, snapshot.at)
    if not 0 <= vote.age <= (policy.freshness if vote.holds is None else vote.holds):
        why = f"knows nothing newer than {vote.age:.0f} s"
    elif down and vote.site == snapshot.target.site:
        why = f"stands in the suspect site {vote.site} itself"
    elif down and reached is not None and snapshot.at - vote.age < reached:
        why = f"knows of a death {vote.age:.0f} s ago, but we reached it {snapshot.at - reached:.0f} s ago"
    else:
        return vote
    return replace(vote, evidence=Unknown(why))


def tell(votes: Iterable[Vote]) -> str:
    """Return the votes as one clause: each witness with what it says and how old its knowledge is."""

    def one(vote: Vote) -> str:
        age = "just now" if vote.age < 1 else f"{vote.age:.0f} s ago"
        return f"{vote.witness} {vote.evidence.reason}{'' if isinstance(vote.evidence, Unknown) else f' ({age})'}"

    return "; ".join(one(vote) for vote in votes) or "no witness is configured"


def blind_spot(snapshot: Snapshot, policy: Policy) -> str | None:
    """Return what would keep us from failing over if the target died now, or None where nothing would."""
    for node in snapshot.nodes:
        if any(probe.reached for probe in node.probes) and (blind := blind_spot(node, policy)):
            return f"{node.target.name}: {blind}"
    if snapshot.nodes:
        unable = [p for p in (*snapshot.leader, *snapshot.rebuild) if isinstance(p.evidence, Unknown)]
        return probed(unable) or None
    unsent = [probe for probe in snapshot.services if isinstance(probe.evidence, Unknown)]
    if unsent:
        return probed(unsent)
    wrong = [vote for vote in snapshot.votes if isinstance(vote.evidence, Down)]
    if wrong:
        return f"{tell(wrong)}, although it answers"
    votes = [weigh(_as_death(vote), snapshot, policy) for vote in snapshot.votes]
    able = [vote for vote in votes if not isinstance(vote.evidence, Unknown)]
    if len(able) + len(snapshot.unasked) >= policy.required:
        return None
    return tell(vote for vote in votes if isinstance(vote.evidence, Unknown))


def _as_death(vote: Vote) -> Vote:
    return vote if isinstance(vote.evidence, Unknown) else replace(vote, evidence=Down(vote.evidence.reason))
