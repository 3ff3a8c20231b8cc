"""Objects as OpenAI's service answers them: every property that was observed, of the types observed."""

from typing import Any

from spec.types import JSON

ASSISTANT = {
    "id": "asst_1",
    "object": "assistant",
    "created_at": 1_700_000_000,
    "name": None,
    "description": None,
    "model": "gpt-4o",
    "instructions": None,
    "tools": [{"type": "code_interpreter"}],
    "top_p": 1.0,
    "temperature": 1.0,
    "reasoning_effort": None,
    "tool_resources": {"code_interpreter": {"file_ids": []}},
    "metadata": {},
    "response_format": "auto",
}
THREAD = {"id": "thread_1", "object": "thread", "created_at": 1, "metadata": {}, "tool_resources": {}}
MESSAGE = {
    "id": "msg_1",
    "object": "thread.message",
    "created_at": 1,
    "assistant_id": None,
    "thread_id": "thread_1",
    "run_id": None,
    "role": "user",
    "content": [{"type": "text", "text": {"value": "hi", "annotations": []}}],
    "attachments": [],
    "metadata": {},
}
RUN = {
    "id": "run_1",
    "object": "thread.run",
    "created_at": 1,
    "assistant_id": "asst_1",
    "thread_id": "thread_1",
    "status": "queued",
    "started_at": None,
    "expires_at": 601,
    "cancelled_at": None,
    "failed_at": None,
    "completed_at": None,
    "required_action": None,
    "last_error": None,
    "model": "gpt-4o",
    "instructions": None,
    "tools": [],
    "tool_resources": {},
    "metadata": {},
    "temperature": 1.0,
    "top_p": 1.0,
    "reasoning_effort": None,
    "max_completion_tokens": None,
    "max_prompt_tokens": None,
    "truncation_strategy": {"type": "auto", "last_messages": None},
    "incomplete_details": None,
    "usage": None,
    "response_format": "auto",
    "tool_choice": "auto",
    "parallel_tool_calls": True,
}
RUN_STEP = {
    "id": "step_1",
    "object": "thread.run.step",
    "created_at": 1,
    "run_id": "run_1",
    "assistant_id": "asst_1",
    "thread_id": "thread_1",
    "type": "message_creation",
    "status": "completed",
    "cancelled_at": None,
    "completed_at": 2,
    "expires_at": None,
    "failed_at": None,
    "last_error": None,
    "step_details": {"type": "message_creation", "message_creation": {"message_id": "msg_1"}},
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}
VECTOR_STORE = {
    "id": "vs_1",
    "object": "vector_store",
    "created_at": 1,
    "name": None,
    "description": None,
    "usage_bytes": 0,
    "file_counts": {"in_progress": 0, "completed": 0, "failed": 0, "cancelled": 0, "total": 0},
    "status": "completed",
    "expires_after": None,
    "expires_at": None,
    "last_active_at": 1,
    "metadata": {},
}
VECTOR_STORE_FILE = {
    "id": "file-1",
    "object": "vector_store.file",
    "usage_bytes": 0,
    "created_at": 1,
    "vector_store_id": "vs_1",
    "status": "completed",
    "last_error": None,
    "chunking_strategy": {
        "type": "static",
        "static": {"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 400},
    },
    "attributes": {},
}
FILE_BATCH = {
    "id": "vsfb_1",
    "object": "vector_store.file_batch",
    "created_at": 1,
    "status": "completed",
    "vector_store_id": "vs_1",
    "file_counts": VECTOR_STORE["file_counts"],
}
FILE = {
    "object": "file",
    "id": "file-1",
    "purpose": "assistants",
    "filename": "a.txt",
    "bytes": 1,
    "created_at": 1,
    "expires_at": None,
    "status": "processed",
    "status_details": None,
}
UPLOAD = {
    "id": "upload_1",
    "object": "upload",
    "bytes": 1,
    "created_at": 1,
    "filename": "a.txt",
    "purpose": "assistants",
    "status": "pending",
    "expires_at": 3600,
}
UPLOAD_PART = {"id": "part_1", "object": "upload.part", "created_at": 1, "upload_id": "upload_1"}
BATCH = {
    "id": "batch_1",
    "object": "batch",
    "endpoint": "/v1/chat/completions",
    "model": None,
    "errors": None,
    "input_file_id": "file-1",
    "completion_window": "24h",
    "status": "validating",
    "output_file_id": None,
    "error_file_id": None,
    "created_at": 1,
    "in_progress_at": None,
    "expires_at": 2,
    "finalizing_at": None,
    "completed_at": None,
    "failed_at": None,
    "expired_at": None,
    "cancelling_at": None,
    "cancelled_at": None,
    "request_counts": {"total": 0, "completed": 0, "failed": 0},
    "usage": {
        "input_tokens": 0,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 0,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 0,
    },
    "metadata": None,
}
CHAT_COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "hi", "refusal": None, "annotations": []},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    "service_tier": "default",
    "system_fingerprint": "fp_1",
}
STORED_COMPLETION = CHAT_COMPLETION | {
    "request_id": "req_1",
    "tool_choice": None,
    "seed": 1,
    "top_p": 1.0,
    "temperature": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "input_user": None,
    "tools": None,
    "metadata": {},
    "response_format": None,
}
TOOL_CALL_COMPLETION = CHAT_COMPLETION | {
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
                ],
                "refusal": None,
                "annotations": [],
            },
            "logprobs": None,
            "finish_reason": "tool_calls",
        }
    ]
}
EMBEDDINGS = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": "AAAA"}],
    "model": "m",
    "usage": {"prompt_tokens": 1, "total_tokens": 1},
}
MODEL = {"id": "gpt-4o", "object": "model", "created": 1, "owned_by": "openai"}
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "status": "completed",
    "background": False,
    "billing": {"payer": "developer"},
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "model": "gpt-4o",
    "output": [
        {
            "id": "msg_1",
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "hi", "annotations": [], "logprobs": []}],
        }
    ],
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "prompt_cache_retention": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "usage": {
        "input_tokens": 1,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 1,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 2,
    },
    "user": None,
    "metadata": {},
    "completed_at": 2,
    "frequency_penalty": 0.0,
    "moderation": None,
    "presence_penalty": 0.0,
}
CONVERSATION = {"id": "conv_1", "object": "conversation", "created_at": 1, "metadata": {}}


