# ruff: noqa: D102, N802 - the methods, their names and what they do are the protocol's
"""The provider protocol: each call of the engine, read, carried out and answered."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import grpc
from google.protobuf import any_pb2, empty_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc, status_pb2

from lab.plugins.kubernetes import checking, configuring, diff, drift, properties, tokens, version
from lab.plugins.kubernetes.apply import ConflictError
from lab.plugins.kubernetes.awaiting import NotReady
from lab.plugins.kubernetes.cluster import ApiError, UnknownKindError, Unreachable
from lab.plugins.kubernetes.log import EngineLog
from lab.plugins.kubernetes.naming import field_manager, identifier, parse_identifier
from lab.plugins.kubernetes.operations import Operations
from lab.plugins.kubernetes.properties import Object

_Method = TypeVar("_Method", bound=Callable[..., Any])
_CLEAR = (ApiError, ConflictError, UnknownKindError, Unreachable, tokens.Unsupported, ValueError)


def _answered(method: _Method) -> _Method:
    """Turns the errors that are a person's to solve into the answer of a call, without a traceback."""

    @functools.wraps(method)
    def wrapped(self: Any, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(self, request, context)
        except tokens.Unsupported as error:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, str(error))
        except _CLEAR as error:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))

    return wrapped  # type: ignore[return-value]


