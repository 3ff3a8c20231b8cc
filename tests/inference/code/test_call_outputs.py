from inference.code.call_outputs import IMAGES_LEFT_OUT, MAX_IMAGES, CallOutputs
from inference.code.outputs import Image, Text
from persistence.types import JSON

PNG = b"\x89PNG\r\n\x1a\n"


async def test_only_the_first_images_of_a_call_are_kept() -> None:
    async def keep_image(image: Image) -> JSON:
        return {"type": "image", "url": image.content_type}

    outputs = CallOutputs(lambda _phase, _data: None, keep_image)
    for _ in range(10_000):
        outputs.add(Image("image/png", PNG))
    outputs.add(Text("end"))
    outputs.end()
    await outputs.emit_all()
    image = {"type": "image", "url": "image/png"}
    assert outputs.outputs == [image] * MAX_IMAGES + [{"type": "logs", "logs": f"{IMAGES_LEFT_OUT}end"}]
