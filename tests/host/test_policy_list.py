"""`policy list` on what the real apparmor_parser makes, and for which kernel policy is asked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from phoenix_hypervisor.policy import learning, many_names
from phoenix_hypervisor.policy.evaluate import Evaluator
from phoenix_hypervisor.policy.profile import Profile
from phoenix_hypervisor.policy.reader import read_policy
from phoenix_hypervisor.policy.summary import Line
from phoenix_hypervisor.policy.untold import STEPS, Untold
from support.hosts import DirectoryHost, run
from support.told import covers, random_paths, untrue

FEATURES = "/usr/share/apparmor-features/features"
pytestmark = [
    pytest.mark.host,
    pytest.mark.skipif(
        not any(os.access(f"{d}/apparmor_parser", os.X_OK) for d in ("/sbin", "/usr/sbin"))
        or not Path(FEATURES).exists(),
        reason="apparmor_parser is not installed",
    ),
]


def prepare(host: DirectoryHost, text: bytes = b"profile lxc-t {\n  file,\n}\n") -> None:
    host.declare({})
    (host.sources / "lxc-t").write_bytes(text)


def test_answers_say_for_which_kernel(host: DirectoryHost) -> None:
    prepare(host)
    blob = str(host.folder / "blob")
    assert host.phoenix("policy", "compile", "lxc-t", "-o", blob).code == 0
    for name, said in (("proxmox-9", "proxmox-9-6.17"), ("debian-12", "debian-12"), (FEATURES, FEATURES)):
        for words in (("query", "lxc-t", "userns"), ("list", "lxc-t"), ("diff", "lxc-t", blob)):
            options = ("--features", name, "policy", *words)
            assert host.phoenix("--json", *options).document["kernel"] == said
            assert f"for the kernel: {said}\n" in host.phoenix(*options).out


def test_a_mistyped_kernel_is_answered_with_the_near_ones(host: DirectoryHost) -> None:
    prepare(host)
    result = host.phoenix("--features", "proxmox-19", "policy", "query", "lxc-t", "userns")
    assert result.code == 2
    assert "--features is neither a file nor a packed list" in result.err
    assert "did you mean proxmox-9" in result.err
    assert "debian-12, debian-13" in result.err


@pytest.mark.parametrize(
    "name",
    [
        "lxc-base",
        "lxc-base-unprivileged",
        "lxc-gpu-docker-storage",
        "lxc-nvidia-gpu-docker-unprivileged",
    ],
)
def test_of_a_shipped_profile_nine_of_ten_random_allowed_paths_are_told(name: str, tmp_path: Path) -> None:
    """In at most 200 lines; real names come before patterns."""
    blob = str(tmp_path / "blob")
    features = ("--features", "debian-13")
    assert run([*features, "policy", "compile", name, "-o", blob]).code == 0
    asked = [*features, "policy", "list", "--policy", blob, name]
    document = run(["--json", *asked]).document
    kinds = {one["kind"] for one in document["abilities"]}
    assert kinds >= {"network", "signal", "ptrace", "umount", "exec"}
    lines = [
        Line(one["pattern"], one["access"], tuple(one["except"]), one["named"]) for one in document["lines"]
    ]
    assert [line.named for line in lines] == sorted((line.named for line in lines), reverse=True)
    assert len(lines) + len(document["abilities"]) <= 200
    profile = read_policy(Path(blob).read_bytes()).get(name)
    judge = Evaluator(profile)
    for letter in "waxrmk":
        paths = random_paths(profile, letter, 200, 7)
        assert all(judge.file(path, letter).allowed for path in paths)
        fit = [line for line in lines if letter in line.access]
        assert sum(any(covers(line, path) for line in fit) for path in paths) >= 0.9 * len(paths)


@pytest.mark.parametrize("flags", ["", "complain", "unconfined"])
def test_names_that_can_be_written_are_those_that_single_questions_allow(flags: str, tmp_path: Path) -> None:
    """A name that stands for several is one of them as soon as one of its files can be written."""
    source = tmp_path / "t"
    rules = "/proc/** rw,\ndeny /proc/sys/kernel/** w,\nallow /proc/sys/kernel/pid_max w,\ndeny /proc/[2-9]*/mem w,\n"
    source.write_text(
        f"profile t {f'flags=({flags}) ' * bool(flags)}{{\n{rules}/sys/fs/cgroup/a/** rw,\n}}\n"
    )
    blob = tmp_path / "blob"
    assert run(["--features", "debian-13", "policy", "compile", str(source), "-o", str(blob)]).code == 0
    profile = read_policy(blob.read_bytes()).get("t")
    judge = Evaluator(profile)
    kernel = Path(many_names.__file__).parents[1] / "data/names/kernel"
    names = [name for name in kernel.read_text().split() if name.startswith(("/proc/", "/sys/"))]
    found = many_names.Names(names).allowed(profile)
    for name in names:
        instances = [name.replace("[0-9]*", digit).replace("*", word) for digit in "12" for word in "ab"]
        assert (name in found) is any(judge.file(one.encode(), "w").allowed for one in instances), name
    if not flags:
        assert {"/proc/[0-9]*/mem", "/sys/fs/cgroup/*/cgroup.procs"} <= found
        assert "/proc/sys/kernel/core_pattern" not in found and len(found) > 100


def test_digits_of_either_case_are_one_range(host: DirectoryHost) -> None:
    prepare(host, b"profile lxc-t {\n  /c/" + b"[0-9a-fA-F]" * 8 + b".x w,\n  /c/CACHE.x w,\n}\n")
    lines = host.phoenix("--json", "policy", "list", "lxc-t").document["lines"]
    assert any("[0-9A-Fa-f]" * 8 in line["pattern"] for line in lines)


HEX = "[0-9a-fA-F]"
KINDS = {
    "a run of many lengths": ("/a/[0-9]" + "{[0-9],}" * 9 + "/x w,", 1),
    "two such runs": ("/a/[1-9]{[0-9],}{[0-9],}{[0-9],}/t/[1-9]{[0-9],}{[0-9],}{[0-9],}/x w,", 1),
    "a run of either case": (
        f"/a/{HEX * 8}[-_]{HEX * 4}[-_]{HEX * 4}[-_]{HEX * 12} w,\n/b/x-y w,\n/b/x_z w,",
        2,
    ),
    "letters, digits and _": ("/a/u[0-9A-Za-z_]" + "{[0-9A-Za-z_],}" * 8 + " w,", 1),
    "a user's name": ("/a/[a-zA-Z_]" + "{[-0-9a-z_],}" * 9 + "-x w,\n/b/x-y w,\n/b/x_z w,", 3),
    "an end below any directories": ("/a/**.so* w,\n/b/**/ w,\n/c/**/d/e w,", 3),
    "a star within a name": ("/a/lib*so* w,\n/b/X.[0-9]*.log w,", 2),
    "stars within a name": ("/*o*[^a]/b w,\n/c/l*s*x*/f w,", 4),
    "the same below some directories": (
        "/{a,home/*/b,root/c,var/lib/{d,e}}/f/{g,h/i,j[0-9]{[0-9],}{,.old}} w,",
        2,
    ),
    "a directory but for some names": (
        "/{home/*,m}/** w,\ndeny /home/*/**/{p,P}rivate/{,**} w,\ndeny /{home/*,m}/*.bak w,",
        3,
    ),
    "the same refused below several": (
        "/{a,b}/{d,f,g}/** w,\ndeny /**/{,.}secret/{,**} w,",
        1,
    ),
    "directories with much in common": (
        "/{a,b}/{c,d/e,f-g,h,i/j/k,l,m,n,o}/{p,q,r,s} w,\n/b/t w,\n/a/u w,",
        5,
    ),
    "names that are put together": (
        f"/a/{HEX * 6}-{{le32,le64,le32d4}}.c-[0-9]{{,.LCK,.NEW,.TMP-{HEX}}} w,",
        2,
    ),
}


def listed(rules: str, tmp_path: Path) -> tuple[Profile, list[Line]]:
    """What `policy list` tells of a profile of some rules: true, each line of it."""
    source, blob = tmp_path / "t", tmp_path / "blob"
    source.write_text(f"profile t {{\n{rules}\n}}\n")
    assert run(["policy", "compile", str(source), "-o", str(blob)]).code == 0
    document = run(["--json", "policy", "list", "--policy", str(blob), "t"]).document
    lines = [Line(one["pattern"], one["access"], tuple(one["except"])) for one in document["lines"]]
    profile = read_policy(blob.read_bytes()).get("t")
    assert [line for line in lines if untrue(profile, line)] == []
    return profile, lines


def test_a_directory_below_any_directories_is_told_once(tmp_path: Path) -> None:
    _, lines = listed("/a/*.b/**/{bin,lib}/** w,", tmp_path)
    assert {line.pattern for line in lines} == {"/a/*.b/**/{bin,lib}/**"}


def test_any_directories_at_two_places_are_told_once(tmp_path: Path) -> None:
    _, lines = listed("/a/**/b/**/c w,\n/*x/d/**/e/**/f w,", tmp_path)
    assert {line.pattern for line in lines} == {"/a/**/b/**/c", "/*x/d/**/e/**/f"}


HARD = {
    "refused names with stars": "/** w, deny /**a*b*c*d/*e*f w, deny /**c*b*a/*f*e*d w, deny /*/{aa,bb}*d?[0-9]/x w,",
    "refused files of such directories": (
        "/** w, deny /{r,home/*}/[0-9]*.[0-9]*/*{dlv,gem,go,just}* w, deny /*/*a*b*c*d* w, deny /*/*b*a*c/*b*d w,"
    ),
    "refused without end": (
        "/** rw, deny /{r,home/*}/**{dlv,gem,go,just}*/{a,b,cc}*x/** w, deny /**[0-9]*.[0-9]*/*x*y* r,"
        " deny /**k*l*m/*n*o r,"
    ),
    "executed without end": (
        "/** px -> b, deny /{r,home/*}/[0-9]*.[0-9]*/*{dlv,gem,go,just}* x, deny /*/*a*b*c*d* x, deny /*/*b*a*c/*b*d x,"
    ),
}


@pytest.mark.parametrize("kind", HARD)
def test_searches_without_end_are_given_up(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few rules can leave more than anybody lists: one of these once took minutes."""
    searches: list[Untold] = []

    class Watched(Untold):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            searches.append(self)

    monkeypatch.setattr(learning, "Untold", Watched)
    source = tmp_path / "t"
    source.write_text(f"profile t {{\n{HARD[kind]}\n}}\n")
    document = run(["--json", "policy", "list", "--policy", str(source), "t"]).document
    assert document["lines"] and searches
    # Counted, not timed: what is looked at in one go is what may be too much.
    assert all(search.steps > -STEPS // 2 for search in searches)


def test_exceptions_are_told_where_they_hold_and_nowhere_else(tmp_path: Path) -> None:
    """What is refused below one directory is not said of another where it is allowed."""
    rules = "/{home/*,m}/** w,\ndeny /home/*/**/{p,P}rivate/{,**} w,\ndeny /{home/*,m}/*.bak w,"
    profile, lines = listed(rules, tmp_path)
    judge = Evaluator(profile)
    told = {line.pattern: line.but for line in lines}
    assert set(told) == {"/home/*/**", "/m/**"}
    assert told["/m/**"] == ("/m/*.bak",)
    assert "/home/*/*.bak" in told["/home/*/**"] and len(told["/home/*/**"]) == 2
    for path in (b"/m/private/x", b"/m/d/x.bak", b"/home/private/x", b"/home/u/d/x.bak"):
        assert judge.file(path, "w").allowed and any(covers(line, path) for line in lines), path
    for path in (b"/m/x.bak", b"/home/u/x.bak", b"/home/u/d/Private/x"):
        assert not judge.file(path, "w").allowed and not any(covers(line, path) for line in lines), path


def test_the_same_exceptions_are_printed_once(tmp_path: Path) -> None:
    source, blob = tmp_path / "t", tmp_path / "blob"
    rules = "/{aa,home/*}/** w,\n/gg/b/*/** w,\ndeny /{aa,home/*}/**/key w,\ndeny /gg/b/{,**/}key/** w,"
    source.write_text(f"profile t {{\n{rules}\n}}\n")
    assert run(["policy", "compile", str(source), "-o", str(blob)]).code == 0
    out = run(["policy", "list", "--policy", str(blob), "t"]).out
    rows = [row.split() for row in out.splitlines()]
    at = rows.index(["wa", "/aa/**", "except"])
    assert rows[at + 1 : at + 3] == [["wa", "/home/*/**", "except"], ["-", ".../**/key"]]
    # What lies beside the first star is told with the name of the directory.
    assert rows[rows.index(["wa", "/gg/b/*/**", "except"]) + 1] == ["-", ".../b/**/key/**", ".../b/key/{,**}"]


def test_a_crowded_profile_is_told_in_two_hundred_rows(tmp_path: Path) -> None:
    source, blob = tmp_path / "t", tmp_path / "blob"
    rules = [f"/d{n}/{n * 7919 % 1000}/*-{n}/{{x,y{n}}} {'rw' if n % 3 else 'r'}," for n in range(400)]
    rules += [f"/e{n}/** rw,\ndeny /e{n}/*{n} rw," for n in range(60)]
    rules += [f"/p{n} px -> other{n % 9}," for n in range(90)] + [
        "capability,",
        "network,",
        "mount,",
        "signal,",
    ]
    source.write_text("profile t {\n" + "\n".join(rules) + "\n}\n")
    assert run(["policy", "compile", str(source), "-o", str(blob)]).code == 0
    out = run(["policy", "list", "--policy", str(blob), "t"]).out.splitlines()
    assert 150 < len(out) <= 200


@pytest.mark.parametrize("kind", KINDS)
def test_what_one_rule_allows_is_told_in_few_lines(kind: str, tmp_path: Path) -> None:
    rules, most = KINDS[kind]
    profile, lines = listed(rules, tmp_path)
    paths = random_paths(profile, "w", 300, 5)
    assert len(paths) == 300
    assert sum(any(covers(line, path) for line in lines) for path in paths) >= 0.97 * len(paths), lines
    assert len(lines) <= most, lines
