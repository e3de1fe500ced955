"""A Carbonio simulator: `carbonio`, `zmprov` and `zmlocalconfig` doubles over a world in one folder.

Their contract is docs/carbonio-simulator.md. Only the standard library is imported, and little of it, since each
call of a double is a process of its own. The world is a JSON file under a lock; every call is written to calls.jsonl.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

World = dict[str, Any]
UNREACHABLE = "Unable to communicate with server"
PIECES = 4


class Refusal(Exception):  # noqa: N818  it is an answer of Carbonio's, not an error of ours
    """A command that Carbonio answers with `ok: false`."""


def create(folder: Path, accounts: list[dict[str, Any]], servers: list[str], **settings: Any) -> None:
    """Write a new world: accounts as `account()` makes them, the mailstores' names, and settings over the defaults."""
    world: World = {
        "accounts": {item["accountId"]: item for item in accounts},
        "servers": servers,
        "dead": [],
        "dead_wait": 5.0,
        "running": True,
        "operations": [],
        "linger": 1,
        "namespaces": ["MailReplica", "ha"],
        "user": "",
        "banner": "",
        "startup": 0.0,
        "sync_text": False,
        "stuck": False,
        "lists_promoted": True,
        "lose": [],
        "refuse": {},
        "faults": [],
        "localconfig": {},
    }
    folder.mkdir(parents=True, exist_ok=True)
    _save(folder, {**world, **settings})


def account(
    number: int, host: str, destination: str, *, name: str = "", available: bool = True, lag: int = 0
) -> dict[str, Any]:
    """Return one mailbox on `host` with a replica on `destination`."""
    key = f"00000000-0000-4000-8000-{number:012d}"
    return {
        "accountId": key,
        "accountName": name or f"user{number:05d}@example.com",
        "accountMailHost": host,
        "sequence": 1000,
        "promotions": 0,
        "flushes": {},
        "restarts": 0,
        "paused": False,
        "replicas": [
            {
                "accountId": key,
                "destination": destination,
                "available": available,
                "priority": 1,
                "sequence": 1000 - lag,
                "canConnectToKafka": True,
            }
        ],
    }


def install(folder: Path, bin_dir: Path) -> None:
    """Write the executables that stand for Carbonio's, each bound to the world in `folder`."""
    bin_dir.mkdir(parents=True, exist_ok=True)
    source = Path(__file__).resolve().parents[2]
    for program in ("carbonio", "zmprov", "zmlocalconfig"):
        path = bin_dir / program
        path.write_text(
            f"#!{sys.executable} -IS\nimport sys\nsys.path.insert(0, {str(source)!r})\n"
            f"from habeat.lab.carbonio import main\nmain({program!r}, {str(folder)!r}, sys.argv[1:])\n",
            encoding="utf-8",
        )
        path.chmod(0o755)


@contextlib.contextmanager
def world_of(folder: Path) -> Iterator[World]:
    """Open the world, alone, and save what was changed in it."""
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        world: World = json.loads((folder / "world.json").read_text(encoding="utf-8"))
        yield world
        _save(folder, world)


def calls(folder: Path) -> list[dict[str, Any]]:
    """Return every call so far: program, arguments, when."""
    path = folder / "calls.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def _save(folder: Path, world: World) -> None:
    fresh = folder / f"world.{os.getpid()}"
    fresh.write_text(json.dumps(world), encoding="utf-8")
    fresh.replace(folder / "world.json")


