"""Ask BIRD 2, by birdc, whether a prefix is exported to a BGP protocol, or imported from it.

Known from BIRD 2.0: `show route export` also lists routes that were heard from others and are sent on; nothing tells
whether a neighbour's End-of-RIB came, so the age of the session has to serve.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from habeat.config.switch import BirdCheck
from habeat.model import Down, Evidence, Up
from habeat.observe.asking import SETTLED, STANDS, Ask, UnclearError, ended, prefix_of

GREETING, ENTRY, TABLE, REFUSALS, NO_ROUTE, NO_PROTOCOL = 1, 1002, 1007, 8000, 8001, 8003
"""Codes of BIRD's replies: what it begins with, a line on a protocol, routes, and what it cannot do."""

OWN_SOURCES = ("static", "device", "static-device", "inherit")
"""What BIRD calls the origin of routes that no other router told it of."""

HEARD_SOURCES = ("BGP", "OSPF", "OSPF-IA", "OSPF-E1", "OSPF-E2", "RIP", "Babel")

_CODE = re.compile(r"(\d{4})[ -]")
_DAY, _TIME = r"(?P<day>\d{4}-\d\d-\d\d)", r"(?P<time>\d\d:\d\d:\d\d)(?:\.\d+)?"
_CLOCK = re.compile(rf"Current server time is {_DAY}[ T]{_TIME}")
_PROTOCOL = re.compile(rf"\S+ +(?P<kind>\S+) +\S+ +\S+ +(?P<since>(?:{_DAY})?[ T]?(?:{_TIME})?)")
_STATE = re.compile(r"\s*BGP state:\s+(?P<state>\S+)")
_ROUTE = re.compile(r"(?!\t)\S*\s+(?P<leads>\w+) \[\S+ [^]]*\](?: \*)? \((?P<rank>[^)]*)\)")
_MORE = re.compile(r"\s+(?P<name>Type|source|BGP\.as_path|bgp_path): (?P<value>.*)")
_NAMES = {"Type": "source", "source": "source", "BGP.as_path": "path", "bgp_path": "path"}


@dataclass(frozen=True)
class _Session:
    state: str
    since: str


def ours(check: BirdCheck, ask: Ask) -> Evidence:
    """Return whether a route of this host's own is sent to the neighbour."""
    if (session := _session(check, ask)).state != STANDS:
        return Down(f"is not announced there: no session ({session.state})")
    sources = [route.get("source", "") for route in _routes(check, ask, "export")]
    if any(source in OWN_SOURCES for source in sources):
        return Up("is announced there")
    if unknown := [source for source in sources if source not in HEARD_SOURCES]:
        raise UnclearError(f"is not clear: BIRD sends a route of unknown origin ({unknown[0] or 'it tells none'})")
    fault = "only others' routes to it are sent" if sources else "BIRD sends no route to it"
    return Down(f"is not announced there: {fault}")


def theirs(check: BirdCheck, ask: Ask) -> Evidence:
    """Return whether a route of somebody else's is heard from the neighbour.

    The session is looked at before and after the routes, and the clock first, so that no age is too high.
    """
    clock = _clock(_birdc(check, ask, "show", "status"))
    before = _session(check, ask)
    heard = _routes(check, ask, "protocol")
    after = _session(check, ask)
    for session in (before, after):
        if session.state != STANDS:
            raise UnclearError(f"is not clear: nothing is heard from there, for there is no session ({session.state})")
    for route in heard:
        if route["leads"] == "unicast" and "s" not in route["rank"]:
            return Up(f"is announced there by others (AS path {route.get('path', 'unknown')})")
    if heard:
        raise UnclearError("is not clear: what is heard from there is stale or leads nowhere")
    if before != after or _age(before.since, clock) < SETTLED:
        raise UnclearError("is not clear: the session is new, and the neighbour may not have told all it knows")
    return Down("is not announced there by others")


def _session(check: BirdCheck, ask: Ask) -> _Session:
    replies = _birdc(check, ask, "show", "protocols", "all", f'"{check.protocol}"')
    head = next((match for code, text in replies if code == ENTRY and (match := _PROTOCOL.match(text))), None)
    if head is None:
        raise UnclearError(f"is not clear: BIRD knows no protocol {check.protocol}")
    state = next((match["state"] for _, text in replies if (match := _STATE.match(text))), None)
    if head["kind"] != "BGP" or state is None:
        raise UnclearError(f"is not clear: {check.protocol} is no BGP in BIRD, but {head['kind']}")
    return _Session(state, head["since"].strip())


def _routes(check: BirdCheck, ask: Ask, which: str) -> list[dict[str, str]]:
    """Return the routes to the prefix that are an `export` to the protocol, or come from this `protocol`."""
    replies = _birdc(check, ask, "show", "route", prefix_of(check.prefix), "all", which, check.protocol)
    routes: list[dict[str, str]] = []
    for _, text in replies:
        if match := _ROUTE.match(text):
            routes.append(match.groupdict())
        elif routes and (match := _MORE.match(text)):
            routes[-1][_NAMES[match["name"]]] = match["value"].split(" univ")[0]
    if not routes and any(code == TABLE for code, _ in replies):
        raise UnclearError("is not clear: BIRD tells of routes in a way that is not known")
    return routes


def _birdc(check: BirdCheck, ask: Ask, *words: str) -> list[tuple[int, str]]:
    """Return the lines of an answer with their codes; what is not there is an answer too."""
    done = ask(["birdc", "-v", "-r", *(["-s", check.socket] if check.socket else []), *words])
    replies, code = [], 0
    for line in done.stdout.splitlines():
        code = int(match[1]) if (match := _CODE.match(line)) else code
        replies.append((code, line[5:]))
    if GREETING not in dict(replies):
        raise UnclearError(f"cannot be asked: `birdc`: {ended(done)}")
    refused = [(code, text) for code, text in replies if code >= REFUSALS and text]
    absent = {code for code, _ in refused} & {NO_ROUTE, NO_PROTOCOL}
    if not absent and (refused or done.code != 0):
        raise UnclearError(f"cannot be asked: BIRD says: {refused[0][1] if refused else ended(done)}")
    return replies


def _clock(replies: list[tuple[int, str]]) -> datetime:
    found = next((match for _, text in replies if (match := _CLOCK.search(text))), None)
    if found is None:
        raise UnclearError("is not clear: BIRD does not tell the time in its usual way")
    return datetime.fromisoformat(f"{found['day']} {found['time']}")


def _age(since: str, now: datetime) -> float:
    """Return how old something is, in seconds: BIRD shows only the time of what is new, and only the day of the old."""
    found = re.fullmatch(f"(?:{_DAY})?[ T]?(?:{_TIME})?", since)
    if found is None or not since:
        raise UnclearError("is not clear: BIRD does not tell in its usual way since when the session stands")
    if found["time"] is None:
        return timedelta(days=1).total_seconds()
    then = datetime.fromisoformat(f"{found['day'] or now.date()} {found['time']}")
    return (now - then).total_seconds() if found["day"] else (now - then).total_seconds() % 86400
