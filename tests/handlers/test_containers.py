import time
from typing import Any

import pytest

from handlers import containers, files
from handlers.errors import BadRequest, NotFound
from inference.code.container_files import MAX_BYTES, MAX_FILES
from inference.code.kernels import Kernels
from inference.code.limits import GB
from inference.code.sandboxes import Sandboxes
from inference.identifiers import new_id
from persistence.collections import CONTAINERS
from persistence.store import Key, Replace
from persistence.types import JSON
from tests.fixtures.pages import PAGE
from tests.fixtures.refusals import refused
from tests.fixtures.sandboxes import NeverStarted
from tests.inference.retrieval.library import Library, until


async def create(library: Library, project: str = "p", **fields: Any) -> JSON:
    return await containers.create_container(library.context(project), {"name": "c", **fields})


async def upload(library: Library, container: JSON, data: bytes, name: str) -> JSON:
    part = await library.uploaded(data, name)
    return await containers.create_container_file(library.context(), container["id"], {"file": part})


async def read(library: Library, file: JSON) -> bytes:
    answer = await containers.retrieve_container_file_content(
        library.context(), file["container_id"], file["id"]
    )
    return b"".join([piece async for piece in answer.pieces])


async def listed(library: Library, container: JSON) -> list[str]:
    page = await containers.list_container_files(library.context(), container["id"], **PAGE)
    return [file["path"] for file in page["data"]]


async def age(library: Library, container: JSON, minutes: float) -> None:
    """Let a container not have been used for so long."""
    document = await library.containers.records.get("p", container["id"])
    value = {**document.value, "last_active_at": int(time.time() - minutes * 60)}
    await library.store.write(Replace(document, value=value))


async def test_no_container_is_created_where_no_code_can_be_run(library: Library) -> None:
    library.containers.kernels = Kernels(Sandboxes(None), most=1)
    error = await refused(create(library), BadRequest)
    assert error.code == "unsupported_parameter"
    assert error.message == (
        "Containers are not available on this server, which cannot run code: ASTROLABE_SANDBOX is none."
    )


async def test_a_memory_limit_beyond_the_operators_is_refused(library: Library) -> None:
    library.containers.kernels = Kernels(Sandboxes(NeverStarted(), largest=4 * GB), most=1)
    assert (await create(library, memory_limit="4g"))["memory_limit"] == "4g"
    error = await refused(create(library, memory_limit="16g"), BadRequest)
    assert (error.param, error.code) == ("memory_limit", "unsupported_value")
    assert error.message.endswith("it allows 1g or 4g.")


async def test_a_container_is_shown_as_openai_shows_it(library: Library) -> None:
    container = await create(library, name="Sums", memory_limit="1g")
    assert abs(container["created_at"] - time.time()) < 5
    assert container == {
        "id": container["id"],
        "object": "container",
        "created_at": container["created_at"],
        "name": "Sums",
        "status": "running",
        "last_active_at": container["created_at"],
        "expires_after": {"anchor": "last_active_at", "minutes": 20},
        "memory_limit": "1g",
        "network_policy": {"type": "disabled"},
    }
    assert container["id"].startswith("cntr_")
    assert await containers.retrieve_container(library.context(), container["id"]) == container


async def test_a_file_is_shown_with_its_path_in_the_container(library: Library) -> None:
    container = await create(library)
    file = await upload(library, container, b"a,b", "tables/numbers.csv")
    assert file == {
        "id": file["id"],
        "object": "container.file",
        "container_id": container["id"],
        "created_at": file["created_at"],
        "bytes": 3,
        "path": "/mnt/data/tables/numbers.csv",
        "source": "user",
    }
    assert file["id"].startswith("cfile_")
    args = (library.context(), container["id"], file["id"])
    assert await containers.retrieve_container_file(*args) == file
    assert await read(library, file) == b"a,b"
    assert await containers.delete_container_file(*args) == {
        "id": file["id"],
        "object": "container.file.deleted",
        "deleted": True,
    }
    await refused(containers.retrieve_container_file(*args), NotFound)
    assert await listed(library, container) == []


async def test_lists_have_cursors_and_containers_are_found_by_name(library: Library) -> None:
    made = [await create(library, name=name) for name in ("a", "b", "a")]
    context = library.context()
    page = await containers.list_containers(context, limit=2, order="desc")
    assert (page["data"], page["has_more"]) == ([made[2], made[1]], True)
    page = await containers.list_containers(context, limit=2, order="desc", after=page["last_id"])
    assert (page["data"], page["has_more"]) == ([made[0]], False)
    named = await containers.list_containers(context, name="a", **PAGE)
    assert [one["id"] for one in named["data"]] == [made[2]["id"], made[0]["id"]]

    added = [await upload(library, made[0], b"x", f"{n}.txt") for n in range(3)]
    query = {"limit": 2, "order": "asc"}
    page = await containers.list_container_files(context, made[0]["id"], **query)
    assert (page["data"], page["has_more"]) == (added[:2], True)
    page = await containers.list_container_files(context, made[0]["id"], after=page["last_id"], **query)
    assert (page["data"], page["has_more"]) == (added[2:], False)
    listing = containers.list_container_files(context, made[1]["id"], after=added[0]["id"], **query)
    assert (await refused(listing, BadRequest)).param == "after"


