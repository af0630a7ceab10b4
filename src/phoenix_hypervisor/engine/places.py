"""Where the operator's configuration lies.

Owns finding it, where a new one goes, and the profile sources and policy tests that belong to it.  Must
not read what is in them.
"""

from __future__ import annotations

import os
import sys

from phoenix_hypervisor.errors import PhoenixError, UsageError
from phoenix_hypervisor.host.machine import Host
from phoenix_hypervisor.plan.fault_codes import Fault
from phoenix_hypervisor.profiles.sources import ACCEPTED, is_passed_over

CONFIG_NAME = "phoenix_lxc_configs.json"
HOME_ETC = "/usr/local/phoenix_hypervisor/etc"
"""Where `make install` puts profile sources and policy tests, unless PREFIX says otherwise."""
SHARE_ETC = "/usr/share/phoenix-hypervisor/etc"
"""Where the Debian package has them."""
KEYRING = "/etc/phoenix_hypervisor/require-signed.gpg"
"""Where it is, signatures are required of whatever is installed, without a word on the command line."""
CLUSTER, OWN = "/etc/pve/phoenix", "/etc/phoenix_hypervisor"
FOLDERS = (CLUSTER, OWN, HOME_ETC)
"""Where a configuration is looked for, below the root: a cluster's, a host's own, and the documents'."""
_TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
"""The checkout or installation that this package lies in; its parent is `src`."""


class NoConfiguration(PhoenixError):
    """There is none, and what was asked needs one."""

    code = Fault.CONFIGURATION_MISSING


def find_config(host: Host, given: str | None) -> str | None:
    """Where the configuration is on this machine; a path that was given is not prefixed.  None: nowhere.

    Raises UsageError for a given path that is no file, PhoenixError where there are several.
    """
    if given is not None:
        path = os.path.abspath(given)
        if not os.path.isfile(path):
            raise UsageError("--config is not a file", where=given)
        return path
    found: dict[str, str] = {}
    for place in _candidates(host):
        if os.path.isfile(place):
            found.setdefault(os.path.realpath(place), place)
    if len(found) > 1:
        places = " and ".join(found.values())
        raise PhoenixError(
            f"there is more than one configuration, and nothing says which one counts: {places}",
            hint="name one with --config FILE or PHOENIX_CONFIG, or move the other one away",
        )
    return next(iter(found.values()), None)


def config_path(host: Host, given: str | None) -> str:
    """As `find_config`; raises NoConfiguration where there is none."""
    path = find_config(host, given)
    if path is None:
        raise no_configuration(host)
    return path


def no_configuration(host: Host) -> NoConfiguration:
    """What to say where there is none and one is needed."""
    places = ", ".join(map(os.path.dirname, _candidates(host)))
    return NoConfiguration(
        f"there is no configuration: no {CONFIG_NAME} in {places}",
        hint="`phoenix import` writes one of the containers that are here; --config FILE or PHOENIX_CONFIG "
        "names another one",
    )


def _candidates(host: Host) -> list[str]:
    places = [host.root.locate(f"{folder}/{CONFIG_NAME}") for folder in FOLDERS]
    if host.root.is_live and _is_installed():
        # Installed with another PREFIX, Phoenix has its etc/ there.
        places[-1] = os.path.join(_TOP, "etc", CONFIG_NAME)
    return places


def _is_installed() -> bool:
    """`make install` leaves shipped/ beside etc/; a checkout's configuration is an example."""
    return os.path.isdir(os.path.join(_TOP, "shipped"))


def _is_checkout() -> bool:
    """Neither `make install` nor the package takes the Makefile along."""
    sources = os.path.isdir(os.path.join(_TOP, "etc", "apparmor"))
    return sources and os.path.isfile(os.path.join(_TOP, "Makefile"))


def default_place(host: Host) -> str:
    """The host path where a new configuration goes, its folder perhaps still to be made.

    Below /etc/pve, where there is one, so that a cluster shares it; else this host's own.
    """
    return f"{CLUSTER if host.exists('/etc/pve/lxc') else OWN}/{CONFIG_NAME}"


def beside(path: str, name: str) -> str:
    """A path beside the configuration: where it is named, else where the file itself lies."""
    named = os.path.join(os.path.dirname(path), name)
    real = os.path.join(os.path.dirname(os.path.realpath(path)), name)
    return real if os.path.exists(real) and not os.path.exists(named) else named


def belonging(host: Host, config: str | None, name: str) -> str:
    """`apparmor` or `policy_tests` of a configuration: beside it, else those that came with Phoenix.

    Sources beside it are all there are: no shipped policy tests are run on them.  But accepted rules alone
    are laid over those that came with Phoenix (`overlay`).  Empty where there are none at all.
    """
    if config is not None:
        own, sources = beside(config, name), beside(config, "apparmor")
        laid_over = _only_accepted(sources)
        if not (laid_over and own == sources) and (
            os.path.exists(own) or (os.path.isdir(sources) and not laid_over)
        ):
            return own
    for folder in _installed(host):
        if os.path.isdir(os.path.join(folder, "apparmor")):
            return os.path.join(folder, name)
    return beside(config, name) if config is not None else ""


def overlay(config: str | None) -> str:
    """The directory with nothing but accepted rules beside the configuration; empty where there is none."""
    folder = beside(config, "apparmor") if config is not None else ""
    return folder if folder and _only_accepted(folder) else ""


def accepted_beside(config: str) -> str:
    """Where rules are accepted into: a directory beside the configuration, perhaps still to be made."""
    return os.path.join(beside(config, "apparmor"), ACCEPTED)


def _only_accepted(folder: str) -> bool:
    try:
        found = [name for name in os.listdir(folder) if not is_passed_over(name)]
    except OSError:
        return False
    return found == [ACCEPTED]


def _installed(host: Host) -> list[str]:
    """Where what came with Phoenix may lie: with what runs, or on the host that is worked on."""
    there = [host.root.locate(SHARE_ETC), host.root.locate(HOME_ETC)]
    with_us = os.path.join(_TOP, "etc")
    return [with_us, *there] if host.root.is_live else [*there, with_us]


def config_for_policy(host: Host, given: str | None) -> str | None:
    """The configuration whose sources questions about policy are about; None: what came with Phoenix.

    A checkout that Phoenix is run from comes first on `/`: nothing need be installed to ask.
    Raises UsageError for a configuration that was given and is not there.
    """
    if given is None and host.root.is_live and _is_checkout():
        return None
    return find_config(host, given)


def program() -> tuple[str, ...]:
    """This Phoenix, as another process finds it that knows nothing of our environment."""
    called = os.path.abspath(sys.argv[0]) if sys.argv and sys.argv[0] else ""
    for path in (called, os.path.join(_TOP, "bin", "phoenix")):
        if os.path.basename(path) == "phoenix" and os.access(path, os.X_OK):
            return (path,)
    return (sys.executable, "-m", "phoenix_hypervisor")