def main(program: str, folder: str, argv: list[str]) -> NoReturn:
    """Be one of Carbonio's commands."""
    place = Path(folder)
    with (place / "calls.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps({"at": time.time(), "program": program, "argv": argv}) + "\n")
    with world_of(place) as world:
        fault = _take_fault(world, program, argv)
    time.sleep(world["startup"])
    _fail(fault, "before")
    _check_user(world["user"])
    code = {"carbonio": _carbonio, "zmprov": _zmprov, "zmlocalconfig": _zmlocalconfig}[program](place, argv, fault)
    _fail(fault, "after")
    sys.stdout.flush()
    sys.exit(code)


def _take_fault(world: World, program: str, argv: list[str]) -> dict[str, Any]:
    """Return the first planted fault that fits this call, and use it up."""
    for fault in world["faults"]:
        if (
            fault.get("program", program) == program
            and fault.get("command", "") in (*argv, "")
            and fault.get("times", 1) > 0
        ):
            if fault.get("skip", 0) > 0:
                fault["skip"] -= 1
                continue
            fault["times"] = fault.get("times", 1) - 1
            return dict(fault)
    return {}


def _fail(fault: dict[str, Any], at: str) -> None:
    """Do what the fault says, if it is for this moment: `before`, `middle` or `after` the work."""
    if fault.get("at", "before") != at:
        return
    kind = fault.get("kind")
    if kind in ("kill-parent", "orphan"):
        os.kill(os.getppid(), signal.SIGKILL)
        if kind == "orphan":  # the command goes on without the one who asked for it
            return
        os._exit(9)
    if kind == "hang":
        time.sleep(3600)
    if kind == "garbage":
        _leave("Picked up JAVA_TOOL_OPTIONS: {not json}\n\x00\x1b[31m}{\n", 0)
    if kind == "silent":
        _leave("", 0)
    if kind == "unreachable":
        _leave(UNREACHABLE + "\n", 0)
    if kind == "exit":
        _leave("Exception in thread main java.lang.OutOfMemoryError\n", int(fault.get("code", 1)))


def _leave(text: str, code: int) -> NoReturn:
    sys.stdout.write(text)
    sys.stdout.flush()
    os._exit(code)


def _check_user(user: str) -> None:
    if user:
        import pwd  # noqa: PLC0415  only where a user is asked for

        if pwd.getpwuid(os.geteuid()).pw_name != user:
            _leave(f"This command must be run as {user}\n", 1)


# -- carbonio


def _carbonio(folder: Path, argv: list[str], fault: dict[str, Any]) -> int:
    flags = [word for word in argv if word.startswith("--")]
    words = [word for word in argv if not word.startswith("--")]
    with world_of(folder) as world:
        sys.stdout.write(world["banner"])
        _finish_orphans(world)
    module, command, *args = [*words, "", ""]
    if module not in ("core", *world["namespaces"]):
        sys.stdout.write(f"No such module {module}\n")
        return 1
    try:
        response = _COMMANDS[command](folder, dict(zip(args[::2], args[1::2], strict=False)), fault)
    except KeyError:
        sys.stdout.write(f"No such command {command}\n")
        return 1
    except Refusal as refusal:
        sys.stdout.write(json.dumps({"ok": False, "error": {"message": str(refusal)}}) + "\n")
        return 1
    if "--json" in flags and not (world["sync_text"] and "--sync" in flags):
        sys.stdout.write(json.dumps({"ok": True, "response": response}) + "\n")
    else:
        sys.stdout.write("Operation completed\n")
    return 0


def _get_services(folder: Path, _args: dict[str, str], _fault: dict[str, Any]) -> Any:
    with world_of(folder) as world:
        running = world["running"]
    return {
        "services": {
            "module": {"name": "module", "running": running, "could_start": not running, "could_stop": running}
        }
    }


def _set_running(*, running: bool) -> Callable[[Path, dict[str, str], dict[str, Any]], Any]:
    def change(folder: Path, _args: dict[str, str], fault: dict[str, Any]) -> Any:
        _fail(fault, "middle")
        with world_of(folder) as world:
            world["running"] = world["running"] if world["stuck"] else running
        return {"message": "done"}

    return change


def _get_account_status(folder: Path, args: dict[str, str], _fault: dict[str, Any]) -> Any:
    with world_of(folder) as world:
        found = [
            item
            for item in world["accounts"].values()
            if item["accountMailHost"] == args.get("mailHost", item["accountMailHost"])
        ]
        if not world["lists_promoted"]:
            found = [item for item in found if not item["promotions"]]
    hidden = ("promotions", "flushes", "restarts")
    return {"values": [{key: value for key, value in item.items() if key not in hidden} for item in found]}


def _promote(folder: Path, args: dict[str, str], fault: dict[str, Any]) -> Any:
    with world_of(folder) as world:
        wanted = _wanted(world, args)
        operation = {
            "id": f"operation-{len(world['operations']) + 1}-{os.getpid()}",
            "name": "PromoteAccounts",
            "module": "MailReplica",
            "state": "Started",
            "startTime": int(time.time() * 1000),
            "left": wanted,
            "linger": world["linger"],
        }
        world["operations"].append(operation)
        refused = [key for key in wanted if _refusal(world, key)]
    size = max(1, -(-len(wanted) // PIECES))
    for start in range(0, len(wanted), size):
        with world_of(folder) as world:
            for key in wanted[start : start + size]:
                _move(world, key)
            for item in world["operations"]:
                if item["id"] == operation["id"]:
                    item["left"] = item["left"][size:]
        _fail(fault, "middle")
    with world_of(folder) as world:
        world["operations"] = [item for item in world["operations"] if item["id"] != operation["id"]]
    if refused:
        raise Refusal(f"{len(refused)} of {len(wanted)} accounts could not be promoted")
    return {"operationId": operation["id"]}


def _wanted(world: World, args: dict[str, str]) -> list[str]:
    if "input_file" in args:
        names = set(Path(args["input_file"]).read_text(encoding="utf-8").splitlines())
        return [key for key, item in world["accounts"].items() if item["accountName"] in names]
    if "source_mail_host" in args:
        return [key for key, item in world["accounts"].items() if item["accountMailHost"] == args["source_mail_host"]]
    return list(world["accounts"])


def _refusal(world: World, key: str) -> str:
    item = world["accounts"][key]
    if not any(replica["available"] for replica in item["replicas"]):
        return "no available replica"
    return str(world["refuse"].get(item["accountName"], ""))


def _move(world: World, key: str) -> None:
    if world["accounts"][key]["accountName"] in world["lose"]:
        del world["accounts"][key]
    elif not _refusal(world, key):
        item = world["accounts"][key]
        old, item["accountMailHost"] = item["accountMailHost"], item["replicas"][0]["destination"]
        item["replicas"] = [{**item["replicas"][0], "destination": old, "available": False}]
        item["promotions"] += 1
        item["flushes"] = {}


def _finish_orphans(world: World) -> None:
    """Let the server go on with what it was doing for a client that is gone, over the next few calls."""
    for operation in list(world["operations"]):
        if _alive(operation["id"].rpartition("-")[2]):
            continue
        operation["linger"] -= 1
        if operation["linger"] < 0:
            for key in operation["left"]:
                _move(world, key)
            world["operations"].remove(operation)


def _alive(pid: str) -> bool:
    """Tell whether a process lives; one that is dead and only waits to be buried does not."""
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[0] != "Z"
        )
    except OSError:
        return False


def _get_all_operations(folder: Path, _args: dict[str, str], _fault: dict[str, Any]) -> Any:
    with world_of(folder) as world:
        return {
            "operationList": [
                {k: v for k, v in item.items() if k not in ("left", "linger")} for item in world["operations"]
            ]
        }


def _replicas(
    key: str, value: Callable[[dict[str, Any]], Any]
) -> Callable[[Path, dict[str, str], dict[str, Any]], Any]:
    def change(folder: Path, args: dict[str, str], fault: dict[str, Any]) -> Any:
        with world_of(folder) as world:
            wanted = _wanted(world, args)
            half = len(wanted) // 2
            for name in wanted[:half]:
                world["accounts"][name][key] = value(world["accounts"][name])
        _fail(fault, "middle")
        with world_of(folder) as world:
            for name in wanted[half:]:
                world["accounts"][name][key] = value(world["accounts"][name])
        return {"values": []}

    return change


_COMMANDS: dict[str, Callable[[Path, dict[str, str], dict[str, Any]], Any]] = {
    "getServices": _get_services,
    "doStopService": _set_running(running=False),
    "doStartService": _set_running(running=True),
    "getAccountStatus": _get_account_status,
    "promoteAccounts": _promote,
    "getAllOperations": _get_all_operations,
    "pauseReplicas": _replicas("paused", lambda _item: True),
    "restartReplicas": _replicas("restarts", lambda item: item["restarts"] + 1),
}


# -- zmprov and zmlocalconfig


def _zmprov(folder: Path, argv: list[str], fault: dict[str, Any]) -> int:
    host = argv[1] if argv[:1] == ["-s"] else ""
    words = argv[2:] if host else argv
    if not words:
        return _zmprov_lines(folder)
    if words == ["gas", "mailbox"]:
        with world_of(folder) as world:
            sys.stdout.write("".join(f"{name}\n" for name in world["servers"]))
        return 0
    if words[0] == "fc":
        return _flush(folder, host, words[1:], fault)
    sys.stdout.write("usage: zmprov\n")
    return 1


def _flush(folder: Path, host: str, words: list[str], fault: dict[str, Any]) -> int:
    everywhere = words[:1] == ["-a"]
    _kind, *names = words[1:] if everywhere else words
    with world_of(folder) as world:
        hosts = world["servers"] if everywhere else [host or world["servers"][-1]]
        dead = [name for name in hosts if name in world["dead"]]
    if dead:
        time.sleep(world["dead_wait"] * len(dead))
        if not everywhere:
            sys.stdout.write("ERROR: zclient.IO_ERROR (connect timed out)\n")
            return 2
    with world_of(folder) as world:
        known = {name: item for item in world["accounts"].values() for name in (item["accountId"], item["accountName"])}
        for place, name in enumerate(names):
            if place == len(names) // 2:
                _fail(fault, "middle")
            if name not in known:
                sys.stdout.write(f"ERROR: account.NO_SUCH_ACCOUNT (no such account: {name})\n")
                return 2
            for live in hosts:
                known[name]["flushes"][live] = known[name]["flushes"].get(live, 0) + 1
    return 0


def _zmprov_lines(folder: Path) -> int:
    with world_of(folder) as world:
        for line in sys.stdin:
            command, _, rest = line.strip().partition(" ")
            item = world["accounts"].get(rest.split(" ")[0]) if command == "ga" else None
            if item is None:
                sys.stdout.write("ERROR: account.NO_SUCH_ACCOUNT\n")
                continue
            sys.stdout.write(f"prov> # name {item['accountName']}\nzimbraId: {item['accountId']}\n")
            sys.stdout.write(f"zimbraMailHost: {item['accountMailHost']}\n\n")
    return 0


def _zmlocalconfig(folder: Path, argv: list[str], _fault: dict[str, Any]) -> int:
    with world_of(folder) as world:
        for name in argv:
            if name in world["localconfig"]:
                sys.stdout.write(f"{name} = {world['localconfig'][name]}\n")
    return 0
