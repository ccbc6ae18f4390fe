"""Policy ``privacy-budget``."""

from policies.stack import policy
from testbed.rules import privacy_budget as rule

CONFIG = {
    "budget": {"type": ["string", "number"], "description": "cap of the epsilon of one dataset"},
    "testbedBudget": {"type": ["string", "number"], "description": "cap over all datasets; the budget when absent"},
    "composition": {"type": "string", "enum": ["basic", "advanced", "zcdp"]},
    "delta": {
        "type": ["string", "number"],
        "description": "failure probability of advanced and zcdp; with basic, cap of the deltas of one dataset",
    },
    "neighbourhood": {"type": "integer", "description": "pixels of a record that a release must protect at least"},
    "spent": {"type": "object", "description": "what ledgers hold: by dataset, ledger (NODE:FOLDER) and claim"},
}

POLICY = policy(
    rule.NAME, "Everything already spent and everything this deployment would spend stays within the budget.", CONFIG
)
