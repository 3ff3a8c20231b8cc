"""What the loopback provider is asked to do, and what a client must make of it."""

import json
import os

URL = os.environ["ASTROLABE_TEST_URL"]


def script(*turns: dict) -> str:
    return "script: " + json.dumps({"turns": turns})


WEATHER = script(
    {"calls": [{"name": "get_weather", "arguments": {"city": "Paris"}}]},
    {"text": "It is {find:sunny} in {find:Paris}."},
)
WEATHER_ANSWER = "It is sunny in Paris."

WORDS = script({"text": "one two three four", "chunks": 4})
WORDS_ANSWER = "one two three four"

TWO_TURNS = script({"text": "one"}, {"text": "two"})
"""The second answer shows that the model read the first."""

PLACE = script({"text": json.dumps({"city": "Paris"})})


def get_weather(city: str) -> str:
    """Tell the weather in a city."""
    return f"sunny in {city}"
