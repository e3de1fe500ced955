"""HTTP for all adapters: one call, one deadline for the whole of it, TLS verified, no secret in any error."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
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
        except (ValueError, RecursionError) as error:
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
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def call(self, method: str, path: str, body: bytes | None = None) -> Reply:
        """Make one call; raises HttpError if there is no complete answer within the time-out."""
        connection = self._connection()
        alarm = _Alarm(connection, self.timeout)
        try:
            alarm.start()  # a TLS handshake can trickle too
            connection.connect()
            connection.request(method, path, body, dict(self.headers))
            response = connection.getresponse()
            body = _body(response)
            if alarm.rang:
                raise TimeoutError
            return Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, body)
        except ssl.SSLCertVerificationError as error:
            raise HttpError(f"its TLS certificate is not trusted ({error.verify_message})") from error
        except ValueError as error:  # its text would quote what could not be sent, such as a token
            raise HttpError("cannot be asked: the request has characters that HTTP cannot carry") from error
        except (OSError, http.client.HTTPException) as error:
            if alarm.rang or isinstance(error, TimeoutError):
                raise HttpError(f"did not answer within {self.timeout:g} s") from error
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise HttpError(f"cannot be asked ({reason})") from error
        finally:
            alarm.cancel()
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self.scheme != "https":
            return http.client.HTTPConnection(self.host, self.port, timeout=self.timeout)
        try:
            context = ssl.create_default_context(cafile=self.ca_file or None)
        except OSError as error:
            raise HttpError(f"the CA file {self.ca_file} cannot be read ({error.strerror or error})") from error
        return http.client.HTTPSConnection(self.host, self.port, timeout=self.timeout, context=context)


class _Alarm:
    """Breaks a connection off when its time is up; a socket's own time-out starts anew with every byte."""

    def __init__(self, connection: http.client.HTTPConnection, seconds: float) -> None:
        self.rang = False
        self._connection = connection
        self._deadline = time.monotonic() + seconds
        self._timer: threading.Timer | None = None

    def start(self) -> None:
        """Set the alarm."""
        self._timer = threading.Timer(max(0.0, self._deadline - time.monotonic()), self._ring)
        self._timer.daemon = True
        self._timer.start()

    def cancel(self) -> None:
        """Unset it."""
        if self._timer is not None:
            self._timer.cancel()

    def _ring(self) -> None:
        self.rang = True
        with contextlib.suppress(OSError, AttributeError):
            self._connection.sock.shutdown(socket.SHUT_RDWR)


def _body(response: http.client.HTTPResponse) -> bytes:
    body = response.read(LARGEST_BODY + 1)
    if len(body) > LARGEST_BODY:
        raise HttpError(f"answered more than {LARGEST_BODY} bytes")
    if response.length:
        raise http.client.HTTPException(f"it broke off with {response.length} bytes missing")
    return body
