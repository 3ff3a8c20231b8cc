"""Delivers events to webhooks: signed as Standard Webhooks says, at least once, under a lease."""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import orjson
import structlog
import yarl

from inference.errors import ProviderError
from inference.gateway.http.http_client import Timeouts
from inference.gateway.http.web_client import WebClient
from inference.jobs import Jobs
from inference.leases import Lease
from inference.webhooks.registry import Endpoint, Registry
from persistence.store import Enqueue, Finish, Job, Operation, Reschedule, Store
from persistence.types import JSON

KIND = "webhook"

PAUSES = (5, 30, 120, 600, 1800, 3600, 10_800, 21_600, 43_200, 86_400, 86_400)
"""Seconds before each retry: twelve attempts in three days."""

RETRIED = sum(PAUSES)
"""Seconds after which an event is given up."""

CONCURRENCY = 64
"""Deliveries at once in one process; a project alone takes half."""

CONNECT_SECONDS = 5.0
SECONDS = 15.0
"""In which an endpoint has to answer."""

SLOW = 2.0
SILENCE = 30.0
"""Seconds for which an endpoint is not asked after a delivery that took SLOW seconds to fail: its events
would take the slots of all others of its project."""

log = structlog.get_logger("astrolabe.webhooks")


class Webhooks:
    """Sends the events of one store's objects to the endpoints of their projects.

    An event is a job of its object's id, so it is stored in the same transaction as the end of the object.
    It is sent until each endpoint has answered 2xx, after the last of the `pauses` for the last time.
    """

    def __init__(
        self, store: Store, jobs: Jobs, registry: Registry, *, pauses: Sequence[float] = PAUSES
    ) -> None:
        self.registry = registry
        self._store = store
        self._jobs = jobs
        self._pauses = pauses
        self._client = WebClient()
        self._silent: dict[str, float] = {}
        if registry.projects:
            jobs.register(KIND, self._run, concurrency=CONCURRENCY, give_up=self._give_up, fair=True)

    async def close(self) -> None:
        """Close every connection."""
        await self._client.close()

    def announce(self, project: str, event: str, object_id: str) -> list[Operation]:
        """Return the writes that have an object's event delivered: none if nobody registered for it.

        An object has one event, that of its end.
        """
        endpoints = self.registry.of(project, event)
        if not endpoints:
            return []
        now = int(time.time())
        unique = object_id.partition("_")[2]
        payload = {
            "event": {
                "id": f"evt_{unique}",
                "object": "event",
                "created_at": now,
                "type": event,
                "data": {"id": object_id},
            },
            "message": f"wh_{unique}",
            "pending": [endpoint.url for endpoint in endpoints],
            "retries": 0,
        }
        return [Enqueue(Job(project, KIND, object_id, due=now, payload=payload))]

    # --- a delivery's job ---

    async def _run(self, lease: Lease) -> None:
        job, payload = lease.job, lease.job.payload
        event, retries = payload["event"], payload["retries"]
        registered = self.registry.of(job.project, event["type"])
        endpoints = [each for each in registered if each.url in payload["pending"]]
        body = orjson.dumps(event)
        reasons = await asyncio.gather(*(self._failure(each, payload["message"], body) for each in endpoints))
        failed = [(each, reason) for each, reason in zip(endpoints, reasons, strict=True) if reason]
        ends = not failed or retries >= len(self._pauses)
        if ends:
            await self._store.write(Finish(job))
        else:
            later = {**payload, "pending": [each.url for each, _ in failed], "retries": retries + 1}
            await self._store.write(Reschedule(job, time.time() + self._pauses[retries], later))
        for endpoint, reason in failed:
            self._log(job, endpoint, reason, ends=ends)
        self._jobs.poll(KIND)  # so that a thousand events do not wait for as many polls

    async def _give_up(self, lease: Lease) -> None:
        await self._store.write(Finish(lease.job))

    def _log(self, job: Job, endpoint: Endpoint, reason: str, *, ends: bool) -> None:
        url = str(yarl.URL(endpoint.url).with_query(None))
        facts: JSON = {"project": job.project, "url": url, "type": job.payload["event"]["type"]}
        facts |= {"object": job.id, "retries": job.payload["retries"], "error": reason}
        if ends:
            log.error("webhook_given_up", **facts)
        else:
            log.warning("webhook_failed", **facts)

    async def _failure(self, endpoint: Endpoint, message_id: str, body: bytes) -> str:
        """Send an event to an endpoint; return why that failed, "" if it did not."""
        if self._silent.get(endpoint.url, 0.0) > time.monotonic():
            return "it did not answer in time a moment ago"
        began = time.monotonic()
        try:
            async with asyncio.timeout(SECONDS):
                status = await self._post(endpoint, message_id, body)
            reason = "" if 200 <= status < 300 else f"it answered with status {status}"
        except TimeoutError:
            reason = f"it did not answer within {SECONDS:g} seconds"
        except ProviderError as exc:
            reason = exc.message
        if reason and time.monotonic() - began >= SLOW:
            self._silent[endpoint.url] = time.monotonic() + SILENCE
        else:
            self._silent.pop(endpoint.url, None)
        return reason

    async def _post(self, endpoint: Endpoint, message_id: str, body: bytes) -> int:
        """Return the status of an endpoint's answer; redirects are not followed."""
        headers = signed_headers(endpoint.secret, message_id, body)
        timeouts = Timeouts(CONNECT_SECONDS, SECONDS)
        url, guard = yarl.URL(endpoint.url), self.registry.guard
        response = await self._client.send("POST", url, headers, body, timeouts, guard)
        try:
            await response.drain()
        finally:
            await response.aclose()
        return response.status


def signed_headers(secret: str, message_id: str, body: bytes) -> dict[str, str]:
    """Return the headers of a delivery, signed at this moment: receivers refuse what is old."""
    from standardwebhooks import Webhook  # noqa: PLC0415 - only servers with webhooks need it

    now = datetime.now(UTC)
    signature: str = Webhook(secret).sign(message_id, now, body.decode())
    return {
        "content-type": "application/json",
        "user-agent": "astrolabe-webhooks",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signature,
    }
