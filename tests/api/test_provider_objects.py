"""Videos and fine-tuning jobs through OpenAI's SDK: objects of the provider that belong to projects."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.fixtures.clients import OPERATORS_KEY
from tests.provider import ProviderProcess
from tests.provider.objects import MP4
from tests.server import Server

pytestmark = pytest.mark.server

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
LINES = b'{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]}\n' * 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, provider: ProviderProcess) -> Iterator[Server]:
    """A server of two workers with keys, so that there are several projects."""
    environment = {"OPENAI_API_KEY": OPERATORS_KEY, "OPENAI_BASE_URL": provider.url, "ASTROLABE_AUTH": "keys"}
    environment["ASTROLABE_CALLER_KEYS"] = "true"
    with Server(tmp_path_factory.mktemp("objects"), **environment) as server:
        yield server


def client_of(server: Server, project: str) -> OpenAI:
    made = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "serving.cli", "keys", "create", "--project", project],
        env=server.environment, cwd=server.folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return OpenAI(base_url=server.url, api_key=made.stdout.strip(), max_retries=0, timeout=60)


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[OpenAI]:
    with client_of(server, "one") as client:
        yield client


@pytest.fixture(scope="module")
def stranger(server: Server) -> Iterator[OpenAI]:
    with client_of(server, "two") as client:
        yield client


# --- videos ---


def test_a_video_is_made_read_and_deleted(client: OpenAI) -> None:
    video = client.videos.create(model="sora-2", prompt="a cat", seconds="8")
    assert (video.status, video.seconds) == ("queued", "8")
    assert client.videos.retrieve(video.id).status == "completed"
    assert client.videos.download_content(video.id, variant="video").read() == MP4
    remixed = client.videos.remix(video.id, prompt="a dog")
    assert remixed.remixed_from_video_id == video.id
    assert client.videos.retrieve(remixed.id).prompt == "a dog"
    listed = [one.id for one in client.videos.list(limit=2).data]
    assert listed == [remixed.id, video.id]
    assert client.videos.delete(video.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.videos.retrieve(video.id)
    assert video.id not in [one.id for one in client.videos.list()]


def test_a_video_takes_an_image(client: OpenAI, provider: ProviderProcess) -> None:
    client.videos.create(prompt="a picture moves", input_reference=("a.png", PICTURE, "image/png"))
    file = client.files.create(file=("a.png", PICTURE), purpose="vision")
    client.post(
        "/videos",
        body={"prompt": "a picture moves", "input_reference": {"file_id": file.id}},
        cast_to=object,
    )
    asked = provider.received("POST:/v1/videos")
    first, second = [one["body"] for one in asked if one["body"]["prompt"] == "a picture moves"]
    assert first["model"] == second["model"] == "sora-2"
    assert first["input_reference"]["size"] == len(PICTURE)
    assert second["input_reference"]["image_url"].startswith("data:image/png;base64,")


def test_another_projects_video_is_not_found(client: OpenAI, stranger: OpenAI) -> None:
    video = client.videos.create(prompt="mine")
    for attempt in (
        lambda: stranger.videos.retrieve(video.id),
        lambda: stranger.videos.delete(video.id),
        lambda: stranger.videos.download_content(video.id),
        lambda: stranger.videos.remix(video.id, prompt="theirs"),
        lambda: stranger.post(
            "/videos/edits", body={"video": {"id": video.id}, "prompt": "x"}, cast_to=object
        ),
    ):
        with pytest.raises(openai.NotFoundError):
            attempt()
    assert stranger.videos.list().data == []
    assert client.videos.retrieve(video.id).id == video.id


@pytest.mark.parametrize(
    "members",
    [
        '"progress": NaN',
        '"prompt": "\\ud800"',
        '"progress": 1' + "0" * 400,
        '"status": ["queued"]',
        '"id": ".."',
    ],
)
def test_a_video_that_cannot_be_stored_is_the_providers_fault(client: OpenAI, tag: str, members: str) -> None:
    script = json.dumps({"tag": tag, "turns": [{"raw": f'{{"id": "video_{tag}", {members}}}'}]})
    with pytest.raises(openai.InternalServerError, match="cannot be read") as caught:
        client.videos.create(prompt=f"script: {script}")
    assert caught.value.status_code == 502


def test_a_refused_video_is_an_error_and_in_no_list(client: OpenAI, tag: str) -> None:
    turns = [{"fail": {"status": 400, "message": "Not that"}}]
    script = json.dumps({"tag": tag, "turns": turns})
    before = [one.id for one in client.videos.list().data]
    with pytest.raises(openai.BadRequestError, match="Not that"):
        client.videos.create(prompt=f"script: {script}")
    assert [one.id for one in client.videos.list().data] == before


# --- fine-tuning ---


def job_of(client: OpenAI, **fields: Any) -> Any:
    file = client.files.create(file=("train.jsonl", LINES), purpose="fine-tune")
    return client.fine_tuning.jobs.create(model="gpt-4o-mini", training_file=file.id, **fields), file


def test_a_job_gets_the_projects_file(client: OpenAI, provider: ProviderProcess) -> None:
    job, file = job_of(client, metadata={"for": "tests"})
    assert job.training_file == file.id
    upload = provider.received("POST:/v1/files")[-1]["body"]
    assert (upload["purpose"], upload["file"]["filename"]) == ("fine-tune", "train.jsonl")
    assert upload["file"]["size"] == len(LINES)
    asked = provider.received("POST:/v1/fine_tuning/jobs")[-1]["body"]
    assert asked["training_file"].startswith("file-at-provider-")
    assert asked["metadata"] == {"for": "tests"}


def test_a_job_goes_to_its_end_and_its_model_is_deleted(client: OpenAI, stranger: OpenAI) -> None:
    job, file = job_of(client)
    jobs = client.fine_tuning.jobs
    assert jobs.list_events(job.id).data[0].message == "Done"
    assert jobs.checkpoints.list(job.id).data[0].step_number == 1
    assert jobs.pause(job.id).status == "running"
    assert jobs.resume(job.id).status == "running"
    done = jobs.retrieve(job.id)
    assert (done.status, done.training_file) == ("succeeded", file.id)
    assert done.fine_tuned_model is not None
    with pytest.raises(openai.NotFoundError):
        stranger.models.delete(done.fine_tuned_model)
    assert client.models.delete(done.fine_tuned_model).deleted
    checkpoint = f"{done.fine_tuned_model}:ckpt-step-1"
    assert client.fine_tuning.checkpoints.permissions.list(checkpoint).data == []
    with pytest.raises(openai.NotFoundError):
        stranger.fine_tuning.checkpoints.permissions.list(checkpoint)


@pytest.mark.parametrize("own_key", [False, True])
def test_an_object_is_asked_for_on_the_account_that_has_it(
    client: OpenAI, provider: ProviderProcess, own_key: bool
) -> None:
    callers = client.with_options(default_headers={"api-key": "sk-a-callers-own"})
    creator, other = (callers, client) if own_key else (client, callers)
    video = creator.videos.create(prompt="whose?")
    if own_key:
        with pytest.raises(openai.BadRequestError) as refused:
            other.videos.retrieve(video.id)
        assert (refused.value.code, refused.value.param) == ("missing_header", "api-key")
        assert video.id in [one.id for one in other.videos.list()]
        creator.videos.retrieve(video.id)
    else:
        other.videos.retrieve(video.id)
    asked = provider.received(f"GET:/v1/videos/{video.id}")
    key = "sk-a-callers-own" if own_key else OPERATORS_KEY
    assert {one["headers"]["authorization"] for one in asked} == {f"Bearer {key}"}


def test_a_job_is_cancelled_and_listed(client: OpenAI, stranger: OpenAI) -> None:
    first, _ = job_of(client)
    second, file = job_of(client, metadata={"name": "second"})
    assert client.fine_tuning.jobs.cancel(first.id).status == "cancelled"
    listed = client.fine_tuning.jobs.list(limit=2)
    assert [one.id for one in listed.data] == [second.id, first.id]
    assert listed.has_more
    assert listed.data[0].training_file == file.id
    assert [one.id for one in client.fine_tuning.jobs.list(metadata={"name": "second"})] == [second.id]
    assert [one.id for one in client.fine_tuning.jobs.list(after=second.id, limit=1).data] == [first.id]
    assert stranger.fine_tuning.jobs.list().data == []
    for attempt in (
        lambda: stranger.fine_tuning.jobs.retrieve(first.id),
        lambda: stranger.fine_tuning.jobs.cancel(first.id),
        lambda: stranger.fine_tuning.jobs.list_events(first.id),
        lambda: stranger.fine_tuning.jobs.checkpoints.list(first.id),
    ):
        with pytest.raises(openai.NotFoundError):
            attempt()


def test_a_job_with_another_projects_file_or_one_of_another_purpose_is_refused(
    client: OpenAI, stranger: OpenAI
) -> None:
    file = client.files.create(file=("train.jsonl", LINES), purpose="fine-tune")
    with pytest.raises(openai.NotFoundError) as missing:
        stranger.fine_tuning.jobs.create(model="gpt-4o-mini", training_file=file.id)
    assert missing.value.param == "training_file"
    other = client.files.create(file=("a.jsonl", LINES), purpose="user_data")
    with pytest.raises(openai.BadRequestError, match="upload it with the purpose 'fine-tune'"):
        client.fine_tuning.jobs.create(model="gpt-4o-mini", training_file=other.id)


def test_a_model_of_the_operator_is_not_deleted(client: OpenAI) -> None:
    with pytest.raises(openai.PermissionDeniedError):
        client.models.delete("gpt-4o")


def post(client: OpenAI, path: str, body: Any) -> Any:
    return client.post(path, body=body, cast_to=object)


def tuned_model(client: OpenAI) -> str:
    job, _ = job_of(client)
    model = client.fine_tuning.jobs.retrieve(job.id).fine_tuned_model
    assert model is not None
    return model


def test_a_fine_tuned_model_answers_only_the_project_whose_job_made_it(
    client: OpenAI, stranger: OpenAI
) -> None:
    model = tuned_model(client)
    hello: list[Any] = [{"role": "user", "content": "hello"}]
    assert client.chat.completions.create(model=model, messages=hello).choices[0].message.content
    assert client.responses.create(model=model, input="hello").output_text
    assert post(client, "/assistants", {"model": model})["model"] == model
    grader = {"type": "score_model", "name": "g", "model": model, "input": hello}
    for attempt in (
        lambda: stranger.chat.completions.create(model=model, messages=hello),
        lambda: stranger.chat.completions.create(model=model, messages=hello, stream=True),
        lambda: stranger.completions.create(model=model, prompt="hello"),
        lambda: stranger.embeddings.create(model=model, input="hello"),
        lambda: stranger.moderations.create(model=model, input="hello"),
        lambda: stranger.responses.create(model=model, input="hello"),
        lambda: stranger.responses.create(
            model="gpt-4o", input="hello", extra_body={"moderation": {"model": model}}
        ),
        lambda: stranger.responses.create(
            model="gpt-4o", input="hello", tools=[{"type": "image_generation", "model": model}]
        ),
        lambda: stranger.images.generate(model=model, prompt="hello"),
        lambda: stranger.audio.speech.create(model=model, input="hello", voice="alloy"),
        lambda: post(stranger, "/assistants", {"model": model}),
        lambda: stranger.models.retrieve(model),
        lambda: stranger.models.delete(model),
        lambda: stranger.fine_tuning.alpha.graders.validate(grader=grader),  # type: ignore[arg-type]
        lambda: stranger.realtime.client_secrets.create(session={"type": "realtime", "model": model}),  # type: ignore[typeddict-item]
        lambda: stranger.chat.completions.create(model="ft:gpt-4o:nobody::1", messages=hello),
    ):
        with pytest.raises(openai.NotFoundError) as missing:
            attempt()
        assert (missing.value.code, missing.value.param) == ("model_not_found", "model")


def test_a_list_of_models_shows_the_projects_own_fine_tuned_ones(client: OpenAI, stranger: OpenAI) -> None:
    model = tuned_model(client)
    assert model in [one.id for one in client.models.list()]
    listed = [one.id for one in stranger.models.list()]
    assert "gpt-4o" in listed
    assert model not in listed


# --- voices ---


def consent_of(client: OpenAI) -> Any:
    files = {"recording": ("me.wav", b"RIFF" + bytes(100), "audio/wav")}
    body = {"name": "Ann", "language": "en-US"}
    headers = {"Content-Type": "multipart/form-data"}
    path = "/audio/voice_consents"
    return client.post(path, body=body, files=files, options={"headers": headers}, cast_to=object)


def voice_of(client: OpenAI, consent: str) -> Any:
    files = {"audio_sample": ("me.wav", b"RIFF" + bytes(1000), "audio/wav")}
    body = {"name": "Ann's voice", "consent": consent}
    headers = {"Content-Type": "multipart/form-data"}
    return client.post("/audio/voices", body=body, files=files, options={"headers": headers}, cast_to=object)


def test_a_voice_is_made_of_a_sample_with_its_speakers_consent(
    client: OpenAI, provider: ProviderProcess
) -> None:
    consent = consent_of(client)
    assert (consent["object"], consent["name"]) == ("audio.voice_consent", "Ann")
    path = f"/audio/voice_consents/{consent['id']}"
    assert client.get(path, cast_to=object) == consent
    renamed: Any = client.post(path, body={"name": "Anna"}, cast_to=object)
    assert renamed["name"] == "Anna"
    listed: Any = client.get("/audio/voice_consents", options={"params": {"limit": 1}}, cast_to=object)
    assert listed["data"] == [renamed]
    voice = voice_of(client, consent["id"])
    assert (voice["object"], voice["name"]) == ("audio.voice", "Ann's voice")
    sample = provider.received("POST:/v1/audio/voices")[-1]["body"]["audio_sample"]
    assert (sample["filename"], sample["size"]) == ("me.wav", 1004)
    spoken = client.audio.speech.create(model="tts", input="hello", voice={"id": voice["id"]})  # type: ignore[arg-type]
    assert len(spoken.read()) > 1000
    gone: Any = client.delete(path, cast_to=object)
    assert gone["deleted"]
    with pytest.raises(openai.NotFoundError):
        client.get(path, cast_to=object)


def test_another_projects_voices_and_consents_are_not_found(client: OpenAI, stranger: OpenAI) -> None:
    consent = consent_of(client)["id"]
    voice = voice_of(client, consent)["id"]
    path = f"/audio/voice_consents/{consent}"
    hello: list[Any] = [{"role": "user", "content": "hello"}]
    for attempt in (
        lambda: stranger.get(path, cast_to=object),
        lambda: stranger.post(path, body={"name": "x"}, cast_to=object),
        lambda: stranger.delete(path, cast_to=object),
        lambda: voice_of(stranger, consent),
        lambda: stranger.audio.speech.create(model="tts", input="hello", voice={"id": voice}),  # type: ignore[arg-type]
        lambda: stranger.audio.speech.create(model="tts", input="hello", voice=voice),
        lambda: stranger.chat.completions.create(
            model="gpt-4o", messages=hello, modalities=["audio"], audio={"voice": voice, "format": "mp3"}
        ),
    ):
        with pytest.raises(openai.NotFoundError):
            attempt()
    listed: Any = stranger.get("/audio/voice_consents", cast_to=object)
    assert listed["data"] == []
    assert client.get(path, cast_to=object)


def test_a_grader_is_validated(client: OpenAI) -> None:
    grader = {"type": "string_check", "name": "g", "operation": "eq", "input": "a", "reference": "b"}
    validated = client.fine_tuning.alpha.graders.validate(grader=grader)  # type: ignore[arg-type]
    assert validated.grader is not None
