"""Create objects for the fuzzer through the API, and put their ids into its document.

Without them most requests would get 404: no run starts without an assistant's id.
"""

import json
import urllib.request
from typing import Any

from persistence.types import JSON
from tests.server import until

MODEL = "gpt-4o"
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
UPLOAD = b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nassistants\r\n--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\nA text.\r\n--b--\r\n'
BATCH_LINE = b'{"custom_id": "r", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m", "messages": []}}'
BATCH_FILE = UPLOAD.replace(b"assistants", b"batch").replace(b"A text.", BATCH_LINE)
PART = b'--b\r\nContent-Disposition: form-data; name="data"; filename="a"\r\n\r\nhello\r\n--b--\r\n'
CONTAINER_FILE = PART.replace(b'name="data"', b'name="file"')
IN_BODIES = ("assistant_id", "file_id", "file_ids", "input_file_id", "vector_store_ids", "part_ids")
OF_COMPONENT = {
    **dict.fromkeys(
        (
            "CreateChatCompletionRequest",
            "CreateCompletionRequest",
            "CreateEmbeddingRequest",
            "ModelIdsResponses",
        ),
        ("model",),
    ),
    "SubmitToolOutputsRunRequest": ("tool_call_id",),
}
NOT_PINNED = (
    "Chat", "Answered.", "ContainerAuto", "AutoCodeInterpreter", "ImageGenTool", "FileSearchTool",
    "FilePath", "FileCitationBody",
)  # fmt: skip
"""Components whose ids of files are not looked up when they are stored."""

NAMED = {"type": "string", "minLength": 1}
"""The schema of a model's name: the provider accepts any, the server refuses an empty one."""


