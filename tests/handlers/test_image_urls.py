import time

import pytest

from handlers.errors import BadRequest
from handlers.image_urls import MAX_WEB_URL, check_image_url


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/a.png?size=1&x=%20#top",
        "http://[::1]:8080/a.png",
        "data:image/png;base64,iVBORw0KGgo=",
        "data:image/png;base64," + "iVBO" * MAX_WEB_URL,
    ],
)
async def test_urls_of_images_are_valid(url: str) -> None:
    await check_image_url(url, "url")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://",
        "data:image/",
        "data:text/plain;base64,eA==",
        "ftp://example.com/a.png",
        "https://example.com/a b.png",
        "https://example.com/ä.png",
        "https://example.com/%zz.png",
        "https://[example.com/a.png",
        "https://example.com/" + "a" * MAX_WEB_URL,
        "data:image/png;base64,iVBO\n",
    ],
)
async def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(BadRequest) as refused:
        await check_image_url(url, "content[0].image_url.url")
    assert (refused.value.param, refused.value.code) == ("content[0].image_url.url", "invalid_url")


async def test_checking_a_data_url_of_30_megabytes_is_fast() -> None:
    url = "data:image/png;base64," + "iVBORw0K" * 3_750_000
    began = time.process_time()
    await check_image_url(url, "url")
    assert time.process_time() - began < 0.5
