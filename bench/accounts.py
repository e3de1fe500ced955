"""Measure a whole failover: seconds, starts of Carbonio's commands, and our own CPU and memory, commands not counted.

    python bench/accounts.py [--accounts N] [--batch N] [--startup SECONDS]

Most of the seconds are the simulator's own: it reads and writes a world of N accounts at every start.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

from habeat.lab.sites import ENVIRONMENT, Lab

WATCHED = """
import atexit, resource, sys
from habeat.cli import main

def tell():
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(f"ours     {used.ru_utime + used.ru_stime:.2f} s of CPU, {used.ru_maxrss / 1024:.0f} MiB", file=sys.stderr)

atexit.register(tell)
main()
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure a failover of many accounts.")
    parser.add_argument("--accounts", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--startup", type=float, default=0.0)
    options = parser.parse_args()
    overrides = {
        "carbonio": {"batch": options.batch, "timeout": "1h", "promote_timeout": "1h"},
        "policy": {"confirmations": 1},
    }
    with Lab(options.accounts, overrides=overrides, world={"startup": options.startup}) as lab:
        lab.kill()
        begun = time.perf_counter()
        argv = [sys.executable, "-c", WATCHED, *lab.argv("check")[3:]]
        done = subprocess.run(argv, capture_output=True, text=True, check=True, env=ENVIRONMENT)
        print(done.stdout.splitlines()[-1])
        print(f"whole    {time.perf_counter() - begun:.1f} s, {lab.cli_starts()} starts of Carbonio's commands")
        print(done.stderr.strip())


if __name__ == "__main__":
    main()
