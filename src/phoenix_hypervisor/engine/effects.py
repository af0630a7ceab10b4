"""What an edit of a profile would open and close, for `plan` and `--dry-run`.

Owns comparing what is proven with what is installed now, by the policy engine.  Must not
decide anything: a plan that opens more is still the operator's to apply.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.profiles.includes import APPARMOR_D
from phoenix_hypervisor.profiles.parser import Parser

if TYPE_CHECKING:
    from phoenix_hypervisor.engine.session import Session

MAX_LINES = 12


def effects(session: Session, blobs: Mapping[str, bytes]) -> dict[str, list[str]]:
    """By profile, a line for each thing that only the installed or only the proven policy allows.

    New profiles are left out, and so is one whose installed file does not compile.
    """
    from phoenix_hypervisor.policy.diff import diff_policies
    from phoenix_hypervisor.policy.reader import read_policy

    settings, host = session.settings, session.host
    installed = Parser(host, "", executable=settings.parser, features=settings.features)
    found: dict[str, list[str]] = {}
    for name, blob in blobs.items():
        path = f"{APPARMOR_D}/{name}"
        text = host.read(path)
        if text is None:
            continue
        try:
            old = read_policy(installed.compile_text(text, host.root.locate(path), optional=False))
            differences = diff_policies(old, read_policy(blob))
        except PhoenixError as error:
            found[name] = [f"cannot be compared with what is installed: {error.message}"]
            continue
        lines = []
        for one in differences:
            more = f" (and {one.count - 1} more)" if one.count > 1 else ""
            if one.only_b:
                lines.append(f"opens  {one.kind}: {one.only_b}: {one.witness}{more}")
            if one.only_a:
                lines.append(f"closes {one.kind}: {one.only_a}: {one.witness}{more}")
        if len(lines) > MAX_LINES:
            lines = [*lines[:MAX_LINES], f"... and {len(lines) - MAX_LINES} more"]
        found[name] = lines or ["allows exactly what it allowed"]
    return found
