"""The guard that keeps tests offline does its work."""

from __future__ import annotations

import socket

import pytest


def test_other_machines_are_out_of_reach() -> None:
    with pytest.raises(BaseException, match="a test tried to connect"), socket.socket() as connection:
        connection.connect(("192.0.2.1", 80))  # an address that documentation may use, RFC 5737


def test_this_machine_is_within_reach() -> None:
    with socket.socket() as server, socket.socket() as client:
        server.bind(("127.0.0.1", 0))
        server.listen()
        client.connect(server.getsockname())
