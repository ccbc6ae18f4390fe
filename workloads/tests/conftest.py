"""Settings of every test."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# A busy machine would fail a correct program by a deadline, or by how long it takes to make examples.
settings.register_profile("kubeflower", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kubeflower")
