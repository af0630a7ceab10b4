"""`--require-signed`: real gpgv, and keys that gpg makes here."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from phoenix_hypervisor.engine.places import KEYRING
from phoenix_hypervisor.engine.trusted import COPIES
from phoenix_hypervisor.profiles import prove
from phoenix_hypervisor.profiles.store import Store
from support.hosts import LiveHost, Result, snapshot
from support.signing import PAST, Keys, listing, sign_all, some_keys

TEST = """version = 1
[[test]]
name = "hosts"
profiles = ["lxc-a"]
kind = "file"
path = ["/etc/hosts"]
access = "r"
expect = "allowed"
"""


@pytest.fixture(scope="module")
def keys() -> Iterator[Keys]:
    with some_keys() as found:
        yield found


@pytest.fixture
def fleet(live: LiveHost, keys: Keys) -> LiveHost:
    """A host whose sources, tests and configuration are signed."""
    live.source("lxc-a", "include <abstractions/phoenix/x>")
    live.source("abstractions/phoenix/x", data=b"  /etc/hosts r,\n")
    (live.etc / "policy_tests").mkdir()
    (live.etc / "policy_tests/a.toml").write_text(TEST)
    live.conf("101")
    live.declare({"101": "lxc-a"})
    sign(live, keys)
    return live


def sign(live: LiveHost, keys: Keys, name: str = "fleet", *more: str, at: str | None = None) -> None:
    sign_all(live.etc, keys, name, *more, at=at)


def run(live: LiveHost, keys: Keys, *words: str, ring: str = "fleet") -> Result:
    return live.phoenix(*(words or ("apply", "--all")), "--require-signed", str(keys.ring(ring)), "--json")


def refused(live: LiveHost, keys: Keys, *words: str, ring: str = "fleet") -> list[tuple[str, str]]:
    """What a run is refused for; nothing may have been written or loaded."""
    before = snapshot(live.root, without=["double"])
    done = run(live, keys, *words, ring=ring)
    assert done.code == 1, done.out
    assert snapshot(live.root, without=["double"]) == before
    assert not any(argv[:1] == ("apparmor_parser",) and "--replace" in argv for argv in live.runner.argvs)
    return [(code, str(where).removeprefix(f"{live.etc}/")) for code, where in done.problems]


def test_what_is_signed_is_applied_and_a_second_run_changes_nothing(fleet: LiveHost, keys: Keys) -> None:
    done = run(fleet, keys)
    assert done.code == 0, done.out
    assert fleet.loaded()["lxc-a"] == "enforce"
    before = snapshot(fleet.root, without=["double"])
    assert run(fleet, keys).document["changed"] == 0
    assert snapshot(fleet.root, without=["double"]) == before


def test_signed_or_not_what_is_loaded_is_the_same(fleet: LiveHost, keys: Keys, tmp_path: Path) -> None:
    other = LiveHost(tmp_path / "other")
    shutil.copytree(fleet.etc, other.etc, dirs_exist_ok=True)
    other.conf("101")
    assert other.apply().code == 0
    assert run(fleet, keys).code == 0
    assert fleet.policy() == other.policy()
    assert (fleet.installed / "lxc-a").read_bytes() == (other.installed / "lxc-a").read_bytes()
    assert fleet.apply().recap["changed"] == 0, "and nothing is to do without the word"


def test_it_is_off_by_default(fleet: LiveHost) -> None:
    (fleet.etc / "SHA256SUMS").unlink()
    assert fleet.apply().code == 0
    assert not (fleet.root / COPIES.lstrip("/")).exists()


def append(path: str, data: bytes) -> Callable[[LiveHost], None]:
    def change(live: LiveHost) -> None:
        with (live.etc / path).open("ab") as file:
            file.write(data)

    return change


def remove(path: str) -> Callable[[LiveHost], None]:
    return lambda live: (live.etc / path).unlink()


def create(path: str, data: bytes) -> Callable[[LiveHost], None]:
    def change(live: LiveHost) -> None:
        (live.etc / path).parent.mkdir(parents=True, exist_ok=True)
        (live.etc / path).write_bytes(data)

    return change


EXTRA = b"include <tunables/global>\nprofile lxc-b {\n}\n"
SCHEMA = "phoenix_lxc_configs.schema.json"
CHANGES: list[tuple[str, Callable[[LiveHost], None], tuple[str, str]]] = [
    ("a forged profile", append("apparmor/lxc-a", b"\n"), ("signed-otherwise", "apparmor/lxc-a")),
    (
        "a forged include",
        append("apparmor/abstractions/phoenix/x", b"  /** rwmlk,\n"),
        ("signed-otherwise", "apparmor/abstractions/phoenix/x"),
    ),
    (
        "a forged test",
        append("policy_tests/a.toml", b"\n"),
        ("signed-otherwise", "policy_tests/a.toml"),
    ),
    (
        "a forged configuration",
        append("phoenix_lxc_configs.json", b"\n"),
        ("signed-otherwise", "phoenix_lxc_configs.json"),
    ),
    ("an extra profile", create("apparmor/lxc-b", EXTRA), ("unsigned-file", "apparmor/lxc-b")),
    (
        "an extra include",
        create("apparmor/abstractions/phoenix/y", b"  /a r,\n"),
        ("unsigned-file", "apparmor/abstractions/phoenix/y"),
    ),
    ("an extra test", create("policy_tests/b.toml", b""), ("unsigned-file", "policy_tests/b.toml")),
    ("an extra schema", create(SCHEMA, b"{}"), ("unsigned-file", SCHEMA)),
    (
        "a missing include",
        remove("apparmor/abstractions/phoenix/x"),
        ("signed-missing", "apparmor/abstractions/phoenix/x"),
    ),
    ("a missing test", remove("policy_tests/a.toml"), ("signed-missing", "policy_tests/a.toml")),
    ("no list", remove("SHA256SUMS"), ("not-signed", "SHA256SUMS")),
    ("no signature", remove("SHA256SUMS.sig"), ("not-signed", "SHA256SUMS")),
    ("a longer list", append("SHA256SUMS", b"# more\n"), ("signature-bad", "SHA256SUMS")),
    ("a signature cut short", create("SHA256SUMS.sig", b"\x88"), ("signature-bad", "SHA256SUMS")),
    ("no signature but a text", create("SHA256SUMS.sig", b"good\n"), ("signature-bad", "SHA256SUMS")),
]


@pytest.mark.parametrize(("change", "problem"), [c[1:] for c in CHANGES], ids=[c[0] for c in CHANGES])
@pytest.mark.parametrize("words", [("setup",), ("apply", "--all"), ("plan",), ("check",)], ids=lambda w: w[0])
def test_whatever_is_not_as_signed_is_refused(
    fleet: LiveHost,
    keys: Keys,
    words: tuple[str, ...],
    change: Callable[[LiveHost], None],
    problem: tuple[str, str],
) -> None:
    change(fleet)
    assert problem in refused(fleet, keys, *words)


def test_a_key_that_is_not_in_the_keyring(fleet: LiveHost, keys: Keys) -> None:
    assert refused(fleet, keys, ring="other") == [("signature-bad", "SHA256SUMS")]
    sign(fleet, keys, "other")
    assert refused(fleet, keys) == [("signature-bad", "SHA256SUMS")]


def test_a_key_that_has_expired(fleet: LiveHost, keys: Keys) -> None:
    """gpgv itself exits with 0 for it."""
    sign(fleet, keys, "old", at="20200201T000000")
    assert refused(fleet, keys, ring="old") == [("signature-bad", "SHA256SUMS")]
    shown = fleet.phoenix("setup", "--require-signed", str(keys.ring("old")))
    assert "the key has expired" in shown.err and "Traceback" not in shown.err


def test_a_signature_that_has_expired(fleet: LiveHost, keys: Keys, tmp_path: Path) -> None:
    ring = tmp_path / "both.gpg"
    keys.gpg("--quick-generate-key", "long <long@example.org>", "ed25519", "sign", "never", at=PAST)
    keys.gpg("--output", str(ring), "--export", "long@example.org")
    sign(fleet, keys, "long", "--default-sig-expire", "2d", at="20200201T000000")
    done = fleet.phoenix("setup", "--require-signed", str(ring))
    assert done.code == 1 and "the signature has expired" in done.err


def test_a_weak_hash(fleet: LiveHost, keys: Keys) -> None:
    sign(fleet, keys, "fleet", "--digest-algo", "SHA1", "--allow-weak-digest-algos")
    assert refused(fleet, keys) == [("signature-bad", "SHA256SUMS")]


def test_an_armoured_signature_counts_too(fleet: LiveHost, keys: Keys) -> None:
    (fleet.etc / "SHA256SUMS.sig").unlink()
    path = fleet.etc / "SHA256SUMS"
    keys.gpg("--local-user", "fleet@example.org", "--armor", "--detach-sign", str(path))
    assert path.with_name("SHA256SUMS.asc").exists()
    assert run(fleet, keys).code == 0


@pytest.mark.parametrize(
    "line",
    ["nonsense\n", f"{'0' * 64}  ../etc/passwd\n", f"{'0' * 64}  /etc/passwd\n", f"\\{'0' * 64}  a\\nb\n"],
    ids=["no line", "above", "absolute", "escaped"],
)
def test_a_list_that_says_something_else(fleet: LiveHost, keys: Keys, line: str) -> None:
    path = fleet.etc / "SHA256SUMS"
    path.write_text(listing(fleet.etc) + line)
    keys.sign(path)
    assert refused(fleet, keys) == [("not-signed", "SHA256SUMS")]


def test_a_list_that_names_a_file_twice(fleet: LiveHost, keys: Keys) -> None:
    path = fleet.etc / "SHA256SUMS"
    path.write_text(listing(fleet.etc) + f"{'0' * 64}  apparmor/lxc-a\n")
    keys.sign(path)
    assert refused(fleet, keys) == [("not-signed", "SHA256SUMS")]


# Changed between the look and the compile ----------------------------------------------


def test_a_source_that_changes_while_it_is_compiled(
    fleet: LiveHost, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the parser runs the files are forged, and put back after it: what is loaded is what was signed."""
    reference = run(fleet, keys, "plan").document["changes"]
    really = Store.compile
    places = [fleet.sources / "lxc-a", fleet.sources / "abstractions/phoenix/x"]
    signed = [path.read_bytes() for path in places]
    extra = fleet.sources / "abstractions/phoenix/z"
    seen = []

    def compile(self: Store, profile: object) -> object:
        places[0].write_bytes(b"include <tunables/global>\nprofile lxc-a {\n  /** rwmlk,\n}\n")
        places[1].write_bytes(b"  /** rwmlk,\n")
        extra.write_bytes(b"  /** rwmlk,\n")
        try:
            seen.append(really(self, profile))  # type: ignore[arg-type]
        finally:
            for path, data in zip(places, signed, strict=True):
                path.write_bytes(data)
            extra.unlink()
        return seen[-1]

    monkeypatch.setattr(Store, "compile", compile)
    done = run(fleet, keys)
    assert (done.code, done.document["changed"]) == (0, reference) and seen
    assert b"/**" not in (fleet.installed / "lxc-a").read_bytes()
    asked = fleet.phoenix("policy", "query", "lxc-a", "file", "/etc/shadow", "--access", "w")
    assert asked.code == 3, "the kernel has what was signed"


