"""The lossless CTID.conf codec.

Owns reading and editing the settings that are ours, `lxc.apparmor.profile` and the lines that
belong beside it, in a container's configuration, leaving every other byte alone.  Pure: bytes
in, bytes out; must not touch a file.

The grammar is Proxmox's (`PVE::LXC::Config::parse_pct_config`): raw `lxc.*` keys count
only above the first section; `[pve:pending]` and `[snapshot]` sections follow, and a
line appended after them belongs to a snapshot.  Plain LXC's `config` has no sections,
`key = value` lines, and includes (lxc.container.conf(5)).  In both the last line wins.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from functools import cache

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.plan.actions import NESTING_KEY, PROFILE_KEY, SECCOMP_KEY
from phoenix_hypervisor.values import dataclass

KEY = PROFILE_KEY.encode()
NESTING = NESTING_KEY.encode()
SECCOMP = SECCOMP_KEY.encode()
BESIDE = (NESTING, SECCOMP)
"""Raw keys beside the profile line: it switches off what Proxmox would have generated."""

MAX_CONF = 1024 * 1024
"""Bytes; pmxcfs refuses larger files with EFBIG and leaves a part of them behind
(memdb.h MEMDB_MAX_FILE_SIZE)."""

# Blanks are spelt out: `\s` would match a newline, and Perl's parser works line by line.
_WS = rb"[ \t\r\f\v]*"
# These two begin with a newline, which is put before the first line: what begins with a letter of its own
# can be searched for quickly.
HEADER = re.compile(rb"\n\[(?:(pve:pending|[a-z][a-z0-9_\-]+)\]" + _WS + rb"$)?", re.M | re.I)
_SETTING = re.compile(
    rb"\n(?:(lock|template|features|unprivileged):" + _WS + rb"([^\n]+?)"
    rb"|(lxc\.(?:apparmor\.profile|apparmor\.allow_nesting|seccomp\.profile|include|aa_profile))"
    rb"(?::|" + _WS + rb"=)" + _WS + rb"([^\n]*?))" + _WS + rb"$",
    re.M,
)
_TRUE = re.compile(rb"0*1|on|yes|true", re.I)
"""What Proxmox's check_type and is_template take for a set flag; Proxmox itself writes 1."""
# Proxmox keeps these beside the raw keys, as `env` (Config.pm of pve-container 6.1).
_PENDING_RAW = re.compile(rb"^lxc\.(?!environment\.runtime[: \t=])[a-z0-9_\-.]+(?::|" + _WS + rb"=)", re.M)
_IDMAP = rb"(?m)^" + _WS + rb"lxc\.(?:idmap|id_map)" + _WS + rb"=" + _WS + rb"[^\s]"
_OLD_KEY = rb"(?m)^lxc\.aa_profile(?::|" + _WS + rb"=)"


class Dialect(Enum):
    """Whose file it is."""

    PVE = "proxmox"
    LXC = "lxc"


_REST = _WS + rb"(?P<value>[^\n]*?)" + _WS + rb"$"


@cache
def _pve_line(key: bytes) -> re.Pattern[bytes]:
    """A line that sets `key`, as Proxmox reads it: `=` is for raw keys only."""
    sign = rb"(?::|" + _WS + rb"=)" if key.startswith(b"lxc.") else rb":"
    return re.compile(rb"^" + re.escape(key) + sign + _REST, re.M)


@cache
def _lxc_line(key: bytes) -> re.Pattern[bytes]:
    """A line that sets `key`, as LXC reads it."""
    return re.compile(rb"^" + _WS + re.escape(key) + _WS + rb"=" + _REST, re.M)


