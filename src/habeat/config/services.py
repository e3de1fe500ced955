"""How the configuration names a service that is probed: `tcp://{ip}:7025`, `https://{ip}:7071/PATH 200,204`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from habeat.model import Target

DEFAULT = "default"
DEFAULTS = {"appserver": ("tcp://{ip}:7025", "https://{ip}:7071/service/health/ready")}
"""What the word `default` in `probes.services` stands for, by role: ports and paths of Carbonio's nodes."""

FORM = "`default`, `tcp://{ip}:PORT` or `http(s)://{ip}[:PORT]/PATH`, the latter perhaps with statuses: ` 200,204`"
PORTS = {"http": 80, "https": 443}
_STATUSES = re.compile(r"[1-5]\d\d(,[1-5]\d\d)*")


@dataclass(frozen=True)
class ServiceUrl:
    """A service as the configuration names it; no `statuses` means that any below 400 will do."""

    scheme: str
    host: str
    port: int
    path: str = ""
    statuses: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> ServiceUrl:
        """Return the parts of an address with or without placeholders; raises ValueError with what was expected."""
        wrong = ValueError(f"expected {FORM}, found {text!r}")
        url, _, statuses = text.strip().partition(" ")
        try:
            parts = urlsplit(url.replace("{ip}", "ip.invalid").replace("{name}", "name.invalid"))
            port = parts.port or PORTS.get(parts.scheme)
        except ValueError:
            raise wrong from None
        host = (parts.hostname or "").replace("ip.invalid", "{ip}").replace("name.invalid", "{name}")
        plain = parts.scheme == "tcp" and not (parts.path or parts.query or statuses)
        if not host or port is None or not (plain or parts.scheme in PORTS):
            raise wrong
        if parts.username is not None or (statuses and not _STATUSES.fullmatch(statuses.strip())):
            raise wrong
        path = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
        numbers = tuple(int(status) for status in statuses.strip().split(",")) if statuses else ()
        return cls(parts.scheme, host, port, "" if plain else path, numbers)

    def at(self, target: Target) -> ServiceUrl:
        """Return the same service on one target."""
        host = self.host.replace("{ip}", target.address).replace("{name}", target.name)
        return ServiceUrl(self.scheme, host, self.port, self.path, self.statuses)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"
