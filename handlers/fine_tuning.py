"""Fine-tuning jobs, which their provider runs; each belongs to the project that created it.

A job's files are files of this server: they are uploaded to the provider when the job is created, and the
job shows the ids that they have here.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from handlers import provider_objects
from handlers.context import Context, Relayed
from handlers.credentials import require_store
from handlers.errors import BadRequest
from handlers.ownership import check_grader_owners
from handlers.pages import read_matching_page
from handlers.provider_objects import Kind
from handlers.registry import operation
from handlers.relaying import body_for, openai_target, relay_to
from handlers.resources import find_file
from inference.errors import ProviderError
from inference.gateway.driver import ProviderRequest
from inference.gateway.http.forms import Form, FormFile
from inference.gateway.relay import RelayedResponse
from inference.gateway.routing.targets import Target
from persistence.collections import FINE_TUNED_MODELS, FINE_TUNING_JOBS
from persistence.store import Document, Key
from persistence.types import JSON

PURPOSE = "fine-tune"
FILES = ("training_file", "validation_file")
OWN_FILES = "files"
"""The member of a job's state that has this server's id of each file, by the provider's."""

FINAL = frozenset({"succeeded", "failed", "cancelled"})
JOB = Kind(FINE_TUNING_JOBS, "/fine_tuning/jobs", "fine-tuning job", "fine_tuning_job_id", FINAL)
MODEL = Kind(FINE_TUNED_MODELS, "/models", "fine-tuned model", "model")
CHECKPOINTS = "/fine_tuning/checkpoints"
GRADERS = "/fine_tuning/alpha/graders"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of this server on its way to a provider."""

    document: Document
    context: Context

    @property
    def size(self) -> int:
        """Its bytes."""
        size: int = self.document.value["bytes"]
        return size

    @property
    def filename(self) -> str:
        """Its name."""
        return str(self.document.value["filename"])

    @property
    def content_type(self) -> str:
        """Its media type."""
        return "application/jsonl"

    def pieces(self) -> AsyncIterator[bytes]:
        """Yield its bytes."""
        return self.context.services.retrieval.files.read(self.document)


@operation("createFineTuningJob")
async def create_fine_tuning_job(context: Context, body: JSON) -> Relayed:
    """Upload the files to the provider of the model, and have it start a job."""
    require_store(context, "a fine-tuning job")
    method = body.get("method") or {}
    await check_grader_owners(context, (method.get("reinforcement") or {}).get("grader"))
    files = {name: await _file(context, body[name], name) for name in FILES if body.get(name) is not None}
    target = await openai_target(context, body["model"], f"POST {JOB.path}")
    uploaded: dict[str, str] = {}
    try:
        for name, file in files.items():
            uploaded[name] = await _upload(context, target, file)
        sent = body_for(target, {**body, **uploaded}, None)
        assert isinstance(sent, dict)  # noqa: S101 - it is no form
        response = await relay_to(context, target, ProviderRequest("POST", JOB.path, sent))
        job = await provider_objects.value_of(response)
    except BaseException:
        await _discard(context, target, list(uploaded.values()))
        raise
    own = {uploaded[name]: body[name] for name in uploaded}
    await provider_objects.record(context, JOB, body["model"], target, job, {OWN_FILES: own})
    return Relayed(_shown(job, own))


@operation("listPaginatedFineTuningJobs")
async def list_paginated_fine_tuning_jobs(
    context: Context,
    limit: int = 20,
    after: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Relayed:
    """Return a page of the project's jobs, as their providers have them now."""
    require_store(context, "fine-tuning jobs")
    matches = (lambda document: _has(document.value, metadata)) if metadata else None
    page = await read_matching_page(
        context,
        FINE_TUNING_JOBS,
        matches,
        limit=min(max(limit, 1), provider_objects.MOST),
        order="desc",
        after=after,
    )
    jobs = await provider_objects.refreshed(context, JOB, page.documents)
    data = []
    for document, job in zip(page.documents, jobs, strict=True):
        await _note_model(context, document, job.get("fine_tuned_model"))
        data.append(_shown(job, document.state[OWN_FILES]))
    return Relayed({"object": "list", "data": data, "has_more": page.has_more})


