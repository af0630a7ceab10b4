"""The form of SARIF, judged by the standard's own schema."""

from __future__ import annotations

from typing import Any

from phoenix_hypervisor.report.sarif import Result, Rule, Run, document
from support.sarif import sarif_faults

RULES = {"one": Rule(meaning="what it means.", level="error"), "two": Rule(meaning="other", level="note")}


def _run(*results: Result, failed: str = "") -> dict[str, Any]:
    run = Run(tool="t", version="1", rules=RULES, results=results, looked_at=["/a b"], failed=failed)
    return document([run])


def test_a_log_is_what_the_standard_says() -> None:
    plain = Result(
        rule="one", level="error", message="m", path="/etc/pve/lxc/101.conf", target="container 101"
    )
    waived = Result(
        rule="two", level="note", message="m", path="a/b", line=3, snippet="x,\n", waived="because"
    )
    log = _run(plain, waived, failed="the parser is missing")
    assert sarif_faults(log) == []
    assert sarif_faults(document([])) == []


def test_the_schema_refuses_what_is_none() -> None:
    log = _run(Result(rule="one", level="fatal", message="m", path="/a"))
    assert [fault.partition(":")[0] for fault in sarif_faults(log)] == ["$.runs[0].results[0].level"]


def test_a_hostile_name_stays_in_its_string() -> None:
    name = 'ct"</script>\x1b[31m\u202e\x00'
    log = _run(Result(rule="one", level="error", message=name, path=f"/etc/{name}", target=name))
    assert sarif_faults(log) == []
    (run,) = log["runs"]
    uri = run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert uri == "file:///etc/ct%22%3C/script%3E%1B%5B31m%E2%80%AE%00"
