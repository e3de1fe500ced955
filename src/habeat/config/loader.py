"""Read the configuration file into the model, and say everything that is wrong with it at once, line by line."""

from __future__ import annotations

import dataclasses
import difflib
import ipaddress
import os
import re
import stat
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from habeat.config.fields import Address, Count, Duration, Hostname, Port, Service, bare, key_of
from habeat.config.model import Config
from habeat.config.needs import lacking
from habeat.config.services import DEFAULT, ServiceUrl
from habeat.config.switch import CHECK, COMMAND, AddressCheck, BirdCheck, Check, Command, FrrCheck
from habeat.errors import ConfigError, Problem

DEFAULT_PATHS = (Path("/etc/hamon/habeat.yml"), Path("/etc/habeat/habeat.yml"))
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
DURATION = "a duration such as 90s, 5m or 8h"
HOST = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9])?)*\.?"
)


def load(path: Path) -> Config:
    """Return the configuration in a file; raises ConfigError with every problem found in it."""
    loader = _Loader(str(path))
    text = _read(path)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigError(
            [Problem(str(path), mark.line + 1 if mark else 0, "", f"is not valid YAML: {error.problem}")]
        ) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError([Problem(str(path), 0, "", f"is not valid YAML: {' '.join(str(error).split())}")]) from None
    config = loader.config(node)
    loader.permissions(path)
    if loader.problems:
        raise ConfigError(loader.problems)
    return dataclasses.replace(config, path=path, notices=tuple(loader.notices))


def find(given: str | None) -> Path:
    """Return the file to load: the one given, or the first default that exists; raises ConfigError if there is none."""
    if given is not None:
        return Path(given)
    for path in DEFAULT_PATHS:
        if path.exists():
            return path
    places = " or ".join(map(str, DEFAULT_PATHS))
    raise ConfigError(
        [
            Problem(
                str(DEFAULT_PATHS[0]),
                0,
                "",
                f"there is no configuration here (looked for {places}); give one with --config",
            )
        ]
    )


def _read(path: Path) -> str:
    def wrong(message: str, line: int = 0) -> ConfigError:
        return ConfigError([Problem(str(path), line, "", message)])

    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise wrong("is a directory or a device, and a configuration file was expected")
        data = path.read_bytes()
    except OSError as error:
        raise wrong(f"cannot be read: {error.strerror}") from None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise wrong(f"is not UTF-8 text (byte {data[error.start]:#04x}); save it as UTF-8", line) from None
    if "\0" in text:
        raise wrong("holds NUL bytes, so it is not a text file", text[: text.index("\0")].count("\n") + 1)
    return text


