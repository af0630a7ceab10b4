"""Logs are read by whichever way their lines come, each event once, and nothing is lost unsaid."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator

import pytest

from phoenix_hypervisor.audit.event import Doubt, Event, Transport
from phoenix_hypervisor.audit.groups import Group, Groups
from phoenix_hypervisor.audit.logs import AUDITD, EVERYTHING, JOURNALD, MAX_LINE, Once, Reader
from phoenix_hypervisor.audit.subject import Subject, subject
from phoenix_hypervisor.audit.transports import Unread, understand

ID = "1795681057.740:16"
BODY = (
    'apparmor="DENIED" operation="open" class="file" profile="lxc-base" name="/sys/kernel/debug/x" pid=812'
    ' comm="cat" requested_mask="r" denied_mask="r" fsuid=0 ouid=0'
)
RAW = f"audit: type=1400 audit({ID}): {BODY}"
NET = 'apparmor="DENIED" operation="create" profile="lxc-base" pid=7 comm="x" family="inet" sock_type="raw" protocol=1'


def journald(**fields: object) -> str:
    return json.dumps({"PRIORITY": "5", "_BOOT_ID": "0" * 32, **fields})


FORMS: dict[str, tuple[str, Transport, Doubt | None]] = {
    "auditd": (f"type=AVC msg=audit({ID}): {BODY}", Transport.AUDITD, None),
    "auditd numbered": (f"type=1400 msg=audit({ID}): {BODY}", Transport.AUDITD, None),
    "auditd enriched": (
        f'type=AVC msg=audit({ID}): {BODY}\x1dFSUID="root" OUID="root"',
        Transport.AUDITD,
        None,
    ),
    "auditd glued": (
        f'type=AVC msg=audit({ID}): {BODY}FSUID="root" OUID="root"',
        Transport.AUDITD,
        Doubt.FORM,
    ),
    "auditd node": (f"node=pve1 type=AVC msg=audit({ID}): {BODY}", Transport.AUDITD, None),
    "auditd long node": (f"node=pve1.example.org type=AVC msg=audit({ID}): {BODY}", Transport.AUDITD, None),
    "auditd other node": (f"node=pve2 type=AVC msg=audit({ID}): {BODY}", Transport.AUDITD, Doubt.NODE),
    "auditd dispatched": (f"msg=audit({ID}): {BODY}", Transport.AUDITD, Doubt.FORM),
    "ausearch": (f"type=AVC msg=audit({ID}): {BODY} ", Transport.AUDITD, None),
    "ausearch -i": (
        "type=AVC msg=audit(11/26/2026 08:17:37.740:16) : apparmor=DENIED operation=open class=file"
        " profile=lxc-base name=/sys/kernel/debug/x pid=812 comm=cat requested_mask=r denied_mask=r fsuid=root"
        " ouid=root",
        Transport.AUDITD,
        Doubt.FORM,
    ),
    "2010": (
        f'type=APPARMOR_DENIED msg=audit({ID}): operation="open" pid=812 parent=1 profile="lxc-base"'
        ' requested_mask="r::" denied_mask="r::" fsuid=0 ouid=0 name="/sys/kernel/debug/x"',
        Transport.AUDITD,
        None,
    ),
    "2010 numbered": (
        f'type=UNKNOWN[1503] msg=audit({ID}): operation="open" pid=812 profile="lxc-base"'
        ' requested_mask="r" denied_mask="r" fsuid=0 ouid=0 name="/sys/kernel/debug/x"',
        Transport.AUDITD,
        None,
    ),
    "dmesg": (f"[   12.345678] {RAW}", Transport.DMESG, None),
    "dmesg of a caller": (f"[   12.345678][  T812] {RAW}", Transport.DMESG, None),
    "dmesg -x": (f"kern  :notice: [   12.345678] {RAW}", Transport.DMESG, None),
    "dmesg -T": (f"[Thu Nov 26 08:17:37 2026] {RAW}", Transport.DMESG, None),
    "dmesg -x -T": (f"kern  :notice: [Thu Nov 26 08:17:37 2026] {RAW}", Transport.DMESG, None),
    "dmesg -r": (f"<5>[   12.345678] {RAW}", Transport.DMESG, None),
    "dmesg -t": (RAW, Transport.DMESG, None),
    "dmesg iso": (f"2026-11-26T08:17:37,740000+00:00 {RAW}", Transport.DMESG, None),
    "dmesg before 3.7": (f"[   12.345678] type=1400 audit({ID}): {BODY}", Transport.DMESG, None),
    "kmsg": (f"5,1207,12345678,-;{RAW}", Transport.KMSG, None),
    "kmsg of a program": (f"13,1207,12345678,-;{RAW}", Transport.KMSG, Doubt.USER),
    "syslog": (f"Nov 26 08:17:37 pve1 kernel: [   12.345678] {RAW}", Transport.SYSLOG, None),
    "syslog iso": (f"2026-11-26T08:17:37.740811+00:00 pve1 kernel: {RAW}", Transport.SYSLOG, None),
    "syslog 5424": (f"<5>1 2026-11-26T08:17:37.740811Z pve1 kernel - - - {RAW}", Transport.SYSLOG, None),
    "syslog 5424, rsyslog's": (
        f"<5>1 2026-11-26T08:17:37.740811Z pve1 kernel - - -  {RAW}",
        Transport.SYSLOG,
        None,
    ),
    "journalctl": (f"Nov 26 08:17:37 pve1 audit[812]: AVC {BODY}", Transport.SYSLOG, None),
    "journalctl in Dutch": (f"jan 26 08:17:37 pve1 kernel: {RAW}", Transport.SYSLOG, None),
    "journalctl in Japanese": (f"11\u6708 26 08:17:37 pve1 audit[812]: AVC {BODY}", Transport.SYSLOG, None),
    "journalctl in French": (f"f\xe9vr. 26 08:17:37 pve1 kernel: {RAW}", Transport.SYSLOG, None),
    "journalctl short-full in German": (
        f"Do 2026-11-26 08:17:37 CET pve1 kernel: {RAW}",
        Transport.SYSLOG,
        None,
    ),
    "journalctl short-full": (f"Thu 2026-11-26 08:17:37 CET pve1 kernel: {RAW}", Transport.SYSLOG, None),
    "journalctl short-full, zone without a name": (
        f"Thu 2026-11-26 08:17:37 +03 pve1 kernel: {RAW}",
        Transport.SYSLOG,
        None,
    ),
    "journalctl short-unix": (f"1795681057.740811 pve1 kernel: {RAW}", Transport.SYSLOG, None),
    "journalctl short-delta": (
        f"[   12.345678 <    0.000012 >] pve1 kernel: {RAW}",
        Transport.SYSLOG,
        None,
    ),
    "journalctl short-delta, the first": (
        f"[   12.345678                ] pve1 kernel: {RAW}",
        Transport.SYSLOG,
        None,
    ),
    "journalctl monotonic": (f"[   12.345678] pve1 kernel: {RAW}", Transport.SYSLOG, None),
    "audisp": (
        f"Nov 26 08:17:37 pve1 audisp-syslog: type=AVC msg=audit({ID}): {BODY}",
        Transport.SYSLOG,
        None,
    ),
    "2007": (
        f'Nov 26 08:17:37 pve1 kernel: audit({ID}):  type=1503 operation="open" requested_mask="r" denied_mask="r"'
        ' name="/sys/kernel/debug/x" pid=812 profile="lxc-base"',
        Transport.SYSLOG,
        None,
    ),
    "journald kernel": (
        journald(_TRANSPORT="kernel", SYSLOG_FACILITY="0", MESSAGE=RAW),
        Transport.KERNEL,
        None,
    ),
    "journald bytes": (
        journald(_TRANSPORT="kernel", SYSLOG_FACILITY="0", MESSAGE=list(RAW.encode())),
        Transport.KERNEL,
        None,
    ),
    "journald audit": (
        journald(
            _TRANSPORT="audit",
            _AUDIT_TYPE="1400",
            _AUDIT_ID="16",
            _SOURCE_REALTIME_TIMESTAMP="1795681057740000",
            MESSAGE=f"AVC {BODY}",
        ),
        Transport.AUDIT,
        None,
    ),
    "journald audit bytes": (
        journald(
            _TRANSPORT="audit",
            _AUDIT_TYPE="1400",
            _AUDIT_ID="16",
            _SOURCE_REALTIME_TIMESTAMP="1795681057740000",
            MESSAGE=list(f"AVC {BODY}".encode()),
        ),
        Transport.AUDIT,
        None,
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_is_the_same_event(name: str) -> None:
    text, transport, doubt = FORMS[name]
    event = understand(text.encode(), b"pve1")
    assert event is not None
    assert (event.transport, event.doubt) == (transport, doubt)
    line = event.line
    assert (line.verdict, line.operation, line.text("profile")) == ("DENIED", "open", "lxc-base")
    assert line.fields["name"] == b"/sys/kernel/debug/x"
    assert line.words("requested_mask")[0].strip(":") == "r"
    if event.id is not None:
        assert (event.id, event.time) == (ID, 1795681057.740)
    else:
        assert name in ("ausearch -i", "journalctl", "journalctl in Japanese")


BUS = (
    'apparmor="DENIED" operation="dbus_method_call" bus="system" path="/" interface="a.b" member="C" mask="send"'
    ' name=":1.2" pid=7 label="lxc-base" peer_label="unconfined"'
)


@pytest.mark.parametrize(
    "text",
    [
        f"type=USER_AVC msg=audit({ID}): pid=5 uid=1 auid=2 ses=3 subj=unconfined msg='{BUS} exe=\"/d\" sauid=1'",
        f"Nov 26 08:17:37 pve1 dbus-daemon[5]: {BUS}",
        journald(
            _TRANSPORT="syslog",
            SYSLOG_IDENTIFIER="dbus-daemon",
            MESSAGE=BUS,
            __REALTIME_TIMESTAMP="1795681057740000",
        ),
    ],
    ids=["auditd", "syslog", "journald"],
)
def test_a_bus_is_read_and_not_believed(text: str) -> None:
    event = understand(text.encode())
    assert event is not None and event.doubt is Doubt.USER
    assert event.line.text("member") == "C"


def test_names_in_hexadecimal() -> None:
    body = (
        'apparmor="DENIED" operation="mount" class="mount" info="failed perms check" error=-13 profile=6C20 name=2F61'
        '0A62 pid=1 comm=2861290020 fstype=6E667334 srcname=683A2F782079 flags="rw" options=783D2220'
    )
    event = understand(f"type=AVC msg=audit({ID}): {body}".encode())
    assert event is not None and event.doubt is None
    found = event.line.fields
    assert found["profile"] == b"l " and found["name"] == b"/a\nb" and found["comm"] == b"(a)\0 "
    assert found["fstype"] == b"nfs4" and found["srcname"] == b"h:/x y" and found["options"] == b'x=" '


@pytest.mark.parametrize(
    "text",
    [
        "",
        "type=SYSCALL msg=audit(1.000:1): arch=c000003e syscall=257 success=no",
        "type=AVC msg=audit(1.000:1): avc:  denied  { read } for  pid=1 comm=x",
        "Nov 26 08:17:37 pve1 kernel: Command line: quiet apparmor=1 security=apparmor",
        journald(_TRANSPORT="kernel", SYSLOG_FACILITY="0", MESSAGE="eth0: link up"),
        "----",
        "time->Thu Nov 26 08:17:37 2026",
    ],
)
def test_what_is_none_of_apparmors_is_only_a_line(text: str) -> None:
    assert understand(text.encode()) is None


@pytest.mark.parametrize(
    "text",
    [
        "type=UNKNOWN[1503] msg=audit(1.000:1): REJECTING r access to /bin/df (sh(79) profile /x active y)",
        'something apparmor="DENIED" operation="open"',
        f'type=AVC msg=audit({ID}): apparmor="DENIED" ',
        "{" + BODY,
        journald(_TRANSPORT="kernel", SYSLOG_FACILITY="0", MESSAGE=[RAW, RAW]),
    ],
)
def test_what_cannot_be_read_is_counted(text: str) -> None:
    with pytest.raises(Unread):
        understand(text.encode())
    reader = Reader(EVERYTHING)
    assert list(reader.read([text.encode() + b"\n"])) == [] and (reader.lines, reader.unread) == (1, 1)


def test_a_line_whose_end_the_kernel_cut_off() -> None:
    whole = RAW.replace("/sys/kernel/debug/x", "/" + "a" * 900)
    event = understand(f"5,1,2,-;{whole[:990]}".encode())
    assert event is not None and event.doubt is Doubt.CUT
    assert event.line.text("profile") == "lxc-base" and "name" not in event.line.fields
    # A printk of that length may have lost whole fields.
    event = understand(f"5,1,2,-;{RAW.replace('/x', '/' + 'a' * 900)}".encode())
    assert event is not None and event.doubt is Doubt.CUT
    # auditd's lines are longer.
    event = understand(f"type=AVC msg=audit({ID}): {BODY.replace('/x', '/' + 'a' * 5000)}".encode())
    assert event is not None and event.doubt is None


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.mark.parametrize("size", [1, 7, 1000, 1 << 20])
def test_chunks_may_end_anywhere(size: int) -> None:
    data = b"\n".join(
        [b"x", FORMS["auditd"][0].encode(), b"", b"a" * 300, f"type=AVC msg=audit({ID}): {NET}".encode()]
    )
    reader = Reader(AUDITD)
    events = list(reader.read(pieces(data, size)))
    assert [event.line.operation for event in events] == ["open", "create"] and reader.lines == 5
    assert all(event.trusted for event in events)


@pytest.mark.parametrize("size", [999, 1 << 20])
def test_a_line_that_is_too_long_hides_nothing(size: int) -> None:
    line = FORMS["auditd"][0].encode()
    long = b'apparmor="DENIED" ' + b"a" * (3 * MAX_LINE)
    reader = Reader(AUDITD)
    events = list(reader.read(pieces(b"\n".join([line, long, line, b"z" * (2 * MAX_LINE)]), size)))
    assert len(events) == 2 and reader.lines == 4 and reader.unread <= 1


def test_only_ways_that_a_place_has_are_believed() -> None:
    data = "\n".join(text for text, _, _ in FORMS.values()).encode()
    for believes in (AUDITD, JOURNALD, frozenset[Transport]()):
        assert believes != EVERYTHING
        events = list(Reader(believes, b"pve1").read([data]))
        assert {event.transport for event in events if event.trusted} == believes
        assert len(events) == len(FORMS)


def test_an_event_that_came_by_several_ways_counts_once() -> None:
    same = ["auditd", "auditd enriched", "dmesg", "kmsg", "syslog", "journald kernel", "journald audit"]
    data = "\n".join(FORMS[name][0] for name in same).encode()
    once = Once()
    assert len(list(once.of(Reader(EVERYTHING).read([data])))) == 1 and once.repeated == len(same) - 1


def test_records_of_one_system_call_are_not_the_same() -> None:
    data = "\n".join([f"type=AVC msg=audit({ID}): {BODY}", f"type=AVC msg=audit({ID}): {NET}"]).encode()
    assert len(list(Once().of(Reader(AUDITD).read([data])))) == 2


def test_a_forged_twin_hides_no_event() -> None:
    forged, real = FORMS["dmesg"][0].encode(), FORMS["auditd"][0].encode()
    for order in ([forged, real], [real, forged]):
        events = list(Once().of(Reader(AUDITD).read([b"\n".join(order)])))
        assert [event for event in events if event.trusted]


def event(body: str, transport: str = "type=AVC msg=audit({}): {}", number: str = ID) -> Event:
    found = understand(transport.format(number, body).encode())
    assert found is not None
    return found


SUBJECTS = {
    'profile="lxc-base"': Subject("lxc-base", "", None),
    'profile="lxc-base//hat"': Subject("lxc-base//hat", "", None),
    'profile="lxc-101_</var/lib/lxc>"': Subject("lxc-101_</var/lib/lxc>", "", "101"),
    'profile="lxc-101_</var/lib/lxc>//null-/bin/x"': Subject(
        "lxc-101_</var/lib/lxc>//null-/bin/x", "", "101"
    ),
    'profile="lxc-101_</home/u/lxc>"': Subject("lxc-101_</home/u/lxc>", "", None),
    'namespace="root//lxc-101_<-var-lib-lxc>" profile="docker-default"': Subject(
        "docker-default", "root//lxc-101_<-var-lib-lxc>", "101"
    ),
    'namespace="root//lxc-101_<-var-lib-lxc>//lxc-5_<-var-lib-lxc>" profile="lxc-7_</var/lib/lxc>"': Subject(
        "lxc-7_</var/lib/lxc>", "root//lxc-101_<-var-lib-lxc>//lxc-5_<-var-lib-lxc>", "101"
    ),
    'namespace="root//other//lxc-5_<-var-lib-lxc>" profile="a"': Subject(
        "a", "root//other//lxc-5_<-var-lib-lxc>", None
    ),
    'label="lxc-101_</var/lib/lxc>//&:lxc-101_<-var-lib-lxc>:unconfined"': Subject(
        "lxc-101_</var/lib/lxc>//&:lxc-101_<-var-lib-lxc>:unconfined", "", "101"
    ),
    'label="lxc-base//&:lxc-102_<-var-lib-lxc>:docker-default"': Subject(
        "lxc-base//&:lxc-102_<-var-lib-lxc>:docker-default", "", "102"
    ),
    'label="lxc-101_</var/lib/lxc>//&:lxc-102_<-var-lib-lxc>:x"': Subject(
        "lxc-101_</var/lib/lxc>//&:lxc-102_<-var-lib-lxc>:x", "", None
    ),
    'label=":lxc-101_<-var-lib-lxc>:docker-default"': Subject(
        "docker-default", "lxc-101_<-var-lib-lxc>", "101"
    ),
    'info="x"': Subject("", "", None),
}


@pytest.mark.parametrize("fields", SUBJECTS)
def test_whose_it_is(fields: str) -> None:
    assert subject(event(f'apparmor="DENIED" operation="open" {fields} name="/x"').line) == SUBJECTS[fields]


def grouped(bodies: list[str]) -> tuple[Group, ...]:
    groups = Groups()
    for number, body in enumerate(bodies):
        groups.add(event(body, number=f"{1795681057 + number}.000:{number}"))
    return groups.found()


def test_what_is_the_same_but_for_its_time_and_process_is_one_group() -> None:
    (group,) = grouped([BODY, BODY.replace("pid=812", "pid=9"), BODY.replace('comm="cat"', 'comm="dog"')])
    assert (group.count, group.first, group.last) == (3, 1795681057.0, 1795681059.0)
    assert (group.kind, group.object, group.requested) == ("file", "/sys/kernel/debug/x", "r")
    assert group.event.line.text("comm") == "dog" and len(group.id) == 8


def test_numbers_of_processes_make_no_groups() -> None:
    bodies = [BODY.replace("/sys/kernel/debug/x", f"/proc/{pid}/task/{pid}/mem") for pid in (3, 44, 555)]
    (group,) = grouped(bodies)
    assert group.object == "/proc/[pid]/task/[tid]/mem"


@pytest.mark.parametrize(
    "change",
    [
        ('profile="lxc-base"', 'profile="lxc-other"'),
        ('profile="lxc-base"', 'namespace="root//lxc-101_<-var-lib-lxc>" profile="lxc-base"'),
        ('name="/sys/kernel/debug/x"', 'name="/y"'),
        ('requested_mask="r"', 'requested_mask="rw"'),
        ('operation="open"', 'operation="unlink"'),
        ("ouid=0", "ouid=1000"),
        ('"DENIED"', '"ALLOWED"'),
    ],
)
def test_what_a_rule_would_tell_apart_is_apart(change: tuple[str, str]) -> None:
    one, two = grouped([BODY, BODY.replace(*change)])
    assert one.id != two.id


def test_the_same_group_has_the_same_name_at_every_run() -> None:
    (group,) = grouped([BODY])
    assert group.id == "d99d0e46"


def test_what_was_let_through_and_what_tells_a_state_is_no_denial() -> None:
    groups = Groups()
    for verdict in ("AUDIT", "STATUS", "HINT", "ERROR"):
        assert groups.add(event(BODY.replace("DENIED", verdict))) is None
    assert groups.found() == ()


def test_a_container_that_invents_names_takes_no_others_room() -> None:
    groups = Groups(limit=100)
    groups.add(event(BODY))
    for number in range(5000):
        flood = BODY.replace("lxc-base", "lxc-flood").replace("/x", f"/{number}")
        groups.add(event(flood, number=f"{1795681058 + number}.000:{number}"))
    found = groups.found()
    assert len(found) <= 100 and found[0].subject.profile == "lxc-base"
    assert groups.left_out + sum(group.count for group in found) == 5001


def test_memory_does_not_grow_with_the_log() -> None:
    def log(events: int) -> Iterator[bytes]:
        for number in range(events):
            yield f"type=AVC msg=audit({1795681057 + number}.000:{number}): {BODY}\n".encode()

    peaks = []
    for events in (2_000, 20_000):
        once, groups = Once(window=500), Groups()
        tracemalloc.start()
        for one in once.of(Reader(AUDITD).read(log(events))):
            groups.add(one)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


def test_whoever_knows_where_a_log_comes_from_knows_the_machine() -> None:
    (found,) = Reader(EVERYTHING, b"pve1").read([FORMS["auditd other node"][0].encode()])
    assert found.trusted
