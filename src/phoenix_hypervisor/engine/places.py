"""Where the operator's configuration lies.

Owns finding it, and the profile sources and policy tests beside it.  Must not read what is
in them.
"""

from __future__ import annotations

import os

from phoenix_hypervisor.errors import UsageError
from phoenix_hypervisor.host.machine import Host

CONFIG_NAME = "phoenix_lxc_configs.json"
DEFAULT_CONFIG = f"/usr/local/phoenix_hypervisor/etc/{CONFIG_NAME}"
_TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
"""The checkout or installation that this package lies in; its parent is `src`."""


def config_path(host: Host, given: str | None) -> str:
    """Where the configuration is on this machine; a path that was given is not prefixed.

    Raises UsageError where there is none.
    """
    if given is not None:
        path = os.path.abspath(given)
        if not os.path.isfile(path):
            raise UsageError("--config is not a file", where=given)
        return path
    own = os.path.join(_TOP, "etc", CONFIG_NAME)
    # `make install` leaves shipped/ beside etc/; a checkout's configuration is an example.
    if host.root.is_live and os.path.isdir(os.path.join(_TOP, "shipped")) and os.path.isfile(own):
        return own
    path = host.root.locate(DEFAULT_CONFIG)
    if not os.path.isfile(path):
        raise UsageError(
            "there is no configuration",
            where=host.root.shown(DEFAULT_CONFIG),
            hint="name one with --config FILE, or `make install` the shipped one",
        )
    return path


def beside(path: str, name: str) -> str:
    """A path beside the configuration: where it is named, else where the file itself lies."""
    named = os.path.join(os.path.dirname(path), name)
    real = os.path.join(os.path.dirname(os.path.realpath(path)), name)
    return real if os.path.exists(real) and not os.path.exists(named) else named


def policy_folder(host: Host, given: str | None) -> str | None:
    """The directory with apparmor/ and policy_tests/ for questions about policy; None: there is none.

    A checkout that Phoenix is run from comes first on `/`: nothing need be installed to ask.
    Raises UsageError for a configuration that was given and is not there.
    """
    checkout = os.path.join(_TOP, "etc")
    is_checkout = os.path.isdir(os.path.join(checkout, "apparmor"))
    if given is None and host.root.is_live and is_checkout:
        return checkout
    try:
        return os.path.dirname(beside(config_path(host, given), "apparmor"))
    except UsageError:
        if given is not None:
            raise
    return checkout if is_checkout else None
