"""The commands `astrolabe export` and `astrolabe import`."""

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from persistence.errors import StoreError
from persistence.move import Progress
from persistence.store import Store
from persistence.types import JSON
from serving.commands import errors_as_exit, project_name, with_progress, with_store
from serving.errors import SourceRefused
from serving.keys import TENANT_PROJECT, tenant_project
from serving.settings import Settings

if TYPE_CHECKING:
    from inference.transfer.exporter import Exporter
    from inference.transfer.loader import Check, Loader, Report

OPEN_PROJECT = "default"
ASTRA = "astra"
SHOWN = 20
"""Lines of a report that are printed too."""


# --- export ---


def header(_: click.Context, __: click.Parameter, values: Iterable[str]) -> dict[str, str]:
    """Check --header: NAME: VALUE."""
    headers = {}
    for value in values:
        name, separator, rest = value.partition(":")
        if not separator or not name.strip() or not value.isprintable():
            raise click.BadParameter("write NAME: VALUE.")
        headers[name.strip()] = rest.strip()
    return headers


@click.command("export")
@click.argument("url")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--key", envvar="OPENAI_API_KEY", help="Sent as Authorization: Bearer. Default: OPENAI_API_KEY."
)
@click.option(
    "--header", "headers", multiple=True, callback=header, help="NAME: VALUE, sent with every request."
)
@click.option(
    "--threads",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file of threads' ids, one a line, where the server lists no threads.",
)
@click.option(
    "--conversations",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file of conversations' ids, one a line, where the server lists no conversations.",
)
@click.option("--concurrency", type=click.IntRange(1, 64), default=8, show_default=True)
def export_project(
    url: str,
    folder: Path,
    key: str | None,
    headers: dict[str, str],
    threads: Path | None,
    conversations: Path | None,
    concurrency: int,
) -> None:
    """Export a project's assistants, threads, conversations, files and vector stores.

    URL is that of an API of OpenAI's form (https://api.openai.com/v1); a query in it (?api-version=…) goes
    with every request. The objects go into FOLDER, which `astrolabe import` reads. The same command goes on
    after an interruption.
    """
    from inference.transfer.client import SourceClient, SourceError  # noqa: PLC0415 - as Check's
    from inference.transfer.exporter import Exporter  # noqa: PLC0415

    async def run(show: Callable[[Progress], None]) -> Exporter:
        client = SourceClient(url, {**authorization, **headers}, concurrency)
        try:
            exporter = Exporter(
                client, folder, concurrency, lambda counts: show(Progress("exporting", dict(counts)))
            )
            await exporter.export(thread_ids, conversation_ids)
        finally:
            await client.close()
        return exporter

    authorization = {"Authorization": f"Bearer {key}"} if key else {}
    with errors_as_exit({}):
        thread_ids = None if threads is None else threads.read_text().split()
        conversation_ids = None if conversations is None else conversations.read_text().split()
        try:
            exporter = asyncio.run(with_progress(run))
        except SourceError as exc:
            sys.exit(f"astrolabe: {exc}")
    show_export(exporter)


def show_export(exporter: "Exporter") -> None:
    """Print what was exported; exit with an error if something failed."""
    show_counts("exported", exporter.counts)
    for note in exporter.notes:
        click.echo(note, err=True)
    if exporter.failed:
        print_lines(exporter.failed)
        sys.exit("astrolabe: the export is not whole; the same command tries again what failed.")


# --- import ---


@click.command("import")
@click.argument("source")
@click.argument("url", required=False)
@click.option(
    "--project",
    default=OPEN_PROJECT,
    show_default=True,
    callback=project_name,
    help="Project that gets the objects: that of a key, or `default` with ASTROLABE_AUTH=open.",
)
@click.option(
    "--token",
    envvar="ASTRA_DB_APPLICATION_TOKEN",
    help="With ASTROLABE_AUTH=astra: the token whose tenant gets the objects, instead of --project.",
)
@click.option(
    "--database",
    envvar="ASTRA_DB_ID",
    default="",
    help="With ASTROLABE_STORE=astra:///KEYSPACE: the database, where the token opens several.",
)
@click.option(
    "--report",
    "report_file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("astrolabe-import.report"),
    show_default=True,
    help="Gets a line for each record that was left out.",
)
@click.option(
    "--embedding-model",
    help="Model of the vector stores. Default: the server's; for astra the one they were embedded with.",
)
def import_project(
    source: str,
    url: str | None,
    project: str,
    token: str | None,
    database: str,
    report_file: Path,
    embedding_model: str | None,
) -> None:
    """Import a project into the store of ASTROLABE_STORE.

    SOURCE is a folder that `astrolabe export` wrote, whose vector stores are embedded anew, or `astra` and
    the URL of an Astra Assistants keyspace, whose embeddings are kept:

    astrolabe import astra 'astra://DATABASE-ID/assistant_api?token=AstraCS:…'

    Ids and times are kept. What is there already stays as it is, so the same command goes on after an
    interruption.
    """
    if source == ASTRA and url is None:
        raise click.UsageError("astra needs the URL of its keyspace: cassandra://… or astra://….")
    if source != ASTRA and url is not None:
        raise click.UsageError("Only `import astra` has a URL.")
    with errors_as_exit():
        settings = Settings.read()
        check = edition_check(settings)
    project, tenant = owner_of_imported(settings, project, token, database)
    if source != ASTRA and embedding_model is None:
        embedding_model = default_embedding_model(settings)

    async def work(store: Store) -> "Report":
        return await with_progress(
            lambda show: imported(store, source, url, project, check, embedding_model, show)
        )

    show_import(with_store(settings.store, work, names_new=True, tenant=tenant), report_file)


