"""The one fake of the tests: a model provider on loopback that answers as each request's script says.

It speaks OpenAI's wire (`/v1/chat/completions`, `/v1/completions`, `/v1/embeddings`,
`/v1/moderations`, `/v1/models`, `/v1/images/…`, `/v1/audio/…`, and the objects of `objects.py`), and what
litellm needs of Anthropic's Messages, Gemini's generateContent, Bedrock's Converse, Cohere's v2/chat and
embed, and Mistral's chat completions (below `/mistral`). Those five refuse what the real ones refuse
(`rules.py`). It keeps no state that two tests could share, so any number
of them may use one provider at once.

    async with Provider() as provider:            # in this event loop
        provider.url                              # http://127.0.0.1:PORT/v1

    with ProviderProcess() as provider: ...       # in a process of its own, for synchronous tests

    python -m tests.provider --port 0 [--processes N]     # prints its URL

What it answers
---------------
Without a script, "You said: " and the last user message, in one chunk a word. A `tool_choice` that
forces a function makes it call that function with `{}` (code_interpreter with a sum); a model with `eager` in its name calls the
first function offered, until a tool has answered. Tokens are words; `max_tokens` and
`max_completion_tokens` cut the text and end it with `finish_reason: length`.

A script is JSON behind the word `script:` in the last user message that has one, or else in a
system or developer message:

    script: {"tag": "t1", "turns": [
        {"calls": [{"name": "get_weather", "arguments": {"city": "Paris"}}]},
        {"text": "It is {find:sunny|rainy} in Paris.", "chunks": 5, "delay": 0.01}]}

The turn is chosen by the number of assistant messages behind the script, so the same request always
gets the same answer: a run that is taken over by another worker meets the same model. Behind the
last turn it says "The script has ended.". `{"by_model": {"m1": [turn, …]}}` in place of `turns`
tells each upstream model its own. Keys of a turn, all optional:

    text            what it says; {find:REGEX} is the first match in the last tool message's
                    content, {tool} that content, {user} the last user message
    repeat          the text so many times over (huge outputs)
    calls           function calls, in parallel: name, arguments (JSON, or a string sent as it is), id
    thinking        what it thinks first, signed; not in OpenAI's API
    reasoning       what it thinks first, as `reasoning_content`; only in OpenAI's API, streamed
    images          pictures in base64 that it makes; only in Gemini's API
    chunks          how many pieces the text is streamed in (default: one a word)
    stamped         each streamed piece is the time (`time.monotonic()`) at which it is sent
    delay           seconds before each piece;   wait: seconds before the first byte
    fail            {"status": 500, "times": 2, "message", "code", "type", "retry_after", "body"}:
                    the error instead of an answer, that many times for this tag, turn and model
                    (without "times": always); "status": 0 closes the connection without a word
    close_after     piece at which it drops the connection
    garbage_after   piece behind which it sends what is no event
    error_after     piece behind which it sends an error event
    stall_after     piece behind which it is silent for "stall" seconds (default: 3600)
    raw             the body as it stands here, in pieces of "raw_size" bytes, with "content_type",
                    "status" and "headers"; "reset": the connection breaks behind it;
                    "padding": how many characters stand for the word PADDING in it
    done            false: no [DONE]
    finish_reason, usage    these instead of the true ones

The script of an image or of audio is in its prompt or input. Of a form's files it records name, type,
size and hash.

What it received
----------------
`GET /_requests?tag=t1`: the requests whose script had that tag, oldest first, each with `path`,
`headers`, `body`, `turn`, and `ended`: null while it goes on, "complete", or "disconnected" where
the client hung up first; `sent` counts the pieces, `connection` numbers the connections. The last 10,000 are kept.

Embeddings are hashed bags of words, of unit length, with as many `dimensions` as asked for (64), so
that texts with words in common are near each other. A `script:` in the input can make them fail.

Models whose name starts with `bench` are answered from memory, fast and without a record:
`bench-N` streams N chunks (100).
"""

from tests.provider.process import ProviderProcess
from tests.provider.server import Provider

__all__ = ["Provider", "ProviderProcess"]
