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
from pathlib import Path
from typing import Any

from efficacy import claims, report
from efficacy.report import KINDS, LAYERS, PROFILES
from efficacy.rows import BASE, load

TOP = Path(__file__).parents[1]
HERE = Path(__file__).parent
LIMIT = 900.0
"""Seconds for all operations of one combination."""
LOCK = threading.Lock()
SHARE = """\
lxc.mount.entry = /var/lib/phoenix-efficacy/share srv/share none bind,create=dir
lxc.mount.entry = /dev/nvidia3 dev/nvidia3 none bind,create=file
lxc.mount.entry = /dev/nvidia4 dev/nvidia4 none bind,create=file
lxc.mount.entry = /dev/fuse dev/fuse none bind,optional,create=file
lxc.init.cmd = /bin/sleep infinity
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="efficacy", description=__doc__)
    parser.add_argument("--release", action="append", choices=("trixie", "bookworm"))
    parser.add_argument("--kind", action="append", choices=KINDS)
    parser.add_argument("--layer", action="append", choices=LAYERS)
    parser.add_argument("--profile", action="append", choices=PROFILES)
    parser.add_argument("--operation", action="append", help="Only operations whose name contains this.")
    parser.add_argument("--output", type=Path, default=TOP / "docs" / "efficacy.json")
    parser.add_argument("--errors", type=Path, help="What operations said, as JSON lines.")
    parser.add_argument("--report-only", action="store_true")
    given = parser.parse_args()
    document = json.loads(given.output.read_text()) if given.output.exists() else {"version": 1}
    failed = []
    if not given.report_only:
        rows = [r for r in load() if not given.operation or any(o in r.name for o in given.operation)]
        failed = run_all(given.release or ("trixie", "bookworm"), rows, given, document)
    if given.operation is not None:
        return 1 if failed else 0
    report.write(document, [str(c) for c in claims.all_claims(document)], TOP / "docs" / "efficacy.md")
    found = claims.all_claims(document, given.release)
    for claim in found:
        print(claim)
    bad = [claim for claim in found if claim.holds is False]
    print(f"{len(found)} claims: {sum(c.holds is True for c in found)} hold, {len(bad)} do not hold, "
          f"{sum(c.holds is None for c in found)} are not measured")  # fmt: skip
    return 1 if bad or failed else 0


def run_all(releases: Any, rows: list[Any], given: argparse.Namespace, document: dict[str, Any]) -> list[str]:
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


def order_of(given: argparse.Namespace) -> list[tuple[str, str, str]]:
    """Combinations, what says most first: unconfined and base before the others, bare before stock."""
    places = [(k, l) for k in given.kind or KINDS for l in given.layer or LAYERS]  # noqa: E741
    chosen = [p for p in PROFILES if not given.profile or p in given.profile]
    chosen.sort(key=lambda p: (p != "unconfined", p != BASE, p != "generated"))
    return [(kind, layer, profile) for kind, layer in places for profile in chosen]


def run(release: str, rows: list[Any], given: argparse.Namespace, document: dict[str, Any]) -> None:
    """All chosen combinations of one release in one lab, saved after each."""
    from phoenix_hypervisor.errors import PhoenixError
    from phoenix_hypervisor.lab.session import Lab

    say(f"{release}: starting the lab")
    with Lab(release, memory=1536, progress=say) as lab:
        facts = document.setdefault("releases", {}).setdefault(release, {})
        assert lab.image is not None
        facts.update(kernel=lab.image.kernel, **{n: lab.image.packages[n] for n in ("apparmor", "lxc")})
        facts.update(accel=lab.accel, qemu=True)
        facts["compiled"] = install_profiles(lab)
        lab.put("/var/lib/phoenix-efficacy/disk2", disk_with_secret())
        lab.put("/var/lib/phoenix-efficacy/share/vmlinuz", lab.image.vmlinuz.read_bytes())
        for number, (kind, layer, profile) in enumerate(order_of(given), 701):
            key = f"{release}/{kind}/{layer}/{profile}"
            free = document.get("combinations", {}).get(f"{release}/{kind}/{layer}/unconfined")
            # What fails unconfined says nothing about a profile, so it is not tried again.
            chosen = [r for r in rows if not free or profile == "unconfined" or r.name in free["done"]]
            try:
                answer = combination(lab, number, kind, layer, profile, chosen)
            except PhoenixError as error:
                answer = {"failed": error.message}
            if profile in facts["compiled"]:
                answer["policy"] = facts["compiled"][profile]["sha256"]
            with LOCK:
                keep(document, key, answer, given)
            if not lab_answers(lab):
                last = "\n".join(lab.console().splitlines()[-20:])
                raise LabDied(f"the lab died in {key}\n{last}")


def disk_with_secret() -> bytes:
    """A small ext4 image with the host's secret in it; the guest itself has no mke2fs."""
    import subprocess
    import tempfile

    from phoenix_hypervisor.lab.tools import path_of

    with tempfile.TemporaryDirectory() as folder:
        tree, image = Path(folder) / "tree", Path(folder) / "image"
        tree.mkdir()
        (tree / "secret").write_text("phoenix-the-hosts-secret")
        with image.open("wb") as file:
            file.truncate(1 << 20)
        argv = [
            path_of("mke2fs"),
            "-q",
            "-F",
            "-t",
            "ext4",
            "-O",
            "^has_journal",
            "-d",
            str(tree),
            str(image),
        ]
        subprocess.run(argv, check=True, timeout=60)
        return image.read_bytes()


