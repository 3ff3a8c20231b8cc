"""A thread's runs and the deployments of their model."""

from pathlib import Path

from inference.gateway import Gateway, Routes
from persistence.store import Store
from tests.inference.engine.process import process, script
from tests.provider import ProviderProcess


async def test_all_requests_of_a_thread_go_to_one_deployment(
    store: Store, provider: ProviderProcess, tmp_path: Path, tag: str
) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(f"""
providers: {{p: {{base_url: "{provider.url}", retries: 0}}}}
models: {{m: {{deployments: [{{provider: p, model: a}}, {{provider: p, model: b}}]}}}}
""")
    gateway = Gateway(Routes.from_file(path, {}))
    await gateway.open()
    homes = []
    async with process(store, gateway) as worker:
        assistant = await worker.assistant()
        for number in range(8):
            name = f"{tag}-{number}"
            thread = await worker.thread(script({"text": "One."}, tag=name))
            for _ in range(2):
                run = await worker.settled(await worker.run(thread["id"], assistant["id"]))
                assert run["status"] == "completed"
                await worker.message(thread["id"], "Go on.")
            homes.append({record["body"]["model"] for record in provider.received(name)})
    await gateway.close()
    assert all(len(home) == 1 for home in homes)
