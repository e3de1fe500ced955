"""Does a service work? Real ports and real HTTP(S): a death, a silence and a doubt are told apart (I1)."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from certificates import certify
from conftest import LabFactory
from facts import TARGET
from habeat.config.services import ServiceUrl
from habeat.lab.sites import NODES, PRIMARY, EmbeddedWitness, Host, Lab
from habeat.model import Down, Evidence, Probe, Unknown, Up
from habeat.observe.service import HttpService, TcpService


class Web:
    """A web server on loopback, until it is stopped."""

    def __init__(self, server: HTTPServer) -> None:
        self._server = server
        self.port = int(server.server_address[1])
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """Refuse connections from now on."""
        self._server.shutdown()
        self._server.server_close()


Start = Callable[..., Web]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Give HTTP servers on loopback that answer with one status, over TLS where a folder has a certificate."""
    servers: list[Web] = []

    def begin(status: int, certificate: Path | None = None, address: str = "127.0.0.1") -> Web:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                """Answer."""
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        server = HTTPServer((address, 0), Handler)
        monkeypatch.setattr(server, "handle_error", lambda *_: None)  # a client that trusts nobody hangs up
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
            server.socket = context.wrap_socket(server.socket, server_side=True)
        servers.append(Web(server))
        return servers[-1]

    yield begin
    for started in servers:
        started.stop()


def http(port: int, statuses: tuple[int, ...] = (), scheme: str = "http") -> HttpService:
    """Return the probe of a service on loopback."""
    return HttpService(ServiceUrl(scheme, "127.0.0.1", port, "/service/health/ready", statuses), 2, 0.3)


def told(probe: Probe) -> tuple[Evidence, bool, bool]:
    """Return what a probe found, whether somebody is there, and whether they said so themselves."""
    return probe.evidence, probe.lives, probe.answered


@pytest.mark.parametrize(
    ("text", "shown", "statuses"),
    [
        ("tcp://{ip}:7025", "tcp://10.0.0.1:7025", ()),
        ("https://{ip}:7071/service/health/ready", "https://10.0.0.1:7071/service/health/ready", ()),
        ("https://{name}/a?b=c 200,204", "https://mbox1.example.com:443/a?b=c (200, 204)", (200, 204)),
        (" http://{ip}  503", "http://10.0.0.1:80/ (503)", (503,)),
    ],
)
def test_forms(text: str, shown: str, statuses: tuple[int, ...]) -> None:
    """A service is written as a URL with placeholders, and perhaps the statuses that are good."""
    url = ServiceUrl.parse(text).at(TARGET)
    assert (shown, statuses) == (str(url), url.statuses)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{ip}",
        "tcp://{ip}",
        "tcp://{ip}:7025/x",
        "tcp://{ip}:7025 200",
        "tcp://{ip}:70255",
        "udp://{ip}:53",
        "http://u:hunter2@{ip}",
        "tcp://127.0.0.1:7025",
        "https://webmail.example.com/",
        "http://{ip}.example.com/",
        "tcp://{ip}:0",
        "http://{ip} 2000",
        "http://{ip} 200,",
        "http://",
        "https://{ip}:x",
    ],
)
def test_wrong_forms(text: str) -> None:
    """What is none of these, or names another machine than the target, says what was expected, and no password."""
    with pytest.raises(ValueError, match="expected `default`") as caught:
        ServiceUrl.parse(text)
    assert "hunter2" not in str(caught.value)


def test_ipv6_address_of_the_target() -> None:
    """An IPv6 address is put into brackets where a URL is shown, and asked without them."""
    url = ServiceUrl.parse("tcp://{ip}:7025").at(replace(TARGET, address="2001:db8::1"))
    assert ("2001:db8::1", "tcp://[2001:db8::1]:7025") == (url.host, str(url))


def test_tcp() -> None:
    """A connection is life, a refusal is a death that was told, silence is a death that was not; a bad name is neither."""
    host = Host("127.0.0.1")
    probe = TcpService(ServiceUrl("tcp", "127.0.0.1", host.port), 2, 0.2)
    assert (Up("answers"), True, True) == told(probe())
    host.silence()
    assert (Down("does not answer (2 tries)"), False, False) == told(probe())
    host.close()
    assert (Down("refuses connections"), True, True) == told(probe())
    nowhere = TcpService(ServiceUrl("tcp", "no-such-host.invalid", 1), 2, 0.2)()
    assert isinstance(nowhere.evidence, Unknown)
    assert not nowhere.reached


@pytest.mark.parametrize(
    ("status", "statuses", "evidence"),
    [
        (200, (), Up("answers 200")),
        (302, (), Up("answers 302")),
        (503, (), Down("answers 503, and one below 400 was expected")),
        (404, (), Down("answers 404, and one below 400 was expected")),
        (503, (200, 503), Up("answers 503")),
        (204, (200, 206), Down("answers 204, and 200, 206 was expected")),
    ],
)
def test_http_status(start: Start, status: int, statuses: tuple[int, ...], evidence: Evidence) -> None:
    """The status decides; whatever it is, something answered."""
    assert (evidence, True, True) == told(http(start(status).port, statuses)())


def test_http_without_http() -> None:
    """A port that accepts and says nothing is a dead service on a host that lives; a closed one refuses."""
    host = Host("127.0.0.1")
    hung_up, lives, answered = told(http(host.port)())
    assert isinstance(hung_up, Down)
    assert (True, False) == (lives, answered)
    host.close()
    assert (Down("refuses connections"), True, True) == told(http(host.port)())