async def test_a_file_with_the_same_path_replaces_the_other(library: Library) -> None:
    container = await create(library)
    first = await upload(library, container, b"old", "a.txt")
    second = await upload(library, container, b"newer", "a.txt")
    assert second["id"] == first["id"]
    assert second["bytes"] == 5
    assert await read(library, first) == b"newer"
    assert await listed(library, container) == ["/mnt/data/a.txt"]


async def test_copies_of_files_stay_when_the_files_are_deleted(library: Library) -> None:
    one, namesake = await library.file(b"1", "n.csv"), await library.file(b"2", "n.csv")
    container = await create(library, file_ids=[one["id"], namesake["id"], one["id"]])
    added = await containers.create_container_file(
        library.context(), container["id"], {"file_id": (await library.file(b"3", "../m.csv"))["id"]}
    )
    await files.delete_file(library.context(), one["id"])
    assert await listed(library, container) == [
        "/mnt/data/m.csv",
        f"/mnt/data/{namesake['id']}-n.csv",
        "/mnt/data/n.csv",
    ]
    assert await read(library, added) == b"3"
    assert await library.containers.add_files("p", container["id"], [namesake["id"]]) == []


@pytest.mark.parametrize(
    "name",
    ["", "/etc/passwd", "../a", "a/../b", "a//b", "a/", ".", "a\0b", "a\nb", "x" * 256, "d/" * 500 + "x"],
)
async def test_a_path_outside_of_the_folder_or_too_long_is_refused(library: Library, name: str) -> None:
    container = await create(library)
    error = await refused(upload(library, container, b"x", name), BadRequest)
    assert (error.param, error.code) == ("file", "invalid_value")
    assert await listed(library, container) == []


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b/c", "a")])
async def test_a_path_is_not_a_file_and_a_folder(library: Library, names: tuple[str, str]) -> None:
    container = await create(library)
    await upload(library, container, b"x", names[0])
    error = await refused(upload(library, container, b"x", names[1]), BadRequest)
    assert "a file and a folder" in error.message


async def test_the_name_of_a_copied_file_becomes_a_path(library: Library) -> None:
    names = ["..", "日本語" * 100 + ".csv", "a\nb"]
    made = [await library.file(b"x", name) for name in names]
    container = await create(library, file_ids=[file["id"] for file in made])
    newline, long, dots = await listed(library, container)
    assert (newline, dots) == ("/mnt/data/a_b", f"/mnt/data/{made[0]['id']}")
    assert long.endswith("日.csv")
    assert len(long.encode()) < 256 + len("/mnt/data/")


@pytest.mark.parametrize("size", [1, MAX_BYTES])
async def test_number_and_size_of_a_containers_files_are_bounded(library: Library, size: int) -> None:
    container = await create(library)
    document = await library.containers.records.get("p", container["id"])
    many = 1 if size == MAX_BYTES else MAX_FILES
    entry = {"id": "cfile_x", "content": "content_x", "bytes": size, "origin": None}
    index = {f"{n}.txt": entry for n in range(many)}
    await library.store.write(Replace(document, state={**document.state, "files": index}))
    error = await refused(upload(library, container, b"x", "one more"), BadRequest)
    assert str(MAX_FILES if size == 1 else MAX_BYTES) in error.message


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"network_policy": {"type": "allowlist", "allowed_domains": ["x.org"]}}, "network_policy.type"),
        ({"skills": [{"type": "skill_reference", "skill_id": "s"}]}, "skills"),
        ({"name": ""}, "name"),
        ({"name": "x" * 257}, "name"),
        ({"expires_after": {"anchor": "last_active_at", "minutes": 0}}, "expires_after.minutes"),
        ({"file_ids": ["file-none"]}, "file_ids[0]"),
    ],
)
async def test_what_is_not_served_is_refused_by_name(library: Library, fields: JSON, param: str) -> None:
    assert (await refused(create(library, **fields))).param == param
    assert (await containers.list_containers(library.context(), **PAGE))["data"] == []


@pytest.mark.parametrize("body", [{}, {"file_id": "file-none", "file": "text"}, {"file": "text"}])
async def test_a_file_is_uploaded_or_named(library: Library, body: JSON) -> None:
    container = await create(library)
    call = containers.create_container_file(library.context(), container["id"], body)
    assert (await refused(call, BadRequest)).param == "file"


