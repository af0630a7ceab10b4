"""What a logged decision asked, as a question.

Owns the way from a line's operation and fields to a question of `policy/kinds/`, and what of it no rule
decides.  Pure.  Must not answer.
Source: security/apparmor (lsm.c, file.c, net.c, mount.c, ipc.c, task.c, domain.c, path.c), Ubuntu's ipc.c.
"""

from __future__ import annotations

from collections.abc import Mapping

from phoenix_hypervisor.audit.line import Line
from phoenix_hypervisor.errors import UsageError
from phoenix_hypervisor.policy import constants, perms
from phoenix_hypervisor.policy.fault import PolicyError
from phoenix_hypervisor.policy.kinds.file import FileQuery
from phoenix_hypervisor.policy.profile import PathFlag, Profile
from phoenix_hypervisor.policy.queries import Query, RawQuery, parse_query
from phoenix_hypervisor.values import dataclass

_NO_RULE = {
    "change_hat": "which hats there are decides it, no rule",
    "setrlimit": "`set rlimit` lines are limits, not permissions",
    "profile_load": "it tells what was loaded",
    "profile_replace": "it tells what was loaded",
    "profile_remove": "it tells what was unloaded",
    "sysv_mqueue": "no kernel asks policy about System V queues yet",
}
_ON_PATHS = {"getattr": perms.GETATTR, "chmod": perms.CHMOD, "chown": perms.CHOWN}
"""Operations that ask for something that has no letter of its own."""
_NAME_ONE = "name the profile to ask before --denial"
_LOOKUP = "Failed name lookup - "
_LETS = {"disconnected path": PathFlag.ATTACH_DISCONNECTED, "deleted entry": PathFlag.MEDIATE_DELETED}
_FLAGS = {
    PathFlag.ATTACH_DISCONNECTED: "attach_disconnected",
    PathFlag.MEDIATE_DELETED: "mediate_deleted",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """The same once more."""

    question: Query
    refused: str | None = None
    """Why the kernel refuses it before it asks a rule; None: it asks."""
    note: str | None = None
    """What else the line says of the decision."""


def whose(line: Line) -> str:
    """The profile that decided.  Raises UsageError where no single one of this host's did."""
    name = line.text("profile") or line.text("label")
    if not name:
        raise UsageError("names no profile", where="--denial", hint=_NAME_ONE)
    if line.text("namespace"):
        text = f"is of the AppArmor namespace {line.text('namespace')}, whose policy is inside the container"
        raise UsageError(text, where=f"profile {name}", hint=f"{_NAME_ONE}, or its file with --policy")
    if "//&" in name:
        raise UsageError(f"is about a stack: {name}", where="--denial", hint=_NAME_ONE)
    if name == "unconfined":
        raise UsageError("is of an unconfined process: no profile decided", where="--denial", hint=_NAME_ONE)
    learning, found, _ = name.partition("//null-")
    if found:
        text = "is a profile that the kernel makes for programs without one while another only complains"
        raise UsageError(text, where=f"profile {name}", hint=f"ask {learning}: name it before --denial")
    return name


def ask_again(line: Line, profile: Profile) -> Asked:
    """The question that the kernel, or a bus, put to `profile` when it wrote `line`.

    Raises UsageError for a line of which there is none.
    """
    operation = line.operation
    if operation in _NO_RULE or line.verdict == "STATUS":
        why = _NO_RULE.get(operation, "it tells a state")
        raise UsageError(f"there is nothing to ask about a line of {operation}: {why}", where="--denial")
    info = line.text("info")
    refused, name = _unnamed(info, line, profile)
    try:
        question = _question(line, name)
    except PolicyError as error:
        text = f"cannot be asked: {error.message}"
        raise UsageError(text, where=f"--denial, {operation or 'no operation'}", hint=error.hint) from None
    note = None
    if info and not info.startswith(("failed ", _LOOKUP)):
        note = f"the line also says {info!r}: where that is why, rules do not decide it"
    return Asked(question, refused, note)


def _unnamed(info: str, line: Line, profile: Profile) -> tuple[str | None, bytes | None]:
    """Why there is no path to ask for, if there is none; and the path as rules would match it."""
    name = line.fields.get("name")
    if not info.startswith(_LOOKUP):
        return None, name
    why = info.removeprefix(_LOOKUP)
    flag = _LETS.get(why)
    if name is None:
        raise UsageError(f"names nothing: {why}", where="--denial", hint="nothing can be asked of a rule")
    if not name.startswith(b"/") and flag is not None:
        name = (profile.disconnected or b"") + b"/" + name
    if flag is None:
        return f"the kernel found no path for it ({why})", name
    if profile.path_flags & flag:
        return None, name
    return f"the kernel finds no path for it ({why}); flags=({_FLAGS[flag]}) lets rules decide", name


def _question(line: Line, name: bytes | None) -> Query:
    """By the fields, then by the operation.  Raises PolicyError for what no kind takes."""
    fields = line.fields
    access = [*line.words("requested_mask", "requested", "mask", "denied_mask", "denied")]
    operation = line.operation
    if operation == "capable" or "capname" in fields:
        found: Mapping[str, object] = {"kind": "capability", "name": _capability(line)}
    elif operation in ("mount", "umount", "pivotroot"):
        found = _mount(line, name)
    elif operation == "ptrace":
        peer = _text(fields, "peer", "target")
        found = {"kind": "ptrace", "access": access[0] if access else None, "peer": peer}
    elif operation == "signal":
        found = {"kind": "signal", "signal": line.text("signal"), "access": access[0] if access else None}
        found = {**found, "peer": _text(fields, "peer")}
    elif operation in ("change_profile", "change_onexec", "stack", "stack_onexec"):
        target = _text(fields, "target", "name")
        stack = "&" if target and operation.startswith("stack") else ""
        found = {"kind": "change_profile", "target": target and stack + target}
        found = {**found, "onexec": operation.endswith("onexec")}
    elif operation == "userns_create":
        found = {"kind": "userns"}
    elif operation.startswith("uring_"):
        found = {
            "kind": "io_uring",
            "operation": access[0] if access else None,
            "peer": _text(fields, "tcontext"),
        }
    elif operation.startswith("dbus_"):
        found = _dbus(line, access)
    elif line.text("class").endswith("mqueue") or operation.startswith("mqueue"):
        found = {"kind": "mqueue", "name": _decoded(name), "access": access}
    elif "family" in fields:
        found = _network(line, access)
    else:
        return _file(line, name, "".join(access))
    question = parse_query({key: value for key, value in found.items() if value is not None})
    assert not isinstance(question, RawQuery)
    return question


def _decoded(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "surrogateescape")


def _text(fields: Mapping[str, bytes], *names: str) -> str | None:
    return next((_decoded(fields[name]) for name in names if fields.get(name)), None)


def _capability(line: Line) -> str | None:
    number = line.text("capability")
    if not line.text("capname") and number.isascii() and number.isdigit():
        return dict(enumerate(constants.CAPABILITIES)).get(int(number))
    return _text(line.fields, "capname", "name")  # `name` until Linux 3.4


def _mount(line: Line, name: bytes | None) -> Mapping[str, object]:
    source, target = _text(line.fields, "srcname"), _decoded(name)
    if line.operation == "pivotroot":
        return {"kind": "pivot_root", "new_root": target, "put_old": source}
    if line.operation == "umount":
        return {"kind": "umount", "target": target}
    return {
        "kind": "mount",
        "source": source,
        "target": target,
        "fstype": _text(line.fields, "fstype"),
        "flags": list(line.words("flags")),
        "data": _text(line.fields, "options"),
    }


def _dbus(line: Line, access: list[str]) -> Mapping[str, object]:
    found = {"kind": "dbus", "access": access[0] if access else None, "bus": _text(line.fields, "bus")}
    if access[:1] == ["bind"]:
        return {**found, "name": _text(line.fields, "name")}
    if access[:1] == ["eavesdrop"]:
        return found
    # A message without a field is matched with an empty one; dbus-broker calls the member a method.
    found["peer"] = _text(line.fields, "peer_label", "peer_profile") or ""
    found["member"] = _text(line.fields, "member", "method") or ""
    return {**found, **{key: _text(line.fields, key) or "" for key in ("name", "path", "interface")}}


def _network(line: Line, access: list[str]) -> Mapping[str, object]:
    if not access and line.operation in constants.NETWORK_ACCESS:
        access = [line.operation]  # before Linux 5.1 no mask is logged
    addresses = {key: _text(line.fields, key) for key in ("addr", "peer_addr")}
    abstract = {key: value if value and value.startswith("@") else None for key, value in addresses.items()}
    protocol = line.text("protocol")
    return {
        "kind": "network",
        "family": _number(line.text("family")),
        "type": _number(line.text("sock_type")),
        "access": access,
        "protocol": int(protocol) if protocol.isascii() and protocol.isdigit() else None,
        "address": abstract["addr"],
        "peer_address": abstract["peer_addr"],
        "peer": _text(line.fields, "peer"),
    }


def _number(word: str) -> str | int | None:
    """A family or type, which the kernel writes `unknown(7)` where it has no name for it."""
    inner = word.removeprefix("unknown(").removesuffix(")")
    return int(inner) if inner.isascii() and inner.isdigit() else word or None


def _file(line: Line, name: bytes | None, letters: str) -> Query:
    """Old kernels write `r::` for the owner and `::r` for others; newer ones log both uids."""
    if name is None:
        raise PolicyError("it names no path")
    uids = line.text("fsuid"), line.text("ouid")
    other = letters.startswith("::") or (all(uids) and uids[0] != uids[1])
    letters = letters.replace(":", "")
    if line.operation == "link" and "target" in line.fields:
        question = parse_query(
            {"kind": "link", "path": _decoded(name), "target": _text(line.fields, "target"), "other": other}
        )
        assert isinstance(question, Query)
        return question
    if not letters:
        raise PolicyError("it says no access")
    access = _ON_PATHS.get(line.operation) or constants.file_access(letters)
    return FileQuery(name if name.startswith(b"/") else b"/" + name, access, other)
