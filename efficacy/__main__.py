"""`python -m efficacy`: run the suite in the lab, write docs/efficacy.json and docs/efficacy.md.

Owns the choice of combinations and the order of work: a lab for each release, side by side.  What is run
again replaces what is on file; the rest of the file stays.  Ends with 1 where a claim does not hold.
Must not know operations.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from efficacy import claims, operations, report
from efficacy.labside import combination, install_profiles, install_targets, lab_answers, say
from efficacy.places import KINDS, LAYERS, PROFILES, TOP, places
from efficacy.rows import Row
from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.lab.booted import Lab

RELEASES = ("trixie", "bookworm")
LOCK = threading.Lock()


def main() -> int:
    given = _arguments()
    document = json.loads(given.output.read_text()) if given.output.exists() else {"version": 1}
    failed = []
    if not given.report_only:
        failed = run_all(given.release or RELEASES, _chosen(given), given, document)
    if not (given.merge or given.report_only or _whole(given)):
        return 1 if failed else 0
    everything = claims.all_claims(document)
    told = [str(claim) for claim in everything if claim.holds is not None]
    if len(told) < len(everything):
        told.append(f"{len(everything) - len(told)} more are not measured; `make efficacy` names them")
    report.write(document, told, given.output.with_suffix(".md"))
    found = claims.all_claims(document, given.release)
    for claim in found:
        print(claim)
    bad = [claim for claim in found if claim.holds is False]
    print(f"{len(found)} claims: {sum(c.holds is True for c in found)} hold, {len(bad)} do not hold, "
          f"{sum(c.holds is None for c in found)} are not measured")  # fmt: skip
    return 1 if bad or failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="efficacy", description=__doc__)
    parser.add_argument("--release", action="append", choices=RELEASES)
    parser.add_argument("--kind", action="append", choices=KINDS)
    parser.add_argument("--layer", action="append", choices=LAYERS)
    parser.add_argument("--profile", action="append", choices=PROFILES)
    parser.add_argument("--operation", action="append", help="Only operations whose name contains this.")
    parser.add_argument("--class", dest="klass", action="append", help="Only operations of this class.")
    parser.add_argument(
        "--merge", action="store_true", help="Put a part beside what is on file of the same policy."
    )
    parser.add_argument("--output", type=Path, default=TOP / "docs" / "efficacy.json")
    parser.add_argument("--errors", type=Path, help="What operations said, as JSON lines.")
    parser.add_argument(
        "--seccomp", type=Path, help="Rules for the layer stock+seccomp; Phoenix's companion otherwise."
    )
    parser.add_argument("--report-only", action="store_true")
    parser.add_argument("--sweep-only", action="store_true", help="No operations; the report stays as it is.")
    parser.add_argument("--no-sweep", action="store_true")
    return parser.parse_args()


def _whole(given: argparse.Namespace) -> bool:
    return given.operation is None and given.klass is None and not given.sweep_only


def _chosen(given: argparse.Namespace) -> list[Row]:
    if given.sweep_only:
        return []
    return [
        row
        for row in operations.load()
        if (not given.operation or any(words in row.name for words in given.operation))
        and (not given.klass or row.klass in given.klass)
    ]


def run_all(
    releases: Sequence[str], rows: list[Row], given: argparse.Namespace, document: dict[str, Any]
) -> list[str]:
    """Every release in a thread of its own; the releases whose lab failed."""
    failed: list[str] = []

    def one(release: str) -> None:
        try:
            run(release, rows, given, document)
        except BaseException as error:
            failed.append(release)
            say(f"{release}: {error}")
            if not isinstance(error, LabDied):
                traceback.print_exc()

    threads = [threading.Thread(target=one, args=(release,)) for release in releases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failed


class LabDied(Exception):
    """The guest's kernel no longer answers."""