class Provider(provider_pb2_grpc.ResourceProviderServicer):
    """Serves ``pulumirpc.ResourceProvider``."""

    def __init__(self, engine: str) -> None:
        self._log = EngineLog(engine)
        self._cancelled = threading.Event()
        self._settings = configuring.Settings()
        self._operations = Operations(self._settings, self._log, self._cancelled)
        # Resources that the engine is about to delete and make again under the same name.
        self._replaced: set[str] = set()

    def stop(self) -> None:
        """Ends every wait."""
        self._cancelled.set()

    def Handshake(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._log = EngineLog(request.engine_address)
        return provider_pb2.ProviderHandshakeResponse(accept_secrets=True, supports_autonaming_configuration=True)

    def GetPluginInfo(self, request: Any, context: grpc.ServicerContext) -> Any:
        return plugin_pb2.PluginInfo(version=version())

    def GetSchema(self, request: Any, context: grpc.ServicerContext) -> Any:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, str(tokens.Unsupported("the package schema (code generation)")))

    def GetMapping(self, request: Any, context: grpc.ServicerContext) -> Any:
        return provider_pb2.GetMappingResponse()

    def GetMappings(self, request: Any, context: grpc.ServicerContext) -> Any:
        return provider_pb2.GetMappingsResponse()

    def Parameterize(self, request: Any, context: grpc.ServicerContext) -> Any:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, str(tokens.Unsupported("parameterization")))

    def CheckConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
        news, _ = properties.decode(request.news)
        failures = configuring.check(news)
        return provider_pb2.CheckResponse(inputs=request.news, failures=_failures(failures))

    def DiffConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
        olds, _ = properties.decode(request.old_inputs if request.HasField("old_inputs") else request.olds)
        news, _ = properties.decode(request.news)
        return _diff_response(configuring.difference(olds, news))

    @_answered
    def Configure(self, request: Any, context: grpc.ServicerContext) -> Any:
        arguments, _ = properties.decode(request.args)
        self._settings = configuring.Settings.read(arguments)
        self._operations = Operations(self._settings, self._log, self._cancelled)
        return provider_pb2.ConfigureResponse(
            acceptSecrets=True, supportsPreview=True, supports_autonaming_configuration=True
        )

    @_answered
    def Check(self, request: Any, context: grpc.ServicerContext) -> Any:
        previous, _ = properties.decode(request.olds)
        inputs, secrets = properties.decode(request.news)
        kind = tokens.parse(request.type, inputs)
        options = request.autonaming if request.HasField("autonaming") else None
        failures = checking.check(
            self._operations, kind, inputs, previous, name=request.name, seed=request.randomSeed, options=options
        )
        return provider_pb2.CheckResponse(inputs=properties.encode(inputs, secrets), failures=_failures(failures))

    @_answered
    def Diff(self, request: Any, context: grpc.ServicerContext) -> Any:
        state, _ = properties.decode(request.olds)
        old, _ = properties.decode(request.old_inputs)
        new, _ = properties.decode(request.news)
        kind = tokens.parse(request.type, new)
        result = diff.difference(
            self._settings.cluster,
            kind,
            old,
            new,
            state=state,
            manager=_manager(request.urn, state),
            mutability=self._settings.mutability,
        )
        if result.delete_first:
            self._replaced.add(request.urn)
        return _diff_response(result)

    @_answered
    def Create(self, request: Any, context: grpc.ServicerContext) -> Any:
        inputs, secrets = properties.decode(request.properties)
        kind = tokens.parse(request.type, inputs)
        manager = field_manager(request.urn)
        if request.preview:
            # What the engine deletes first is still there: the server cannot be asked about its successor.
            if request.urn in self._replaced:
                outputs = inputs
            else:
                outputs = self._operations.preview(kind, inputs, manager, creating=True)
            return provider_pb2.CreateResponse(
                properties=properties.encode(outputs, properties.secret_paths(outputs, secrets))
            )
        try:
            outputs = self._operations.create(request.urn, kind, inputs, manager, request.timeout)
        except NotReady as error:
            self._fail(context, error, manager, request.properties, secrets)
        return provider_pb2.CreateResponse(
            id=identifier(outputs),
            properties=properties.encode(outputs, properties.secret_paths(outputs, secrets)),
        )

    @_answered
    def Update(self, request: Any, context: grpc.ServicerContext) -> Any:
        state, _ = properties.decode(request.olds)
        inputs, secrets = properties.decode(request.news)
        kind = tokens.parse(request.type, inputs)
        manager = _manager(request.urn, state)
        try:
            if request.preview:
                outputs = self._operations.preview(kind, inputs, manager, creating=False)
            else:
                outputs = self._operations.update(request.urn, kind, inputs, manager, request.timeout)
        except NotReady as error:
            self._fail(context, error, manager, request.news, secrets)
        return provider_pb2.UpdateResponse(
            properties=properties.encode(outputs, properties.secret_paths(outputs, secrets))
        )

    @_answered
    def Read(self, request: Any, context: grpc.ServicerContext) -> Any:
        state, secrets = properties.decode(request.properties)
        inputs, input_secrets = properties.decode(request.inputs)
        kind = tokens.parse(request.type, inputs or state)
        manager = _manager(request.urn, state)
        namespace, name = parse_identifier(request.id)
        outputs = self._operations.read(kind, namespace, name, manager)
        if outputs is None:
            return provider_pb2.ReadResponse()
        secrets |= input_secrets
        if inputs:
            inputs = drift.refreshed(inputs, state, outputs)
        else:
            # Not applied by this resource yet: the next comparison asks the server (see the diff module).
            del outputs["__fieldManager"], outputs["__initialApiVersion"]
            inputs = drift.imported(outputs)
        return provider_pb2.ReadResponse(
            id=identifier(outputs),
            properties=properties.encode(outputs, properties.secret_paths(outputs, secrets)),
            inputs=properties.encode(inputs, properties.secret_paths(inputs, secrets)),
        )

    @_answered
    def Delete(self, request: Any, context: grpc.ServicerContext) -> Any:
        state, _ = properties.decode(request.properties)
        inputs, _ = properties.decode(request.old_inputs)
        kind = tokens.parse(request.type, inputs or state)
        namespace, name = parse_identifier(request.id)
        try:
            self._operations.delete(
                request.urn,
                kind,
                (namespace, name),
                inputs,
                manager=_manager(request.urn, state),
                seconds=request.timeout,
            )
        except NotReady as error:
            context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, str(error))
        return empty_pb2.Empty()

    def Invoke(self, request: Any, context: grpc.ServicerContext) -> Any:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, str(tokens.Unsupported(f"the function {request.tok}")))

    def Call(self, request: Any, context: grpc.ServicerContext) -> Any:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, str(tokens.Unsupported(f"the method {request.tok}")))

    def Construct(self, request: Any, context: grpc.ServicerContext) -> Any:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, str(tokens.Unsupported(f"the component {request.type}")))

    def Cancel(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.stop()
        return empty_pb2.Empty()

    def _fail(
        self, context: grpc.ServicerContext, error: NotReady, manager: str, inputs: Any, secrets: set[properties.Path]
    ) -> None:
        """Answers that the object is there but not ready, so that the engine keeps it in the stack's state."""
        outputs = self._operations.outputs(error.live, manager)
        detail = any_pb2.Any()
        detail.Pack(
            provider_pb2.ErrorResourceInitFailed(
                id=identifier(outputs),
                properties=properties.encode(outputs, properties.secret_paths(outputs, secrets)),
                reasons=[str(error)],
                inputs=inputs,
            )
        )
        code = grpc.StatusCode.UNKNOWN
        status = status_pb2.Status(code=code.value[0], message=str(error), details=[detail])
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(code, str(error))


def _manager(urn: str, state: Object) -> str:
    return str(state.get("__fieldManager") or field_manager(urn))


def _failures(failures: list[tuple[str, str]]) -> list[Any]:
    return [provider_pb2.CheckFailure(property=path, reason=reason) for path, reason in failures]


def _diff_response(result: diff.Difference) -> Any:
    kinds = provider_pb2.PropertyDiff
    plain = {"add": kinds.ADD, "delete": kinds.DELETE, "update": kinds.UPDATE}
    replacing = {"add": kinds.ADD_REPLACE, "delete": kinds.DELETE_REPLACE, "update": kinds.UPDATE_REPLACE}
    return provider_pb2.DiffResponse(
        changes=provider_pb2.DiffResponse.DIFF_SOME if result.changes else provider_pb2.DiffResponse.DIFF_NONE,
        diffs=sorted({str(path[0]) for path in result.changes}),
        replaces=sorted({properties.render(path) for path in result.replaces}),
        deleteBeforeReplace=result.delete_first,
        hasDetailedDiff=True,
        detailedDiff={
            properties.render(path): kinds(
                kind=(replacing if path in result.replaces else plain)[change], inputDiff=True
            )
            for path, change in result.changes.items()
        },
    )
