"""Videos, which their provider makes and keeps; each belongs to the project that asked for it."""

from typing import Any

from handlers import provider_objects
from handlers.context import Context, Relayed
from handlers.credentials import require_store
from handlers.pages import list_page, read_page
from handlers.provider_objects import Kind
from handlers.referred_files import with_image
from handlers.registry import operation
from inference.gateway.http.forms import Form
from inference.gateway.relay import RelayedResponse
from persistence.collections import VIDEO_CHARACTERS, VIDEOS
from persistence.store import Order
from persistence.types import JSON

DEFAULT_MODEL = "sora-2"
"""The model that the edition names as the default."""

VIDEO = Kind(VIDEOS, "/videos", "video", "video_id", frozenset({"completed", "failed"}))
CHARACTER = Kind(VIDEO_CHARACTERS, "/videos/characters", "character", "character_id")


@operation("createVideo")
async def create_video(context: Context, body: JSON, form: Form | None = None) -> RelayedResponse:
    """Have a video made; an image of this server is sent along."""
    reference = body.get("input_reference")
    if isinstance(reference, dict):
        image = await with_image(context, reference, "input_reference")
        body, form = {**body, "input_reference": image}, None
    return await provider_objects.create(context, VIDEO, body, form, default_model=DEFAULT_MODEL)


@operation("ListVideos")
async def list_videos(
    context: Context, limit: int = 20, order: Order = "desc", after: str | None = None
) -> Relayed:
    """Return a page of the project's videos, as their providers have them now."""
    require_store(context, "videos")
    page = await read_page(context, VIDEOS, limit=max(limit, 1), order=order, after=after)
    listed = list_page(page)
    listed["data"] = await provider_objects.refreshed(context, VIDEO, page.documents)
    return Relayed(listed)


@operation("GetVideo", cancel_on_disconnect=True)
async def get_video(context: Context, video_id: str) -> RelayedResponse:
    """Return the video."""
    return await provider_objects.retrieve(context, VIDEO, video_id)


@operation("DeleteVideo")
async def delete_video(context: Context, video_id: str) -> RelayedResponse:
    """Delete the video at its provider."""
    return await provider_objects.delete(context, VIDEO, video_id)


@operation("RetrieveVideoContent", cancel_on_disconnect=True)
async def retrieve_video_content(
    context: Context, video_id: str, variant: str | None = None
) -> RelayedResponse:
    """Return the video's bytes, or those of its thumbnail or spritesheet."""
    document = await provider_objects.find(context, VIDEO, video_id)
    path = VIDEO.of(video_id, "content", variant=variant)
    return await provider_objects.ask(context, document, "GET", path, is_json=False)


@operation("CreateVideoRemix")
async def create_video_remix(
    context: Context, video_id: str, body: JSON, form: Form | None = None
) -> RelayedResponse:
    """Have another video made of a video."""
    return await _derive(context, video_id, VIDEO.of(video_id, "remix"), body, form)


@operation("CreateVideoEdit")
async def create_video_edit(context: Context, body: JSON, form: Form | None = None) -> RelayedResponse:
    """Have a video edited, one of the project's or one that the form brings."""
    return await _derive_from_body(context, "edits", body, form)


@operation("CreateVideoExtend")
async def create_video_extend(context: Context, body: JSON, form: Form | None = None) -> RelayedResponse:
    """Have a video continued, one of the project's or one that the form brings."""
    return await _derive_from_body(context, "extensions", body, form)


@operation("CreateVideoCharacter")
async def create_video_character(context: Context, body: JSON, form: Form) -> RelayedResponse:
    """Have a character made of a video that the form brings."""
    return await provider_objects.create(
        context, CHARACTER, body, form, default_model=DEFAULT_MODEL, has_model=False
    )


@operation("GetVideoCharacter", cancel_on_disconnect=True)
async def get_video_character(context: Context, character_id: str) -> RelayedResponse:
    """Return the character."""
    return await provider_objects.retrieve(context, CHARACTER, character_id)


async def _derive_from_body(
    context: Context, operation: str, body: JSON, form: Form | None
) -> RelayedResponse:
    video: Any = body["video"]
    path = f"{VIDEO.path}/{operation}"
    if isinstance(video, dict):
        return await _derive(context, str(video["id"]), path, body, None)
    return await provider_objects.create(
        context, VIDEO, body, form, default_model=DEFAULT_MODEL, path=path, has_model=False
    )


async def _derive(
    context: Context, video_id: str, path: str, body: JSON, form: Form | None
) -> RelayedResponse:
    """Have the provider of a video make another one of it."""
    document = await provider_objects.find(context, VIDEO, video_id)
    response = await provider_objects.ask(context, document, "POST", path, body, form)
    await provider_objects.record_of(context, VIDEO, document, await provider_objects.value_of(response))
    return response
