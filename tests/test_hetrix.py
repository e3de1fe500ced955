"""The HetrixTools witness against a real HTTPS server of ours that answers as HetrixTools' API does.

I1 (no failover on ignorance) asks that only the one active monitor of the right name, freshly checked, calls a host
down; I4 that no server holds an answer up; I9 that the token is never told. Calls are capped, so they are counted.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certificates import certify
from facts import TARGET, snapshot
from habeat.errors import JournalError
from habeat.http import Endpoint, Reply
from habeat.journal import Journal, Recall
from habeat.judge import judge
from habeat.model import Down, Finding, Health, Policy, Sight, Unknown, Up, Vote
from habeat.observe import Answer, Observer
from habeat.observe.hetrix import HetrixWitness
from hetrix_double import Asked, Canned, HetrixDouble, State, running

NAME = TARGET.name
TOKEN = 'hk/7"Zq\\9%2F+vXw'
BOTH = pytest.mark.parametrize("api", ["v3", "v1"])
SHORT = 0.5
GRACE = 2.0
PLACES = ("new_york", "amsterdam", "tokyo", "london")
WAITS = r"^asked us to wait {} s more \(rate limit\)$"


@dataclass
class Clocks:
    """The test's hands on all clocks: what `passed` for everybody, and by how much our own clock is `wrong`."""

    passed: float = 0.0
    wrong: float = 0.0
    stuck: float = 0.0

    def ours(self) -> float:
        """Return Unix time by our own clock."""
        return time.time() + self.passed + self.wrong

    def theirs(self) -> float:
        """Return Unix time by the server's clock."""
        return time.time() + self.passed

    def steady(self) -> float:
        """Return the seconds on the clock that nobody sets."""
        return time.monotonic() + self.passed + self.stuck


@dataclass
class Memory:
    """A place to remember one value, as the journal gives it."""

    value: str | None = None
    written: list[str] = field(default_factory=list)

    def recall(self) -> Recall:
        """Return it in the form in which adapters get it."""
        return Recall(lambda: self.value, self._write)

    def _write(self, value: str) -> None:
        self.value = value
        self.written.append(value)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a CA and a certificate of its for loopback."""
    folder = tmp_path_factory.mktemp("certificates")
    certify(folder, "127.0.0.1")
    return folder


@pytest.fixture
def clocks() -> Clocks:
    """Give clocks that are all right."""
    return Clocks()


@pytest.fixture
def memory() -> Memory:
    """Give an empty memory."""
    return Memory()


@pytest.fixture(scope="module")
def server(certificates: Path) -> Iterator[HetrixDouble]:
    """Give a HetrixTools that all tests share."""
    with running(certificates, TOKEN) as double:
        yield double


@pytest.fixture
def double(server: HetrixDouble, clocks: Clocks) -> HetrixDouble:
    """Give a HetrixTools that was asked nothing yet, and whose one monitor is the target's, and down."""
    server.reset()
    server.clock = clocks.theirs
    server.state = {"monitors": [monitor()]}
    return server


Make = Callable[..., HetrixWitness]


@pytest.fixture
def make(double: HetrixDouble, certificates: Path, clocks: Clocks, memory: Memory) -> Make:
    """Give witnesses that ask the double; all of them share one memory."""

    def witness(**changes: Any) -> HetrixWitness:
        made = HetrixWitness(
            host="127.0.0.1",
            port=double.port,
            api="v3",
            token=TOKEN,
            ca_file=str(certificates / "ca.pem"),
            timeout=5.0,
            freshness=120.0,
            names={},
            recall=memory.recall(),
            clock=clocks.ours,
            steady=clocks.steady,
        )
        return replace(made, **changes)

    return witness


def monitor(name: str = NAME, **changes: Any) -> State:
    """Return a monitor as v3 lists it: down, and checked 20 s ago; None takes a key away."""
    places = {place: {"uptime_status": "down", "response_time": 0, "ago": 25 + n} for n, place in enumerate(PLACES)}
    whole: State = {
        "id": f"id of {name}",
        "name": name,
        "type": "ping",
        "target": "192.0.2.1",
        "check_frequency": 1,
        "ago": 20,
        "uptime_status": "down",
        "monitor_status": "active",
        "locations": places,
        **changes,
    }
    return {key: value for key, value in whole.items() if value is not ...}


def said(answer: Answer) -> str:
    """Return what an answer is and says, as one text."""
    return f"{type(answer.evidence).__name__}: {answer.evidence.reason}"


def verdict(answer: Answer, clocks: Clocks) -> Sight:
    """Return what the judge makes of an answer when no probe reaches the target."""
    heard = Vote("HetrixTools", answer.evidence, answer.age, holds=answer.holds)
    return judge(replace(snapshot(heard), at=clocks.ours()), Policy()).sight


# -- what it says


@BOTH
@pytest.mark.parametrize(("status", "kind"), [("down", Down), ("up", Up)])
def test_clear_and_fresh(make: Make, double: HetrixDouble, api: str, status: str, kind: type[Down | Up]) -> None:
    """The one active monitor of the target's name testifies, with its age and with how old that may become."""
    places = {place: {"uptime_status": status, "ago": 25} for place in PLACES}
    double.state["monitors"] = [monitor(uptime_status=status, locations=places)]
    answer = make(api=api).ask(TARGET)
    seen = "" if api == "v1" else f" ({4 if status == 'up' else 0} of 4 locations reach it)"
    assert kind(f"says that monitor {NAME} is {status}{seen}") == answer.evidence
    assert 20 == pytest.approx(answer.age, abs=3)
    assert 180 == answer.holds


def test_death_is_believed(make: Make, clocks: Clocks) -> None:
    """A clear and fresh death is enough for the judge: the tests of doubt below are not empty."""
    assert Sight.DOWN == verdict(make().ask(TARGET), clocks)


def test_v3_request(make: Make, double: HetrixDouble) -> None:
    """The token is sent in v3's header alone, and the name as the filter, both as they are."""
    odd = "Mailstore 1 & co/ä+"
    double.state["monitors"] = [monitor(odd)]
    assert isinstance(make(names={NAME: odd}).ask(TARGET).evidence, Down)
    (asked,) = double.requests
    assert f"/v3/uptime-monitors?name={quote(odd, safe='')}&per_page=200&page=1" == asked.path
    assert f"Bearer {TOKEN}" == asked.headers["authorization"]


def test_v1_request(make: Make, double: HetrixDouble) -> None:
    """The token is sent in v1's path alone; pages count from 0, until one brings nothing new."""
    assert isinstance(make(api="v1").ask(TARGET).evidence, Down)
    start = f"/v1/{quote(TOKEN, safe='')}/uptime/monitors"
    assert [f"{start}/0/200/", f"{start}/1/200/"] == [asked.path for asked in double.requests]
    assert all("authorization" not in asked.headers for asked in double.requests)


# -- which monitor


NEIGHBOURS = [monitor(f"{n}.{NAME}", uptime_status="up") for n in range(450)]


@pytest.mark.parametrize(("api", "paged", "calls"), [("v3", True, 3), ("v3", False, 4), ("v1", True, 4)])
def test_pages(make: Make, double: HetrixDouble, api: str, *, paged: bool, calls: int) -> None:
    """The monitor is found on the third page among neighbours that hold its name in theirs, and none is forgotten."""
    double.state = {"monitors": [*NEIGHBOURS, monitor()], "paged": paged}
    assert f"Down: says that monitor {NAME} is down" in said(make(api=api).ask(TARGET))
    assert calls == len(double.requests)


