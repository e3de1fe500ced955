"""What a schedule is about: who dies, for good or for a while, and what goes wrong when they return."""

from __future__ import annotations

from collections.abc import Sequence

from habeat.simulator.story import Story


def tell(story: Story) -> None:
    """Let the victims die for good, die and return, or only be gone for a moment; or nobody."""
    how = story.random.choices(("for good", "return", "blip", "nobody", "again"), (5, 4, 2, 2, 2))[0]
    if how != "nobody":
        die(story, story.victims, how)


def die(story: Story, victims: Sequence[str], how: str) -> None:
    """Let some hosts die together: `for good`, `return`, `blip`, or `again` after their return."""
    died = story.random.uniform(story.begin, 5 * story.interval)
    lost = ["lost"] if "vcenter" in story.settings["witnesses"] and story.random.random() < 0.2 else []
    for victim in victims:
        story.at(died, "kill", victim, *lost)
    if how == "for good":
        return
    back = died + story.random.uniform(0.2, 1.5 if how == "blip" else 8.0) * story.interval
    for victim in victims:
        story.at(back, "boot", victim)
    if story.kind == "proxy" and story.random.random() < 0.7:
        story.random.choice((_late, _orphan))(story, back)
    if story.kind == "quorum" and story.random.random() < 0.15:
        _shut_out(story, back)
    if story.random.random() < 0.15:  # in mid-failover
        _held(story, died)
    if how == "again":
        for victim in story.random.sample(victims, story.random.randint(1, len(victims))):
            story.at(back + story.random.uniform(1, 6) * story.interval, "kill", victim)


def _held(story: Story, died: float) -> None:
    """Let a failover be stopped half-way, and the target be seen in every way meanwhile."""
    name, peer = story.actors[0], story.victims[0]
    after = story.random.choice(("folder write_peers", "systemctl start"))
    point = {"mail": "run promoteAccounts", "proxy": "run tell", "quorum": after}[story.kind]
    story.at(0.1, "crash", name, story.random.choice(("before", "after")), *point.split())
    when = died + story.random.uniform(1.0, 4.0) * story.interval
    if story.random.random() < 0.7:
        story.at(when, "boot", peer)
        if story.random.random() < 0.4:
            story.at(min(when + story.random.uniform(4, 8) * story.interval, story.heal), "kill", peer)
    if story.random.random() < 0.5:
        story.at(when, "pause", name, f"{3 * story.interval:.0f}")
    if story.random.random() < 0.5:
        story.at(when, "cut", name, peer)
        story.at(min(when + 6 * story.interval, story.heal), "mend")
    elif story.kind != "quorum":
        story.at(when + 0.1, "service", peer, "off")
        story.at(story.heal, "service", peer, "on")
    if story.random.random() < 0.3:
        story.at(
            when, "consul" if story.kind != "quorum" else "ack", name, *(["slow"] if story.kind != "quorum" else [])
        )
        story.at(story.heal, "consul", name, "well")


def _shut_out(story: Story, back: float) -> None:
    """Let Consul not start on the servers that return, and these die again while that is waited for."""
    for victim in story.victims:
        story.at(back - 0.1, "broken", victim, "99")
        story.at(back + 5 * story.interval, "kill", victim)
        story.at(story.heal, "broken", victim, "0")


def _orphan(story: Story, back: float) -> None:
    """Let neither site announce, while the work is given back or waits for a person, however the peer is seen then."""
    story.settings |= {"checks": "on", "services": "on"}  # else nobody would see it
    if story.random.random() < 0.75:
        story.settings["deactivate"] = "on"
        story.at(back, "route", "proxy2", story.random.choice(("give", "untell")), "99")
    agreed = int(story.settings["confirmations"])
    when = back + (agreed + story.random.uniform(0.5, 3.5)) * story.interval
    seen: tuple[tuple[str, ...], ...] = story.random.choice(
        (
            (),
            (("service", "proxy1", "off"),),
            (("cut", "proxy1", "proxy2"),),
            (
                ("cut", "proxy1", "proxy2"),
                ("consul", "proxy2", "filtered"),
                ("hetrix", "silent"),
                ("vcenter", "silent"),
            ),
            (("kill", "proxy1"),),
        )
    )
    for what in seen:
        story.at(when, *what)
    if story.random.random() < 0.5:
        story.at(when, "route", "proxy1", "lost")
        story.at(when, "route", "proxy2", "lost")
    if story.random.random() < 0.4:
        story.at(when, "pause", "proxy2", f"{4 * story.interval:.0f}")
    until = min(when + 6 * story.interval, story.heal)
    mends = (
        "route proxy2 give 0",
        "route proxy2 untell 0",
        "service proxy1 on",
        "mend",
        "consul proxy2 well",
        "hetrix well",
        "vcenter well",
    )
    for mend in mends:
        word, *rest = mend.split()
        story.at(until, word, *rest)


def _late(story: Story, back: float) -> None:
    """Let things go wrong while the work is given back."""
    for _ in range(story.random.choice((1, 2, 3))):
        when = min(back + story.random.uniform(0.0, 5.0) * story.interval, story.heal)
        until = min(when + story.random.uniform(0.5, 5.0) * story.interval, story.heal)
        what: tuple[tuple[str, ...], tuple[str, ...]] = story.random.choice(
            (
                (("cut", "proxy2", "proxy1"), ("mend",)),
                (("cut", "primary", "secondary"), ("mend",)),
                (("cut", "proxy1", "router"), ("mend",)),
                (("service", "proxy1", "off"), ("service", "proxy1", "on")),
                (("route", "proxy2", "give", "2"), ("route", "proxy2", "give", "0")),
                (("route", "proxy2", "untell", "5"), ("route", "proxy2", "untell", "0")),
                (("route", "proxy1", "dead"), ("route", "proxy1", "alive")),
                (("route", "proxy2", "lost"), ("ack", "proxy2")),
                (("unplug", "proxy2"), ("mend",)),
                (("consul", "proxy2", "slow"), ("consul", "proxy2", "well")),
                (("kill", "proxy1"), ("boot", "proxy1")),
                (("cut", "proxy1", "*"), ("mend",)),
                (("cut", "proxy2", "proxy1"), ("route", "proxy2", "lost")),
                (("service", "proxy1", "off"), ("route", "proxy2", "lost")),
                (("route", "proxy1", "lost"), ("route", "proxy2", "lost")),
                (("one-way", "proxy1", "proxy2"), ("mend",)),
                (("pause", "proxy2", f"{until - when:.0f}"), ("resume", "proxy2")),
                (("crash", "proxy2", "before", "run", story.random.choice(("untell", "give"))), ("ack", "proxy2")),
                (("crash", "proxy2", "before", "journal", "conclude"), ("ack", "proxy2")),
            )
        )
        story.at(when, *what[0])
        story.at(until, *what[1])
