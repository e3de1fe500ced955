"""The configuration: the seed loads as it is, and whatever is wrong is told at once, line by line."""

from __future__ import annotations

import json
import os
import re
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from habeat.config.loader import duration, load
from habeat.config.model import Config
from habeat.config.reference import effective, reference, schema
from habeat.config.switch import AddressCheck, BirdCheck, Command, FrrCheck
from habeat.errors import ConfigError
from habeat.node import target_of

HERE = Path(__file__).parent
SEED = (HERE / "data" / "seed.yml").read_text(encoding="utf-8")
Writer = Callable[[str | bytes], Path]
SAMPLE = HERE.parent / "deploy" / "habeat.yml"


@pytest.fixture
def write(tmp_path: Path) -> Writer:
    """Give a function that writes a configuration file only its owner can read."""

    def write(text: str | bytes) -> Path:
        path = tmp_path / "habeat.yml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        path.chmod(0o600)
        return path

    return write


def complaints(path: Path) -> list[str]:
    """Return what is wrong with a file, without its name."""
    with pytest.raises(ConfigError) as caught:
        load(path)
    return [str(problem).removeprefix(str(path)).removeprefix(":").strip() for problem in caught.value.problems]


def changed(*changes: tuple[str, str]) -> str:
    """Return the seed with some of its text replaced; what is replaced must be there."""
    text = SEED
    for before, after in changes:
        assert before in text
        text = text.replace(before, after, 1)
    return text


def test_seed_loads_as_it_is(write: Writer) -> None:
    """The seed's block, with values filled in, loads key by key and means what it says."""
    config = load(write(SEED))
    assert ("secondary", "primary", "appserver", "consul") == (
        config.local.whoami,
        config.local.dc_check,
        config.local.role,
        config.local.provider,
    )
    assert ("10.0.0.1", "mbox1.example.com") == (config.primary.appserver_ip, config.primary.appserver_vmname)
    assert (("svc1.example.com", "svc3.example.com"), ()) == (config.primary.consul_vmnames, config.primary.consul_ips)
    assert ("/var/tmp/appserverdown-habeat", 5, False) == (
        config.local.down_file,
        config.local.threads,
        config.local.flush_cache,
    )
    assert ("127.0.0.1", 8500, "") == (config.consul.hostname, config.consul.port, config.consul.token)


@pytest.mark.parametrize("spelling", ["deativate", "deactivate"])
def test_both_spellings(write: Writer, spelling: str) -> None:
    """`deativate`, as the seed spells it, and `deactivate` are the same key."""
    text = changed(("deativate: # list of command to deactivate proxy switch", f"{spelling}: ['vtysh -c x']"))
    assert (("vtysh", "-c", "x"),) == tuple(
        command.argv for command in load(write(text)).secondary.proxy_switch["bgp"].deactivate
    )


def test_defaults_are_the_documented_ones(write: Writer) -> None:
    """Sections that are not there have the defaults of the design."""
    policy = load(write(SEED)).policy
    assert (2, 8 * 3600.0, 3600.0, 10.0, (), None) == (
        policy.confirmations,
        policy.cooldown,
        policy.confirmation_window,
        policy.confirmation_time,
        policy.gateways,
        policy.max_lag,
    )


