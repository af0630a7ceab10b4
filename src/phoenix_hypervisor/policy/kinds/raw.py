"""What securityfs `.access` is asked, as a question.

Owns its fields and their reading; `policy.raw_masks` answers.
"""

from __future__ import annotations

import binascii

from phoenix_hypervisor.policy.fault import PolicyError
from phoenix_hypervisor.policy.query import Fields, Form, Option, RawQuery


def _raw(fields: Fields) -> RawQuery:
    number = fields.number("class", 255)
    text = fields.text("string")
    try:
        string = binascii.unhexlify(text)  # bytes.fromhex would skip blanks
    except ValueError:
        raise PolicyError("'string' must be hexadecimal, two digits for each byte") from None
    return RawQuery(number, string, fields.number("uid", 0xFFFFFFFF, 0))


FORMS = (
    Form(
        name="raw",
        parse=_raw,
        options=(
            Option("class", "the class", int),
            Option("string", "what follows the class byte, hexadecimal"),
            Option("uid", "0 asks as the owner", int),
        ),
    ),
)
