"""HTTP for all adapters: one call, one deadline for the whole of it, TLS verified, no secret in any error."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from habeat.errors import LOCAL_FAULTS, Fault, HttpError

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
    verify_tls: bool = True
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def call(self, method: str, path: str, body: bytes | None = None) -> Reply:
        """Make one call; raises HttpError if there is no complete answer within the time-out."""
        connection, connected = self._connection(), False
        try:
            with Alarm(self.timeout) as alarm:  # a TLS handshake can trickle too
                alarm.watch(connection)
                connection.connect()
                connected = True
                alarm.check()  # it may have rung when there was nothing to break off yet
                connection.request(method, path, body, dict(self.headers))
                response = connection.getresponse()
                body = _body(response)
                alarm.check()
            return Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, body)
        except ssl.SSLCertVerificationError as error:
            said = f"its TLS certificate is not trusted ({error.verify_message})"
            raise HttpError(said, Fault.UNTRUSTED) from error
        except ValueError as error:  # its text would quote what could not be sent, such as a token
            raise HttpError("cannot be asked: the request has characters that HTTP cannot carry", Fault.OURS) from error
        except (OSError, http.client.HTTPException) as error:
            connected = connected or connection.sock is not None
            if alarm.rang or isinstance(error, TimeoutError):
                fault = Fault.MUTE if connected else Fault.SILENT
                raise HttpError(f"did not answer within {self.timeout:g} s", fault) from error
            fault = _fault(error, connected=connected)
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise HttpError(f"cannot be asked ({reason})", fault) from error
        finally:
            connection.close()

    def greet(self) -> None:
        """Prove that the server is there, over trusted TLS where that is used, and ask it nothing; raises HttpError."""
        connection = self._connection()
        try:
            with Alarm(self.timeout) as alarm:
                alarm.watch(connection)
                connection.connect()
                alarm.check()
        except (OSError, http.client.HTTPException) as error:
            raise HttpError(f"cannot be reached ({error})", Fault.SILENT) from error
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self.scheme != "https":
            return http.client.HTTPConnection(self.host, self.port, timeout=self.timeout)
        context = tls_context(self.ca_file, verify=self.verify_tls)
        return http.client.HTTPSConnection(self.host, self.port, timeout=self.timeout, context=context)


def tls_context(ca_file: str, *, verify: bool) -> ssl.SSLContext:
    """Return how to speak TLS: trusting one CA file, or the system's; raises HttpError if the file is no good."""
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:
        raise HttpError(f"the CA file {ca_file} cannot be read ({error.strerror or error})", Fault.OURS) from error
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class Alarm:
    """Breaks connections off when its time is up; a socket's own time-out starts anew with every byte."""

    def __init__(self, seconds: float) -> None:
        self.rang = False
        self._connections: list[http.client.HTTPConnection] = []
        self._timer = threading.Timer(seconds, self._ring)
        self._timer.daemon = True

    def __enter__(self) -> Alarm:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def watch(self, connection: http.client.HTTPConnection) -> None:
        """Break this connection off too when the time is up."""
        self._connections.append(connection)

    def check(self) -> None:
        """Raise TimeoutError if the time is up."""
        if self.rang:
            raise TimeoutError

    def _ring(self) -> None:
        self.rang = True
        for connection in self._connections:
            with contextlib.suppress(OSError, TypeError):  # there may be no socket yet
                socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)  # TLS's own would first drop to clear text


def _fault(error: Exception, *, connected: bool) -> Fault:
    if isinstance(error, ConnectionRefusedError):
        return Fault.REFUSED
    if isinstance(error, socket.gaierror) or getattr(error, "errno", None) in LOCAL_FAULTS:
        return Fault.OURS
    return Fault.BROKEN if connected else Fault.SILENT


def _body(response: http.client.HTTPResponse) -> bytes:
    body = response.read(LARGEST_BODY + 1)
    if len(body) > LARGEST_BODY:
        raise HttpError(f"answered more than {LARGEST_BODY} bytes")
    if response.length:
        raise http.client.HTTPException(f"it broke off with {response.length} bytes missing")
    return body
