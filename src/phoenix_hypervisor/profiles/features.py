"""Which features a profile is compiled for.

Owns the choice of `--base`, `--policy-features` and `--kernel-features`.  The parser
drops whole rule classes silently, and returns 0, when it is given no features and the
kernel offers none, so every compile outside a running AppArmor kernel gets both files.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from phoenix_hypervisor.errors import PhoenixError, UsageError
from phoenix_hypervisor.host.machine import Host
from phoenix_hypervisor.profiles.includes import APPARMOR_D

PARSER_CONF = "/etc/apparmor/parser.conf"
_POLICY_FEATURES = re.compile(rb"^[ \t]*policy-features[ \t]*=[ \t]*(\S+)", re.M)
_CLASS = re.compile(rb"^(?:file|policy|domain|caps|mount)[ \t]*\{", re.M)

DUMPS = {3: "bookworm-6.1", 4: "trixie-6.12", 5: "forky-7.2"}
"""Packaged kernel feature dumps by the parser's major version (how they were taken: docs/features.md)."""


@dataclass(frozen=True, slots=True)
class Features:
    """Arguments that pin what a compile is for, and a sentence that says so."""

    arguments: tuple[str, ...]
    shown: str


def packaged_dump(major: int) -> str:
    """The path of the packaged kernel feature dump for parser version `major`."""
    name = DUMPS.get(major, DUMPS[max(DUMPS)])
    return os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "data", "features", name)


def choose(host: Host, major: int, override: str | None = None) -> Features:
    """The features for `host`; `override` is the operator's `--features FILE`.

    On `/` with AppArmor nothing is passed, so that the parser does exactly what it does at
    boot.  Raises UsageError where `override` cannot be read.
    """
    if override is not None and not os.path.isfile(override):
        raise UsageError("--features is not a file", where=override)
    if override is not None and not _is_dump(override):
        raise UsageError("--features is no feature dump", where=override, hint="see apparmor_parser(8)")
    if host.is_live and host.kernel.has_apparmor():
        if override is None:
            return Features((), f"parser.conf and the running kernel {host.kernel.release()}")
        return Features(("--kernel-features", override), f"parser.conf and {override}")
    kernel = override or packaged_dump(major)
    arguments = ["--kernel-features", kernel]
    shown = os.path.basename(kernel)
    if host.is_live:
        return Features(
            tuple(arguments), f"parser.conf and the packaged dump {shown} (this kernel has no AppArmor)"
        )
    arguments = ["--config-file", "/dev/null", "--base", host.root.locate(APPARMOR_D), *arguments]
    policy = _policy_features(host)
    if policy is not None:
        arguments += ["--policy-features", policy]
    return Features(
        tuple(arguments), f"the root's parser.conf and {'' if override else 'the packaged dump '}{shown}"
    )


def pinned(host: Host) -> bytes | None:
    """The feature file that parser.conf of `host` pins; None where it pins none that can be read."""
    named = _named_by_conf(host)
    return host.read(named) if named is not None else None


def _named_by_conf(host: Host) -> str | None:
    conf = host.read(PARSER_CONF)
    match = _POLICY_FEATURES.search(conf) if conf is not None else None
    return match[1].decode("utf-8", "surrogateescape") if match is not None else None


def _policy_features(host: Host) -> str | None:
    named = _named_by_conf(host)
    if named is None:
        return None
    path = host.root.locate(named)
    if not os.path.isfile(path):
        raise PhoenixError(
            "names a policy-features file that is not there",
            where=host.root.shown(PARSER_CONF),
            hint="install apparmor in that root, or correct parser.conf",
        )
    if not _is_dump(path):
        raise PhoenixError(
            "is no feature file: with it the parser drops whole rule classes and says nothing",
            where=path,
            hint="install apparmor in that root anew, or correct parser.conf",
        )
    return path


def _is_dump(path: str) -> bool:
    """Whether it names a class that is mediated; without one, profiles compile to next to nothing."""
    try:
        with open(path, "rb") as file:
            return _CLASS.search(file.read(1024 * 1024)) is not None
    except OSError:
        return False