@BOTH
def test_pages_smaller_than_asked_for(make: Make, double: HetrixDouble, api: str) -> None:
    """A server that puts less on a page than it was asked for does not hide what comes after."""
    double.state = {"monitors": [*NEIGHBOURS[:9], monitor()], "per_page": 5, "paged": False}
    assert isinstance(make(api=api).ask(TARGET).evidence, Down)


@pytest.mark.parametrize(("neighbours", "believed"), [(3, True), (199, False)])
def test_v1_that_complains_past_its_last_page(
    make: Make, double: HetrixDouble, neighbours: int, *, believed: bool
) -> None:
    """An error past a page that was not full is the end of the list; past a full one it is half a list (I1)."""
    double.state["monitors"] = [monitor(), *NEIGHBOURS[:neighbours]]
    error = Canned(body=json.dumps({"status": "ERROR", "error_message": "no such page"}))
    double.respond = lambda asked: error if "/monitors/1/" in asked.path else None
    evidence = make(api="v1").ask(TARGET).evidence
    assert believed == isinstance(evidence, Down)
    assert believed or "no such page" in evidence.reason


@BOTH
def test_duplicates(make: Make, double: HetrixDouble, api: str) -> None:
    """Two monitors of the name are no testimony, wherever in the list they stand (I1)."""
    double.state["monitors"] = [monitor(), *NEIGHBOURS, monitor(id="another")]
    assert f"Unknown: has 2 monitors named {NAME}" == said(make(api=api).ask(TARGET))


def test_duplicates_without_ids(make: Make, double: HetrixDouble) -> None:
    """Monitors without an id may be two even where they look the same (I1)."""
    double.state["monitors"] = [monitor(id=None), monitor(id=None)]
    assert f"Unknown: has 2 monitors named {NAME}" == said(make().ask(TARGET))


def test_monitor_that_moved_to_the_next_page(make: Make, double: HetrixDouble) -> None:
    """One monitor that is listed twice, since the pages moved while they were read, is one."""
    double.state = {"monitors": [NEIGHBOURS[0], monitor(), monitor(), NEIGHBOURS[1]], "per_page": 2}
    assert isinstance(make().ask(TARGET).evidence, Down)


def test_monitor_that_changed_while_pages_were_read(make: Make, double: HetrixDouble) -> None:
    """One that is up on one page and down on another is no testimony (I1)."""
    double.state = {
        "monitors": [NEIGHBOURS[0], monitor(uptime_status="up"), monitor(), NEIGHBOURS[1]],
        "per_page": 2,
    }
    assert isinstance(make().ask(TARGET).evidence, Unknown)


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ([], f"has no monitor named {NAME}"),
        ([f"m{NAME}"], f"has no monitor named {NAME}; the nearest is m{NAME}"),
        ([NAME.upper()], f"has no monitor named {NAME}"),
        ([f"{NAME} "], f"has no monitor named {NAME}; the nearest is {NAME}"),
    ],
)
def test_no_exact_match(make: Make, double: HetrixDouble, others: list[str], words: str) -> None:
    """A neighbour's death is nobody else's, however near its name (I1)."""
    double.state["monitors"] = [monitor(other) for other in others]
    assert f"Unknown: {words}" == said(make().ask(TARGET))
    assert 1 == len(double.requests)


def test_names(make: Make, double: HetrixDouble) -> None:
    """A node's monitor may be named otherwise; then one that is named as the node does not count."""
    double.state["monitors"] = [monitor("Mailstore 1", uptime_status="up"), monitor()]
    assert "Up: says that monitor Mailstore 1 is up" in said(make(names={NAME: "Mailstore 1"}).ask(TARGET))


@BOTH
def test_pages_without_an_end(make: Make, double: HetrixDouble, api: str) -> None:
    """A server that always has another page is asked 50 times at most, and not believed."""

    def another(asked: Asked) -> Canned:
        page = [monitor(), monitor(f"{len(double.requests)}.{NAME}")]
        meta = {"pagination": {"next": len(double.requests) + 1}}
        v1 = [{"ID": each["id"], "Name": each["name"]} for each in page]
        return Canned(body=json.dumps([v1] if asked.path.startswith("/v1") else {"monitors": page, "meta": meta}))

    double.respond = another
    assert "Unknown: lists its monitors in pages without an end" == said(make(api=api).ask(TARGET))
    assert 50 == len(double.requests)


def test_pages_that_repeat(make: Make, double: HetrixDouble) -> None:
    """A server that tells of more pages and gives the same one again is not asked on, and not believed."""
    listed = json.dumps({"monitors": [monitor()], "meta": {"pagination": {"next": 9}}})
    double.respond = lambda _asked: Canned(body=listed)
    assert "Unknown: lists its monitors in pages without an end" == said(make().ask(TARGET))
    assert 2 == len(double.requests)


# -- what a monitor says


DOUBTS: dict[str, tuple[State, str]] = {
    "paused": ({"monitor_status": "paused"}, r"is not active there \(it says paused\)"),
    "disabled": ({"monitor_status": "disabled"}, r"is not active there \(it says disabled\)"),
    "in maintenance": ({"monitor_status": "maint"}, "is in maintenance there"),
    "in silent maintenance": ({"monitor_status": "maint_dnd"}, "is in maintenance there"),
    "of an unknown state": ({"monitor_status": "asleep"}, r"is not active there \(it says asleep\)"),
    "of no state": ({"monitor_status": ...}, r"is not active there \(it says none\)"),
    "of an unknown status": (
        {"uptime_status": "unclear"},
        r"does not say clearly whether .* is up \(it says unclear\)",
    ),
    "of no status": ({"uptime_status": ...}, r"does not say clearly whether .* is up \(it says none\)"),
    "of a status that is a list": ({"uptime_status": ["down"]}, "does not say clearly whether"),
    "never checked": ({"ago": ..., "last_check": 0}, "does not say clearly when it last checked monitor"),
    "checked before time began": ({"ago": ..., "last_check": -5}, "does not say clearly when it last checked monitor"),
    "checked at no time": ({"ago": ...}, "does not say clearly when it last checked monitor"),
    "checked at NaN": ({"ago": ..., "last_check": float("nan")}, "does not say clearly when it last checked monitor"),
    "checked at a date": ({"ago": ..., "last_check": "today"}, "does not say clearly when it last checked monitor"),
    "checked at a truth": ({"ago": ..., "last_check": True}, "does not say clearly when it last checked monitor"),
    "checked in a minute": ({"ago": -60}, "reports a check of monitor .* from the future"),
    "checked in the far future": ({"ago": ..., "last_check": 1e300}, "reports a check of monitor .* from the future"),
    "checked at a huge number": ({"ago": ..., "last_check": 10**400}, "does not say clearly when it last checked"),
}


@BOTH
@pytest.mark.parametrize("case", DOUBTS)
def test_doubtful_monitor(make: Make, double: HetrixDouble, clocks: Clocks, api: str, case: str) -> None:
    """Whatever is not clearly an active monitor with a clear status and a time is unknown, and says why (I1)."""
    changes, words = DOUBTS[case]
    double.state["monitors"] = [monitor(**changes)]
    answer = make(api=api).ask(TARGET)
    if api == "v1" and "maint" not in case:
        words = words.replace("(it says none)", r"(it says \w+)")
    assert isinstance(answer.evidence, Unknown), answer
    assert_says(words, answer.evidence.reason)
    assert Sight.UNKNOWN == verdict(answer, clocks)


