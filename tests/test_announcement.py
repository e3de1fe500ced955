"""Looking at announcements, in a fabric of real FRR and BIRD: yes, no, and all that must never pass for a no (I1)."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from fabric import ADDRESSES, COALESCE, LISTENER, PREFIX, ROUTER, UPSTREAM, Fabric, obstacle
from habeat.act.run import Completed, Runner
from habeat.config.switch import AddressCheck, BirdCheck, Check, Command, FrrCheck
from habeat.model import Down, Evidence, Unknown, Up
from habeat.observe import bird, frr
from habeat.observe.announcement import Look, look
from habeat.observe.asking import SETTLED, UnclearError
from mesh import FOLDER, eventually, ip
from traffic import Client, RouterWatch

real = [pytest.mark.netns, pytest.mark.frr, pytest.mark.bird, pytest.mark.xdist_group("fabric")]
"""The marks of the tests that need the fabric."""

SHORT = 0.3
PATIENCE = 5.0
NO_SESSION = "is not announced there: no session"
NOT_HEARD = "is not announced there by others"
HEARD_THERE = "is announced there by others (AS path 65000 65001)"

Asks = Callable[[str], Check]
"""Gives the check of proxy2's announcement to a neighbour: the `router`, or the `client`."""


def seen(check: Check, *, ours: bool = True, timeout: float = PATIENCE) -> Evidence:
    """Return what a look finds."""
    return look(check, Runner(), timeout, ours=ours)().evidence


def theirs(check: Check) -> Evidence:
    """Return what a look at the other site's announcement finds."""
    return seen(check, ours=False)


def becomes(wanted: type[Evidence], check: Check, reason: str = "", *, ours: bool = True) -> None:
    """Wait until a look finds this, with a reason that contains these words."""
    found: list[Evidence] = []

    def holds() -> bool:
        found.append(seen(check, ours=ours))
        return isinstance(found[-1], wanted) and reason in found[-1].reason

    try:
        eventually(holds, f"{wanted.__name__}: {reason}", 15)
    except AssertionError as error:
        raise AssertionError(f"{error}; the last was {found[-1]}") from None


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fabric]:
    """Give the one fabric of this module; where it cannot be built the tests are skipped, and fail in CI."""
    if (why := obstacle()) is not None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(why)
    with Fabric(tmp_path_factory.mktemp("fabric")) as built:
        yield built


@pytest.fixture(scope="module", params=["frr", "bird"])
def speaker(request: pytest.FixtureRequest) -> str:
    """Give the name of what speaks BGP on proxy2."""
    return str(request.param)


@pytest.fixture
def fabric(shared: Fabric, speaker: str, monkeypatch: pytest.MonkeyPatch) -> Fabric:
    """Give the fabric in perfect health, with nothing announced."""
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:/usr/sbin:{FOLDER / 'bin'}")
    shared.heal(*(["proxy2"] if speaker == "bird" else []))
    return shared


@pytest.fixture
def asks(fabric: Fabric, speaker: str, monkeypatch: pytest.MonkeyPatch) -> Asks:
    """Give the checks that proxy2 asks of itself; a session of BIRD's need not grow old for them."""
    monkeypatch.setattr(bird, "SETTLED", 1.0)

    def make(neighbour: str) -> Check:
        if speaker == "bird":
            return BirdCheck(PREFIX, {"router": UPSTREAM, "client": LISTENER}[neighbour], fabric.socket("proxy2"))
        peer = ROUTER["proxy2"] if neighbour == "router" else ADDRESSES[neighbour]
        return FrrCheck(PREFIX, peer, fabric.instance("proxy2"))

    return make


def sends(fabric: Fabric, speaker: str) -> str:
    """Return what proxy2's daemon itself says that it sends to the client."""
    if speaker == "bird":
        return fabric.birdc("proxy2", "show", "route", PREFIX, "all", "export", LISTENER)
    return fabric.vtysh("proxy2", f"show bgp ipv4 unicast neighbors {ADDRESSES['client']} advertised-routes")


