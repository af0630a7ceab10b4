"""The JSON Schema: the contract between operator, editor and loader, and the table of keys.

Owns applying it: a generated validator as the fast gate, and the slow one, which finds
every fault, only for documents that fail.  Owns reading its table too: a property of
`container` is a row, and `x-becomes` names the argument that it becomes, by runtime.
Pure: the schema comes in as bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

from phoenix_hypervisor.config.document import escape
from phoenix_hypervisor.errors import PhoenixError, Problem
from phoenix_hypervisor.plan.declared import Key
from phoenix_hypervisor.plan.fault_codes import Fault
from phoenix_hypervisor.values import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

MAX_SCHEMA = 1024 * 1024
"""Bytes."""

SCHEMA_NAME = "phoenix_lxc_configs.schema.json"


class Schema:
    """A parsed schema; `where` names it in messages."""

    def __init__(self, data: bytes, where: str) -> None:
        if len(data) > MAX_SCHEMA:
            raise PhoenixError(
                f"is over {MAX_SCHEMA} bytes", where=where, hint="restore the shipped schema file"
            )
        try:
            self.document: dict[str, Any] = json.loads(data)
            container: dict[str, dict[str, Any]] = self.document["definitions"]["container"]["properties"]
            self.defaults = {key: row["default"] for key, row in container.items() if "default" in row}
            """The value of each key of a container that is not declared, for those that have one."""
            if not isinstance(self.defaults["apparmor_profile"], str):
                raise ValueError
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise PhoenixError(
                "is not a Phoenix schema: apparmor_profile has no default",
                where=where,
                hint="restore the shipped schema file",
            ) from error
        self.where = where
        self._data = data
        for ref in _refs(self.document):
            # A validator would fetch what lies elsewhere, as root, over the network too.
            if not (isinstance(ref, str) and ref.startswith("#")):
                hint = "put the definition into the schema itself"
                raise PhoenixError(f"refers to {ref!r:.100}, outside itself", where=where, hint=hint)

    def rows(self) -> tuple[Key, ...]:
        """The table's rows, in its order."""
        container = self.document["definitions"]["container"]["properties"]
        return tuple(_key(name, row) for name, row in container.items())

    def is_packaged(self) -> bool:
        return self._data == packaged_schema()

    def used(self, document: object) -> object:
        """`document` without the keys that this schema does not know: a wider one may allow them."""
        return _known_part(document, self.document, self.document.get("definitions", {}))

    def is_valid(self, document: object) -> bool:
        """The fast gate: one generated function.  Raises PhoenixError for a broken schema."""
        if self.is_packaged():
            return self._fits_packaged(document)
        import fastjsonschema

        try:
            validate = fastjsonschema.compile(self.document, use_default=False)
        except Exception as error:
            raise PhoenixError(f"cannot be used as a schema: {error}", where=self.where) from error
        try:
            validate(document)
        except fastjsonschema.JsonSchemaException:
            return False
        except RecursionError as error:
            raise self._endless() from error
        return True

    def _fits_packaged(self, document: object) -> bool:
        # Loading fastjsonschema brings in urllib and ssl: half of what is loaded for a run at rest.
        from phoenix_hypervisor.config import validator

        try:
            validator.validate(document)  # type: ignore[no-untyped-call]
        except validator.Invalid:
            return False
        except RecursionError as error:
            raise self._endless() from error
        return True

    def problems(self, document: object) -> list[Problem]:
        """Every fault of `document`, in document order."""
        import jsonschema

        validator = jsonschema.Draft7Validator(self.document)
        try:
            found = [p for error in validator.iter_errors(document) for p in _explain(error)]
        except RecursionError as error:
            raise self._endless() from error
        return sorted(found, key=lambda p: p.pointer)

    def _endless(self) -> PhoenixError:
        hint = "restore the shipped schema file"
        return PhoenixError("cannot be used as a schema: it refers to itself", where=self.where, hint=hint)


def _key(name: str, row: dict[str, Any]) -> Key:
    kinds = [row["type"]] if "type" in row else [branch["type"] for branch in row.get("anyOf", ())]
    return Key(
        name=name,
        kind=" or ".join(map(str, kinds)),
        meaning=str(row.get("description", "")),
        default=row.get("default"),
        becomes=row.get("x-becomes", {}),
    )


