"""The line format of batches."""

from __future__ import annotations

import json

from phoenix_hypervisor.policy.batch import Batch
from unit.policy.samples import policy


def test_one_line_for_one_line_in_order() -> None:
    batch = Batch(policy("sample-308").get)
    lines: list[bytes | str] = [
        '{"profile":"lxc-a","kind":"file","path":"/x","access":"rw","other":false}',
        b'{"profile":"lxc-a","kind":"umount","target":"/nowhere/"}\n',
        "nonsense",
        "",
        "[]",
        b"\xff",
        '{"profile":"lxc-none","kind":"userns"}',
        '{"kind":"userns"}',
        '{"profile":1,"kind":"userns"}',
        "[" * 100_000,
        '{"profile":"lxc-a","kind":"raw","class":7,"string":"2f622f","uid":0}',
        '{"profile":"lxc-a","kind":"mount","target":"/b/","flags":["bind"]}',
    ]
    out = [json.loads(text) for text in batch.run(lines)]
    assert out[0] == {"answer": "allowed", "reason": "rule", "audited": False, "complain": False, "needs": []}
    assert out[1] == {
        "answer": "denied",
        "reason": "no rule",
        "audited": False,
        "complain": False,
        "needs": ["sys_admin"],
    }
    bad = [index for index, answer in enumerate(out) if set(answer) == {"error"}]
    assert bad == [2, 3, 4, 5, 6, 7, 8, 9, 11]
    assert out[10] == {"allow": 0x8004, "deny": 0, "audit": 0, "quiet": 0}
    assert (batch.failed, len(out)) == (len(bad), len(lines))


def test_a_blob_with_one_profile_needs_no_name() -> None:
    batch = Batch(policy("plain-308").get)
    assert json.loads(next(batch.run(['{"kind":"capability","name":"kill"}'])))["answer"] == "allowed"
    assert batch.failed == 0


def test_what_is_no_text_is_a_bad_line_not_the_end() -> None:
    batch = Batch(policy("sample-308").get)
    good = '{"profile":"lxc-a","kind":"userns"}'
    lines: list[bytes | str] = [
        '{"profile":"\\ud800","kind":"userns"}',
        '{"profile":"lxc-a\\u0000","kind":"userns"}',
        '{"profile":"lxc-a","kind":"file","path":"/\\udfff","access":"r"}',
        good.encode("utf-16"),
        '{"profile":"lxc-a","kind":"raw","class":7,"string":"2f 2f"}',
        '{"profile":"lxc-a","kind":"raw","class":7,"string":"2\\u0661"}',
        b"\xef\xbb\xbf" + good.encode() + b"\r",
        '{"profile":"lxc-a","kind":"file","path":"/\\udcff","access":"r"}',
    ]
    out = [json.loads(text) for text in batch.run(lines)]
    assert [set(answer) == {"error"} for answer in out] == [True] * 6 + [False] * 2
    assert batch.failed == 6