def assert_says(words: str, text: str) -> None:
    """Check a text against a pattern."""
    with pytest.raises(ValueError, match=words):
        raise ValueError(text)


@pytest.mark.parametrize(
    "changes",
    [
        {"uptime_status": " DOWN "},
        {"monitor_status": "Active"},
        {"uptime_status": "Offline"},
        {"check_frequency": "1"},
        {"ago": ..., "last_check": "1000000000"},
        {"locations": None},
        {"locations": []},
        {"locations": ["new_york"]},
        {"locations": "nonsense"},
        {"type": ...},
    ],
)
def test_tolerance(make: Make, double: HetrixDouble, changes: State) -> None:
    """Numbers may be texts, words may be in any case, and locations may be in no form at all."""
    double.state["monitors"] = [monitor(**changes)]
    assert isinstance(make().ask(TARGET).evidence, Down)


@BOTH
@pytest.mark.parametrize(
    ("minutes", "holds"),
    [
        (1, 180),
        ("5", 900),
        (10, 1800),
        (..., 180),
        (None, 180),
        (0, 180),
        (-5, 180),
        (float("nan"), 180),
        (1e9, 180),
        ("often", 180),
    ],
)
def test_how_old_it_may_become(make: Make, double: HetrixDouble, api: str, minutes: Any, holds: float) -> None:
    """Three checks may pass; what is no interval of HetrixTools' counts as its shortest (I1)."""
    double.state["monitors"] = [monitor(check_frequency=minutes)]
    assert holds == make(api=api).ask(TARGET).holds


def test_freshness_of_the_policy(make: Make) -> None:
    """The configured freshness counts where it is longer than three checks."""
    assert 600 == make(freshness=600.0).ask(TARGET).holds


@BOTH
@pytest.mark.parametrize(("ago", "sight"), [(170, Sight.DOWN), (190, Sight.UNKNOWN), (86400, Sight.UNKNOWN)])
def test_stale(make: Make, double: HetrixDouble, clocks: Clocks, api: str, ago: float, sight: Sight) -> None:
    """A death that HetrixTools has not looked at for three checks is not believed (I1)."""
    double.state["monitors"] = [monitor(ago=ago, locations=None)]
    answer = make(api=api).ask(TARGET)
    assert ago == pytest.approx(answer.age, abs=3)
    assert sight == verdict(answer, clocks)


def test_heartbeat(make: Make, double: HetrixDouble) -> None:
    """A host that no longer reports from within need not be dead; one that does lives (I1)."""
    heart: State = {"type": "heartbeat", "target": None, "check_frequency": None, "locations": None}
    double.state["monitors"] = [monitor(**heart)]
    assert f"Unknown: misses the heartbeats of monitor {NAME}, which is no proof that the host is dead" == said(
        make().ask(TARGET)
    )
    double.state["monitors"] = [monitor(**heart, uptime_status="up")]
    assert isinstance(make(recall=Memory().recall()).ask(TARGET).evidence, Up)


def disagreeing(ago: Any) -> State:
    """Return what two locations saw, of which one sees the target alive so many seconds ago."""
    alive = {"uptime_status": "Up", "last_check": ...} if ago is ... else {"uptime_status": "Up", "ago": ago}
    return {"amsterdam": {"uptime_status": "down", "ago": 20}, "new_york": alive}


@pytest.mark.parametrize("ago", [0, 20, 70, ...])
def test_locations_that_disagree(make: Make, double: HetrixDouble, ago: Any) -> None:
    """One location that sees it alive since the check before last, or at no known time, is a doubt (I1)."""
    places = disagreeing(ago)
    places["new_york"] = {key: value for key, value in places["new_york"].items() if value is not ...}
    double.state["monitors"] = [monitor(locations=places)]
    assert f"Unknown: calls monitor {NAME} down, but its location new_york sees it up" == said(make().ask(TARGET))


@pytest.mark.parametrize(
    "shape",
    [
        [{"new_york": {"uptime_status": "up"}}, {"tokyo": {"uptime_status": "down"}}],
        [{"location": "new_york", "uptime_status": "up"}],
        {"new_york": [{"uptime_status": "up"}]},
    ],
)
def test_locations_in_other_shapes(make: Make, double: HetrixDouble, shape: Any) -> None:
    """The documentation and its examples disagree on the form of locations; all of them are understood."""
    double.state["monitors"] = [monitor(locations=shape)]
    assert "but its location new_york sees it up" in said(make().ask(TARGET))


def test_location_that_looked_long_ago(make: Make, double: HetrixDouble) -> None:
    """What a location saw long before the monitor's last check says nothing of now."""
    double.state["monitors"] = [monitor(locations=disagreeing(200))]
    assert f"Down: says that monitor {NAME} is down (0 of 1 locations reach it)" == said(make().ask(TARGET))


# -- clocks


@BOTH
@pytest.mark.parametrize("wrong", [-3600.0, 3600.0])
def test_our_clock_is_wrong(make: Make, clocks: Clocks, api: str, wrong: float) -> None:
    """Ages are by the server's clock: an hour's error of ours makes nothing stale, and nothing fresh."""
    clocks.wrong = wrong
    assert 20 == pytest.approx(make(api=api).ask(TARGET).age, abs=3)


def test_no_date(make: Make, double: HetrixDouble, clocks: Clocks) -> None:
    """Where the server does not tell the time, ours counts."""
    double.state["date"] = False
    clocks.wrong = 100.0
    assert 120 == pytest.approx(make().ask(TARGET).age, abs=3)


@pytest.mark.parametrize("date", ["nonsense", "Mon, 99 Foo 2026 99:99:99 GMT", "Thu, 01 Jan 99999 00:00:00 GMT"])
def test_date_that_is_none(make: Make, double: HetrixDouble, date: str) -> None:
    """Where the server's date cannot be read, our clock counts too."""
    double.state |= {"date": False, "headers": {"Date": date}}
    assert 20 == pytest.approx(make().ask(TARGET).age, abs=3)


def test_answer_from_a_cache_in_between(make: Make, double: HetrixDouble) -> None:
    """An answer that lay in a cache for ten minutes is ten minutes older than its date says (I1)."""
    double.state["headers"] = {"Age": "600"}
    assert 620 == pytest.approx(make().ask(TARGET).age, abs=3)


def test_clock_of_the_server_runs_a_little_ahead_of_its_checks(make: Make, double: HetrixDouble) -> None:
    """A check up to 5 s in the future is one of just now."""
    double.state["monitors"] = [monitor(ago=-3)]
    answer = make().ask(TARGET)
    assert isinstance(answer.evidence, Down)
    assert 0 == answer.age


# -- what is remembered


def test_one_call_for_each_check(make: Make, double: HetrixDouble, clocks: Clocks) -> None:
    """A monitor is not asked for again, by any process, before its next check is due; its knowledge grows older."""
    assert 20 == pytest.approx(make().ask(TARGET).age, abs=3)
    clocks.passed = 37.0
    answer = make().ask(TARGET)
    assert isinstance(answer.evidence, Down)
    assert 57 == pytest.approx(answer.age, abs=3)
    assert 1 == len(double.requests)
    clocks.passed = 43.0
    double.state["monitors"] = [monitor(uptime_status="up")]
    assert isinstance(make().ask(TARGET).evidence, Up)
    assert 2 == len(double.requests)


