"""The wheel works where no checkout is, and a checkout works without an installation."""

import json
import subprocess
import sys
import sysconfig
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.provider import ProviderProcess
from tests.server import ROOT, Server, base_environment, until

PACKAGES = ("handlers", "inference", "persistence", "serving", "spec")
DEPENDENCIES = sysconfig.get_path("purelib")


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=base_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_puts_one_package_into_site_packages(contents: set[str]) -> None:
    top = {name.partition("/")[0] for name in contents}
    assert {name for name in top if not name.endswith(".dist-info")} == {"astrolabe_server"}
    assert len(top) == 2


def test_the_wheel_holds_every_file_of_the_server_and_no_test(contents: set[str]) -> None:
    files = {
        f"astrolabe_server/{path.relative_to(ROOT)}"
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    roots = {"__init__.py", "gunicorn.conf.py", "wsgi.py"}
    packed = {name for name in contents if ".dist-info/" not in name}
    assert packed == files | {f"astrolabe_server/{name}" for name in roots}
    assert {
        "astrolabe_server/spec/own.yaml",
        "astrolabe_server/inference/gateway/models.example.yaml",
        "astrolabe_server/inference/gateway/models.retired.example.yaml",
    } < packed


@pytest.fixture
def installed(wheel: Path, tmp_path: Path) -> Path:
    """The `bin` folder of an environment with the wheel and its dependencies, and nothing of this checkout."""
    environment = tmp_path / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", environment)
    python = environment / "bin" / "python"
    packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    run(sys.executable, "-m", "uv", "pip", "install", "--python", python, "--offline", "--no-deps", wheel)
    # A .pth file inside a folder that is added this way is not read: this checkout's own stays out.
    (packages / "dependencies.pth").write_text(DEPENDENCIES)
    return python.parent


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Somebody's project, whose packages have the names of ours and must not be imported."""
    folder = tmp_path / "project"
    for package in (*PACKAGES, "astrolabe"):
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").write_text("raise RuntimeError('this is not the server')\n")
    (folder / "wsgi.py").write_text("raise RuntimeError('this is not the server')\n")
    return folder


class Api:
    """Calls of the API without an SDK."""

    def __init__(self, url: str) -> None:
        self.url = url

    def call(self, path: str, data: bytes | None = None, media: str = "application/json") -> Any:
        request = urllib.request.Request(self.url + path, data, {"Content-Type": media})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def post(self, path: str, body: Any) -> Any:
        return self.call(path, json.dumps(body).encode())

    def upload(self, text: str) -> Any:
        form = (
            '--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nassistants\r\n'
            '--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
            f"{text}\r\n--b--\r\n"
        )
        return self.call("/files", form.encode(), "multipart/form-data; boundary=b")


@pytest.mark.server
def test_the_wheel_serves_beside_packages_of_the_same_names(
    installed: Path, project: Path, provider: ProviderProcess
) -> None:
    command = [str(installed / "astrolabe"), "serve"]
    with Server(project, command=command, OPENAI_API_KEY="sk-x", OPENAI_BASE_URL=provider.url) as server:
        api = Api(server.url)
        said = api.post(
            "/chat/completions", {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
        )
        assert said["choices"][0]["message"]["content"] == "You said: hello"
        file = api.upload("The harbour opens at nine.")
        store = api.post("/vector_stores", {"file_ids": [file["id"]]})
        path = f"/vector_stores/{store['id']}"
        until(lambda: api.call(path)["file_counts"]["in_progress"] == 0, seconds=60)
        assert api.call(path)["file_counts"]["completed"] == 1
        (found,) = api.post(f"{path}/search", {"query": "harbour"})["data"]
        assert found["content"][0]["text"] == "The harbour opens at nine."


def test_a_checkout_resolves_its_imports_without_an_installation() -> None:
    # -S keeps every .pth file out, so that only the current folder can resolve them.
    program = (
        f"import sys; sys.path.append({DEPENDENCIES!r}); import serving.app, serving.cli; "
        f"print(*(sys.modules[name].__file__ for name in {PACKAGES!r}))"
    )
    found = run(sys.executable, "-S", "-c", program).split()
    assert found == [str(ROOT / package / "__init__.py") for package in PACKAGES]


def test_no_package_of_the_checkout_is_a_link() -> None:
    assert [package for package in PACKAGES if (ROOT / package).is_symlink()] == []
