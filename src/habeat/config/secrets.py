"""Secrets: from the configuration, from a file that it names, or from systemd's credentials."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from habeat.config.model import Config
from habeat.errors import ConfigError, Problem

WORD = re.compile(r"[!-~]+")
LINE = re.compile(r"[^\x00-\x1f\x7f]+")


@dataclass(frozen=True)
class Secret:
    """Where a section keeps its secret, and what it may look like."""

    section: str
    key: str
    file_key: str
    form: re.Pattern[str]
    expected: str

    def of(self, config: Config) -> str:
        """Return the secret, or "" where there is none; raises ValueError with what is wrong, never quoting it."""
        section = getattr(config, self.section)
        text, file = str(getattr(section, self.key)), str(getattr(section, self.file_key))
        if text and file:
            raise ValueError(f"is given beside {self.section}.{self.file_key}; give one of the two")
        if text and not self.form.fullmatch(text):
            raise ValueError(f"expected {self.expected}")
        if text:
            return text
        if file:
            if not file.startswith("/"):
                raise ValueError("expected the path of a file, from the root on")
            return self._read(Path(file))
        handed = Path(os.environ.get("CREDENTIALS_DIRECTORY", "/nowhere")) / f"habeat.{self.section}.{self.key}"
        return self._read(handed) if handed.exists() else ""

    def _read(self, path: Path) -> str:
        try:
            found = path.stat()
            text = path.read_text(encoding="utf-8").strip() if stat.S_ISREG(found.st_mode) else ""
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ValueError(f"{path} is not UTF-8 text") from None
        if not stat.S_ISREG(found.st_mode):
            raise ValueError(f"{path} is not a file")
        if found.st_mode & stat.S_IROTH:
            raise ValueError(f"{path} can be read by everybody: run `chmod 600 {path}`")
        if not self.form.fullmatch(text):
            raise ValueError(f"{path} must hold the {self.key.removeprefix('api_')} alone: {self.expected}")
        return text


_WORD = "one word of ASCII letters, digits and signs"
_LONG = "one word of at least 16 ASCII letters, digits and signs, such as `openssl rand -hex 32` makes"
SECRETS = {
    "consul": Secret("consul", "token", "token_file", WORD, _WORD),
    "hetrix": Secret("hetrix", "api_token", "token_file", WORD, _WORD),
    "guard": Secret("guard", "secret", "secret_file", re.compile(r"[!-~]{16,}"), _LONG),
    "vcenter": Secret("vcenter", "password", "password_file", LINE, "one line of text"),
}
"""By section; as a systemd credential each is called `habeat.SECTION.KEY`."""


def secret_of(config: Config, section: str) -> str:
    """Return a section's secret; raises ConfigError where its file cannot be read (any more)."""
    try:
        return SECRETS[section].of(config)
    except ValueError as error:
        key = f"{section}.{SECRETS[section].file_key}"
        raise ConfigError([Problem(str(config.path), 0, key, str(error))]) from None
