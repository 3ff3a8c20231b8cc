"""Read what providers answer, whatever its form, and convert it to OpenAI's."""
