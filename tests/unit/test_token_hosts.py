"""Which addresses of a key file may be called."""

import pytest

from fetcher.token_hosts import TokenHosts, parse_hosts


@pytest.mark.parametrize(
    "address",
    [
        "https://oauth2.googleapis.com/token",
        "https://STS.googleapis.com/v1/token",
        "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/a@b.iam.gserviceaccount.com:generateAccessToken",
        "https://accounts.google.com/o/oauth2/token",
    ],
)
def test_googles_hosts_are_allowed_over_https(address: str) -> None:
    assert TokenHosts().problem(address) is None
    assert "not one of Google's hosts over https" in str(TokenHosts().problem(address.replace("https:", "http:")))


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example/token",
        "https://oauth2.googleapis.com.evil.example/token",
        "https://oauth2.googleapis.com@evil.example/token",
        "https://evil.example/?https://oauth2.googleapis.com",
        "https://storage.googleapis.com/bucket/token",
        "http://169.254.169.254/latest/meta-data",
        "http://metadata.google.internal/",
        "http://127.0.0.1:8080/token",
    ],
)
def test_other_hosts_are_refused(address: str) -> None:
    assert "GSC_TOKEN_HOSTS" in str(TokenHosts().problem(address))


def test_hosts_that_are_added_are_allowed_with_their_scheme_only() -> None:
    hosts = TokenHosts(parse_hosts("sts.example.com, http://127.0.0.1,http://[::1]"))
    for address in ("https://sts.example.com/x", "http://127.0.0.1:8090/token", "http://[::1]:1/token"):
        assert hosts.problem(address) is None
    for address in ("http://sts.example.com/x", "https://127.0.0.1/x", "https://x.sts.example.com/"):
        assert hosts.problem(address) is not None


@pytest.mark.parametrize("text", ["https://", "a b", "http://host:80", "http://host/path", "*.example.com", "ftp://x"])
def test_an_entry_that_is_not_a_host_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a host such as"):
        parse_hosts(f"sts.example.com,{text}")


def test_an_address_that_cannot_be_called_is_refused() -> None:
    assert "must be a URL" in str(TokenHosts().problem("oauth2.googleapis.com"))
    assert "must be a URL" in str(TokenHosts().problem(5))
