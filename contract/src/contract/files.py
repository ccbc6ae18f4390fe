"""Files that one side leaves for another."""

from __future__ import annotations

# On a client's private volume.
MANIFEST = "manifest.json"  # appears last in a complete release
TRAINING = "training.json"  # beside it: the newest grant of a training run

# On the server's volume of results, in a folder a run.
HISTORY = "history.jsonl"  # one line a round
MODEL = "model.npz"
SUMMARY = "summary.json"  # appears last
