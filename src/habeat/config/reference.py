"""What is generated from the model: the JSON schema, the reference page, and the effective configuration as text."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from typing import Any

import yaml

from habeat.config.fields import Address, Count, Duration, Hostname, Names, Port, Service, bare, key_of
from habeat.config.model import Config
from habeat.config.switch import BirdCheck, Check, Command, FrrCheck, Switch, Switches


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties}


_JSON: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    Count: {"type": "integer", "minimum": 1},
    Port: {"type": "integer", "minimum": 1, "maximum": 65535},
    Duration: {"type": ["number", "string"], "pattern": r"^\d+(\.\d+)?\s*(ms|s|m|h|d)?$"},
    Hostname: {"type": "string", "format": "hostname"},
    Address: {"type": "string"},
    Service: {"type": "string", "examples": ["default", "tcp://{ip}:7025"]},
    Names: {"type": "object", "additionalProperties": {"type": "string"}},
    Command: {"anyOf": [{"type": "string"}, _object({"shell": {"type": "string"}})]},
}
_WORDS: dict[Any, str] = {
    str: "text",
    bool: "true or false",
    int: "whole number",
    Count: "whole number from 1",
    Port: "port",
    Duration: "duration",
    Hostname: "host name",
    Address: "address",
    Service: "service",
    Names: "names",
    Switches: "tools",
    Command: "commands",
    Check: "checks",
}


TABLE = ("| key | value | default | meaning |", "|---|---|---|---|")
SWITCHES = (
    "## Switches",
    "",
    "Under `proxy_switch` and `service_switch` each tool has a name of your choice, and these keys.",
    'A command is a line such as `vtysh -c "clear bgp *"`: quotes are respected, and no shell sees it. One that needs',
    'a shell says so: `{shell: "a | b"}`.',
)
CHECKS = (
    'A check is a command (its exit code says 0 for yes, 1 for no, and all else for "cannot tell"), or',
    '`address: 192.0.2.10/32 on lo`, `frr: {…}` or `bird: {…}`. "Cannot tell" is never taken for a no.',
)


def schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of the configuration file."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "habeat", **_schema(Config)}


def reference() -> str:
    """Return the reference page in Markdown."""
    lines = [
        "# Configuration reference",
        "",
        "Generated from `src/habeat/config/model.py` by `make docs`. Blank values are the same as absent ones.",
        "Durations are numbers (seconds) or `500ms`, `90s`, `5m`, `8h`, `2d`.",
    ]
    for declared, kind in _fields(Config):
        name = key_of(declared)
        lines += [
            "",
            f"## `{name}`",
            "",
            f"{_sentence(declared)}",
            "",
            *TABLE,
        ]
        lines += _rows(kind, "")
    lines += ["", *SWITCHES, "", *TABLE, *_rows(Switch, ""), "", *CHECKS]
    for name, kind in (("frr", FrrCheck), ("bird", BirdCheck)):
        lines += ["", f"`{name}`: {(kind.__doc__ or '').rstrip()}", "", *TABLE, *_rows(kind, "")]
    return "\n".join(lines) + "\n"


def effective(config: Config) -> str:
    """Return the configuration in force as YAML, defaults filled in, secrets hidden."""
    return yaml.safe_dump(plain(config), sort_keys=False, allow_unicode=True, default_flow_style=False)


def _fields(kind: Any) -> Iterator[tuple[dataclasses.Field[Any], Any]]:
    hints = typing.get_type_hints(kind)
    for declared in dataclasses.fields(kind):
        if not declared.metadata.get("internal"):
            yield declared, bare(hints[declared.name])


def _schema(kind: Any) -> dict[str, Any]:
    if kind is Check:
        built_in = {"frr": _schema(FrrCheck), "bird": _schema(BirdCheck), "address": {"type": "string"}}
        return {"anyOf": [*_JSON[Command]["anyOf"], *(_object({name: form}) for name, form in built_in.items())]}
    if dataclasses.is_dataclass(kind) and kind is not Command:
        properties = {}
        for declared, inner in _fields(kind):
            for name in (key_of(declared), *declared.metadata["aliases"]):
                properties[name] = {
                    "description": declared.metadata["doc"],
                    "anyOf": [_schema(inner), {"type": "null"}],
                }
        return _object(properties)
    if kind == Switches:
        return {"type": "object", "additionalProperties": {"anyOf": [_schema(Switch), {"type": "null"}]}}
    if typing.get_origin(kind) is tuple:
        return {"type": "array", "items": {"anyOf": [_schema(typing.get_args(kind)[0]), {"type": "null"}]}}
    if typing.get_origin(kind) is typing.Literal:
        return {"enum": list(typing.get_args(kind))}
    return _JSON[kind]


def _rows(kind: Any, prefix: str) -> Iterator[str]:
    for declared, inner in _fields(kind):
        name = prefix + key_of(declared)
        if dataclasses.is_dataclass(inner):
            yield from _rows(inner, f"{name}.")
            continue
        also = "".join(f" (also `{prefix}{alias}`)" for alias in declared.metadata["aliases"])
        default = "" if declared.default in (None, "", (), dataclasses.MISSING) else f"`{plain(declared.default)}`"
        yield f"| `{name}`{also} | {_words(inner)} | {default} | {declared.metadata['doc']} |"


def _words(kind: Any) -> str:
    if typing.get_origin(kind) is tuple:
        return f"list of {_words(typing.get_args(kind)[0])}"
    if typing.get_origin(kind) is typing.Literal:
        return ", ".join(f"`{choice}`" for choice in typing.get_args(kind))
    return _WORDS[kind]


def _sentence(declared: dataclasses.Field[Any]) -> str:
    doc = str(declared.metadata["doc"])
    return f"{doc[0].upper()}{doc[1:]}."


def plain(value: Any) -> Any:
    """Return the configuration in force, or a part of it, as plain JSON types with secrets hidden."""
    if isinstance(value, Check):
        return value.written()
    if dataclasses.is_dataclass(value):
        return {
            key_of(declared): "***"
            if declared.metadata["secret"] and getattr(value, declared.name)
            else plain(getattr(value, declared.name))
            for declared in dataclasses.fields(value)
            if not declared.metadata.get("internal")
        }
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() else value
