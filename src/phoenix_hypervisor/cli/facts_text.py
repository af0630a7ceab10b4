"""`phoenix facts`: what this node tells others of itself.

Owns its arguments and what people see of it; the engine gathers, `plan.bundle` has the JSON.
"""

from __future__ import annotations

import click

from phoenix_hypervisor.cli.given import Settings
from phoenix_hypervisor.cli.options import global_options
from phoenix_hypervisor.cli.output import emit, say
from phoenix_hypervisor.errors import EXIT_OK
from phoenix_hypervisor.plan.bundle import Bundle, document


@click.command()
@click.option("--publish", is_flag=True, help="Write it where the cluster's other nodes look for it.")
@global_options
@click.pass_obj
def facts(settings: Settings, publish: bool) -> int:
    """Describe this node for others: versions, kernel, loaded profiles with their hashes, GPUs.

    `phoenix migrate-check` on another node reads what `phoenix facts --json` prints here, so it needs no
    connection to this node. In a Proxmox cluster --publish writes it to /etc/pve/phoenix/facts/NODE.json.
    """
    fleet = settings.phoenix().fleet()
    where = None
    if publish:
        settings.begin_writing()
        found, where = fleet.publish_facts()
    else:
        found = fleet.facts()
    if settings.json:
        emit(document(found))
    else:
        _show(settings, found)
        if where is not None:
            say(settings, f"written: {where}")
    return EXIT_OK


def _show(settings: Settings, found: Bundle) -> None:
    say(settings, f"node {found.node}: Phoenix {found.phoenix}, parser {found.parser or 'not installed'}")
    if found.packages:
        say(settings, ", ".join(f"{name} {version}" for name, version in found.packages.items()))
    state = {True: "on", False: "off", None: "not known"}[found.apparmor]
    say(settings, f"kernel {found.release or 'not known'}, AppArmor {state}")
    if found.features is not None:
        same = " = " + ", ".join(found.features.same_as) if found.features.same_as else ""
        say(settings, f"features {found.features.hash[:16]}{same}")
        say(settings, f"not mediated: {', '.join(found.features.unmediated) or 'nothing'}")
    say(settings, f"profiles {len(found.profiles)}")
    for name, one in found.profiles.items():
        shown = one.compiled or (one.kernel or "").partition(":")[2]
        say(settings, f"  {name} ({one.mode}) {shown[:16]}".rstrip())
    say(settings, f"GPUs {len(found.gpus)}")
    for gpu in found.gpus:
        say(settings, f"  {gpu.number} {gpu.model or gpu.vendor}: {', '.join(gpu.nodes)}")
    say(settings, "`phoenix facts --json` prints all of it for `phoenix migrate-check` on another node")
