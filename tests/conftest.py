"""Settings of every test."""

from hypothesis import settings

# A deadline would make a busy machine fail a correct program.
settings.register_profile("kubeflower", deadline=None)
settings.load_profile("kubeflower")
