#!/usr/bin/python
# Copyright (c) 2026, The Phoenix authors
# SPDX-License-Identifier: Apache-2.0
"""Undo a transaction on a node."""

DOCUMENTATION = r"""
---
module: rollback
short_description: Undo a transaction on a node
version_added: "0.1.0"
description:
  - Puts files, kernel and profile lines back as they were before the transaction. It is C(phoenix rollback).
  - If the transaction is already rolled back, nothing is changed.
options:
  transaction:
    description:
      - The number of the transaction, as M(phoenix.hypervisor.apply) returns it.
    type: int
    required: true
  restart:
    description:
      - Restart the containers that the transaction had started or restarted and whose lines go back.
      - Without it, a profile that such a container runs under cannot be unloaded, and it is refused.
    type: bool
    default: false
extends_documentation_fragment:
  - phoenix.hypervisor.command
  - phoenix.hypervisor.command.changes
author:
  - The Phoenix authors (@phoenix)
"""

EXAMPLES = r"""
- name: Take back what was just applied
  phoenix.hypervisor.rollback:
    transaction: "{{ applied.transaction }}"
    restart: true
  when: applied.transaction is not none
"""

RETURN = r"""
rolled_back_by:
  description: The transaction that undid it. V(none) in check mode.
  returned: success
  type: int
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
from ansible_collections.phoenix.hypervisor.plugins.module_utils.command import COMMON, carry_out, rollback


def main():
    """Runs the module."""
    spec = {"transaction": {"type": "int", "required": True}, "restart": {"type": "bool", "default": False}}
    carry_out(AnsibleModule(argument_spec={**COMMON, **spec}, supports_check_mode=True), rollback)


if __name__ == "__main__":
    main()
