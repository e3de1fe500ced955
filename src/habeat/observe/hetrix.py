"""The HetrixTools witness: what a monitoring service that stands in neither site knows of a monitor.

Only the one active monitor of exactly the wanted name can testify, by a clear status and the time of its last check;
whatever else comes is unknown, and the sentence tells why. Ages are reckoned by the server's own clock. Calls are
capped there, so a monitor is remembered until its next check is due, and a rate limit until it ends, for the next
process too. The token is masked in all that is said or kept: v1 has it in its URLs and its answers.

Wire format: docs.hetrixtools.com/api/v3/; for v1, which has no open documentation, what its users publish.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import re
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import mktime_tz, parsedate_tz
from functools import cache
from typing import Any
from urllib.parse import quote

from habeat.errors import Fault, HabeatError, HttpError
from habeat.http import Endpoint, Reply
from habeat.journal import Recall
from habeat.model import Down, Finding, Health, Target, Unknown, Up
from habeat.observe import Answer

V3 = ("id", "name", "type", "monitor_status", "uptime_status", "last_check", "check_frequency", "locations")
V1 = ("ID", "Name", "Type", "Status", "Uptime_Status", "Last_Check", "Check_Frequency", "Locations")
UP, DOWN = ("up", "online"), ("down", "offline")
SEES_SERVICES = ("website", "service", "smtp", "1", "3")
PER_PAGE, PAGES, LONGEST_CLAUSE = 200, 50, 250
SLOWEST = 10.0  # minutes between two checks; a greater number is nonsense, and would let old knowledge count
EARLY, REUSED, SKEW = 5.0, 10.0, 30.0  # seconds
WAIT, LONGEST_WAIT, EPOCH = 60.0, 3600.0, 1e9  # seconds; a greater number than the last is a time, no duration
Found = tuple[dict[str, Any], float]  # a monitor in the form of v3, and how many seconds ago it was checked

WAY = "check hetrix.hostname, hetrix.port and hetrix.api, and whether this machine can reach the server"
TRUST = "name the CA that signed the server's certificate in hetrix.ca_file, and check hetrix.hostname"
RIGHTS = "check hetrix.api_token or hetrix.token_file, its right to read uptime monitors, and hetrix.api"


class DoubtError(HabeatError):
    """HetrixTools gave no clear answer: the text says why, as a clause to follow its name; `mend` says what helps."""

    def __init__(self, says: str, mend: str = "look at the monitor there, or name another one in hetrix.names") -> None:
        self.mend = mend
        super().__init__(says)


def testimony(monitor: Mapping[str, Any], *, of_service: bool) -> Up | Down:
    """Return what a monitor, in the form of v3, says of the host or of a service on it; raises DoubtError."""
    words = (str(monitor[key]).strip().lower() for key in ("type", "monitor_status", "uptime_status"))
    name, (kind, state, status) = f"monitor {monitor['name']}", words
    if of_service and kind not in SEES_SERVICES:
        raise DoubtError(f"sees only the host by {name} (type {kind})")
    if state.startswith("maint"):
        raise DoubtError(f"says that {name} is in maintenance there", "end the maintenance there when it is over")
    if state != "active":
        raise DoubtError(f"says that {name} is not active there (it says {state})")
    if status not in UP + DOWN:
        raise DoubtError(f"does not say clearly whether {name} is up (it says {status})")
    checked = _number(monitor["last_check"]) or 0.0
    if checked <= 0:
        raise DoubtError(f"does not say clearly when it last checked {name}")
    oldest = checked - _period(monitor)  # the locations take turns, so none is as fresh to the second
    looks = [look for look in _looks(monitor["locations"]) if look[2] is None or look[2] >= oldest]
    alive = [place for place, up, _ in looks if up]
    count = f" ({len(alive)} of {len(looks)} locations reach it)" if looks else ""
    if status in UP:
        return Up(f"says that {name} is up{count}")
    if alive:
        raise DoubtError(f"calls {name} down, but its location {alive[0]} sees it up")
    if kind == "heartbeat":
        raise DoubtError(f"misses the heartbeats of {name}, which is no proof that the host is dead")
    return Down(f"says that {name} is down{count}")


@dataclass(frozen=True)
class HetrixWitness:
    """Asks HetrixTools by its `api`, v3 or v1; `timeout` in seconds bounds a whole question.

    `names` says how monitors are named that are not named as the node; `freshness` is how old their knowledge may be
    where three of their checks take less. `steady` is a clock that nobody sets.
    """

    host: str
    port: int
    api: str
    token: str = field(repr=False)
    ca_file: str
    timeout: float
    freshness: float
    names: Mapping[str, str]
    recall: Recall
    clock: Callable[[], float]
    site: str | None = None
    name: str = "HetrixTools"
    networked: bool = True
    sparing: bool = True
    steady: Callable[[], float] = time.monotonic
    endpoint: Callable[..., Endpoint] = Endpoint

    def ask(self, target: Target) -> Answer:
        """Return what the monitor says of the host; never raises."""
        return self._answer(target, Question(self))[0]

    def ask_service(self, target: Target) -> Answer:
        """Return what the monitor says of the mail service, where its type sees one; never raises."""
        return self._answer(target, Question(self), of_service=True)[0]

    def examine(self, target: Target) -> Sequence[Finding]:
        """Return whether it can testify, by a call of its own, and how far our clock is from the server's."""
        question = Question(self)
        answer, mend = self._answer(target, question, fresh=True)
        says = answer.evidence.reason
        if answer.holds is not None:
            says = f"{says} ({answer.age:.0f} s ago)"
            if answer.age > answer.holds:
                mend = f"find out there why it is checked no more: {answer.holds:.0f} s is the most that counts"
        findings = [Finding(Health.ERROR if mend else Health.GOOD, f"witness {self.name}", says, mend)]
        if question.date is not None:
            off = question.at - question.date
            says = f"is {abs(off):.0f} s {'ahead of' if off < 0 else 'behind'} the clock of this machine"
            mend = "synchronise this machine's clock (chrony)" if abs(off) > SKEW else ""
            findings.append(Finding(Health.WARNING if mend else Health.GOOD, f"clock of {self.name}", says, mend))
        return findings

    def _answer(
        self, target: Target, question: Question, *, of_service: bool = False, fresh: bool = False
    ) -> tuple[Answer, str]:
        """Return the answer, and what would mend it where it is unknown."""
        try:
            monitor, age = self._monitor(self.names.get(target.name, target.name), question, fresh=fresh)
            said = testimony(monitor, of_service=of_service)
            if age < -EARLY:
                raise DoubtError(f"reports a check of monitor {monitor['name']} from the future")  # noqa: TRY301
            live = question.answered or self._there()
            return Answer(said, max(0.0, age), max(self.freshness, 3 * _period(monitor)), live), ""
        except DoubtError as doubt:
            return Answer(Unknown(question.tell(str(doubt)))), question.tell(doubt.mend)
        except Exception as error:  # noqa: BLE001  whatever broke it, it is unknown; and its text may quote the token
            return Answer(Unknown(f"could not be asked ({type(error).__name__})")), WAY

    def _there(self) -> bool:
        """Tell whether the server is there now, without a call that counts: what is remembered does not show that."""
        try:
            self.endpoint(self.host, self.port, "https", self.timeout, self.ca_file).greet()
        except HttpError:
            return False
        return True

    def _monitor(self, name: str, question: Question, *, fresh: bool) -> Found:
        """Return the one monitor of that name, remembered or else fetched; raises DoubtError."""
        kept, wait = self._remembered(name)
        if kept and not fresh:
            return kept
        kept, question.wait = None, max(0.0, wait)  # what is listed now counts, even where it is no answer
        try:
            listed = question.monitors(name)
            named = [monitor for monitor in listed if monitor["name"] == name]
            with suppress(DoubtError):
                listed = question.monitors() if fresh and not named and self.api == "v3" else listed
            if len(named) != 1:
                raise _no_match(name, len(named), listed)
            age = (question.at if question.date is None else question.date) - (_number(named[0]["last_check"]) or 0.0)
            kept = (named[0], age) if age >= -EARLY else None
        finally:
            self._remember(name, kept, question)
        return named[0], age

    def _remembered(self, name: str) -> tuple[Found | None, float]:
        """Return the monitor that was last fetched, while that lasts, and for how many seconds no call may be made."""
        found, left = None, 0.0
        with suppress(HabeatError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError):
            kept = json.loads(self.recall.read() or "{}")
            if kept["of"] == self._of(name):
                at, steady, wait = (float(kept[key]) for key in ("at", "steady", "wait"))
                passed = self.clock() - at, self.steady() - steady
                since = max(passed) if min(passed) >= 0 else math.inf  # by the clock that went further
                left = min(wait, LONGEST_WAIT) - since
                raw, old = kept["found"]
                monitor, age = {**dict.fromkeys(V3), **raw, "name": name}, float(old) + since
                if age >= -EARLY and since < _period(monitor) and (since < REUSED or age < _period(monitor)):
                    found = monitor, age
        return found, left

    def _of(self, name: str) -> list[str]:
        """Return what a memory must be of, to be ours: the monitor, the server, and (as a digest) the account."""
        digest = hashlib.sha256(self.token.encode()).hexdigest()[:16]
        return [name, self.api, f"{self.host}:{self.port}", digest]

    def _remember(self, name: str, found: Found | None, question: Question) -> None:
        kept = {"of": self._of(name), "found": found}
        times = {"at": question.at, "steady": question.steady, "wait": question.wait}
        with suppress(HabeatError):  # without a memory it can still testify
            self.recall.write(question.mask(json.dumps({**kept, **times})))


