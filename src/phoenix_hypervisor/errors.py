"""Errors that reach the operator, and the exit codes they end with.

Owns the exception tree: every expected failure is a `PhoenixError` that says what
failed, where, and what to do next, so that `cli` can print it without a traceback.
Must not import anything else of the package, and must not print.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from phoenix_hypervisor.values import dataclass, field

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NO = 3
"""The answer is no: not as declared, denied, different, a policy test failed."""


class PhoenixError(Exception):
    """Something failed; nothing is lost.

    `message` says what, `where` the file (with line), pointer or container, and
    `hint` the operator's next step.
    """

    exit_code = EXIT_FAILED
    code: str | None = None
    """Stable, of `plan.codes`; None: programs have nothing to tell it from others by."""

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text}\n  next: {self.hint}" if self.hint else text


class UsageError(PhoenixError):
    """The command line itself is wrong (exit 2)."""

    exit_code = EXIT_USAGE


class TooSlowError(PhoenixError):
    """A program was ended because it did not finish in time."""


class CodedError(PhoenixError):
    """A failure whose words are made in `cli`: `code` and `data` say what, `where` what it is about."""

    def __init__(
        self,
        code: str,
        where: str,
        data: Mapping[str, object] | None = None,
        *,
        message: str = "",
        hint: str | None = None,
    ) -> None:
        super().__init__(message or code, where=where, hint=hint)
        self.code: str = code
        self.data = {} if data is None else dict(data)


class LeftAlone(CodedError):
    """Deliberately skipped; do not retry: it would overwrite someone else's change."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault in a document: `pointer` is a JSON pointer or a file:line."""

    message: str
    pointer: str = ""
    line: int | None = None
    hint: str | None = None
    code: str = field(default="", kw_only=True)
    """Stable, of `plan.codes`."""

    def __str__(self) -> str:
        place = self.pointer or "/"
        if self.line is not None:
            place = f"{place} (line {self.line})"
        return f"{place}: {self.message}" + (f"  [{self.hint}]" if self.hint else "")


class ProblemsError(PhoenixError):
    """Several faults found in one go; all of them are reported, not the first."""

    def __init__(self, message: str, problems: Iterable[Problem], *, where: str | None = None) -> None:
        super().__init__(message, where=where)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "\n".join([super().__str__(), *(f"  {problem}" for problem in self.problems)])
