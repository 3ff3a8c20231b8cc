"""What gunicorn loads: `gunicorn -c gunicorn.conf.py wsgi:app`."""

from serving.app import create_app
from serving.commands import errors_as_exit
from serving.settings import Settings

with errors_as_exit():
    app = create_app(Settings.read())
