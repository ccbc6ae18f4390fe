"""Policy ``hardened-pods``."""

from policies.stack import policy
from testbed.rules import hardened_pods as rule

POLICY = policy(rule.NAME, "No pod of a testbed can leave its container, its networks or its namespace's secrets.")
