import json

import pytest

from inference.errors import SettingsNotKept
from inference.gateway import CallerSettings, Credentials
from inference.sealing import Sealer

SECRET = "a-secret-of-the-operator"
SETTINGS = CallerSettings(
    Credentials("sk-x", "https://a.example", (("api_version", "1"),), "azure", {"stop": ["x"]}, "{}"),
    Credentials("sk-y"),
    "openai/m",
)


def test_settings_come_back_as_they_were_and_are_not_readable_meanwhile() -> None:
    payload = json.loads(json.dumps(Sealer(SECRET).seal("p", SETTINGS)))
    assert "sk-x" not in str(payload)
    assert Sealer(SECRET).open("p", payload) == SETTINGS
    assert Sealer(SECRET).seal("p", SETTINGS) != payload


def test_a_job_without_settings_has_none() -> None:
    assert Sealer(SECRET).open("p", {}) is None
    assert Sealer().open("p", {}) is None


@pytest.mark.parametrize(
    "opening", [(Sealer("another-secret-of-16"), "p"), (Sealer(SECRET), "q"), (Sealer(), "p")]
)
def test_settings_open_with_their_secret_and_for_their_project_only(opening: tuple[Sealer, str]) -> None:
    sealer, project = opening
    with pytest.raises(SettingsNotKept):
        sealer.open(project, Sealer(SECRET).seal("p", SETTINGS))


def test_settings_open_with_an_older_secret_while_it_is_kept() -> None:
    payload = Sealer(SECRET).seal("p", SETTINGS)
    assert Sealer("another-secret-of-16", SECRET).open("p", payload) == SETTINGS


def test_settings_that_one_worker_had_in_memory_are_lost_with_it() -> None:
    with pytest.raises(SettingsNotKept, match="lost"):
        Sealer(SECRET).open("p", {"caller": ""})


def test_without_a_secret_nothing_is_sealed() -> None:
    with pytest.raises(SettingsNotKept, match="ASTROLABE_SECRET"):
        Sealer().seal("p", SETTINGS)
