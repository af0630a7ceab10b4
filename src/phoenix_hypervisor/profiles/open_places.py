"""Places that others than root can write.

Owns which of them matter to profiles: where Phoenix installs, and its own records.  Reads only.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from phoenix_hypervisor.host.machine import Host
from phoenix_hypervisor.host.trust import writable_by_others
from phoenix_hypervisor.plan.codes import Code
from phoenix_hypervisor.plan.model import Note
from phoenix_hypervisor.profiles import records
from phoenix_hypervisor.profiles.includes import APPARMOR_D


def open_places(host: Host, files: Iterable[str]) -> list[Note]:
    """Where others can write, too: /etc/apparmor.d, the directories of `files` in it, our records."""
    places = {APPARMOR_D, *(os.path.dirname(path) for path in files)}
    found = [(host.root.shown(place), writable_by_others(host.root, place)) for place in sorted(places)]
    hint = "close it to others (`chmod go-w`, `chown root`), and check what they put there"
    return [
        Note(Code.OPEN_TO_OTHERS, shown, {"why": why, "next": hint})
        for shown, why in [*found, *records.open_records(host)]
        if why is not None
    ]
