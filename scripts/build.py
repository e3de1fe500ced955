"""Build the single file `dist/habeat` for offline mail servers: habeat and its dependencies, pure Python, zipped.

    python scripts/build.py [--interpreter PYTHON] [--extra vcenter] [OUTPUT]

It holds the sources, which run on every CPython that habeat supports (older ones are told so in a sentence), and what
this Python compiled of them, which starts faster on a Python of the same version. The dependencies are those installed
beside this Python, which `make build` has just installed from the hashed lock.
"""

from __future__ import annotations

import argparse
import py_compile
import shutil
import tempfile
import zipapp
from collections.abc import Sequence
from importlib import metadata
from importlib.util import MAGIC_NUMBER
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DEPENDENCIES = ("click", "icmplib", "ldap3", "pyasn1", "PyYAML")
EXTRAS = {"vcenter": ("pyvmomi",)}
MAIN = """\
import sys

if sys.version_info < (3, 10):
    sys.exit("habeat needs Python 3.10 or newer, and this is Python %d.%d" % sys.version_info[:2])

from importlib.util import MAGIC_NUMBER

sys.path.insert(0, sys.path[0] + "/compiled-" + MAGIC_NUMBER.hex())

from habeat.cli import main

main()
"""


def collect(folder: Path, names: Sequence[str]) -> None:
    """Copy habeat and the Python files of the named distributions into a folder."""
    shutil.copytree(ROOT / "src" / "habeat", folder / "habeat", ignore=shutil.ignore_patterns("__pycache__"))
    for name in names:
        for file in metadata.files(name) or ():
            if file.suffix in (".py", ".typed") or "licen" in file.name.lower() or file.name == "METADATA":
                target = folder / file
                if target.resolve().is_relative_to(folder.resolve()):
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(str(file.locate()), target)
    for source in list(folder.rglob("*.py")):
        compiled = folder / f"compiled-{MAGIC_NUMBER.hex()}" / source.relative_to(folder).with_suffix(".pyc")
        py_compile.compile(
            str(source),
            cfile=str(compiled),
            dfile=str(source.relative_to(folder)),
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
    (folder / "__main__.py").write_text(MAIN, encoding="utf-8")


def main() -> None:
    """Build."""
    parser = argparse.ArgumentParser(description="Build the single file.")
    parser.add_argument("output", nargs="?", type=Path, default=ROOT / "dist" / "habeat")
    parser.add_argument("--interpreter", default="/usr/bin/env python3")
    parser.add_argument("--extra", action="append", default=[], choices=sorted(EXTRAS))
    options = parser.parse_args()
    output: Path = options.output
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        collect(Path(folder), [*DEPENDENCIES, *(name for extra in options.extra for name in EXTRAS[extra])])
        zipapp.create_archive(folder, output, interpreter=options.interpreter, compressed=True)
    output.chmod(0o755)
    print(f"{output} ({output.stat().st_size // 1024} KiB)")


if __name__ == "__main__":
    main()