def test_slow_monitor(make: Make, double: HetrixDouble, clocks: Clocks) -> None:
    """Where checks are rare, calls are too."""
    double.state["monitors"] = [monitor(check_frequency=10)]
    for clocks.passed in (0.0, 100.0, 570.0):
        make().ask(TARGET)
    assert 1 == len(double.requests)
    clocks.passed = 585.0
    make().ask(TARGET)
    assert 2 == len(double.requests)


def test_stale_monitor_is_not_asked_for_all_the_time(make: Make, double: HetrixDouble, clocks: Clocks) -> None:
    """A check that is overdue is looked for every 10 s and no more often."""
    double.state["monitors"] = [monitor(ago=5000)]
    for clocks.passed in (0.0, 4.0, 8.0):
        assert 5000 == pytest.approx(make().ask(TARGET).age, abs=12)
    assert 1 == len(double.requests)
    clocks.passed = 11.0
    make().ask(TARGET)
    assert 2 == len(double.requests)


def test_check_from_the_future_is_not_remembered(make: Make, double: HetrixDouble, clocks: Clocks) -> None:
    """What was not believed does not become believable by waiting (I1)."""
    double.state["monitors"] = [monitor(ago=-8)]
    for clocks.passed in (0.0, 5.0):
        assert "from the future" in said(make().ask(TARGET))
    assert 2 == len(double.requests)


def test_host_and_service_share_a_call(make: Make, double: HetrixDouble) -> None:
    """What is known of the monitor serves both questions."""
    double.state["monitors"] = [monitor(type="smtp")]
    witness = make()
    assert isinstance(witness.ask(TARGET).evidence, Down)
    assert isinstance(witness.ask_service(TARGET).evidence, Down)
    assert 1 == len(double.requests)


def test_memory_in_the_journal(make: Make, double: HetrixDouble, tmp_path: Path) -> None:
    """What one cycle's process heard, the next one's knows; in both it is a thread of the observer that asks."""
    answers: list[Answer] = []
    for _ in range(2):
        journal = Journal.open(tmp_path / "state")
        witness = make(recall=journal.recall("hetrix"))
        thread = threading.Thread(target=lambda asked=witness: answers.append(asked.ask(TARGET)))
        thread.start()
        thread.join()
        journal.close()
    assert [Down, Down] == [type(answer.evidence) for answer in answers]
    assert 1 == len(double.requests)


def test_locations_are_remembered(make: Make, double: HetrixDouble) -> None:
    """A doubt that rests on a location is the same doubt when it is remembered (I1)."""
    double.state["monitors"] = [monitor(locations=disagreeing(20))]
    first, second = make().ask(TARGET), make().ask(TARGET)
    assert "new_york sees it up" in said(first)
    assert first == second
    assert 1 == len(double.requests)


FORGOTTEN: dict[str, Callable[[State], Any]] = {
    "broken": lambda _kept: "{",
    "nested too deep": lambda _kept: "[" * 100_000,
    "of another form": lambda _kept: [1, 2],
    "of another name": lambda kept: {**kept, "of": ["mbox9.example.com", *kept["of"][1:]]},
    "of another API": lambda kept: {**kept, "of": [kept["of"][0], "v1", *kept["of"][2:]]},
    "of another server": lambda kept: {**kept, "of": [*kept["of"][:2], "192.0.2.9:443", kept["of"][3]]},
    "of another account": lambda kept: {**kept, "of": [*kept["of"][:3], "0" * 16]},
    "without times": lambda kept: {key: kept[key] for key in kept if key != "at"},
    "with times of no sense": lambda kept: {**kept, "at": "yesterday"},
    "with a time too great": lambda kept: {**kept, "at": 10**400},
    "without a monitor": lambda kept: {**kept, "found": None},
    "with half a monitor": lambda kept: {**kept, "found": ["nonsense", 1]},
    "of an age of no sense": lambda kept: {**kept, "found": [kept["found"][0], float("nan")]},
    "from the future": lambda kept: {**kept, "at": kept["at"] + 30},
    "from before a reboot": lambda kept: {**kept, "steady": kept["steady"] + 30},
}


@pytest.mark.parametrize("case", FORGOTTEN)
def test_memory_that_does_not_count(make: Make, double: HetrixDouble, memory: Memory, case: str) -> None:
    """A memory that is broken, of something else, or from the future is none."""
    make().ask(TARGET)
    assert memory.value is not None
    changed = FORGOTTEN[case](json.loads(memory.value))
    memory.value = changed if isinstance(changed, str) else json.dumps(changed)
    double.state["monitors"] = [monitor(uptime_status="up")]
    assert isinstance(make().ask(TARGET).evidence, Up)
    assert 2 == len(double.requests)


def silence(_address: str) -> Down:
    """Stand in for a probe."""
    return Down("does not answer ping")


def test_memory_does_not_prove_that_we_are_connected(make: Make, certificates: Path) -> None:
    """A remembered death counts while the server can be reached; with our own line dead it is no death at all (I1)."""
    reach = mock.Mock(side_effect=silence, kind="icmp")

    def seen(witness: HetrixWitness) -> tuple[bool, Sight]:
        observed = Observer(TARGET, reach, [witness], (), 10.0).observe(time.time())
        return observed.votes[0].networked, judge(observed, Policy()).sight

    with running(certificates, TOKEN) as there:
        there.state["monitors"] = [monitor(check_frequency=10)]
        assert [(True, Sight.DOWN)] * 2 == [seen(make(port=there.port)) for _ in range(2)]
        assert 1 == len(there.requests)
        assert 2 == there.connections
    assert (False, Sight.UNKNOWN) == seen(make(port=there.port))


@pytest.mark.parametrize(("wrong", "stuck"), [(-30.0, 0.0), (45.0, 0.0), (-1e6, 0.0), (1e6, 0.0), (0.0, 45.0)])
def test_clock_that_jumps(make: Make, double: HetrixDouble, clocks: Clocks, wrong: float, stuck: float) -> None:
    """When either clock says that the check is old, or that it is yet to come, it is asked for anew (I1)."""
    make().ask(TARGET)
    clocks.wrong, clocks.stuck = wrong, stuck
    double.state["monitors"] = [monitor(uptime_status="up")]
    assert isinstance(make().ask(TARGET).evidence, Up)


def test_memory_that_cannot_be_used(make: Make, double: HetrixDouble) -> None:
    """A journal that fails keeps nobody from testifying."""

    def fail(*_: Any) -> Any:
        raise JournalError("the disk is full")

    witness = make(recall=Recall(fail, fail))
    assert isinstance(witness.ask(TARGET).evidence, Down)
    assert isinstance(witness.ask(TARGET).evidence, Down)
    assert 2 == len(double.requests)


def test_errors_are_not_remembered(make: Make, double: HetrixDouble) -> None:
    """After an error the next question is asked anew."""
    double.state["answer"] = {"status": 500}
    assert "Unknown: answered 500" == said(make().ask(TARGET))
    del double.state["answer"]
    assert isinstance(make().ask(TARGET).evidence, Down)


def test_old_death_does_not_stand_in_for_an_error(make: Make, double: HetrixDouble, clocks: Clocks) -> None:
    """Once its next check is due, a remembered death is over, also when nobody answers (I1)."""
    assert isinstance(make().ask(TARGET).evidence, Down)
    clocks.passed = 45.0
    double.state["answer"] = {"status": 500}
    assert isinstance(make().ask(TARGET).evidence, Unknown)


