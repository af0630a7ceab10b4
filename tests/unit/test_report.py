"""The report room: escaping, what changed, and a document whose form is written down."""

from __future__ import annotations

import ast
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from phoenix_hypervisor.report import report_changes, report_facts
from phoenix_hypervisor.report.markup import Html, cut, escaped, joined, tag
from phoenix_hypervisor.report.page import page
from phoenix_hypervisor.report.parts import prose
from phoenix_hypervisor.report.report_changes import Kept, differences, read, written
from phoenix_hypervisor.report.report_facts import Change, Changes, Compared, Container, Devices, Report, Said
from phoenix_hypervisor.values import replace
from support.reported import EVIL, HOSTILE

TOP = Path(__file__).parents[2]
SCHEMA = json.loads((TOP / "src/phoenix_hypervisor/data/phoenix_report.schema.json").read_text())


def container(ctid: str = "101", **more: Any) -> Container:
    plain: dict[str, Any] = {
        "ctid": ctid, "name": "one", "unprivileged": True, "template": False, "exists": True, "running": True,
        "confined": True, "declared": "lxc-a", "assigned": "lxc-a", "label": "lxc-a (enforce)",
        "as_declared": True, "seccomp": "default", "seccomp_file": None, "gpus": (), "findings": (), "notes": (),
        "devices": Devices(state="closed", rules=12, own=()),
    }  # fmt: skip
    return Container(**{**plain, **more})


def report(*containers: Container, **more: Any) -> Report:
    plain: dict[str, Any] = {
        "phoenix": "1", "time": "2026-11-26T10:00:00Z", "host": "pve1", "kernel": "6.17", "configuration": "/c",
        "without_line": "generated", "as_declared": True, "confined": len(containers), "findings": (),
        "profiles": (), "gpus": (), "shared_nodes": (), "accepted": (), "history": (), "unmediated": (),
        "not_read": (), "compared": Compared(last=None, changed=False, found=(), not_kept=None),
    }  # fmt: skip
    return Report(containers=containers, **{**plain, **more})


# Markup -----------------------------------------------------------------------------


def test_text_never_becomes_markup() -> None:
    assert tag("td", "<b>&", title='"') == '<td title="&quot;">&lt;b&gt;&amp;</td>'
    assert tag("p", tag("b", "x"), "<") == "<p><b>x</b>&lt;</p>"
    assert joined("<", Html("<br>")) == "&lt;<br>"
    assert tag("br", class_="") == "<br>"


def test_what_is_unseen_is_spelt() -> None:
    assert escaped("a\x1b[2J\u202e\n\x00\u200b\U000e0001\udcff") == (
        "a\\x1b[2J\\u202e\\x0a\\x00\\u200b\\U000e0001\\xff"
    )
    assert escaped("ä 漢字") == "ä 漢字"


def test_long_names_are_cut() -> None:
    assert cut("x" * 160) == "x" * 160
    assert cut("x" * 2000) == "x" * 160 + "… (2,000 characters)"


def test_backticks_mean_what_they_mean_on_a_terminal() -> None:
    assert prose("run `a <b>` now") == "run <code>a &lt;b&gt;</code> now"
    assert prose("one ` alone") == "one ` alone"


def test_no_text_makes_a_page_large() -> None:
    """The document of --json has all of it."""
    assert len(page(_hostile("x" * 1_000_000))) < 150_000


# The page ---------------------------------------------------------------------------


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def read_page(text: str) -> _Reader:
    reader = _Reader()
    reader.feed(text)
    return reader


KNOWN_TAGS = frozenset(
    [
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "header",
        "main",
        "footer",
        "section",
        "nav",
        "h1",
        "h2",
        "h3",
        "h4",
        "p",
        "ul",
        "li",
        "dl",
        "dt",
        "dd",
        "div",
        "span",
        "strong",
        "small",
        "i",
        "a",
        "code",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
    ]
)


