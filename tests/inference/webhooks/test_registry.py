from pathlib import Path

import pytest

from inference import webhooks as package
from inference.errors import WebhooksRefused
from inference.webhooks.registry import Registry

EXAMPLE = Path(package.__file__).parent / "webhooks.example.yaml"
SECRET = "whsec_c2VjcmV0IG9mIHRoZSB0ZXN0cyBhbG9uZQ=="


def read(folder: Path, text: str, **environment: str) -> Registry:
    path = folder / "webhooks.yaml"
    path.write_text(text)
    return Registry.from_file(path, environment)


def endpoint(url: str, secret: str = SECRET, **fields: object) -> str:
    more = "".join(f", {name}: {value}" for name, value in fields.items())
    return f"projects:\n  p:\n    - {{url: '{url}', secret: '{secret}'{more}}}\n"


def test_the_example_file_is_valid() -> None:
    registry = Registry.from_file(EXAMPLE, {"WEBHOOK_SECRET": SECRET})
    (endpoint,) = registry.of("default", "response.completed")
    assert (endpoint.url, endpoint.secret) == ("https://example.com/hooks/openai", SECRET)
    assert registry.of("another", "response.completed") == []


def test_an_endpoint_gets_only_the_events_that_it_names(tmp_path: Path) -> None:
    registry = read(tmp_path, endpoint("https://example.com", events="[response.failed]"))
    assert len(registry.of("p", "response.failed")) == 1
    assert registry.of("p", "response.completed") == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "projects:\n  p:\n    - {url: 'https://a.b', secret: '${HOOK}'}",
            "line 3.*variable HOOK is not set",
        ),
        ("projects:\n  p:\n    - {uri: 'https://a.b'}", r"line 3.*uri: there is no such key.*mean 'url'"),
        ("project: {}", "line 1: project: there is no such key.*Did you mean 'projects'"),
        ("projects: {}\nprojects: {}", "line 2: the key 'projects' is repeated"),
        (endpoint("https://a.b", events="[response.done]"), "line 3.*events.*response.completed"),
        (endpoint("https://a.b", events="[]"), "events.*at least 1"),
        (endpoint("ftp://a.b"), "url: is not a URL that begins with https"),
        (endpoint("https://me:pass@a.b"), "url: has a user name or password"),
        (endpoint("http://a.b/x"), "url: is not https; list 'a.b:80' under private_hosts"),
        (endpoint("https://10.0.0.1"), "not a public address; list '10.0.0.1:443' under private_hosts"),
        (endpoint("https://localhost:9000"), "list 'localhost:9000' under private_hosts"),
        (endpoint("https://[::ffff:127.0.0.1]"), "not a public address"),
        (endpoint("https://a.b", "sk-short"), "secret: does not begin with whsec_"),
        (endpoint("https://a.b", "whsec_%%"), "secret: is not base64"),
        (endpoint("https://a.b", "whsec_c2hvcnQ="), "secret: has 5 bytes"),
        (endpoint("https://a.b") + f"    - {{url: 'https://a.b', secret: '{SECRET}'}}", "line 4.*same URL"),
    ],
)
def test_a_wrong_file_is_refused_by_line_reason_and_remedy(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(WebhooksRefused, match=reason) as caught:
        read(tmp_path, text)
    assert "sk-short" not in str(caught.value)


def test_a_listed_host_may_be_private_and_without_tls(tmp_path: Path) -> None:
    listed = "private_hosts: [127.0.0.1:9000, hooks.internal:80]\n"
    assert read(tmp_path, endpoint("http://127.0.0.1:9000") + listed).projects
    assert read(tmp_path, endpoint("http://hooks.internal") + listed).projects
    with pytest.raises(WebhooksRefused, match=r"127\.0\.0\.1:9001"):
        read(tmp_path, endpoint("http://127.0.0.1:9001") + listed)
