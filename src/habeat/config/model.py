"""The configuration as frozen dataclasses; the loader, the reference and the schema are all driven by this file.

The keys of `local`, the two sites and `consul` are the seed's, both spellings of `deactivate` included. A blank
value is the same as an absent one. What a role needs is checked in `loader`, since a key may be blank for others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from habeat.config.fields import Address, Count, Duration, Hostname, Names, Port, Service, section, setting
from habeat.config.switch import Switch, Switches

SiteName = Literal["primary", "secondary"]
Role = Literal["appserver", "proxyserver", "consulserver", "mta", "collaboration", "video"]
Provider = Literal["consul", "hetrix", "vcenter"]
WITNESS_NAMES: dict[Provider, str] = {"consul": "Consul", "hetrix": "HetrixTools", "vcenter": "vCenter"}
"""What each is called in sentences, votes and evidence."""


@dataclass(frozen=True)
class NodeKeys:
    """Where the configuration keeps a role's nodes: fields of a site, and (of `local` too) that of its switch.

    A role of which a site has several nodes keeps lists there, in the same order.
    """

    address: str
    name: str
    switch: str = ""


NODES: dict[str, NodeKeys] = {
    "appserver": NodeKeys("appserver_ip", "appserver_vmname"),
    "proxyserver": NodeKeys("proxy_ip", "proxyserver_vmname", "proxy_switch"),
    "mta": NodeKeys("mta_ip", "mta_vmname", "service_switch"),
    "collaboration": NodeKeys("collaboration_ip", "collaboration_vmname", "service_switch"),
    "video": NodeKeys("video_ip", "video_vmname", "service_switch"),
    "consulserver": NodeKeys("consul_ips", "consul_vmnames"),
}
"""By role."""


@dataclass(frozen=True)
class Local:
    """What this node is and does."""

    whoami: SiteName | None = setting(None, "the site this node stands in")
    dc_check: SiteName | None = setting(None, "the site this node watches: the other one")
    role: Role | None = setting(None, "what kind of node this is")
    down_file: str = setting(
        "/var/tmp/appserverdown-habeat",  # noqa: S108  the seed's place; made safely, see report/lockfiles.py
        "lock file for other scripts, `-<role>` is added: there while the peer is judged down",
        key="checkDownFile",
    )
    promotion_file: str = setting(
        "/var/tmp/appserverprom-habeat",  # noqa: S108
        "lock file for other scripts, `-<role>` is added: from the start of a failover until the peer returns",
        key="checkPromotionFile",
    )
    module_file: str = setting(
        "/var/tmp/appserverrstopha",  # noqa: S108
        "lock file for other scripts: there while habeat holds the HA module stopped",
        key="checkRestartReplicaFile",
    )
    provider: Provider = setting("consul", "the witness, where `witnesses.providers` names no others")
    threads: Count = setting(Count(5), "threads of a promotion in Carbonio")
    proxy_switch: str = setting(
        "", "role proxyserver: the tool that moves the address, one of `<my site>.proxy_switch`"
    )
    proxy_enable_activate: bool = setting(False, "really run the commands that activate the proxy switch")
    proxy_enable_deactivate: bool = setting(False, "really run the commands that deactivate the proxy switch")
    service_switch: str = setting(
        "",
        "roles mta, collaboration and video: the tool that moves the service, one of `<my site>.service_switch`; "
        "blank: only watch and tell",
    )
    disable_ha_module: bool = setting(
        False, "on the primary site: stop Carbonio's HA module while the standby is dead, start it when it is back"
    )
    flush_cache: bool = setting(False, "flush the caches of promoted accounts")
    flush_arguments_a: bool = setting(False, "flush on every live mailstore, not only where the accounts live now")
    restart_replica: bool = setting(False, "pause and restart the replicas of promoted accounts")


@dataclass(frozen=True)
class Site:
    """The nodes of one site."""

    proxy_ip: Address | None = setting(None, "address of the proxy")
    appserver_ip: Address | None = setting(None, "address at which the mailstore is probed")
    directorysrv_ip: Address | None = setting(
        None, "address of the directory (LDAP) that this site writes to; blank: the directory is not checked apart"
    )
    consul_ips: tuple[Address, ...] = setting((), "addresses of the Consul servers")
    consul_vmnames: tuple[Hostname, ...] = setting((), "names of the Consul servers, as the witnesses know them")
    appserver_vmname: Hostname | None = setting(
        None, "host name of the mailstore: as the witnesses know it, and as Carbonio's zimbraMailHost"
    )
    proxyserver_vmname: Hostname | None = setting(None, "name of the proxy, as the witnesses know it")
    mta_ip: Address | None = setting(None, "address of the MTA")
    mta_vmname: Hostname | None = setting(None, "name of the MTA, as the witnesses know it")
    collaboration_ip: Address | None = setting(None, "address of the collaboration node (Files, Docs)")
    collaboration_vmname: Hostname | None = setting(None, "name of the collaboration node, as the witnesses know it")
    video_ip: Address | None = setting(None, "address of the video server")
    video_vmname: Hostname | None = setting(None, "name of the video server, as the witnesses know it")
    proxy_switch: Switches = setting(
        {}, "how this site's proxy takes the address over, by tool: see [switches](#switches)"
    )
    service_switch: Switches = setting(
        {}, "how this site's MTA, collaboration node or video server takes over, by tool: see [switches](#switches)"
    )


@dataclass(frozen=True)
class PolicySection:
    """When to act."""

    confirmations: Count = setting(Count(2), "cycles in a row that must agree before anything is done")
    confirmation_window: Duration = setting(
        Duration(3600.0), "two cycles further apart than this do not confirm each other"
    )
    confirmation_time: Duration = setting(
        Duration(10.0),
        "how long the cycles that agree must span at least, however quickly they follow each other: Consul's own "
        "knowledge may be wrong for some seconds; nothing to `confirmations: 1`",
    )
    cooldown: Duration = setting(
        Duration(8 * 3600.0), "after a failover no other by itself for so long, unless `habeat ack` allows it"
    )
    gateways: tuple[Address, ...] = setting(
        (), "addresses of which one must answer before we act; none: a witness's fresh answer proves we are not cut off"
    )
    max_lag: int | None = setting(
        None, "leave accounts alone whose replica is more changes behind than this; blank: promote them all"
    )
    service_down: Literal["alert", "failover"] = setting(
        "alert",
        "what follows when the peer lives but `probes.services` find its service dead: `alert`, or `failover` as for a "
        "dead peer, if a witness or a second probe agrees",
    )
    late_accounts: Duration = setting(
        Duration(300.0), "how often a finished failover looks for accounts that turned up late, while the peer is dead"
    )


@dataclass(frozen=True)
class ProbesSection:
    """How the peer is asked whether it answers."""

    reach: str = setting("icmp", "`icmp`, or `tcp:PORT` where the network lets no ICMP through")
    count: Count = setting(Count(3), "questions asked before silence counts as silence")
    timeout: Duration = setting(Duration(1.0), "how long each of them waits")
    services: tuple[Service, ...] = setting(
        (),
        "services on the peer that must work: `default` (those of the role), `tcp://{ip}:7025`, "
        "`https://{ip}:7071/PATH`, or with the statuses that are good `https://{ip}:7071/PATH 200,204`; "
        "`{ip}` and `{name}` are the peer's",
    )
    verify_tls: bool = setting(True, "services by https count as answered only with a certificate that is trusted")
    ca_file: str = setting("", "CA certificates to trust there; blank: the system's")


@dataclass(frozen=True)
class WitnessSites:
    """Where each witness stands."""

    consul: SiteName | None = setting(None, "blank for Consul: its quorum speaks, wherever its servers stand")
    hetrix: SiteName | None = setting(None, "blank for HetrixTools, which stands in neither site")
    vcenter: SiteName | None = setting(None, "the site in which vCenter runs, if it is one of the two")


@dataclass(frozen=True)
class WitnessesSection:
    """Who is asked besides the peer itself."""

    providers: tuple[Provider, ...] = setting((), "the witnesses; blank: `local.provider` alone")
    required: Count = setting(Count(1), "how many of them must freshly call the peer down; one that says up is a veto")
    timeout: Duration = setting(
        Duration(10.0), "how long a witness may take; Consul without a leader needs 7 s to say so"
    )
    freshness: Duration = setting(
        Duration(120.0),
        "how old a witness's knowledge may be; HetrixTools' may also be as old as three of its own check intervals",
    )
    site: WitnessSites = section(WitnessSites, "the site a witness stands in: it cannot call a peer there dead")
    allow_self_witness: bool = setting(
        False,
        "role consulserver: let the local Consul agent's gossip call the other site's Consul servers dead; "
        "this can split the cluster, since an agent that is cut off sees everybody else as dead",
    )


@dataclass(frozen=True)
class CarbonioSection:
    """Carbonio's command lines."""

    binary: str = setting("/opt/zextras/bin/carbonio", "the carbonio command")
    zmprov: str = setting("/opt/zextras/bin/zmprov", "the zmprov command")
    zmlocalconfig: str = setting("/opt/zextras/bin/zmlocalconfig", "the zmlocalconfig command")
    spool: str = setting(
        "/run/habeat", "where lists of accounts are written for Carbonio, which must be able to read there"
    )
    ldap_ca_file: str = setting(
        "/opt/zextras/conf/ca/ca.pem",
        "CA of the directory's certificate; whether it takes writes is asked over trusted TLS only",
    )
    user: str = setting("zextras", "the user they run as")
    namespace: Literal["auto", "MailReplica", "ha"] = setting("auto", "the name of the replication module")
    timeout: Duration = setting(Duration(120.0), "how long one ordinary command may take")
    promote_timeout: Duration = setting(Duration(3600.0), "how long one promotion or replica restart may take")
    batch: Count = setting(Count(500), "accounts handed to one command")