class Question:
    """One question to the server: our clocks and its own at the last reply, and for how long it wants no more calls."""

    def __init__(self, asker: HetrixWitness) -> None:
        self._asker = asker
        self._deadline, self.wait = 0.0, 0.0
        self.at, self.steady = asker.clock(), asker.steady()
        self.date: float | None = None
        self.answered = False

    def mask(self, text: str) -> str:
        """Return the text without the token, be it spelled plainly, for a URL, or for JSON."""
        return _spelled(self._asker.token).sub("***", text) if self._asker.token else text

    def tell(self, text: str) -> str:
        """Return the text masked, on one line, and short enough to be shown."""
        line = "".join(sign if sign.isprintable() else " " for sign in self.mask(text)[: 4 * LONGEST_CLAUSE])
        return textwrap.shorten(line, LONGEST_CLAUSE, placeholder=" ...")

    def monitors(self, name: str = "") -> list[dict[str, Any]]:
        """Return all monitors in the form of v3, or those that v3 finds by a name; raises DoubtError."""
        v1, token = self._asker.api == "v1", quote(self._asker.token, safe="")
        wanted = f"name={quote(name, safe='')}&" if name else ""
        self._deadline = self._asker.steady() + self._asker.timeout
        found: dict[str, dict[str, Any]] = {}
        last = False
        for page in range(PAGES):
            path = f"/v3/uptime-monitors?{wanted}per_page={PER_PAGE}&page={page + 1}"
            body = self._call(f"/v1/{token}/uptime/monitors/{page}/{PER_PAGE}/" if v1 else path, last=last)
            before, listed = len(found), _listed(body, V1 if v1 else V3)
            last = v1 and len(listed) < PER_PAGE
            for place, monitor in enumerate(listed):
                # one that is listed twice, because pages moved, is not two
                who = [monitor["id"] or (page, place), *(monitor[key] for key in V3[1:5])]
                found.setdefault(json.dumps(who), monitor)
            new, more = len(found) > before, _more(body, page + 1)
            if more is False or not (new or more):
                return list(found.values())
            if not new:
                break
        raise DoubtError("lists its monitors in pages without an end", WAY)

    def _call(self, path: str, *, last: bool) -> Any:
        """Return the JSON that one call gave in the time that is left; raises DoubtError.

        `last` tells that it asks for what comes after a page that was not full.
        """
        asker, headers = self._asker, {"Accept": "application/json", "User-Agent": "habeat"}
        headers |= {"Authorization": f"Bearer {asker.token}"} if asker.api == "v3" else {}
        if self.wait > 0:
            raise _limited(self.wait)
        left = max(0.001, self._deadline - asker.steady())
        try:
            reply = asker.endpoint(asker.host, asker.port, "https", left, asker.ca_file, headers=headers).call(
                "GET", path
            )
        except HttpError as error:
            says, mend = str(error), WAY
            if asker.steady() >= self._deadline:
                says = f"did not answer within {asker.timeout:g} s"
            elif error.fault is Fault.UNTRUSTED or says.startswith("the CA file"):
                says, mend = f"cannot be asked: {says}", TRUST
            raise DoubtError(says, mend) from error
        self.at, self.steady, self.date = asker.clock(), asker.steady(), _moment(reply.headers.get("date"))
        if self.date is not None:
            self.date += max(0.0, _number(reply.headers.get("age")) or 0.0)  # a cache in between answers
        self.wait = _wait(reply, self.at if self.date is None else self.date)
        self.answered = True
        return self._body(reply, last=last)

    def _body(self, reply: Reply, *, last: bool) -> Any:
        status, body = reply.status, None
        with suppress(HttpError):
            body = reply.json()
        message = str(body.get("message") or body.get("error_message") or "") if isinstance(body, dict) else ""
        if status == 200 and body is not None and not message:
            return body
        if status == 200 and message and last:  # nobody tells how v1 answers past its last page
            return []
        if status in (429, 503) and self.wait > 0:
            raise _limited(self.wait)
        said = f"{status} {message}".strip()
        if status in (400, 401, 403) or (status == 200 and message):
            raise DoubtError(f"refuses the {'token' if status > 400 else 'question'} ({said})", RIGHTS)
        what = {2: " without any JSON", 3: ", a redirect, which is not followed"}.get(status // 100, "")
        raise DoubtError(f"answered {said}{what}", WAY)


@cache
def _spelled(token: str) -> re.Pattern[str]:
    """Return what finds a token, be it spelled plainly, for a URL, or for JSON."""
    signs = (f"(?:\\\\?{re.escape(sign)}|%{ord(sign):02x})" for sign in token)
    return re.compile("".join(signs), re.IGNORECASE)


def _listed(body: Any, keys: Sequence[str]) -> list[dict[str, Any]]:
    """Return the monitors of one page in the form of v3; raises DoubtError where it is not a page."""
    raws = body.get("monitors") if keys is V3 and isinstance(body, dict) else None
    if keys is V1 and isinstance(body, list):
        raws = body[0] if body else []
    if not isinstance(raws, list) or not all(isinstance(raw, dict) for raw in raws):
        raise DoubtError("answered in a form that is not its own", WAY)
    return [{name: raw.get(key) for name, key in zip(V3, keys, strict=True)} for raw in raws]


def _more(body: Any, page: int) -> bool | None:
    """Return whether pages follow this one, or None where the answer does not say so, as with v1."""
    with suppress(LookupError, TypeError, ValueError, ArithmeticError):
        told = body["meta"]["pagination"]
        return max(float(told[key] or 0) for key in ("next", "last") if key in told) > page
    return None


def _no_match(name: str, count: int, listed: Sequence[Mapping[str, Any]]) -> DoubtError:
    if count:
        return DoubtError(f"has {count} monitors named {name}", "give each monitor there a name of its own")
    known = [raw["name"] for raw in listed if isinstance(raw["name"], str) and len(raw["name"]) < LONGEST_CLAUSE]
    near = difflib.get_close_matches(name, known)
    mend = f"name the monitor in hetrix.names, {'perhaps ' if near else 'or make one'}{' or '.join(near)}"
    return DoubtError(f"has no monitor named {name}{f'; the nearest is {near[0]}' if near else ''}", mend)


def _looks(value: Any, name: str = "without a name") -> Iterator[tuple[str, bool, float | None]]:
    """Yield each location with what it saw and when, however the answer nests them: a map, a list, lists in a map."""
    if isinstance(value, dict) and "uptime_status" in value:
        up = str(value["uptime_status"]).strip().lower() in UP
        yield str(value.get("location", name)), up, _number(value.get("last_check"))
    elif isinstance(value, (dict, list)):
        for key, item in value.items() if isinstance(value, dict) else ((name, item) for item in value):
            yield from _looks(item, key)


def _number(value: Any) -> float | None:
    """Return a finite number, also one that is written as text, or None."""
    with suppress(ValueError, TypeError, OverflowError):
        return number if not isinstance(value, bool) and math.isfinite(number := float(value)) else None
    return None


def _period(monitor: Mapping[str, Any]) -> float:
    minutes = _number(monitor["check_frequency"]) or 1.0  # as a heartbeat monitor, which has none
    return 60.0 * (minutes if 1 <= minutes <= SLOWEST else 1.0)


def _moment(text: str | None) -> float | None:
    """Return the Unix time of a date as HTTP writes it, or None."""
    with suppress(ValueError, TypeError, LookupError, ArithmeticError):
        return float(mktime_tz(parsedate_tz(text)))  # type: ignore[arg-type]
    return None


def _wait(reply: Reply, now: float) -> float:
    """Return for how many seconds the server wants no more calls: by Retry-After, or by a limit that is used up."""
    told = [
        reply.headers.get(key.replace("remaining", "reset"))
        for key, value in reply.headers.items()
        if key.startswith("ratelimit-remaining") and _number(value) == 0
    ]
    if reply.status in (429, 503) and ("retry-after" in reply.headers or (reply.status == 429 and not told)):
        told.append(reply.headers.get("retry-after"))
    return max((_seconds(text, now) for text in told), default=0.0)


def _seconds(text: str | None, now: float) -> float:
    """Return a duration that is told in seconds or by the time of its end, bounded where that is silly."""
    number = _number(text)
    if number is None or number > EPOCH:
        end = _moment(text) if number is None else number
        number = WAIT if end is None else max(0.0, end - now)
    return WAIT if number < 0 else min(max(1.0, number), LONGEST_WAIT)


def _limited(wait: float) -> DoubtError:
    mend = "wait; if it happens again, leave the account's calls to habeat, or get it a higher limit"
    return DoubtError(f"asked us to wait {max(1.0, wait):.0f} s more (rate limit)", mend)
