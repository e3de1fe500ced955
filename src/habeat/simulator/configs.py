"""Who is in the worlds of each kind, and how each habeat there is configured."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from habeat.config.fields import Count
from habeat.config.loader import load
from habeat.config.model import Config
from habeat.simulator.routes import PEER, PREFIX
from habeat.simulator.schedule import Schedule
from habeat.simulator.world import THIRD

HOSTS = {
    "mail": {
        "mbox1": ("primary", "10.0.1.20"),
        "mbox2": ("secondary", "10.0.2.20"),
        "mbox3": ("secondary", "10.0.2.21"),
        "svc1": ("primary", "10.0.1.10"),
        "svc2": ("secondary", "10.0.2.10"),
        "svc3": (THIRD, "10.0.3.10"),
    },
    "proxy": {
        "proxy1": ("primary", "10.0.1.30"),
        "proxy2": ("secondary", "10.0.2.30"),
        "svc1": ("primary", "10.0.1.10"),
        "svc2": ("secondary", "10.0.2.10"),
        "svc3": (THIRD, "10.0.3.10"),
    },
    "quorum": {
        "svc1": ("primary", "10.0.1.10"),
        "svc3": ("primary", "10.0.1.11"),
        "svc2": ("secondary", "10.0.2.10"),
        "svc4": ("secondary", "10.0.2.11"),
        "svc5": ("primary", "10.0.1.12"),
    },
}
OUTSIDE = {"watch": "10.0.3.20", "vc": "10.0.3.21", "router": PEER, "gateway": "10.0.2.1"}


@lru_cache(maxsize=1)
def spool() -> Path:
    """Return a folder of this process's own for the lists of accounts; it is removed when the process ends."""
    folder = tempfile.TemporaryDirectory(prefix="habeat-simulated-")
    _KEPT.append(folder)
    return Path(folder.name)


_KEPT: list[tempfile.TemporaryDirectory[str]] = []


@cache
def configured(kind: str, name: str, site: str, settings: tuple[tuple[str, str], ...]) -> Config:
    """Return the configuration of an instance.

    Its witnesses are put in afterwards: a real vCenter would need the extra, and this one is made up.
    """
    schedule = Schedule(kind, dict(settings))
    config = _loaded(json.dumps(_sections(schedule, name, site)))
    providers: tuple[Any, ...] = tuple(schedule.setting("witnesses").split(","))
    required = Count(int(schedule.setting("required")))
    return replace(config, witnesses=replace(config.witnesses, providers=providers, required=required))


@cache
def _loaded(text: str) -> Config:
    """Return a configuration by way of a real file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "habeat.yml"
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
        return load(path)


def _sections(schedule: Schedule, name: str, site: str) -> dict[str, Any]:
    """Return what stands in that file."""
    other = {"primary": "secondary", "secondary": "primary"}[site]
    roles = {"mail": "appserver", "proxy": "proxyserver", "quorum": "consulserver"}
    lock_files = {key: f"/nowhere/{key}" for key in ("checkDownFile", "checkPromotionFile", "checkRestartReplicaFile")}
    local: dict[str, Any] = {"whoami": site, "dc_check": other, "role": roles[schedule.kind], "provider": "hetrix"}
    sites: dict[str, dict[str, Any]] = {"primary": {}, "secondary": {}}
    if schedule.kind == "mail":
        here = {"appserver_ip": HOSTS["mail"][name][1], "appserver_vmname": name}
        peer = "mbox2" if name == "mbox1" else "mbox1"
        sites[site], sites[other] = here, {"appserver_ip": HOSTS["mail"][peer][1], "appserver_vmname": peer}
        local |= {"flush_cache": True, "flush_arguments_a": True, "restart_replica": True, "disable_ha_module": True}
    elif schedule.kind == "proxy":
        sites["primary"] = {"proxy_ip": HOSTS["proxy"]["proxy1"][1], "proxyserver_vmname": "proxy1"}
        check = {"frr": {"prefix": PREFIX, "peer": PEER}}
        checks = {"verify": [check], "other_site": [check]} if schedule.setting("checks") == "on" else {}
        commands = {"activate": ["take", "tell"], "deactivate": ["untell", "give"], "timeout": "2s", "settle": "8s"}
        sites["secondary"] = {"proxy_switch": {"bgp": {**commands, **checks}}}
        local |= {"proxy_switch": "bgp", "proxy_enable_activate": True}
        local["proxy_enable_deactivate"] = schedule.setting("deactivate") == "on"
    else:
        two = schedule.setting("survivors") == "2"
        for host, (place, address) in HOSTS["quorum"].items():
            if two or host not in ("svc4", "svc5"):
                sites[place].setdefault("consul_ips", []).append(address)
                sites[place].setdefault("consul_vmnames", []).append(host)
    policy: dict[str, Any] = {"confirmations": int(schedule.setting("confirmations"))}
    policy |= {"confirmation_time": float(schedule.setting("lasting")), "cooldown": schedule.setting("cooldown")}
    if schedule.setting("gateway") == "on":
        policy["gateways"] = [OUTSIDE["gateway"]]
    probes = {"services": ["tcp://{ip}:7025"]} if schedule.setting("services") == "on" else {}
    return {
        "local": {**local, **lock_files},
        **sites,
        "policy": {**policy, "late_accounts": "5m"},
        "probes": probes,
        "witnesses": {"timeout": "3s"},
        "carbonio": {"user": "root", "spool": str(spool()), "timeout": "20s", "promote_timeout": "60s"},
        "consul": {"token": "token"},
        "hetrix": {"hostname": "hetrix", "api_token": "token"},
        "vcenter": {"hostname": "vc", "username": "habeat", "password": "secret"},
        **({"guard": {"secret": "0123456789abcdef", "hold": "20s"}} if schedule.kind == "quorum" else {}),
    }
