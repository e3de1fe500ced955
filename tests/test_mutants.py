"""The mutation check itself: each mutant is one change of the sources as they are now."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def mutants(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Give the script."""
    spec = importlib.util.spec_from_file_location("mutants", ROOT / "scripts" / "mutants.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "mutants", module)
    spec.loader.exec_module(module)
    return module


def test_every_mutant_is_a_change(mutants: ModuleType) -> None:
    """What is to be broken stands exactly once in its file, what takes its place is Python, and names are not used twice."""
    every = [*mutants.guards(), *mutants.BY_HAND]
    assert len(every) == len({mutant.what for mutant in every})
    for mutant in every:
        text = (ROOT / "src" / "habeat" / mutant.file).read_text(encoding="utf-8")
        assert 1 == text.count(mutant.old), mutant.what
        compile(text.replace(mutant.old, mutant.new), mutant.file, "exec")
