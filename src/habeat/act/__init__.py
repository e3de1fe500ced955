"""Adapters that change the world: Carbonio, the directory, locks; all commands go through `run`."""
