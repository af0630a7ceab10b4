"""What others than the kernel wrote is never taken for the kernel's, and any line gives an answer."""

from __future__ import annotations

import json
import os
import random
import re

import pytest

from phoenix_hypervisor.audit.groups import Groups
from phoenix_hypervisor.audit.logs import AUDITD, EVERYTHING, JOURNALD, KMSG, Reader
from phoenix_hypervisor.audit.meaning import means, printable
from phoenix_hypervisor.audit.subject import subject
from phoenix_hypervisor.audit.transports import Unread, understand
from support.forged import AVC, FORGED, PROFILE, RAW, WITHIN, entry

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_line_is_not_believed(name: str) -> None:
    believes, line = FORGED[name]
    reader = Reader(believes, b"pve1")
    events = list(reader.read([line.encode("utf-8", "surrogatepass") + b"\n"]))
    assert [event for event in events if event.trusted] == []
    assert events or reader.unread or "avc:" in line or "type=avc" in line, "it is told, or counted"


def test_what_is_forged_would_be_believed_if_it_were_true() -> None:
    for believes, line in ((AUDITD, AVC), (JOURNALD, entry()), (KMSG, f"5,1,2,-;{RAW}"), (EVERYTHING, RAW)):
        (event,) = Reader(believes, b"pve1").read([line.encode()])
        assert event.trusted and event.line.text("profile") == PROFILE


@pytest.mark.parametrize("name", WITHIN)
def test_a_true_event_keeps_its_profile_whatever_it_names(name: str) -> None:
    (event,) = Reader(AUDITD).read([f"type=AVC msg=audit(1795681057.740:16): {WITHIN[name]}".encode()])
    assert event.trusted
    assert (event.line.verdict, subject(event.line).profile) == ("DENIED", "lxc-true")
    assert event.line.text("requested_mask") == "w"


SEEDS = [line.encode("utf-8", "surrogatepass") for _, line in FORGED.values()]
PIECES = [
    b'"', b"'", b"=", b" ", b"\\", b"\n", b"\r", b"\x1b[2J", b"\x1d", b"\0", b"\xff", b"{", b"}", b"[", b"]", b":",
    b"audit(", b"type=1400 ", b"type=AVC ", b"msg=", b'apparmor="DENIED" ', b"apparmor=", b'name="', b"comm=2F00FF",
    b"profile=6C78632D62617365", b'label="a//&:b:c"', b'namespace="root//lxc-1_<-var-lib-lxc>" ', b"0", b"9" * 30,
    b'"MESSAGE":[1,2,', b'"_TRANSPORT":"kernel"', b"operation=", b"class=", b"capname=", b"family=", b"signal=",
    b"\xe2\x80\xae", b"\xed\xa0\x80", b"addr=@00", b'addr="@61"', b"pid=", b"-", b"audit: ", b"node=", b"\xc2\x85",
]  # fmt: skip


def mutated(chance: random.Random) -> bytes:
    data = bytearray(chance.choice(SEEDS))
    for _ in range(chance.randint(1, 6)):
        where = chance.randrange(len(data) + 1)
        what = chance.randrange(6)
        if what == 0:
            del data[where : where + chance.randint(1, 40)]
        elif what == 1:
            data[where:where] = chance.choice(PIECES)
        elif what == 2 and where < len(data):
            data[where] = chance.randrange(256)
        elif what == 3:
            other = chance.choice(SEEDS)
            data[where:] = other[chance.randrange(len(other)) :]
        elif what == 4:
            data[where:where] = chance.randbytes(chance.randint(1, 8))
        else:
            data[where : where + 20] = data[where : where + 20] * chance.randint(2, 5)
    return bytes(data)


def test_any_line_gives_an_answer() -> None:
    """PHOENIX_FUZZ_LINES says how many; a failure names its seed."""
    events = 0
    for seed in range(int(os.environ.get("PHOENIX_FUZZ_LINES", "4000"))):
        line = mutated(random.Random(seed))
        try:
            event = understand(line, b"pve1")
        except Unread:
            continue
        except Exception as error:
            raise AssertionError(f"seed {seed}: {line!r}") from error
        if event is None:
            continue
        events += 1
        groups = Groups()
        groups.add(event)
        shown = [printable(value) for value in event.line.fields.values()]
        shown += [printable(name) for name in event.line.fields]
        for group in groups.found():
            shown += [
                group.object,
                group.requested,
                group.kind,
                means(event.line, group.kind, group.object, group.requested),
            ]
            shown += [printable(group.subject.profile), printable(group.subject.namespace)]
        for text in shown:
            assert _CONTROL.search(text) is None, f"seed {seed}: {text!r}"
            json.dumps(text).encode()
    assert events > 100, "what cannot be read tests nothing"