def _hostile(name: str) -> Report:
    said = Said(code=name, text=name, next=name, fault=True)
    devices = Devices(state="broken", rules=0, own=(name,))
    one = container(
        name=name, declared=name, assigned=name, label=name, seccomp="own", seccomp_file=name, devices=devices,
        gpus=(report_facts.GpuCell(gpu=0, access="opens", by=(name,)),), findings=(said,), notes=(name,),
    )  # fmt: skip
    place = report_facts.Place(path=name, known=2, writable=1, names=(name,))
    profile = report_facts.Profile(
        name=name, ours=False, installed=name, loaded=name, used_by=("101",), findings=(said,), mode=name,
        places=(place, replace(place, names=())),
    )  # fmt: skip
    change = Change(of=name, what=name, how=name, details=(name,))
    found = (Changes(since=name, until=name, changes=(change,)),)
    return report(
        one, phoenix=name, host=name, kernel=name, configuration=name, without_line=name, findings=(said,),
        profiles=(profile,), time=name,
        gpus=(report_facts.Gpu(gpu=0, called=name, node=name),),
        shared_nodes=(report_facts.SharedNode(path=name, means=name, tenants=False, users=("101",)),),
        accepted=(report_facts.AcceptedRule(profile=name, id=name, rule=name, evidence=(name,)),),
        history=(report_facts.Transaction(id=1, time=name, user=name, command=name, state=name, what=name),),
        unmediated=(report_facts.Gap(code=name, what=name, by=name, means=name),),
        not_read=(name,), compared=Compared(last=name, changed=True, found=found, not_kept=name),
    )  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_becomes_markup_anywhere(name: str) -> None:
    text = HOSTILE[name].decode("utf-8", "surrogateescape")
    made = page(_hostile(text))
    found = read_page(made)
    assert {tag for tag, _ in found.tags} <= KNOWN_TAGS
    assert not [key for _, attributes in found.tags for key in attributes if key.startswith("on")]
    made.encode()
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\u2066\ud800-\udfff]", made)
    sound = read_page(page(_hostile("name")))
    assert [tag for tag, _ in found.tags] == [tag for tag, _ in sound.tags]


def test_every_field_of_a_hostile_host_is_shown() -> None:
    """Else the test above would show nothing: the name is there, some 30 times, as text."""
    texts = "".join(read_page(page(_hostile(EVIL))).texts)
    assert texts.count(EVIL) > 30


