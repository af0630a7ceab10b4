"""The shipped profiles, as the machine's own parser compiles them.

Every deny rule is there for something that a policy test asks; no mount of proc or sysfs, and no bind of
them, leaves its place, whatever the flags; budgets; labels cannot be left.
"""

from __future__ import annotations

import os
import subprocess
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest

from phoenix_hypervisor.policy import perms
from phoenix_hypervisor.policy.assertions import run_tests
from phoenix_hypervisor.policy.diff import diff_profiles
from phoenix_hypervisor.policy.product import Search
from phoenix_hypervisor.policy.profile import Profile
from phoenix_hypervisor.policy.reader import read_policy
from phoenix_hypervisor.policy.source import Source, Statement, read_source
from phoenix_hypervisor.policy.spaces import kind
from phoenix_hypervisor.profiles.prove import read_tests
from phoenix_hypervisor.profiles.sources import OPTIONAL

TOP = Path(__file__).parents[2]
ETC = TOP / "etc" / "apparmor"
DUMPS = TOP / "src/phoenix_hypervisor/data/features"
POLICY_FEATURES = Path("/usr/share/apparmor-features/features")
PARSER = next(
    (p for p in ("/sbin/apparmor_parser", "/usr/sbin/apparmor_parser") if os.access(p, os.X_OK)), ""
)
NAMES = sorted(path.name for path in ETC.iterdir() if path.is_file())
PROBE = "include <tunables/global>\ninclude <tunables/phoenix>\nprofile probe {\n%s\n}\n"
CONFINED = ("lxc-nvidia-gpu-base", "lxc-nvidia-gpu-docker", "lxc-gpu-docker-storage")
pytestmark = [
    pytest.mark.host,
    pytest.mark.skipif(not PARSER or not POLICY_FEATURES.exists(), reason="apparmor_parser is not installed"),
]


@cache
def _is_old() -> bool:
    return b" 3." in subprocess.run([PARSER, "--version"], capture_output=True, check=True).stdout


old_parser = pytest.mark.skipif("not _is_old()", reason="for parsers without rule priorities")
new_parser = pytest.mark.skipif("_is_old()", reason="for parsers with rule priorities")


def folders() -> tuple[Path, ...]:
    """Where sources are looked for, in this order, for the machine's parser."""
    return (ETC,) if _is_old() else (ETC / OPTIONAL, ETC)