def owner_of_imported(
    settings: Settings, project: str, token: str | None, database: str
) -> tuple[str, tuple[str, str] | None]:
    """Return the project that gets the objects, and the token and database whose store holds it."""
    if settings.auth != "astra":
        return project, None
    if not token:
        raise click.UsageError("With ASTROLABE_AUTH=astra, --token says whose objects they become.")
    if settings.opens_store_per_token:
        return TENANT_PROJECT, (token, database)
    return tenant_project(token.encode()), None


def show_import(report: "Report", report_file: Path) -> None:
    """Print what was imported; exit with an error if records were left out."""
    show_counts("imported", report.imported)
    if report.present.total():
        show_counts("there already", report.present)
    if report.broken:
        report_file.write_text("".join(f"{line}\n" for line in report.broken))
        print_lines(report.broken)
        sys.exit(f"astrolabe: {len(report.broken)} records were left out; {report_file} names them all.")


async def imported(
    store: Store,
    source: str,
    url: str | None,
    project: str,
    check: "Check",
    model: str | None,
    show: Callable[[Progress], None],
) -> "Report":
    """Import a folder or a keyspace; return what became of the records."""
    from inference.transfer.folder import import_folder  # noqa: PLC0415 - no other command needs it
    from inference.transfer.loader import Loader  # noqa: PLC0415

    loader = Loader(store, project, check, lambda counts: show(Progress("importing", dict(counts))))
    if url is None:
        await import_folder(Path(source), loader, model)
    else:
        await import_keyspace(url, loader, project, model)
    return loader.report


async def import_keyspace(url: str, loader: "Loader", project: str, model: str | None) -> None:
    """Import an Astra Assistants keyspace."""
    from inference.transfer.astra import AstraImport  # noqa: PLC0415 - no other command needs it
    from persistence.cassandra.foreign import ForeignKeyspace  # noqa: PLC0415

    try:
        keyspace = ForeignKeyspace(url)
        source = AstraImport(keyspace, loader, project, model)
        await keyspace.open()
        await source.check()
    except StoreError as exc:  # which is not about ASTROLABE_STORE
        raise SourceRefused(f"the keyspace to import: {exc}") from exc
    try:
        await source.run()
    finally:
        await keyspace.close()


def edition_check(settings: Settings) -> "Check":
    """Return what checks an object by the edition that the server answers with."""
    from inference.transfer.records import KINDS, BrokenRecord  # noqa: PLC0415 - no other command needs it
    from spec import edition as editions  # noqa: PLC0415
    from spec.errors import InvalidResponse  # noqa: PLC0415

    operations = {one.id: one for one in editions.load(settings.spec, settings.cache).operations}
    found = {name: operations.get(kind.operation) for name, kind in KINDS.items()}
    validators = {name: one.response(200) for name, one in found.items() if one is not None}

    def check(kind: str, value: JSON) -> None:
        validator = validators.get(kind)
        if validator is None:
            return
        try:
            validator.check(value)
        except InvalidResponse as exc:
            raise BrokenRecord(f"does not fit the edition: {exc.message}") from exc

    return check


def default_embedding_model(settings: Settings) -> str | None:
    """Return the model that embeds new vector stores of the server."""
    from serving.services import make_routes  # noqa: PLC0415 - imports every provider's client

    with errors_as_exit():
        return make_routes(settings).embedding_model


def show_counts(title: str, counts: "Counter[str]") -> None:
    """Print how many objects of each kind there were."""
    shown = ", ".join(f"{count:,} {kind}" for kind, count in counts.items() if count) or "nothing"
    click.echo(f"{title}: {shown}")


def print_lines(lines: list[str]) -> None:
    """Print the first lines on standard error, and how many more there are."""
    for line in lines[:SHOWN]:
        click.echo(line, err=True)
    if len(lines) > SHOWN:
        click.echo(f"and {len(lines) - SHOWN} more", err=True)