def test_http_that_says_nothing() -> None:
    """A server that accepts and stays silent costs no more than the time-outs; that is no answer, but a sign of life."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        begun = time.monotonic()
        found = told(http(int(server.getsockname()[1]))())
    assert (Down("did not answer within 0.3 s"), True, False) == found
    assert time.monotonic() - begun < 3


def test_https_is_verified(start: Start, tmp_path: Path) -> None:
    """An untrusted certificate is no verdict on the service (but a sign of life); a CA, or saying so, makes it one (I9)."""
    certify(tmp_path, "127.0.0.1")
    probe = http(start(200, tmp_path).port, scheme="https")
    doubtful = probe()
    assert isinstance(doubtful.evidence, Unknown)
    assert "answers, but its TLS certificate is not trusted" in doubtful.evidence.reason
    assert doubtful.reached
    assert Up("answers 200") == replace(probe, ca_file=str(tmp_path / "ca.pem"))().evidence
    assert Up("answers 200") == replace(probe, verify_tls=False)().evidence
    unusable = replace(probe, ca_file="/nowhere/ca.pem")()
    assert Unknown("the CA file /nowhere/ca.pem cannot be read (No such file or directory)") == unusable.evidence


def serving(lab: Lab, *services: str, **policy: str) -> None:
    """Let a lab's habeat probe services."""
    lab.configure({"probes": {"services": list(services), "timeout": "300ms"}, "policy": policy})


def web_of(lab: Lab, start: Start) -> Web:
    """Start a web server on the lab's mailstore."""
    return start(200, address=lab.addresses[PRIMARY])


def test_a_dead_service_is_told_and_not_acted_upon(lab: Lab, start: Start) -> None:
    """By default it is an alert, cycle after cycle, with exit code 3."""
    web = web_of(lab, start)
    serving(lab, f"http://{{ip}}:{web.port}/", f"tcp://{{ip}}:{lab.host.port}")
    assert 0 == lab.check().code
    web.stop()
    for _ in range(3):
        checked = lab.check()
        assert 3 == checked.code
        assert f"{PRIMARY} answers, but not all its services work: " in checked.said
        assert f":{web.port}/ refuses connections" in checked.said
    assert {0} == {item["promotions"] for item in lab.accounts()}


def test_a_dead_service_is_failed_over_where_the_policy_says_so(lab: Lab, start: Start) -> None:
    """With two ports that say so it takes the same confirmations as a death, and the whole plan runs."""
    webs = [web_of(lab, start), web_of(lab, start)]
    serving(lab, *(f"http://{{ip}}:{web.port}/" for web in webs), service_down="failover")
    assert 0 == lab.check().code
    for web in webs:
        web.stop()
    assert "looks dead (1 of 2 cycles): the host lives, but its service is dead" in lab.check().said
    assert {0} == {item["promotions"] for item in lab.accounts()}
    assert 0 == lab.check().code
    assert {1} == {item["promotions"] for item in lab.accounts()}


def test_a_service_that_was_never_there_is_not_dead(lab: Lab) -> None:
    """A new configuration with wrong ports never fails a healthy mailstore over, however many probes agree (I1)."""
    serving(lab, "http://{ip}:1/", "tcp://{ip}:2", service_down="failover")
    for _ in range(4):
        checked = lab.check()
        assert 3 == checked.code
        assert "these services were never seen at work, so the configuration may be wrong" in checked.said
    assert {0} == {item["promotions"] for item in lab.accounts()}


def test_a_status_that_was_never_seen_is_not_a_death(lab: Lab, start: Start) -> None:
    """Wanting another status from the same services makes them others: a slip of the pen kills nobody (I1)."""
    ports = [web_of(lab, start).port for _ in range(2)]
    serving(lab, *(f"http://{{ip}}:{port}/ 200" for port in ports), service_down="failover")
    assert 0 == lab.check().code
    serving(lab, *(f"http://{{ip}}:{port}/ 204" for port in ports), service_down="failover")
    for _ in range(3):
        checked = lab.check()
        assert 3 == checked.code
        assert "answers 200, and 204 was expected" in checked.said
    assert {0} == {item["promotions"] for item in lab.accounts()}


@pytest.mark.parametrize("agent", ["passing", "critical"])
@pytest.mark.parametrize("witness", ["critical", "passing", None])
def test_one_probe_alone_needs_a_witness(make_lab: LabFactory, start: Start, witness: str | None, agent: str) -> None:
    """One dead probe fails over only if a check of the service is critical too, and made by an agent that lives."""
    lab = make_lab()
    web = web_of(lab, start)
    assert isinstance(lab.witness, EmbeddedWitness)
    lab.witness.mesh.services = {NODES[PRIMARY]: witness} if witness else {}
    serving(lab, f"http://{{ip}}:{web.port}/", service_down="failover")
    assert 0 == lab.check().code
    web.stop()
    lab.witness.mesh.status[NODES[PRIMARY]] = agent
    codes = [lab.check().code for _ in range(2)]
    acts = (witness, agent) == ("critical", "passing")
    assert ([0, 0] if acts else [3, 3]) == codes
    assert {int(acts)} == {item["promotions"] for item in lab.accounts()}


def test_the_journal_keeps_what_the_services_said(lab: Lab) -> None:
    """The evidence of a dead service is in `explain`, and is judged the same again (I8)."""
    serving(lab, "http://{ip}:1/", "tcp://{ip}:2")
    lab.check()
    done = subprocess.run(lab.argv("explain", "--replay", "1", "--json"), capture_output=True, text=True, check=True)
    replayed = json.loads(done.stdout)
    assert replayed["reproduced"]
    assert ("service_down", "J8") == (replayed["recorded"]["sight"], replayed["recorded"]["rule"])
    shown = subprocess.run(lab.argv("explain"), capture_output=True, text=True, check=True).stdout
    assert ":2: refuses connections" in shown
