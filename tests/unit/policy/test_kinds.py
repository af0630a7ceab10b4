"""The kinds of question: each is written as it is read, and the newer ones are answered as they are asked.

The blob was compiled by parser 4.1 for Proxmox's 6.17 and an ABI with D-Bus, io_uring and message queues:

    profile lxc-k {
      mqueue (create, read, getattr) type=posix /a*,
      deny mqueue (write) /ab,
      mqueue (delete) type=posix label=lxc-l /c,
      io_uring sqpoll,
      io_uring override_creds label=lxc-o,
      dbus (send, receive) bus=system path=/org/x interface=org.x.Y member=Get* peer=(name=org.x, label=lxc-p),
      dbus (bind) bus=session name=org.bound,
      dbus (eavesdrop) bus=system,
      userns,
    }
"""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from phoenix_hypervisor.cli.question import kinds, question_options, read_question
from phoenix_hypervisor.errors import UsageError
from phoenix_hypervisor.policy.evaluate import Evaluator
from phoenix_hypervisor.policy.fault import PolicyError
from phoenix_hypervisor.policy.queries import FORMS, MODULES, MountQuery, RawQuery, UmountQuery, parse_query
from phoenix_hypervisor.policy.query import Form, Query
from phoenix_hypervisor.policy.reader import read_policy

BLOB = Path(__file__).parents[2] / "data/policy/kinds-41.bin"

ANSWERS = {
    "mqueue /a --access read": "allowed rule",
    "mqueue /ax --access create,getattr": "allowed rule",
    "mqueue /ab --access write": "denied deny rule",
    "mqueue /a --access read,write": "denied no rule",
    "mqueue /b --access read": "denied no rule",
    "mqueue /c --access delete": "denied no rule",
    "mqueue /c --access delete --peer lxc-l": "allowed rule",
    "mqueue /c --access delete --peer lxc-m": "denied no rule",
    "io-uring sqpoll": "allowed rule",
    "io-uring override_creds --peer lxc-o": "allowed rule",
    "io-uring override_creds --peer lxc-k": "denied no rule",
    "dbus send system --name org.x --peer lxc-p --path /org/x --interface org.x.Y --member GetAll": "allowed rule",
    "dbus send system --name org.x --peer lxc-q --path /org/x --interface org.x.Y --member GetAll": "denied no rule",
    "dbus receive system --name org.x --peer lxc-p --path /org/x --interface org.x.Y --member Set": "denied no rule",
    "dbus bind session --name org.bound": "allowed rule",
    "dbus bind session --name org.other": "denied no rule",
    "dbus eavesdrop system": "allowed rule",
    "dbus eavesdrop session": "denied no rule",
    "userns": "allowed rule",
}


def asked(text: str) -> Query:
    """The question that the words stand for; its own text is these words again."""
    words = shlex.split(text)
    options = {w[2:].replace("-", "_"): words[n + 1] for n, w in enumerate(words) if w.startswith("--")}
    position = [
        w for n, w in enumerate(words) if not w.startswith("--") and not words[n - 1].startswith("--")
    ]
    profile, query = read_question(position, options)
    assert profile is None and not isinstance(query, RawQuery) and str(query) == text
    return query


@pytest.mark.parametrize("text", ANSWERS)
def test_newer_kinds_are_answered_as_their_rules_are_written(text: str) -> None:
    judge = Evaluator(read_policy(BLOB.read_bytes()).get("lxc-k"))
    answer = judge.ask(asked(text))
    assert f"{'allowed' if answer.allowed else 'denied'} {answer.reason.value}" == ANSWERS[text]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kind": "mqueue", "name": "a", "access": "read"}, "begin with a slash"),
        ({"kind": "mqueue", "name": "/a"}, "'access' is missing"),
        ({"kind": "mqueue", "name": "/a", "access": "readx"}, "unknown queue access"),
        ({"kind": "io_uring", "operation": "sqpoll", "peer": "x"}, "'peer' belongs to override_creds"),
        ({"kind": "io_uring", "operation": "override_creds"}, "'peer' belongs to override_creds"),
        ({"kind": "dbus", "access": "bind", "bus": "system"}, "'name' is missing"),
        ({"kind": "dbus", "access": "eavesdrop", "bus": "system", "path": "/"}, "'path' is not asked for"),
        ({"kind": "file", "path": "etc/passwd", "access": "w"}, "must be absolute"),
        ({"kind": "umount", "target": "proc"}, "must be absolute"),
        ({"kind": "pivot_root", "new_root": "/a", "put_old": "b"}, "must be absolute"),
        ({"kind": "unix", "type": "stream", "address": "/x"}, "abstract name"),
        ({"kind": "userns", "peer": "x"}, "unknown field 'peer'"),
        ({"kind": "nothing"}, "unknown kind"),
    ],
)
def test_a_field_that_makes_no_sense_is_named(fields: dict[str, object], words: str) -> None:
    with pytest.raises(PolicyError, match=words):
        parse_query(fields)


def test_mount_flags_are_taken_as_the_kernel_logs_them() -> None:
    logged = {"kind": "mount", "target": "/run/x/", "flags": "ro, remount, noatime, bind"}
    assert parse_query(logged) == parse_query({**logged, "flags": ["ro", "remount", "noatime", "bind"]})


def test_every_kind_of_every_module_is_known_to_the_command_line() -> None:
    known: list[Form] = [form for module in MODULES for form in module.FORMS]
    assert len(FORMS) == len(known)
    assert kinds() == sorted(form.name.replace("_", "-") for form in known)
    options = question_options()
    assert {option.field for form in known for option in form.options} == set(options)
    assert options["onexec"]["is_flag"] and options["uid"]["type"] is int


def test_a_file_system_is_mounted_on_a_directory_and_what_may_lie_on_a_file_is_said() -> None:
    new = parse_query({"kind": "mount", "source": "tmpfs", "target": "/proc", "fstype": "tmpfs"})
    assert isinstance(new, MountQuery) and "--target /proc/ " in str(new) and new.as_directory() is None
    bound = parse_query({"kind": "mount", "source": "/a", "target": "/proc", "flags": "bind"})
    assert isinstance(bound, MountQuery) and "--target /proc " in str(bound)
    assert str(bound.as_directory()) == "mount --source /a/ --target /proc/ --flags bind"
    gone = parse_query({"kind": "umount", "target": "/proc"})
    assert isinstance(gone, UmountQuery) and gone.as_directory() == UmountQuery(b"/proc/")


def test_an_option_that_is_missing_is_named_as_it_is_typed() -> None:
    with pytest.raises(UsageError, match="file: --access is missing") as raised:
        read_question(["lxc-a", "file", "/etc/passwd"], {})
    assert "letters" in (raised.value.hint or "")
