"""What is generated from the model: the JSON schema, the reference page, and the effective configuration as text."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from typing import Any

import yaml

from habeat.config.model import Address, Config, Count, Duration, Hostname, Port, Service, bare, key_of

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
    dict[str, str]: {"type": "object", "additionalProperties": {"type": "string"}},
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
    dict[str, str]: "names",
}


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
            "| key | value | default | meaning |",
            "|---|---|---|---|",
        ]
        lines += _rows(kind, "")
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
    if dataclasses.is_dataclass(kind):
        properties = {}
        for declared, inner in _fields(kind):
            for name in (key_of(declared), *declared.metadata["aliases"]):
                properties[name] = {
                    "description": declared.metadata["doc"],
                    "anyOf": [_schema(inner), {"type": "null"}],
                }
        return {"type": "object", "additionalProperties": False, "properties": properties}
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
    if isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
