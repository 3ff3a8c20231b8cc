"""What an operator may hang on Flask still works: hooks, error handlers, routes."""

from pathlib import Path

import flask
import httpx
import pytest

from serving.app import create_app
from serving.asgi import ASGIApplication
from serving.settings import Settings


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> ASGIApplication:
    folder: Path = tmp_path_factory.mktemp("doors")
    settings = Settings.read(
        ASTROLABE_STORE=f"sqlite:///{folder}/a.db", ASTROLABE_CACHE=str(folder), OPENAI_API_KEY="sk-x"
    )
    return create_app(settings)


async def ask(app: ASGIApplication, path: str) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        return await client.get(path)


async def test_an_after_request_hook_changes_the_answer(
    app: ASGIApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mark(response: flask.Response) -> flask.Response:
        response.headers["x-mark"] = flask.request.endpoint or "none"
        return response

    monkeypatch.setitem(app.flask.after_request_funcs, None, [mark])
    assert (await ask(app, "/v1/health")).headers["x-mark"].endswith("get_health")
    assert (await ask(app, "/v1/nonsense")).headers["x-mark"] == "none"


async def test_a_before_request_hook_can_answer_itself(
    app: ASGIApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(app.flask.before_request_funcs, None, [lambda: ("closed", 503)])
    answer = await ask(app, "/v1/health")
    assert (answer.status_code, answer.text) == (503, "closed")


async def test_the_view_runs_in_flasks_context(app: ASGIApplication, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setitem(app.flask.teardown_request_funcs, None, [lambda _: seen.append(flask.request.path)])
    await ask(app, "/v1/health")
    assert seen == ["/v1/health"]
    assert not flask.has_request_context()


async def test_every_error_has_openais_shape(app: ASGIApplication) -> None:
    for path, status in (
        ("/v1/nonsense", 404),
        ("/nonsense", 404),
        ("/v1/evals", 501),
        ("/v1/threads/x/runs", 503),
    ):
        answer = await ask(app, path)
        assert answer.status_code == status, path
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


async def test_a_path_that_is_no_utf8_is_the_callers_mistake(app: ASGIApplication) -> None:
    answer = await ask(app, "/v1/threads/%ff%0d%0a")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "thread_id"


async def test_head_is_answered_as_get_without_a_body(app: ASGIApplication) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        answer = await client.head("/v1/health")
    assert (answer.status_code, answer.headers["content-length"], answer.content) == (200, "18", b"")
