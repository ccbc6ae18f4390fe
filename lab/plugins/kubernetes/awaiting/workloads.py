"""Readiness of pods and of what makes them, with the pod and container that is behind named in each message."""

from __future__ import annotations

from lab.plugins.kubernetes.awaiting.progress import Progress, View, condition, holds
from lab.plugins.kubernetes.properties import Object, get


def deployment(view: View) -> Progress:
    """A deployment is ready once every pod is of its latest version and available."""
    progressing = condition(view.live, "Progressing")
    if view.current and progressing.get("reason") == "ProgressDeadlineExceeded":
        return Progress(failure=f"deployment {view.name}: {progressing.get('message')}{_behind(view)}")
    wanted, updated, available = (
        get(view.live, "spec", "replicas", default=1),
        get(view.live, "status", "updatedReplicas", default=0),
        get(view.live, "status", "availableReplicas", default=0),
    )
    if not view.current or updated < wanted or available < wanted:
        return _rollout("deployment", view, 1, 2, f"{min(updated, available)}/{wanted} pods available")
    if get(view.live, "status", "replicas", default=0) > updated:
        return _rollout("deployment", view, 2, 2, "old pods are ending")
    return Progress(done=True)


def stateful_set(view: View) -> Progress:
    """A stateful set is ready once every pod is of its latest version and ready."""
    if get(view.live, "spec", "updateStrategy", "type") == "OnDelete":
        return Progress(done=True)
    wanted, ready, updated = (
        get(view.live, "spec", "replicas", default=1),
        get(view.live, "status", "readyReplicas", default=0),
        get(view.live, "status", "updatedReplicas", default=0),
    )
    partition = get(view.live, "spec", "updateStrategy", "rollingUpdate", "partition", default=0)
    if not view.current or ready < wanted:
        return _rollout("stateful set", view, 1, 2, f"{ready}/{wanted} pods ready")
    if updated < max(0, wanted - partition):
        return _rollout("stateful set", view, 2, 2, f"{updated}/{wanted} pods of the latest version")
    return Progress(done=True)


def daemon_set(view: View) -> Progress:
    """A daemon set is ready once every node that should has an available pod of its latest version."""
    if get(view.live, "spec", "updateStrategy", "type") == "OnDelete":
        return Progress(done=True)
    wanted = get(view.live, "status", "desiredNumberScheduled", default=0)
    updated = get(view.live, "status", "updatedNumberScheduled", default=0)
    available = get(view.live, "status", "numberAvailable", default=0)
    if view.current and updated >= wanted and available >= wanted:
        return Progress(done=True)
    return _rollout("daemon set", view, 1, 1, f"{min(updated, available)}/{wanted} pods available")


def job(view: View) -> Progress:
    """A job is ready once it is complete; a suspended one is not waited for."""
    if holds(view.live, "Complete") or get(view.live, "spec", "suspend"):
        return Progress(done=True)
    failed = condition(view.live, "Failed")
    if failed.get("status") == "True":
        text = f"job {view.name} failed ({failed.get('reason')}: {failed.get('message')})"
        pods = [pod for pod in view.pods() if get(pod, "status", "phase") == "Failed"]
        pods.sort(key=lambda pod: str(pod["metadata"].get("creationTimestamp")))
        return Progress(failure=f"{text}; {describe_failure(pods[-1])}" if pods else text)
    wanted = get(view.live, "spec", "completions", default=1)
    done = get(view.live, "status", "succeeded", default=0)
    return _rollout("job", view, 1, 1, f"{done}/{wanted} pods succeeded")


def pod(view: View) -> Progress:
    """A pod is ready once its containers are, or once they have all succeeded."""
    phase = get(view.live, "status", "phase", default="Pending")
    if phase == "Succeeded" or holds(view.live, "Ready"):
        return Progress(done=True)
    if phase == "Failed":
        return Progress(failure=describe_failure(view.live))
    step = 2 if holds(view.live, "PodScheduled") else 1
    return Progress(message=f"[{step}/2] Waiting for {describe(view.live)}")


def describe(live: Object) -> str:
    """A pod and why it is not ready: not scheduled, or the first container that is behind and its state."""
    name = f"pod {get(live, 'metadata', 'namespace')}/{live['metadata']['name']}"
    scheduled = condition(live, "PodScheduled")
    if scheduled.get("status") != "True":
        return f"{name}: not scheduled: {scheduled.get('message') or 'no node chosen yet'}"
    for field, kind in (("initContainerStatuses", "init container"), ("containerStatuses", "container")):
        for status in get(live, "status", field, default=[]):
            behind = "not complete" if kind == "init container" else "not ready"
            finished = get(status, "state", "terminated", "exitCode") == 0
            if not (status.get("ready") or (kind == "init container" and finished)):
                return f"{name}: {kind} {status.get('name')} {behind}: {_state(status)}"
    return f"{name}: {condition(live, 'Ready').get('message') or get(live, 'status', 'phase', default='Pending')}"


def describe_failure(live: Object) -> str:
    """A failed pod, with the container that failed, its exit code and its termination message."""
    name = f"pod {get(live, 'metadata', 'namespace')}/{live['metadata']['name']}"
    for field in ("initContainerStatuses", "containerStatuses"):
        for status in get(live, "status", field, default=[]):
            ended = get(status, "state", "terminated", default={})
            if ended and ended.get("exitCode") != 0:
                message = str(ended.get("message") or "").strip()
                return (
                    f"{name}: container {status.get('name')} ended with exit code {ended.get('exitCode')} "
                    f"({ended.get('reason') or 'Error'})" + (f": {message}" if message else "")
                )
    reason = get(live, "status", "reason", default="Failed")
    return f"{name} failed: {reason}: {get(live, 'status', 'message', default='no message')}"


def _state(status: Object) -> str:
    state = status.get("state") or {}
    if "running" in state:
        return "running, its readiness probe has not passed yet"
    kind = next(iter(state), "waiting")
    detail: Object = state.get(kind) or {}
    text = str(detail.get("reason") or ("starting" if kind == "waiting" else kind))
    last = get(status, "lastState", "terminated", "message")
    message = str(detail.get("message") or last or "").strip()
    return f"{text}: {message}" if message else text


def _rollout(kind: str, view: View, step: int, steps: int, counts: str) -> Progress:
    return Progress(message=f"[{step}/{steps}] Waiting for {kind} {view.name} ({counts}){_behind(view)}")


def _behind(view: View) -> str:
    """The first pod that is not ready, or why there is none, as the end of a message."""
    pods = sorted(view.pods(), key=lambda pod: str(pod["metadata"]["name"]))
    for live in pods:
        phase = get(live, "status", "phase")
        if phase == "Failed":
            return f"; {describe_failure(live)}"
        if phase != "Succeeded" and not holds(live, "Ready"):
            return f"; {describe(live)}"
    warning = view.warning()
    return f"; {warning}" if warning else ""
