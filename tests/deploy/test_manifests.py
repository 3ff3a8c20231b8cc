"""The files of deploy/ fit the schemas of the programs that read them, and the server's settings."""

import json
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from inference.gateway.routing.routes import Routes
from persistence.engines import open_store
from serving.settings import Settings

DEPLOY = Path(__file__).resolve().parent.parent.parent / "deploy"
MANIFESTS = sorted(path for path in (DEPLOY / "kubernetes").glob("*.yaml") if path.stem != "kustomization")
VERSIONS = ["1.34", "1.36"]


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def manifest(kind: str) -> Any:
    [found] = [document for document in map(load, MANIFESTS) if document["kind"] == kind]
    return found


def known_variables() -> set[str]:
    return {variable for _, variable, _ in Settings.variables()}


@pytest.fixture(scope="module")
def compose() -> Any:
    return load(DEPLOY / "compose.yaml")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_kubernetes_accepts_the_manifest(path: Path, version: str) -> None:
    kubernetes_validate.validate(load(path), version, strict=True)


def test_a_wrong_manifest_is_refused() -> None:
    deployment = manifest("Deployment")
    deployment["spec"]["replicaz"] = 2
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, VERSIONS[-1], strict=True)


def test_kustomize_names_every_manifest() -> None:
    kustomization = load(DEPLOY / "kubernetes" / "kustomization.yaml")
    assert sorted(kustomization["resources"]) == [path.name for path in MANIFESTS]


def test_selectors_match_the_pods() -> None:
    labels = manifest("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert manifest("Deployment")["spec"]["selector"]["matchLabels"] == labels
    assert manifest("Service")["spec"]["selector"] == labels
    assert manifest("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    assert manifest("Job")["spec"]["template"]["metadata"]["labels"] != labels
    assert manifest("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"] == "astrolabe"


def test_service_and_probes_use_the_port_that_the_server_listens_on() -> None:
    [container] = manifest("Deployment")["spec"]["template"]["spec"]["containers"]
    [port] = container["ports"]
    assert str(port["containerPort"]) == manifest("ConfigMap")["data"]["PORT"]
    probes = {name: container[name]["httpGet"] for name in container if name.endswith("Probe")}
    assert {probe["port"] for probe in probes.values()} == {port["name"]}
    assert probes["readinessProbe"]["path"] == "/readyz"
    assert probes["livenessProbe"]["path"] == "/v1/health"


def test_a_pod_may_take_longer_to_stop_than_the_server_gives_its_streams() -> None:
    pod = manifest("Deployment")["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] >= int(manifest("ConfigMap")["data"]["ASTROLABE_GRACE"]) + 15


def test_the_server_reads_every_variable_of_the_manifests(compose: Any) -> None:
    config = {name for name in manifest("ConfigMap")["data"] if name != "models.yaml"}
    named = config | manifest("Secret")["stringData"].keys()
    named |= compose["services"]["astrolabe-1"]["environment"].keys()
    named |= set(
        re.findall(r"^\s+(?:ENV )?([A-Z_]+)=", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    ) - {"PYTHONUNBUFFERED"}
    assert named - known_variables() == set()


def test_the_models_of_the_manifests_are_routes(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(manifest("ConfigMap")["data"]["models.yaml"])
    routes = Routes.from_file(path, {"OPENAI_API_KEY": "sk-any"})
    assert set(routes.routes) == {"*", "text-embedding-3-small"}


def test_the_server_accepts_the_store_urls_of_the_manifests(compose: Any) -> None:
    open_store(manifest("Secret")["stringData"]["ASTROLABE_STORE"])
    url = compose["services"]["astrolabe-1"]["environment"]["ASTROLABE_STORE"]
    hosts = url.removeprefix("cassandra://").partition("/")[0].split(",")
    assert set(hosts) <= compose["services"].keys()
    open_store(url)


def test_the_compose_file_fits_the_specification(compose: Any) -> None:
    schemas = files("check_jsonschema") / "builtin_schemas" / "vendor"
    schema = json.loads((schemas / "compose-spec.json").read_text())
    jsonschema.validate(compose, schema)
    compose["services"]["nginx"]["portz"] = []
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(compose, schema)


def test_the_compose_file_has_three_nodes_two_replicas_and_one_published_port(compose: Any) -> None:
    services = compose["services"]
    assert sorted(services) == [
        *("astrolabe-1", "astrolabe-2"),
        *("cassandra-1", "cassandra-2", "cassandra-3", "migrate", "nginx"),
    ]
    assert [name for name, service in services.items() if "ports" in service] == ["nginx"]
    waited_for = [name for service in services.values() for name in service.get("depends_on", {})]
    assert set(waited_for) <= services.keys()
    upstream = (DEPLOY / "nginx" / "nginx.conf").read_text()
    assert re.findall(r"server (astrolabe-\d):8080", upstream) == ["astrolabe-1", "astrolabe-2"]


def test_the_image_installs_from_the_lock_and_does_not_run_as_root() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    copied = re.findall(r"^COPY (?!--from)(\S+(?: \S+)*) \S+$", text, re.MULTILINE)
    for name in " ".join(copied).split():
        assert (DEPLOY.parent / name).exists()
    assert "--require-hashes" in text
    assert re.search(r"^USER 10001$", text, re.MULTILINE)


@pytest.mark.cassandra
def test_the_tool_for_local_nodes_lists_its_commands() -> None:
    tool = DEPLOY / "cassandra" / "cluster.py"
    said = subprocess.run([sys.executable, tool, "--help"], capture_output=True, text=True, check=True)
    assert all(command in said.stdout for command in ("start", "stop", "status"))
