"""`phoenix lab`: a real AppArmor kernel with real LXC, on this machine.

Owns arguments and output only.  Everything of the lab is imported where it is used, so that
`phoenix lab --help` costs nothing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from phoenix_hypervisor.cli.suggest import SuggestingGroup

if TYPE_CHECKING:
    from phoenix_hypervisor.lab.build import Progress

RELEASES = ("trixie", "bookworm", "forky", "sid")
"""Repeated here so that help does not import the lab; a test compares them."""

_release = click.option(
    "--release",
    type=click.Choice(RELEASES),
    default=RELEASES[0],
    show_default=True,
    help="Debian 13 (Proxmox VE 9's generation), Debian 12 (Proxmox VE 8's), or what comes next.",
)
_name = click.option("--name", default="default", show_default=True, help="Which detached lab.")


@click.group(name="lab", cls=SuggestingGroup)
def lab() -> None:
    """A real AppArmor kernel with real LXC inside QEMU, to try profiles without risking a host."""


@lab.command()
@_release
@click.option("--fresh", is_flag=True, help="Build again, with the newest packages.")
@click.option("--no-snapshot", is_flag=True, help="Do not boot once to save the machine.")
@click.pass_context
def build(context: click.Context, release: str, fresh: bool, no_snapshot: bool) -> None:
    """Make the image of a release, where it is not cached."""
    from phoenix_hypervisor.lab import accel, recipe, snapshot
    from phoenix_hypervisor.lab.build import ensure_image
    from phoenix_hypervisor.lab.cache import Cache
    from phoenix_hypervisor.lab.qemu import DEFAULT_MEMORY

    cache, progress = Cache(), _progress(context)
    cache.sweep()
    image = ensure_image(cache, recipe.release_named(release), fresh=fresh, progress=progress)
    with_accel = accel.choose(cache, image, progress=progress)
    if not no_snapshot:
        snapshot.ensure_saved(cache, image, accel=with_accel, memory=DEFAULT_MEMORY, progress=progress)
    facts = {
        "release": release,
        "image": str(image.path),
        "kernel": image.kernel,
        "apparmor": image.packages["apparmor"],
        "lxc": image.packages["lxc"],
        "accel": with_accel,
    }
    _show(context, facts)


@lab.command()
@_release
@_name
@click.option("--no-snapshot", is_flag=True, help="Boot the image instead of continuing the saved machine.")
@click.option("--lifetime", type=float, default=8.0, show_default=True, help="Hours until it ends by itself.")
@click.pass_context
def boot(context: click.Context, release: str, name: str, no_snapshot: bool, lifetime: float) -> None:
    """Start a lab that stays until `phoenix lab stop`."""
    from phoenix_hypervisor.lab import detached
    from phoenix_hypervisor.lab.cache import Cache

    found = detached.boot(
        Cache(),
        name,
        release,
        snapshot=not no_snapshot,
        lifetime=lifetime * 3600,
        progress=_progress(context),
    )
    _show(context, {"name": name, "release": release, "accel": found.accel, "qemu": found.qemu})


@lab.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@_release
@_name
@click.option("--timeout", type=float, default=600.0, show_default=True, help="Seconds the command may take.")
@click.option("--denials", is_flag=True, help="Afterwards print AppArmor's denials on standard error.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_context
def run(
    context: click.Context, release: str, name: str, timeout: float, denials: bool, command: tuple[str, ...]
) -> None:
    """Run COMMAND as root in the guest: in the detached lab where one runs, else in a new one.

    Standard input is passed on where it is not a terminal. Exits with the command's exit code.
    """
    data = b"" if sys.stdin is None or sys.stdin.isatty() else sys.stdin.buffer.read()
    with _guest(context, release, name) as guest:
        if denials:
            guest.mark()
        result = guest.run(list(command), timeout=timeout, input=data)
        sys.stdout.write(result.stdout)
        sys.stdout.flush()
        sys.stderr.write(result.stderr)
        if result.timed_out:
            sys.stderr.write(f"phoenix lab: ended after {timeout:.0f} s\n")
        if denials:
            for denial in guest.denials():
                sys.stderr.write(f"{denial}\n")
    context.exit(result.rc if 0 <= result.rc < 256 else 1)


@lab.command()
@_release
@_name
@click.pass_context
def shell(context: click.Context, release: str, name: str) -> None:
    """A shell in the guest; leave with `exit` or Ctrl-]."""
    from phoenix_hypervisor.lab.terminal import interact

    with _guest(context, release, name) as guest:
        code = interact(guest)
    context.exit(code if 0 <= code < 256 else 1)


@lab.command()
@_name
@click.pass_context
def stop(context: click.Context, name: str) -> None:
    """End a detached lab; what was written in it is lost."""
    from phoenix_hypervisor.lab import detached
    from phoenix_hypervisor.lab.cache import Cache

    _show(context, {"name": name, "stopped": detached.stop(Cache(), name)})


def _guest(context: click.Context, release: str, name: str) -> Any:
    """A context manager: the detached lab's guest, or a lab for this command alone."""
    from phoenix_hypervisor.errors import UsageError
    from phoenix_hypervisor.lab import detached
    from phoenix_hypervisor.lab.booted import Lab
    from phoenix_hypervisor.lab.cache import Cache

    cache = Cache()
    found = detached.running(cache, name)
    if found is None:
        return Lab(release, phoenix=True, cache=cache, progress=_progress(context))
    source = context.get_parameter_source("release")
    if found.release != release and source is not click.core.ParameterSource.DEFAULT:
        raise UsageError(f"lab {name} runs {found.release}, not {release}")
    return detached.attach(cache, name)


def _progress(context: click.Context) -> Progress:
    if _global(context, "quiet"):
        return lambda text: None
    return lambda text: click.echo(f"lab: {text}", err=True)


def _show(context: click.Context, facts: Mapping[str, object]) -> None:
    if _global(context, "json"):
        click.echo(json.dumps({"version": 1, **facts}))
    elif not _global(context, "quiet"):
        width = max(map(len, facts))
        for key, value in facts.items():
            click.echo(f"{key:<{width}}  {value}")


def _global(context: click.Context, name: str) -> bool:
    """A global option, from whatever object or mapping the main group keeps them in."""
    keeper = context.find_root().obj
    if isinstance(keeper, dict):
        return bool(keeper.get(name))
    return bool(getattr(keeper, name, False))


@lab.command()
@_release
@click.pass_context
def demo(context: click.Context, release: str) -> int:
    """The documents' three containers on a real kernel, with Phoenix in the guest."""
    from phoenix_hypervisor.cli.lab_demo import run_demo

    return run_demo(release, _progress(context))