@dataclass(frozen=True)
class CoordinationSection:
    """The lock between several instances that watch the same mailstore."""

    consul: Literal["auto", "required", "off"] = setting(
        "auto", "`auto`: a lock in Consul where the token may write one; `required`: no failover without it; `off`"
    )
    key_prefix: str = setting("habeat", "where in Consul's key-value store the locks lie")


@dataclass(frozen=True)
class ConsulSection:
    """How to reach Consul."""

    hostname: Address = setting(Address("127.0.0.1"), "host of Consul's HTTP API: the local agent")
    port: Port = setting(Port(8500), "its port")
    token: str = setting(
        "",
        "ACL token with node:read; for the lock session:write and key:write; for service probes service:read; "
        "for the role consulserver operator:read (operator:write to remove dead voters) and key:write",
        secret=True,
    )
    token_file: str = setting("", "file that holds the token instead")
    scheme: Literal["http", "https"] = setting("http", "http or https")
    ca_file: str = setting("", "CA certificates to trust with https; blank: the system's")
    match_address: bool = setting(
        True, "believe that a node is down only if Consul knows it at the peer's address, when that is an IP address"
    )
    data_dir: str = setting(
        "/var/lib/service-discover/data", "role consulserver: the data folder of this host's Consul server"
    )
    unit: str = setting("service-discover.service", "role consulserver: the systemd unit of this host's Consul server")
    user: str = setting("service-discover", "role consulserver: the user that it runs as, and that its data belongs to")