WRONG: dict[str, tuple[str | bytes, list[str]]] = {
    "unknown key": (
        changed(("flush_cache:", "flush_cahce:")),
        ["14: local.flush_cahce: unknown key; did you mean `flush_cache`?"],
    ),
    "unknown section": (SEED + "polcy:\n  cooldown: 1h\n", ["50: polcy: unknown key; did you mean `policy`?"]),
    "not a bool": (
        changed(("flush_cache: false", "flush_cache: maybe")),
        ["14: local.flush_cache: expected true or false, found 'maybe'"],
    ),
    "quoted bool": (
        changed(("flush_cache: false", "flush_cache: 'true'")),
        ["14: local.flush_cache: expected true or false, found 'true'"],
    ),
    "not a number": (
        changed(("threads: 5", "threads: many")),
        ["9: local.threads: expected a whole number, found 'many'"],
    ),
    "no threads": (
        changed(("threads: 5", "threads: 0")),
        ["9: local.threads: expected a whole number from 1, found 0"],
    ),
    "bool for a number": (
        changed(("threads: 5", "threads: yes")),
        ["9: local.threads: expected a whole number, found 'yes'"],
    ),
    "bad port": (
        changed(("port: 8500", "port: 85000")),
        ["48: consul.port: expected a port from 1 to 65535, found 85000"],
    ),
    "bad role": (
        changed(('role: "appserver"', "role: apserver")),
        [
            "4: local.role: expected one of appserver, proxyserver, consulserver, mta, collaboration, video, found 'apserver'; did you mean appserver?"
        ],
    ),
    "bad address": (
        changed(("appserver_ip: 10.0.0.1", "appserver_ip: 10.0.0.300")),
        ["20: primary.appserver_ip: expected an IP address or a host name, found '10.0.0.300'"],
    ),
    "list for a value": (
        changed(("appserver_ip: 10.0.0.1", "appserver_ip: [10.0.0.1]")),
        ["20: primary.appserver_ip: expected an IP address or a host name, found a list"],
    ),
    "value for a list": (
        changed(
            (
                "consul_vmnames: # this values used for check consul servers in monitoring server in secondary dc\n    - svc2.example.com",
                "consul_vmnames: svc2.example.com",
            )
        ),
        ["37: secondary.consul_vmnames: expected a list (lines that begin with `- `), found 'svc2.example.com'"],
    ),
    "option for a host": (
        changed(("appserver_vmname: mbox1.example.com", "appserver_vmname: -mbox1")),
        ["28: primary.appserver_vmname: expected a host name, found '-mbox1'"],
    ),
    "blank that is needed": (
        changed(("appserver_ip: 10.0.0.1", "appserver_ip:")),
        ["20: primary.appserver_ip: needs a value: it is the address that is probed"],
    ),
    "absent that is needed": (
        changed(("  appserver_vmname: mbox1.example.com", "  #")),
        ["18: primary.appserver_vmname: needs a value: it is the node's name in Consul and in Carbonio"],
    ),
    "watching itself": (
        changed(('dc_check: "primary"', "dc_check: secondary")),
        ["3: local.dc_check: must be the other site than whoami (secondary): a node does not watch itself"],
    ),
    "same mailstore": (
        changed(("mbox2.example.com", "mbox1.example.com")),
        ["28: primary.appserver_vmname: is the same for both sites"],
    ),
    "twice": (
        changed(("threads: 5", "threads: 5\n  threads: 6")),
        ["10: local.threads: given twice (already as `threads` above)"],
    ),
    "bad duration": (
        SEED + "policy:\n  cooldown: 8 hours\n",
        ["51: policy.cooldown: expected a duration such as 90s, 5m or 8h, found '8 hours'"],
    ),
    "bad probe": (SEED + "probes:\n  reach: udp\n", ["51: probes.reach: expected `icmp` or `tcp:PORT`, found 'udp'"]),
    "number for a token": (
        changed(("token:", "token: 123456")),
        ["49: consul.token: expected text in quotes"],
    ),
    "too many needed": (
        SEED + "witnesses:\n  required: 2\n",
        ["51: witnesses.required: asks for 2 witnesses, and 1 are configured"],
    ),
    "same witness twice": (
        SEED + "witnesses:\n  providers: [consul, consul]\n",
        ["51: witnesses.providers: names a witness twice; a witness has one vote"],
    ),
    "witness without an account": (
        changed(("provider: consul", "provider: vcenter")),
        [
            "vcenter.hostname: needs a value for the witness vcenter",
            "vcenter.username: needs a value for the witness vcenter",
            "vcenter.password: needs a value for the witness vcenter, here or in the file vcenter.password_file",
        ],
    ),
    "witness without a token": (
        changed(("provider: consul", "provider: hetrix")),
        ["hetrix.api_token: needs a value for the witness hetrix, here or in the file hetrix.token_file"],
    ),
    "service that is none": (
        SEED + "probes: {services: [default, 'tcp://{ip}', 'https://{ip}:7071/x abc', 'smtp://{ip}']}\n",
        [
            "50: probes.services[1]: expected `default`, `tcp://{ip}:PORT` or `http(s)://{ip}[:PORT]/PATH`, the latter",
            "50: probes.services[2]: expected",
            "50: probes.services[3]: expected",
        ],
    ),
    "failover of services that nobody asks": (
        SEED + "policy: {service_down: failover}\n",
        ["50: policy.service_down: needs `probes.services` to act on"],
    ),
    "names that are none": (
        SEED + "hetrix: {names: {mbox1.example.com: 7, mbox2.example.com: two, mbox2.example.com: three}}\n",
        [
            "50: hetrix.names.mbox1.example.com: expected text, found '7'; put it in quotes",
            "50: hetrix.names.mbox2.example.com: given twice",
        ],
    ),
    "names as a list": (
        SEED + "vcenter: {names: [a]}\n",
        ["50: vcenter.names: expected a name for each node (`NODE: its name there`), found a list"],
    ),
    "section that is a value": (
        changed(("consul: # consul provider config\n  hostname: 127.0.0.1\n  port: 8500\n  token:", "consul: yes")),
        ["46: consul: expected keys and values, found a single value"],
    ),
    "secret in place of its section": (
        SEED + "hetrix: hunter2\n",
        ["50: hetrix: expected keys and values, found a single value"],
    ),
    "secret in place of its file": (
        changed(("  token:", "  token_file: hunter2")),
        ["49: consul.token_file: expected the path of a file, from the root on"],
    ),
    "name of a stranger": (
        SEED + "vcenter: {names: {mbx1.example.com: x}}\n",
        ["50: vcenter.names: mbx1.example.com is none of the nodes that this file names as ..._vmname; did you mean"],
    ),
    "the same mailstore twice": (
        changed(("appserver_vmname: mbox2.example.com", "appserver_vmname: MBOX1.example.com")),
        ["28: primary.appserver_vmname: is the same for both sites, so this node would watch itself"],
    ),
    "not YAML": ("local: [\n", ["2: is not valid YAML: expected the node content, but found '<stream end>'"]),
    "tab": (
        "local:\n\twhoami: secondary\n",
        ["2: is not valid YAML: found character '\\t' that cannot start any token"],
    ),
    "two documents": ("a: 1\n---\nb: 2\n", ["2: is not valid YAML: but found another document"]),
    "a list": ("- local\n", ["1: expected sections such as `local:`, found a list"]),
    "a word": ("local\n", ["1: expected sections such as `local:`, found 'local'"]),
    "empty": ("", ["is empty"]),
    "only comments": ("# nothing\n", ["is empty"]),
    "not UTF-8": (b"local:\n  whoami: \xff\n", ["2: is not UTF-8 text (byte 0xff); save it as UTF-8"]),
    "NUL": (b"local:\n  whoami: \x00\n", ["2: holds NUL bytes, so it is not a text file"]),
    "key that is a list": ("[a]: 1\n", ["1: a list: unknown key; known are"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_told(write: Writer, case: str) -> None:
    """Each mistake gives one clear message with its line, its key and what was expected."""
    text, expected = WRONG[case]
    actual = complaints(write(text))
    assert len(expected) == len(actual), actual
    assert all(there.startswith(wanted) for wanted, there in zip(expected, actual, strict=True)), actual


def test_several_mistakes_at_once(write: Writer) -> None:
    """All mistakes of a file are told in one go."""
    text = changed(("threads: 5", "threads: x"), ("port: 8500", "port: x"), ("flush_cache:", "flush_cahce:"))
    assert ["9", "14", "48"] == [line.split(":")[0] for line in complaints(write(text))]


def test_deep_and_recursive_yaml(write: Writer) -> None:
    """YAML that is nested without end, or refers to itself, is refused with a sentence."""
    assert complaints(write("[" * 5000))
    assert complaints(write("local: &a\n  whoami: *a\n"))


def test_world_readable_secret(write: Writer) -> None:
    """A file with a secret in it that everybody may read is refused with the command that mends it; without one, not."""
    path = write(changed(("token:", "token: 9336f5f6-7725-ff01-07e1-b55a4b90620a")))
    path.chmod(0o644)
    assert [f"holds a secret (consul.token) and everybody may read it: run `chmod 600 {path}`"] == complaints(path)
    path.chmod(0o640)
    assert load(path).consul.token
    path = write(SEED)
    path.chmod(0o644)
    assert load(path)


@pytest.mark.parametrize("mode", [0o602, 0o620, 0o666])
def test_file_that_others_can_write(write: Writer, mode: int) -> None:
    """Whoever can write the configuration can run anything as root: such a file is refused with what mends it (I9)."""
    path = write(SEED)
    path.chmod(mode)
    assert (
        f"can be written by others, who could make habeat run anything: run `chmod go-w {path}`" == complaints(path)[0]
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_file_of_somebody_else(write: Writer) -> None:
    """A configuration that belongs to another user is refused (I9)."""
    path = write(SEED)
    os.chown(path, 65534, 0)
    assert "belongs to uid 65534" in complaints(path)[0]


@pytest.mark.parametrize("kind", ["missing", "directory", "fifo", "device"])
def test_not_a_file(tmp_path: Path, kind: str) -> None:
    """Something that is no readable file is said to be so, at once."""
    path = Path("/dev/null") if kind == "device" else tmp_path / "habeat.yml"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    expected = "cannot be read: No such file" if kind == "missing" else "is a directory or a device"
    assert expected in complaints(path)[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not read")
def test_unreadable_file(write: Writer) -> None:
    """A file that may not be read is said to be so."""
    path = write(SEED)
    path.chmod(0)
    os.seteuid(65534)
    try:
        assert "cannot be read: Permission denied" in complaints(path)[0]
    finally:
        os.seteuid(0)


def test_token_file_that_is_no_file(write: Writer, tmp_path: Path) -> None:
    """A token's file that is a pipe, which nobody may ever write to, is told, and not waited for (I4)."""
    os.mkfifo(tmp_path / "token")
    (told,) = complaints(write(changed(("  token:", f"  token_file: {tmp_path / 'token'}"))))
    assert told.endswith(f"consul.token_file: {tmp_path / 'token'} is not a file")


def test_sample_is_good() -> None:
    """The sample that is installed on real nodes loads once its blanks are filled, and documents every key."""
    text = SAMPLE.read_text(encoding="utf-8")
    named = {line.split(":")[0].strip("# ") for line in text.splitlines() if ":" in line}
    for name, part in schema()["properties"].items():
        assert name in named
        assert set(part["anyOf"][0]["properties"]) - {"deativate"} <= named, name


def test_effective_configuration_hides_secrets(write: Writer) -> None:
    """The configuration in force can be shown to anybody, and loads again."""
    shown = effective(load(write(changed(("token:", "token: hunter2")))))
    assert "hunter2" not in shown
    assert "token: '***'" in shown
    assert load(write(shown)).local == load(write(SEED)).local


def test_schema_accepts_the_seed() -> None:
    """The schema is JSON, knows every key of the seed, and forbids others."""
    seed = yaml.safe_load(SEED)
    properties = json.loads(json.dumps(schema()))["properties"]
    for name, keys in seed.items():
        assert set(keys) <= set(properties[name]["anyOf"][0]["properties"])
        assert properties[name]["anyOf"][0]["additionalProperties"] is False


def test_reference_is_generated() -> None:
    """docs/configuration.md is what `make docs` writes today."""
    assert (HERE.parent / "docs" / "configuration.md").read_text(encoding="utf-8") == reference()


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("5m", 300), ("8h", 28800), ("2 d", 172800), ("1.5", 1.5), ("500ms", 0.5)]
)
def test_durations(text: str, seconds: float) -> None:
    """Durations are what design.md says."""
    assert seconds == duration(text)


def test_every_site_is_found() -> None:
    """Both sites can be had by name."""
    config = Config()
    assert (config.primary, config.secondary) == (config.site("primary"), config.site("secondary"))


PROXY = """\
local: {whoami: secondary, dc_check: primary, role: proxyserver, proxy_switch: bgp, proxy_enable_activate: true, proxy_enable_deactivate: true}
primary: {proxy_ip: 10.0.0.3, proxyserver_vmname: proxy1.example.com}
secondary:
  proxy_switch:
    bgp:
      activate: [ip address replace 192.0.2.10/32 dev lo]
      deactivate: [ip address del 192.0.2.10/32 dev lo]
"""


def test_a_switch_is_read(write: Writer) -> None:
    """Commands become argument lists with their quotes respected, and checks what they name; the rest is defaults."""
    text = PROXY.replace("      deactivate", "      CHECKS\n      deactivate").replace(
        "CHECKS",
        "verify: [test -e /run/x, {shell: 'a | b'}, {frr: {prefix: 192.0.2.10/32, peer: 10.0.0.1}}, "
        "{address: 192.0.2.10/32 on lo}]\n      other_site: [{bird: {prefix: 192.0.2.10/32, protocol: up1}}]",
    )
    config = load(write(text.replace("dev lo]", "dev lo, \"vtysh -c 'conf t'\"]", 1)))
    switch = config.switch
    assert switch is not None
    assert [("ip", "address", "replace", "192.0.2.10/32", "dev", "lo"), ("vtysh", "-c", "conf t")] == [
        command.argv for command in switch.activate
    ]
    assert switch.verify == (
        Command("test -e /run/x", ("test", "-e", "/run/x")),
        Command("a | b", ("/bin/sh", "-c", "a | b"), needs_shell=True),
        FrrCheck("192.0.2.10/32", "10.0.0.1"),
        AddressCheck("192.0.2.10/32", "lo"),
    )
    assert (BirdCheck("192.0.2.10/32", "up1"),) == switch.other_site
    assert (30.0, 15.0) == (switch.timeout, switch.settle)
    assert load(write(effective(config))).switch == switch


def test_the_seeds_spelling_is_told(write: Writer) -> None:
    """`deativate` is accepted, and noticed with its line."""
    (notice,) = load(write(PROXY.replace("deactivate: [", "deativate: ["))).notices
    assert notice.endswith(":7: secondary.proxy_switch.bgp.deativate is read as `deactivate`")
    assert () == load(write(PROXY)).notices


@pytest.mark.parametrize("role", ["mta", "collaboration", "video"])
def test_the_other_roles_are_read(write: Writer, role: str) -> None:
    """Each role has its own address and name, and shares the switch of services; without one it only watches."""
    plain = f"local: {{whoami: primary, dc_check: secondary, role: {role}}}\nsecondary: {{{role}_ip: 10.1.0.5, {role}_vmname: n2.example.com}}\n"
    config = load(write(plain))
    assert (None, ("10.1.0.5", "n2.example.com")) == (config.switch, _watched(config))
    switched = plain.replace("role:", "service_switch: lb, role:") + (
        "primary: {service_switch: {lb: {activate: [lb here], deactivate: [lb there]}}}\n"
    )
    found = load(write(switched)).switch
    assert found is not None
    assert ("lb", "here") == found.activate[0].argv


def _watched(config: Config) -> tuple[str, str]:
    target = target_of(config)
    return target.address, target.name


WRONG_SWITCHES = {
    "blank where enabled": (
        ("activate: [ip address replace 192.0.2.10/32 dev lo]", "activate:"),
        "6: secondary.proxy_switch.bgp.activate: needs commands: it is enabled, and this list is blank",
    ),
    "blank to give back": (
        ("      deactivate: [ip address del 192.0.2.10/32 dev lo]\n", ""),
        "5: secondary.proxy_switch.bgp.deactivate: needs commands: it is enabled, and this list is blank",
    ),
    "another tool": (
        ("    bgp:", "    bpg:"),
        "1: local.proxy_switch: names bgp, which is not under secondary.proxy_switch; did you mean bpg?",
    ),
    "no tool": (
        ("proxy_switch: bgp,", ""),
        "1: local.proxy_switch: needs the name of a tool, since local.proxy_enable_activate is true",
    ),
    "a pipe": (
        ("[ip address replace", "[echo x | ip address replace"),
        "6: secondary.proxy_switch.bgp.activate[0]: '|' has a meaning for a shell only",
    ),
    "a substitution in quotes": (
        ("[ip address replace", "['echo \"$(x)\"', ip address replace"),
        "6: secondary.proxy_switch.bgp.activate[0]: $( has a meaning for a shell only",
    ),
    "an open quote": (
        ("[ip address replace 192.0.2.10/32 dev lo]", "[ip 'address]"),
        "6: secondary.proxy_switch.bgp.activate[0]: expected a command",
    ),
    "a variable": (
        ("[ip address replace", "[A=b ip address replace"),
        "6: secondary.proxy_switch.bgp.activate[0]: 'A=b' sets a variable, which takes a shell",
    ),
    "a number": (
        ("[ip address replace 192.0.2.10/32 dev lo]", "[5]"),
        "6: secondary.proxy_switch.bgp.activate[0]: expected a command",
    ),
    "another key": (
        ("[ip address replace 192.0.2.10/32 dev lo]", "[{bash: x}]"),
        '6: secondary.proxy_switch.bgp.activate[0]: expected a command such as `vtysh -c "show version"`, or `{shell: "…"}` for one that needs a shell, found the key \'bash\'',
    ),
    "an empty shell": (
        ("[ip address replace 192.0.2.10/32 dev lo]", "[{shell: ' '}]"),
        "6: secondary.proxy_switch.bgp.activate[0]: expected",
    ),
    "a check of FRR without a peer": (
        ("      deactivate", "      verify: [{frr: {prefix: 192.0.2.10/32}}]\n      deactivate"),
        "7: secondary.proxy_switch.bgp.verify[0]: frr: peer: expected an IP address, found ''",
    ),
    "a check of FRR with a typo": (
        ("      deactivate", "      verify: [{frr: {prefx: 192.0.2.10/32}}]\n      deactivate"),
        "7: secondary.proxy_switch.bgp.verify[0].frr.prefx: unknown key; did you mean `prefix`?",
    ),
    "a check of BIRD with a bad prefix": (
        ("      deactivate", "      verify: [{bird: {prefix: 192.0.2.10, protocol: up}}]\n      deactivate"),
        "7: secondary.proxy_switch.bgp.verify[0]: bird: prefix: expected a network",
    ),
    "a check of BIRD with an injection": (
        ("      deactivate", "      verify: [{bird: {prefix: 192.0.2.10/32, protocol: 'up all'}}]\n      deactivate"),
        "7: secondary.proxy_switch.bgp.verify[0]: bird: protocol: expected the name of a protocol",
    ),
    "an address nowhere": (
        ("      deactivate", "      verify: [{address: 192.0.2.10/32}]\n      deactivate"),
        "7: secondary.proxy_switch.bgp.verify[0]: expected `ADDRESS/LENGTH on DEVICE`",
    ),
    "an address of the other site": (
        ("      deactivate", "      other_site: [{address: 192.0.2.10/32 on lo}]\n      deactivate"),
        "7: secondary.proxy_switch.bgp.other_site: `address` looks at this host, and tells nothing of the other site",
    ),
    "a tool that is a list": (
        ("    bgp:\n", "    - bgp\n    #"),
        "5: secondary.proxy_switch: expected tools with their commands, found a list",
    ),
}


@pytest.mark.parametrize("case", WRONG_SWITCHES)
def test_what_is_wrong_with_a_switch_is_told(write: Writer, case: str) -> None:
    """Each mistake in a switch is told with its line, its key and what was expected."""
    (before, after), expected = WRONG_SWITCHES[case]
    text = (
        PROXY.replace(before, after, 1)
        if case != "a tool that is a list"
        else PROXY.partition("    bgp")[0] + "    - bgp\n"
    )
    assert text != PROXY
    assert any(told.startswith(expected) for told in complaints(write(text))), complaints(write(text))


def test_blank_lists_are_fine_where_nothing_is_enabled(write: Writer) -> None:
    """The seed's blanks are no error for a proxy whose switch is not enabled."""
    text = changed(
        ('role: "appserver"', "role: proxyserver"),
        ("proxy_ip: # this value used for check availability of proxy in primary dc", "proxy_ip: 10.0.0.3"),
    )
    config = load(write(text))
    assert (False, False) == (config.runs("activate"), config.runs("deactivate"))


def test_samples_of_switches_are_good(write: Writer) -> None:
    """Every sample in docs/switches.md loads as the switch of a node, with a way here and one back."""
    page = (HERE.parent / "docs" / "switches.md").read_text(encoding="utf-8")
    samples = [text for text in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if text.startswith("activate:")]
    assert len(samples) > 5
    head = PROXY.partition("      activate")[0]
    for sample in samples:
        switch = load(write(head + textwrap.indent(sample, "      "))).switch
        assert switch is not None
        assert switch.activate
        assert switch.deactivate