def lab_answers(lab: Any) -> bool:
    from phoenix_hypervisor.errors import PhoenixError

    try:
        return bool(lab.run(["true"], timeout=20).ok)
    except PhoenixError:
        return False


def install_profiles(lab: Any) -> dict[str, Any]:
    """Our profiles into the guest's kernel by the guest's own parser; seconds, bytes and hash of each."""
    import io
    import tarfile

    source = TOP / "etc" / "apparmor"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(source, ".")
    lab.run(["rm", "-rf", "/run/profiles"], check=True)
    lab.put_tar("/run/profiles", buffer.getvalue())
    script = r"""
set -e
cd /run/profiles
cp -r abi abstractions tunables /etc/apparmor.d/
for f in if-parser-accepts/abstractions/phoenix/*; do
  if { echo 'profile x {'; cat "$f"; echo '}'; } | apparmor_parser -QK >/dev/null 2>&1; then
    cp "$f" /etc/apparmor.d/abstractions/phoenix/
  fi
done
for p in lxc-*; do
  start=$(date +%s%N)
  apparmor_parser -QK -o /run/profiles/blob "$p" 2>/run/profiles/err || { cat /run/profiles/err >&2; exit 1; }
  end=$(date +%s%N)
  apparmor_parser -rK "$p"
  echo "$p $(( (end - start) / 1000000 )) $(stat -c %s /run/profiles/blob) $(sha256sum < /run/profiles/blob)"
done
"""
    said = lab.run(script, timeout=180, check=True).stdout
    found = {}
    for line in said.splitlines():
        name, took, size, digest, _ = line.split()
        found[name] = {"milliseconds_emulated": int(took), "bytes": int(size), "sha256": digest}
    return found


def combination(
    lab: Any, number: int, kind: str, layer: str, profile: str, rows: list[Any]
) -> dict[str, Any]:
    """Every operation in one fresh container."""
    from phoenix_hypervisor.lab.containers import make_container

    extra = SHARE
    line = profile
    if profile.startswith("generated"):
        line = "generated"
        extra += "lxc.apparmor.allow_nesting = 1\n" if profile.endswith("nesting") else ""
    if layer == "stock" and kind == "privileged":
        extra += "lxc.cgroup2.devices.allow = c 10:229 rwm\n"
    lab.put("/run/phoenix-efficacy/inside.py", (HERE / "inside.py").read_bytes())
    lab.put("/run/phoenix-efficacy/outside.py", (HERE / "outside.py").read_bytes())
    lab.run("mkdir -p /var/lib/phoenix-efficacy/share", check=True)
    box = make_container(
        lab, number, layer=layer, privileged=kind == "privileged", rootfs="debian",  # type: ignore[arg-type]
        profile=line, nvidia=True, extra=extra,
    )  # fmt: skip
    order = {
        "container": box.name,
        "upper": "",
        "limit": LIMIT,
        "rows": [row.as_order() for row in rows],
    }
    try:
        done = lab.run(
            ["python3", "-I", "-S", "/run/phoenix-efficacy/outside.py"],
            input=json.dumps(order).encode(),
            timeout=LIMIT + 120,
        )
        if not done.ok:
            return {"failed": f"exit {done.rc}: {done.stderr[-1500:]}"}
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer
    finally:
        box.remove()


def keep(document: dict[str, Any], key: str, answer: dict[str, Any], given: argparse.Namespace) -> None:
    """Save what one combination gave; without --operation it replaces what is on file."""
    results = answer.pop("results", [])
    if given.errors:
        with given.errors.open("a") as file:
            for one in results:
                file.write(json.dumps({"at": key, **one}) + "\n")
            if "failed" in answer:
                file.write(json.dumps({"at": key, **answer}) + "\n")
    done = [one["name"] for one in results if one["done"]]
    answer["tried"] = len(results)
    if key.endswith("/unconfined"):
        answer["names"] = [one["name"] for one in results]
    answer["done"] = done
    answer["broken"] = [one["name"] for one in results if one.get("broken")]
    say(
        f"{key}: {len(done)}/{len(results)} done in {answer.get('seconds', 0)} s {answer.get('failed', '')[-300:]}"
    )
    if given.operation is None:
        document.setdefault("combinations", {})[key] = answer
        document["operations"] = [
            {"name": r.name, "class": r.klass, "dangerous": r.dangerous, "promises": list(r.promises),
             **{n: getattr(r, n) for n in ("watch", "no_hook", "no_hook_kernel") if getattr(r, n)}}
            for r in load()
        ]  # fmt: skip
        document["taken"] = time.strftime("%Y-%m-%d", time.gmtime())
        part = given.output.with_suffix(".part")
        part.write_text(json.dumps(document, indent=1) + "\n")
        part.replace(given.output)


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
