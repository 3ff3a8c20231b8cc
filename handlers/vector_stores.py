"""Vector stores: create, list, retrieve, modify, delete, search."""

from typing import Unpack

from handlers.context import Context
from handlers.credentials import embedding_credentials, ingestion_settings
from handlers.errors import BadRequest
from handlers.pages import PageQuery, list_page, read_page
from handlers.registry import operation
from handlers.resources import check_fixed
from inference.retrieval import Found, RankingOptions
from inference.retrieval.attachments import Attachment
from inference.retrieval.chunking import parse_chunking
from inference.retrieval.filters import parse_filter
from inference.retrieval.rewriting import rewrite_query
from inference.retrieval.search import DEFAULT_RESULTS
from inference.retrieval.vector_stores import view
from persistence.collections import VECTOR_STORES
from persistence.types import JSON


@operation("createVectorStore")
async def create_vector_store(context: Context, body: JSON) -> JSON:
    """Create a vector store, with files that are ingested in the background."""
    chunking = parse_chunking(body.get("chunking_strategy"))
    file_ids = body.get("file_ids") or []
    settings = await ingestion_settings(context, file_ids)
    attachments = [
        Attachment(file, chunking=chunking, param=f"file_ids[{number}]", caller=settings.caller)
        for number, file in enumerate(file_ids)
    ]
    document = await context.services.retrieval.create_vector_store(
        context.project,
        attachments,
        model=settings.model,
        name=body.get("name"),
        description=body.get("description"),
        expires_after=body.get("expires_after"),
        metadata=body.get("metadata") or {},
    )
    return view(document)


@operation("listVectorStores")
async def list_vector_stores(context: Context, **page: Unpack[PageQuery]) -> JSON:
    """Return a page of the project's vector stores."""
    found = await read_page(context, VECTOR_STORES, **page)
    return list_page(found, view)


@operation("getVectorStore")
async def get_vector_store(context: Context, vector_store_id: str) -> JSON:
    """Return the vector store."""
    return view(await context.services.retrieval.vector_stores.get(context.project, vector_store_id))


@operation("modifyVectorStore")
async def modify_vector_store(context: Context, vector_store_id: str, body: JSON) -> JSON:
    """Change the name, expires_after or metadata; absent fields stay."""
    if "description" in body:
        shown = await get_vector_store(context, vector_store_id)
        check_fixed(context, shown, body, {"name", "expires_after", "metadata"})
    changes: JSON = {name: body[name] for name in ("name", "expires_after") if name in body}
    if "metadata" in body:
        changes["metadata"] = body["metadata"] or {}
    return view(
        await context.services.retrieval.vector_stores.modify(context.project, vector_store_id, changes)
    )


@operation("deleteVectorStore")
async def delete_vector_store(context: Context, vector_store_id: str) -> JSON:
    """Delete the vector store; the files stay."""
    await context.services.retrieval.vector_stores.delete(context.project, vector_store_id)
    return {"id": vector_store_id, "object": "vector_store.deleted", "deleted": True}


@operation("searchVectorStore")
async def search_vector_store(context: Context, vector_store_id: str, body: JSON) -> JSON:
    """Return the chunks that match the query best."""
    queries = body["query"] if isinstance(body["query"], list) else [body["query"]]
    if not queries or not all(query.strip() for query in queries):
        raise BadRequest("Invalid 'query': expected text to search for.", param="query", code="invalid_value")
    if body.get("rewrite_query"):
        queries = [rewrite_query(query) for query in queries]
    found = await context.services.retrieval.search(
        context.project,
        [vector_store_id],
        queries,
        limit=body.get("max_num_results") or DEFAULT_RESULTS,
        filter=parse_filter(body["filters"]) if body.get("filters") is not None else None,
        ranking=RankingOptions(**(body.get("ranking_options") or {})),
        credentials=await embedding_credentials(context),
    )
    return {
        "object": "vector_store.search_results.page",
        "search_query": queries,
        "data": [_result(item) for item in found],
        "has_more": False,
        "next_page": None,
    }


def _result(found: Found) -> JSON:
    return {
        "file_id": found.file_id,
        "filename": found.filename,
        "score": found.score,
        "attributes": found.attributes,
        "content": [{"type": "text", "text": found.text}],
    }
