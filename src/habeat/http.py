"""HTTP for all adapters: one call, one deadline for the whole of it, TLS verified, no secret in any error."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from habeat.errors import HttpError

LARGEST_BODY = 64 * 1024 * 1024


@dataclass(frozen=True)
class Reply:
    """One HTTP answer; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON; raises HttpError where it is none."""
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise HttpError(f"answered {self.status} with something that is not JSON") from error

    def text(self) -> str:
        """Return the start of the body on one line, for people."""
        return " ".join(self.body[:300].decode(errors="replace").split())


@dataclass(frozen=True)
class Endpoint:
    """A server to call: `scheme` is http or https; `timeout` in seconds bounds a whole call, slow answers included."""

    host: str
    port: int
    scheme: str = "http"
    timeout: float = 5.0
    ca_file: str = ""
    verify: bool = True
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def call(self, method: str, path: str, body: bytes | None = None) -> Reply:
        """Make one call; raises HttpError if there is no complete answer within the time-out."""
        deadline = time.monotonic() + self.timeout
        connection = self._connection()
        try:
            connection.request(method, path, body, dict(self.headers))
            self._bound(connection, deadline)
            response = connection.getresponse()
            return Reply(
                response.status,
                {name.lower(): value for name, value in response.getheaders()},
                self._body(connection, response, deadline),
            )
        except ssl.SSLCertVerificationError as error:
            raise HttpError(f"its TLS certificate is not trusted ({error.verify_message})") from error
        except TimeoutError as error:
            raise HttpError(f"did not answer within {self.timeout:g} s") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise HttpError(f"cannot be asked ({reason})") from error
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self.scheme != "https":
            return http.client.HTTPConnection(self.host, self.port, timeout=self.timeout)
        try:
            context = ssl.create_default_context(cafile=self.ca_file or None)
        except OSError as error:
            raise HttpError(f"the CA file {self.ca_file} cannot be read ({error.strerror or error})") from error
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return http.client.HTTPSConnection(self.host, self.port, timeout=self.timeout, context=context)

    def _bound(self, connection: http.client.HTTPConnection, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        if connection.sock is not None:
            connection.sock.settimeout(left)

    def _body(
        self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse, deadline: float
    ) -> bytes:
        parts: list[bytes] = []
        while part := response.read1(65536):
            parts.append(part)
            if sum(map(len, parts)) > LARGEST_BODY:
                raise HttpError(f"answered more than {LARGEST_BODY} bytes")
            self._bound(connection, deadline)
        return b"".join(parts)
