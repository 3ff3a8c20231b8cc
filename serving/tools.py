"""Makes the tools that the server runs for models, and what they need, from the settings."""

import os

from inference.code.bubblewrap import Bubblewrap
from inference.code.code_interpreter import (
    CODE_INTERPRETER,
    ResponseCodeInterpreter,
    ThreadCodeInterpreter,
)
from inference.code.containers import Containers
from inference.code.driver import Driver
from inference.code.kernels import Kernels
from inference.code.oci import OCIRuntime
from inference.code.sandboxes import Sandboxes
from inference.engine import ToolTypes
from inference.errors import ToolsRefused
from inference.gateway import Gateway
from inference.gateway.http.hosts import HostGuard
from inference.gateway.http.url_files import UrlFiles
from inference.image_generation.generated_images import GeneratedImages
from inference.image_generation.tool import ImageGenerationType
from inference.mcp.pool import MCPServers
from inference.mcp.servers_file import OperatorServers
from inference.mcp.tool import MCPType
from inference.operator_tools.tools_file import OperatorTools
from inference.parsing.sandbox import Sandbox
from inference.retrieval import Retrieval
from inference.retrieval.file_search import FileSearchType
from inference.subprocesses import ROOT
from inference.web.pages import Pages
from inference.web.search_services import search_service
from inference.web.web_search import WebSearchType
from persistence.store import Store
from serving.settings import Settings
from serving.settings_checks import BUBBLEWRAP

SANDBOX_PYTHON = ROOT / ".venvs" / "sandbox" / "bin" / "python"
"""Where `make sandbox` installs the Python for models' code."""


def make_tools(
    settings: Settings,
    store: Store,
    gateway: Gateway,
    retrieval: Retrieval,
    containers: Containers,
    mcp: MCPServers,
    web_search: WebSearchType,
    urls: UrlFiles,
) -> tuple[ToolTypes, ToolTypes]:
    """Return the tools of runs and those of responses, by their types."""
    images = GeneratedImages(store, settings.log_days * 86_400)
    tools: ToolTypes = {
        "file_search": FileSearchType(retrieval, gateway.context_window),
        "image_generation": ImageGenerationType(gateway, images, retrieval.files, urls),
        "mcp": MCPType(mcp, gateway.reads_images),
        "web_search": web_search,
    }
    code = (store, containers, retrieval.files, gateway.reads_images)
    thread_tools = {**tools, CODE_INTERPRETER: ThreadCodeInterpreter(*code)}
    response_tools = {**tools, CODE_INTERPRETER: ResponseCodeInterpreter(*code)}
    return thread_tools, response_tools


def make_kernels(settings: Settings) -> Kernels:
    """Return what runs models' code in sandboxes."""
    driver: Driver | None = None
    if settings.sandbox_image is not None:
        driver = OCIRuntime(settings.sandbox, settings.sandbox_image)
    elif settings.sandbox == BUBBLEWRAP:
        driver = Bubblewrap((settings.sandbox_python or SANDBOX_PYTHON).absolute())
    sandboxes = Sandboxes(driver, largest=settings.sandbox_memory)
    return Kernels(sandboxes, settings.sandboxes, max(1, settings.sandboxes // settings.workers))


def make_mcp_servers(settings: Settings) -> MCPServers:
    """Return the operator's tools and MCP servers, and those that requests may bring."""
    operators, tools = OperatorServers(), OperatorTools()
    if settings.mcp_servers is not None:
        operators = OperatorServers.from_file(settings.mcp_servers, os.environ)
    if settings.tools is not None:
        tools = OperatorTools.from_file(settings.tools, os.environ)
    for label in sorted({*operators.by_label} & {*tools.servers}):
        raise ToolsRefused(f"{settings.tools}: the label '{label}' is that of an MCP server; choose another")
    return MCPServers(operators, HostGuard(frozenset(settings.mcp_hosts)), tools)


def make_web_search(settings: Settings, gateway: Gateway, sandbox: Sandbox) -> WebSearchType:
    """Return the tool web_search, with the search service that the operator named."""
    service = settings.search_service
    key = settings.search_key.get_secret_value() if settings.search_key else ""
    search = search_service(service, settings.search_url or "", key) if service else None
    urls = UrlFiles(HostGuard(frozenset(settings.search_hosts)), "ASTROLABE_SEARCH_HOSTS", "page")
    return WebSearchType(search, Pages(urls, sandbox), gateway.context_window)
