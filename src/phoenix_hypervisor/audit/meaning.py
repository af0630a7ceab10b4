"""What AppArmor's lines mean, for people.

Owns saying in one clause what was asked, and the escaping of what containers have named, for every
output.  Pure.  Must not decide whether something is allowed.
"""

from __future__ import annotations

from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from phoenix_hypervisor.audit.line import Line

_FILES = {
    "mkdir": "making the directory",
    "rmdir": "removing the directory",
    "unlink": "deleting",
    "rename_src": "renaming",
    "rename_dest": "renaming something to",
    "rename": "renaming",
    "link": "making the hard link",
    "symlink": "making the symbolic link",
    "mknod": "making the node",
    "truncate": "emptying",
    "chmod": "changing the mode of",
    "chown": "changing the owner of",
    "getattr": "looking at",
    "exec": "running",
    "file_lock": "locking",
    "file_mmap": "mapping",
    "bind": "making the socket",
    "connect": "connecting to the socket",
    "file_inherit": "keeping open",
    "file_receive": "being handed",
}
_LETTERS = {
    "r": "reading",
    "w": "writing to",
    "a": "appending to",
    "c": "creating",
    "d": "deleting",
    "x": "running",
    "m": "mapping as code",
    "k": "locking",
    "l": "making the hard link",
}
_TRACES = {
    "read": "reading the memory or the state of",
    "trace": "tracing",
    "readby": "having its memory or state read by",
    "tracedby": "being traced by",
}
_SPREAD = ("private", "slave", "shared", "unbindable")
_SIMPLE = {
    "capability": "using the capability",
    "umount": "unmounting",
    "pivot_root": "making this the root:",
    "change_profile": "changing to the profile",
    "change_hat": "changing to the hat",
    "userns": "making a user namespace",
    "rlimit": "changing a limit",
    "policy": "changing policy:",
    "dbus": "a message by the bus",
    "unknown": "something that the line does not name",
}


def means(line: Line, kind: str, object: str, requested: str) -> str:
    """What was asked, in one printable clause: `mounting nfs4 10.0.0.1:/x on /mnt/ (rw)`.

    `kind`, `object` and `requested` are as `kinds` tells them.
    """
    # A forged line may call its operation anything.
    return printable(_clause(line.operation, kind, object, requested))


def _clause(operation: str, kind: str, object: str, requested: str) -> str:
    if kind == "file":
        return f"{_on_file(operation, requested)} {object or 'a file without a path'}"
    if kind == "mount":
        return f"{_mounting(requested)} {object} ({requested})" if requested else f"mounting {object}"
    if kind == "capability" and operation == "capget":
        return f"holding the capability {object}, of which no log tells"
    if kind == "network":
        return f"{_on_socket(operation)}: {object}"
    if kind == "ptrace":
        return f"{_TRACES.get(requested, 'tracing')} {_process(object)}"
    if kind == "signal":
        name, _, peer = object.partition(" ")
        way, to = ("receiving", "from") if "receive" in requested else ("sending", "to")
        return f"{way} the signal {name}" + (f" {to} {_process(peer)}" if peer else "")
    if kind in ("io_uring", "mqueue"):
        name = "io_uring" if kind == "io_uring" else "the message queue"
        return f"{name} ({requested}) {object}".rstrip()
    return f"{_SIMPLE.get(kind, kind)} {object}".rstrip()


def _on_file(operation: str, requested: str) -> str:
    if operation in _FILES:
        return _FILES[operation]
    letters = requested.replace(":", "")
    if set(letters) == {"r", "w"}:
        return "reading and writing"
    words = [word for letter, word in _LETTERS.items() if letter in letters]
    if "creating" in words and "writing to" in words:
        # The kernel asks for both where a file is opened so that it would be made.
        return "creating or writing to"
    return " and ".join(words) if words else f"{operation} of"


def _process(peer: str) -> str:
    """A process, by its label.  Old kernels name none."""
    if not peer:
        return "a process"
    return "an unconfined process" if peer == "unconfined" else f"a process of {peer}"


def _mounting(flags: str) -> str:
    words = flags.replace(",", " ").split()
    if any(word.removeprefix("r") in _SPREAD for word in words):
        return "changing how mounts spread"
    for word, way in (("remount", "remounting"), ("bind", "bind-mounting"), ("rbind", "bind-mounting")):
        if word in words:
            return way
    return "moving the mount" if "move" in words else "mounting"


def _on_socket(operation: str) -> str:
    return {"create": "making a socket", "file_perm": "using a socket"}.get(
        operation, f"{operation} on a socket"
    )


def printable(text: bytes | str) -> str:
    """`text` without anything that moves a cursor, turns writing round or is not seen.

    A program in a container chooses its name and its files' names, and an operator's terminal would obey
    them.  Bytes that are no UTF-8 become `\\xNN`, as every other byte that is not for printing.
    """
    if isinstance(text, str):
        text = text.encode("utf-8", "surrogateescape" if not _has_lone(text) else "backslashreplace")
    shown = text.decode("utf-8", "backslashreplace")
    return shown if shown.isprintable() else "".join(map(_escaped, shown))


def _has_lone(text: str) -> bool:
    """Whether it holds surrogates that stand for no byte."""
    return any("\ud800" <= one <= "\udfff" and not "\udc80" <= one <= "\udcff" for one in text)


def _escaped(one: str) -> str:
    if one.isprintable():
        return one
    code = ord(one)
    if code < 0x80:
        return f"\\x{code:02x}"
    # Not as `\x85`, which would be the byte: that is how bytes which are no UTF-8 are shown.
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