@dataclass(frozen=True)
class GuardSection:
    """Role consulserver: how the Consul servers' habeats tell each other of a recovery when Consul cannot.

    `habeat consul serve` answers, `habeat consul guard` asks before the Consul server starts; see
    [Consul quorum](consul.md).
    """

    secret: str = setting("", "the secret that all Consul servers' habeats share, at least 16 characters", secret=True)
    secret_file: str = setting("", "file that holds the secret instead")
    listen: Address | None = setting(
        None, "address at which this host answers; blank: its own among its site's `consul_ips`"
    )
    port: Port = setting(Port(8399), "the port for that, the same on all Consul servers")
    hold: Duration = setting(
        Duration(120.0), "how long the guard holds the start of Consul while it cannot tell whether that is safe"
    )
    unsure: Literal["hold", "start"] = setting(
        "hold",
        "what follows then: `hold` refuses the start (a returning site without its link has no Consul until the link "
        "or a person comes), `start` allows it (a returning site without its link may elect a second leader, and what "
        "one of the two acknowledged is lost)",
    )
    recent: Duration = setting(
        Duration(600.0),
        "a restart of Consul is not asked about if habeat saw its leader within this time, and the machine was not "
        "rebooted since",
    )


@dataclass(frozen=True)
class HetrixSection:
    """How to reach HetrixTools."""

    hostname: Address = setting(Address("api.hetrixtools.com"), "host of the API")
    port: Port = setting(Port(443), "its port")
    api: Literal["v3", "v1"] = setting("v3", "version of the API; v1 for old accounts")
    api_token: str = setting("", "API token with the right to read uptime monitors", secret=True)
    token_file: str = setting("", "file that holds the token instead")
    ca_file: str = setting("", "CA certificates to trust; blank: the system's")
    names: Names = setting({}, 'monitors that are not named as the node: `mbox1.example.com: "Mailstore 1"`')


