"""What the configuration's dataclasses are made of: kinds of values, and how a key is declared."""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import field
from typing import Any, NewType, TypeVar

T = TypeVar("T")

Duration = NewType("Duration", float)
"""Seconds; written as a number or as `500ms`, `90s`, `5m`, `8h`, `2d`."""

Address = NewType("Address", str)
"""An IPv4 or IPv6 address, or a host name."""

Hostname = NewType("Hostname", str)
"""A host name as Carbonio and the witnesses know it."""

Port = NewType("Port", int)
Count = NewType("Count", int)
"""A whole number from 1."""

Service = NewType("Service", str)
"""A service to probe, as `habeat.observe.service` reads it."""

Names = dict[str, str]
"""What a witness calls the nodes: `NODE: "its name there"`."""


def setting(default: T, doc: str, key: str = "", aliases: tuple[str, ...] = (), *, secret: bool = False) -> T:
    """Declare one key: its default, its description, its name in the file if it differs, and other spellings."""
    metadata = {"doc": doc, "key": key, "aliases": aliases, "secret": secret}
    if isinstance(default, dict):
        return field(default_factory=lambda: default, metadata=metadata)
    declared: T = field(default=default, metadata=metadata)
    return declared


def section(kind: type[T], doc: str) -> T:
    """Declare one section, all of it optional."""
    declared: T = field(default_factory=kind, metadata={"doc": doc, "key": "", "aliases": (), "secret": False})
    return declared


def key_of(declared: dataclasses.Field[Any]) -> str:
    """Return the name of a field in the file."""
    return str(declared.metadata["key"] or declared.name)


def bare(kind: Any) -> Any:
    """Return T of `T | None`, and any other type as it is."""
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        return next(part for part in typing.get_args(kind) if part is not types.NoneType)
    return kind
