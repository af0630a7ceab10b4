"""Inet sockets of a policy that was compiled for addresses and ports, asked as Proxmox's kernels ask.

The blob was compiled by parser 4.1 for the whole list of Proxmox's 6.17, which has network_v8/af_inet:

    profile lxc-i {
      network inet dgram,
      network inet stream port=8080,
      network (create, bind) inet6 stream,
      network inet6 dgram,
      deny network (setopt) inet6 dgram,
    }
    profile lxc-j { ... }      # the same with port=8081
    profile lxc-k { ... }      # the same as lxc-i with `network (create) inet dgram,`
"""

from __future__ import annotations

import json

import pytest

from phoenix_hypervisor.policy import constants
from phoenix_hypervisor.policy.assertions import load_tests, run_tests
from phoenix_hypervisor.policy.batch import Batch
from phoenix_hypervisor.policy.diff import compare_policies, diff_policies, equal
from phoenix_hypervisor.policy.evaluate import Evaluator
from phoenix_hypervisor.policy.fault import NotJudged
from phoenix_hypervisor.policy.queries import Query, RawQuery, parse_query
from phoenix_hypervisor.policy.sockets import Asks
from phoenix_hypervisor.values import replace
from unit.policy.samples import policy

AFTER_CREATE = [word for word in constants.NETWORK_ACCESS if word != "create"]
NOT_JUDGED = "not judged"


def judge(name: str = "lxc-i", asks: Asks = Asks.PROTOCOL) -> Evaluator:
    return Evaluator(policy("inet-41").get(name), asks)


def question(family: str, kind: str, access: str, **more: object) -> Query:
    found = parse_query({"kind": "network", "family": family, "type": kind, "access": access, **more})
    assert not isinstance(found, RawQuery)
    return found


def answer(family: str, kind: str, access: str, **more: object) -> str:
    try:
        found = judge().ask(question(family, kind, access, **more))
    except NotJudged as error:
        assert access.partition(",")[0] in error.message and error.hint
        return NOT_JUDGED
    return f"{'allowed' if found.allowed else 'denied'} {found.reason.value}"


@pytest.mark.parametrize("access", [*constants.NETWORK_ACCESS, ",".join(constants.NETWORK_ACCESS)])
def test_a_plain_rule_allows_every_use_of_the_socket(access: str) -> None:
    assert answer("inet", "dgram", access) == "allowed rule"
    assert answer("inet", "raw", access) == answer("inet6", "seqpacket", access) == "denied no rule"


@pytest.mark.parametrize("access", AFTER_CREATE)
def test_a_rule_about_a_port_is_not_judged_without_one(access: str) -> None:
    assert answer("inet", "stream", "create") == "allowed rule"
    assert answer("inet", "stream", access) == NOT_JUDGED
    assert answer("inet", "stream", f"{access},create") == NOT_JUDGED


@pytest.mark.parametrize(("port", "granted"), [(8080, True), (8081, False), (80, False)])
def test_the_kernels_own_masks_differ_by_port_there(port: int, granted: bool) -> None:
    """What makes "allowed" and "denied" both untrue: the very strings of two binds."""
    string = b"\0\2\0\1\0\6" + b"\0" + port.to_bytes(2, "big") + b"\1" + bytes(4) + b"\0"
    masks = judge().raw(RawQuery(14, string))
    assert bool(masks.allow & constants.NETWORK_ACCESS["bind"]) is granted


def test_rules_about_single_accesses_are_judged() -> None:
    assert answer("inet6", "stream", "bind") == "allowed rule"
    assert answer("inet6", "stream", "listen") == "denied no rule"
    assert answer("inet6", "stream", "bind,listen") == "denied no rule"
    assert answer("inet6", "dgram", "setopt").startswith("denied")
    assert answer("inet6", "dgram", "getopt,send") == "allowed rule"
    # An MPTCP socket is one of its own protocol.
    assert answer("inet", "stream", "bind", protocol=262) == NOT_JUDGED


@pytest.mark.parametrize("asks", [Asks.TYPE, Asks.NINTH])
def test_other_kernels_ask_without_addresses(asks: Asks) -> None:
    """Debian's and upstream's stop at the type or the protocol, where such a policy grants only create."""
    other = judge(asks=asks)
    assert other.ask(question("inet", "stream", "create")).allowed
    assert not other.ask(question("inet", "stream", "bind")).allowed


def test_what_differs_by_a_port_is_not_compared_and_the_rest_is() -> None:
    """A difference needs an example that both sides answer; what all addresses share is one."""
    found = policy("inet-41")
    one, two, three = (replace(found, profiles=(found.get(f"lxc-{name}"),)) for name in "ijk")
    compared = compare_policies(one, two, logging=True, asks=Asks.PROTOCOL)
    assert compared.differences == ()
    assert any("addresses and ports" in told.what and told.asked for told in compared.not_compared)
    same = compare_policies(one, one, logging=True, asks=Asks.PROTOCOL)
    assert (same.differences, same.not_compared) == ((), ())
    assert not equal(one, two) and equal(one, one)
    network = [d for d in diff_policies(one, three, asks=Asks.PROTOCOL) if d.kind == "network"]
    words = {(d.only_a, d.only_b): d.witness for d in network}
    assert words == {(",".join(AFTER_CREATE), ""): "network inet dgram --access send"}


def test_batches_and_policy_tests_go_on_behind_it() -> None:
    line = {"kind": "network", "family": "inet", "type": "stream", "access": "bind", "profile": "lxc-i"}
    batch = Batch(policy("inet-41").get, asks=Asks.PROTOCOL)
    first, second = batch.run([json.dumps(line), json.dumps({**line, "type": "dgram"})])
    assert (json.loads(first)["error"][:10], batch.failed) == (NOT_JUDGED, 1)
    assert json.loads(second)["answer"] == "allowed"
    text = '[[test]]\nname = "t"\nprofiles = ["*"]\nkind = "network"\nfamily = "inet"\n'
    text += 'type = ["stream", "dgram"]\naccess = "bind"\nexpect = "allowed"\n'
    tests = load_tests(text.encode(), "t.toml")
    outcome = run_tests(tests, {"lxc-i": judge().profile}, Asks.PROTOCOL)
    (failure,) = outcome.failures
    assert (outcome.asked, failure.answer[:10]) == (2, NOT_JUDGED) and "stream" in failure.witness
