from __future__ import annotations

import re

from hypothesis import assume, example, given
from hypothesis import strategies as st

from testbed import naming

WORDS = st.sampled_from(["a", "b", "s001", "client", "net", "server", "vpc", "local", "raw", "state", "link"])
IDS = st.lists(WORDS, min_size=1, max_size=4).map("-".join)
TESTBEDS = st.lists(WORDS.filter(lambda w: w not in naming.RESERVED), min_size=1, max_size=4).map("-".join)
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def names(testbed: str, client: str, group: str) -> set[tuple[str, str]]:
    """Every cluster-scoped name of a testbed with one client on one network, by kind."""
    server, own = naming.server_namespace(testbed), naming.client_namespace(testbed, client)
    return {
        ("Namespace", server),
        ("Namespace", own),
        ("Vpc", naming.vpc(testbed, group)),
        ("Subnet", naming.subnet(testbed, group)),
        ("Subnet", naming.subnet(testbed, naming.SERVER)),
        ("StorageClass", naming.storage_class(testbed)),
        ("Provider", naming.provider(testbed, group)),
        *(("PersistentVolume", naming.volume(server, purpose)) for purpose in ("state", "results")),
        *(("PersistentVolume", naming.volume(own, purpose)) for purpose in ("raw", "private")),
    }


@given(TESTBEDS, TESTBEDS, st.tuples(IDS, IDS), st.tuples(IDS, IDS))
def test_two_testbeds_never_share_a_name(a: str, b: str, one: tuple[str, str], other: tuple[str, str]) -> None:
    assume(a != b)
    assert not names(a, *one) & names(b, *other)


@given(TESTBEDS, IDS, IDS, IDS)
def test_two_clients_of_one_testbed_never_share_a_name(testbed: str, a: str, b: str, group: str) -> None:
    assume(a != b)
    shared = names(testbed, a, group) & names(testbed, b, group)
    assert not any(naming.client_namespace(testbed, client) in name for _, name in shared for client in (a, b))


@given(TESTBEDS, TESTBEDS, IDS, IDS)
def test_no_subnet_is_called_like_a_vpc(a: str, b: str, group: str, other: str) -> None:
    assert naming.subnet(a, group) != naming.vpc(b, other)


def test_the_longest_names_are_kubernetes_labels() -> None:
    testbed, client = "t" * 20, "c" * 24
    for namespace in (naming.server_namespace(testbed), naming.client_namespace(testbed, client)):
        assert LABEL.fullmatch(namespace)


def test_a_nodes_group_has_no_dot() -> None:
    assert naming.node_group("Edge1.Example.org") == "edge1--example--org"
    assert naming.node_group("E1") == "e1"
    assert naming.node_group("edge-1") == "edge-1"
    assert naming.provider("lab", naming.node_group("E1.org")).count(".") == 2


LABELS = st.from_regex(r"[a-z0-9](-{0,3}[a-z0-9]){0,2}", fullmatch=True)
NODES = st.lists(LABELS, min_size=1, max_size=3).map(".".join)


@given(NODES, NODES)
@example("a.b", "a-b")
@example("a.b", "a--b")
@example("a--b", "a---b")
def test_two_nodes_never_share_a_group(one: str, other: str) -> None:
    assert (naming.node_group(one) == naming.node_group(other)) == (one == other)
