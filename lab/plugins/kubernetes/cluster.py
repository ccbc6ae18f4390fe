"""The API server: one pool of connections, discovery on demand, and its answers as plain objects or clear errors."""

from __future__ import annotations

import importlib
import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lab.plugins.kubernetes.tokens import Kind

_POOL = 64  # connections kept open: one a resource that is being worked on
_CONNECT_TIMEOUT = 5.0  # seconds
_READ_TIMEOUT = 60.0  # seconds


class Unreachable(Exception):  # noqa: N818 - a state of the world
    """The API server does not answer, or there is no way to reach it."""


class UnknownKindError(Exception):
    """The API server serves no such kind: its CustomResourceDefinition is not there (yet)."""


class ApiError(Exception):
    """The API server refused a request.

    Attributes:
        code: the HTTP status.
        reason: the machine-readable reason, for example ``NotFound``, ``Conflict``, ``Invalid``.
        causes: the server's list of ``{reason, field, message}``.
    """

    def __init__(self, code: int, status: dict[str, Any]) -> None:
        super().__init__(status.get("message") or f"the API server answered with status {code}")
        self.code = code
        self.reason = status.get("reason", "")
        self.causes: list[dict[str, str]] = (status.get("details") or {}).get("causes") or []


@dataclass(frozen=True)
class Served:
    """How the API server serves a kind."""

    prefix: str
    plural: str
    namespaced: bool

    def path(self, namespace: str | None, name: str | None = None) -> str:
        """The URL path of an object, or of all objects of a namespace."""
        scope = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{self.prefix}{scope}/{self.plural}" + (f"/{name}" if name else "")


class Cluster:
    """A connection to one API server; safe to use from many threads.

    Args:
        kubeconfig: the contents of a kubeconfig, or the path of one; by default that of ``$KUBECONFIG`` or
            ``~/.kube/config``, or else the service account of the pod this runs in.
        context: the context in it, by default its current one.
    """

    def __init__(self, kubeconfig: str | None = None, context: str | None = None) -> None:
        self._kubeconfig = kubeconfig
        self._context = context
        self._lock = threading.Lock()
        self._client: Any = None
        self._served: dict[str, dict[str, Served]] = {}
        self._unreachable: str | None = None

    def served(self, kind: Kind) -> Served:
        """How the server serves a kind.

        Raises:
            UnknownKindError: it does not.
            Unreachable: the server does not answer.
        """
        kinds = self._served.get(kind.api_version)
        if kinds is None or kind.kind not in kinds:
            prefix = f"/api{'s' if '/' in kind.api_version else ''}/{kind.api_version}"
            try:
                listed = self.request("GET", prefix)
            except ApiError as error:
                if error.code != 404:
                    raise
                listed = {}
            kinds = {
                entry["kind"]: Served(prefix, entry["name"], bool(entry["namespaced"]))
                for entry in listed.get("resources") or []
                if "/" not in entry["name"]
            }
            self._served[kind.api_version] = kinds
        if kind.kind not in kinds:
            raise UnknownKindError(
                f"the API server knows no {kind.kind} in {kind.api_version}: is its CustomResourceDefinition installed?"
            )
        return kinds[kind.kind]

    def default_namespace(self) -> str:
        """The namespace of the kubeconfig's context, or ``default``."""
        config = read_kubeconfig(self._kubeconfig)
        name = self._context or config.get("current-context")
        contexts = {entry["name"]: entry.get("context") or {} for entry in config.get("contexts") or []}
        return str((contexts.get(str(name)) or {}).get("namespace") or "default")

    def request(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, Any] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> dict[str, Any]:
        """Sends a request and returns the server's object.

        Raises:
            ApiError: the server refused it.
            Unreachable: the server does not answer.
        """
        from urllib3.exceptions import HTTPError  # noqa: PLC0415 - slow to import

        if self._unreachable is not None:
            raise Unreachable(self._unreachable)
        client = self._connect()
        request = client.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params={"Accept": "application/json", "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            response = client.call_api(*request, _request_timeout=(_CONNECT_TIMEOUT, _READ_TIMEOUT))
            content = response.read()
        except (HTTPError, OSError) as error:
            raise self._give_up(f"cannot reach {client.configuration.host}: {_last(error)}") from None
        try:
            answer = json.loads(content) if content else {}
        except ValueError:
            answer = {"message": content.decode(errors="replace").strip()[:500]}
        if not 200 <= response.status < 300:
            raise ApiError(response.status, answer)
        return dict(answer)

    def get(self, kind: Kind, namespace: str | None, name: str) -> dict[str, Any] | None:
        """Reads an object; ``None`` where it is not there."""
        try:
            return self.request("GET", self.served(kind).path(namespace, name))
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    def list(self, kind: Kind, namespace: str | None, labels: str = "", *, fields: str = "") -> list[dict[str, Any]]:
        """Reads the objects of a namespace that the label and field selectors pick."""
        query = {key: value for key, value in (("labelSelector", labels), ("fieldSelector", fields)) if value}
        return self.request("GET", self.served(kind).path(namespace), query=query).get("items") or []

    def _give_up(self, reason: str) -> Unreachable:
        # Only a server that has never answered is given up: one that is merely slow or restarting is asked again.
        if not self._served:
            self._unreachable = reason
        return Unreachable(reason)

    def _connect(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = self._new_client()
            return self._client

    def _new_client(self) -> Any:
        from kubernetes import client  # noqa: PLC0415 - slow to import, and not needed to answer the engine

        configuration = client.Configuration()
        configuration.connection_pool_maxsize = _POOL
        configuration.retries = 0
        # The package's configuration module carries no types.
        config: Any = importlib.import_module("kubernetes.config")
        contents = read_kubeconfig(self._kubeconfig)
        try:
            if contents:
                config.load_kube_config_from_dict(
                    contents, context=self._context, client_configuration=configuration, persist_config=False
                )
            else:
                config.load_incluster_config(client_configuration=configuration)
        except config.ConfigException as error:
            raise Unreachable(f"the kubeconfig does not say how to reach a cluster: {error}") from None
        return client.ApiClient(configuration)


def read_kubeconfig(kubeconfig: str | None) -> dict[str, Any]:
    """Reads a kubeconfig: its contents, its path, or the person's default one; empty where there is no default.

    Raises:
        Unreachable: it cannot be read.
    """
    text = (kubeconfig or "").strip()
    if not text:
        text = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0] or str(Path.home() / ".kube" / "config")
    if "\n" not in text and not text.startswith("{"):
        path = Path(text).expanduser()
        try:
            text = path.read_text()
        except OSError as error:
            if kubeconfig or os.environ.get("KUBECONFIG"):
                raise Unreachable(f"cannot read the kubeconfig {path}: {error.strerror}") from None
            return {}
    try:
        config = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise Unreachable(f"the kubeconfig is no YAML: {error}") from None
    if not isinstance(config, dict):
        raise Unreachable("the kubeconfig is neither the path of a file nor a kubeconfig")
    return config


def _last(error: BaseException) -> str:
    """The innermost reason of a connection error, without the object addresses of the outer ones."""
    reason = getattr(error, "reason", None)
    while isinstance(reason, BaseException):
        error, reason = reason, getattr(reason, "reason", None)
    return str(error).rpartition("> ")[2].rpartition(">: ")[2]
