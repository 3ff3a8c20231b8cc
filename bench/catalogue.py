"""Every bench, in the order of the table."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from bench import (
    batches,
    cluster,
    code,
    files,
    local_models,
    open_streams,
    proxy,
    quality,
    reads,
    relay,
    responses,
    runs,
    startup,
    steadiness,
    store,
    trips,
    websocket,
    writes,
)
from bench.figures import Figure
from bench.rig import Rig


@dataclass(frozen=True, slots=True)
class Bench:
    """One benchmark: its name, a sentence about it, and the function that measures."""

    name: str
    about: str
    measure: Callable[[Rig], Iterator[Figure]]
    needs: Literal["", "cassandra", "data sets", "litellm", "sandbox"] = ""


BENCHES = (
    Bench("get", "GET one assistant against bare Flask", reads.get_assistant),
    Bench("get-astra", "GET one assistant in astra mode against keys", reads.get_in_astra_mode),
    Bench("completions", "chat completions against the provider itself", relay.completions),
    Bench("streams", "streams of 100 chunks against the provider itself", relay.relayed_streams),
    Bench(
        "litellm",
        "chat completions and streams against LiteLLM's proxy",
        proxy.against_litellm,
        needs="litellm",
    ),
    Bench("latency", "the time that the server adds to a completion and to a stream", relay.added_latency),
    Bench("open-streams", "a GET beside a thousand open streams", open_streams.open_streams),
    Bench("passed-on", "memory and delays with two thousand open streams", open_streams.passed_on),
    Bench("start", "the time from start to first answer", startup.start),
    Bench("memory", "a worker's memory", startup.worker_memory),
    Bench("steadiness", "a worker's memory after 100,000 requests", steadiness.memory_after_requests),
    Bench("post-message", "a durable message against a commit of SQLite", writes.post_message),
    Bench("long-thread", "lists and storage of 100,000 messages", writes.long_thread),
    Bench("run-overhead", "a streamed run against its provider's own time", runs.overhead),
    Bench("background-runs", "100 background runs at once", runs.background),
    Bench("open-runs", "polling a run beside 500 open streams of runs", runs.open_runs),
    Bench("batches", "lines of a batch a second, and the memory they take", batches.lines),
    Bench("batch-takeover", "how long a killed worker's batch stands still", batches.takeover),
    Bench("code", "the first call of code in a sandbox, and later ones", code.calls, needs="sandbox"),
    Bench("sandboxes", "the memory and CPU time of fifty idle sandboxes", code.fifty, needs="sandbox"),
    Bench("responses", "a streamed response against its provider's own time", responses.streamed),
    Bench(
        "responses-litellm",
        "streamed responses against LiteLLM's proxy",
        responses.against_litellm,
        needs="litellm",
    ),
    Bench("response-chain", "the last of 50 responses that continue each other", responses.chain),
    Bench("open-responses", "memory with a thousand open streams of responses", responses.open_streams),
    Bench("open-websockets", "memory with a thousand open WebSockets", websocket.open_websockets),
    Bench("round-trips", "what each operation asks of the store", trips.round_trips),
    Bench("transfer", "100 MB up and down against Flask", files.transfer),
    Bench("file-list", "a list of 10,000 files by pages", files.long_list),
    Bench("ingestion", "10 MB of text into a vector store", files.ingestion),
    Bench("local-ingestion", "abstracts with the local embedding model", local_models.local_ingestion),
    Bench("query-latency", "searches during the ingestion of small files", local_models.query_latency),
    Bench("store-documents", "the embedded store's reads and durable writes", store.documents),
    Bench("store-search", "100,000 chunks in the embedded store by words and vectors", store.search),
    Bench("store-contents", "bytes of files in the embedded store", store.contents),
    Bench("quality", "hybrid search against words and vectors alone", quality.hybrid, needs="data sets"),
    Bench("cassandra-get", "a read on Cassandra against the driver alone", cluster.reads, needs="cassandra"),
    Bench("cassandra-api", "GETs and pages on Cassandra", cluster.over_http, needs="cassandra"),
    Bench(
        "cassandra-ingestion",
        "the statements of a 273 kB text on Cassandra",
        cluster.ingestion,
        needs="cassandra",
    ),
    Bench("cassandra-search", "100,000 chunks on Cassandra", cluster.vectors, needs="cassandra"),
)
