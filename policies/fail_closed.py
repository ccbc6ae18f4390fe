"""Policy ``fail-closed``."""

from policies.stack import policy
from testbed.rules import fail_closed as rule

CONFIG = {
    "trust": {
        "type": "array",
        "items": {"type": "string"},
        "description": "kinds outside the rules that are admitted: group/Kind, or group/Kind/name for one object",
    }
}

POLICY = policy(
    rule.NAME, "Whatever cannot be proved is refused: unknown values, unmodelled kinds, unclear identities.", CONFIG
)