def test_the_page_needs_nothing_from_elsewhere() -> None:
    found = read_page(page(report(container())))
    names = [tag for tag, _ in found.tags]
    assert not {"script", "link", "img", "iframe", "object", "form"} & set(names)
    links = [attributes.get("href") or "" for tag, attributes in found.tags if tag == "a"]
    assert links and all(link.startswith("#") for link in links)
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert {link[1:] for link in links} <= set(ids) and len(ids) == len(set(ids))
    (policy,) = [a["content"] for tag, a in found.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None and policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "url(" not in page(report()) and "@import" not in page(report())


def test_what_several_containers_have_in_common_is_said_once() -> None:
    said = Said(
        code="old-label", text="it runs under another", next="`phoenix apply 101 --restart`", fault=True
    )
    other = replace(said, next="`phoenix apply 102 --restart`")
    made = page(report(container(findings=(said,)), container("102", findings=(other,)), as_declared=False))
    assert made.count("it runs under another") == 1
    assert "Containers 101, 102" in made and "phoenix apply 101,102 --restart" in made


def test_a_container_leads_to_what_its_profile_lets_be_written() -> None:
    place = report_facts.Place(path="/proc", known=2, writable=1, names=("kmsg",))
    used = report_facts.Profile(
        name="lxc-a", ours=True, installed="same", loaded="enforce", used_by=("101",), findings=(),
        mode="enforce", places=(place,),
    )  # fmt: skip
    found = read_page(page(report(container(), container("102", assigned="lxc-other"), profiles=(used,))))
    assert [a["href"] for tag, a in found.tags if tag == "a" and a["href"] == "#p0"] == ["#p0"]
    assert [tag for tag, a in found.tags if a.get("id") == "p0"] == ["code"]


def test_an_empty_host_has_a_page() -> None:
    texts = "".join(read_page(page(report(unmediated=None))).texts)
    assert "0 of 0 containers confined" in texts and "There is no container." in texts
    assert "This is the first report." in texts and "No kernel says" in texts


# What changed -----------------------------------------------------------------------


def _facts(*containers: Container, **more: Any) -> report_changes.Facts:
    return report_changes.facts_of(report(*containers, **more))


def test_nothing_differs_of_the_same() -> None:
    assert differences(_facts(container()), _facts(container(), time="2027-01-01T00:00:00Z")) == ()


def test_what_is_new_gone_and_changed() -> None:
    before = _facts(container(), container("102"))
    moved = container(assigned="unconfined", confined=False, findings=(_said("old-label"),))
    found = differences(before, _facts(moved, container("103")))
    assert [(one.of, one.what, one.how) for one in found] == [
        ("containers", "101", "changed"),
        ("containers", "103", "new"),
        ("containers", "102", "gone"),
    ]
    assert found[0].details == (
        "assigned: lxc-a → unconfined",
        "confined: yes → no",
        "findings, more: old-label",
    )


def _said(code: str) -> Said:
    return Said(code=code, text="", next=None, fault=True)


def test_what_a_profile_may_write_now_is_told_by_name() -> None:
    def writes(*names: str) -> report_changes.Facts:
        place = report_facts.Place(path="/proc/sys/kernel", known=9, writable=len(names), names=names)
        one = report_facts.Profile(
            name="lxc-a", ours=True, installed="same", loaded="enforce", used_by=(), findings=(),
            mode="enforce", places=(place,),
        )  # fmt: skip
        return _facts(profiles=(one,))

    (found,) = differences(writes("a", "b"), writes("b", "core_pattern"))
    assert found.details == (
        "writes in /proc/sys/kernel, more: core_pattern",
        "writes in /proc/sys/kernel, no longer: a",
    )
    (many,) = differences(writes(), writes(*(f"n{number}" for number in range(10))))
    assert many.details[0].endswith("n7 and 2 more")


def test_a_profile_that_comes_into_use_has_not_changed() -> None:
    unused = report_facts.Profile(
        name="lxc-a",
        ours=True,
        installed="same",
        loaded="enforce",
        used_by=(),
        findings=(),
        mode=None,
        places=(),
    )
    place = report_facts.Place(path="/proc", known=2, writable=1, names=("a",))
    used = replace(unused, mode="enforce", places=(place,))
    assert differences(_facts(profiles=(unused,)), _facts(profiles=(used,))) == ()
    assert differences(_facts(profiles=(used,)), _facts(profiles=(replace(used, places=()),))) != ()


def test_what_is_kept_comes_back() -> None:
    found = (Changes(since="a", until="b", changes=(Change(of="x", what="y", how="new", details=("z",)),)),)
    kept = Kept(
        time="t", facts=_facts(container(name=EVIL), container("102", name="\udcff")), found=found * 12
    )
    again = read(written(kept))
    assert (again.time, again.facts) == (kept.time, kept.facts)
    assert again.found == found * report_changes.KEPT


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b"null", b'{"version": 2}', b'{"version": 1, "time": "", "facts": [], "found": []}',
     b'{"version": 1, "time": "", "facts": {"a": 1}, "found": []}',
     b'{"version": 1, "time": "", "facts": {}, "found": [{"since": "", "until": "", "changes": [[1]]}]}',
     b"\xff", b"[" * 100_000],
    ids=["empty", "list", "nothing", "null", "version", "facts", "names", "changes", "bytes", "deep"],
)  # fmt: skip
def test_what_was_not_written_by_phoenix_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        read(data)


# The form of the document -------------------------------------------------------------


def test_the_schema_has_each_field_with_what_it_means() -> None:
    tree = ast.parse((TOP / "src/phoenix_hypervisor/report/report_facts.py").read_text())
    classes = {n.name: n for n in tree.body if isinstance(n, ast.ClassDef) and n.name != "Words"}
    described = {**SCHEMA["definitions"], "Report": SCHEMA}
    assert set(classes) == set(described)
    for name, node in classes.items():
        entry = dict(described[name]["properties"])
        entry.pop("version" if name == "Report" else "", None)
        meanings: dict[str, str] = {}
        for one, following in zip(node.body, [*node.body[1:], None], strict=True):
            if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name):
                own = following.value if isinstance(following, ast.Expr) else None
                text = own.value if isinstance(own, ast.Constant) else ""
                meanings[one.target.id] = " ".join(str(text).replace("`", "").split())
        assert {key: value.get("description", "") for key, value in entry.items()} == meanings, name
        assert described[name]["additionalProperties"] is False
        assert set(described[name]["required"]) == set(described[name]["properties"])
