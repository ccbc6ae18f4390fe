"""What apps import, imported by the fork server of ``federation.executor`` before there is a message."""
# ruff: noqa: F401

from __future__ import annotations

import gc

import flwr.superlink.runtime.run_serverapp
import flwr.supernode.runtime.run_clientapp

import federation.bundle
import federation.client_app
import federation.executor
import federation.model
import federation.training

federation.bundle.build()

# A collection in a fork would write to every object it inherited, and so copy their memory: 79 MB of it.
gc.collect()
gc.freeze()
