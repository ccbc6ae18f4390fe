"""Policy ``p3vc-only``."""

from policies.stack import policy
from testbed.rules import p3vc_only as rule

POLICY = policy(
    rule.NAME, "Raw data is read by its own P3-VC release alone, and a client starts only from a completed one."
)
