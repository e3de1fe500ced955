"""Make schedules by the number: the same seed and number give the same schedule, on every machine.

A schedule tells one story of its kind (`plots`: a death, a blip, a return, or nothing), with some `mishaps` on the way,
all of which are mended in the end but for the death itself. What habeat does not promise is not tried: a majority of
Consul's servers that is cut off from the other site and from the witness while it goes on (docs/consul.md).
"""

from __future__ import annotations

from habeat.simulator.mishaps import COMMON, OF_A_KIND
from habeat.simulator.plots import tell
from habeat.simulator.schedule import Schedule
from habeat.simulator.story import Story


def generate(seed: str) -> Schedule:
    """Return the schedule of a seed."""
    story = Story(seed)
    tell(story)
    menu = [*COMMON, *OF_A_KIND[story.kind]]
    weights = [weight for weight, _ in menu]
    wanted = story.random.choice((1, 1, 2, 2, 3, 4, 6))
    while wanted or not story.faults:
        story.random.choices(menu, weights)[0][1](story)
        wanted = max(0, wanted - 1)
    _pace(story)
    return Schedule(
        story.kind, story.settings, tuple(sorted(story.faults)), story.heal + max(45 * story.interval, 900.0)
    )


def _pace(story: Story) -> None:
    """Let elections and announcements take longer or shorter, and clocks drift."""
    story.settings["election"] = story.random.choice(("1", "4", "4", "12"))
    story.settings["lag"] = story.random.choice(("1", "3", "3", "7"))
    if story.random.random() < 0.15:
        story.at(0.2, "drift", story.random.choice(story.actors), story.random.choice(("-1", "-0.1", "0.1", "1")))
