"""What a worker's servers of HTTP and of WebSockets have in common."""

from dataclasses import dataclass

from serving.access import AccessLog
from serving.browser_guard import BrowserGuard
from serving.limits import HeldBodies, SpooledBodies, check_headers
from serving.pipeline import Pipeline
from serving.request import Request
from serving.request_factory import RequestFactory
from serving.sending import Sending


@dataclass(frozen=True, slots=True)
class ServerContext:
    """What serves any request; `guard` is None where callers need a key."""

    requests: RequestFactory
    pipeline: Pipeline
    access: AccessLog
    guard: BrowserGuard | None
    held: HeldBodies
    spooled: SpooledBodies
    sending: Sending

    def check(self, request: Request) -> None:
        """Raise an ApiError for a request that is refused whatever it asks for."""
        check_headers(request)
        if self.guard is not None:
            self.guard.check(request)

    def release(self, request: Request) -> None:
        """Free what a request held, at its end."""
        self.held.release(request)
        self.spooled.release(request)
        if request.release is not None:
            request.release()
