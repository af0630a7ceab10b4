"""The CTID.conf codec, case by case."""

from __future__ import annotations

import pytest

from phoenix_hypervisor.containers.conf import (
    MAX_CONF,
    NESTING,
    SECCOMP,
    ConfError,
    Dialect,
    assign,
    beside,
    edit,
    parse,
    put_back,
    values_of,
)

P = b"lxc.apparmor.profile: lxc-a"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # A new line goes to the end of the head, before the blank lines of the first section.
        (b"", P + b"\n"),
        (b"memory: 1\n", b"memory: 1\n" + P + b"\n"),
        (b"memory: 1\n\n\n[pve:pending]\nm: 2\n", b"memory: 1\n" + P + b"\n\n\n[pve:pending]\nm: 2\n"),
        (b"memory: 1\n[snap]\nx: 1", b"memory: 1\n" + P + b"\n[snap]\nx: 1"),
        (b"[snap]\nx: 1\n", P + b"\n[snap]\nx: 1\n"),
        # A missing final newline is completed because a line must follow.
        (b"memory: 1", b"memory: 1\n" + P + b"\n"),
        (b"memory: 1\r\ncores: 2", b"memory: 1\r\ncores: 2\r\n" + P + b"\r\n"),
        (b"memory: 1\r\n", b"memory: 1\r\n" + P + b"\r\n"),
        # ... but a comment is text of the description, which must not gain a CR.
        (b"memory: 1\r\n#last", b"memory: 1\r\n#last\n" + P + b"\r\n"),
        # Another value is replaced in place; the line keeps its own ending.
        (b"lxc.apparmor.profile: x\nmemory: 1\n", P + b"\nmemory: 1\n"),
        (b"lxc.apparmor.profile: x", P),
        (b"a: 1\r\nlxc.apparmor.profile = x\r\nb: 1\r\n", b"a: 1\r\n" + P + b"\r\nb: 1\r\n"),
        (b"lxc.apparmor.profile:\nm: 1\n", P + b"\nm: 1\n"),
        # Several become one, where the first stood.
        (P + b"\nm: 1\nlxc.apparmor.profile: b\n", P + b"\nm: 1\n"),
        (b"lxc.apparmor.profile: b\nm: 1\n" + P, P + b"\nm: 1\n"),
        # Lines of snapshots, comments, other keys and unknown forms are not ours.
        (
            b"#lxc.apparmor.profile: c\nlxc.apparmor.profile : d\n lxc.apparmor.profile: e\n"
            b"lxc.apparmor.profiles: f\n[s1]\nlxc.apparmor.profile: g\n",
            b"#lxc.apparmor.profile: c\nlxc.apparmor.profile : d\n lxc.apparmor.profile: e\n"
            b"lxc.apparmor.profiles: f\n" + P + b"\n[s1]\nlxc.apparmor.profile: g\n",
        ),
    ],
)
def test_assign(before: bytes, after: bytes) -> None:
    assert assign(before, "lxc-a") == after
    assert assign(after, "lxc-a") == after


@pytest.mark.parametrize(
    "equal",
    [
        P,
        P + b"\n",
        b"lxc.apparmor.profile:lxc-a\n",
        b"lxc.apparmor.profile = lxc-a  \r\n",
        b"lxc.apparmor.profile=lxc-a",
    ],
)
def test_one_legal_line_with_the_right_value_is_left_alone(equal: bytes) -> None:
    assert assign(equal, "lxc-a") is equal


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"m: 1\n" + P + b"\nc: 1\n", b"m: 1\nc: 1\n"),
        (b"m: 1\n" + P, b"m: 1\n"),
        (P + b"\n" + P + b"\n[s1]\n" + P + b"\n", b"[s1]\n" + P + b"\n"),
        (b"m: 1\r\n" + P + b"\r\n", b"m: 1\r\n"),
    ],
)
def test_no_line(before: bytes, after: bytes) -> None:
    assert assign(before, None) == after
    assert assign(after, None) is after


def test_the_last_of_several_counts() -> None:
    assert parse(P + b"\nlxc.apparmor.profile: b\n").assigned == "b"


def test_what_else_is_read() -> None:
    conf = parse(
        b"lock: backup\nfeatures: nesting=1,mount=nfs;cifs\ntemplate: 1\nlxc.aa_profile: x\n"
        b"[PVE:pending]\nlxc.cgroup2.memory.max: 1\n[s1]\nlock: none\n"
    )
    assert (conf.lock, conf.features, conf.is_template) == ("backup", "nesting=1,mount=nfs;cifs", True)
    assert conf.old_key and conf.pending == () and conf.malformed is None


