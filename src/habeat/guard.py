"""May a Consul server start with the data that it has? Pure.

An old server that starts after a recovery with its old data, and cannot reach the recovered ones, may elect a second
leader: both sides then acknowledge writes, and one side's are lost when they meet. The rules, first match wins:

G11 somebody began one with a newer epoch, which has no leader
    yet and counts on this server's data                           -> refuse: habeat's next cycle follows it
    (a person may allow the start while none of those answers)
G1  somebody knows a recovery with a newer epoch than ours         -> start clean
G2  a person allowed this start                                    -> start
G3  somebody knows another recovery with the very number of ours   -> refuse, whatever the policy says
G13 habeat's own recovery starts it                                -> start
G4  a recovery was begun here, and cut off before Consul's start   -> refuse: habeat's next cycle decides
G5  every server of the other site answers, knows no newer one,
    and is not about to begin one (nor is, where this server has
    no data, of an older one)                                      -> start
G12 somebody that shares our epoch has a leader now, whose data
    tells that epoch, and nobody is about to begin another         -> start: one is there without this server
G6  this machine's habeat saw a leader moments ago, in this boot   -> start: what was alive is not resurrected
G7  the voters of this site are no quorum by themselves            -> start: they cannot elect a leader alone
G8  all voters stand in this site, and this server is one of them  -> start: nobody else can have gone on
G9  this server has no data, one that answers shares its epoch,
    and none is of an older one                                    -> start: it has nothing of the past
G10 none of these                                                  -> hold
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from habeat.model import Unknown
from habeat.quorum import Configuration, Epoch, Recovery, Stage


@dataclass(frozen=True)
class Word:
    """What another server's habeat says of itself: its site, its node id, and what it knows.

    `state` is its machine's state for the other site's servers, `led` tells whether its Consul has a leader now,
    whose data tells the same epoch.
    """

    site: str
    server: str
    epoch: Epoch
    recovery: Recovery | None
    state: str
    led: bool = False


@dataclass(frozen=True)
class Heard:
    """The word of the server at an address in a site, or why there is none."""

    address: str
    site: str
    word: Word | Unknown


class Action(Enum):
    """What may be done."""

    START = "start"
    CLEAN = "clean"
    HOLD = "hold"
    REFUSE = "refuse"


@dataclass(frozen=True)
class Advice:
    """What may be done, by which rule and why; `epoch` is the one to take over, if this server is to rejoin clean."""

    action: Action
    rule: str
    why: str
    epoch: Epoch


@dataclass(frozen=True)
class Situation:
    """All that is known on this server: its site and the addresses in it, its epoch, its raft configuration.

    `recent` is how many seconds ago a leader may have been seen, in the machine start `boot`. `cut_off` tells that a
    recovery was begun here and Consul not yet started, `allowed` that a person allowed the next start, `starting` that
    habeat's own recovery starts it, `empty` that there is no data of raft here.
    """

    site: str
    here: tuple[str, ...]
    there: tuple[str, ...]
    own: str
    epoch: Epoch
    configuration: Configuration | None
    now: float
    boot: str
    recent: float
    cut_off: bool = False
    allowed: bool = False
    starting: bool = False
    empty: bool = False


def behind(epoch: Epoch, heard: Sequence[Heard]) -> list[str]:
    """Return the addresses that answer with data of before an epoch: a clean server's vote could make one a leader."""
    words = [(item.address, item.word) for item in heard if isinstance(item.word, Word)]
    return [address for address, word in words if word.server and word.epoch.number < epoch.number]


def _words(heard: Sequence[Heard]) -> tuple[list[Word], Epoch]:
    """Return what was said, and the newest epoch in it."""
    words = [item.word for item in heard if isinstance(item.word, Word)]
    return words, max((word.epoch for word in words), key=lambda epoch: epoch.number, default=Epoch())


def overtaken(own: str, epoch: Epoch, heard: Sequence[Heard]) -> Epoch | None:
    """Return the newer epoch in which Consul was rebuilt without the server `own`, whose data is of `epoch`, or None.

    While nobody has proved that it has a leader, or where it counts on this server, it is not that.
    """
    words, newest = _words(heard)
    plans = _plans(words, newest)
    proved = not plans or _proved(plans)
    return newest if newest.number > epoch.number and proved and not _counts_on(words, newest, own) else None


def rival_of(own: Epoch, words: Sequence[Word]) -> Epoch | None:
    """Return another epoch with the very number of our `own`, in which somebody rebuilt Consul without us, or None."""
    return next((w.epoch for w in words if own.number and w.epoch.number == own.number and w.epoch.id != own.id), None)


def torn(own: Epoch, rival: Epoch) -> str:
    """Return what is told of two epochs with the same number."""
    return f"Consul was rebuilt twice, each time without the other: {own} here, {rival} there; a person must choose"


