"""The report's section about other nodes of a cluster.

Owns its table: a node in a row, and what of its lines is not as declared.  Pure; must not judge.
"""

from __future__ import annotations

from collections.abc import Sequence

from phoenix_hypervisor.report.markup import Html, joined, tag
from phoenix_hypervisor.report.parts import badge, many, row, section, table
from phoenix_hypervisor.report.report_facts import OtherContainer, OtherNode

COLUMNS = ("node", "containers", "declared", "with the declared line", "not as declared")
MOST = 20
"""Containers that a row names."""


def nodes(found: Sequence[OtherNode]) -> Html:
    """What the files of the other nodes say."""
    rows = [_row(one) for one in found]
    text = "As their files in /etc/pve say. What runs there, and what their kernels have, was not verified."
    count = sum(len(one.containers) for one in found)
    body = table("nodes", COLUMNS, rows) if rows else tag("p", "There is no other node.")
    return section("nodes", "Other nodes", tag("p", text), body, count=many(count, "container"))


def _row(one: OtherNode) -> Html:
    declared = [c for c in one.containers if c.declared is not None]
    odd = [c for c in one.containers if any(said.fault for said in c.findings)]
    shown: list[str] = [tag("div", _told(each)) for each in odd[:MOST]]
    if len(odd) > MOST:
        shown.append(tag("div", f"and {many(len(odd) - MOST, 'container')} more"))
    return row(
        one.node,
        f"{len(one.containers):,}",
        f"{len(declared):,}",
        f"{sum(1 for each in declared if each.line_as_declared):,}",
        joined(badge("bad", f"{len(odd):,}"), *shown) if odd else badge("good", "none"),
        name=f"node-{one.node}",
    )


def _told(one: OtherContainer) -> str:
    texts = "; ".join(said.text for said in one.findings if said.fault)
    return f"{one.ctid} {one.name}".rstrip() + f": {texts}"
