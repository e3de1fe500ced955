"""What is configured is what is used: from the file to the policy, the witnesses and the services (I1, I9)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from habeat.config.loader import load
from habeat.config.model import Config
from habeat.doctor import memory
from habeat.model import Policy
from habeat.node import policy_of, services_of, target_of, witness_of
from habeat.observe import Spared
from habeat.observe.consul import ConsulWitness
from habeat.observe.service import HttpService, TcpService

Load = Callable[..., Config]


@pytest.fixture
def loaded(tmp_path: Path) -> Load:
    """Give configurations with some sections changed."""

    def make(**sections: dict[str, Any]) -> Config:
        plain: dict[str, dict[str, Any]] = {
            "local": {"whoami": "secondary", "dc_check": "primary", "role": "appserver"},
            "primary": {"appserver_ip": "10.0.0.1", "appserver_vmname": "mbox1.example.com"},
            "secondary": {"appserver_ip": "10.0.0.2", "appserver_vmname": "mbox2.example.com"},
            "hetrix": {"api_token": "hunter2"},
            "vcenter": {"hostname": "vcenter.example.com", "username": "habeat", "password": "correct horse"},
        }
        for name, values in sections.items():
            plain[name] = {**plain.get(name, {}), **values}
        path = tmp_path / "habeat.yml"
        path.write_text(yaml.safe_dump(plain), encoding="utf-8")
        path.chmod(0o600)
        return load(path)

    return make


def test_policy(loaded: Load) -> None:
    """Every number of the policy comes from the file."""
    times = {"confirmation_window": "2h", "confirmation_time": "9s", "cooldown": "1h", "late_accounts": "7m"}
    services = {"service_down": "failover"}
    config = loaded(
        policy={"confirmations": 5, **times, **services},
        probes={"services": ["default"]},
        witnesses={"providers": ["consul", "hetrix", "vcenter"], "required": 3, "freshness": "4m"},
    )
    wanted = Policy(
        confirmations=5,
        required=3,
        freshness=240.0,
        window=7200.0,
        lasting=9.0,
        cooldown=3600.0,
        repeat=420.0,
        service_down=True,
    )
    assert wanted == policy_of(config)
    assert Policy(lasting=10.0, repeat=300.0) == policy_of(loaded())


@pytest.mark.parametrize("provider", ["consul", "hetrix", "vcenter"])
@pytest.mark.parametrize("site", [None, "primary", "secondary"])
def test_places_of_witnesses(loaded: Load, provider: Any, site: str | None) -> None:
    """Each witness stands where `witnesses.site` says, and the dear ones are asked only after a silence."""
    witness = witness_of(provider, loaded(witnesses={"providers": [provider], "site": {provider: site}}), memory())
    assert (site, provider != "consul") == (witness.site, witness.sparing)
    if isinstance(witness, Spared):
        made = witness.make()
        assert (made.name, made.site, made.networked) == (witness.name, witness.site, witness.networked)
        assert made.sparing


def test_consul(loaded: Load) -> None:
    """The client has the section's values, the token in a header that no repr shows."""
    section = {"hostname": "10.0.0.9", "port": 8501, "scheme": "https", "token": "hunter2", "match_address": False}
    witness = witness_of("consul", loaded(consul=section, witnesses={"timeout": "3s"}), memory())
    assert isinstance(witness, ConsulWitness)
    endpoint = witness.consul._endpoint
    assert ("10.0.0.9", 8501, "https", 3.0) == (endpoint.host, endpoint.port, endpoint.scheme, endpoint.timeout)
    assert (False, True) == (witness.match_address, endpoint.verify_tls)
    assert {"X-Consul-Token": "hunter2"} == endpoint.headers
    assert "hunter2" not in repr(witness)


def test_hetrix(loaded: Load) -> None:
    """Each key of the section reaches the witness."""
    section = {"hostname": "h", "port": 8443, "api": "v1", "ca_file": "/ca", "names": {"mbox1.example.com": "One"}}
    config = loaded(hetrix=section, witnesses={"providers": ["hetrix"], "timeout": "3s", "freshness": "9m"})
    witness = witness_of("hetrix", config, memory())
    assert isinstance(witness, Spared)
    made: Any = witness.make()
    assert ("h", 8443, "v1", "/ca", {"mbox1.example.com": "One"}) == (
        made.host,
        made.port,
        made.api,
        made.ca_file,
        made.names,
    )
    assert ("hunter2", 3.0, 540.0) == (made.token, made.timeout, made.freshness)


@pytest.mark.parametrize("verify", [True, False])
def test_vcenter(loaded: Load, verify: bool) -> None:
    """Each key of the section reaches the witness; TLS is verified unless the file says otherwise."""
    section = {"port": 8443, "ca_file": "/ca", "names": {"mbox1.example.com": "One"}}
    said = {} if verify else {"verify_tls": False}
    config = loaded(vcenter={**section, **said}, witnesses={"providers": ["vcenter"], "timeout": "3s"})
    witness = witness_of("vcenter", config, memory())
    assert isinstance(witness, Spared)
    made: Any = witness.make()
    assert ("vcenter.example.com", 8443, "habeat", "correct horse") == (
        made.host,
        made.port,
        made.username,
        made.password,
    )
    assert (verify, "/ca", 3.0, {"mbox1.example.com": "One"}) == (
        made.verify_tls,
        made.ca_file,
        made.timeout,
        made.names,
    )


@pytest.mark.parametrize("verify", [True, False])
def test_services(loaded: Load, verify: bool) -> None:
    """`default` stands for the role's services, once; TLS is verified unless the file says otherwise."""
    services = ["default", "tcp://{ip}:7025", "http://{name}:8080/x 204"]
    said = {} if verify else {"verify_tls": False}
    config = loaded(probes={"services": services, "count": 2, "timeout": "4s", "ca_file": "/ca", **said})
    found = services_of(config, target_of(config))
    assert [
        "tcp://10.0.0.1:7025",
        "https://10.0.0.1:7071/service/health/ready",
        "http://mbox1.example.com:8080/x (204)",
    ] == [service.address for service in found]
    lmtp, admin, _ = found
    assert isinstance(lmtp, TcpService)
    assert isinstance(admin, HttpService)
    assert (2, 4.0, 2, 4.0) == (lmtp.count, lmtp.timeout, admin.count, admin.timeout)
    assert (verify, "/ca") == (admin.verify_tls, admin.ca_file)
    assert [] == services_of(loaded(), target_of(loaded()))