class Seeds:
    """The ids to use in paths and bodies of requests.

    Operations that end an object get separate objects, so that the others keep theirs.
    """

    def __init__(self, url: str, key: str) -> None:
        self._url, self._key = url, key
        self.any = self._set()
        ended = self._set()
        waiting, asking = self._waiting(), self._waiting()
        self.any["tool_call_id"] = asking.pop("tool_call_id")
        self.of_operation = {
            "cancelRun": waiting,
            "submitToolOuputsToRun": asking,
            "cancelUpload": ended,
            "completeUpload": {"upload_id": self.any["upload_id"]},
            **{
                name: self._set()
                for name in ("deleteThread", "deleteFile", "deleteVectorStore", "deleteAssistant")
            },
            "retrieveBatch": {"batch_id": self._batch()},
            "cancelBatch": {"batch_id": self._batch()},
            "deleteMessage": ended,
            "deleteVectorStoreFile": ended,
            "deleteChatCompletion": ended,
            "deleteResponse": {"response_id": self._response()},
            "cancelResponse": {"response_id": self._response(background=True)},
            "deleteConversation": self._conversation(),
            "deleteConversationItem": self._conversation(),
            "RetrieveContainerFile": self._container(),
            "RetrieveContainerFileContent": self._container(),
            "DeleteContainerFile": self._container(),
            "DeleteContainer": self._container(),
        }

    def pin(self, document: JSON) -> None:
        """Put the ids into the document, in place."""
        for item in document["paths"].values():
            for operation in item.values():
                ids = {**self.any, **self.of_operation.get(operation["operationId"], {})}
                for parameter in operation.get("parameters", ()):
                    if parameter["in"] == "path" and parameter["name"] in ids:
                        parameter["schema"] = {"type": "string", "enum": [ids[parameter["name"]]]}
                self._pin_bodies(operation.get("requestBody", {}), IN_BODIES)
        for name, schema in document["components"]["schemas"].items():
            if name in OF_COMPONENT or not any(part in name for part in NOT_PINNED):
                self._pin_bodies(schema, OF_COMPONENT.get(name, IN_BODIES))

    def _pin_bodies(self, schema: Any, names: tuple[str, ...]) -> None:
        for one in schema.values() if isinstance(schema, dict) else schema:
            if isinstance(one, dict | list):
                self._pin_bodies(one, names)
        properties = schema.get("properties") if isinstance(schema, dict) else None
        for name in names if isinstance(properties, dict) else ():
            if name == "model" and name in properties:
                properties[name] = NAMED
            elif name in properties:
                only = {"type": "string", "enum": [self.any[name.replace("_ids", "_id")]]}
                if name.endswith("_ids"):
                    properties[name] = {**properties[name], "items": only}
                else:
                    given = properties[name]
                    nullable = {"type": "null"} in given.get("anyOf", ()) or "null" in given.get("type", ())
                    properties[name] = {"anyOf": [only, {"type": "null"}]} if nullable else only

    def _set(self) -> dict[str, str]:
        said = {"role": "user", "content": "hi"}
        thread = self._made("/threads", {"messages": [said]})
        assistant = self._made("/assistants", {"model": MODEL})
        run = self._made(f"/threads/{thread}/runs", {"assistant_id": assistant})
        self._await(f"/threads/{thread}/runs/{run}", "completed")
        steps = self._ask(f"/threads/{thread}/runs/{run}/steps")["data"]
        store, file = self._made("/vector_stores", {}), self._made("/files", UPLOAD)
        batch = self._made(f"/vector_stores/{store}/file_batches", {"file_ids": [file]})
        self._await(f"/vector_stores/{store}/file_batches/{batch}", "completed")
        announced = {"bytes": 5, "filename": "a.txt", "mime_type": "text/plain", "purpose": "assistants"}
        upload = self._made("/uploads", announced)
        return {
            "assistant_id": assistant,
            "thread_id": thread,
            "message_id": self._made(f"/threads/{thread}/messages", said),
            "run_id": run,
            "step_id": steps[0]["id"],
            "vector_store_id": store,
            "file_id": file,
            "batch_id": batch,
            "input_file_id": self._made("/files", BATCH_FILE),
            "upload_id": upload,
            "part_id": self._made(f"/uploads/{upload}/parts", PART),
            "completion_id": self._made(
                "/chat/completions", {"model": MODEL, "messages": [said], "store": True}
            ),
            "model": MODEL,
            "container_id": self._made("/containers", {"name": "c"}),
            "response_id": self._response(),
            **self._conversation(),
        }

    def _batch(self) -> str:
        body = {"input_file_id": self.any["input_file_id"], "endpoint": "/v1/chat/completions"}
        return self._made("/batches", {**body, "completion_window": "24h"})

    def _response(self, **fields: Any) -> str:
        return self._made("/responses", {"model": MODEL, "input": "hi", **fields})

    def _conversation(self) -> dict[str, str]:
        conversation = self._made("/conversations", {})
        items = [{"role": "user", "content": "hi"}]
        added = self._ask(f"/conversations/{conversation}/items", {"items": items})
        return {"conversation_id": conversation, "item_id": added["first_id"]}

    def _container(self) -> dict[str, str]:
        """Create a container with a file."""
        container = self._made("/containers", {"name": "c"})
        return {
            "container_id": container,
            "file_id": self._made(f"/containers/{container}/files", CONTAINER_FILE),
        }

    def _waiting(self) -> dict[str, str]:
        """Create a run that waits for the outputs of its tool."""
        assistant = self._made("/assistants", {"model": MODEL, "tools": [TOOL]})
        choice = {"type": "function", "function": {"name": "f"}}
        run = self._ask("/threads/runs", {"assistant_id": assistant, "tool_choice": choice, "thread": {
            "messages": [{"role": "user", "content": "hi"}]
        }})  # fmt: skip
        path = f"/threads/{run['thread_id']}/runs/{run['id']}"
        self._await(path, "requires_action")
        (call,) = self._ask(path)["required_action"]["submit_tool_outputs"]["tool_calls"]
        return {"thread_id": run["thread_id"], "run_id": run["id"], "tool_call_id": call["id"]}

    def _made(self, path: str, body: JSON | bytes) -> str:
        return str(self._ask(path, body)["id"])

    def _await(self, path: str, status: str) -> None:
        until(lambda: self._ask(path)["status"] == status, seconds=30)

    def _ask(self, path: str, body: JSON | bytes | None = None) -> Any:
        media = "multipart/form-data; boundary=b" if isinstance(body, bytes) else "application/json"
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": media}
        request = urllib.request.Request(self._url + path, data, headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)
