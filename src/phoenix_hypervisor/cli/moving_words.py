"""What people read of the codes of a move.

Owns the words of `plan.migration_codes`, and the next step; `cli.notes` has all others.  Must not decide
anything.
"""

from __future__ import annotations

from collections.abc import Mapping

from phoenix_hypervisor.cli.phrases import Entry, Words
from phoenix_hypervisor.plan.migration_codes import MoveCode
from phoenix_hypervisor.plan.model import Note
from phoenix_hypervisor.plan.roles import Coded

_SETUP = "run `phoenix setup` there, then `phoenix facts --publish`"


def _old(note: Note) -> Words:
    again = "run `phoenix facts --publish` there again"
    age = note.data["age"]
    if isinstance(age, int) and age < 0:
        return "its facts are of the future: the clocks of the two nodes differ", f"set the clocks; {again}"
    hours = age // 3600 if isinstance(age, int) else age
    return f"its facts are {hours} hours old", again


MOVING: Mapping[Coded, Entry] = {
    MoveCode.FACTS_OLD: _old,
    MoveCode.OTHER_RUNTIME: ("containers are run by {there} there, by {here} here", "name another node"),
    MoveCode.RUNTIME_OLDER: ("{package} is {there} there, and {here} here", "upgrade that node first"),
    MoveCode.NO_APPARMOR: (
        "AppArmor is off there: nothing would be confined",
        "boot it with apparmor=1 security=apparmor",
    ),
    MoveCode.NOT_MEDIATED: (
        "AppArmor cannot refuse {what} there, and does here",
        "boot a kernel there that can; `phoenix status` there says why not",
    ),
    MoveCode.PROFILE_MISSING: ("its profile {profile} is not loaded there: LXC would not start it", _SETUP),
    MoveCode.THERE_NOT_ENFORCED: (
        "its profile {profile} is in {mode} mode there, so it refuses nothing",
        "run `phoenix verify` there, and end that mode",
    ),
    MoveCode.THERE_POLICY_DIFFERS: (
        "its profile {profile} is another one there",
        "make the sources the same, run `phoenix setup` on both, then `phoenix facts --publish` there",
    ),
    MoveCode.THERE_POLICY_UNKNOWN: (
        "nothing says whether its profile {profile} is the same there: neither kernel nor records tell",
        _SETUP,
    ),
    MoveCode.COMPILED_OTHERWISE: (
        "its profile {profile} has the same source there, compiled by another parser or for another kernel",
        None,
    ),
    MoveCode.GPU_MISSING: (
        "there is no {path} there (`{line}`)",
        "move it to a node with that GPU, or take the line out",
    ),
    MoveCode.GPU_NUMBER: (
        "{path} is {there} there and {here} here, and its device rules let only the latter through",
        "use a devN line: Proxmox looks the number up at every start",
    ),
    MoveCode.THERE_SECCOMP_MISSING: ("{path} is missing there: LXC would not start it", _SETUP),
    MoveCode.SECCOMP_DIFFERS: ("{path} has other rules there", "use the same LXC and Phoenix on both nodes"),
}
