"""hardened-pods: no pod of a testbed can leave its container, its network or its namespace's secrets."""

from __future__ import annotations

import base64
import binascii
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from testbed import contract as c
from testbed.edits import Edit
from testbed.manifests import Object, Path_, mapping, sequence
from testbed.reachability import properties
from testbed.reachability.attachments import DEFAULT_NETWORK
from testbed.rules import programs
from testbed.rules.context import Context
from testbed.rules.violation import Violation, violation
from testbed.workloads import Pod, namespace_labels

NAME = "hardened-pods"
PROJECTED = ("configMap", "secret", "downwardAPI")  # the others are identities at the API server
# What Kubernetes itself grants to everyone: plugin/pkg/auth/authorizer/rbac/bootstrappolicy/policy.go.
FOR_EVERYONE = frozenset(["system:basic-user", "system:discovery", "system:public-info-viewer"])
_SERVICE_ACCOUNT = "system:serviceaccount:"
_TOKEN = "kubernetes.io/service-account-token"  # noqa: S105 - a type of secret
_LONG = 16  # bytes; a shorter value under another name may be equal by chance


class _Judge:
    def __init__(self, context: Context) -> None:
        self.context = context
        self.found: list[Violation] = []

    def report(self, obj: Object, path: Path_, message: str, repair: str, edit: Edit | None = None) -> None:
        self.found.append(violation(NAME, obj, path, message, repair, edits=(edit,) if edit else ()))

    def put(self, pod: Pod, path: Path_, value: Any, message: str) -> None:
        """Report a field whose repair is one value."""
        shown = str(value).lower() if isinstance(value, bool) else repr(value)
        self.report(pod.owner, path, message, f"set it to {shown}", Edit("set", pod.owner.key, path, value))

    def drop(self, pod: Pod, path: Path_, message: str) -> None:
        """Report a field whose repair is its removal."""
        self.report(pod.owner, path, message, "remove it", Edit("remove", pod.owner.key, path))

    def pod(self, pod: Pod) -> None:
        spec = pod.spec
        for key, what in (("hostNetwork", "network"), ("hostPID", "processes"), ("hostIPC", "shared memory")):
            if spec.get(key) not in (None, False):
                self.put(pod, pod.path("spec", key), False, f"it shares the node's {what}")
        if spec.get("automountServiceAccountToken") is not False:
            self.put(pod, pod.path("spec", "automountServiceAccountToken"), False, "it gets a service-account token")
        for index, sysctl in enumerate(sequence(mapping(spec.get("securityContext")).get("sysctls"))):
            name = str(mapping(sysctl).get("name")).replace("/", ".")  # both are separators
            if name.startswith(("net.", "kernel.")):
                self.drop(
                    pod,
                    pod.path("spec", "securityContext", "sysctls", index),
                    f"sysctl {name} changes how its kernel forwards",
                )
        windows = mapping(mapping(spec.get("securityContext")).get("windowsOptions"))
        if windows.get("hostProcess") is True:
            self.put(
                pod, pod.path("spec", "securityContext", "windowsOptions", "hostProcess"), False, "it runs as the node"
            )
        if spec.get("resourceClaims"):
            self.drop(pod, pod.path("spec", "resourceClaims"), "it claims a device, which may be a network interface")
        for path, container in pod.containers():
            self._container(pod, path, container)
        for index, entry in enumerate(sequence(spec.get("volumes"))):
            for at, source in enumerate(sequence(mapping(mapping(entry).get("projected")).get("sources"))):
                for key in mapping(source):
                    if key not in PROJECTED:
                        self.drop(
                            pod, pod.path("spec", "volumes", index, "projected", "sources", at), f"it mounts a {key}"
                        )
        self._annotations(pod)

    def _container(self, pod: Pod, path: Path_, container: Mapping[str, Any]) -> None:
        for index, port in enumerate(sequence(container.get("ports"))):
            if mapping(port).get("hostPort"):
                self.drop(pod, (*path, "ports", index, "hostPort"), "it opens a port of the node")
        security, at = mapping(container.get("securityContext")), (*path, "securityContext")
        whole = mapping(pod.spec.get("securityContext"))
        if security.get("privileged") not in (None, False):
            self.put(pod, (*at, "privileged"), False, "it is privileged")
        if security.get("allowPrivilegeEscalation") is not False:
            self.put(pod, (*at, "allowPrivilegeEscalation"), False, "a process may gain privileges")
        if security.get("procMount") not in (None, "Default"):
            self.put(pod, (*at, "procMount"), "Default", "it sees the kernel's settings unmasked")
        capabilities = mapping(security.get("capabilities"))
        for index, name in enumerate(sequence(capabilities.get("add"))):
            if name != "NET_BIND_SERVICE":
                self.drop(pod, (*at, "capabilities", "add", index), f"capability {name}")
        dropped = {str(d).upper() for d in sequence(capabilities.get("drop"))}
        if "ALL" not in dropped:
            self.put(pod, (*at, "capabilities", "drop"), ["ALL"], "it keeps capabilities such as NET_RAW")
        root = security.get("runAsNonRoot", whole.get("runAsNonRoot"))
        user = security.get("runAsUser", whole.get("runAsUser"))
        if root is not True or user == 0:
            self.put(pod, (*at, "runAsNonRoot"), True, "it may run as root")
        seccomp = mapping(security.get("seccompProfile")) or mapping(whole.get("seccompProfile"))
        if seccomp.get("type") not in ("RuntimeDefault", "Localhost"):
            self.put(pod, (*at, "seccompProfile"), {"type": "RuntimeDefault"}, "its system calls are not filtered")

    def _annotations(self, pod: Pod) -> None:
        providers = {"ovn"} | {nic.name for nic in self.context.model.nics_of.get(pod, ()) if not nic.primary}
        for key, value in pod.annotations.items():
            provider, field = properties.nic_field(str(key)) or (None, "")
            found = properties.NIC.get(field, properties.UNKNOWN)
            refused = found.status == "hazard" or field in properties.HAZARDOUS
            # Of a provider that no NIC has, no release reads a field that is not in the table.
            mine = provider is not None and (provider in providers or ".ovn" in provider or field in properties.NIC)
            if mine and refused and value not in ("", "false"):
                why = found.why or "it lets packets pass that its subnet does not give it"
                self.drop(pod, pod.annotation(str(key)), f"NIC annotation {field}: {why}")
        if DEFAULT_NETWORK in pod.annotations:
            self.drop(pod, pod.annotation(DEFAULT_NETWORK), "it replaces eth0 by a network outside the testbed")

    def ports(self) -> None:
        """Port security on every NIC of a testbed's pod."""
        for pod, nics in self.context.model.nics_of.items():
            if not (pod.client or pod.role):
                continue
            keys = {str(nic.security[-1]): nic for nic in nics if str(nic.security[-1]).endswith("/port_security")}
            open_ = [nic for key, nic in keys.items() if pod.annotations.get(key) != "true"]
            if open_:
                named = ", ".join(nic.name for nic in open_[:4]) + (" ..." if len(open_) > 4 else "")
                message = f"NIC {named} has no port security: it can forge its source"
                edits = tuple(Edit("set", pod.owner.key, nic.security, "true") for nic in open_)
                text = "set it to 'true'" + (f", on each of the {len(open_)} NICs" if len(open_) > 1 else "")
                self.found.append(violation(NAME, pod.owner, open_[0].security, message, text, edits=edits))

    def bindings(self) -> None:
        """No right of one client's service accounts in another's namespace, nor cluster-wide."""
        owners = {
            n: str(labels.get(c.LABEL_CLIENT) or "")
            for n, labels in namespace_labels(self.context.objects).items()
            if labels.get(c.LABEL_ROLE)
        }
        declared = {o.name for o in self.context.objects if o.kind == "ClusterRole"}
        for obj in self.context.objects:
            if obj.kind not in ("RoleBinding", "ClusterRoleBinding") or obj.group != "rbac.authorization.k8s.io":
                continue
            role = mapping(obj.body.get("roleRef"))
            if role.get("kind") == "ClusterRole" and str(role.get("name")) in FOR_EVERYONE - declared:
                continue
            for index, entry in enumerate(sequence(obj.body.get("subjects"))):
                subject = mapping(entry)
                message = self._foreign(obj, subject, owners)
                if message:
                    self.report(
                        obj,
                        ("subjects", index),
                        message,
                        "remove the subject",
                        Edit("remove", obj.key, ("subjects", index)),
                    )

    @staticmethod
    def _foreign(obj: Object, subject: Mapping[str, Any], owners: Mapping[str, str]) -> str | None:
        kind, name = subject.get("kind"), str(subject.get("name"))
        home = str(subject.get("namespace") or obj.namespace)
        if kind == "User" and name.startswith(_SERVICE_ACCOUNT):
            kind, (home, _, name) = "ServiceAccount", name.removeprefix(_SERVICE_ACCOUNT).partition(":")
        target = obj.namespace if obj.kind == "RoleBinding" else None
        testbed = target in owners if target is not None else bool(owners)
        if kind == "Group" and name.startswith(
            ("system:serviceaccounts", "system:authenticated", "system:unauthenticated")
        ):
            limited = (
                name.removeprefix("system:serviceaccounts:") if name.startswith("system:serviceaccounts:") else None
            )
            if testbed and (limited is None or limited != target):
                return f"group {name} gets rights " + (f"in namespace {target}" if target else "in the whole cluster")
        if kind == "ServiceAccount":
            if target is None and home in owners:
                return f"service account {home}/{name} gets rights in the whole cluster"
            if target is not None and home != target and (target in owners or home in owners):
                return f"service account {home}/{name} gets rights in namespace {target}"
        return None

    def secrets(self) -> None:
        """No secret of one namespace is another's too, whatever it is called there, and none is a way to the API."""
        labels = namespace_labels(self.context.objects)
        for obj in self.context.objects:
            if obj.kind == "Secret" and obj.group == "":
                self._secret(obj, labels.get(obj.namespace, {}))
        ours = [o for o in self.context.objects if labels.get(o.namespace, {}).get(c.LABEL_ROLE) and o.group == ""]
        held: dict[str, dict[str, list[tuple[str, Object]]]] = defaultdict(lambda: defaultdict(list))
        for obj in ours:
            if obj.kind == "Secret":
                for path, value in _values(obj):
                    held[value][obj.namespace].append((str(path[-1]), obj))
        for obj in ours:
            if obj.kind in ("Secret", "ConfigMap"):
                for path, value in _values(obj):
                    self._shared(obj, path, value, held.get(value, {}))

    def _secret(self, obj: Object, home: Mapping[str, Any]) -> None:
        client, labelled = home.get(c.LABEL_CLIENT), obj.labels.get(c.LABEL_CLIENT)
        if labelled and client != labelled:
            message = f"a secret of client {labelled} lies in namespace {obj.namespace}"
            self.report(obj, ("metadata", "labels", c.LABEL_CLIENT), message, "move it to the client's namespace")
        if home.get(c.LABEL_ROLE) and obj.body.get("type") == _TOKEN:
            self.report(obj, ("type",), "it holds a service-account token", "remove it")

    def _shared(self, obj: Object, path: Path_, value: str, holders: Mapping[str, list[tuple[str, Object]]]) -> None:
        for namespace, entries in holders.items():
            for key, other in entries:
                if namespace == obj.namespace or (key != path[-1] and len(value) < _LONG):
                    continue
                if obj.kind == "Secret" and (other.namespace, other.name) > (obj.namespace, obj.name):
                    continue  # told once, at the later of the two
                message = f"it holds the same value as {other.ref}: one could act as the other"
                self.report(obj, path, message, "give each namespace its own")
                return


def _values(obj: Object) -> Iterator[tuple[Path_, str]]:
    """Every value with its path, decoded; without certificates, which everyone may have, and redacted values."""
    for field in ("data", "stringData", "binaryData"):
        for key, value in mapping(obj.body.get(field)).items():
            if not isinstance(value, str) or not value or value.startswith("("):
                continue
            plain = value if field == "stringData" or (field, obj.kind) == ("data", "ConfigMap") else _decoded(value)
            if "-----BEGIN CERTIFICATE-----" not in plain or "PRIVATE KEY" in plain:
                yield (field, str(key)), plain


def _decoded(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode("latin-1")
    except (binascii.Error, ValueError):
        return value


def check(context: Context) -> list[Violation]:
    """Refuse every pod, binding and secret by which one could reach past its bounds."""
    judge = _Judge(context)
    for pod in context.pods:
        if pod.client or pod.role:
            judge.pod(pod)
    judge.ports()
    judge.bindings()
    judge.secrets()
    return [*judge.found, *programs.check(context)]