class TestFabric:
    """What two routers and two proxies that speak real BGP say."""

    pytestmark = real

    def test_nothing_is_announced(self, speaker: str, asks: Asks) -> None:
        """Without the address nobody announces: that is a sure no, of both sites."""
        nothing = {"frr": "the route of this host is not valid (is the address here?)", "bird": "no route to it"}
        becomes(Down, asks("router"), nothing[speaker])
        becomes(Down, asks("router"), NOT_HEARD, ours=False)

    def test_announced_here(self, fabric: Fabric, asks: Asks) -> None:
        """With the address it is announced, and the other site does not; the address gone, it is withdrawn."""
        fabric.add_service("proxy2")
        becomes(Up, asks("router"), "is announced there")
        becomes(Down, asks("router"), NOT_HEARD, ours=False)
        fabric.del_service("proxy2")
        becomes(Down, asks("router"), "is not announced there")

    def test_a_standby_that_sends_the_other_sites_route_on(self, fabric: Fabric, speaker: str, asks: Asks) -> None:
        """The prefix is sent to the neighbour, but it is the other site's route: ours is a no, theirs a yes."""
        fabric.add_service("proxy1")
        becomes(Up, asks("router"), HEARD_THERE, ours=False)
        eventually(lambda: "192.0.2.10/32" in sends(fabric, speaker), "the other site's route is sent on")
        for neighbour in ("router", "client"):
            found = seen(asks(neighbour))
            assert isinstance(found, Down), found
        assert "only others' routes to it are sent" in seen(asks("client")).reason or speaker == "frr"

    def test_both_announce(self, fabric: Fabric, asks: Asks) -> None:
        """Each of the two is told of as what it is; when the other site dies, only ours is left."""
        for proxy in ("proxy1", "proxy2"):
            fabric.add_service(proxy)
        becomes(Up, asks("router"), HEARD_THERE, ours=False)
        becomes(Up, asks("router"), "is announced there")
        fabric.kill_host("proxy1")
        becomes(Down, asks("router"), NOT_HEARD, ours=False)
        assert Up("is announced there") == seen(asks("router"))

    def test_no_session(self, fabric: Fabric, asks: Asks) -> None:
        """Without a session surely nothing of ours is announced, and surely nothing is known of the other site."""
        for proxy in ("proxy1", "proxy2"):
            fabric.add_service(proxy)
        for cut in (partial(fabric.stop_bgp, "router"), partial(fabric.unplug, "proxy2")):
            becomes(Up, asks("router"), ours=False)
            cut()
            becomes(Down, asks("router"), NO_SESSION)
            found = theirs(asks("router"))
            assert isinstance(found, Unknown), found
            assert "nothing is heard from there, for there is no session" in found.reason
            fabric.restore_host("router")

    def test_a_route_of_a_dead_neighbour_is_no_announcement(self, fabric: Fabric, speaker: str, asks: Asks) -> None:
        """A neighbour's routes outlive it where it asked for that (RFC 4724): nobody knows if they still hold."""
        grace = ("bgp graceful-restart", "bgp graceful-restart preserve-fw-state")
        fabric.vtysh("router", "configure terminal", "router bgp 65000", *grace, "end", "clear bgp *")
        eventually(lambda: fabric.session("proxy2") != "Established", "the session ends")
        fabric.wait_for_session("proxy1")
        fabric.wait_for_session("proxy2")
        fabric.add_service("proxy1")
        becomes(Up, asks("router"), ours=False)
        fabric.stop_bgp("router")
        becomes(Unknown, asks("router"), "there is no session", ours=False)
        table = (
            fabric.birdc("proxy2", "show", "route") if speaker == "bird" else fabric.vtysh("proxy2", "show bgp ipv4")
        )
        assert PREFIX in table
        assert isinstance(theirs(asks("router")), Unknown)

    def test_a_new_session_has_not_heard_of_all(
        self, fabric: Fabric, asks: Asks, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """From its start until it has heard of the other site, a daemon's silence is never taken for a no."""
        monkeypatch.setattr(bird, "SETTLED", SETTLED)
        coalesce = ("configure terminal", "router bgp 65000")
        fabric.add_service("proxy1")
        fabric.wait_for("proxy1")
        fabric.stop_bgp("proxy2")
        fabric.vtysh("router", *coalesce, "coalesce-time 1000")
        fabric.start_bgp("proxy2")
        found = [theirs(asks("router"))]
        deadline = time.monotonic() + 10
        while not isinstance(found[-1], Up) and time.monotonic() < deadline:
            found.append(theirs(asks("router")))
        fabric.vtysh("router", *coalesce, f"coalesce-time {COALESCE}")
        assert isinstance(found[-1], Up)
        assert {Unknown} == {type(evidence) for evidence in found[:-1]}
        assert any("the session is new" in evidence.reason for evidence in found)

    def test_no_daemon(self, fabric: Fabric, asks: Asks) -> None:
        """A killed daemon says nothing, of either site."""
        fabric.add_service("proxy2")
        becomes(Up, asks("router"))
        fabric.stop_bgp("proxy2")
        for found in (seen(asks("router")), theirs(asks("router"))):
            assert isinstance(found, Unknown), found
            assert found.reason.startswith("cannot be asked: ")
            assert found.reason.endswith(("bgpd is not running", "Connection refused"))

    def test_a_frozen_daemon(self, fabric: Fabric, asks: Asks) -> None:
        """A daemon that stands still costs no more than the time-out, and says nothing."""
        fabric.add_service("proxy2")
        becomes(Up, asks("router"))
        fabric.freeze_bgp("proxy2")
        for ours in (True, False):
            begun = time.monotonic()
            found = seen(asks("router"), ours=ours, timeout=SHORT)
            assert isinstance(found, Unknown), found
            assert f"was still running after {SHORT} s and was ended" in found.reason
            assert time.monotonic() - begun < 2

    def test_no_program(self, asks: Asks, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without vtysh or birdc nothing is known."""
        monkeypatch.setenv("PATH", "/nowhere")
        for ours in (True, False):
            found = seen(asks("router"), ours=ours)
            assert isinstance(found, Unknown), found
            assert "cannot be started: No such file or directory" in found.reason

    def test_unknown_neighbours(self, fabric: Fabric, speaker: str) -> None:
        """What the configuration misspells is not known, rather than not announced."""
        fabric.add_service("proxy2")
        fabric.wait_for("proxy2")
        checks: dict[str, list[Check]] = {
            "frr": [
                FrrCheck(PREFIX, "10.78.9.9", fabric.instance("proxy2")),
                FrrCheck(PREFIX, ROUTER["proxy2"], "nowhere"),
            ],
            "bird": [
                BirdCheck(PREFIX, "nobody", fabric.socket("proxy2")),
                BirdCheck(PREFIX, "own", fabric.socket("proxy2")),
                BirdCheck(PREFIX, UPSTREAM, "/nowhere/bird.ctl"),
            ],
        }
        for check in checks[speaker]:
            for ours in (True, False):
                found = seen(check, ours=ours)
                assert isinstance(found, Unknown), (check, found)

    @pytest.mark.parametrize("speaker", ["frr"])
    def test_the_service_moves(self, fabric: Fabric) -> None:
        """When the preferred site dies, the router has the other's route at once, and the client hardly notices."""
        fabric.add_service("proxy1")
        fabric.add_service("proxy2")
        fabric.wait_for("proxy1", "proxy2")
        with Client(fabric) as client, RouterWatch(fabric) as watch:
            eventually(lambda: client.names(time.monotonic() - 0.3) == {"proxy1"}, "the client is served")
            eventually(lambda: watch.seen, "the router is watched")
            begun = time.monotonic()
            fabric.kill_host("proxy1")
            eventually(lambda: "proxy2" in client.names(begun), "the other site serves")
            ended = time.monotonic()
        assert client.longest_gap(begun, ended) < 2
        assert [{"proxy1", "proxy2"}, {"proxy2"}] == [proxies for _, proxies in watch.changes()]

    def test_addresses(self, shared: Fabric, monkeypatch: pytest.MonkeyPatch) -> None:
        """An address is here, or nowhere on this host; with another length, elsewhere or of no use it is unclear."""
        check = AddressCheck.parse(f"{PREFIX} on lo")
        own = ("-n", shared.namespace("client"))
        with shared.inside("client"):
            assert Down("is not there") == seen(check)
            ip(*own, "address", "add", PREFIX, "dev", "lo")
            assert Up("is there") == seen(check)
            told = Unknown("is not clear: the address is there, but as /32 on lo")
            assert told == seen(AddressCheck.parse("192.0.2.10/24 on lo"))
            assert told == seen(AddressCheck.parse(f"{PREFIX} on eth0"))
            assert told == seen(AddressCheck.parse(f"{PREFIX} on nowhere"))
            ip(*own, "link", "set", "lo", "down")
            assert Unknown("is not clear: the address is there, but as /32 on lo (unusable)") == seen(check)
            ip(*own, "link", "set", "lo", "up")
            ip(*own, "address", "del", PREFIX, "dev", "lo")
            assert Down("is not there") == seen(check)
            assert Down("is not there") == seen(AddressCheck.parse(f"{PREFIX} on nowhere"))
            monkeypatch.setenv("PATH", "/nowhere")
            assert Unknown("cannot be asked: `ip` cannot be started: No such file or directory") == seen(check)

    def test_an_address_that_is_not_yet_granted(self, shared: Fabric) -> None:
        """While the network is asked whether an IPv6 address is free, it is not here."""
        with shared.inside("client"):
            ip("-n", shared.namespace("client"), "address", "add", "2001:DB8::10/64", "dev", "eth0")
            check = AddressCheck.parse("2001:db8::10/64 on eth0")
            assert Unknown("is not clear: the address is there, but as /64 on eth0 (unusable)") == seen(check)
            eventually(lambda: Up("is there") == seen(check), "it is granted")


def test_a_look_is_a_service() -> None:
    """A look says whose announcement it is about, and what is asked."""
    found = Look(AddressCheck("192.0.2.10/32", "lo"), Runner(), PATIENCE, ours=False)()
    assert ("other site", "address 192.0.2.10/32 on lo") == (found.kind, found.address)
    assert "announcement" == look(Command.by_shell("true"), Runner(), PATIENCE, ours=True).kind


@pytest.mark.parametrize(
    ("script", "evidence"),
    [
        ("exit 0", Up("says yes")),
        ("exit 1", Down("says no (exit code 1)")),
        ("exit 2", Unknown("says neither yes nor no: exit code 2")),
        ("echo some >&2; echo words >&2; exit 3", Unknown("says neither yes nor no: exit code 3: some words")),
        ("kill -9 $$", Unknown("says neither yes nor no: ended by SIGKILL")),
        ("kill -40 $$", Unknown("says neither yes nor no: ended by signal 40")),
    ],
)
def test_commands(script: str, evidence: Evidence) -> None:
    """A command says yes by exit code 0 and no by 1, of either site; anything else is no answer."""
    assert {evidence} == {seen(Command.by_shell(script), ours=ours) for ours in (True, False)}


def test_commands_that_cannot_answer() -> None:
    """What is not there, or hangs, is no answer."""
    assert Unknown("cannot be asked: `/nowhere/x` cannot be started: No such file or directory") == seen(
        Command.parse("/nowhere/x")
    )
    found = seen(Command.parse("sleep 60"), timeout=SHORT)
    assert Unknown(f"cannot be asked: `sleep 60` was still running after {SHORT} s and was ended") == found


FRR = FrrCheck(PREFIX, "10.0.0.1")
OWN = {"sourced": True, "valid": True, "bestpath": {"overall": True}}
THEIR = {"valid": True, "aspath": {"string": "65000 65001"}, "peer": {"peerId": "10.0.0.1"}}
SENT: dict[str, Any] = {"advertisedRoutes": {PREFIX: {}}}


def near(**more: Any) -> dict[str, Any]:
    """Return what FRR tells of the neighbour, if its session stands."""
    return {"10.0.0.1": {"bgpState": "Established", **more}}


def route(*paths: dict[str, Any], prefix: str = PREFIX) -> dict[str, Any]:
    """Return what FRR tells of the prefix."""
    return {"prefix": prefix, "paths": list(paths)}


def told(way: Callable[[FrrCheck, Any], Evidence], *documents: object) -> Evidence:
    """Return what is made of documents that vtysh prints; a string is printed as it is."""
    printed = "\n".join(item if isinstance(item, str) else json.dumps(item) for item in documents)
    try:
        return way(FRR, lambda _argv: Completed(0, printed, ""))
    except UnclearError as error:
        return Unknown(str(error))


def hears(**more: Any) -> Evidence:
    """Return what is made of a neighbour that is silent about the prefix."""
    return told(frr.theirs, near(**more), {}, near(**more))


@pytest.mark.parametrize(
    "documents",
    [
        (),
        ("",),
        ("garbage",),
        ("[]", "[]", "[]"),
        (route(OWN), SENT),
        (route(OWN), SENT, near(), near()),
        (route(OWN), SENT, '{"10.0.0.1": {"bgpState": "Establ'),
        (route(OWN), SENT, {}),
        (route(OWN), SENT, {"10.0.0.1": {}}),
        (route(OWN), SENT, {"10.0.0.1": "Established"}),
        (route(OWN), {"warning": "No such neighbor in this view/vrf"}, near()),
        (route(OWN, prefix="192.0.2.0/24"), SENT, near()),
        ({"warning": "x"}, SENT, near()),
    ],
)
def test_what_frr_never_says(documents: tuple[object, ...]) -> None:
    """Whatever is not a full answer of FRR's is none (I1)."""
    assert isinstance(told(frr.ours, *documents), Unknown)


@pytest.mark.parametrize(
    ("documents", "reason"),
    [
        (({}, SENT, near()), "FRR has no route to it"),
        ((route(THEIR), SENT, near()), "only others' routes to it are known"),
        ((route({**OWN, "valid": False}), SENT, near()), "the route of this host is not valid (is the address here?)"),
        ((route({**OWN, "bestpath": {}}), SENT, near()), "FRR prefers another's route, or has not chosen yet"),
        ((route(OWN), {"advertisedRoutes": {}}, near()), "FRR has the route and does not send it (a filter?)"),
        ((route(OWN), SENT, {"10.0.0.1": {"bgpState": "Active"}}), "no session (Active)"),
    ],
)
def test_what_frr_does_not_announce(documents: tuple[object, ...], reason: str) -> None:
    """Each lack of an announcement of our own is a no by itself, however good the rest looks."""
    assert Up("is announced there") == told(frr.ours, route(OWN), SENT, near())
    assert Down(f"is not announced there: {reason}") == told(frr.ours, *documents)


def test_what_frr_hears() -> None:
    """Only a good route of somebody else's, from that neighbour, on a session that stands throughout, is a yes."""
    sure = near(gracefulRestartInfo={"endOfRibRecv": {"ipv4Unicast": True}})
    assert Up(HEARD_THERE) == told(frr.theirs, sure, route(THEIR), sure)
    unclear = [
        (sure, route({**THEIR, "stale": True}), sure),
        (sure, route({**THEIR, "valid": False}), sure),
        (sure, route(), {"10.0.0.1": {"bgpState": "Idle"}}),
        ({"10.0.0.1": {"bgpState": "Idle"}}, route(), sure),
        (sure, route(THEIR), {"10.0.0.1": {"bgpState": "Idle"}}),
        (near(), {}, sure),
        ({"bgpNoSuchNeighbor": True}, {}, {"bgpNoSuchNeighbor": True}),
    ]
    assert {Unknown} == {type(told(frr.theirs, *documents)) for documents in unclear}
    others: list[dict[str, Any]] = [
        OWN,
        {**THEIR, "peer": {"peerId": "10.0.0.2"}},
        {**THEIR, "sourced": True},
        {"peer": "10.0.0.1"},
    ]
    assert Down(NOT_HEARD) == told(frr.theirs, sure, route(*others), sure)


def test_when_frr_has_heard_all() -> None:
    """A neighbour says when it has told all; one that cannot, or of which FRR does not tell, gets ten seconds for it."""
    new, old = (int(SETTLED * 1000) - 1, int(SETTLED * 1000))
    silent: dict[str, Any] = {"endOfRibRecv": {}}
    able: list[dict[str, Any]] = [
        {"neighborCapabilities": {"gracefulRestart": "advertisedAndReceived"}},
        {"neighborCapabilities": {"gracefulRestartCapability": "received"}},
    ]
    for more in able:
        assert isinstance(hears(gracefulRestartInfo=silent, bgpTimerUpMsec=old, **more), Unknown)
        other = {"endOfRibRecv": {"ipv6Unicast": True}}
        assert isinstance(hears(gracefulRestartInfo=other, bgpTimerUpMsec=old, **more), Unknown)
        done = {"endOfRibRecv": {"ipv4Unicast": True}}
        assert isinstance(hears(gracefulRestartInfo=done, bgpTimerUpMsec=0, **more), Down)
    unable: list[dict[str, Any]] = [
        {"gracefulRestartInfo": silent, "neighborCapabilities": {"gracefulRestartCapability": "advertised"}},
        {"gracefulRestartInfo": {}},
        {},
    ]
    for more in unable:
        assert isinstance(hears(bgpTimerUpMsec=new, **more), Unknown)
        assert isinstance(hears(**more), Unknown)
        assert isinstance(hears(bgpTimerUpMsec=old, **more), Down)


BIRD = BirdCheck(PREFIX, "up1")
HELLO = "0001 BIRD 2.0.12 ready.\n0016 Access restricted\n"
CLOCK = HELLO + "1011-Router ID is 10.0.0.2\n     Current server time is 2026-11-23 00:00:05.100\n"
HEARD = "1007-Table master4:\n     192.0.2.10/32        unicast [up1 22:17:13.826 from 10.0.0.1] * (100{}) [AS65001i]\n"
NOTHING = HELLO + "8001 Network not found\n"


def session(since: str = "23:59:55.000", state: str = "Established", kind: str = "BGP") -> str:
    """Return what birdc prints of a session."""
    head = f"1002-up1        {kind}        ---        up     {since}  {state}   \n"
    return f"{HELLO}{head}1006-  BGP state:          {state}\n"


def printed(way: Callable[[BirdCheck, Any], Evidence], *answers: str) -> Evidence:
    """Return what is made of what birdc prints, one answer after the other; it fails if it refuses something."""
    left = iter(answers)

    def ask(_argv: object) -> Completed:
        answer = next(left)
        return Completed(int("\n8" in answer or "\n9" in answer), answer, "")

    try:
        return way(BIRD, ask)
    except UnclearError as error:
        return Unknown(str(error))


@pytest.mark.parametrize(
    ("since", "evidence"),
    [
        ("23:59:55.000", Down),
        ("23:59:56.000", Unknown),
        ("00:00:05.000", Unknown),
        ("2026-11-23 00:00:05", Unknown),
        ("2026-11-22 23:59:55", Down),
        ("2026-11-24 00:00:05", Unknown),
        ("2026-11-22", Down),
        ("yesterday", Unknown),
        ("", Unknown),
    ],
)
def test_how_old_a_session_of_birds_is(since: str, evidence: type[Evidence]) -> None:
    """BIRD's silence counts when its session is ten seconds old, in whichever of its usual ways it tells that."""
    assert isinstance(printed(bird.theirs, CLOCK, session(since), NOTHING, session(since)), evidence)


def test_what_bird_never_says() -> None:
    """Whatever is not a full answer of BIRD's is none (I1)."""
    strange = [
        ("",),
        ("garbage",),
        (HELLO,),
        (CLOCK, HELLO),
        (CLOCK, session(kind="OSPF")),
        (CLOCK, session(), HELLO + "1007-Table master4:\n     a new way to tell\n", session()),
        (CLOCK, session(), HELLO + "9001 syntax error\n", session()),
        (CLOCK, session(), NOTHING, session("23:59:54.000")),
        (CLOCK, session(), NOTHING, session(state="Active")),
        (CLOCK, session(state="Active"), NOTHING, session()),
        (CLOCK, session(), HELLO + HEARD.format(""), session(state="Active")),
        (CLOCK, session(), "", session()),
        (CLOCK, session(), HELLO + HEARD.format("s"), session()),
        (CLOCK, session(), HELLO + HEARD.format("").replace("unicast", "unreachable"), session()),
    ]
    assert {Unknown} == {type(printed(bird.theirs, *answers)) for answers in strange}
    assert Down(NOT_HEARD) == printed(bird.theirs, CLOCK, session(), NOTHING, session())
    heard = HELLO + HEARD.format("") + "1012-\tBGP.as_path: 65000 65001\n"
    told = printed(bird.theirs, CLOCK, session(), heard, session())
    assert Up(HEARD_THERE) == told


@pytest.mark.parametrize(
    ("source", "evidence"),
    [("static", Up), ("inherit", Up), ("BGP", Down), ("OSPF-E2", Down), ("pipe", Unknown), ("", Unknown)],
)
def test_whose_route_bird_sends(source: str, evidence: type[Evidence]) -> None:
    """Only a route that no other router told of is ours; of an origin that is not known it is no answer."""
    more = f"1008-\tType: {source} univ\n" if source else ""
    assert isinstance(printed(bird.ours, session(), HELLO + HEARD.format("") + more), evidence)