def compile_text(text: bytes) -> bytes:
    argv = [PARSER, "-QSK", "--config-file", "/dev/null"]
    for folder in folders():
        argv += ["-I", str(folder)]
    dump = DUMPS / ("bookworm-6.1" if _is_old() else "trixie-6.12")
    argv += ["--policy-features", str(POLICY_FEATURES), "--kernel-features", str(dump)]
    done = subprocess.run(argv, input=text, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def source_of(name: str) -> Source:
    def include(path: str) -> tuple[str, bytes] | None:
        for folder in folders():
            if (folder / path).is_file():
                return str(folder / path), (folder / path).read_bytes()
        return None

    found = include(name)
    assert found is not None
    return read_source(*found, include)


@cache
def compiled(name: str) -> Profile:
    return read_policy(compile_text(source_of(name).text)).profiles[0]


def twin(name: str) -> str | None:
    """The profile that differs from this one in GPUs only, as a test below shows."""
    return name.replace("lxc-base", "lxc-nvidia-gpu-base") if name.startswith("lxc-base") else None


def denies(name: str) -> list[Statement]:
    """The deny rules of ours in a profile; those of its twin are the twin's."""
    found = [s for s in source_of(name).rules() if s.text.startswith("deny ") and str(ETC) in s.file]
    other = twin(name)
    known = {s.text for s in source_of(other).rules()} if other is not None else set()
    return [s for s in found if s.text not in known]


def shipped_tests() -> list[object]:
    return list(read_tests(str(TOP / "etc" / "policy_tests"), optional=not _is_old()))


@pytest.mark.parametrize("name", NAMES)
def test_removing_any_deny_rule_fails_a_policy_test(name: str) -> None:
    """A rule that changes nothing on this parser (4.1 widens no mount) is lint's business."""
    source, tests, whole = source_of(name), shipped_tests(), compiled(name)
    assert run_tests(tests, {name: whole}).ok  # type: ignore[arg-type]
    rules = denies(name)
    assert len(rules) > (20 if twin(name) is None else 0)
    untested = []
    for rule in rules:
        profile = read_policy(compile_text(source.without([rule]))).profiles[0]
        told = not run_tests(tests, {name: profile}).ok  # type: ignore[arg-type]
        if not told and list(diff_profiles(whole, profile)):
            untested.append(f"{rule.place}: {rule.text}")
    assert untested == []


NO_GPU = "deny /dev/{nvidia*,nvidia-caps/**,dri/**,kfd} rwmkl,"


@pytest.mark.parametrize("name", [name for name in NAMES if twin(name) is not None])
def test_the_profile_without_a_gpu_differs_in_device_files_of_gpus_only(name: str) -> None:
    """Asked as one label: what each allows towards its own processes is the same then."""
    other = twin(name)
    assert other is not None
    text, whole = source_of(name).text, source_of(other).text
    mine = read_policy(compile_text(text.replace(f"profile {name} ".encode(), f"profile {other} ".encode())))
    site = f"  include if exists <local/{other}>\n".encode()
    assert whole.count(site) == 1
    without = read_policy(compile_text(whole.replace(site, f"  {NO_GPU}\n".encode())))
    assert list(diff_profiles(without.profiles[0], mine.profiles[0])) == []
    assert list(diff_profiles(compiled(other), mine.profiles[0])), "which says something only if they differ"


def both_allow(one: Profile, two: Profile, what: str) -> Iterator[str]:
    """Shortest questions of a class that both profiles allow."""
    space = kind(what)
    grammar = space.grammar()
    a, b = space.space(one, False), space.space(two, False)
    search = Search(grammar, a.side, b.side)
    for node in search:
        mask = grammar.reads[node[0]]
        if mask & a.grants(node[1]).allow & b.grants(node[2]).allow & perms.MAY_MOUNT:
            yield str(space.query(search.string(node), perms.MAY_MOUNT, False))


ALIASES = {
    "a procfs or sysfs": "mount fstype=(proc, sysfs), {deny}",
    "a bind of one": "mount options=(bind) /{{proc,sys}}/{{,**}} -> /**, {deny}",
    "a recursive bind of one": "mount options=(rbind) /{{proc,sys}}/{{,**}} -> /**, {deny}",
    "a bind of what has them below": "mount options=(rbind) / -> /**, {deny}",
    "a moved one": "mount options=(move) /{{proc,sys}}/{{,**}} -> /**, {deny}",
}


@pytest.mark.parametrize("name", CONFINED)
@pytest.mark.parametrize("what", ALIASES)
@old_parser
def test_no_alias_of_proc_and_sysfs_outside_their_places_with_any_flags(name: str, what: str) -> None:
    """Their own places, and for Docker its directories, are left out of what is looked for.

    With rule priorities they may stand elsewhere whole, and what may not is the next test's.
    """
    places = ["/{proc,sys}/{,**}"] + (["@{phoenix_docker}/{,**}"] if "docker" in name else [])
    kind_of = ALIASES[what].split("{deny}")[0].strip(" ,").replace("{{", "{").replace("}}", "}")
    head = kind_of.split(" -> ")[0]
    deny = " ".join(f"deny {head} -> {place}," for place in places)
    text = PROBE % ALIASES[what].format(deny=deny)
    probe = read_policy(compile_text(text.encode())).profiles[0]
    assert list(both_allow(compiled(name), probe, "mount")) == []


PARTS = {
    "a bind of a part": "mount options=(bind) /{proc/{sys/{fs,kernel,vm},irq/[0-9],bus/pci},sys/{class,kernel/mm,power}}/ -> /**,",
    "a recursive bind of one": "mount options=(rbind) /{x/kernel/mm,x/module/y,x/devices/z}/ -> /**,",
    "a move of what has no name": "mount options=(move) -> /**, deny mount options=(move) /{,**} -> /**,",
    "a procfs that loses its name": "mount fstype=(proc, sysfs) -> /{,mnt/,mnt/x/,root/},",
}


@pytest.mark.parametrize("name", CONFINED)
@pytest.mark.parametrize("what", PARTS)
@new_parser
def test_no_part_of_proc_and_sysfs_under_another_name_with_any_flags(name: str, what: str) -> None:
    probe = read_policy(compile_text((PROBE % PARTS[what]).encode())).profiles[0]
    assert list(both_allow(compiled(name), probe, "mount")) == []


def test_the_search_finds_an_alias_where_there_is_one() -> None:
    probe = read_policy(compile_text((PROBE % "mount fstype=(proc, sysfs),").encode())).profiles[0]
    assert list(both_allow(compiled("lxc-nesting-v1"), probe, "mount"))


@pytest.mark.parametrize("name", NAMES)
def test_no_label_but_its_own_can_be_taken(name: str) -> None:
    one = kind("change_profile")
    space, grammar = one.space(compiled(name), False), one.grammar()
    search = Search(grammar, space.side, space.side)
    found = [
        search.string(node)
        for node in search
        if grammar.reads[node[0]] & space.grants(node[1]).allow & perms.CHANGE_PROFILE
    ]
    assert {text.split(b"\0")[-1] for text in found} <= {name.encode()}, found


@pytest.mark.parametrize("name", NAMES)
def test_a_profile_keeps_its_budget_and_reads_in_a_screen(name: str) -> None:
    """Two screens: the profile with all that it includes of ours."""
    assert len(compile_text(source_of(name).text)) <= 460_000
    for folder in {ETC, folders()[0]}:
        if (folder / name).exists():
            text = (folder / name).read_text()
            assert len(text.splitlines()) <= 50
            assert f"include if exists <local/{name}>" in text
        for path in (folder / "abstractions" / "phoenix").iterdir():
            assert len(path.read_text().splitlines()) <= 60, path.name


def test_no_policy_test_is_meant_for_profiles_of_others() -> None:
    """A site's own source beside the shipped ones must not be held to what ours promise."""
    for path in sorted((TOP / "etc/policy_tests").rglob("*.toml")):
        for test in tomllib.loads(path.read_text())["test"]:
            meant = [pattern for pattern in test["profiles"] if fnmatchcase("lxc-of-a-site", pattern)]
            assert not meant, (path.name, test["name"])
