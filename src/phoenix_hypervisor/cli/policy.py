"""`phoenix policy ...`: arguments in, text or JSON out.

Owns the arguments of the `policy` commands.  Must not decide anything: `policy_work` does.
The group is made by `make_group`, which is told where compiled policies come from and how
to print, so that it runs against any workbench.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

import click

from phoenix_hypervisor.engine import policy_work as work
from phoenix_hypervisor.errors import EXIT_FAILED, EXIT_OK, UsageError

F = TypeVar("F", bound=Callable[..., Any])

_QUESTION: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (("--access",), {"help": "File: letters rwaxmklcd or words; signal, ptrace and network: words."}),
    (("--other",), {"is_flag": True, "help": "Asked by somebody who does not own the file."}),
    (("--source",), {"help": "Mount: what is mounted."}),
    (("--target",), {"help": "Mount, umount: where; directories end in a slash.  Link: the existing file."}),
    (("--fstype",), {"help": "Mount: file system."}),
    (("--flags",), {"help": "Mount: flags, with commas between."}),
    (("--data",), {"help": "Mount: the options in text."}),
    (("--new-root",), {"help": "pivot_root: the new root."}),
    (("--put-old",), {"help": "pivot_root: where the old one goes."}),
    (("--peer",), {"help": "Signal, ptrace: the other's profile."}),
    (("--onexec",), {"is_flag": True, "help": "change_profile at the next exec."}),
    (("--class", "class_"), {"type": int, "help": "Raw: the class."}),
    (("--string",), {"help": "Raw: what follows the class byte, hexadecimal."}),
    (("--uid",), {"type": int, "help": "Raw: 0 asks as the owner."}),
)
_OPTIONS = tuple(
    (names[1] if len(names) > 1 else names[0].removeprefix("--").replace("-", "_")) for names, _ in _QUESTION
)
_CHUNK = 64 * 1024
_POLICY = click.option("--policy", metavar="FILE", help="Ask this source or compiled blob.")


def _question(function: F) -> F:
    for names, arguments in reversed(_QUESTION):
        function = click.option(*names, **arguments)(function)
    return click.argument("words", nargs=-1, metavar="[PROFILE] KIND [VALUE]...")(function)


def _fields(options: dict[str, Any]) -> dict[str, object]:
    return {name.rstrip("_"): options[name] for name in _OPTIONS}


def _lines(bench: work.Workbench, path: str) -> Iterator[bytes]:
    """The lines of a batch; standard input is answered while it comes in."""
    if path == "-":
        pieces: list[bytes] = []
        stdin = cast(io.BufferedReader, sys.stdin.buffer)
        while chunk := stdin.read1(_CHUNK):
            first, *others = chunk.split(b"\n")
            pieces.append(first)
            if others:
                yield b"".join(pieces)
                yield from others[:-1]
                pieces = [others[-1]]
                sys.stdout.flush()  # whoever asks line by line waits for the answer
        if last := b"".join(pieces):
            yield last
        return
    data = bench.read(path)
    yield from data.removesuffix(b"\n").split(b"\n") if data else ()


def make_group(
    global_options: Callable[[Any], Any],
    workbench: Callable[[Any], work.Workbench],
    show: Callable[[Any, work.Result], None],
    write: Callable[[Any, str, bytes], None],
) -> click.Group:
    """The `policy` group.

    `global_options` decorates each command, `workbench` makes a workbench of the settings
    (the click object), `show` prints a result and `write` writes a blob to a named file.
    """

    def finish(settings: Any, result: work.Result) -> int:
        show(settings, result)
        return result.code

    @click.group(name="policy")
    def policy() -> None:
        """Ask compiled policy what it allows."""

    group = global_options(policy)
    assert isinstance(group, click.Group)

    @_question
    @_POLICY
    @click.option("--batch", metavar="FILE", help="Answer JSON lines from FILE (- is standard input).")
    def query(
        settings: Any, words: tuple[str, ...], policy: str | None, batch: str | None, **opt: Any
    ) -> int:
        """Ask whether a profile allows something; exit 3 for no."""
        bench = workbench(settings)
        if batch is not None:
            if words or any(value not in (None, False) for value in opt.values()):
                raise UsageError("--batch takes its questions, and their profiles, from the file alone")
            return run_batch(bench, policy, batch)
        profile, question = work.read_question(words, _fields(opt))
        return finish(settings, work.query(bench, policy, profile, question))

    @_question
    @_POLICY
    def explain(settings: Any, words: tuple[str, ...], policy: str | None, **opt: Any) -> int:
        """Find the rule that decides, by file and line."""
        profile, question = work.read_question(words, _fields(opt))
        return finish(settings, work.explain(workbench(settings), policy, profile, question))

    @click.argument("profile", required=False)
    @_POLICY
    @click.option("--access", default="w", show_default=True, help="Letters or words, all of them allowed.")
    @click.option("--under", metavar="PATH", help="A path or a glob; without it mounts and the rest, too.")
    @click.option("--other", is_flag=True, help="For somebody who does not own the files.")
    @click.option("--limit", type=click.IntRange(0), default=20, show_default=True, help="How many of each.")
    def listing(settings: Any, profile: str | None, policy: str | None, **opt: Any) -> int:
        """List what is within reach, shortest examples first."""
        return finish(settings, work.listing(workbench(settings), policy, profile, **opt))

    @click.argument("a")
    @click.argument("b")
    @click.option("--logging", is_flag=True, help="Report what is only logged differently, too.")
    def diff(settings: Any, a: str, b: str, logging: bool) -> int:
        """Show what only one of two policies allows (names, sources or blobs); exit 3 for different."""
        return finish(settings, work.diff(workbench(settings), a, b, logging=logging))

    @click.argument("profiles", nargs=-1)
    @_POLICY
    @click.option("--tests", "files", multiple=True, metavar="FILE", help="Only these test files.")
    def test(settings: Any, profiles: tuple[str, ...], policy: str | None, files: tuple[str, ...]) -> int:
        """Run the assertions of policy_tests/; exit 3 where one fails."""
        return finish(settings, work.test(workbench(settings), profiles, policy, files))

    @click.argument("sources", nargs=-1)
    @click.option("--quick", is_flag=True, help="Compile each source once only.")
    def lint(settings: Any, sources: tuple[str, ...], quick: bool) -> int:
        """Find bad habits in profile sources; exit 1 where one is not waived."""
        return finish(settings, work.lint(workbench(settings), sources, quick=quick))

    @click.argument("source")
    @click.option("-o", "--output", required=True, metavar="BLOB", help="Where the compiled policy goes.")
    def compile(settings: Any, source: str, output: str) -> int:
        """Compile a source (a file or a shipped name) for the features in force."""
        blob, result = work.compile(workbench(settings), source)
        write(settings, output, blob)
        return finish(settings, result)

    commands: tuple[tuple[str, Callable[..., int]], ...] = (
        ("compile", compile),
        ("query", query),
        ("list", listing),
        ("diff", diff),
        ("test", test),
        ("lint", lint),
        ("explain", explain),
    )
    for name, function in commands:
        group.command(name)(global_options(click.pass_obj(function)))
    return group


def run_batch(bench: work.Workbench, policy: str | None, path: str) -> int:
    """Answer a batch to standard output; exit 1 where a line makes no sense."""
    from phoenix_hypervisor.policy.batch import Batch

    # A profile in a line may be called /usr/bin/man: that is no file to read.
    batch = Batch(work.find(bench, policy, files=False))
    write = sys.stdout.write
    for answer in batch.run(_lines(bench, path)):
        write(answer + "\n")
    sys.stdout.flush()
    return EXIT_FAILED if batch.failed else EXIT_OK
