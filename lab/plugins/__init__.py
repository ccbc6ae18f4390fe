"""Pulumi's plugins: where the official ones are found, and a stand-in for its Python language host where it is absent.

Pulumi publishes its language host only as a binary on its own servers. The stand-in serves the same protocol; it lacks
what this project has no use for: making a project, installing packages, generating SDKs.
"""
