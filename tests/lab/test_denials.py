"""Denials on real kernels: every way of every event is read, and `deny` rules speak while somebody listens."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator

import pytest

from phoenix_hypervisor.audit.event import Doubt
from phoenix_hypervisor.audit.kinds import kind_of
from phoenix_hypervisor.audit.logs import KMSG, Reader
from phoenix_hypervisor.audit.subject import subject
from phoenix_hypervisor.audit.transports import understand
from phoenix_hypervisor.lab.booted import Lab
from phoenix_hypervisor.lab.cache import Cache
from phoenix_hypervisor.lab.rootdisk import ensure_root_disk
from support import audit_corpus as corpus
from support.lab_host import SOURCES, box, declare, phoenix, until

WRITE = bool(os.environ.get("PHOENIX_WRITE_CORPUS"))
PARAMETER = "/sys/module/apparmor/parameters/audit"
PROFILE = """\
profile lxc-t-heard flags=(attach_disconnected) {
  file, capability, network, signal, ptrace, unix, mount, umount, pivot_root,
  deny /srv/never w,
}
"""


@pytest.mark.slow
@pytest.mark.parametrize("release", ["trixie", "bookworm"] if WRITE else ["trixie"])
def test_every_way_of_every_event(lab_tools: None, release: str, tell: Callable[[str], None]) -> None:
    """With PHOENIX_WRITE_CORPUS on both, and the lines become those that `test_audit_corpus.py` reads."""
    made = ensure_root_disk(Cache(), corpus.disk(release))
    with Lab(release, memory=1280, more_disks=[made.disk]) as lab:
        found = corpus.gather(lab, release)
    wrong = []
    for known in found:
        event = understand(known.line, f"phoenix-lab-{release}".encode())
        assert event is not None, known
        if subject(event.line).container != (known.container if known.named else None):
            wrong.append(known)
        if kind_of(event.line) != known.kind or event.doubt is not None:
            wrong.append(known)
    assert wrong == []
    forms = {known.form for known in found}
    assert len(forms) == 19 and len(found) > 3000
    if WRITE:
        others = [known for known in corpus.read() if known.release != release]
        corpus.write([*corpus.chosen(found), *others])
    tell(f"{release}: {len(found)} lines of {len(forms)} forms, 0 unread, 0 wrong")


@pytest.fixture
def heard(lab: Lab) -> Iterator[Lab]:
    """A guest with a container whose profile holds something by a `deny` rule."""
    lab.install_phoenix()
    declare(lab, {})
    lab.put(f"{SOURCES}/lxc-t-heard", PROFILE)
    lab.run(["apparmor_parser", "-r", f"{SOURCES}/lxc-t-heard"], check=True)
    container = box(lab, 301, profile="lxc-t-heard")
    assert container.start().ok
    lab.put("/root/container", "301")
    yield lab
    container.remove()
    lab.run(f"rm -f {SOURCES}/lxc-t-heard; printf normal > {PARAMETER}")


def never(lab: Lab) -> str:
    """Do in the container what the rule refuses."""
    done = lab.run(
        ["lxc-attach", "-n", "301", "--clear-env", "--", "sh", "-c", "mkdir -p /srv; echo > /srv/never"]
    )
    assert "Permission denied" in done.stderr
    return done.stderr


def value(lab: Lab) -> str:
    return lab.get(PARAMETER).decode().strip()


def test_deny_rules_speak_while_somebody_listens(heard: Lab, tell: Callable[[str], None]) -> None:
    lab = heard
    lab.mark()
    never(lab)
    assert [one for one in lab.denials() if one.name == "/srv/never"] == [], "the rule is silent"
    before = value(lab)
    # It speaks of the parameter after it has put it back, so its end is waited for, not the parameter.
    listen = "phoenix denials 301 --listen --for 30s --json > /tmp/heard 2> /tmp/said < /dev/null"
    lab.run(f"rm -f /tmp/ended; {{ {listen}; echo $? > /tmp/ended; }} > /dev/null 2>&1 &", check=True)
    until(lab, f"[ $(cat {PARAMETER}) = noquiet ] || [ -s /tmp/ended ]", "the parameter is not set")
    assert value(lab) == "noquiet", lab.get("/tmp/said")
    never(lab)
    until(lab, "grep -q . /tmp/heard || [ -s /tmp/ended ]", "nothing is told, and it does not end")
    lines = lab.get("/tmp/heard").decode().splitlines()
    first = json.loads(lines[0])
    assert "denial" in first, (first, lab.get("/tmp/said"))
    found = first["denial"]
    assert (found["object"], found["ctid"], found["trusted"]) == ("/srv/never", "301", True)
    until(lab, "[ -s /tmp/ended ]", "it does not end")
    assert lab.get("/tmp/ended").decode().strip() in ("0", "3"), lab.get("/tmp/said")
    said = lab.get("/tmp/said").decode()
    assert value(lab) == before and f"put back: {before}" in said
    assert lab.run("test -e /var/lib/phoenix/listening.json").rc == 1
    tell(f"{lab.release.name}: {found['meaning']}: {found['verdict']}, {found['code']}")


def test_what_a_killed_listener_left_is_put_back(heard: Lab) -> None:
    lab = heard
    before = value(lab)
    lab.run("phoenix denials 301 --listen --for 10m > /dev/null 2>&1 < /dev/null &", check=True)
    until(lab, f"[ $(cat {PARAMETER}) = noquiet ]", "the parameter is not set")
    pid = json.loads(lab.get("/var/lib/phoenix/listening.json"))["pid"]
    lab.run(f"kill -9 {pid}", check=True)
    until(lab, f"! grep -q '^State:.[^Z]' /proc/{pid}/status 2> /dev/null", "it does not die")
    assert value(lab) == "noquiet"
    phoenix(lab, "denials", "--json")
    assert value(lab) == before and lab.run("test -e /var/lib/phoenix/listening.json").rc == 1


def test_where_the_kernel_cuts_a_line(heard: Lab, tell: Callable[[str], None]) -> None:
    """What `transports.FULL` says: a longer message may lack its end, and a shorter one never does."""
    lab = heard
    lab.run(f"printf noquiet > {PARAMETER}", check=True)
    lab.mark()
    deep = "/srv/" + "/".join(["d" * 200] * 3)
    lab.run(f"mkdir -p /var/lib/lxc/301/rootfs{deep}", check=True)
    lab.put(f"{SOURCES}/lxc-t-heard", PROFILE.replace("/srv/never w", "/srv/d** w"))
    lab.run(["apparmor_parser", "-r", f"{SOURCES}/lxc-t-heard"], check=True)
    names = " ".join("e" * length for length in range(60, 250, 12))
    script = f"for name in {names}; do echo > {deep}/$name; done"
    lab.run(["lxc-attach", "-n", "301", "--clear-env", "--", "sh", "-c", script])
    texts = [
        one.text for one in lab.kernel_log() if "lxc-t-heard" in one.text and 'operation="mknod"' in one.text
    ]
    assert len(texts) > 10
    whole = [len(text) for text in texts if text.endswith("ouid=0")]
    cut = [len(text) for text in texts if not text.endswith("ouid=0")]
    tell(f"{lab.release.name}: whole {sorted(whole)}, cut {sorted(cut)}")
    assert cut and min(cut) >= max(whole) and len({*cut}) == 1
    data = "".join(f"5,1,1,-;{text}\n" for text in texts).encode()
    for event, text in zip(Reader(KMSG).read([data]), texts, strict=True):
        assert event.doubt in (Doubt.CUT, None)
        if not text.endswith("ouid=0"):
            assert event.doubt is Doubt.CUT


FORGE = """
import socket, struct
body = 'audit: type=1400 audit(1.000:1): apparmor="DENIED" operation="open" profile="lxc-forged" name="/x"'
with open("/dev/kmsg", "w") as log:
    log.write("<5>" + body)
with open("/dev/kmsg", "w") as log:
    log.write("<5>x\\n" + body)
audit = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 9)
for number, text in enumerate((body, "x\\n" + body, "x' \\n<5>" + body, "x\\r" + body), 1):
    data = text.encode() + b"\\0"
    audit.send(struct.pack("=IHHII", 16 + len(data), 1107, 1, number, 0) + data)
"""


def test_what_programs_bring_into_the_kernels_log_is_not_believed(
    lab: Lab, tell: Callable[[str], None]
) -> None:
    lab.mark()
    lab.put("/root/forge.py", FORGE)
    lab.run(["python3", "-I", "-S", "/root/forge.py"], check=True)
    end, data = time.monotonic() + 60, b""
    while data.count(b"lxc-forged") < 6:
        # The kernel's own thread writes what came by the audit socket.
        assert time.monotonic() < end, data
        _, data = lab.wire.request({"op": "kmsg", "since": lab._since}, timeout=60)
    reader = Reader(KMSG)
    events = list(reader.read([data]))
    assert [event for event in events if event.trusted] == []
    tell(
        f"{lab.release.name}: {data.count(b'lxc-forged')} forged, {len(events)} read, {reader.unread} unread, 0 believed"
    )
