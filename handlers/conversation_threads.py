"""A thread's conversation and a conversation's thread, which OpenAI does not have."""

from handlers.context import Context
from handlers.errors import NotFound
from handlers.registry import operation
from handlers.resources import find_thread
from inference.responses.errors import ConversationNotFound
from inference.responses.threads import conversation_of_thread, thread_of_conversation
from persistence.types import JSON


@operation("createThreadConversation")
async def create_thread_conversation(context: Context, thread_id: str) -> JSON:
    """Copy a thread without an active run into a conversation, once; answer the conversation."""
    thread = await find_thread(context, thread_id)
    await context.services.runs.check_free(thread)
    conversation = await conversation_of_thread(context.services.store, thread)
    if conversation is None:
        raise NotFound(f"No thread found with id '{thread_id}'.")
    return conversation


@operation("createConversationThread")
async def create_conversation_thread(context: Context, conversation_id: str) -> JSON:
    """Copy a conversation on which no response runs into a thread, once; answer the thread."""
    conversation = await context.services.conversations.unlocked(context.project, conversation_id)
    thread = await thread_of_conversation(context.services.store, conversation)
    if thread is None:
        raise ConversationNotFound(conversation_id)
    return thread
