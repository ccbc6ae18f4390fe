"""Policy ``hardened-pods``."""

from policies.stack import policy
from testbed.rules import hardened_pods as rule

IMAGES = {"type": "array", "items": {"type": "string"}}
CONFIG = {
    "images": {**IMAGES, "description": "images of the testbed's own programs; any one image when empty"},
    "sidecars": {**IMAGES, "description": "images of other containers that its pods may have"},
}

POLICY = policy(
    rule.NAME, "No pod of a testbed can leave its container, its networks or its namespace's secrets.", CONFIG
)