@operation("retrieveFineTuningJob", cancel_on_disconnect=True)
async def retrieve_fine_tuning_job(context: Context, fine_tuning_job_id: str) -> Relayed:
    """Return the job."""
    return await _ask_for_job(context, "GET", fine_tuning_job_id)


@operation("cancelFineTuningJob")
async def cancel_fine_tuning_job(context: Context, fine_tuning_job_id: str) -> Relayed:
    """Cancel the job."""
    return await _ask_for_job(context, "POST", fine_tuning_job_id, "cancel")


@operation("pauseFineTuningJob")
async def pause_fine_tuning_job(context: Context, fine_tuning_job_id: str) -> Relayed:
    """Pause the job."""
    return await _ask_for_job(context, "POST", fine_tuning_job_id, "pause")


@operation("resumeFineTuningJob")
async def resume_fine_tuning_job(context: Context, fine_tuning_job_id: str) -> Relayed:
    """Resume the job."""
    return await _ask_for_job(context, "POST", fine_tuning_job_id, "resume")


@operation("listFineTuningEvents", cancel_on_disconnect=True)
async def list_fine_tuning_events(
    context: Context, fine_tuning_job_id: str, after: str | None = None, limit: int | None = None
) -> RelayedResponse:
    """Return a page of the job's events."""
    document = await provider_objects.find(context, JOB, fine_tuning_job_id)
    path = JOB.of(fine_tuning_job_id, "events", after=after, limit=limit)
    return await provider_objects.ask(context, document, "GET", path)


@operation("listFineTuningJobCheckpoints", cancel_on_disconnect=True)
async def list_fine_tuning_job_checkpoints(
    context: Context, fine_tuning_job_id: str, after: str | None = None, limit: int | None = None
) -> RelayedResponse:
    """Return a page of the job's checkpoints, which are models of the project from now on."""
    document = await provider_objects.find(context, JOB, fine_tuning_job_id)
    path = JOB.of(fine_tuning_job_id, "checkpoints", after=after, limit=limit)
    response = await provider_objects.ask(context, document, "GET", path)
    listed = (await provider_objects.json_of(response)).get("data")
    for checkpoint in listed if isinstance(listed, list) else ():
        if isinstance(checkpoint, dict):
            await _note_model(context, document, checkpoint.get("fine_tuned_model_checkpoint"))
    return response


# --- permissions of checkpoints, and graders ---


@operation("listFineTuningCheckpointPermissions", cancel_on_disconnect=True)
async def list_fine_tuning_checkpoint_permissions(
    context: Context, fine_tuned_model_checkpoint: str, **query: Any
) -> RelayedResponse:
    """Return a page of the checkpoint's permissions; its provider wants an administrator's key."""
    path = _permissions(fine_tuned_model_checkpoint, **query)
    return await _ask_for_checkpoint(context, fine_tuned_model_checkpoint, "GET", path)


@operation("createFineTuningCheckpointPermission")
async def create_fine_tuning_checkpoint_permission(
    context: Context, fine_tuned_model_checkpoint: str, body: JSON
) -> RelayedResponse:
    """Share the checkpoint with projects of its provider."""
    path = _permissions(fine_tuned_model_checkpoint)
    return await _ask_for_checkpoint(context, fine_tuned_model_checkpoint, "POST", path, body)


@operation("deleteFineTuningCheckpointPermission")
async def delete_fine_tuning_checkpoint_permission(
    context: Context, fine_tuned_model_checkpoint: str, permission_id: str
) -> RelayedResponse:
    """Take a permission back."""
    path = _permissions(fine_tuned_model_checkpoint, permission_id)
    return await _ask_for_checkpoint(context, fine_tuned_model_checkpoint, "DELETE", path)


