"""The parts of retrieval, put together for one worker."""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import Any

import structlog

from inference.gateway import Credentials, Gateway
from inference.jobs import Jobs
from inference.parsing.chunking import AUTO
from inference.parsing.sandbox import Sandbox
from inference.retrieval.attachments import Attachment, status_label
from inference.retrieval.contents import UnclaimedContents
from inference.retrieval.deadlines import Deadlines
from inference.retrieval.embedding import Embedder
from inference.retrieval.errors import ObjectNotFound, RequestRefused
from inference.retrieval.files import Files, declared_charset
from inference.retrieval.ingestion import Ingestion
from inference.retrieval.search import DEFAULT_RESULTS, Found, RankingOptions, Search
from inference.retrieval.uploads import Uploads
from inference.retrieval.vector_store_files import VectorStoreFiles
from inference.retrieval.vector_stores import VectorStores, view
from inference.sealing import Sealer
from persistence.collections import CONTENTS, FILES, UPLOADS, VECTOR_STORE_FILES, VECTOR_STORES
from persistence.store import Document, Filter, Key, Store
from persistence.types import JSON

HELPER_EXPIRES_AFTER = {"anchor": "last_active_at", "days": 7}
"""The expires_after of vector stores that the server creates for attachments, as OpenAI's service does."""

INGESTION_TIMEOUT = 120.0
POLL = 0.05

MOST_FAILED = 10
"""Failed files of a store that are named to a model."""


log = structlog.get_logger()


