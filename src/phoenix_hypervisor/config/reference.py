"""The table of keys as Markdown, for docs/configuration.md.

Owns how a row of the schema is shown.  Pure: a schema comes in, text goes out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from phoenix_hypervisor.config.schema import Schema

BEGIN, END = "<!-- from the schema -->", "<!-- to here -->"


def renewed(document: str, schema: Schema) -> str:
    """`document` with the tables of `schema` between its two marks."""
    head, rest = document.split(BEGIN + "\n", 1)
    tail = rest.split(END, 1)[1]
    return f"{head}{BEGIN}\n{_tables(schema)}{END}{tail}"


def _tables(schema: Schema) -> str:
    runtimes = sorted({name for key in schema.rows() for name in key.becomes}, reverse=True)
    lines = [
        "## The file itself\n",
        "| key | type | default | meaning |",
        "|---|---|---|---|",
        *_rows(schema.document),
        "\n## A container\n",
        f"| key | type | default | meaning | {' | '.join(runtimes)} |",
        f"|---|---|---|---|{'---|' * len(runtimes)}",
    ]
    for key in schema.rows():
        arguments = [f"`{key.becomes[name]}`" if name in key.becomes else "" for name in runtimes]
        lines.append(_row(key.name, key.kind, key.default, key.meaning, *arguments))
    container = schema.document["definitions"]["container"]
    lines += [_row(pattern, "any", None, row["description"], *[""] * len(runtimes))
              for pattern, row in container["patternProperties"].items()]  # fmt: skip
    for name, row in container["properties"].items():
        for place, entry in objects(name, row):
            lines += [f"\n## `{place}`\n", "| key | type | default | meaning |", "|---|---|---|---|"]
            lines += _rows(entry)
    return "\n".join(lines) + "\n"


def objects(name: str, row: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What a key holds that has keys of its own: where that is, and its schema."""
    if "properties" in row:
        yield name, row
    for entry in row.get("patternProperties", {}).values():
        yield f"{name}.{_NUMBERED[name]}", entry


_NUMBERED = {"networks": "net0", "mount_points": "mp0"}
"""How the first of several is called."""


def _rows(entry: dict[str, Any]) -> Iterator[str]:
    for name, row in entry["properties"].items():
        needed = " Required." if name in entry.get("required", ()) else ""
        yield _row(name, str(row["type"]), row.get("default"), row["description"] + needed)


def _row(name: str, kind: str, default: object, meaning: str, *more: str) -> str:
    shown = "" if default is None else f"`{json.dumps(default)}`"
    cells = [f"`{name}`", kind, shown, meaning, *more]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


_VALIDATOR_HEAD = '''"""What the packaged schema checks, as code.  `make reference` writes it: do not edit it.

Owns nothing of its own: fastjsonschema made it from the schema, so that a run need not load and ask
fastjsonschema for it.  Must be what `config.reference.code` gives: a test compares them.
"""

# ruff: noqa
# mypy: ignore-errors
from __future__ import annotations

import re


class Invalid(Exception):
    """The document does not fit the schema; `config.schema` finds out where."""


class Patterns(dict):
    def __init__(self, texts):
        self.texts = texts

    def __missing__(self, name):
        self[name] = re.compile(self.texts[name])
        return self[name]


'''


def code(schema: bytes) -> str:
    """The module that checks documents against `schema`: `validate` raises `Invalid`."""
    import fastjsonschema

    text: str = fastjsonschema.compile_to_code(
        json.loads(schema), use_default=False, detailed_exceptions=False
    )
    body = text[text.index("REGEX_PATTERNS") :]
    # Compiled when one is asked for: most configurations name few of the keys.
    body = re.sub(r"re\.compile\(('.*')\)(,?)$", r"\1\2", body, flags=re.M)
    body = body.replace("REGEX_PATTERNS = {", "REGEX_PATTERNS = Patterns({", 1).replace("\n}\n", "\n})\n", 1)
    body = re.sub(r"raise JsonSchemaValueException\(.*\)$", "raise Invalid", body, flags=re.M)
    # JSON has no Decimal, and all faults at once are `config.schema`'s to find.
    body = body.replace("(JsonSchemaValueException, JsonSchemaValuesException)", "Invalid")
    body = body.replace("float, Decimal", "float")
    # Each of these is paid for every container.  A place in the document, of which nobody is told:
    body = body.replace(", custom_formats={}, name_prefix=None", "")
    body = re.sub(r", custom_formats, \(name_prefix or .*\)$", ")", body, flags=re.M)
    # Keys that are known already, held against the patterns once more:
    body = re.sub(_KEYS_AGAIN, r"\1for \2_key in [*\2_keys]:\3\4\2_keys.remove(\2_key)\n", body)
    # A type that was made sure of in the line before:
    body = re.sub(_TYPE_AGAIN, r"\1\2\1if True:\n", body)
    return _VALIDATOR_HEAD + body.rstrip("\n") + "\n"


_TYPE_AGAIN = re.compile(
    r"( +)(if not isinstance\((\w+), \(str\)\):\n +raise Invalid\n)\1if isinstance\(\3, str\):\n"
)
_KEYS_AGAIN = re.compile(
    r"( +)for (\w+)_key, \2_val in \2\.items\(\):(\n +if REGEX_PATTERNS\[.*\]\.search\(\2_key\):\n)"
    r"( +)if \2_key in \2_keys:\n +\2_keys\.remove\(\2_key\)\n(?!\4)"
)