@operation("runGrader", cancel_on_disconnect=True)
async def run_grader(context: Context, body: JSON) -> RelayedResponse:
    """Run a grader of a model at the provider of its model, another one at the first that has graders."""
    return await _grade(context, "run", body)


@operation("validateGrader", cancel_on_disconnect=True)
async def validate_grader(context: Context, body: JSON) -> RelayedResponse:
    """Have a grader validated."""
    return await _grade(context, "validate", body)


async def _grade(context: Context, what: str, body: JSON) -> RelayedResponse:
    grader, path = body["grader"], f"{GRADERS}/{what}"
    model = grader.get("model")
    await check_grader_owners(context, grader)
    target = await openai_target(context, model, f"POST {path}")
    if model is not None:
        body = {**body, "grader": {**grader, "model": target.model}}
    return await relay_to(context, target, ProviderRequest("POST", path, body))


def _permissions(checkpoint: str, *rest: str, **query: Any) -> str:
    kind = Kind(FINE_TUNED_MODELS, CHECKPOINTS, MODEL.noun, MODEL.param)
    return kind.of(checkpoint, "permissions", *rest, **query)


async def _ask_for_checkpoint(
    context: Context, checkpoint: str, method: str, path: str, body: JSON | None = None
) -> RelayedResponse:
    document = await provider_objects.find(context, MODEL, checkpoint)
    return await provider_objects.ask(context, document, method, path, body)


# --- parts ---


async def _file(context: Context, file_id: str, param: str) -> FormFile:
    document = await find_file(context, file_id, param)
    if document.value["purpose"] != PURPOSE:
        message = (
            f"The file '{file_id}' has the purpose '{document.value['purpose']}': upload it with the purpose "
            f"'{PURPOSE}'."
        )
        raise BadRequest(message, param=param, code="invalid_file")
    return StoredFile(document, context)


async def _upload(context: Context, target: Target, file: FormFile) -> str:
    """Upload a file to the provider; return the id that it has there."""
    form = Form((("purpose", PURPOSE), ("file", file)))
    response = await relay_to(context, target, ProviderRequest("POST", "/files", form))
    id: str = (await provider_objects.value_of(response))["id"]
    return id


async def _discard(context: Context, target: Target, files: list[str]) -> None:
    """Delete files at the provider of a job that was not created, as far as it answers."""
    for file in files:
        try:
            response = await context.services.gateway.send(
                target, ProviderRequest("DELETE", f"/files/{file}")
            )
            async with aclosing(response):
                await response.read()
        except ProviderError as exc:
            provider_objects.log.warning("provider_file_not_deleted", file=file, reason=exc.message)


async def _ask_for_job(context: Context, method: str, id: str, *rest: str) -> Relayed:
    document = await provider_objects.find(context, JOB, id)
    job = await provider_objects.value_of(
        await provider_objects.ask(context, document, method, JOB.of(id, *rest))
    )
    await provider_objects.note(context, document, job)
    await _note_model(context, document, job.get("fine_tuned_model"))
    return Relayed(_shown(job, document.state[OWN_FILES]))


async def _note_model(context: Context, job: Document, name: Any) -> None:
    """Note that a model is the project's, once."""
    if not isinstance(name, str) or provider_objects.ID.fullmatch(name) is None:
        return
    if await context.services.store.get(Key(context.project, FINE_TUNED_MODELS, name)) is not None:
        return
    await provider_objects.record_of(context, MODEL, job, {"id": name})


def _shown(job: JSON, own: Mapping[str, str]) -> JSON:
    """Return a job with the ids that its files have here."""
    return {**job, **{name: own[job[name]] for name in FILES if str(job.get(name)) in own}}


def _has(job: JSON, metadata: Mapping[str, str]) -> bool:
    has = job.get("metadata")
    return isinstance(has, dict) and metadata.items() <= has.items()
