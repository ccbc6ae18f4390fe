"""Policy ``fail-closed``."""

from policies.stack import policy
from testbed.rules import fail_closed as rule

POLICY = policy(
    rule.NAME, "Whatever cannot be proved is refused: unknown values, unmodelled kinds, unclear identities."
)
