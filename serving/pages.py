"""Pages for people: what this server is (`/`) and serves (`/docs`), and the edition (`/openapi.yaml`)."""

from functools import cache
from html import escape
from importlib.metadata import version
from itertools import groupby

import flask
import orjson

from serving.routes import Route, ServedEdition
from serving.routing import PREFIX, Routing

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       color: #222; background: #fff }
code, td { font: 14px/1.5 ui-monospace, monospace } table { border-collapse: collapse; width: 100% }
td { padding: .15rem .6rem .15rem 0; vertical-align: top } h2 { margin: 2rem 0 .5rem; font-size: 1.1rem }
.served { color: #06632d } .missing { color: #767676 } a { color: #0b57d0 }
@media (prefers-color-scheme: dark) { body { background: #16181c; color: #ddd } a { color: #8ab4f8 }
  .served { color: #7ad39b } .missing { color: #9aa0a6 } }
"""


def add_pages(app: flask.Flask, routing: Routing) -> None:
    """Add the pages to Flask; they need no key and show nothing but the edition."""

    @app.get("/")
    def index() -> flask.Response:
        facts = server_facts(routing.default)
        accepts = flask.request.accept_mimetypes
        if accepts.best_match(["application/json", "text/html"]) == "text/html":
            return page("Astrolabe", index_html(facts))
        return app.response_class(orjson.dumps(facts), content_type="application/json")

    @app.get("/docs")
    def docs() -> flask.Response:
        return page("Operations", docs_html(routing.default))

    @cache
    def document() -> bytes:
        # A relative URL is right behind any proxy. JSON is YAML; a dump in YAML's notation takes seconds.
        served = {**routing.default.edition.document, "servers": [{"url": PREFIX}]}
        return orjson.dumps(served, option=orjson.OPT_INDENT_2)

    @app.get("/openapi.yaml")
    def openapi() -> flask.Response:
        return app.response_class(document(), content_type="application/yaml")

    def page(title: str, body: str) -> flask.Response:
        head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
        html = f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>'
        response = app.response_class(html, content_type="text/html; charset=utf-8")
        response.headers["content-security-policy"] = "default-src 'none'; style-src 'unsafe-inline'"
        return response


def server_facts(served: ServedEdition) -> dict[str, object]:
    """Return what a program learns at `/`."""
    counts = served.counts()
    return {
        "name": "Astrolabe",
        "version": version("astrolabe-server"),
        "api": PREFIX,
        "edition": counts.edition,
        "operations": counts.operations,
        "served": counts.served,
        "docs": "/docs",
        "openapi": "/openapi.yaml",
        "health": "/readyz",
        "metrics": "/metrics",
    }


def index_html(facts: dict[str, object]) -> str:
    """Return the body of `/`."""
    return f"""
<h1>Astrolabe</h1>
<p>This server speaks OpenAI's HTTP API. Point an OpenAI SDK at it:</p>
<p><code>OpenAI(base_url="{escape(flask.request.host_url)}v1", api_key=…)</code></p>
<p>Version {facts["version"]}, edition {escape(str(facts["edition"]))}: {facts["served"]} of OpenAI's
{facts["operations"]} operations are served, the others answer 501.</p>
<ul><li><a href="/docs">Operations</a></li><li><a href="/openapi.yaml">The edition (openapi.yaml)</a></li>
<li><a href="/readyz">Health</a></li><li><a href="/metrics">Metrics</a></li></ul>"""


def docs_html(served: ServedEdition) -> str:
    """Return the body of `/docs`: the operations by tag, each with whether it is served."""
    counts = served.counts()
    routes = sorted(served.routes.values(), key=lambda route: (_tag(route), route.operation.path))
    sections = [
        f"<h2>{escape(tag)}</h2><table>{''.join(map(_row, group))}</table>"
        for tag, group in groupby(routes, _tag)
    ]
    intro = f"{counts.served} of OpenAI's {counts.operations} operations are served, the others answer 501."
    return f"<h1>Edition {escape(counts.edition)}</h1><p>{intro} <a href='/'>Back</a></p>{''.join(sections)}"


def _tag(route: Route) -> str:
    return route.operation.tags[0] if route.operation.tags else "Other"


def _row(route: Route) -> str:
    operation = route.operation
    state = "served" if route.handler else "missing"
    path = escape(f"{PREFIX}{operation.path}")
    label = "served" if route.handler else "501"
    name = escape(operation.id) + (" (not in OpenAI's API)" if operation.own else "")
    cells = (operation.method, path, name, f'<span class="{state}">{label}</span>')
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
