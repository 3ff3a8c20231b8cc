"""What the commands of the command line share: settings, stores, progress and errors in one line."""

import asyncio
import re
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, TypeVar

import click
from tqdm import tqdm

from inference.errors import (
    FileRefused,
    MCPServersRefused,
    PromptsRefused,
    RoutesRefused,
    ToolsRefused,
    WebhooksRefused,
)
from persistence.collections import SYSTEM
from persistence.engines import open_for_token, open_store
from persistence.errors import StoreError
from persistence.move import Progress
from persistence.store import Store
from serving.errors import ServingError
from serving.settings import Settings
from serving.shown_urls import shown_store
from spec.errors import SpecError

EXPECTED_ERRORS = (ServingError, SpecError, FileRefused, StoreError, OSError)
VARIABLES: Mapping[type[Exception], str] = MappingProxyType(
    {
        SpecError: "ASTROLABE_SPEC",
        RoutesRefused: "ASTROLABE_MODELS",
        MCPServersRefused: "ASTROLABE_MCP_SERVERS",
        WebhooksRefused: "ASTROLABE_WEBHOOKS",
        PromptsRefused: "ASTROLABE_PROMPTS",
        ToolsRefused: "ASTROLABE_TOOLS",
        StoreError: "ASTROLABE_STORE",
    }
)
"""The variable that an error is about."""

PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")

T = TypeVar("T")


@contextmanager
def errors_as_exit(variables: Mapping[type[Exception], str] = VARIABLES) -> Iterator[None]:
    """Exit with an expected error's message in one line instead of a traceback.

    The line names the variable that the error is about; pass no `variables` for errors of arguments.
    """
    try:
        yield
    except EXPECTED_ERRORS as exc:
        variable = next((f"{name}: " for kind, name in variables.items() if isinstance(exc, kind)), "")
        sys.exit(f"astrolabe: {variable}{exc}")


def store_url() -> str:
    """Return ASTROLABE_STORE; exits if any variable cannot be used."""
    with errors_as_exit():
        return Settings.read().store


def with_store(
    url: str,
    work: Callable[[Store], Awaitable[T]],
    *,
    migrate: bool = True,
    names_new: bool = False,
    tenant: tuple[str, str] | None = None,
    variables: Mapping[type[Exception], str] = VARIABLES,
) -> T:
    """Run `work` on the store of `url`; with `migrate`, create it or update its schema first.

    With `names_new` a store that was created is named on standard error. `tenant` is a token and a database,
    where the URL is for the stores of tokens.
    """

    async def run() -> T:
        store = open_store(url) if tenant is None else await open_for_token(url, *tenant)
        if migrate and await store.migrate() and names_new:
            click.echo(f"Created the store {shown_store(url)}.", err=True)
        await store.open()
        try:
            return await work(store)
        finally:
            await store.close()

    with errors_as_exit(variables):
        return asyncio.run(run())


async def with_progress(work: Callable[[Callable[[Progress], None]], Awaitable[T]]) -> T:
    """Show a bar on a terminal for each phase of a move."""
    bars: dict[str, tqdm[Any]] = {}

    def show(progress: Progress) -> None:
        if progress.phase not in bars:
            for done in bars.values():
                done.close()
            bars[progress.phase] = tqdm(desc=progress.phase, unit=" records", disable=None)
        bar = bars[progress.phase]
        bar.update(progress.records - bar.n)

    try:
        return await work(show)
    finally:
        for bar in bars.values():
            bar.close()


def project_name(_: click.Context, __: click.Parameter, value: str) -> str:
    """Check --project: it becomes part of every key in the store."""
    if not PROJECT.fullmatch(value) or value == SYSTEM:
        raise click.BadParameter(
            "1 to 64 letters, digits, '.', '_' or '-', beginning with one of the first two."
        )
    return value