def test_death_that_is_listed_no_more(make: Make, double: HetrixDouble) -> None:
    """A newer list without the monitor takes back what is remembered of it (I1)."""
    assert isinstance(make().ask(TARGET).evidence, Down)
    double.state["monitors"] = []
    make().examine(TARGET)
    assert isinstance(make().ask(TARGET).evidence, Unknown)


# -- rate limits


def in_seconds(clocks: Clocks, seconds: float) -> str:
    """Return a time to come by the server's clock, as HTTP writes it."""
    return formatdate(clocks.theirs() + seconds, usegmt=True)


LIMITS: dict[str, tuple[int, Callable[[Clocks], dict[str, str]], int]] = {
    "seconds": (429, lambda _: {"Retry-After": "40"}, 40),
    "a date": (429, lambda clocks: {"Retry-After": in_seconds(clocks, 40)}, 40),
    "a date, overloaded": (503, lambda clocks: {"Retry-After": in_seconds(clocks, 40)}, 40),
    "seconds, overloaded": (503, lambda _: {"Retry-After": "40"}, 40),
    "nothing": (429, lambda _: {}, 60),
    "less than nothing": (429, lambda _: {"Retry-After": "-40"}, 60),
    "text": (429, lambda _: {"Retry-After": "soon"}, 60),
    "no number": (429, lambda _: {"Retry-After": "NaN"}, 60),
    "a year": (429, lambda _: {"Retry-After": "31536000"}, 3600),
    "a date in years": (429, lambda clocks: {"Retry-After": in_seconds(clocks, 1e8)}, 3600),
    "the user's limit, by time": (
        429,
        lambda clocks: {"ratelimit-remaining-user": "0", "ratelimit-reset-user": str(int(clocks.theirs()) + 40)},
        40,
    ),
    "the endpoint's limit, in seconds": (
        429,
        lambda _: {"ratelimit-remaining-endpoint": "0", "ratelimit-reset-endpoint": "40"},
        40,
    ),
    "the longer of two": (
        429,
        lambda _: {"Retry-After": "5", "ratelimit-remaining": "0", "ratelimit-reset": "40"},
        40,
    ),
}


@BOTH
@pytest.mark.parametrize("case", LIMITS)
def test_rate_limit(make: Make, double: HetrixDouble, clocks: Clocks, api: str, case: str) -> None:
    """Until the time that the server names, at most an hour, no process calls; after it one does again."""
    status, headers, wait = LIMITS[case]
    double.state["answer"] = {"status": status, "headers": headers(clocks)}
    assert_waits(make(api=api).ask(TARGET), wait)
    for clocks.passed in (0.0, wait / 2, wait - 3.0):
        assert_waits(make(api=api).ask(TARGET), wait - clocks.passed)
        assert_waits(make(api=api).ask_service(TARGET), wait - clocks.passed)
        assert Health.ERROR == make(api=api).examine(TARGET)[0].health
    assert 1 == len(double.requests)
    clocks.passed = wait + 2.0
    del double.state["answer"]
    assert isinstance(make(api=api).ask(TARGET).evidence, Down)


def assert_waits(answer: Answer, wait: float) -> None:
    """Check that an answer is unknown for a rate limit that ends in about so many seconds."""
    assert isinstance(answer.evidence, Unknown)
    assert_says(WAITS.format(r"\d+"), answer.evidence.reason)
    assert wait == pytest.approx(float(answer.evidence.reason.split()[4]), abs=3)


def test_remembered_limit_is_bounded(make: Make, double: HetrixDouble, memory: Memory, clocks: Clocks) -> None:
    """A memory that asks for more than an hour's silence gets an hour."""
    double.state["answer"] = {"status": 429}
    make().ask(TARGET)
    memory.value = json.dumps({**json.loads(str(memory.value)), "wait": 1e9})
    clocks.passed = 3590.0
    assert_waits(make().ask(TARGET), 10)
    clocks.passed = 3602.0
    del double.state["answer"]
    assert isinstance(make().ask(TARGET).evidence, Down)


def test_limit_used_up_by_a_good_answer(make: Make, double: HetrixDouble, clocks: Clocks) -> None:
    """The last call that was free still testifies; it is the next one that is not made."""
    double.state["headers"] = {"ratelimit-remaining-user": "0", "ratelimit-reset-user": "300"}
    for clocks.passed in (0.0, 35.0):
        assert isinstance(make().ask(TARGET).evidence, Down)
    clocks.passed = 45.0
    assert_waits(make().ask(TARGET), 255)
    assert 1 == len(double.requests)
    clocks.passed = 302.0
    assert isinstance(make().ask(TARGET).evidence, Down)
    assert 2 == len(double.requests)


def test_limit_that_is_not_used_up(make: Make, double: HetrixDouble) -> None:
    """Calls that are left are made."""
    double.state["headers"] = {"ratelimit-remaining-user": "1", "ratelimit-reset-user": "300"}
    double.state["answer"] = {"status": 500}
    for _ in range(2):
        assert "Unknown: answered 500" == said(make().ask(TARGET))
    assert 2 == len(double.requests)


def test_limit_between_pages(make: Make, double: HetrixDouble) -> None:
    """No page is asked for once the limit is used up, and half a list is no testimony (I1)."""
    double.state = {
        "monitors": [monitor(), *NEIGHBOURS],
        "headers": {"ratelimit-remaining-user": "0", "ratelimit-reset-user": "40"},
    }
    assert_waits(make().ask(TARGET), 40)
    assert 1 == len(double.requests)


# -- servers that are not well


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (400, {"status": "bad_request", "message": "invalid endpoint"}, "refuses the question (400 invalid endpoint)"),
        (401, {"status": "unauthorized", "message": "Invalid token"}, "refuses the token (401 Invalid token)"),
        (403, {"status": "forbidden", "message": "not  allowed\n"}, "refuses the token (403 not allowed)"),
        (403, "<html>", "refuses the token (403)"),
        (200, {"status": "ERROR", "error_message": "no such key"}, "refuses the question (200 no such key)"),
        (404, {"status": "not_found", "message": "nothing here"}, "answered 404 nothing here"),
        (500, {"message": "x" * 90 + " y" * 500}, f"answered 500 {'x' * 90}{' y' * 71} ..."),
        (503, {}, "answered 503"),
        (204, "", "answered 204 without any JSON"),
        (200, "", "answered 200 without any JSON"),
        (200, "[{", "answered 200 without any JSON"),
        (200, "null", "answered 200 without any JSON"),
        (200, "<html>hello</html>", "answered 200 without any JSON"),
        (200, "[" * 100_000, "answered 200 without any JSON"),
        (200, "7", "answered in a form that is not its own"),
        (200, {}, "answered in a form that is not its own"),
        (200, {"monitors": None}, "answered in a form that is not its own"),
        (200, {"monitors": {"a": monitor()}}, "answered in a form that is not its own"),
        (200, {"monitors": [monitor(), 7]}, "answered in a form that is not its own"),
        (200, [[monitor()]], "answered in a form that is not its own"),
        (200, [monitor()], "answered in a form that is not its own"),
    ],
)
def test_odd_answers(make: Make, double: HetrixDouble, status: int, body: Any, words: str) -> None:
    """Whatever is not a list of monitors is unknown, in the server's own words where it has some (I1)."""
    double.state["answer"] = {"status": status, "body": body if isinstance(body, str) else json.dumps(body)}
    assert f"Unknown: {words}" == said(make().ask(TARGET))


