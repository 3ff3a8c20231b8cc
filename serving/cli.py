"""The command line: `astrolabe serve`, `keys`, `models`, `migrate`, `move`, `export`, `import`, `spec`."""

import errno
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from time import gmtime, strftime

import click

from persistence.engines import open_store
from persistence.move import Progress, Report, move
from persistence.store import Store
from serving.commands import errors_as_exit, project_name, store_url, with_progress, with_store
from serving.errors import SettingsRefused
from serving.keys import KeyRing
from serving.models_command import models
from serving.settings import Settings
from serving.shown_urls import shown_store, without_secrets
from serving.transfer import export_project, import_project

ROOT = Path(__file__).resolve().parent.parent

TAKEN_SECONDS = 2.5
"""How long `serve` waits for its address."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="astrolabe-server")
def main() -> None:
    """OpenAI's HTTP API on your database and any model.

    Every setting is an environment variable; `astrolabe settings` lists them with their values.
    """


@main.command()
def serve() -> None:
    """Serve on HOST:PORT under gunicorn, with WEB_CONCURRENCY workers; Ctrl-C or SIGTERM stops it."""
    with errors_as_exit():
        settings = Settings.read()

    async def ready(_: Store) -> None:
        """Nothing more: the store is there, and of the right version."""

    with_store(settings.store, ready)
    with errors_as_exit():
        wait_for_address(settings.host.strip("[]"), settings.port)
    arguments = ["gunicorn", "-c", str(ROOT / "gunicorn.conf.py"), "wsgi:app"]
    os.execv(sys.executable, [sys.executable, "-m", *arguments])  # noqa: S606 - this very interpreter


def wait_for_address(host: str, port: int) -> None:
    """Raise SettingsRefused for an address that cannot be listened on, before a process is started.

    Retry for a moment if it is taken: workers whose master was killed take a second to end.
    """
    deadline = time.monotonic() + TAKEN_SECONDS
    while True:
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
        except OSError as exc:
            if exc.errno == errno.EADDRINUSE and time.monotonic() < deadline:
                time.sleep(0.1)
                continue
            reason = exc.strerror or str(exc)
            raise SettingsRefused(
                f"HOST={host} PORT={port}: cannot listen there: {reason}. Set another HOST or PORT."
            ) from exc
        return


@main.command()
def settings() -> None:
    """List every variable with its value, as the environment would have it; secrets are not shown."""
    with errors_as_exit():
        values = Settings.read()
    for name, variable, help_text in Settings.variables():
        click.echo(f"# {help_text}\n{variable}={without_secrets(environment_value(getattr(values, name)))}\n")


def environment_value(value: object) -> str:
    """Return a setting's value as one writes it into the environment."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, tuple) else str(value)


@main.command()
def migrate() -> None:
    """Create the store or update its schema.

    `astrolabe serve` does so too.
    """
    url = store_url()

    async def done(_: Store) -> None:
        click.echo(f"The store {shown_store(url)} is up to date.")

    with_store(url, done, names_new=True)


@main.command("move")
@click.argument("source")
@click.argument("destination")
@click.option(
    "--checkpoint",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("astrolabe-move.checkpoint"),
    show_default=True,
    help="File with the progress, from which the same command continues after an interruption.",
)
def move_store(source: str, destination: str, checkpoint: Path) -> None:
    """Copy one store into another.

    SOURCE and DESTINATION are URLs, written as in ASTROLABE_STORE. Stop the servers of both first. In
    the end both are read again and compared by count and checksum. The source is not changed.
    """
    if source == destination:
        raise click.UsageError("SOURCE and DESTINATION are the same store.")
    report = with_store(
        source,
        lambda one: with_progress(lambda show: moved(one, destination, show, checkpoint)),
        migrate=False,  # a source that is not there is a mistake, not a new store
        variables={},
    )
    for kind, count in report.source.items():
        click.echo(f"{kind:<10} source {count:>12,}   destination {report.destination.get(kind, 0):>12,}")
    if not report.verified:
        sys.exit("astrolabe: the stores differ:\n" + "\n".join(report.differences[:20]))
    click.echo("Both stores hold the same.")


async def moved(
    source: Store, destination_url: str, show: Callable[[Progress], None], checkpoint: Path
) -> Report:
    """Open the destination too, and move."""
    destination = open_store(destination_url)
    await destination.migrate()
    await destination.open()
    try:
        return await move(source, destination, show, checkpoint)
    finally:
        await destination.close()


main.add_command(models)
main.add_command(export_project)
main.add_command(import_project)


@main.group()
def keys() -> None:
    """Create, list and revoke API keys (ASTROLABE_AUTH=keys)."""


def one_line(_: click.Context, __: click.Parameter, value: str) -> str:
    """Check --name: a list has one line a key."""
    if not value.isprintable():
        raise click.BadParameter("one line of text.")
    return value


@keys.command("create")
@click.option("--project", required=True, callback=project_name, help="Project whose objects the key opens.")
@click.option("--name", default="", callback=one_line, help="What the key is for, shown in lists.")
def create_key(project: str, name: str) -> None:
    """Create a key and print it, only this once.

    Clients send it as their API key. It opens the objects of --project and no others.
    """
    url = store_url()
    secret = with_store(url, lambda store: KeyRing(store).create(project, name), names_new=True)
    click.echo(secret)
    click.echo(f"This key opens project '{project}' of the store {shown_store(url)}.", err=True)


@keys.command("list")
def list_keys() -> None:
    """List the keys, oldest first.

    Each line has the key's id, project, state, date, first and last characters, and name.
    """
    url = store_url()
    found = with_store(url, lambda store: KeyRing(store).all(), migrate=False)
    count = "no keys" if not found else "1 key" if len(found) == 1 else f"{len(found)} keys"
    click.echo(f"The store {shown_store(url)} has {count}.", err=True)
    for key in found:
        made = strftime("%Y-%m-%d", gmtime(key["created_at"]))
        state = "revoked" if key["revoked_at"] else "active"
        click.echo(f"{key['id']}  {key['project']:<20} {state:<8} {made}  {key['hint']}  {key['name']}")


@keys.command("revoke")
@click.argument("id")
def revoke_key(id: str) -> None:
    """Revoke a key, within five seconds.

    `astrolabe keys list` shows each key's ID.
    """
    url = store_url()
    if not with_store(url, lambda store: KeyRing(store).revoke(id), migrate=False):
        sys.exit(
            f"astrolabe: there is no key '{id}' in the store {shown_store(url)}; "
            "astrolabe keys list shows them."
        )
    click.echo(f"{id} of the store {shown_store(url)} is revoked.")


@main.group()
def spec() -> None:
    """Make editions of openapi.yaml (for developers)."""


@spec.command("distil")
@click.argument("upstream", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("edition", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--revision", default="REVISION", help="The commit of openai/openai-openapi that UPSTREAM is from."
)
def distil_edition(upstream: Path, edition: Path, revision: str) -> None:
    """Make an edition of an upstream openapi.yaml.

    Writes the interface facts of UPSTREAM to EDITION, without its prose, and prints the line for
    editions.lock.
    """
    from spec.distil import distil, lock_line  # noqa: PLC0415 - no other command needs it

    with errors_as_exit({}):
        distil(upstream, edition)
    click.echo(lock_line(edition.name, revision, upstream.read_bytes(), edition.read_bytes()))


if __name__ == "__main__":
    main()
