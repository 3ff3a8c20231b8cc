"""Objects that the provider keeps: files, videos, fine-tuning jobs and their models."""

import json
from secrets import token_hex

from persistence.types import JSON
from tests.provider.answers import CREATED

MP4 = b"\x00\x00\x00\x18ftypmp42" * 5000
COMPLETED = {"status": "completed", "progress": 100, "completed_at": CREATED, "expires_at": CREATED}


class Objects:
    """What was made at the provider, by id. An object is finished when it is read."""

    def __init__(self) -> None:
        self._made: dict[str, JSON] = {}

    def models(self) -> list[str]:
        """The models that its jobs have made."""
        return [_model_of(made) for id, made in self._made.items() if id.startswith("ftjob-")]

    def answer(self, method: str, path: str, given: JSON) -> tuple[int, bytes, dict[str, str]] | None:
        """Return status, body and headers; None for a path that is not an object's."""
        match [method, *path.removeprefix("/v1/").split("/")]:
            case ["POST", "files"]:
                return _json({"object": "file", "id": f"file-at-provider-{token_hex(4)}", **given})
            case ["DELETE", "files", id]:
                return _json({"id": id, "object": "file", "deleted": True})
            case ["POST", "videos"] | ["POST", "videos", "edits" | "extensions"]:
                return _json(self._video(given))
            case ["POST", "videos", id, "remix"]:
                return _json(self._video({**given, "remixed_from_video_id": id}))
            case ["POST", "videos", "characters"]:
                return _json(self._make("char_", {"name": given["name"], "created_at": CREATED}))
            case ["GET", "videos", "characters", id] if id in self._made:
                return _json(self._made[id])
            case ["GET", "videos", id, _]:
                return 200, MP4, {"content-type": "video/mp4"}
            case ["GET", "videos", id] if id in self._made:
                return _json({**self._made[id], **COMPLETED})
            case ["DELETE", "videos", id] if self._made.pop(id, None):
                return _json({"id": id, "object": "video.deleted", "deleted": True})
            case ["POST", "fine_tuning", "jobs"]:
                return _json(self._job(given))
            case [_, "fine_tuning", "jobs", id, *rest] if id in self._made:
                return _json(_part_of_job(self._made[id], rest))
            case ["POST", "audio", "voice_consents", *rest]:
                return _json(self._consent(given, rest))
            case ["POST", "audio", "voices"]:
                voice = {"object": "audio.voice", "name": given["name"], "created_at": CREATED}
                return _json(self._make("voice_", voice))
            case ["GET", "audio", "voice_consents", id] if id in self._made:
                return _json(self._made[id])
            case ["DELETE", "audio", "voice_consents", id] if self._made.pop(id, None):
                return _json({"id": id, "object": "audio.voice_consent", "deleted": True})
            case ["DELETE", "models", id]:
                return _json({"id": id, "object": "model", "deleted": True})
            case [_, "fine_tuning", "checkpoints", _, "permissions", *_]:
                return _json({"object": "list", "data": [], "has_more": False})
            case ["POST", "fine_tuning", "alpha", "graders", "validate"]:
                return _json({"grader": given["grader"]})
            case ["POST", "realtime", "client_secrets" | "sessions" | "transcription_sessions"]:
                return _json({"value": "ek_fake", "expires_at": CREATED, "session": given.get("session")})
            case ["POST", "realtime", "translations", "client_secrets"]:
                return _json({"value": "ek_fake", "expires_at": CREATED, "session": given.get("session")})
            case ["POST", "realtime", "calls"]:
                headers = {"content-type": "application/sdp"}
                location = f"/v1/realtime/calls/rtc_{token_hex(8)}"
                return 201, b"v=0 answer", {**headers, "location": location}
            case ["POST", "realtime", "calls", _, _]:
                return 200, b"", {}
            case ["GET" | "DELETE", *_]:
                error = {
                    "message": f"No {path}",
                    "type": "invalid_request_error",
                    "param": None,
                    "code": None,
                }
                return 404, json.dumps({"error": error}).encode(), {}
        return None

    def _make(self, prefix: str, value: JSON) -> JSON:
        made = {"id": f"{prefix}{token_hex(8)}", **value}
        self._made[made["id"]] = made
        return made

    def _video(self, given: JSON) -> JSON:
        value = {"object": "video", "model": given.get("model", "sora-2"), "status": "queued", "progress": 0}
        value |= {"created_at": CREATED, "completed_at": None, "expires_at": None, "error": None}
        value |= {"prompt": given["prompt"], "size": "720x1280", "seconds": str(given.get("seconds", 4))}
        return self._make("video_", {**value, "remixed_from_video_id": given.get("remixed_from_video_id")})

    def _consent(self, given: JSON, rest: list[str]) -> JSON:
        if rest:
            self._made[rest[0]] |= given
            return self._made[rest[0]]
        value = {"object": "audio.voice_consent", "created_at": CREATED}
        return self._make("cons_", {**value, "name": given["name"], "language": given["language"]})

    def _job(self, given: JSON) -> JSON:
        value = {"object": "fine_tuning.job", "created_at": CREATED, "error": None, "fine_tuned_model": None}
        value |= {"finished_at": None, "hyperparameters": {"n_epochs": 1}, "organization_id": "org-fake"}
        value |= {"result_files": [], "status": "queued", "trained_tokens": None, "seed": 1}
        value |= {"model": given["model"], "training_file": given["training_file"]}
        value |= {"validation_file": given.get("validation_file"), "metadata": given.get("metadata")}
        return self._make("ftjob-", value)


def _model_of(job: JSON) -> str:
    return f"ft:{job['model']}:fake::{job['id'][6:]}"


def _part_of_job(job: JSON, rest: list[str]) -> JSON:
    model = _model_of(job)
    match rest:
        case ["events"]:
            event = {"object": "fine_tuning.job.event", "id": "ftevent-1", "created_at": CREATED}
            return {
                "object": "list",
                "data": [{**event, "level": "info", "message": "Done"}],
                "has_more": False,
            }
        case ["checkpoints"]:
            point = {"object": "fine_tuning.job.checkpoint", "id": "ftckpt-1", "created_at": CREATED}
            point |= {"fine_tuned_model_checkpoint": f"{model}:ckpt-step-1", "step_number": 1, "metrics": {}}
            point["fine_tuning_job_id"] = job["id"]
            listed = {"object": "list", "data": [point], "has_more": False}
            return {**listed, "first_id": "ftckpt-1", "last_id": "ftckpt-1"}
        case ["cancel"]:
            return {**job, "status": "cancelled"}
        case ["pause" | "resume"]:
            return {**job, "status": "running"}
    return {**job, "status": "succeeded", "fine_tuned_model": model, "finished_at": CREATED}


def _json(value: JSON) -> tuple[int, bytes, dict[str, str]]:
    return 200, json.dumps(value, indent=1).encode(), {}
