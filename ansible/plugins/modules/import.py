#!/usr/bin/python
# Copyright (c) 2026, The Phoenix authors
# SPDX-License-Identifier: Apache-2.0
"""Declare the containers of a node."""

DOCUMENTATION = r"""
---
module: import
short_description: Declare the containers that stand on a node
version_added: "0.1.0"
description:
  - Adds to the configuration the containers that it lacks, so that applying it changes nothing. They
    stay as they are. It is C(phoenix import --merge).
options:
  output:
    description:
      - The file to write on the node. Without it, the configuration, or where it belongs.
    type: path
  all_nodes:
    description:
      - The containers of the other nodes of the cluster too.
    type: bool
    default: false
extends_documentation_fragment:
  - phoenix.hypervisor.command
  - phoenix.hypervisor.command.changes
author:
  - The Phoenix authors (@phoenix)
"""

EXAMPLES = r"""
- name: Declare what stands
  phoenix.hypervisor.import:
"""

RETURN = r"""
path:
  description: The configuration.
  returned: success
  type: str
containers:
  description: What was added, each with its CTID, its entry, and the settings that are not declared.
  returned: success
  type: list
  elements: dict
declared_already:
  description: How many containers of the node the configuration had already.
  returned: success
  type: int
left_out:
  description: The containers that cannot be declared, each with its code, words and the next step.
  returned: success
  type: list
  elements: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.phoenix.hypervisor.plugins.module_utils.command import COMMON, carry_out, import_


def main():
    """Runs the module."""
    spec = {"output": {"type": "path"}, "all_nodes": {"type": "bool", "default": False}}
    carry_out(AnsibleModule(argument_spec={**COMMON, **spec}, supports_check_mode=True), import_)


if __name__ == "__main__":
    main()