@pytest.mark.parametrize("value", [b"1", b"01", b"on", b"Yes", b"TRUE \t"])
def test_a_template_is_one_in_every_way_that_proxmox_takes(value: bytes) -> None:
    assert parse(b"template: " + value + b"\n").is_template
    assert not parse(b"template: " + value + b"\ntemplate: 0\n").is_template


@pytest.mark.parametrize("blanks", [b"", b" ", b"\t", b"\v", b"\f \r"])
def test_any_blank_may_stand_before_the_equals_sign(blanks: bytes) -> None:
    assert parse(b"lxc.aa_profile" + blanks + b"= x\n").old_key
    assert parse(b"[pve:pending]\nlxc.apparmor.profile" + blanks + b"= x\n").pending == ("x",)


def test_an_include_is_seen_in_the_head_only() -> None:
    assert parse(b"lxc.include: /x\n").includes and parse(b"m: 1\nlxc.include = /x\n").includes
    assert not parse(b"#lxc.include: /x\nm: 1\n\n[snap]\nlxc.include: /x\n").includes


def test_a_raw_key_in_a_snapshot_is_not_pending() -> None:
    conf = parse(P + b"\n[pve:pending]\nm: 2\n[s1]\nlxc.cgroup2.memory.max: 1\n")
    assert conf.pending is None and conf.next_assigned == conf.assigned


@pytest.mark.parametrize(
    ("pending", "expected"),
    [
        (b"memory: 1024\nlxc.apparmor.profile: unconfined\n", "unconfined"),
        (b"lxc.apparmor.profile: b\nlxc.apparmor.profile = c\n[s1]\nlxc.apparmor.profile: d\n", "c"),
        (b"lxc.cgroup2.memory.max: 1\n", None),
        (b"lxc.environment.hooks: A=b\n", None),
        # Proxmox keeps what an OCI image sets beside the raw keys.
        (b"lxc.environment.runtime: HOME=/root\n", "a"),
        (b"lxc.environment.runtime = HOME=/root\nmemory: 1\n", "a"),
        (b"lxc.environment.runtime: A=b\nlxc.apparmor.profile: c\n", "c"),
        (b"memory: 1024\n", "a"),
    ],
)
def test_raw_keys_in_pending_replace_those_of_the_head_at_the_next_start(
    pending: bytes, expected: str | None
) -> None:
    conf = parse(b"m: 1\nlxc.apparmor.profile: a\n\n[pve:pending]\n" + pending)
    assert (conf.assigned, conf.next_assigned) == ("a", expected)


@pytest.mark.parametrize("header", [b"[1x]", b"[s] # c", b"[x]", b"[a b]", b"[snap", b"[]", b"[-a]"])
def test_a_malformed_header_is_refused(header: bytes) -> None:
    data = b"m: 1\n" + header + b"\n"
    assert parse(data).malformed == 2
    with pytest.raises(ConfError, match="line 2"):
        assign(data, "lxc-a")


def test_the_first_of_several_malformed_headers_is_named() -> None:
    assert parse(b"m: 1\n\n[1x]\n[s1]\n[2x]\n").malformed == 3


def test_an_edit_of_another_file_is_refused() -> None:
    change = edit(parse(b"m: 1\nlxc.apparmor.profile: a\n"), "b")
    assert change is not None
    with pytest.raises(ConfError, match="does not belong to this file"):
        change.apply(b"m: 1\nlxc.apparmor.profile: c\n")


def test_too_large_is_refused() -> None:
    data = b"#" + b"x" * (MAX_CONF - 10) + b"\n"
    with pytest.raises(ConfError, match="pmxcfs"):
        assign(data, "lxc-a")
    # One that is there already and too large was never written by pmxcfs: it is not touched either.
    with pytest.raises(ConfError, match="is over 1048576 bytes"):
        assign(data + b"#" * 10 + b"\nlxc.apparmor.profile: x\n", None)


def test_a_damaged_file_is_refused() -> None:
    with pytest.raises(ConfError, match="NUL"):
        assign(b"m: 1\n\0\0\0", "lxc-a")


@pytest.mark.parametrize("value", ["", " lxc-a", "a\nb", "a b", "a\x00"])
def test_invalid_value_is_refused(value: str) -> None:
    with pytest.raises(ConfError):
        edit(parse(b"m: 1\n"), value)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"lxc.include = /x\n", b"lxc.include = /x\nlxc.apparmor.profile = lxc-a\n"),
        (b"  lxc.apparmor.profile =  b \nx = 1\n", b"lxc.apparmor.profile = lxc-a\nx = 1\n"),
        # The last counts, and no later include may come after it: it is kept where it stands.
        (
            b"lxc.apparmor.profile = b\nlxc.include = /x\nlxc.apparmor.profile = c\n",
            b"lxc.include = /x\nlxc.apparmor.profile = lxc-a\n",
        ),
        (b"[not a section]\n", b"[not a section]\nlxc.apparmor.profile = lxc-a\n"),
        (b"lxc.apparmor.profile: b\n", b"lxc.apparmor.profile: b\nlxc.apparmor.profile = lxc-a\n"),
    ],
)
def test_plain_lxc(before: bytes, after: bytes) -> None:
    assert assign(before, "lxc-a", Dialect.LXC) == after
    assert assign(after, "lxc-a", Dialect.LXC) is after