@pytest.mark.parametrize("body", ["{}", '{"monitors": []}', "[7]", "[{}]", '[{"a": 1}]', "[[7]]", "[null]", '"text"'])
def test_odd_v1_answers(make: Make, double: HetrixDouble, body: str) -> None:
    """What is not an array that begins with a list of monitors is unknown (I1)."""
    double.state["answer"] = {"status": 200, "body": body}
    assert "Unknown: answered in a form that is not its own" == said(make(api="v1").ask(TARGET))


@BOTH
def test_account_without_monitors(make: Make, double: HetrixDouble, api: str) -> None:
    """An empty list is a missing monitor and not a death (I1)."""
    double.state["monitors"] = []
    assert f"Unknown: has no monitor named {NAME}" == said(make(api=api).ask(TARGET))


def test_wrong_v1_token(make: Make) -> None:
    """V1 tells of errors in an answer that is called good."""
    assert "Unknown: refuses the question (200 invalid API token)" == said(make(api="v1", token="wrong").ask(TARGET))


def test_wrong_v3_token(make: Make) -> None:
    """V3 refuses a token by its status."""
    assert "Unknown: refuses the token (401 invalid authorization)" == said(make(token="wrong").ask(TARGET))


@BOTH
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirect(make: Make, double: HetrixDouble, certificates: Path, api: str, status: int) -> None:
    """A redirect is not followed: nobody else gets to hear of the question, and the token least of all (I9)."""
    with running(certificates, TOKEN) as elsewhere:
        elsewhere.state = {"monitors": [monitor()]}
        place = f"https://127.0.0.1:{elsewhere.port}/v3/uptime-monitors"
        double.state["answer"] = {"status": status, "headers": {"Location": place}}
        assert f"Unknown: answered {status}, a redirect, which is not followed" == said(make(api=api).ask(TARGET))
        assert 0 == elsewhere.connections
    assert 1 == len(double.requests)


@BOTH
@pytest.mark.parametrize("pace", [{"delay": 60}, {"drip": 0.05}])
def test_slow_answer(make: Make, double: HetrixDouble, api: str, pace: State) -> None:
    """A server that is silent, or trickles, costs the time-out and no more (I4)."""
    double.state["answer"] = {"status": 200, "body": "{}" + " " * 1000, **pace}
    begun = time.monotonic()
    assert f"Unknown: did not answer within {SHORT:g} s" == said(make(api=api, timeout=SHORT).ask(TARGET))
    assert time.monotonic() - begun < SHORT + GRACE


def test_slow_pages(make: Make, double: HetrixDouble) -> None:
    """All pages together get the time of one question, also when each of them would come in time (I4)."""

    def slowly(_asked: Asked) -> None:
        time.sleep(0.6 * SHORT)

    double.respond = slowly
    double.state["monitors"] = [monitor(), *NEIGHBOURS]
    begun = time.monotonic()
    assert f"Unknown: did not answer within {SHORT:g} s" == said(make(timeout=SHORT).ask(TARGET))
    assert time.monotonic() - begun < SHORT + GRACE
    assert 2 == len(double.requests)


def test_nobody_listens(make: Make) -> None:
    """A server that is not there is unknown."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = int(server.getsockname()[1])
    assert "Unknown: cannot be asked (Connection refused)" == said(make(port=port).ask(TARGET))


def test_server_that_nobody_trusts(make: Make, double: HetrixDouble) -> None:
    """A server whose certificate is not trusted is not asked; the token does not reach it (I9)."""
    answer = make(ca_file="").ask(TARGET)
    assert_says(r"^Unknown: cannot be asked: its TLS certificate is not trusted \(.+\)$", said(answer))
    assert [] == double.requests


def test_missing_ca_file(make: Make) -> None:
    """A CA file that is not there is named."""
    answer = make(ca_file="/nowhere/ca.pem").ask(TARGET)
    assert "Unknown: cannot be asked: the CA file /nowhere/ca.pem cannot be read (No such file or directory)" == said(
        answer
    )


def test_token_that_http_cannot_carry(make: Make) -> None:
    """A token with a line break is never quoted (I9)."""
    answer = make(token="hunter2\nhunter3").ask(TARGET)
    assert "Unknown: cannot be asked: the request has characters that HTTP cannot carry" == said(answer)


@pytest.mark.parametrize("broken", [RuntimeError(TOKEN), RecursionError(TOKEN), KeyError(TOKEN), MemoryError(TOKEN)])
def test_never_raises(make: Make, broken: Exception) -> None:
    """Whatever breaks, the answer is unknown and does not quote what broke it."""
    with mock.patch.object(Endpoint, "call", side_effect=broken):
        expected = f"Unknown: could not be asked ({type(broken).__name__})"
        assert expected == said(make().ask(TARGET)) == said(make().ask_service(TARGET))
        assert (Health.ERROR, expected.removeprefix("Unknown: ")) == health_and_words(make().examine(TARGET)[0])


# -- the token


SPELLINGS: dict[str, str] = {
    "plainly": TOKEN,
    "for a URL": quote(TOKEN, safe=""),
    "for a URL, in lower case": quote(TOKEN, safe="").lower(),
    "for a URL, slashes left": quote(TOKEN),
    "with every sign escaped": "".join(f"%{ord(sign):02x}" for sign in TOKEN),
}


def leaks(text: str) -> bool:
    """Tell whether the heart of the token is in a text, whatever surrounds it."""
    return "zq" in text.lower() or "vxw" in text.lower()


@BOTH
@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize(
    "place", ["message", "long message", "state", "status", "type", "name", "location", "status line", "id", "nested"]
)
def test_token_is_told_nowhere(
    make: Make, double: HetrixDouble, memory: Memory, api: str, spelling: str, place: str
) -> None:
    """A server that echoes the token, in any spelling, does not get it into an answer, a finding or the memory (I9)."""
    echo = SPELLINGS[spelling]
    near = f"{NAME[:-1]} {echo}"
    changes: dict[str, State] = {
        "message": {"answer": {"status": 401, "body": json.dumps({"message": f"bad {echo}", "error_message": echo})}},
        "long message": {"answer": {"status": 401, "body": json.dumps({"message": f"{'x' * 230} {echo}"})}},
        "state": {"monitors": [monitor(monitor_status=f"{echo}")]},
        "status": {"monitors": [monitor(uptime_status=f"a {echo} b")]},
        "type": {"monitors": [monitor(type=echo)]},
        "name": {"monitors": [monitor(near)]},
        "location": {"monitors": [monitor(locations={echo: {"uptime_status": "up", "ago": 20}})]},
        "status line": {"answer": {"status": 200, "raw": f"nonsense {echo}\r\n\r\n"}},
        "id": {"monitors": [monitor(id=echo)]},
        "nested": {"monitors": [monitor(uptime_status={echo: [echo]})]},
    }
    double.state = {"monitors": [], **changes[place]}
    witness = make(api=api)
    told = [said(witness.ask(TARGET)), said(witness.ask_service(TARGET)), repr(witness)]
    told += [f"{finding.says} {finding.mend}" for finding in witness.examine(TARGET)]
    assert [] == [text for text in [*told, *memory.written] if leaks(text)]
    assert memory.written


def test_half_a_token_is_told_nowhere(make: Make, double: HetrixDouble) -> None:
    """Where a long text is cut, no first half of the token is left either (I9)."""
    for length in range(150, 260, 5):
        double.state["answer"] = {"status": 401, "body": json.dumps({"message": f"{'x' * length} {TOKEN}"})}
        assert "hk/" not in said(make().ask(TARGET))


def test_masked_text_is_still_told(make: Make, double: HetrixDouble) -> None:
    """Only the token itself is taken out of what the server says."""
    double.state["answer"] = {"status": 401, "body": json.dumps({"message": f"unknown key {TOKEN} given"})}
    assert "Unknown: refuses the token (401 unknown key *** given)" == said(make().ask(TARGET))


def test_signs_that_nobody_can_read(make: Make, double: HetrixDouble) -> None:
    """Control characters and half surrogate pairs of the server's do not reach a terminal or the journal."""
    double.state["answer"] = {"status": 401, "body": '{"message": "a\\u001b[31mb\\ud800c\\u0000d"}'}
    assert "Unknown: refuses the token (401 a [31mb c d)" == said(make().ask(TARGET))


