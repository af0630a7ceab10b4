#!/usr/bin/python
# Copyright (c) 2026, The Phoenix authors
# SPDX-License-Identifier: Apache-2.0
"""Install the profiles on a node."""

DOCUMENTATION = r"""
---
module: setup
short_description: Install and load the profiles on a node
version_added: "0.1.0"
description:
  - Proves the profiles, installs and loads what changed, and retires deprecated ones, as one transaction. No
    container is touched. It is C(phoenix setup).
options:
  adopt:
    description:
      - Profiles and includes of others that Phoenix may take over, by name.
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - phoenix.hypervisor.command
  - phoenix.hypervisor.command.signed
  - phoenix.hypervisor.command.changes
author:
  - The Phoenix authors (@phoenix)
"""

EXAMPLES = r"""
- name: Install the profiles
  phoenix.hypervisor.setup:
"""

RETURN = r"""
changes:
  description: What was done, or would be, in order.
  returned: when something is to be changed
  type: list
  elements: dict
  contains:
    kind:
      description: What kind of step it is.
      type: str
      sample: assign
    target:
      description: The CTID, the profile or the include that it is about.
      type: str
      sample: "101"
    summary:
      description: The step in words.
      type: str
    path:
      description: The file that it writes, where it writes one.
      type: str
    processes:
      description: The exact argument vectors that it runs.
      type: list
      elements: list
    before_sha256:
      description: Of its content before. V(none) where there is no file, or where it is not known.
      type: str
    after_sha256:
      description: Of its content after.
      type: str
notes:
  description: What was left out on purpose, risks, refusals, and what started and does not run as declared.
  returned: when something is to be changed, or was refused
  type: list
  elements: dict
  contains:
    kind:
      description: One of V(skipped), V(warning), V(refused) and V(unconfirmed).
      type: str
    code:
      description: The stable code.
      type: str
      sample: restart-needed
    target:
      description: What it is about.
      type: str
    text:
      description: The same in words.
      type: str
    hint:
      description: The next step.
      type: str
effects:
  description: In check mode, what each changed profile would allow otherwise than now, in lines.
  returned: in check mode
  type: dict
transaction:
  description: Its number, for M(phoenix.hypervisor.rollback). V(none) where nothing was changed.
  returned: always
  type: int
  sample: 7
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.phoenix.hypervisor.plugins.module_utils.command import (
    COMMON,
    SIGNED,
    carry_out,
    setup,
)


def main():
    """Runs the module."""
    spec = {"adopt": {"type": "list", "elements": "str", "default": []}}
    carry_out(AnsibleModule(argument_spec={**COMMON, **SIGNED, **spec}, supports_check_mode=True), setup)


if __name__ == "__main__":
    main()