def test_a_source_that_changes_before_the_lock(
    fleet: LiveHost, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under the lock everything is read and held against the list once more."""
    really, count = prove.prove, [0]

    def proving(*words: object, **more: object) -> object:
        count[0] += 1
        append("apparmor/lxc-a", b"# later\n")(fleet)
        return really(*words, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(prove, "prove", proving)
    done = run(fleet, keys)
    assert done.code == 1 and ("signed-otherwise", str(fleet.sources / "lxc-a")) in done.problems
    assert "lxc-a" not in fleet.loaded() and not (fleet.installed / "lxc-a").exists()


def test_a_copy_that_somebody_changed_is_made_anew(fleet: LiveHost, keys: Keys) -> None:
    assert run(fleet, keys, "plan").code == 0
    (copy,) = (fleet.root / COPIES.lstrip("/")).rglob("lxc-a")
    assert copy.stat().st_mode & 0o777 == 0o600 and copy.parents[1].stat().st_mode & 0o777 == 0o700
    copy.write_text("profile lxc-a { }\n")
    assert run(fleet, keys).code == 0
    assert b"abstractions/phoenix/x" in (fleet.installed / "lxc-a").read_bytes()
    (copy.parent / "lxc-z").write_bytes(EXTRA.replace(b"lxc-b", b"lxc-z"))
    done = fleet.phoenix("setup", "--require-signed", str(keys.ring("fleet")))
    assert done.code == 1 and "holds what was not signed" in done.err


# Where it is asked for ------------------------------------------------------------------


def test_a_host_may_ask_for_it_always(fleet: LiveHost, keys: Keys) -> None:
    place = fleet.root / KEYRING.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(keys.ring("fleet"), place)
    assert fleet.apply().code == 0
    append("apparmor/lxc-a", b"# x\n")(fleet)
    done = fleet.phoenix("setup", "--json")
    assert done.code == 1 and done.problems == [("signed-otherwise", str(fleet.sources / "lxc-a"))]
    assert fleet.phoenix("status").code == 0, "who only looks is not kept from it"
    assert fleet.phoenix("verify").code == 3


def test_accepted_rules_must_be_signed_too(fleet: LiveHost, keys: Keys) -> None:
    fleet.source("lxc-a", "include if exists <accepted/lxc-a>", "/etc/hosts r,")
    fleet.source("accepted/lxc-a", data=b"/etc/passwd r,\n")
    assert ("unsigned-file", "apparmor/accepted/lxc-a") in refused(fleet, keys)
    sign(fleet, keys)
    assert run(fleet, keys).code == 0
    assert (fleet.installed / "accepted/lxc-a").exists()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "cannot be read"),
        (lambda path: path.write_bytes(b""), "is not a keyring"),
        (lambda path: path.write_bytes(b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n"), "gpg --dearmor"),
    ],
    ids=["none", "empty", "armour"],
)
def test_what_is_no_keyring(
    fleet: LiveHost, tmp_path: Path, make: Callable[[Path], object], words: str
) -> None:
    path = tmp_path / "ring.gpg"
    make(path)
    done = fleet.phoenix("setup", "--require-signed", str(path))
    assert done.code == 2 and words in done.err


def test_a_keyring_that_others_can_write(fleet: LiveHost, keys: Keys, tmp_path: Path) -> None:
    path = tmp_path / "ring.gpg"
    shutil.copy(keys.ring("fleet"), path)
    path.chmod(0o666)
    done = fleet.phoenix("setup", "--require-signed", str(path))
    assert done.code == 1 and "written by everybody" in done.err


def test_without_gpgv(fleet: LiveHost, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    really = fleet.runner.find
    monkeypatch.setattr(fleet.runner, "find", lambda name: None if name == "gpgv" else really(name))
    done = fleet.phoenix("setup", "--require-signed", str(keys.ring("fleet")))
    assert done.code == 1 and "apt install gpgv" in done.err