# -- the mail service


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("smtp", Down(f"says that monitor {NAME} is down (0 of 4 locations reach it)")),
        ("Website", Down(f"says that monitor {NAME} is down (0 of 4 locations reach it)")),
        ("service", Down(f"says that monitor {NAME} is down (0 of 4 locations reach it)")),
        (1, Down(f"says that monitor {NAME} is down (0 of 4 locations reach it)")),
        ("3", Down(f"says that monitor {NAME} is down (0 of 4 locations reach it)")),
        ("ping", Unknown(f"sees only the host by monitor {NAME} (type ping)")),
        (2, Unknown(f"sees only the host by monitor {NAME} (type 2)")),
        ("heartbeat", Unknown(f"sees only the host by monitor {NAME} (type heartbeat)")),
        ("quantum", Unknown(f"sees only the host by monitor {NAME} (type quantum)")),
        (..., Unknown(f"sees only the host by monitor {NAME} (type none)")),
    ],
)
def test_service(make: Make, double: HetrixDouble, kind: Any, expected: Down | Unknown) -> None:
    """A monitor that connects to the service speaks of it; a ping, or what is not known, speaks of the host alone."""
    double.state["monitors"] = [monitor(type=kind)]
    answer = make().ask_service(TARGET)
    assert expected == answer.evidence
    if isinstance(expected, Down):
        assert 20 == pytest.approx(answer.age, abs=3)
        assert 180 == answer.holds


@pytest.mark.parametrize(("kind", "evidence"), [("SMTP", Up), ("ping", Unknown), ("website", Up)])
def test_v1_service(make: Make, double: HetrixDouble, kind: str, evidence: type[Up | Unknown]) -> None:
    """V1 names its types in words too."""
    double.state["monitors"] = [monitor(type=kind, uptime_status="up")]
    assert isinstance(make(api="v1").ask_service(TARGET).evidence, evidence)


@pytest.mark.parametrize("case", DOUBTS)
def test_doubtful_service(make: Make, double: HetrixDouble, case: str) -> None:
    """What is no testimony about the host is none about its service."""
    changes, _ = DOUBTS[case]
    double.state["monitors"] = [monitor(**{"type": "smtp", **changes})]
    assert isinstance(make().ask_service(TARGET).evidence, Unknown)


# -- the doctor


def health_and_words(finding: Finding) -> tuple[Health, str]:
    """Return how well something is, and what was found."""
    return finding.health, finding.says


@BOTH
@pytest.mark.parametrize("status", ["up", "down"])
def test_examine_what_is_well(make: Make, double: HetrixDouble, api: str, status: str) -> None:
    """A clear and fresh answer is good news, whatever it says; and so is a clock that is right."""
    double.state["monitors"] = [monitor(uptime_status=status, locations=None)]
    testimony, clock = make(api=api).examine(TARGET)
    assert ("witness HetrixTools", Health.GOOD, "") == (testimony.subject, testimony.health, testimony.mend)
    assert_says(rf"^says that monitor {NAME} is {status} \(2\d s ago\)$", testimony.says)
    assert ("clock of HetrixTools", Health.GOOD, "") == (clock.subject, clock.health, clock.mend)
    assert_says(r"^is [01] s (behind|ahead of) the clock of this machine$", clock.says)


def test_examine_asks_for_real(make: Make, double: HetrixDouble) -> None:
    """What is remembered does not do for a doctor."""
    for calls in (1, 2):
        assert Health.GOOD == make().examine(TARGET)[0].health
        assert calls == len(double.requests)


@pytest.mark.parametrize(
    ("changes", "says", "mend"),
    [
        ({"monitor_status": "paused"}, r"not active there \(it says paused\)", "look at the monitor there"),
        ({"monitor_status": "maint"}, "is in maintenance there", "end the maintenance"),
        ({"ago": 5000}, r"is down .*\(500\d s ago\)", "checked no more: 180 s is the most"),
        ({"ago": -60}, "from the future", "look at the monitor there"),
        ({"id": "x"}, "has 2 monitors named", "a name of its own"),
    ],
)
def test_examine_monitor(make: Make, double: HetrixDouble, changes: State, says: str, mend: str) -> None:
    """A monitor that cannot testify is an error, with what would mend it."""
    double.state["monitors"] = [monitor(**changes)] + ([monitor(id="y")] if "id" in changes else [])
    finding = make().examine(TARGET)[0]
    assert Health.ERROR == finding.health
    assert_says(says, finding.says)
    assert_says(mend, finding.mend)


@BOTH
def test_examine_unknown_name(make: Make, double: HetrixDouble, api: str) -> None:
    """For a name that is not there the nearest are told out of all, for a filter would not show them."""
    others = ["mbox11.example.com", "mbox2.example.com", "Weather"]
    double.state["monitors"] = [monitor(name) for name in others]
    finding = make(api=api).examine(TARGET)[0]
    assert (Health.ERROR, f"has no monitor named {NAME}; the nearest is {others[0]}") == health_and_words(finding)
    assert f"name the monitor in hetrix.names, perhaps {others[0]} or {others[1]}" == finding.mend
    assert 2 == len(double.requests)


def test_examine_refusal(make: Make) -> None:
    """A token that is refused is an error; the clock is looked at all the same."""
    testimony, clock = make(token="wrong").examine(TARGET)
    assert (Health.ERROR, "refuses the token (401 invalid authorization)") == health_and_words(testimony)
    assert_says("check hetrix.api_token or hetrix.token_file", testimony.mend)
    assert Health.GOOD == clock.health


def test_examine_trust(make: Make) -> None:
    """A certificate that is not trusted is an error, and says where the CA belongs."""
    (finding,) = make(ca_file="").examine(TARGET)
    assert Health.ERROR == finding.health
    assert_says("its TLS certificate is not trusted", finding.says)
    assert_says(r"in hetrix\.ca_file", finding.mend)


def test_examine_rate_limit(make: Make, double: HetrixDouble) -> None:
    """A limit is an error that time mends."""
    double.state["answer"] = {"status": 429, "headers": {"Retry-After": "40"}}
    finding = make().examine(TARGET)[0]
    assert (Health.ERROR, "asked us to wait 40 s more (rate limit)") == health_and_words(finding)
    assert_says("^wait; ", finding.mend)


