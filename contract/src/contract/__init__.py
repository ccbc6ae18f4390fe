"""What the two Python environments must agree on.

The root environment plans and judges a testbed; ``workloads`` spends its privacy. Both call this package, so that a
plan, a ledger and an output cannot differ about what a history costs, or about the name of a claim. It imports neither.
"""