class _Loader:
    """Walks the YAML nodes, which know their lines, along the model."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.lines: dict[str, int] = {}
        self.secrets: list[str] = []
        self.notices: list[str] = []

    def config(self, node: yaml.Node | None) -> Config:
        if node is None:
            self.wrong(0, "", "is empty")
            return Config()
        config: Config = self.mapping(node, Config, "")
        if not self.problems:
            for key, message in lacking(config):
                self.lacks(key, message)
        return config

    def wrong(self, line: int, key: str, message: str) -> None:
        self.problems.append(Problem(self.file, line, key, message))

    def mapping(self, node: yaml.Node, kind: type[Any], path: str) -> Any:
        """Return a section; what is wrong in it is noted, and the rest is read on."""
        if not isinstance(node, yaml.MappingNode):
            secret = any(f.metadata.get("secret") for f in dataclasses.fields(kind))
            found = "a single value" if secret and isinstance(node, yaml.ScalarNode) else _shape(node)
            expected = "keys and values" if path else "sections such as `local:`"
            self.wrong(_line(node), path, f"expected {expected}, found {found}")
            return kind()
        hints = typing.get_type_hints(kind)
        known = {
            name: f
            for f in dataclasses.fields(kind)
            if not f.metadata.get("internal")
            for name in (key_of(f), *f.metadata["aliases"])
        }
        values: dict[str, Any] = {}
        given: dict[str, str] = {}
        for key_node, value in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else _shape(key_node)
            where = f"{path}.{key}" if path else str(key)
            declared = known.get(key) if isinstance(key_node, yaml.ScalarNode) else None
            if declared is None:
                near = difflib.get_close_matches(str(key), known, n=1)
                self.wrong(
                    _line(key_node),
                    where,
                    f"unknown key{f'; did you mean `{near[0]}`?' if near else f'; known are {chr(44).join(known)}'}",
                )
                continue
            if declared.name in given:
                self.wrong(_line(key_node), where, f"given twice (already as `{given[declared.name]}` above)")
                continue
            given[declared.name] = key
            if key in declared.metadata["aliases"]:
                self.notices.append(f"{self.file}:{_line(key_node)}: {where} is read as `{key_of(declared)}`")
            self.lines[f"{path}.{key_of(declared)}" if path else key_of(declared)] = _line(key_node)
            if _blank(value):
                continue
            if declared.metadata["secret"]:
                self.secrets.append(where)
            try:
                values[declared.name] = self.value(value, hints[declared.name], where)
            except ValueError as error:
                secret = declared.metadata["secret"]
                self.wrong(_line(value), where, "expected text in quotes" if secret else str(error))
        return kind(**values)

    def value(self, node: yaml.Node, kind: Any, path: str) -> Any:
        """Return one value as its declared type; raises ValueError with what was expected."""
        kind = bare(kind)
        if kind in (Command, Check):
            return self.check(node, path) if kind is Check else self.command(node, COMMAND)
        if dataclasses.is_dataclass(kind):
            return self.mapping(node, typing.cast("type[Any]", kind), path)
        if typing.get_origin(kind) is tuple:
            if not isinstance(node, yaml.SequenceNode):
                raise ValueError(f"expected a list (lines that begin with `- `), found {_shape(node)}")
            return tuple(self.items(node, typing.get_args(kind)[0], path))
        if typing.get_origin(kind) is typing.Literal:
            return _choice(node, typing.get_args(kind))
        if typing.get_origin(kind) is dict:
            return self.table(node, typing.get_args(kind)[1], path)
        return _SCALARS[kind](node)

    def table(self, node: yaml.Node, kind: Any, path: str) -> dict[str, Any]:
        """Return values under names that the file chooses."""
        what = "a name for each node (`NODE: its name there`)" if kind is str else "tools with their commands"
        if not isinstance(node, yaml.MappingNode):
            raise ValueError(f"expected {what}, found {_shape(node)}")  # noqa: TRY004
        found: dict[str, Any] = {}
        for key, value in node.value:
            name = _scalar(key, "a name", "str")
            where = f"{path}.{name}"
            if name in found:
                self.wrong(_line(key), where, "given twice")
            self.lines[where] = _line(key)
            if _blank(value) and kind is not str:
                found[name] = kind()
                continue
            try:
                found[name] = self.value(value, kind, where)
            except ValueError as error:
                self.wrong(_line(value), where, str(error))
        return found

    def command(self, node: yaml.Node, expected: str) -> Command:
        """Return a command: a line, or one that says that it needs a shell."""
        if isinstance(node, yaml.ScalarNode):
            return Command.parse(_scalar(node, expected, "str"))
        key, value = _only(node, expected)
        if key != "shell":
            raise ValueError(f"expected {expected}, found the key {key!r}")
        return Command.by_shell(_text(value))

    def check(self, node: yaml.Node, path: str) -> Check:
        """Return a check: a command, or one of those that are built in."""
        if isinstance(node, yaml.ScalarNode):
            return self.command(node, CHECK)
        key, value = _only(node, CHECK)
        if key == "address":
            return AddressCheck.parse(_text(value))
        if key not in ("frr", "bird"):
            return self.command(node, CHECK)
        before = len(self.problems)
        found = self.mapping(value, FrrCheck if key == "frr" else BirdCheck, f"{path}.{key}")
        if len(self.problems) == before and (flaw := found.flaw()):
            raise ValueError(f"{key}: {flaw}")
        return typing.cast("Check", found)

    def items(self, node: yaml.SequenceNode, kind: Any, path: str) -> Iterator[Any]:
        for place, item in enumerate(node.value):
            if _blank(item):
                continue
            try:
                yield self.value(item, kind, f"{path}[{place}]")
            except ValueError as error:
                self.wrong(_line(item), f"{path}[{place}]", str(error))

    def lacks(self, key: str, message: str) -> None:
        parts = key.split(".")
        nearest = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
        self.wrong(next((self.lines[part] for part in nearest if part in self.lines), 0), key, message)

    def permissions(self, path: Path) -> None:
        """Note a file that others could have written, or one with secrets in it that everybody may read."""
        found = path.stat()
        if found.st_uid not in (0, os.geteuid()):
            self.wrong(
                0, "", f"belongs to uid {found.st_uid}, who could make habeat run anything: run `chown root {path}`"
            )
        if found.st_mode & 0o022:
            self.wrong(0, "", f"can be written by others, who could make habeat run anything: run `chmod go-w {path}`")
        if self.secrets and found.st_mode & stat.S_IROTH:
            named = " and ".join(self.secrets)
            self.wrong(0, "", f"holds a secret ({named}) and everybody may read it: run `chmod 600 {path}`")


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _blank(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and (node.tag.endswith(":null") or node.value.strip() == "")


def _shape(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return repr(node.value)
    return "a list" if isinstance(node, yaml.SequenceNode) else "keys and values"


def _only(node: yaml.Node, expected: str) -> tuple[str, yaml.Node]:
    """Return the one key of a mapping, and its value."""
    if not isinstance(node, yaml.MappingNode) or len(node.value) != 1:
        raise ValueError(f"expected {expected}, found {_shape(node)}")
    key, value = node.value[0]
    return str(key.value), value


def _scalar(node: yaml.Node, expected: str, *tags: str) -> str:
    if not isinstance(node, yaml.ScalarNode) or node.tag.rpartition(":")[2] not in tags:
        raise ValueError(f"expected {expected}, found {_shape(node)}")
    return str(node.value)


def _choice(node: yaml.Node, allowed: tuple[str, ...]) -> str:
    expected = "one of " + ", ".join(allowed)
    text = str(node.value) if isinstance(node, yaml.ScalarNode) else ""
    if text in allowed:
        return text
    near = difflib.get_close_matches(text, allowed, n=1)
    raise ValueError(f"expected {expected}, found {_shape(node)}{f'; did you mean {near[0]}?' if near else ''}")


def _text(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode) and not node.tag.endswith(":str"):
        raise ValueError(f"expected text, found {node.value!r}; put it in quotes")
    return _scalar(node, "text", "str")


def _bool(node: yaml.Node) -> bool:
    return _scalar(node, "true or false", "bool").lower() in ("true", "yes", "on")


def _int(node: yaml.Node) -> int:
    text = _scalar(node, "a whole number", "int").replace("_", "")
    if not text.lstrip("+-").isdigit():
        raise ValueError(f"expected a whole number, found {text!r}")
    return int(text)


def _count(node: yaml.Node) -> int:
    number = _int(node)
    if number < 1:
        raise ValueError(f"expected a whole number from 1, found {number}")
    return number


def _port(node: yaml.Node) -> int:
    number = _int(node)
    if not 1 <= number <= 65535:
        raise ValueError(f"expected a port from 1 to 65535, found {number}")
    return number


def duration(text: str) -> float:
    """Return a duration in seconds; raises ValueError with what was expected."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?", text)
    if match is None or float(match[1]) <= 0:
        raise ValueError(f"expected {DURATION}, found {text!r}")
    return float(match[1]) * UNITS[match[2] or "s"]


def _duration(node: yaml.Node) -> float:
    return duration(_scalar(node, DURATION, "int", "float", "str"))


def _hostname(node: yaml.Node) -> str:
    text = _scalar(node, "a host name", "str")
    if not HOST.fullmatch(text):
        raise ValueError(f"expected a host name, found {text!r}")
    return text


def _address(node: yaml.Node) -> str:
    text = _scalar(node, "an IP address or a host name", "str", "int", "float")
    try:
        return str(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        if not HOST.fullmatch(text) or re.fullmatch(r"[\d.]+", text):
            raise ValueError(f"expected an IP address or a host name, found {text!r}") from None
    return text


def _service(node: yaml.Node) -> str:
    text = _text(node)
    if text != DEFAULT:
        ServiceUrl.parse(text)
    return text


_SCALARS: dict[Any, Any] = {
    str: _text,
    bool: _bool,
    int: _int,
    Count: _count,
    Port: _port,
    Duration: _duration,
    Hostname: _hostname,
    Address: _address,
    Service: _service,
}
