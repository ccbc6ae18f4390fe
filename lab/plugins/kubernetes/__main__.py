"""Serves the provider; the engine's address is the last argument."""

import sys

from pulumi.runtime.proto import provider_pb2_grpc

from lab.plugins.kubernetes.service import Provider
from lab.plugins.serving import engine_address, serve


def main() -> int:
    """Serves until the engine ends."""
    provider = Provider(engine_address(sys.argv[1:]))
    return serve(
        lambda server: provider_pb2_grpc.add_ResourceProviderServicer_to_server(provider, server), provider.stop
    )


if __name__ == "__main__":
    sys.exit(main())
