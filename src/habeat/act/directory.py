"""Is the directory there, and would it take a write? A promotion is a write to Carbonio's LDAP.

Port 389 of a host may be a proxy rather than a directory, so the answer must be LDAP. Whether it takes writes is
asked, with Carbonio's own name and over trusted TLS only, by changing an entry that does not exist: a writable
directory says noSuchObject, a read-only one unwillingToPerform, a replica names its master. Nothing is ever changed.
"""

from __future__ import annotations

import math
import ssl
import threading
from dataclasses import dataclass, field
from typing import Any

from habeat.act.run import Runner
from habeat.errors import CommandError, HabeatError

PORTS = (("ldap", 389), ("ldaps", 636))
ABSENT = "cn=habeat-asks-whether-this-directory-takes-writes,cn=zimbra"
READ_ONLY = {"referral", "unwillingToPerform"}


class DirectoryError(HabeatError):
    """The directory cannot be used for a promotion."""


@dataclass(frozen=True)
class Credentials:
    """Who asks; without a name only whether a directory is there can be asked."""

    name: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True)
class Directory:
    """A directory server; `ca_file` holds the CA that its certificate must come from, `timeout` bounds each call."""

    host: str
    timeout: float
    ca_file: str = ""

    def require(self, credentials: Credentials) -> str:
        """Return a clause on what was proved; raises DirectoryError where the directory is absent or read-only.

        All questions together take no longer than four time-outs: a server that trickles must not hold anything up.
        """
        answers: list[str | DirectoryError] = []
        asking = threading.Thread(target=lambda: answers.append(self._answer(credentials)), daemon=True)
        asking.start()
        asking.join(4 * self.timeout)
        answer = answers[0] if answers else DirectoryError(f"the directory {self.host} does not come to an end")
        if isinstance(answer, DirectoryError):
            raise answer
        return answer

    def _answer(self, credentials: Credentials) -> str | DirectoryError:
        import ldap3  # noqa: PLC0415  slow to import, and needed only in a failover

        errors = []
        for scheme, port in PORTS:
            url = f"{scheme}://{self.host}:{port}"
            try:
                self._connection(ldap3, url, None).unbind()
            except Exception as error:  # noqa: BLE001  whatever ldap3 makes of garbage: it is not a directory
                errors.append(f"{url}: {' '.join(str(error).split())}")
                continue
            try:
                return self._writable(ldap3, url, credentials)
            except DirectoryError as error:
                return error
            except Exception as error:  # noqa: BLE001  likewise
                why = " ".join(str(error).split())
                return f"the directory answers at {url} (whether it takes writes could not be asked: {why})"
        return DirectoryError(f"the directory does not answer: {'; '.join(errors)}")

    def _writable(self, ldap3: Any, url: str, credentials: Credentials) -> str:
        if not credentials.name:
            return f"the directory answers at {url} (whether it takes writes could not be asked: no credentials)"
        connection = self._connection(ldap3, url, credentials)
        try:
            connection.modify(ABSENT, {"description": [(ldap3.MODIFY_REPLACE, ["-"])]})
            verdict = connection.result["description"]
        finally:
            connection.unbind()
        if verdict in READ_ONLY:
            raise DirectoryError(f"the directory at {url} would not take a write ({verdict})")
        if verdict != "noSuchObject":
            return f"the directory answers at {url} (whether it takes writes is unclear: {verdict})"
        return f"the directory at {url} takes writes"

    def _connection(self, ldap3: Any, url: str, credentials: Credentials | None) -> Any:
        """Return a connection bound with credentials over trusted TLS, or anonymously with any."""
        validate = ssl.CERT_REQUIRED if credentials else ssl.CERT_NONE
        tls = ldap3.Tls(validate=validate, ca_certs_file=self.ca_file or None)
        server = ldap3.Server(url, connect_timeout=self.timeout, get_info=ldap3.NONE, tls=tls)
        connection = ldap3.Connection(
            server,
            user=credentials.name if credentials else None,
            password=credentials.password if credentials else None,
            receive_timeout=math.ceil(self.timeout),
            auto_referrals=False,
        )
        try:
            _bind(connection, url, credentials)
        except BaseException:
            if connection.socket is not None:  # ldap3 leaves it open
                connection.socket.close()
            raise
        return connection


def _bind(connection: Any, url: str, credentials: Credentials | None) -> None:
    connection.open()
    if credentials and url.startswith("ldap:") and not connection.start_tls():
        raise OSError(f"it does not start TLS: {connection.result['description']}")
    if not connection.bind() and credentials:
        raise OSError(f"it refuses {credentials.name}: {connection.result['description']}")


def carbonio_credentials(runner: Runner, zmlocalconfig: str, timeout: float) -> Credentials:
    """Return the name and password under which Carbonio writes to its directory, or none where they are not told."""
    try:
        done = runner.run([zmlocalconfig, "-x", "-s", "zimbra_ldap_userdn", "zimbra_ldap_password"], timeout)
    except CommandError:
        return Credentials()
    told = dict(line.split(" = ", 1) for line in done.stdout.splitlines() if " = " in line)
    name, password = told.get("zimbra_ldap_userdn"), told.get("zimbra_ldap_password")
    return Credentials(name, password) if name and password else Credentials()