def run(release: str, rows: list[Row], given: argparse.Namespace, document: dict[str, Any]) -> None:
    """All chosen combinations of one release in one lab, saved after each."""
    say(f"{release}: starting the lab")
    with Lab(release, memory=1536, progress=say) as lab:
        facts = document.setdefault("releases", {}).setdefault(release, {})
        assert lab.image is not None
        facts.update(kernel=lab.image.kernel, **{n: lab.image.packages[n] for n in ("apparmor", "lxc")})
        facts.update(accel=lab.accel, qemu=True)
        facts["compiled"] = install_profiles(lab)
        install_targets(lab, lab.image.vmlinuz.read_bytes(), given.seccomp)
        chosen = places(
            tuple(given.kind or KINDS), tuple(given.layer or LAYERS), tuple(given.profile or PROFILES)
        )
        for number, place in enumerate(chosen, 701):
            reference = f"{release}/{place.kind}/{place.reference}/unconfined"
            free = document.get("combinations", {}).get(reference)
            # What fails unconfined says nothing about a profile, so it is not tried again.
            tried = [r for r in rows if not free or place.profile == "unconfined" or r.name in free["done"]]
            try:
                answer = combination(lab, number, place, tried, sweep=place.swept and not given.no_sweep)
            except PhoenixError as error:
                answer = {"failed": error.message}
            if place.assigned in facts["compiled"]:
                answer.update(assigned=place.assigned, policy=facts["compiled"][place.assigned]["sha256"])
            with LOCK:
                keep(document, place.key(release), answer, given)
            if not lab_answers(lab):
                last = "\n".join(lab.console().splitlines()[-20:])
                raise LabDied(f"the lab died in {place.key(release)}\n{last}")


def keep(document: dict[str, Any], key: str, answer: dict[str, Any], given: argparse.Namespace) -> None:
    """Save what one combination gave; without --operation it replaces what is on file."""
    results = answer.pop("results", [])
    swept = answer.get("sweep") or {}
    if given.errors:
        with given.errors.open("a") as file:
            for one in results:
                file.write(json.dumps({"at": key, **one}) + "\n")
            if "failed" in answer:
                file.write(json.dumps({"at": key, **answer}) + "\n")
            if swept:
                file.write(json.dumps({"at": key, "sweep": swept}) + "\n")
    done = [one["name"] for one in results if one["done"]]
    answer["tried"] = len(results)
    if key.endswith("/unconfined"):
        answer["names"] = [one["name"] for one in results]
    answer["done"] = done
    answer["broken"] = [one["name"] for one in results if one.get("broken")]
    say(
        f"{key}: {len(done)}/{len(results)} done in {answer.get('seconds', 0)} s, sweep "
        f"{swept.get('opened', swept.get('failed', 'none'))} in {answer.get('sweep_seconds', 0)} s "
        f"{answer.get('failed', '')[-300:]}"
    )
    if _whole(given) or given.merge:
        old = document.get("combinations", {}).get(key)
        if given.merge and old and "failed" not in answer:
            answer = _merged(old, answer, [one["name"] for one in results])
        document.setdefault("combinations", {})[key] = answer
        document["operations"] = [_on_file(row) for row in operations.load()]
        document["taken"] = time.strftime("%Y-%m-%d", time.gmtime())
        part = given.output.with_suffix(".part")
        part.write_text(json.dumps(document, indent=1) + "\n")
        part.replace(given.output)


def _merged(old: dict[str, Any], new: dict[str, Any], ran: list[str]) -> dict[str, Any]:
    """What is on file with a part that was run again; a part under another policy replaces the whole."""
    if old.get("policy") != new.get("policy"):
        return new
    found = {**old, **new}
    for name in ("done", "broken"):
        found[name] = [one for one in old.get(name, []) if one not in ran] + new[name]
    if "names" in old:
        found["names"] = [one for one in old["names"] if one not in ran] + ran
    found["tried"] = old["tried"] + len(ran)
    found["seconds"] = round(old.get("seconds", 0) + new.get("seconds", 0), 1)
    return found


def _on_file(row: Row) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": row.name,
        "class": row.klass,
        "dangerous": row.dangerous,
        "promises": list(row.promises),
    }
    for name in ("watch", "no_hook", "no_hook_kernel", "accepted"):
        if getattr(row, name):
            found[name] = getattr(row, name)
    return found


if __name__ == "__main__":
    sys.exit(main())
