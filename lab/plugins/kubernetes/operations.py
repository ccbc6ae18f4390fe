"""Creating, updating, reading and deleting objects, for real or as a preview."""

from __future__ import annotations

import threading
from typing import Any

from lab.plugins.kubernetes import apply
from lab.plugins.kubernetes.awaiting import NotReady, Waiting
from lab.plugins.kubernetes.cluster import ApiError, UnknownKindError, Unreachable
from lab.plugins.kubernetes.configuring import Settings
from lab.plugins.kubernetes.log import EngineLog
from lab.plugins.kubernetes.properties import UNKNOWN, Object, get, has_unknown
from lab.plugins.kubernetes.tokens import Kind

PROPAGATION = "pulumi.com/deletionPropagationPolicy"
_SETTLE = 30.0  # seconds in which a namespace or a custom resource definition made just before must appear


class Operations:
    """What the provider does to objects.

    Args:
        settings: the provider's configuration.
        log: where progress is shown.
        cancelled: set when the engine wants every wait to end.
    """

    def __init__(self, settings: Settings, log: EngineLog, cancelled: threading.Event) -> None:
        self.settings = settings
        self._cluster = settings.cluster
        self._log = log
        self._cancelled = cancelled

    def namespaced(self, kind: Kind) -> bool:
        """Whether a kind is namespaced: as the server says, or by the rule where it does not answer."""
        try:
            return self._cluster.served(kind).namespaced
        except (ApiError, UnknownKindError, Unreachable):
            return kind.namespaced_by_rule

    def preview(self, kind: Kind, inputs: Object, manager: str, *, creating: bool) -> Object:
        """The outputs that creating or updating an object would have.

        They are the server's, by a dry run, or the inputs where it cannot tell: a value is unknown, it does not
        answer, or the namespace, the kind or the object to patch is made in the same update.

        Raises:
            ApiError: the server would refuse.
            ConflictError: another manager owns one of the fields.
        """
        if has_unknown(inputs):
            return inputs
        try:
            if creating:
                live = self._existing(kind, inputs)
                if live is None and kind.patch:
                    return inputs
                if live is not None and not kind.patch:
                    self._refuse_existing(live, manager)
            dry = apply.apply(self._cluster, kind, inputs, manager, force=self._forced(inputs), dry_run=True)
        except Unreachable as error:
            self._log.warn_once(f"the preview is computed from the program alone: {error}")
            return inputs
        except UnknownKindError:
            return inputs
        except ApiError as error:
            if error.code == 404:
                return inputs
            raise self._named(kind, inputs, error) from None
        return apply.predicted(dry, inputs, manager, creating=creating)

    def create(self, urn: str, kind: Kind, inputs: Object, manager: str, seconds: float) -> Object:
        """Creates an object and waits until it is ready.

        Raises:
            ApiError: the server refuses it, or it exists already.
            NotReady: it was created but did not become ready.
        """
        waiting = self._waiting(urn, seconds)

        def attempt() -> Object:
            live = self._existing(kind, inputs)
            if live is None and kind.patch:
                raise ApiError(404, {"message": f"there is no {apply.describe(kind, inputs)} to patch"})
            if live is not None and not kind.patch:
                if live["metadata"].get("deletionTimestamp"):
                    raise _EndingError(f"{apply.describe(kind, inputs)} of before is still being deleted")
                self._refuse_existing(live, manager)
            return apply.apply(self._cluster, kind, inputs, manager, force=self._forced(inputs))

        live = self._named_call(kind, inputs, lambda: waiting.retry(attempt, while_failing=_passes, seconds=_SETTLE))
        return self._ready(waiting, kind, live, inputs, manager)

    def update(self, urn: str, kind: Kind, inputs: Object, manager: str, seconds: float) -> Object:
        """Updates an object and waits until it is ready.

        Raises:
            ApiError: the server refuses the change.
            NotReady: it was updated but did not become ready.
        """
        live = self._named_call(
            kind,
            inputs,
            lambda: apply.apply(self._cluster, kind, inputs, manager, force=self._forced(inputs)),
        )
        return self._ready(self._waiting(urn, seconds), kind, live, inputs, manager)

    def read(self, kind: Kind, namespace: str | None, name: str, manager: str) -> Object | None:
        """The outputs of an object as it is now; ``None`` where it is gone."""
        try:
            live = self._cluster.get(kind, self._scope(kind, namespace), name)
        except UnknownKindError:
            return None
        except Unreachable:
            if self.settings.delete_unreachable:
                return None
            raise
        return None if live is None else apply.outputs(live, manager)

    def delete(
        self,
        urn: str,
        kind: Kind,
        target: tuple[str | None, str],
        inputs: Object,
        *,
        manager: str,
        seconds: float,
    ) -> None:
        """Deletes an object and waits until it is gone; a patch gives up its fields instead.

        Raises:
            ApiError: the server refuses.
            NotReady: it is not gone in time.
        """
        namespace, name = target
        try:
            namespace = self._scope(kind, namespace)
            live = self._cluster.get(kind, namespace, name)
            if live is None:
                return
            if kind.patch:
                apply.relinquish(self._cluster, kind, namespace, name, manager)
                return
            policy = str(get(inputs, "metadata", "annotations", PROPAGATION, default="foreground")).capitalize()
            uid = live["metadata"]["uid"]
            self._cluster.request(
                "DELETE",
                self._cluster.served(kind).path(namespace, name),
                body={"propagationPolicy": policy, "preconditions": {"uid": uid}},
            )
        except UnknownKindError:
            return
        except Unreachable:
            if self.settings.delete_unreachable:
                return
            raise
        except ApiError as error:
            if error.code == 404:
                return
            raise
        self._waiting(urn, seconds).until_gone(kind, namespace, name, uid, inputs)

    def outputs(self, live: Object, manager: str) -> Object:
        """A live object as a resource's outputs."""
        return apply.outputs(live, manager)

    def _ready(self, waiting: Waiting, kind: Kind, live: Object, inputs: Object, manager: str) -> Object:
        if kind.patch:
            return apply.outputs(live, manager)
        try:
            return apply.outputs(waiting.until_ready(kind, live, inputs), manager)
        except (ApiError, UnknownKindError, Unreachable) as error:
            raise NotReady(f"cannot see whether {apply.describe(kind, inputs)} is ready: {error}", live) from None

    def _existing(self, kind: Kind, inputs: Object) -> Object | None:
        name = get(inputs, "metadata", "name")
        if not name:
            return None
        return self._cluster.get(kind, self._scope(kind, get(inputs, "metadata", "namespace")), name)

    def _refuse_existing(self, live: Object, manager: str) -> None:
        """Refuses to take over an object, unless this very resource made it in an update that was cut off."""
        managers = {entry.get("manager") for entry in live["metadata"].get("managedFields") or []}
        if self.settings.upsert or manager in managers:
            return
        raise ApiError(
            409,
            {
                "message": "it exists already and belongs to no resource of this stack. Import it, give this one "
                "another name, or set the provider's upsertExistingObjects to take it over"
            },
        )

    def _scope(self, kind: Kind, namespace: str | None) -> str | None:
        if not self._cluster.served(kind).namespaced:
            return None
        return namespace or self.settings.namespace

    def _forced(self, inputs: Object) -> bool:
        return apply.forced(inputs, self.settings.force)

    def _waiting(self, urn: str, seconds: float) -> Waiting:
        return Waiting(self._cluster, self._cancelled, lambda message: self._log.status(urn, message), seconds)

    def _named_call(self, kind: Kind, inputs: Object, call: Any) -> Any:
        try:
            return call()
        except ApiError as error:
            raise self._named(kind, inputs, error) from None

    @staticmethod
    def _named(kind: Kind, inputs: Object, error: ApiError) -> ApiError:
        """The server's refusal with the object's name in front, where it does not start with it."""
        text, name = str(error), str(get(inputs, "metadata", "name", default=UNKNOWN))
        if name not in text:
            text = f"{apply.describe(kind, inputs)}: {text}"
        return ApiError(error.code, {"message": text, "reason": error.reason, "details": {"causes": error.causes}})


class _EndingError(Exception):
    """An object of the same name is still being deleted."""


def _passes(error: Exception) -> str | None:
    """What a failure waits for, where it passes by itself."""
    if isinstance(error, _EndingError | UnknownKindError):
        return f"Waiting: {error}"
    if isinstance(error, ApiError) and error.code == 404 and "namespaces" in str(error):
        return f"Waiting: {error}"
    return None