@pytest.mark.parametrize(("wrong", "says"), [(-3600.0, "3600 s ahead of"), (45.0, "45 s behind")])
def test_examine_clock(make: Make, clocks: Clocks, wrong: float, says: str) -> None:
    """A clock of ours that is wrong is a warning and does no harm to the testimony."""
    clocks.wrong = wrong
    testimony, clock = make().examine(TARGET)
    assert Health.GOOD == testimony.health
    assert Health.WARNING == clock.health
    assert "synchronise this machine's clock (chrony)" == clock.mend
    number, rest = says.split(" ", 1)
    assert float(number) == pytest.approx(float(clock.says.split()[1]), abs=2)
    assert_says(rest, clock.says)


# -- whatever comes


WORDS = ["up", "down", "DOWN", "Online", "offline", "active", "Active", "paused", "maint", "", "unclear", None, 0, True]
NOW = 1_800_000_000
TIMES = [
    NOW - 20,
    str(NOW - 20),
    NOW - 20.5,
    NOW + 3,
    NOW + 60,
    NOW + 3600,
    0,
    -1,
    "",
    "nan",
    None,
    True,
    1e308,
    10**400,
    [],
    {},
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["up", "down"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


LOOKS = st.dictionaries(
    st.sampled_from(["uptime_status", "last_check", "response_time"]),
    st.sampled_from(["up", "down"]) | st.sampled_from(TIMES),
    max_size=3,
)
PLAIN: State = {
    "id": "1",
    "name": NAME,
    "type": "smtp",
    "monitor_status": "active",
    "uptime_status": "down",
    "last_check": NOW - 20,
    "check_frequency": 1,
    "locations": None,
}
ODDITIES: dict[str, st.SearchStrategy[Any]] = {
    "id": st.sampled_from(["2", 3, None, ""]),
    "name": st.sampled_from([NAME.upper(), f"x{NAME}", f"{NAME} ", None, 7, [NAME]]),
    "type": st.sampled_from(["ping", "heartbeat", *WORDS]) | JSON,
    "monitor_status": st.sampled_from(WORDS) | JSON,
    "uptime_status": st.sampled_from(WORDS) | JSON,
    "last_check": st.sampled_from(TIMES) | JSON,
    "check_frequency": st.sampled_from(TIMES) | JSON,
    "locations": st.dictionaries(st.sampled_from(PLACES), LOOKS) | st.lists(LOOKS) | JSON,
}
CHANGES = st.one_of([st.tuples(st.just(key), odd) for key, odd in ODDITIES.items()])
MONITORS = st.lists(CHANGES, max_size=2).map(lambda changes: {**PLAIN, **dict(changes)})
LISTS = MONITORS.map(lambda one: [[one]]) | st.lists(st.lists(MONITORS, max_size=2), min_size=1, max_size=3)
BODIES = st.none() | st.none() | st.just({"monitors": None}) | JSON


def as_number(value: Any) -> float:
    """Return a number as the oracle reads it, or one that is never the time of a check."""
    try:
        number = float(value)
    except (ValueError, TypeError, OverflowError):
        return -1.0
    return number if not isinstance(value, bool) and abs(number) < 1e12 else -1.0


def may_be_down(pages: list[list[State]]) -> bool:
    """Tell, apart from the code that is tested, whether the pages that were sent can mean a death of the target.

    Entries with one id are one monitor that was listed again; what they say of its state must not differ.
    """
    named = [each for page in pages for each in page if each["name"] == NAME]
    one = len({each["id"] for each in named}) == 1 and (len(named) == 1 or all(each["id"] for each in named))
    return (
        one
        and 0 < as_number(named[0]["last_check"]) <= NOW + 5
        and all(
            str(each["monitor_status"]).strip().lower() == "active"
            and str(each["uptime_status"]).strip().lower() in {"down", "offline"}
            and each["type"] != "heartbeat"
            for each in named
        )
    )


@BOTH
def test_whatever_comes(api: str) -> None:
    """Whatever JSON comes, there is an answer; and it is a death only if exactly one active monitor of the name is down.

    The JSON is put in the place of what the HTTPS server sends, for speed.
    """
    kinds: set[str] = set()
    keys = ["id", "name", "type", "monitor_status", "uptime_status", "last_check", "check_frequency", "locations"]
    v1 = ["ID", "Name", "Type", "Status", "Uptime_Status", "Last_Check", "Check_Frequency", "Locations"]

    def body(page: list[State], more: Any) -> Any:
        if api == "v3":
            return {"monitors": page, "meta": {"pagination": more}}
        return [[{new: each[old] for old, new in zip(keys, v1, strict=True)} for each in page]]

    @settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(LISTS, BODIES, st.booleans(), st.booleans())
    def property_(pages: list[list[State]], odd: Any, paged: bool, service: bool) -> None:
        bodies = []
        for number, page in enumerate(pages, 1):
            more = {"next": number + 1 if number < len(pages) else None, "last": len(pages)} if paged else {}
            bodies.append(body(page, more))
        if odd is not None:
            bodies[-1] = odd
        sent: list[Any] = []

        def call(*_: Any) -> Reply:
            sent.append(bodies[len(sent)] if len(sent) < len(bodies) else body([], {}))
            return Reply(200, {"date": formatdate(NOW, usegmt=True)}, json.dumps(sent[-1]).encode())

        witness = HetrixWitness(
            "127.0.0.1", 443, api, TOKEN, "", 5.0, 120.0, {}, Memory().recall(), lambda: float(NOW), steady=lambda: 1.0
        )
        with mock.patch.object(Endpoint, "call", side_effect=call):
            answer = witness.ask_service(TARGET) if service else witness.ask(TARGET)
        kinds.add(type(answer.evidence).__name__)
        if isinstance(answer.evidence, Down):
            empty = api == "v1" and isinstance(odd, list) and odd[:1] in ([], [[]])
            assert odd is None or empty or odd not in sent
            listed = pages if odd is None else pages[:-1]
            assert may_be_down(listed[: len(sent)]), pages
        assert 0 <= answer.age

    property_()
    assert "Down" in kinds, "nothing was tried"


# -- the double itself


def test_double_as_a_program(make: Make, certificates: Path, tmp_path: Path) -> None:
    """The double runs as a process too, reads its state for each request, and writes down what it is asked."""
    state, log = tmp_path / "state.json", tmp_path / "log.jsonl"
    state.write_text(json.dumps({"monitors": [monitor()]}), encoding="utf-8")
    keys = ["--cert", str(certificates / "cert.pem"), "--key", str(certificates / "key.pem"), "--token", TOKEN]
    program = [sys.executable, str(Path(__file__).with_name("hetrix_double.py")), "--port", "0", *keys]
    with subprocess.Popen(
        [*program, "--state", str(state), "--log", str(log)], stdout=subprocess.PIPE, text=True
    ) as run:
        try:
            assert run.stdout is not None
            port = int(run.stdout.readline().split()[-1])
            assert isinstance(make(port=port).ask(TARGET).evidence, Down)
            state.write_text(json.dumps({"monitors": [monitor(uptime_status="up")]}), encoding="utf-8")
            assert isinstance(make(port=port, recall=Memory().recall()).ask(TARGET).evidence, Up)
        finally:
            run.terminate()
    asked = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert 2 == len(asked)
    assert {f"Bearer {TOKEN}"} == {each["headers"]["authorization"] for each in asked}
