"""The configuration as text: how a new one looks, and that entries are put in the way a file is written."""

from __future__ import annotations

from typing import Any

import pytest

from phoenix_hypervisor.config.written import merged, new

ONE: dict[str, dict[str, Any]] = {"101": {"name": "a\u00e4", "tags": ["x"]}}
TWO: dict[str, dict[str, Any]] = {
    "101": {"name": "a", "networks": {"net0": {"name": "eth0", "bridge": "b"}, "net1": {"bridge": "c"}}},
    "102": {},
}


def test_a_new_one() -> None:
    assert (
        new(TWO, schema=True, explicit=True)
        == """{
    "$schema": "phoenix_lxc_configs.schema.json",
    "unconfined_means": "explicit-line",
    "lxc_configs": {
        "101": {
            "name": "a",
            "networks": {
                "net0": {"name": "eth0", "bridge": "b"},
                "net1": {"bridge": "c"}
            }
        },
        "102": {}
    }
}
"""
    )
    assert new({}, schema=False, explicit=False) == '{\n    "lxc_configs": {}\n}\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # The indentation of the entries that are there, also where it grows unevenly.
        (
            '{\n "lxc_configs": {\n   "950": {\n       "note": "n"\n   }\n }\n}\n',
            '{\n "lxc_configs": {\n   "950": {\n       "note": "n"\n   },\n'
            '   "101": {\n       "name": "a\u00e4",\n       "tags": ["x"]\n   }\n }\n}\n',
        ),
        # An entry in one line says nothing of its inside: a step as that from the key to the entries.
        (
            '{\n\t"lxc_configs": {\n\t\t"950": {"note": "n"}\n\t}\n}',
            '{\n\t"lxc_configs": {\n\t\t"950": {"note": "n"},\n'
            '\t\t"101": {\n\t\t\t"name": "a\u00e4",\n\t\t\t"tags": ["x"]\n\t\t}\n\t}\n}',
        ),
        # Lists, and a step that is not the file's first one.
        (
            '{\n  "lxc_configs": {\n     "950": {"features": ["a=1"], "tags": ["x", "y"]}\n  }\n}',
            '{\n  "lxc_configs": {\n     "950": {"features": ["a=1"], "tags": ["x", "y"]},\n'
            '     "101": {\n        "name": "a\u00e4",\n        "tags": ["x"]\n     }\n  }\n}',
        ),
        # No entry at all: the key's own indentation.
        (
            '{\n  "lxc_configs": { \n  },\n  "note": "n"\n}\n',
            '{\n  "lxc_configs": {\n    "101": {\n      "name": "a\u00e4",\n      "tags": ["x"]\n    }\n  },\n'
            '  "note": "n"\n}\n',
        ),
        (
            '{\n"lxc_configs": {}\n}\n',
            '{\n"lxc_configs": {\n    "101": {\n        "name": "a\u00e4",\n        "tags": ["x"]\n    }\n}\n}\n',
        ),
        # In one line.
        ('{"lxc_configs": {}}', '{"lxc_configs": {"101": {"name": "a\u00e4", "tags": ["x"]}}}'),
        (
            '{"lxc_configs":{"950":{}},"note":"n"}',
            '{"lxc_configs":{"950":{}, "101": {"name": "a\u00e4", "tags": ["x"]}},"note":"n"}',
        ),
        # The key in the first line, its entries below.
        (
            '\ufeff{"lxc_configs": {\r\n  "950": {}\r\n}}',
            '\ufeff{"lxc_configs": {\r\n  "950": {},\r\n'
            '  "101": {\r\n      "name": "a\u00e4",\r\n      "tags": ["x"]\r\n  }\r\n}}',
        ),
        # Without any indentation.
        (
            '{\n"lxc_configs": {\n"950": {\n"note": "}"\n}\n}\n}',
            '{\n"lxc_configs": {\n"950": {\n"note": "}"\n},\n'
            '"101": {\n    "name": "a\u00e4",\n    "tags": ["x"]\n}\n}\n}',
        ),
        # What only looks like it, in other places.
        (
            '{"note": "\\"lxc_configs\\": {", "deprecated_profiles": {"lxc_configs": "a"}, "lxc_configs": {}}',
            '{"note": "\\"lxc_configs\\": {", "deprecated_profiles": {"lxc_configs": "a"}, '
            '"lxc_configs": {"101": {"name": "a\u00e4", "tags": ["x"]}}}',
        ),
    ],
)
def test_entries_are_written_as_the_file_is(text: str, expected: str) -> None:
    assert merged(text, ONE, explicit=False) == expected
    assert merged(text, {}, explicit=True) is text


@pytest.mark.parametrize(
    ("text", "begins"),
    [
        (
            '{\n  "note": "n",\n  "lxc_configs": {}\n}',
            '{\n  "note": "n",\n  "unconfined_means": "explicit-line",\n',
        ),
        ('{\r\n  "lxc_configs": {}\r\n}', '{\r\n  "unconfined_means": "explicit-line",\r\n  "lxc_configs"'),
        ('{"lxc_configs": {}}', '{"unconfined_means": "explicit-line", "lxc_configs": {"101"'),
        ('{"lxc_configs": {\n "9": {}\n}}', '{"unconfined_means": "explicit-line", "lxc_configs": {\n "9"'),
    ],
)
def test_what_unconfined_means_is_said_before_them(text: str, begins: str) -> None:
    assert merged(text, ONE, explicit=True).startswith(begins)


def test_several_entries_and_what_is_in_them() -> None:
    assert (
        merged('{\n "lxc_configs": {}\n}', TWO, explicit=False)
        == """{
 "lxc_configs": {
  "101": {
   "name": "a",
   "networks": {
    "net0": {"name": "eth0", "bridge": "b"},
    "net1": {"bridge": "c"}
   }
  },
  "102": {}
 }
}"""
    )
    assert merged('{"lxc_configs": {}}', TWO, explicit=False) == (
        '{"lxc_configs": {"101": {"name": "a", "networks": {"net0": {"name": "eth0", "bridge": "b"}, '
        '"net1": {"bridge": "c"}}}, "102": {}}}'
    )
