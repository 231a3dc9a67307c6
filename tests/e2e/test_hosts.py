"""What stands between the hosts of a test does what it says: it passes, cuts, heals and delays."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from caremesh.testing.hosts import SOURCE, Hosts
from caremesh.testing.namespaces import are_to_be_had

WITHIN_S = 60
ECHO = """
import socket, sys
with socket.create_server((sys.argv[1], int(sys.argv[2]))) as server:
    print("up", flush=True)
    while True:
        with server.accept()[0] as connection:
            while data := connection.recv(1024):
                connection.sendall(data)
"""
ASK = """
import socket, sys
source = (sys.argv[3], 0) if len(sys.argv) > 3 else None
with socket.create_connection((sys.argv[1], int(sys.argv[2])), source_address=source) as connection:
    connection.sendall(b"asked")
    print(connection.recv(1024).decode(), flush=True)
"""
KINDS = [True, False] if are_to_be_had() else [False]


@pytest.fixture(params=KINDS, ids=["namespaces" if kind else "addresses" for kind in KINDS])
def hosts(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Hosts]:
    made = Hosts(tmp_path / "h", ["a", "b", "c"], namespaces=request.param)
    servers = []
    try:
        for name in made.names:
            flags = made.flags(name)
            words = [sys.executable, "-c", ECHO, flags["listen_host"], flags["listen_port"]]
            servers.append(subprocess.Popen(made.command(name, words), stdout=subprocess.PIPE))
        for server in servers:
            assert server.stdout is not None
            assert server.stdout.readline() == b"up\n"
        yield made
    finally:
        for server in servers:
            server.kill()
            server.wait()
            assert server.stdout is not None
            server.stdout.close()
        made.close()


def asking(hosts: Hosts, one: str, other: str) -> subprocess.Popen[bytes]:
    place = urlsplit(hosts.url(other))
    source = hosts.environment(one).get(SOURCE)
    words = [sys.executable, "-c", ASK, str(place.hostname), str(place.port), *([source] if source else [])]
    return subprocess.Popen(hosts.command(one, words), stdout=subprocess.PIPE)


def answer(asked: subprocess.Popen[bytes]) -> bytes:
    return asked.communicate(timeout=WITHIN_S)[0]


@pytest.mark.slow
def test_hosts_reach_each_other_until_they_are_cut_and_again_afterwards(hosts: Hosts) -> None:
    assert answer(asking(hosts, "a", "b")) == b"asked\n"
    hosts.split(["a"])
    cut = [asking(hosts, "a", "b"), asking(hosts, "c", "a")]
    assert answer(asking(hosts, "c", "b")) == b"asked\n"
    time.sleep(1)
    assert [each.poll() for each in cut] == [None, None]
    hosts.heal()
    assert [answer(each) for each in cut] == [b"asked\n", b"asked\n"]


@pytest.mark.slow
def test_a_slow_network_is_slow_both_ways(hosts: Hosts) -> None:
    hosts.set(delay_s=1.0, loss=0.2)
    began = time.monotonic()
    assert answer(asking(hosts, "a", "c")) == b"asked\n"
    assert time.monotonic() - began >= 2.0
