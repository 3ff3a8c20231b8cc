"""The command `astrolabe models`: what serves each name, and whether a models.yaml can be used."""

import asyncio
import os
import sys
from pathlib import Path

import click

from serving.commands import errors_as_exit
from serving.settings import Settings


@click.group(invoke_without_command=True)
@click.pass_context
def models(context: click.Context) -> None:
    """List every model name with its deployments, fallbacks and cooldowns.

    ASTROLABE_MODELS, or OPENAI_API_KEY and OPENAI_BASE_URL, set them.
    """
    if context.invoked_subcommand is not None:
        return
    from serving import models_report  # noqa: PLC0415 - imports every provider's client
    from serving.services import make_routes  # noqa: PLC0415

    with errors_as_exit():
        settings = Settings.read()
        routes = make_routes(settings)
    for line in models_report.listed(routes, settings):
        click.echo(line)


@models.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--live", is_flag=True, help="Also ask each deployment for one token or one embedding.")
def check(file: Path, live: bool) -> None:
    """Check whether FILE can be used as models.yaml.

    With --live each deployment is asked, and a table says what it answered. The exit code is 1 if FILE
    cannot be used or a deployment does not answer.
    """
    from inference.gateway import Routes  # noqa: PLC0415 - imports every provider's client
    from serving import models_report  # noqa: PLC0415

    with errors_as_exit({}):
        routes = Routes.from_file(file, os.environ)
    click.echo(f"{file} can be used: {models_report.counts(routes)}.")
    if live:
        results = asyncio.run(models_report.tested(routes))
        for result in results:
            click.echo(result.line())
        if not all(result.is_ok for result in results):
            sys.exit(1)
