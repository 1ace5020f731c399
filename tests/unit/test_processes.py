"""The environment of child processes, and their ports."""

import socket

import pytest

from lab.processes import free_port, inherited_environment, previous_or_free_port


def test_children_inherit_proxies_and_certificates_and_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"HTTPS_PROXY": "http://proxy:3128", "no_proxy": "localhost", "SSL_CERT_FILE": "/ca.pem"}
    for name, value in {**variables, "GSC_SITE_QPM": "1"}.items():
        monkeypatch.setenv(name, value)
    assert inherited_environment().items() >= variables.items()
    assert "GSC_SITE_QPM" not in inherited_environment()


def test_the_previous_port_is_used_again_unless_it_is_in_use() -> None:
    port = free_port()
    assert previous_or_free_port(port) == port
    assert previous_or_free_port(None) != 0
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        assert previous_or_free_port(port) != port