class ConfError(PhoenixError):
    """The file cannot be edited safely; `reason` is stable."""

    def __init__(self, reason: str, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Conf:
    """What matters of one configuration file; `head` is where the first section begins."""

    data: bytes
    dialect: Dialect
    head: int
    values: tuple[str, ...]
    """The values of `lxc.apparmor.profile` above the first section, in order."""
    beside: Mapping[str, str]
    """What counts there of each key of BESIDE that has a line: its last value."""
    lock: str | None
    """Why Proxmox has locked the guest (backup, snapshot, ...)."""
    is_template: bool
    features: str
    """The `features:` value; `nesting=1,keyctl=1`."""
    malformed: int | None
    """Line number of the first bracketed line that Proxmox does not take for a section."""
    pending: tuple[str, ...] | None
    """The values of `lxc.apparmor.profile` in `[pve:pending]`, where that holds raw `lxc.*` keys: the
    next start puts them in the place of all raw keys of the head (vmconfig_apply_pending)."""
    includes: bool
    """`lxc.include` stands in the head of a Proxmox configuration: another file may set a profile."""
    old_key: bool
    """`lxc.aa_profile` stands in the head; LXC 3 and later refuse to start with it."""
    unprivileged: bool = False
    """It has a user namespace: `unprivileged: 1` (Proxmox), or an idmap of its own (LXC)."""

    @property
    def assigned(self) -> str | None:
        """The profile that counts (the last line), or None without a line."""
        return self.values[-1] if self.values else None

    @property
    def next_assigned(self) -> str | None:
        """The profile that counts at the next start, or None without a line."""
        if self.pending is None:
            return self.assigned
        return self.pending[-1] if self.pending else None


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of bytes that can be taken back exactly."""

    start: int
    old: bytes
    new: bytes

    def apply(self, data: bytes) -> bytes:
        if data[self.start : self.start + len(self.old)] != self.old:
            raise ConfError("other-file", "the edit does not belong to this file")
        return data[: self.start] + self.new + data[self.start + len(self.old) :]


def _value(raw: bytes, dialect: Dialect) -> str:
    if dialect is Dialect.LXC and len(raw) >= 2 and raw[:1] in b"'\"" and raw[:1] == raw[-1:]:
        raw = raw[1:-1]  # confile.c strips one pair of quotes
    return raw.decode("utf-8", "surrogateescape")


def parse(data: bytes, dialect: Dialect = Dialect.PVE) -> Conf:
    """Read a configuration; never raises, faults are fields."""
    if dialect is Dialect.LXC:
        return _parse_lxc(data)
    head, malformed, pending = _sections(data) if b"[" in data else (len(data), None, None)
    settings: dict[bytes, bytes] = {}
    raw: dict[bytes, list[bytes]] = {}
    for key, value, raw_key, raw_value in _SETTING.findall(b"\n" + data[:head]):
        if key:
            # The last of several counts, as in Proxmox's own parser.
            settings[key] = value
        else:
            raw.setdefault(raw_key, []).append(raw_value)
    return Conf(
        data=data,
        dialect=dialect,
        head=head,
        values=tuple([_value(value, dialect) for value in raw.get(KEY, ())]),
        beside={key.decode(): _value(raw[key][-1], dialect) for key in BESIDE if key in raw} if raw else {},
        lock=settings[b"lock"].decode("utf-8", "replace") if b"lock" in settings else None,
        is_template=_TRUE.fullmatch(settings.get(b"template", b"")) is not None,
        features=settings.get(b"features", b"").decode("utf-8", "replace"),
        malformed=malformed,
        pending=None if pending is None else _pending(data, pending),
        includes=b"lxc.include" in raw,
        old_key=b"lxc.aa_profile" in raw,
        unprivileged=_TRUE.fullmatch(settings.get(b"unprivileged", b"")) is not None,
    )


def _parse_lxc(data: bytes) -> Conf:
    found = {key: _values(data, Dialect.LXC, key, 0, len(data)) for key in BESIDE}
    return Conf(
        data=data,
        dialect=Dialect.LXC,
        head=len(data),
        values=_values(data, Dialect.LXC, KEY, 0, len(data)),
        beside={key.decode(): values[-1] for key, values in found.items() if values},
        lock=None,
        is_template=False,
        features="",
        malformed=None,
        pending=None,
        includes=False,
        old_key=b"lxc.aa_profile" in data and re.search(_OLD_KEY, data) is not None,
        unprivileged=b"lxc.id" in data and re.search(_IDMAP, data) is not None,
    )


def _lines(data: bytes, dialect: Dialect, key: bytes, start: int, end: int) -> Iterator[re.Match[bytes]]:
    """The lines that set `key` between two places."""
    if dialect is Dialect.LXC:
        yield from _lxc_line(key).finditer(data, start, end)
        return
    # Proxmox takes no blank before a key, so it need only be looked at where the key itself stands.
    at = data.find(key, start, end)
    while at >= 0:
        match = _pve_line(key).match(data, at, end)
        if match is not None:
            yield match
        at = data.find(key, at + len(key), end)


def _values(data: bytes, dialect: Dialect, key: bytes, start: int, end: int) -> tuple[str, ...]:
    if key not in data:
        return ()
    return tuple(_value(m["value"], dialect) for m in _lines(data, dialect, key, start, end))


def _pending(data: bytes, span: tuple[int, int]) -> tuple[str, ...] | None:
    if _PENDING_RAW.search(data, *span) is None:
        return None
    return _values(data, Dialect.PVE, KEY, *span)


def _sections(data: bytes) -> tuple[int, int | None, tuple[int, int] | None]:
    """Where the head ends, the first malformed header's line, and the span of `[pve:pending]`."""
    head, malformed, pending = len(data), None, None
    for match in HEADER.finditer(b"\n" + data):
        # With that newline its place is the bracket's own, and what ends behind it ends one earlier.
        name, start = match[1], match.start()
        if name is None:
            if malformed is None:
                malformed = data.count(b"\n", 0, start) + 1
            continue
        head = min(head, start)
        if pending is not None and pending[1] == len(data):
            pending = (pending[0], start)
        if name.lower() == b"pve:pending":
            pending = (match.end() - 1, len(data))
    return head, malformed, pending


def sections_with(data: bytes, value: str) -> tuple[str, ...]:
    """The sections (snapshots, `pve:pending`) that hold a profile line of that value."""
    return tuple(dict.fromkeys(section for section, found in lines_below(data) if found == value))


def lines_below(data: bytes, dialect: Dialect = Dialect.PVE) -> list[tuple[str, str]]:
    """Section and profile of every profile line below the head: what a snapshot or `pve:pending` holds."""
    if KEY not in data or dialect is Dialect.LXC:
        return []
    found = []
    headers = [match for match in HEADER.finditer(b"\n" + data) if match[1] is not None]
    for index, match in enumerate(headers):
        end = headers[index + 1].start() if index + 1 < len(headers) else len(data)
        values = _values(data, Dialect.PVE, KEY, match.end() - 1, end)
        found += [(match[1].decode(), unquoted(value)) for value in values]
    return found


def unquoted(value: str) -> str:
    """What LXC takes a value for: it strips one pair of quotes, which Proxmox passes on (confile.c)."""
    return value[1:-1] if len(value) >= 2 and value[0] in "'\"" and value[0] == value[-1] else value


def check_editable(conf: Conf) -> None:
    """Raise ConfError where an edit could lose something or would not take effect."""
    if conf.malformed is not None:
        raise ConfError(
            "section-header",
            f"line {conf.malformed} looks like a section header, but Proxmox does not accept it as one, "
            "so it is unclear where the container's own settings end",
            hint="correct or remove that line",
        )
    if len(conf.data) > MAX_CONF:
        message = f"is over {MAX_CONF} bytes, more than pmxcfs stores"
        raise ConfError("too-large", message, hint="shorten its description")
    if b"\0" in conf.data:
        raise ConfError("nul-byte", "contains a NUL byte: it is damaged", hint="restore it from a backup")


def edit(conf: Conf, value: str | None) -> Edit | None:
    """The smallest change that makes `value` the profile (None: no line); None when equal.

    One line with the right value is equal in `:` or `=` form; several are made one, where
    the first stood (Proxmox) or the last (LXC, so that no later include is overtaken).
    A new line goes to the end of the head, before blank lines, with the file's line ending.
    Raises ConfError where `check_editable` does, or for a value that cannot be one line.
    """
    check_editable(conf)
    if value is not None and conf.values == (value,):
        return None
    if value is not None and (not value or value != value.strip() or re.search(r"[\x00-\x20\x7f]", value)):
        raise ConfError("profile-name", f"{value!r} cannot be a profile name")
    if value is None:
        return _place(conf, None)
    sign = b": " if conf.dialect is Dialect.PVE else b" = "
    return _place(conf, KEY + sign + value.encode("utf-8", "surrogateescape"))


def _place(conf: Conf, line: bytes | None, key: bytes = KEY) -> Edit | None:
    spans = _spans(conf, key)
    if line is None:
        return _join(conf.data, [(span, None) for span in spans])
    if not spans:
        return _insertion(conf, line, conf.head if key == KEY else _after_profile(conf))
    keep = 0 if conf.dialect is Dialect.PVE else len(spans) - 1
    return _join(conf.data, [(span, line if i == keep else None) for i, span in enumerate(spans)])


def _spans(conf: Conf, key: bytes) -> list[tuple[int, int]]:
    if key not in conf.data:
        return []
    return [m.span() for m in _lines(conf.data, conf.dialect, key, 0, conf.head)]


def _after_profile(conf: Conf) -> int:
    """Behind the profile line that counts, or the end of the head where there is none."""
    spans = _spans(conf, KEY)
    if not spans:
        return conf.head
    newline = conf.data.find(b"\n", spans[-1][1])
    return len(conf.data) if newline < 0 else newline + 1


def values_of(conf: Conf, key: bytes) -> tuple[str, ...]:
    """The values of `key` above the first section, in order; the last one counts."""
    return _values(conf.data, conf.dialect, key, 0, conf.head)


def beside(data: bytes, key: bytes, value: str | None, dialect: Dialect = Dialect.PVE) -> bytes:
    """`data` with `value` for `key`, one of BESIDE, behind the profile line; None: without that line.

    The same object when nothing changes: also where the last of several lines has that value
    already.  Raises ConfError where `check_editable` does.
    """
    conf = parse(data, dialect)
    check_editable(conf)
    values = values_of(conf, key)
    if values[-1:] == (value,) or (value is None and not values):
        return data
    sign = b": " if dialect is Dialect.PVE else b" = "
    line = None if value is None else key + sign + value.encode("utf-8", "surrogateescape")
    return _applied(conf, _place(conf, line, key))


def assign(data: bytes, value: str | None, dialect: Dialect = Dialect.PVE) -> bytes:
    """`data` with `value` as its profile; the same object when nothing changes."""
    return assign_parsed(parse(data, dialect), value)


def assign_parsed(conf: Conf, value: str | None) -> bytes:
    """As `assign`, for a configuration that is already read."""
    change = edit(conf, value)
    return _applied(conf, change)


def put_back(data: bytes, original: bytes, dialect: Dialect = Dialect.PVE) -> bytes:
    """`data` with the profile line that counts in `original`, byte for byte, or none where that has none.

    Whatever stood there is put back as it stood, a value that `edit` would refuse too.  Raises
    ConfError where `check_editable` does.
    """
    conf, former = parse(data, dialect), parse(original, dialect)
    check_editable(conf)
    if conf.values == former.values[-1:]:
        return data
    lines = [original[start:end] for start, end in _spans(former, KEY)]
    return _applied(conf, _place(conf, lines[-1].rstrip(b"\r") if lines else None))


def put_back_beside(data: bytes, original: bytes, key: bytes, dialect: Dialect = Dialect.PVE) -> bytes:
    """As `put_back`, for the line of `key`, one of BESIDE."""
    conf, former = parse(data, dialect), parse(original, dialect)
    check_editable(conf)
    if values_of(conf, key)[-1:] == values_of(former, key)[-1:]:
        return data
    lines = [original[start:end] for start, end in _spans(former, key)]
    return _applied(conf, _place(conf, lines[-1].rstrip(b"\r") if lines else None, key))


def with_lines(data: bytes, lines: Mapping[str, str | None], dialect: Dialect = Dialect.PVE) -> bytes:
    """`data` with these values for our keys, all in one; None: without that line.

    The profile first: what is new goes behind it.  Raises ConfError where `check_editable` does.
    """
    for key in sorted(map(str.encode, lines), key=lambda key: key != KEY):
        value = lines[key.decode()]
        data = assign(data, value, dialect) if key == KEY else beside(data, key, value, dialect)
    return data


def lines_put_back(
    data: bytes, original: bytes, keys: Iterable[str], dialect: Dialect = Dialect.PVE
) -> bytes:
    """`data` with the lines of our `keys` as they count in `original`; as `put_back`, for all in one."""
    for key in sorted(map(str.encode, keys), key=lambda key: key != KEY):
        if key == KEY:
            data = put_back(data, original, dialect)
        else:
            data = put_back_beside(data, original, key, dialect)
    return data


def counting(conf: Conf, keys: Iterable[str]) -> dict[str, str | None]:
    """What counts of each of our keys above the first section: the last line; None without one."""
    return {key: (values_of(conf, key.encode())[-1:] or (None,))[0] for key in keys}


def _applied(conf: Conf, change: Edit | None) -> bytes:
    after = conf.data if change is None else change.apply(conf.data)
    if len(after) > MAX_CONF:
        message = f"would grow over {MAX_CONF} bytes, more than pmxcfs stores"
        raise ConfError("too-large", message, hint="shorten its description")
    return after


def _join(data: bytes, changes: list[tuple[tuple[int, int], bytes | None]]) -> Edit | None:
    """One Edit from several line changes; a line set to None goes with its newline."""
    if not changes:
        return None
    begin = changes[0][0][0]
    new, position = b"", begin
    for (start, end), line in changes:
        if line is None:
            newline = data.find(b"\n", end)
            end = len(data) if newline < 0 else newline + 1
            new += data[position:start]
        else:
            # The blanks that the pattern took at the end stay: a CR is part of the line ending.
            tail = b"\r" if data[start:end].endswith(b"\r") else b""
            new += data[position:start] + line + tail
        position = end
    return Edit(begin, data[begin:position], new)


def _insertion(conf: Conf, line: bytes, at: int) -> Edit:
    data = conf.data
    first = data.find(b"\n")
    ending = b"\r\n" if first > 0 and data[first - 1 : first] == b"\r" else b"\n"
    if at == conf.head < len(data):
        # Before the blank lines that set the first section apart.
        while at > 0:
            previous = data.rfind(b"\n", 0, at - 1) + 1
            if data[previous:at].strip():
                break
            at = previous
    new = line + ending
    if at > 0 and data[at - 1 : at] != b"\n":
        # Only at the end of the file.
        last = data.rpartition(b"\n")[2]
        # Proxmox keeps a CR in a comment (the description) and in a key without a value.
        takes_cr = last.startswith(b"#") or last.rstrip().endswith(b":")
        new = (b"\n" if takes_cr else ending) + new
    return Edit(at, b"", new)
