"""The policy pack's entry point: the engine starts it, and it serves until the engine ends it."""

import gc

from pulumi_policy import EnforcementLevel, PolicyPack

from policies import cross_client, fail_closed, hardened_pods, p3vc_only, privacy_budget, server

gc.disable()  # the SDK wraps every value of every resource: a third of the time would be a search for cycles in them
server.install()

PolicyPack(
    name="kubeflower",
    enforcement_level=EnforcementLevel.MANDATORY,
    policies=[rule.POLICY for rule in (privacy_budget, cross_client, p3vc_only, hardened_pods, fail_closed)],
)