def _plans(words: Sequence[Word], epoch: Epoch) -> list[Recovery]:
    """Return the plans of an epoch, as those tell them that follow it."""
    return [word.recovery for word in words if word.recovery and word.recovery.epoch.id == epoch.id]


def _proved(plans: Sequence[Recovery]) -> bool:
    return any(plan.stage is Stage.PROVED for plan in plans)


def _counts_on(words: Sequence[Word], newest: Epoch, own: str) -> bool:
    """Tell whether a recovery may need the data of the server `own`.

    By the plans for it; where those who go by one give no answer, by the epoch, while nobody tells that it is over.
    """
    if plans := _plans(words, newest):
        return any(own == peer.id for plan in plans for peer in plan.peers)
    over = any(word.epoch.id == newest.id and (word.led or word.server in newest.peers) for word in words)
    return own in newest.peers and not over


def advise(  # noqa: PLR0911  one return for each rule
    situation: Situation, heard: Sequence[Heard]
) -> Advice:
    """Return what may be done with the data of this server."""
    words, newest = _words(heard)
    own = situation.epoch
    if newest.number > own.number:
        return _behind_the_newest(situation, words, newest)
    if situation.allowed:
        return Advice(Action.START, "G2", "it was allowed", own)
    if (rival := rival_of(own, words)) is not None:
        return Advice(Action.REFUSE, "G3", torn(own, rival), rival)
    if situation.starting:
        return Advice(Action.START, "G13", "habeat's own recovery starts it", own)
    if situation.cut_off:
        why = "a recovery was begun here and cut off before Consul's start: the next `habeat check` decides"
        return Advice(Action.REFUSE, "G4", why, own)
    reason = _reason(situation, heard)
    if reason is not None:
        return Advice(Action.START, *reason, own)
    silent = "; ".join(f"{item.address} {item.word.reason}" for item in heard if isinstance(item.word, Unknown))
    told = silent or "not every server of the other site answers"
    if situation.empty and (old := behind(own, heard)):
        told = f"{', '.join(old)} has data of before {own}, and must rejoin first"
    return Advice(Action.HOLD, "G10", f"it cannot be told whether Consul was rebuilt without this server: {told}", own)


def _behind_the_newest(situation: Situation, words: Sequence[Word], newest: Epoch) -> Advice:
    """Return what may be done where another knows a newer epoch: what is counted on there is not thrown away."""
    plans = _plans(words, newest)
    if _counts_on(words, newest, situation.own) and not _proved(plans) and not situation.empty:
        if situation.allowed and not plans:
            return Advice(Action.START, "G2", "it was allowed", situation.epoch)
        then = "the next `habeat check` follows" if plans else "who does that gives no answer now"
        why = f"Consul is being rebuilt in {newest} with the data of this server: {then}"
        return Advice(Action.REFUSE, "G11", why, situation.epoch)
    why = f"Consul was rebuilt in {newest}, and the data here is of epoch {situation.epoch.number}"
    return Advice(Action.CLEAN, "G1", why, newest)


def _is_about_to(word: Word) -> bool:
    """Tell whether a server may begin a new epoch at any moment."""
    return word.recovery is not None and word.recovery.stage in (Stage.PREPARED, Stage.SAVED)


def _reason(  # noqa: PLR0911  one return for each rule
    situation: Situation, heard: Sequence[Heard]
) -> tuple[str, str] | None:
    """Return the rule that allows a start, and why, or None."""
    words = [item.word for item in heard if not isinstance(item.word, Unknown) and item.word.site != situation.site]
    answered = {word.server for word in words if word.server and not _is_about_to(word)}
    if situation.empty and behind(situation.epoch, heard):
        return None
    if situation.there and len(answered) >= len(situation.there):
        return "G5", f"the other site knows of no recovery after epoch {situation.epoch.number}"
    near = [item for item in heard if isinstance(item.word, Word) and item.word.epoch.id == situation.epoch.id]
    led = [item.address for item in near if isinstance(item.word, Word) and item.word.led]
    if led and not any(isinstance(item.word, Word) and _is_about_to(item.word) for item in heard):
        return "G12", f"Consul has a leader in epoch {situation.epoch.number} without this server, as {led[0]} says"
    if situation.empty and situation.epoch.number and near:
        return "G9", f"it has no data, and {near[0].address} shares its epoch {situation.epoch.number}"
    last = situation.configuration
    if last is None:
        return None
    age = situation.now - last.at
    if last.boot == situation.boot and 0 <= age <= situation.recent:
        return "G6", f"it had a leader {age:.0f} s ago"
    voters = last.among(situation.here)
    if len(voters) < last.needed:
        return "G7", f"{len(voters)} of {len(last.voters)} voters stand here, which can elect no leader by themselves"
    if voters == last.voters and situation.own in {server.id for server in voters}:
        return "G8", "all voters stand in this site"
    return None
