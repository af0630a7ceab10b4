"""The search over names, on what the real apparmor_parser makes of small profiles."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
sys.path.insert(0, str(TOP))

from efficacy.search import Search  # noqa: E402

from phoenix_hypervisor.policy.evaluate import Evaluator  # noqa: E402
from phoenix_hypervisor.policy.reader import read_policy  # noqa: E402

PARSER = next(
    (p for p in ("/sbin/apparmor_parser", "/usr/sbin/apparmor_parser") if os.access(p, os.X_OK)), ""
)
FEATURES = TOP / "src/phoenix_hypervisor/data/features/bookworm-6.1"
pytestmark = [pytest.mark.host, pytest.mark.skipif(not PARSER, reason="apparmor_parser is not installed")]
FILES = {"proc": ["sys/vm/swappiness", "sys/kernel/panic", "sysrq-trigger"], "sysfs": ["power/state"]}


def search(rules: str) -> Search:
    argv = [PARSER, "-QSK", "--policy-features", str(FEATURES), "--kernel-features", str(FEATURES)]
    text = f"profile lxc-t {{ {rules} }}\n".encode()
    done = subprocess.run(argv, input=text, capture_output=True, timeout=120, check=True)
    return Search(Evaluator(read_policy(done.stdout).profiles[0]), FILES)


def opened(rules: str, fstype: str = "proc") -> set[str]:
    return set().union(*(found for _, found in search(rules).ways(fstype)))


def test_a_profile_without_denials_leaves_everything_open() -> None:
    assert opened("file, mount,") == set(FILES["proc"])
    assert opened("file, mount,", "sysfs") == set(FILES["sysfs"])


def test_a_profile_that_writes_nothing_leaves_nothing_open() -> None:
    assert opened("file, mount, deny /** w,") == set()


def test_denials_by_place_hold_where_nothing_can_be_mounted_elsewhere() -> None:
    rules = "file, deny /{,**/}proc/** w,"
    assert opened(rules + "deny /.detached/** w,") == set()
    assert opened(rules) == set(FILES["proc"])


def test_denials_by_place_do_not_hold_where_a_mount_point_can_be_renamed() -> None:
    closed = "file, deny /{,**/}proc/** w, deny /.detached/** w,"
    assert opened(closed + "mount fstype=proc -> /{,**/}proc/,") == set(FILES["proc"])


def test_a_part_that_may_be_bound_again_loses_the_names_that_closed_it() -> None:
    closed = "file, deny /{,**/}sys/vm/* w, deny /{,**/}{panic,sysrq-trigger} w, deny /.detached/** w,"
    assert opened(closed + "mount fstype=proc -> /{,**/}proc/,") == set()
    again = " mount options=(bind) /{,**/}sys/ -> /{,**/}sys/, mount options=(bind) /{,**/}vm/ -> /mnt/b/,"
    assert opened(closed + "mount fstype=proc -> /{,**/}proc/," + again) == {"sys/vm/swappiness"}


def test_a_file_bound_alone_needs_a_name_that_may_be_written() -> None:
    closed = "file, deny /{,**/}{vm,kernel}/* w, deny /{,**/}sysrq-trigger w, deny /.detached/** w,"
    bind = "mount options=(bind) /proc/sysrq-trigger -> /mnt/b,"
    assert search(closed + bind).alone("proc", set()) == {"sysrq-trigger"}
    assert opened(closed) == set()
