"""The shipped profiles on every packed kernel, as this machine's parser compiles them.

Ubuntu's kernels, and so Proxmox's, ask a unix socket with its protocol; a policy that was written for
features without `network/af_unix` answers that with no, whatever its rules say.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from phoenix_hypervisor.plan.mediation import read_dump
from phoenix_hypervisor.policy.assertions import Outcome, PolicyTest, run_tests
from phoenix_hypervisor.policy.constants import NETWORK_ACCESS
from phoenix_hypervisor.policy.evaluate import Evaluator
from phoenix_hypervisor.policy.profile import Profile
from phoenix_hypervisor.policy.queries import NetworkQuery, Query, RawQuery, parse_query
from phoenix_hypervisor.policy.reader import read_policy
from phoenix_hypervisor.policy.sockets import Asks, asks
from phoenix_hypervisor.profiles.features import ALIASES, PACKED, packed, same_lists
from phoenix_hypervisor.profiles.prove import read_tests
from support.hosts import TOP, DirectoryHost
from support.shipped import NAMES, PIN, compile_text, takes_optional, text_of

PROXMOX = [name for name in PACKED if name.startswith("proxmox")]


def feature_file(name: str) -> str:
    path = packed(name)
    assert path is not None
    return path


def made(text: str, kernel: str) -> bytes:
    """Compiled under Debian 13's pin, which is that kernel's list but for network_v8/tcp-fast-open."""
    return compile_text(text, kernel=feature_file(kernel), pins=feature_file("debian-13"))


@cache
def compiled(name: str, kernel: str, pinned: bool = True) -> Profile:
    text = text_of(name)
    return read_policy(made(text if pinned else text.replace(PIN, "", 1), kernel)).profiles[0]


def how(kernel: str) -> Asks:
    return asks(read_dump(Path(feature_file(kernel)).read_bytes()))


@cache
def shipped_tests() -> list[PolicyTest]:
    return read_tests(str(TOP / "etc/policy_tests"), optional=takes_optional())


def outcome(name: str, kernel: str, *, pinned: bool = True) -> Outcome:
    return run_tests(shipped_tests(), {name: compiled(name, kernel, pinned)}, how(kernel))


def test_each_packed_kernel_asks_as_its_tree_does() -> None:
    assert {name: how(name) for name in PACKED} == {
        **dict.fromkeys(("debian-12", "debian-13"), Asks.TYPE),
        "debian-14": Asks.NINTH,
        **dict.fromkeys(PROXMOX, Asks.PROTOCOL),
    }
    assert set(ALIASES.values()) <= set(PACKED) and packed("proxmox-9") == packed(ALIASES["proxmox-9"])
    assert packed("proxmox") is None
    assert ["proxmox-8-6.8", "proxmox-9-6.14"] in same_lists(PACKED) and len(same_lists(PACKED)) == 6


@pytest.mark.parametrize("kernel", PACKED)
@pytest.mark.parametrize("name", NAMES)
def test_every_policy_test_holds_on_every_packed_kernel(name: str, kernel: str) -> None:
    found = outcome(name, kernel)
    assert found.asked > 300 and found.failures == ()


@pytest.mark.parametrize("kernel", PROXMOX)
@pytest.mark.parametrize("name", NAMES)
def test_proxmoxs_question_of_six_bytes_is_answered_by_the_pin_alone(name: str, kernel: str) -> None:
    create = 0x10
    for kind in (1, 2, 5):
        question = RawQuery(14, b"\0\1" + kind.to_bytes(2, "big") + b"\0\0")
        assert Evaluator(compiled(name, kernel)).raw(question).allow & create
        assert not Evaluator(compiled(name, kernel, False)).raw(question).allow & create
    failed = {failure.test.name for failure in outcome(name, kernel, pinned=False).failures}
    assert {"unix sockets are made and used", "sockets of ordinary work"} <= failed


RULES = """profile lxc-u {
  unix (create, bind, listen, accept) type=stream addr=@a*,
  unix (connect, send, receive) type=stream addr=none peer=(label=lxc-u, addr=@a*),
  unix (create, bind) type=dgram addr=auto,
  unix (create, setopt, getopt, getattr) type=seqpacket,
  deny unix (send) type=dgram,
}
"""
FINE = [
    ({"type": "stream"}, "allowed rule"),
    ({"type": "stream", "access": "bind", "address": "@ab"}, "allowed rule"),
    ({"type": "stream", "access": "bind", "address": "@b"}, "denied no rule"),
    ({"type": "stream", "access": "bind"}, "denied no rule"),
    ({"type": "stream", "access": "listen", "address": "@a"}, "allowed rule"),
    ({"type": "stream", "access": "accept", "address": "@a"}, "allowed rule"),
    ({"type": "stream", "access": "getopt", "address": "@a"}, "denied no rule"),
    ({"type": "stream", "access": "connect", "peer_address": "@a"}, "allowed rule"),
    ({"type": "stream", "access": "connect", "peer_address": "@b"}, "denied no rule"),
    ({"type": "stream", "access": "connect", "peer_address": "@a", "peer": "lxc-u"}, "allowed rule"),
    ({"type": "stream", "access": "connect", "peer_address": "@a", "peer": "lxc-v"}, "denied no rule"),
    ({"type": "stream", "access": "connect,send", "peer_address": "@a"}, "allowed rule"),
    ({"type": "stream", "access": "connect,listen", "peer_address": "@a"}, "denied no rule"),
    ({"type": "dgram", "access": "bind"}, "allowed rule"),
    ({"type": "dgram", "access": "bind", "address": "@a"}, "denied no rule"),
    ({"type": "dgram", "access": "send"}, "denied deny rule"),
    ({"type": "seqpacket", "access": "setopt"}, "allowed rule"),
    ({"type": "seqpacket", "access": "connect"}, "denied no rule"),
    ({"type": "rdm"}, "denied no rule"),
]


@pytest.mark.parametrize("kernel", PROXMOX)
def test_rules_about_addresses_and_peers_are_answered_as_they_are_written(kernel: str) -> None:
    blob = made(f"{PIN}\n{RULES}", kernel)
    judge = Evaluator(read_policy(blob).get("lxc-u"), Asks.PROTOCOL)
    found = []
    for fields, _ in FINE:
        answer = judge.ask(question(**fields))
        found.append((fields, f"{'allowed' if answer.allowed else 'denied'} {answer.reason.value}"))
    assert found == FINE


def question(**fields: object) -> Query:
    query = parse_query({"kind": "unix", **fields})
    assert not isinstance(query, RawQuery)
    return query


@pytest.mark.parametrize("kernel", PROXMOX)
def test_inet_sockets_are_used_under_a_plain_rule(kernel: str) -> None:
    """Also where the policy has addresses and ports in it, which our pin keeps out (parser 4.1 on)."""
    own = feature_file(kernel)
    whole = read_policy(compile_text("profile lxc-u {\n  network inet stream,\n}\n", kernel=own, pins=own))
    every = sum(NETWORK_ACCESS.values())
    for profile in (whole.get("lxc-u"), compiled("lxc-base", kernel)):
        answer = Evaluator(profile, how(kernel)).ask(NetworkQuery(family=2, type=1, access=every))
        assert (answer.allowed, answer.reason.value) == (True, "rule")


def test_debians_kernels_ask_the_same_rules_by_type_only() -> None:
    blob = made(f"{PIN}\n{RULES}", "debian-13")
    judge = Evaluator(read_policy(blob).get("lxc-u"))
    assert judge.ask(question(type="stream", access="bind", address="@b")).allowed
    assert not judge.ask(question(type="rdm")).allowed


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        ((), {Asks.TYPE: (0, False), Asks.PROTOCOL: (0, True), Asks.NINTH: (0, False)}),
        ((4,), {Asks.TYPE: (0, False), Asks.PROTOCOL: (4, True), Asks.NINTH: (0, False)}),
        ((4, 14), {Asks.TYPE: (14, False), Asks.PROTOCOL: (14, True), Asks.NINTH: (14, False)}),
        ((4, 14, 15), {Asks.TYPE: (14, False), Asks.PROTOCOL: (15, True), Asks.NINTH: (15, True)}),
    ],
)
def test_which_class_a_kernel_asks(classes: tuple[int, ...], expected: dict[Asks, tuple[int, bool]]) -> None:
    from phoenix_hypervisor.policy.sockets import start

    class Mediates:
        def mediates(self, number: int) -> int:
            return number if number in classes else 0

    assert {one: start(Mediates(), 1, one) for one in Asks} == expected  # type: ignore[arg-type]
    inet = {one: start(Mediates(), 2, one)[1] for one in Asks}  # type: ignore[arg-type]
    assert not any(inet.values())


def test_an_upstream_kernel_that_knows_version_nine_only_is_told_from_ubuntus() -> None:
    assert asks({"network_v9/af_unix": frozenset({"yes"})}) is Asks.NINTH
    assert asks({"network_v9/af_unix": frozenset(), "network/af_unix": frozenset()}) is Asks.PROTOCOL


def test_a_query_says_for_which_kernel_it_holds(host: DirectoryHost) -> None:
    host.source("lxc-a", "unix,")
    host.declare({})
    words = ("policy", "query", "lxc-a", "unix", "stream", "--json")
    debian = host.phoenix("--features", "debian-13", *words)
    assert (debian.code, "Debian" in debian.document["holds_for"]) == (0, True)
    proxmox = host.phoenix("--features", "proxmox-9", *words)
    assert (proxmox.code, "Proxmox" in proxmox.document["holds_for"]) == (3, True)
    other = host.phoenix(
        "--features", "proxmox-9", "policy", "query", "lxc-a", "capability", "chown", "--json"
    )
    assert "holds_for" not in other.document


def test_a_difference_that_only_proxmoxs_kernels_see(host: DirectoryHost, tmp_path: Path) -> None:
    text = "{pin}profile lxc-a {{\n  unix,\n}}\n"
    for name, pin in (("with", f"{PIN}\n"), ("without", "")):
        blob = made(text.format(pin=pin), "proxmox-9")
        (tmp_path / name).write_bytes(blob)
    host.declare({})
    words = ("policy", "diff", str(tmp_path / "without"), str(tmp_path / "with"), "--json")
    # Without the pin parser 4 leaves out other classes, too, which Debian's kernel also asks.
    debians, proxmoxs = (
        [
            d
            for d in host.phoenix("--features", name, *words).document["differences"]
            if d["kind"] in ("network", "unix")
        ]
        for name in ("debian-13", "proxmox-9")
    )
    assert debians == []
    assert not any(d["only_a"] for d in proxmoxs)
    assert "create" in {word for d in proxmoxs for word in d["only_b"].split(",")}


def test_all_that_is_asked_of_a_socket_has_a_form_on_the_command_line() -> None:
    asked = NetworkQuery(
        family=1, type=1, access=0x40, protocol=3, address=b"\0a b", peer_address=b"\0c", peer=b"lxc-x"
    )
    assert str(asked) == (
        "network unix stream --access connect --protocol 3 --address '@a b' --peer-address @c --peer lxc-x"
    )
