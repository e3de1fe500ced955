"""Tell people and other programs what happened: log, terminal, lock files, generated pages."""