class Retrieval:
    """Files, uploads, vector stores and their search.

    Create it before `jobs` start, because it registers handlers. `download_assistants_files=False`
    keeps OpenAI's rule that files of the purpose assistants cannot be read back. `sandbox`
    parses files; by default it is this object's own. `tenant` names the store among those that share it.
    """

    def __init__(
        self,
        store: Store,
        gateway: Gateway,
        jobs: Jobs,
        *,
        download_assistants_files: bool = True,
        sandbox: Sandbox | None = None,
        sealer: Sealer | None = None,
        tenant: str = "",
    ) -> None:
        self._store = store
        self._tenant = tenant
        self.sealer = sealer or Sealer()
        self._embedder = Embedder(gateway)
        self.sandbox = sandbox or Sandbox()
        self.deadlines = deadlines = Deadlines(store, jobs)
        self.files = Files(store, deadlines, download_assistants_files=download_assistants_files)
        self.uploads = Uploads(store, deadlines, self.files)
        self.vector_stores = VectorStores(store, deadlines)
        self.vector_store_files = VectorStoreFiles(store, jobs, deadlines, self.files, self.vector_stores)
        self._search = Search(store, self._embedder, self.vector_stores)
        self._ingestion = Ingestion(
            store, jobs, self._embedder, self.vector_store_files, self.sandbox, self.sealer, tenant
        )
        deadlines.register(CONTENTS, expire=UnclaimedContents(store).expire)
        deadlines.register(FILES, expire=self.files.expire, purge=self.vector_store_files.purge_file)
        deadlines.register(UPLOADS, expire=self.uploads.expire, purge=self.uploads.purge)
        deadlines.register(
            VECTOR_STORES, expire=self.vector_stores.expire, purge=self.vector_store_files.purge_store
        )
        deadlines.register(VECTOR_STORE_FILES, purge=self.vector_store_files.purge_vector_store_file)

    def open(self) -> None:
        """Log a warning if new vector stores are searched by words alone."""
        if self._embedder.default_model() is None:
            log.warning("search_by_words_alone", reason="no embedding model is configured")

    async def close(self) -> None:
        """End the parser process; call it after the jobs have stopped."""
        await self.sandbox.close()

    def describe(self) -> JSON:
        """Return how vector stores are searched: "hybrid" with a model's name, or "bm25" without one."""
        model = self._embedder.default_model()
        return {"search": "hybrid" if model else "bm25", "embedding_model": model}

    # --- vector stores ---

    async def create_vector_store(
        self, project: str, attachments: Sequence[Attachment] = (), *, model: str | None = None, **fields: Any
    ) -> Document:
        """Create a vector store, and start to ingest files into it.

        `model` embeds it, else the default embedding model. `fields` are name, description,
        expires_after and metadata. Raises ObjectNotFound for a file that does not exist.
        """
        return await self.vector_store_files.create_store(
            project, model or self._embedder.default_model(), attachments, **fields
        )

    async def attach_files(
        self,
        project: str,
        vector_store: str | None,
        files: Sequence[str],
        *,
        expires: bool = True,
        caller: JSON | None = None,
        model: str | None = None,
    ) -> str:
        """Put files that a request attaches into a vector store; return the store's id.

        Without one, or if it was deleted or has expired, a store is made. With `expires` it expires a week
        after it was last used.
        """
        attachments = [Attachment(file, param="attachments", caller=caller or {}) for file in files]
        if vector_store is not None:
            try:
                await self.vector_stores.usable(project, vector_store)
            except (ObjectNotFound, RequestRefused):
                vector_store = None
        if vector_store is None:
            expires_after = HELPER_EXPIRES_AFTER if expires else None
            created = await self.create_vector_store(
                project, attachments, model=model, expires_after=expires_after
            )
            return created.id
        await self.vector_store_files.attach(project, vector_store, attachments, again=False)
        return vector_store

    async def ingested(
        self, project: str, vector_stores: Sequence[str], within: float = INGESTION_TIMEOUT
    ) -> bool:
        """Wait until no store has a file in progress; return False after `within` seconds."""
        end = time.monotonic() + within
        delay = POLL
        while await self._busy(project, vector_stores):
            if time.monotonic() + delay > end:
                return False
            await asyncio.sleep(delay)
            delay = min(2 * delay, 1.0)
        return True

    async def search(
        self,
        project: str,
        vector_stores: Sequence[str],
        queries: Sequence[str],
        *,
        limit: int = DEFAULT_RESULTS,
        filter: Filter | None = None,
        ranking: RankingOptions | None = None,
        credentials: Credentials | None = None,
    ) -> list[Found]:
        """Return the best chunks of several vector stores for several queries, best first.

        Raises ObjectNotFound for a store that does not exist, RequestRefused for one that has expired.
        """
        return await self._search.search(
            project,
            vector_stores,
            queries,
            limit=limit,
            filter=filter,
            ranking=ranking,
            credentials=credentials,
        )

    async def present(self, project: str, vector_stores: Sequence[str]) -> list[str]:
        """Return the stores that exist; raise RequestRefused for one that has expired."""
        present = []
        for id in vector_stores:
            with contextlib.suppress(ObjectNotFound):
                await self.vector_stores.usable(project, id)
                present.append(id)
        return present

    async def failed_files(self, project: str, vector_stores: Sequence[str]) -> list[tuple[str, str]]:
        """Return name and reason of the newest files of each store that could not be read."""
        failed = []
        for id in vector_stores:
            page = await self._store.page(
                project, VECTOR_STORE_FILES, id, label=status_label("failed"), limit=MOST_FAILED
            )
            failed += [
                (each.state["filename"], (each.value["last_error"] or {}).get("message", ""))
                for each in page.documents
            ]
        return failed

    async def file_text(self, project: str, vector_store: str, file: str) -> str | None:
        """Return the text of a store's file, parsed again; None if it is not ingested."""
        store_file = await self.vector_store_files.get(project, vector_store, file)
        if store_file.value["status"] != "completed":
            return None
        document = await self.files.get(project, file)
        parsed = await self.sandbox.parse(
            self._tenant or project,
            self.files.read(document),
            document.value["filename"],
            AUTO,
            charset=declared_charset(document),
        )
        try:
            return parsed.text()
        finally:
            parsed.close()

    async def _busy(self, project: str, vector_stores: Sequence[str]) -> bool:
        for id in vector_stores:
            document = await self._store.get(Key(project, VECTOR_STORES, id))
            if document is not None and view(document)["status"] == "in_progress":
                return True
        return False
