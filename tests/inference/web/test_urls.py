"""URLs that the user names are found in texts of any kind, and only in the user's."""

import pytest

from inference.web.urls import MAX_URLS, urls_of


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("Read https://a.example/x.", "https://a.example/x"),
        ("See (https://a.example/x), please", "https://a.example/x"),
        ("[page](https://a.example/x) says", "https://a.example/x"),
        ("https://a.example/x_(y) is it", "https://a.example/x_(y)"),
        ("<https://a.example/x?q=1&r=2>", "https://a.example/x?q=1&r=2"),
    ],
)
def test_a_url_is_found_without_what_follows_it(text: str, url: str) -> None:
    assert url in urls_of([{"role": "user", "content": text}])


def test_only_the_users_messages_count() -> None:
    parts = [
        {"type": "text", "text": "https://b.example"},
        {"type": "image_url", "image_url": {"url": "https://c.example"}},
    ]
    messages = [
        {"role": "assistant", "content": "https://a.example"},
        {"role": "tool", "content": "https://d.example"},
        {"role": "user", "content": parts},
        {"role": "user", "content": None},
    ]
    assert urls_of(messages) == ("https://b.example",)


def test_the_urls_of_a_long_text_are_bounded() -> None:
    text = " ".join(f"https://a.example/{number}" for number in range(2 * MAX_URLS))
    assert len(urls_of([{"role": "user", "content": text}])) == MAX_URLS
