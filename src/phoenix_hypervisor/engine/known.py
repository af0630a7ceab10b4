"""What can be named: containers, profiles, transactions.

Owns listing them fast and without judging them, for the completion of words.  What cannot be
read names nothing; nothing is raised for it.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from phoenix_hypervisor.engine.places import belonging, config_for_policy, config_path
from phoenix_hypervisor.errors import PhoenixError

if TYPE_CHECKING:
    from phoenix_hypervisor.engine.settings import HostSettings
    from phoenix_hypervisor.host.machine import Host

MAX_CONFIG = 64 * 1024 * 1024
MAX_TRANSACTIONS = 50
MAX_READ = 200
"""Configurations that are read for a name: more would be felt at each TAB."""


def declared(host: Host, settings: HostSettings) -> dict[str, str]:
    """Declared containers: name by CTID, empty where none is declared."""
    with suppress(PhoenixError, OSError, ValueError, RecursionError):
        with open(config_path(host, settings.config), "rb") as file:
            document = json.loads(file.read(MAX_CONFIG))
        entries = document.get("lxc_configs") if isinstance(document, dict) else None
        if isinstance(entries, dict):
            return {
                ctid: str(entry.get("name", "")) if isinstance(entry, dict) else ""
                for ctid, entry in entries.items()
            }
    return {}


def containers(host: Host, settings: HostSettings) -> dict[str, str]:
    """Containers that are declared or on this host: name by CTID, empty where none is known."""
    names = declared(host, settings)
    with suppress(PhoenixError, OSError, ValueError):
        from phoenix_hypervisor.containers.current import Containers
        from phoenix_hypervisor.containers.runtimes.registry import kind_named, kind_of

        kind = kind_of(host) if settings.runtime is None else kind_named(settings.runtime)
        present = Containers(host, kind.build(host))
        nameless = [ctid for ctid in present.runtime.ctids() if not names.get(ctid)]
        found = present.hostnames(nameless) if len(nameless) <= MAX_READ else dict.fromkeys(nameless, "")
        names = {**names, **found}
    return {ctid: names[ctid] for ctid in sorted(names, key=lambda ctid: (len(ctid), ctid))}


def profiles(host: Host, settings: HostSettings) -> dict[str, str]:
    """Profiles that can be asked: `shipped` or `loaded` by name."""
    found = {}
    with suppress(PhoenixError, OSError):
        found.update(dict.fromkeys(host.kernel.loaded_profiles() or (), "loaded"))
    with suppress(PhoenixError, OSError):
        folder = belonging(host, config_for_policy(host, settings.config), "apparmor")
        names = os.listdir(folder) if folder else []
        found.update({name: "shipped" for name in names if name.startswith("lxc-")})
    return dict(sorted(found.items()))


def nodes(host: Host) -> dict[str, str]:
    """The nodes of the cluster; none where there is no cluster."""
    found = host.content("/etc/pve/nodes")
    return dict.fromkeys(sorted(found), "") if isinstance(found, list) else {}


def transactions(host: Host) -> dict[str, str]:
    """Transactions that are kept, newest first: time and command by number."""
    from phoenix_hypervisor.engine.journal import Journal

    with suppress(PhoenixError, OSError):
        entries, _ = Journal(host).entries()
        return {
            str(entry.id): f"{entry.header.time} {' '.join(entry.header.command)}"
            for entry in entries[:MAX_TRANSACTIONS]
        }
    return {}