@dataclass(frozen=True)
class VcenterSection:
    """How to reach vCenter, or an ESXi host (needs the extra `habeat[vcenter]`)."""

    hostname: Address | None = setting(None, "host of vCenter")
    port: Port = setting(Port(443), "its port")
    username: str = setting("", "user name; the role Read-only is enough")
    password: str = setting("", "password", secret=True)
    password_file: str = setting("", "file that holds the password instead")
    verify_tls: bool = setting(
        True, "`false` trusts any certificate: whoever is in between can lie, and has the password"
    )
    ca_file: str = setting("", "CA certificates to trust; blank: the system's")
    names: Names = setting(
        {}, "machines that are not named as the node, by name or (better) by instance UUID: `mbox1.example.com: NAME`"
    )


@dataclass(frozen=True)
class Config:
    """The whole file."""

    local: Local = section(Local, "what this node is and does")
    primary: Site = section(Site, "the primary site")
    secondary: Site = section(Site, "the secondary site")
    policy: PolicySection = section(PolicySection, "when to act")
    probes: ProbesSection = section(ProbesSection, "how the peer is probed")
    witnesses: WitnessesSection = section(WitnessesSection, "who else is asked")
    carbonio: CarbonioSection = section(CarbonioSection, "Carbonio's command lines")
    coordination: CoordinationSection = section(CoordinationSection, "the lock between instances")
    consul: ConsulSection = section(ConsulSection, "how to reach Consul")
    guard: GuardSection = section(GuardSection, "role consulserver: how a recovery is told without Consul")
    hetrix: HetrixSection = section(HetrixSection, "how to reach HetrixTools")
    vcenter: VcenterSection = section(VcenterSection, "how to reach vCenter")
    path: Path = field(default=Path(), metadata={"internal": True})
    notices: tuple[str, ...] = field(default=(), metadata={"internal": True})

    @property
    def providers(self) -> tuple[Provider, ...]:
        """Return the witnesses that are asked."""
        return self.witnesses.providers or (self.local.provider,)

    def site(self, name: str) -> Site:
        """Return one site by its name."""
        return self.primary if name == "primary" else self.secondary

    @property
    def keys(self) -> NodeKeys:
        """Return where the nodes of this node's role are kept."""
        return NODES[str(self.local.role)]

    def nodes(self, site: str) -> tuple[tuple[str, str], ...]:
        """Return the nodes of this node's role in a site, as (name, address)."""
        place, keys = self.site(site), self.keys
        names, addresses = getattr(place, keys.name), getattr(place, keys.address)
        if isinstance(names, tuple):
            return tuple(zip(map(str, names), map(str, addresses), strict=False))
        return ((str(names), str(addresses)),)

    @property
    def called(self) -> str:
        """Return this node's name as the configuration has it, or "" where it has none or several."""
        name = getattr(self.site(str(self.local.whoami)), self.keys.name)
        return str(name) if name and not isinstance(name, tuple) else ""

    @property
    def tool(self) -> str:
        """Return the tool that this node's role is switched with, or "" where it has none."""
        return str(getattr(self.local, self.keys.switch)) if self.keys.switch else ""

    @property
    def switch(self) -> Switch | None:
        """Return how this node takes over, or None where it only watches."""
        if not self.tool:
            return None
        found: Switch | None = getattr(self.site(str(self.local.whoami)), self.keys.switch).get(self.tool)
        return found

    def runs(self, direction: str) -> bool:
        """Tell whether the commands of the switch are really run, to `activate` or to `deactivate`."""
        return self.local.role != "proxyserver" or bool(getattr(self.local, f"proxy_enable_{direction}"))
