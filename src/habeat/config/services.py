"""How the configuration names a service that is probed: `tcp://{ip}:7025`, `https://{ip}:7071/PATH 200,204`."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from habeat.model import Target

DEFAULT = "default"
DEFAULTS = {
    "appserver": ("tcp://{ip}:7025", "https://{ip}:7071/service/health/ready"),
    "proxyserver": ("tcp://{ip}:443", "tcp://{ip}:993"),
    "mta": ("tcp://{ip}:25", "tcp://{ip}:465"),
    "collaboration": ("tcp://{ip}:8301",),
    "video": ("tcp://{ip}:8301",),
}
"""What the word `default` in `probes.services` stands for, by role: ports and paths of Carbonio's nodes.

Files, Docs and the video server listen to the mesh alone; what can be asked from outside is the mesh's own agent.
"""

FORM = "`default`, `tcp://{ip}:PORT` or `http(s)://{ip}[:PORT]/PATH`, the latter perhaps with statuses: ` 200,204`"
PORTS = {"http": 80, "https": 443}
_WRITTEN = re.compile(
    r"(?P<scheme>tcp|https?)://(?P<host>\{ip\}|\{name\})(:(?P<port>[1-9]\d{0,4}))?(?P<path>/[!-~]*)?"
    r"( +(?P<statuses>[1-5]\d\d(,[1-5]\d\d)*))?"
)


@dataclass(frozen=True)
class ServiceUrl:
    """A service on the target as the configuration names it; no `statuses` means that any below 400 will do.

    Its host can only be the target's, so that what answers or is dead is surely there.
    """

    scheme: str
    host: str
    port: int
    path: str = ""
    statuses: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> ServiceUrl:
        """Return the parts of an address, its placeholder among them; raises ValueError with what was expected."""
        match = _WRITTEN.fullmatch(text.strip())
        port = int((match and match["port"]) or PORTS.get(match["scheme"] if match else "", 0))
        plain = match is not None and match["scheme"] == "tcp"
        if match is None or not 1 <= port <= 65535 or (plain and (match["path"] or match["statuses"])):
            found = "one with a user name or password" if "@" in text else repr(text)
            raise ValueError(f"expected {FORM}, found {found}")
        statuses = tuple(int(status) for status in match["statuses"].split(",")) if match["statuses"] else ()
        return cls(match["scheme"], match["host"], port, "" if plain else match["path"] or "/", statuses)

    def at(self, target: Target) -> ServiceUrl:
        """Return the same service on one target."""
        return replace(self, host={"{ip}": target.address, "{name}": target.name}[self.host])

    def __str__(self) -> str:
        """Return all that makes it this service, the wanted statuses too."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        wanted = f" ({', '.join(map(str, self.statuses))})" if self.statuses else ""
        return f"{self.scheme}://{host}:{self.port}{self.path}{wanted}"
