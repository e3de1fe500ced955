"""Ask FRR's bgpd, by vtysh, whether a prefix is announced to a neighbour, or heard from it.

Known from FRR 8.4: a standby sends the other site's route on to its neighbours; a route whose address is not on this
host stays in the table as not valid; the routes of a neighbour that died may stay valid, but stale, for minutes.
"""

from __future__ import annotations

import ipaddress
import json
from typing import Any

from habeat.config.switch import FrrCheck
from habeat.model import Down, Evidence, Up
from habeat.observe.asking import SETTLED, STANDS, Ask, UnclearError, ended, prefix_of, quoted

Json = dict[str, Any]


def ours(check: FrrCheck, ask: Ask) -> Evidence:
    """Return whether a route of this host's own is sent to the neighbour."""
    family = _family(check)
    words = f"show bgp {family} unicast"
    told, sent, neighbour = _vtysh(
        check,
        ask,
        f"{words} {check.prefix} json",
        f"{words} neighbors {check.peer} advertised-routes json",
        f"show bgp neighbors {check.peer} json",
    )
    state = _state(check, neighbour)
    if state != STANDS:
        return Down(f"is not announced there: no session ({state})")
    if fault := _fault_of_own(_paths(check, told)):
        return Down(f"is not announced there: {fault}")
    routes = sent.get("advertisedRoutes")
    if not isinstance(routes, dict):
        raise UnclearError(f"is not clear: FRR does not tell what it announces there ({quoted(sent)})")
    if prefix_of(check.prefix) not in routes:
        return Down("is not announced there: FRR has the route and does not send it (a filter?)")
    return Up("is announced there")


def _fault_of_own(paths: list[Json]) -> str | None:
    """Return why none of the paths is an announcement of this host's own, or None."""
    own = [path for path in paths if path.get("sourced") is True]
    if not own:
        return "only others' routes to it are known" if paths else "FRR has no route to it"
    valid = [path for path in own if path.get("valid") is True]
    if not valid:
        return "the route of this host is not valid (is the address here?)"
    if not any(_part(path, "bestpath").get("overall") is True for path in valid):
        return "FRR prefers another's route, or has not chosen yet"
    return None


def theirs(check: FrrCheck, ask: Ask) -> Evidence:
    """Return whether a route of somebody else's is heard from the neighbour.

    The neighbour is asked for before and after the routes, so that nothing that came or went in between deceives.
    """
    near = f"show bgp neighbors {check.peer} json"
    before, told, after = _vtysh(check, ask, near, f"show bgp {_family(check)} unicast {check.prefix} json", near)
    for neighbour in (before, after):
        if (state := _state(check, neighbour)) != STANDS:
            raise UnclearError(f"is not clear: nothing is heard from there, for there is no session ({state})")
    heard = [path for path in _paths(check, told) if _is_from(check.peer, path)]
    for path in heard:
        if path.get("valid") is True and not path.get("stale"):
            return Up(f"is announced there by others (AS path {_part(path, 'aspath').get('string', 'unknown')})")
    if heard:
        raise UnclearError("is not clear: what is heard from there is stale or leads nowhere")
    if not all(_has_told_all(check, neighbour) for neighbour in (before, after)):
        raise UnclearError("is not clear: the session is new, and the neighbour has not told all it knows")
    return Down("is not announced there by others")


def _has_told_all(check: FrrCheck, neighbour: Json) -> bool:
    """Tell whether the initial table is here: the neighbour said so, or never will, or FRR (7.0) does not tell it."""
    near = _at_peer(check, neighbour)
    told = _part(near, "gracefulRestartInfo").get("endOfRibRecv")
    if isinstance(told, dict):
        if told.get(f"{_family(check)}Unicast") is True:
            return True
        able = _part(near, "neighborCapabilities")
        if any(str(able.get(f"gracefulRestart{end}")).lower().endswith("received") for end in ("", "Capability")):
            return False
    stood = near.get("bgpTimerUpMsec")
    return isinstance(stood, int) and stood >= SETTLED * 1000


def _vtysh(check: FrrCheck, ask: Ask, *commands: str) -> list[Json]:
    """Return the documents that vtysh printed, one for each command."""
    instance = ["-N", check.instance] if check.instance else []
    done = ask(["vtysh", *instance, *(word for command in commands for word in ("-c", command))])
    if done.code != 0:
        raise UnclearError(f"cannot be asked: `vtysh`: {ended(done)}")
    documents: list[Json] = []
    decoder, rest = json.JSONDecoder(), done.stdout.strip()
    while rest:
        try:
            document, end = decoder.raw_decode(rest)
        except ValueError:
            raise UnclearError(f"is not clear: vtysh printed no JSON ({quoted(rest)})") from None
        documents.append(document)
        rest = rest[end:].lstrip()
    if len(documents) != len(commands) or not all(isinstance(document, dict) for document in documents):
        raise UnclearError(f"is not clear: vtysh printed something else than was asked ({quoted(done.stdout)})")
    return documents


def _at_peer(check: FrrCheck, neighbour: Json) -> Json:
    peer = ipaddress.ip_address(check.peer)
    for address, near in neighbour.items():
        if _address(address) == peer and isinstance(near, dict):
            return near
    raise UnclearError(f"is not clear: FRR knows no neighbour {check.peer}")


def _state(check: FrrCheck, neighbour: Json) -> str:
    state = _at_peer(check, neighbour).get("bgpState")
    if not isinstance(state, str):
        raise UnclearError(f"is not clear: FRR does not tell the state of its session with {check.peer}")
    return state


def _paths(check: FrrCheck, told: Json) -> list[Json]:
    """Return the paths of the route; an empty document means that there is none."""
    if not told:
        return []
    paths = told.get("paths")
    if told.get("prefix") != prefix_of(check.prefix) or not isinstance(paths, list):
        raise UnclearError(f"is not clear: FRR does not tell of the route ({quoted(told)})")
    return [path for path in paths if isinstance(path, dict)]


def _is_from(peer: str, path: Json) -> bool:
    own = path.get("sourced") or path.get("local")
    return not own and _address(_part(path, "peer").get("peerId")) == ipaddress.ip_address(peer)


def _part(whole: Json, name: str) -> Json:
    """Return what is called so, or nothing if it is something else than expected."""
    part = whole.get(name)
    return part if isinstance(part, dict) else {}


def _address(text: object) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(str(text))
    except ValueError:
        return None


def _family(check: FrrCheck) -> str:
    return f"ipv{ipaddress.ip_network(check.prefix).version}"
