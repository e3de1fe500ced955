"""Does a service on the target work? A TCP connect, or an HTTP(S) request with an expected status."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from habeat.config.services import ServiceUrl
from habeat.errors import LOCAL_FAULTS, Fault, HttpError
from habeat.http import Endpoint
from habeat.model import Down, Evidence, Probe, Unknown, Up


@dataclass(frozen=True)
class TcpService:
    """Up to `count` connects, each with a time-out in seconds; here a refusal is the death of the service."""

    url: ServiceUrl
    count: int
    timeout: float
    kind: str = "service"

    @property
    def address(self) -> str:
        """Return what is asked."""
        return str(self.url)

    def __call__(self) -> Probe:
        """Return what the connects found."""
        for _ in range(self.count):
            try:
                socket.create_connection((self.url.host, self.url.port), self.timeout).close()
            except ConnectionRefusedError:
                return self._found(Down("refuses connections"), lives=True)
            except socket.gaierror as error:
                return self._found(Unknown(f"has no address: the name cannot be resolved ({error.strerror})"))
            except TimeoutError:
                continue
            except OSError as error:
                if error.errno in LOCAL_FAULTS:
                    return self._found(Unknown(f"cannot be asked from here: {error.strerror}"))
            else:
                return self._found(Up("answers"), lives=True)
        return self._found(Down(f"does not answer ({self.count} tries)"))

    def _found(self, evidence: Evidence, *, lives: bool = False) -> Probe:
        return Probe(self.kind, self.address, evidence, lives, answered=lives, port=self.url.port)


@dataclass(frozen=True)
class HttpService:
    """Up to `count` requests, each bounded as a whole; TLS is verified unless `verify_tls` says otherwise."""

    url: ServiceUrl
    count: int
    timeout: float
    verify_tls: bool = True
    ca_file: str = ""
    kind: str = "service"

    @property
    def address(self) -> str:
        """Return what is asked."""
        return str(self.url)

    def __call__(self) -> Probe:
        """Return what the requests found; the last one that failed is told."""
        endpoint = Endpoint(
            host=self.url.host,
            port=self.url.port,
            scheme=self.url.scheme,
            timeout=self.timeout,
            ca_file=self.ca_file,
            verify_tls=self.verify_tls,
        )
        probe = self._found(Unknown("was not asked"), Fault.OURS)
        for _ in range(self.count):
            try:
                status = endpoint.call("GET", self.url.path).status
            except HttpError as error:
                probe = self._failed(error)
            else:
                return self._found(self._judged(status), None)
            if not isinstance(probe.evidence, Down):
                break
        return probe

    def _failed(self, error: HttpError) -> Probe:
        told: dict[Fault, Evidence] = {
            Fault.OURS: Unknown(str(error)),
            Fault.UNTRUSTED: Unknown(f"answers, but {error}"),
            Fault.REFUSED: Down("refuses connections"),
        }
        return self._found(told.get(error.fault, Down(str(error))), error.fault)

    def _found(self, evidence: Evidence, fault: Fault | None) -> Probe:
        lives = fault not in (Fault.OURS, Fault.SILENT)
        return Probe(self.kind, self.address, evidence, lives, fault in (None, Fault.REFUSED), self.url.port)

    def _judged(self, status: int) -> Evidence:
        if status in self.url.statuses or (not self.url.statuses and status < 400):
            return Up(f"answers {status}")
        wanted = ", ".join(map(str, self.url.statuses)) or "one below 400"
        return Down(f"answers {status}, and {wanted} was expected")
