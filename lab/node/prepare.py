"""The bundle of a container, written to its folder just before it starts."""

from __future__ import annotations

import shutil
from pathlib import Path

from lab.api import Object
from lab.node import bundle, image
from lab.node.environment import environment
from lab.node.sandbox import Sandbox

TERMINATION_LOG = "termination-log"


def prepare(sandbox: Sandbox, pod: Object, container: Object, folder: Path, cgroup: str) -> None:
    """Write root filesystem, termination log and configuration of a container into ``folder``.

    Raises:
        PodError: the image is not to be had, or a ConfigMap, a Secret or a volume is not as declared.
    """
    found = image.pull(container["image"])
    shutil.rmtree(folder, ignore_errors=True)
    rootfs = folder / "rootfs"
    rootfs.mkdir(parents=True)
    termination_log = folder / TERMINATION_LOG
    termination_log.touch()
    termination_log.chmod(0o666)  # whoever the container runs as writes it
    variables = environment(pod, container, sandbox.sources, sandbox.allocatable, found.environment)
    mounts = sandbox.volumes.mounts(container, variables)
    image.skeleton(found, rootfs, bundle.hostname(pod), sandbox.addresses, _resolver(pod))
    configuration = bundle.config(
        pod,
        container,
        found,
        environment=variables,
        mounts=mounts,
        termination_log=termination_log,
        netns=sandbox.netns,
        cgroup=cgroup,
    )
    bundle.write(folder, configuration)


def _resolver(pod: Object) -> str:
    """``resolv.conf`` of a pod: what its ``dnsConfig`` says; the lab has no DNS of its own."""
    dns = pod["spec"].get("dnsConfig", {})
    lines = [f"nameserver {address}" for address in dns.get("nameservers", [])]
    if dns.get("searches"):
        lines.append("search " + " ".join(dns["searches"]))
    options = [o["name"] + (f":{o['value']}" if o.get("value") else "") for o in dns.get("options", [])]
    if options:
        lines.append("options " + " ".join(options))
    return "".join(f"{line}\n" for line in lines)
