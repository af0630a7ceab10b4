"""Every line of the corpus is read, as of the container that did it and of the kind that it did.

`tests/lab/test_denials.py` makes the lines: real operations in real containers, logged by the real programs.
"""

from __future__ import annotations

from collections import Counter

import pytest

from phoenix_hypervisor.audit.event import Event
from phoenix_hypervisor.audit.groups import Groups
from phoenix_hypervisor.audit.kinds import kind_of
from phoenix_hypervisor.audit.logs import EVERYTHING, Once, Reader
from phoenix_hypervisor.audit.meaning import means
from phoenix_hypervisor.audit.subject import subject
from phoenix_hypervisor.audit.transports import understand
from support.audit_corpus import Known, read

NODE = b"phoenix-lab-"


@pytest.fixture(scope="module")
def corpus() -> list[Known]:
    return read()


def events(corpus: list[Known]) -> list[tuple[Known, Event]]:
    found = []
    for known in corpus:
        event = understand(known.line, NODE + known.release.encode())
        assert event is not None, known.line
        found.append((known, event))
    return found


def test_it_is_large_and_has_all_forms(corpus: list[Known]) -> None:
    assert len(corpus) > 300
    forms = Counter((known.release, known.form) for known in corpus)
    releases = {release for release, _ in forms}
    assert releases == {"bookworm", "trixie"}
    assert len(forms) == 19 * len(releases), "each form on each release"
    assert {known.container for known in corpus} == {str(ctid) for ctid in range(201, 208)}


def test_every_line_is_read_with_its_container_and_kind(corpus: list[Known]) -> None:
    wrong = []
    for known, event in events(corpus):
        container = subject(event.line).container
        if container != (known.container if known.named else None):
            wrong.append((known.form, "container", container, known.line))
        if kind_of(event.line) != known.kind:
            wrong.append((known.form, "kind", kind_of(event.line), known.line))
        if event.doubt is not None:
            wrong.append((known.form, "doubt", event.doubt, known.line))
    assert wrong == []


def test_every_line_means_something(corpus: list[Known]) -> None:
    groups = Groups()
    for _, event in events(corpus):
        groups.add(event)
    for group in groups.found():
        text = means(group.event.line, group.kind, group.object, group.requested)
        assert text.isprintable() and len(text) > 5 and not text.startswith(("unknown", "something")), group


def test_the_same_events_by_all_ways_are_counted_once(corpus: list[Known]) -> None:
    """Each event with an id, however many logs hold it."""
    for release in ("bookworm", "trixie"):
        lines = b"\n".join(known.line for known in corpus if known.release == release)
        once = Once()
        found = list(once.of(Reader(EVERYTHING, NODE + release.encode()).read([lines])))
        ids = {
            (event.id, event.line.verdict, tuple(event.line.fields.items())) for event in found if event.id
        }
        assert len(ids) == sum(1 for event in found if event.id), "none comes twice"
        assert once.repeated > 100
