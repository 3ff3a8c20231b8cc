"""Images: generated, edited and varied by the provider of the model, whose response is relayed."""

from handlers.context import Context
from handlers.referred_files import with_image
from handlers.registry import operation
from handlers.relaying import relay
from inference.gateway.http.forms import Form
from inference.gateway.paths import IMAGE_EDITS, IMAGE_VARIATIONS, IMAGES
from inference.gateway.relay import RelayedResponse
from persistence.types import JSON

GENERATES, EDITS, VARIES = "dall-e-2", "gpt-image-1.5", "dall-e-2"
"""The models that the edition names as the defaults."""


@operation("createImage", cancel_on_disconnect=True)
async def create_image(context: Context, body: JSON) -> RelayedResponse:
    """Generate images from a prompt, streamed with `stream: true`."""
    return await relay(context, IMAGES, body, default_model=GENERATES, is_json=True)


@operation("createImageEdit", cancel_on_disconnect=True)
async def create_image_edit(context: Context, body: JSON, form: Form | None = None) -> RelayedResponse:
    """Edit images, which a form brings or a JSON body names; files of this server are sent along."""
    if form is None:
        images = [
            await with_image(context, one, f"images[{index}]") for index, one in enumerate(body["images"])
        ]
        body = {**body, "images": images}
        if body.get("mask") is not None:
            body["mask"] = await with_image(context, body["mask"], "mask")
    return await relay(context, IMAGE_EDITS, body, form, default_model=EDITS, is_json=True)


@operation("createImageVariation", cancel_on_disconnect=True)
async def create_image_variation(context: Context, body: JSON, form: Form) -> RelayedResponse:
    """Vary an image."""
    return await relay(context, IMAGE_VARIATIONS, body, form, default_model=VARIES, is_json=True)