def page(*data: Any) -> JSON:
    """A list as the service answers it."""
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"object": "list", "data": list(data), "first_id": first, "last_id": last, "has_more": False}


ANSWERS: JSON = {
    "createAssistant": ASSISTANT,
    "listAssistants": page(ASSISTANT),
    "createThread": THREAD,
    "createMessage": MESSAGE,
    "listMessages": page(MESSAGE),
    "createRun": RUN,
    "listRuns": page(RUN),
    "getRunStep": RUN_STEP,
    "listRunSteps": page(RUN_STEP),
    "createVectorStore": VECTOR_STORE,
    "listVectorStores": page(VECTOR_STORE),
    "createVectorStoreFile": VECTOR_STORE_FILE,
    "listVectorStoreFiles": page(VECTOR_STORE_FILE),
    "createVectorStoreFileBatch": FILE_BATCH,
    "createFile": FILE,
    "listFiles": page(FILE),
    "createUpload": UPLOAD,
    "addUploadPart": UPLOAD_PART,
    "createBatch": BATCH,
    "listBatches": page(BATCH),
    "createChatCompletion": TOOL_CALL_COMPLETION,
    "getChatCompletion": STORED_COMPLETION,
    "listChatCompletions": page(STORED_COMPLETION),
    "createEmbedding": EMBEDDINGS,
    "listModels": {"object": "list", "data": [MODEL]},
    "createResponse": RESPONSE,
    "createConversation": CONVERSATION,
}
