"""An embedded witness that speaks the part of Consul's HTTP API that habeat uses; for machines without a Consul."""

from __future__ import annotations

import base64
import json
import threading
import uuid
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass
class Mesh:
    """What the cluster knows: nodes with address and status, their mail services, and whether it has a leader."""

    nodes: dict[str, str] = field(default_factory=dict)
    status: dict[str, str] = field(default_factory=dict)
    left: set[str] = field(default_factory=set)
    leader: bool = True
    sessions: set[str] = field(default_factory=set)
    keys: dict[str, dict[str, Any]] = field(default_factory=dict)
    services: dict[str, str] = field(default_factory=dict)


class EmbeddedConsul:
    """Serves a mesh at one address until it is closed."""

    def __init__(self, address: str, mesh: Mesh) -> None:
        self._server = ThreadingHTTPServer((address, 0), type("Handler", (_Handler,), {"mesh": mesh}))
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    mesh: Mesh

    def do_GET(self) -> None:
        """Answer a read."""
        path = unquote(urlsplit(self.path).path).removeprefix("/v1/")
        kind, _, name = path.rpartition("/")
        mesh = self.mesh
        if path == "agent/members":
            self._send(200, [{"Name": node, "Status": 3 if node in mesh.left else 1} for node in mesh.nodes])
        elif path == "status/peers":
            self._send(200, [f"{address}:8300" for address in mesh.nodes.values()])
        elif not mesh.leader:
            self._send(500, "No cluster leader")
        elif kind == "health/node":
            seen = name in mesh.nodes and name not in mesh.left
            checks = [{"CheckID": "serfHealth", "Status": mesh.status[name]}] if seen else []
            if name in mesh.services:
                checks.append({"ServiceName": "carbonio-mailbox", "Status": mesh.services[name]})
            self._send(200, [{"Node": name, **check} for check in checks])
        elif kind == "catalog/node":
            self._send(200, {"Node": {"Node": name, "Address": mesh.nodes[name]}} if name in mesh.nodes else None)
        elif path == "catalog/nodes":
            self._send(200, [{"Node": node, "Address": address} for node, address in mesh.nodes.items()])
        elif path.startswith("kv/"):
            item = mesh.keys.get(path.removeprefix("kv/"))
            self._send(200 if item else 404, [item] if item else None)
        else:
            self._send(404, "not part of the lab")

    def do_PUT(self) -> None:
        """Answer a write."""
        url = urlsplit(self.path)
        path = unquote(url.path).removeprefix("/v1/")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        mesh, session = self.mesh, path.rpartition("/")[2]
        if not mesh.leader:
            self._send(500, "No cluster leader")
        elif path == "session/create":
            session = str(uuid.uuid4())
            mesh.sessions.add(session)
            self._send(200, {"ID": session})
        elif path.startswith("session/renew/"):
            self._send(200 if session in mesh.sessions else 404, [])
        elif path.startswith("session/destroy/"):
            mesh.sessions.discard(session)
            for item in mesh.keys.values():
                item["Session"] = "" if item["Session"] == session else item["Session"]
            self._send(200, True)
        elif path.startswith("kv/"):
            ((order, (holder,)),) = parse_qs(url.query).items()
            change = self._acquire if order == "acquire" else self._release
            self._send(200, change(path.removeprefix("kv/"), holder, body))
        else:
            self._send(404, "not part of the lab")

    def _acquire(self, key: str, session: str, body: bytes) -> bool:
        item = self.mesh.keys.setdefault(key, {"Key": key, "Session": "", "LockIndex": 0, "Value": ""})
        if item["Session"] not in ("", session):
            return False
        item["LockIndex"] += item["Session"] != session
        item.update(Session=session, Value=base64.b64encode(body).decode())
        return True

    def _release(self, key: str, session: str, _body: bytes) -> bool:
        item = self.mesh.keys[key]
        item["Session"] = "" if item["Session"] == session else item["Session"]
        return not item["Session"]

    def _send(self, status: int, body: object) -> None:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("X-Consul-Knownleader", "true" if self.mesh.leader else "false")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the library's name
        """Say nothing on the terminal."""
