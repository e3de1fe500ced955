"""Measure a healthy `habeat check`, whole process: seconds and MiB, beside any other command in the same run.

    python bench/check.py [--runs N] [--against COMMAND…]

It is measured as installed from source, and as the single file that nodes get. The peer answers (ICMP as root, TCP
otherwise) and the witness is the embedded one. `--against` takes the rest of the line as a command, such as another
tool's healthy cycle, and prints the ratio; runs alternate, so that all see the same machine.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from habeat.lab.sites import PRIMARY, Lab

BUILD = Path(__file__).parents[1] / "scripts" / "build.py"
BAR_SECONDS, BAR_MIB = 0.2, 30.0


def once(argv: Sequence[str]) -> tuple[float, float]:
    """Run a command, and return its wall-clock seconds and its largest resident size in MiB."""
    begun = time.perf_counter()
    pid = os.posix_spawnp(
        argv[0],
        list(argv),
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        ],
    )
    _, _, usage = os.wait4(pid, 0)
    return time.perf_counter() - begun, usage.ru_maxrss * resource.getpagesize() / 4096 / 1024


def tell(name: str, results: list[tuple[float, float]]) -> float:
    """Print the median and the spread, and return the median seconds."""
    seconds, mib = (sorted(values) for values in zip(*results, strict=True))
    median: float = statistics.median(seconds)
    print(f"{name:8} {median:.3f} s (best {seconds[0]:.3f}, worst {seconds[-1]:.3f}), {statistics.median(mib):.1f} MiB")
    return median


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure a healthy habeat check.")
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--against", nargs=argparse.REMAINDER, default=[])
    options = parser.parse_args()
    with Lab(1) as lab:
        if os.geteuid() == 0:
            lab.configure({"probes": {"reach": "icmp"}})
        ours, single, theirs = [], [], []
        lab.check()
        file = lab.folder / "habeat.pyz"
        subprocess.run([sys.executable, str(BUILD), str(file)], check=True, stdout=subprocess.DEVNULL)
        for _ in range(options.runs):
            argv = lab.argv("check")
            ours.append(once(argv))
            single.append(once([sys.executable, str(file), *argv[argv.index("check") :]]))
            if options.against:
                theirs.append(once(options.against))
        checked = lab.check()
        assert checked.code == 0, checked.said
        assert f"{PRIMARY} is up" in checked.said
    tell("source", ours)
    median = tell("file", single)
    print(f"bar      {BAR_SECONDS:.3f} s, {BAR_MIB:.1f} MiB")
    if theirs:
        print(f"ratio    {median / tell('against', theirs):.2f} of the other command's time")
    sys.exit(0)


if __name__ == "__main__":
    main()
