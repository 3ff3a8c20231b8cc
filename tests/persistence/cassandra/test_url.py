from pathlib import Path

import pytest

from persistence.cassandra.url import parse
from persistence.errors import StoreRefused


def test_a_url_names_hosts_keyspace_datacenter_and_replicas() -> None:
    target = parse("cassandra://a.example:9043,b.example:9043/talk?dc=east&rf=3")
    assert (target.contact_points, target.port) == (("a.example", "b.example"), 9043)
    assert (target.keyspace, target.datacenter, target.replicas) == ("talk", "east", 3)
    assert target.name == "a.example:9043, b.example:9043"


def test_what_a_url_leaves_out_has_a_default() -> None:
    target = parse("cassandra://localhost")
    assert (target.port, target.keyspace, target.replicas, target.ssl) == (9042, "astrolabe", 1, False)
    assert target.username is None


def test_credentials_are_decoded_and_never_named() -> None:
    target = parse("cassandra://user:p%40ss%2F@host/ks?ssl=true")
    assert (target.username, target.password, target.ssl) == ("user", "p@ss/", True)
    assert "p@ss" not in target.name


def test_an_address_of_ipv6_is_a_host() -> None:
    assert parse("cassandra://[::1]:9043/ks").contact_points == ("::1",)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("cassandra:///ks", "no host"),
        ("cassandra://host:x/ks", "port"),
        ("cassandra://a:1,b:2/ks", "same port"),
        ("cassandra://host/9ks", "keyspace"),
        ("cassandra://host/a-b", "keyspace"),
        ("cassandra://host/ks?rf=none", "rf=none"),
        ("cassandra://host/ks?ssl=maybe", "ssl=maybe"),
        ("cassandra://host/ks?wait=long", "wait=long"),
        ("cassandra://host/ks?colour=red", "colour"),
        ("cassandra://host/ks?token=t", "token"),
        ("astra://id/ks?bundle=/nowhere.zip&token=t", "bundle"),
        ("astra://id/ks?token=t&rf=3", "rf"),
        ("astra://id/ks?token=t&api=ftp://example", "api=ftp"),
        ("astra:///ks?token=t", "database-id"),
    ],
)
def test_what_is_wrong_with_a_url_is_named(url: str, reason: str) -> None:
    with pytest.raises(StoreRefused, match=reason):
        parse(url)


def test_an_astra_database_is_reached_by_its_bundle_and_a_token(tmp_path: Path) -> None:
    bundle = tmp_path / "secure-connect.zip"
    bundle.touch()
    target = parse(f"astra://0f3a/talk?bundle={bundle}&token=AstraCS:secret")
    assert (target.bundle, target.database, target.keyspace) == (str(bundle), "0f3a", "talk")
    assert (target.username, target.password) == ("token", "AstraCS:secret")
    assert "secret" not in target.name


def test_an_astra_database_is_reached_by_a_token_alone() -> None:
    target = parse("astra://0f3a/talk?token=AstraCS:secret")
    assert (target.bundle, target.database, target.wait) == (None, "0f3a", 120)
    assert target.api == "https://api.astra.datastax.com"


def test_an_astra_database_without_a_token_is_refused() -> None:
    with pytest.raises(StoreRefused, match="token"):
        parse("astra://0f3a/talk")