async def test_other_projects_find_neither_containers_nor_files(library: Library) -> None:
    container = await create(library)
    file = await upload(library, container, b"secret", "a.txt")
    theirs = await create(library, "q")
    context = library.context("q")
    handles = containers.retrieve_container_file, containers.retrieve_container_file_content
    for container_id in (container["id"], theirs["id"]):
        for handle in (*handles, containers.delete_container_file):
            assert (await refused(handle(context, container_id, file["id"]))).status == 404
    calls = [
        containers.retrieve_container(context, container["id"]),
        containers.delete_container(context, container["id"]),
        containers.list_container_files(context, container["id"], **PAGE),
        containers.create_container_file(context, container["id"], {"file_id": "file-x"}),
        containers.create_container_file(
            context, container["id"], {"file": await library.uploaded(b"", "x", "q")}
        ),
        create(library, "q", file_ids=[(await library.file(b"x"))["id"]]),
    ]
    for call in calls:
        assert (await refused(call)).status == 404
    assert [one["id"] for one in (await containers.list_containers(context, **PAGE))["data"]] == [
        theirs["id"]
    ]
    assert await read(library, file) == b"secret"


async def test_a_container_that_is_not_used_expires_with_its_files(library: Library) -> None:
    before = library.census()
    container = await create(library, file_ids=[])
    file = await upload(library, container, b"x", "a.txt")
    await age(library, container, 19)
    used = await containers.retrieve_container(library.context(), container["id"])
    assert (used["status"], used["last_active_at"] >= container["created_at"]) == ("running", True)
    await age(library, container, 21)
    shown = await containers.retrieve_container(library.context(), container["id"])
    assert shown["status"] == "expired"
    context = library.context()
    for call in (
        containers.retrieve_container_file(context, container["id"], file["id"]),
        containers.retrieve_container_file_content(context, container["id"], file["id"]),
        containers.list_container_files(context, container["id"], **PAGE),
        containers.create_container_file(context, container["id"], {"file_id": "file-x"}),
        containers.delete_container_file(context, container["id"], file["id"]),
        library.containers.records.use("p", container["id"]),
    ):
        error = await refused(call, BadRequest)
        assert (error.message, error.param, error.code) == ("Container is expired.", None, None)
    await library.hasten("expire")

    async def is_deleted() -> bool:
        return library.census()["contents"] == before["contents"]

    await until(is_deleted)
    await until(lambda: is_expired(library, container))
    [kept] = library.queued("expire")
    assert kept["due"] > time.time() + 29 * 86_400


async def is_expired(library: Library, container: JSON) -> bool:
    document = await library.store.get(Key("p", CONTAINERS, container["id"]))
    return document is not None and document.value["status"] == "expired"


async def test_the_object_of_an_expired_container_is_deleted_after_a_month(library: Library) -> None:
    container = await create(library)
    await age(library, container, 32 * 24 * 60)
    await library.hasten("expire")
    await until(lambda: is_expired(library, container))
    await library.hasten("expire")

    async def is_gone() -> bool:
        return await library.store.get(Key("p", CONTAINERS, container["id"])) is None

    await until(is_gone)
    assert library.queued("expire") == []


async def test_a_deleted_container_leaves_nothing(library: Library) -> None:
    before = library.census()
    container = await create(library)
    for name in ("a.txt", "b.txt"):
        await upload(library, container, b"x", name)
    deleted = await containers.delete_container(library.context(), container["id"])
    assert deleted == {"id": container["id"], "object": "container.deleted", "deleted": True}
    await refused(containers.retrieve_container(library.context(), container["id"]), NotFound)
    assert library.census() == before


async def test_a_container_may_have_the_id_of_a_deleted_one(library: Library) -> None:
    id = new_id("cntr_")
    for data in (b"old", b"new"):
        container = await library.containers.create("p", "c", id=id)
        file = await upload(library, container, data, "a.txt")
        assert await listed(library, container) == ["/mnt/data/a.txt"]
        assert await read(library, file) == data
        await containers.delete_container(library.context(), id)


async def test_a_copy_that_was_deleted_is_not_added_again_by_a_later_call(library: Library) -> None:
    file = await library.file(b"x", "a.txt")
    container = await create(library, file_ids=[file["id"]])
    [copy] = (await containers.list_container_files(library.context(), container["id"], **PAGE))["data"]
    await containers.delete_container_file(library.context(), container["id"], copy["id"])
    assert await library.containers.add_files("p", container["id"], [file["id"]]) == []
    added = await containers.create_container_file(
        library.context(), container["id"], {"file_id": file["id"]}
    )
    assert await read(library, added) == b"x"


async def test_a_file_that_was_replaced_meanwhile_is_not_deleted(library: Library) -> None:
    container = await create(library)
    await upload(library, container, b"new", "a.txt")
    change = library.containers.records.change_files
    await change("p", container["id"], deleted={"a.txt": "content_of_the_old_one"})
    assert await listed(library, container) == ["/mnt/data/a.txt"]


async def test_a_container_with_an_id_is_created_once(library: Library) -> None:
    id = new_id("cntr_")
    made = [await library.containers.create("p", "c", id=id) for _ in range(2)]
    assert made[0] == made[1]
