"""``runtime.py [runc's arguments]``: runc, but ``create`` mounts a container's outer folders first.

containerd puts a pod's volumes behind the binds of ``base_runtime_spec``; one on ``/tmp`` would hide the files of a
clone that lies below ``/tmp``. Run without the project's environment, for every container.
"""

import json
import os
import sys
from pathlib import Path

if "create" in sys.argv:
    file = Path(sys.argv[sys.argv.index("--bundle") + 1]) / "config.json"
    config = json.loads(file.read_text())
    config["mounts"].sort(key=lambda mount: len(Path(mount["destination"]).parts))
    file.write_text(json.dumps(config))
os.execvp("runc", ["runc", *sys.argv[1:]])  # noqa: S606 - there is nothing for a shell to do
