"""What a profile allows, as a list: from the request to its result.

Owns which parts a list has, and how many rows are left for files.  What stands in them is the policy room's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from phoenix_hypervisor.engine.ask import find
from phoenix_hypervisor.engine.policy_requests import ListRequest
from phoenix_hypervisor.errors import UsageError
from phoenix_hypervisor.values import dataclass

if TYPE_CHECKING:
    from phoenix_hypervisor.engine.policy_sources import PolicySources
    from phoenix_hypervisor.policy.abilities import Ability
    from phoenix_hypervisor.policy.listing import Found
    from phoenix_hypervisor.policy.profile import Profile
    from phoenix_hypervisor.policy.summary import Line


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """What a profile allows, by kind."""

    profile: str
    under: str | None
    found: tuple[Found, ...]
    capabilities: tuple[str, ...] | None
    """None where only one place was asked for."""
    lines: tuple[Line, ...] = ()
    """Files for people, real names first."""
    abilities: tuple[Ability, ...] | None = None
    """Everything but files, mounts and capabilities; None where only one place was asked for."""
    kernel: str = ""
    """As in `Answered`."""


def listing(sources: PolicySources, request: ListRequest) -> Listed:
    """What is within reach: files under a place, or everything."""
    from phoenix_hypervisor.policy import listing as lists
    from phoenix_hypervisor.policy.constants import file_access
    from phoenix_hypervisor.policy.fault import PolicyError

    under = request.under
    place = (under or "/").encode("utf-8", "surrogateescape")
    if place[:1] not in (b"/", b"{", b"[", b"*"):
        raise UsageError("--under takes an absolute path, or a glob that begins with /", where=under)
    try:
        file_access(request.access)
    except PolicyError as error:
        raise UsageError(error.message, hint=error.hint) from None
    profile = find(sources, request.policy)(request.profile)
    lists.require_listable(profile)
    with _no_cycles():
        return _listed(sources, request, profile, place)


@contextmanager
def _no_cycles() -> Iterator[None]:
    """Millions of small tuples and no cycles: looking for some takes an eighth of the time of a list."""
    import gc

    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def _listed(sources: PolicySources, request: ListRequest, profile: Profile, place: bytes) -> Listed:
    from phoenix_hypervisor.policy import listing as lists
    from phoenix_hypervisor.policy.abilities import abilities

    under, limit = request.under, request.limit
    able = abilities(profile, sources.asks()) if under is None else None
    others: list[lists.Found] = []
    capabilities = None
    if under is None:
        others = [*lists.list_mounts(profile, limit=limit), lists.list_targets(profile, limit=limit)]
        capabilities = tuple(lists.list_capabilities(profile))
    lines = lists.list_lines(
        profile,
        place,
        sources.kernel_names(),
        request.access if request.only else None,
        other=request.other,
        limit=lists.room(others, able or ()) if request.lines is None else request.lines,
    )
    if request.examples:
        others.insert(0, lists.list_files(profile, place, request.access, other=request.other, limit=limit))
    return Listed(
        profile=profile.label,
        under=under,
        found=tuple(others),
        capabilities=capabilities,
        lines=lines,
        abilities=able,
        kernel=sources.kernel(),
    )