def test_plain_lxc_takes_quotes_off() -> None:
    assert parse(b'lxc.apparmor.profile = "lxc-a"\n', Dialect.LXC).assigned == "lxc-a"


@pytest.mark.parametrize(
    ("now", "original", "after"),
    [
        # Other lines changed since: the line alone goes back, as it stood.
        (b"m: 2\nlxc.apparmor.profile: new\n", b"m: 1\nlxc.apparmor.profile = old # site\n",
         b"m: 2\nlxc.apparmor.profile = old # site\n"),
        (b"m: 2\nlxc.apparmor.profile: new\n", b"lxc.apparmor.profile:\nm: 1\n", b"m: 2\nlxc.apparmor.profile:\n"),
        (b"m: 2\nlxc.apparmor.profile: new\n", b"m: 1\n", b"m: 2\n"),
        (b"m: 2\n\n[snap]\nm: 1\n", b"lxc.apparmor.profile: old\n", b"m: 2\nlxc.apparmor.profile: old\n\n[snap]\nm: 1\n"),
        (b"m: 2\r\nlxc.apparmor.profile: new\r\n", b"lxc.apparmor.profile: a\nlxc.apparmor.profile: b\n",
         b"m: 2\r\nlxc.apparmor.profile: b\r\n"),
        # Somebody has put it back already, in another form.
        (b"lxc.apparmor.profile =  old # site\nm: 2\n", b"lxc.apparmor.profile: old # site\n",
         b"lxc.apparmor.profile =  old # site\nm: 2\n"),
        (b"m: 2\n", b"m: 1\n", b"m: 2\n"),
    ],
)  # fmt: skip
def test_a_line_is_put_back_as_it_stood(now: bytes, original: bytes, after: bytes) -> None:
    assert put_back(now, original) == after
    assert put_back(after, original) == after


def test_nothing_is_put_back_where_the_head_is_not_certain() -> None:
    with pytest.raises(ConfError, match="section header"):
        put_back(b"m: 1\n[1x]\n", b"lxc.apparmor.profile: old\n")


def test_a_line_beside_follows_the_profile_line() -> None:
    data = b"arch: amd64\nlxc.apparmor.profile: lxc-a\nlxc.cap.drop: sys_boot\n\n[snap]\nmemory: 1\n"
    after = beside(data, NESTING, "1")
    assert after == data.replace(b"lxc-a\n", b"lxc-a\nlxc.apparmor.allow_nesting: 1\n")


def test_a_line_beside_takes_the_files_line_ending() -> None:
    data = b"arch: amd64\r\nlxc.apparmor.profile: lxc-a\r\n"
    assert beside(data, NESTING, "1") == data + b"lxc.apparmor.allow_nesting: 1\r\n"


def test_a_line_beside_in_a_snapshot_does_not_count() -> None:
    data = b"lxc.apparmor.profile: lxc-a\n\n[snap]\nlxc.apparmor.allow_nesting: 1\n"
    assert values_of(parse(data), NESTING) == ()
    assert beside(data, NESTING, "1").count(b"allow_nesting") == 2
    assert beside(data, NESTING, None) is data


def test_plain_lxc_gets_its_own_form() -> None:
    data = b"lxc.apparmor.profile = lxc-a\nlxc.net.0.type = veth"
    after = beside(data, SECCOMP, "/x", Dialect.LXC)
    assert after == b"lxc.apparmor.profile = lxc-a\nlxc.seccomp.profile = /x\nlxc.net.0.type = veth"


@pytest.mark.parametrize(
    ("data", "dialect", "expected"),
    [
        (b"unprivileged: 1\n", Dialect.PVE, True),
        (b"unprivileged: 0\n", Dialect.PVE, False),
        (b"arch: amd64\n", Dialect.PVE, False),
        (b"arch: amd64\n\n[snap]\nunprivileged: 1\n", Dialect.PVE, False),
        (b"lxc.idmap = u 0 100000 65536\n", Dialect.LXC, True),
        (b"# lxc.idmap = u 0 100000 65536\n", Dialect.LXC, False),
        (b"lxc.idmap =\n", Dialect.LXC, False),
    ],
)
def test_the_kind_of_a_container_is_read(data: bytes, dialect: Dialect, expected: bool) -> None:
    assert parse(data, dialect).unprivileged is expected
