"""What every rule judges: the objects, their pods, and the network and storage they make, computed once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache

from testbed import contract as c
from testbed.manifests import Object
from testbed.reachability import groups, model, verdicts
from testbed.reachability.acl import Origin
from testbed.rules.config import PolicyConfig
from testbed.volumes import Use, Volumes, uses
from testbed.workloads import Pod, owner

# The engine asks each rule for itself about the same objects: the last model is kept for the next rule.
_model = lru_cache(maxsize=1)(model.build)


@dataclass(frozen=True, eq=False)
class Sharer:
    """A client on a network, by a NIC or by a binding that would give its next pod one.

    Attributes:
        network: ``testbed/network`` that its labels declare.
        origin: the field that puts it there.
    """

    client: str
    network: str | None
    obj: Object
    origin: Origin


class Context:
    """A set of objects under a policy configuration."""

    def __init__(self, objects: Iterable[Object], config: PolicyConfig | None = None) -> None:
        self.objects = tuple(o for o in objects if not o.patch)
        self.patches = [o for o in objects if o.patch]
        self.config = config or PolicyConfig()

    @cached_property
    def model(self) -> model.Model:
        """Routers, switches and ports."""
        return _model(self.objects)

    @cached_property
    def pods(self) -> tuple[Pod, ...]:
        """Every pod template."""
        return self.model.pods

    @cached_property
    def _groups(self) -> tuple[groups.Groups, list[tuple[Origin, str]]]:
        return groups.decide((*self.objects, *self.patches), self.pods, self.config.network.isolation)

    @property
    def groups(self) -> groups.Groups:
        """Which clients may share a network."""
        return self._groups[0]

    @property
    def group_problems(self) -> list[tuple[Origin, str]]:
        """Claims of a shared network that are not proved."""
        return self._groups[1]

    @cached_property
    def group_of(self) -> dict[str, str]:
        """The group of the client that each declared client's namespace belongs to."""
        found = {}
        for name, labels in self.model.homes.items():
            if labels.get(c.LABEL_CLIENT):
                client, _ = owner({}, labels)
                found[name] = self.groups.of_client.get(client or "", client or "")
        return found

    @cached_property
    def sharers(self) -> dict[str, dict[str, Sharer]]:
        """Who is on each client's network: one of each group that a NIC or a binding puts there."""
        found: dict[str, dict[str, Sharer]] = defaultdict(dict)
        for port in self.model.ports:
            pod = port.pod
            if pod.client:
                one = Sharer(pod.client, pod.group, pod.owner, port.origin)
                found[port.subnet.name].setdefault(self.groups.of(pod), one)
        for binding in self.model.bindings:
            group = self.group_of.get(binding.namespace)
            if group and binding.origin.obj:
                client, network = owner({}, self.model.homes[binding.namespace])
                one = Sharer(client or "", network, binding.origin.obj, binding.origin)
                found[binding.subnet].setdefault(group, one)
        return found

    @cached_property
    def reachability(self) -> verdicts.Result:
        """The verdict on every pair."""
        return verdicts.decide(self.model, self.groups)

    @cached_property
    def uses(self) -> tuple[Use, ...]:
        """Every mount of lasting storage."""
        volumes = Volumes(self.objects)
        return tuple(use for pod in self.pods for use in uses(pod, volumes))
