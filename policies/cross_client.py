"""Policy ``no-cross-client-route``."""

from policies.stack import policy
from testbed.rules import cross_client as rule

CONFIG = {
    "isolation": {
        "type": "string",
        "enum": ["client", "node", "domain"],
        "description": "clients that may share a network",
    }
}

POLICY = policy(
    rule.NAME,
    "No packet passes from one client to another: directly, with a forged source, or through the server.",
    CONFIG,
)
