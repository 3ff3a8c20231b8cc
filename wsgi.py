"""What gunicorn loads: `gunicorn -c gunicorn.conf.py wsgi:app`."""

from astrolabe_server.serving.app import create_app
from astrolabe_server.serving.cli import refusals_as_exit
from astrolabe_server.serving.settings import Settings

with refusals_as_exit():
    app = create_app(Settings.read())