def _refs(document: object) -> Iterator[object]:
    pending = [document]
    while pending:
        here = pending.pop()
        if isinstance(here, dict):
            if "$ref" in here:
                yield here["$ref"]
            pending += here.values()
        elif isinstance(here, list):
            pending += here


def _known_part(value: object, schema: dict[str, Any], definitions: dict[str, Any]) -> object:
    if "$ref" in schema:
        schema = definitions[str(schema["$ref"]).rpartition("/")[2]]
    if not isinstance(value, dict):
        return value
    properties, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    found: dict[str, object] = {}
    for key, inner in value.items():
        below = (
            [properties[key]] if key in properties else [s for p, s in patterns.items() if _matches(p, key)]
        )
        if below:
            found[key] = _known_part(inner, below[0], definitions)
        elif not properties:
            found[key] = inner  # Its keys are names, and all of them are used.
    return found


def packaged_schema() -> bytes:
    """The schema that Phoenix ships, for configurations without one beside them."""
    path = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "data", SCHEMA_NAME)
    with open(path, "rb") as file:
        return file.read()


def _explain(error: Any) -> Iterator[Problem]:
    pointer = "".join(f"/{escape(part)}" for part in error.absolute_path)
    description = error.schema.get("description") if isinstance(error.schema, dict) else None
    if error.validator == "additionalProperties" and error.schema.get("additionalProperties") is False:
        known = list(error.schema.get("properties", {}))
        patterns = list(error.schema.get("patternProperties", {}))
        for key in error.instance:
            if key not in known and not any(_matches(pattern, key) for pattern in patterns):
                yield _unknown(pointer, key, known, patterns)
    elif error.validator == "required":
        for key in error.validator_value:
            if key not in error.instance:
                yield Problem(f"{key} is missing", pointer, code=Fault.KEY_MISSING)
    elif error.validator == "anyOf":
        text = f"{_shown(error.instance)} has none of the allowed forms"
        yield Problem(text, pointer, hint=description, code=Fault.WRONG_FORM)
    elif error.validator == "enum":
        allowed = ", ".join(map(str, error.validator_value))
        yield Problem(f"{_shown(error.instance)} is not one of {allowed}", pointer, code=Fault.NOT_ALLOWED)
    elif error.validator == "type":
        wanted = error.validator_value
        wanted = " or ".join(wanted) if isinstance(wanted, list) else wanted
        hints = [_quotes(error.instance, wanted), description]
        hint = ". ".join(text for text in hints if text)
        text = f"{_shown(error.instance)} is not of type {wanted}"
        yield Problem(text, pointer, hint=hint or None, code=Fault.WRONG_TYPE)
    elif error.validator == "pattern":
        text = f"{_shown(error.instance)} does not have the required form"
        yield Problem(text, pointer, hint=description, code=Fault.WRONG_FORM)
    else:
        yield Problem(error.message, pointer, hint=description, code=Fault.WRONG_FORM)


def _quotes(value: object, wanted: str) -> str | None:
    """The same value with or without quotes, where only they are wrong."""
    if wanted == "string" and isinstance(value, int | float):
        return f'Write it with quotes: "{json.dumps(value)}"'
    if isinstance(value, str):
        is_number = wanted == "integer" and value.isascii() and value.isdigit()
        is_flag = wanted == "boolean" and value in ("true", "false")
        return f"Write it without quotes: {value}" if is_number or is_flag else None
    return None


def _unknown(pointer: str, key: str, known: list[str], patterns: list[str]) -> Problem:
    import difflib

    close = difflib.get_close_matches(key, known, 1)
    if close:
        hint = f"did you mean {close[0]}?"
    elif known:
        hint = "known keys: " + ", ".join(sorted(known))
    else:
        hint = f"keys here must match {' or '.join(patterns)}"
    return Problem(f"unknown key {key!r}", f"{pointer}/{escape(key)}", hint=hint, code=Fault.UNKNOWN_KEY)


def _matches(pattern: str, key: str) -> bool:
    import re

    return re.search(pattern, key) is not None


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
