"""The connection of a process to one cluster."""

from __future__ import annotations

import pytest
from cluster.nodes import Nodes

from colmodern.cluster.connection import connected
from colmodern.errors import InputError


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense", "local"])
def test_another_address_is_refused_while_a_connection_is_open(nodes: Nodes, address: str) -> None:
    own = nodes.config.address
    ray = connected(own)
    with pytest.raises(InputError, match=rf"is connected to the cluster at {own} already"):
        connected(address)
    assert connected("auto") is connected(own) is ray


def test_the_own_machine_has_two_addresses(nodes: Nodes) -> None:
    ray = connected(nodes.config.address)
    assert connected(f"localhost:{nodes.config.address.rpartition(':')[2]}") is ray
