"""The nodes' CNI plugin: plugs a pod's NICs as the network's controller allocated them in the pod's annotations.

containerd runs it for every pod (https://www.cni.dev/docs/spec): the command and the pod are in the environment, its
configuration is on stdin, the answer is on stdout.
"""

from __future__ import annotations

import json
import os
import ssl
import sys
import time
from contextlib import closing
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.ovn import ports
from lab.paths import Paths

WAIT, BEAT = 60.0, 0.1  # seconds until a pod without addresses fails, and is tried again; between two looks at it
TRY_AGAIN = 11  # the specification's error code


def main() -> int:
    """Serve one command; exit 1 with the reason on stdout when it failed."""
    command, config = os.environ["CNI_COMMAND"], json.load(sys.stdin)
    answer: dict[str, Any] = {"cniVersion": config["cniVersion"]}
    code = 0
    try:
        if command == "ADD":
            answer |= _add(config)
        elif command == "DEL":
            ports.unplug(Paths(Path(config["root"])), os.environ["CNI_CONTAINERID"])
        elif command == "VERSION":
            answer["supportedVersions"] = ["0.3.1", "0.4.0", "1.0.0"]
    except (LabError, OSError, HTTPException) as error:
        answer |= {"code": TRY_AGAIN, "msg": str(error)}
        code = 1
    json.dump(answer, sys.stdout)
    return code


def _add(config: dict[str, str]) -> dict[str, Any]:
    paths, netns = Paths(Path(config["root"])), os.environ["CNI_NETNS"]
    arguments = dict(pair.split("=", 1) for pair in os.environ["CNI_ARGS"].split(";"))
    nics = _allocated(paths, config["user"], arguments)
    ports.plug(paths, Path(netns).name, nics, os.environ["CNI_CONTAINERID"])
    interfaces = [{"name": nic.interface, "mac": nic.mac, "sandbox": netns} for nic in nics]
    first = {"version": "4", "address": str(nics[0].address), "gateway": nics[0].gateway, "interface": 0}
    return {"interfaces": interfaces, "ips": [first]}  # a pod has one address a family: its eth0's


def _allocated(paths: Paths, user: str, arguments: dict[str, str]) -> list[ports.Nic]:
    """Wait until every NIC of the pod has its address.

    Raises:
        LabError: it took too long, or the pod is gone.
    """
    deadline = time.monotonic() + WAIT
    while True:
        pod = _pod(paths, user, arguments["K8S_POD_NAMESPACE"], arguments["K8S_POD_NAME"])
        if pod["metadata"]["uid"] != arguments.get("K8S_POD_UID", pod["metadata"]["uid"]):
            raise LabError("the pod is gone; another has its name")
        if (nics := ports.nics(pod)) is not None:
            return nics
        if time.monotonic() > deadline:
            raise LabError(f"the network's controller gave it no addresses within {WAIT:.0f} s")
        time.sleep(BEAT)


def _pod(paths: Paths, user: str, namespace: str, name: str) -> dict[str, Any]:
    """Read a pod with the credentials of its node, which may read no other node's."""
    pki = paths.run / "pki"
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    context.load_cert_chain(pki / f"{user}.crt", pki / f"{user}.key")
    port = json.loads((paths.run / "ports.json").read_text())["kube-apiserver"]
    with closing(HTTPSConnection("127.0.0.1", port, context=context, timeout=10)) as connection:
        connection.request("GET", f"/api/v1/namespaces/{namespace}/pods/{name}")
        reply = connection.getresponse()
        found = dict(json.load(reply))
    if reply.status != 200:
        raise LabError(f"pod {namespace}/{name}: {found.get('message')}")
    return found


if __name__ == "__main__":
    sys.exit(main())
