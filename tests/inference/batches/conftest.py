import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from persistence.engines import open_store
from serving.app import create_app
from serving.line_caller import LineStages
from serving.services import line_stages, services_over
from serving.settings import Settings
from tests.inference.engine.conftest import asked, gateway, store
from tests.server import ROOT

__all__ = ["asked", "gateway", "store"]


@pytest.fixture(scope="session")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LineStages]:
    """The stages of a server's requests; the services are those of each test's workers."""
    url = f"sqlite:///{tmp_path_factory.mktemp('stages')}/unused.db"
    settings = Settings.read(store=url, cache=Path(ROOT / "build" / "cache"), openai_api_key="sk-any")
    services = services_over(open_store(url), settings)
    create_app(settings, services)
    stages = line_stages(services)
    yield stages
    if stages.checker is not None:
        asyncio.run(stages.checker.life.close())
