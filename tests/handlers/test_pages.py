"""Cursors of lists, as callers send them."""

import pytest

from handlers import vector_store_files, vector_stores
from handlers.errors import BadRequest
from tests.fixtures.pages import PAGE
from tests.inference.retrieval.library import Library


async def test_an_empty_cursor_means_no_cursor(library: Library) -> None:
    made = [(await vector_stores.create_vector_store(library.context(), {}))["id"] for _ in range(2)]
    page = await vector_stores.list_vector_stores(
        library.context(), limit=20, order="asc", after="", before=""
    )
    assert [store["id"] for store in page["data"]] == made


@pytest.mark.parametrize("param", ["after", "before"])
async def test_an_error_shows_the_cursor_as_the_caller_sent_it(library: Library, param: str) -> None:
    store = await library.vector_store("A text.")
    with pytest.raises(BadRequest) as refused:
        await vector_store_files.list_vector_store_files(
            library.context(), store["id"], **PAGE, **{param: "file-strange"}
        )
    assert refused.value.param == param
    assert refused.value.message == f"Invalid '{param}': no object with id 'file-strange' is in this list."
