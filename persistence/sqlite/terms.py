"""The words of a text as FTS5 indexes them, for engines with an index of their own."""

from itertools import pairwise

import apsw

from persistence.sqlite.words import UNSPACED


class Terms:
    """Splits text into stemmed words without case and accents; unspaced scripts into one and two characters.

    One thread at a time may use an object.
    """

    def __init__(self) -> None:
        self._connection = apsw.Connection(":memory:")
        self._tokenizer = self._connection.fts5_tokenizer("porter", ["unicode61", "remove_diacritics", "2"])

    def of(self, text: str) -> list[str]:
        """Return the words of a text, in order, with repetitions."""
        text = text.encode("utf-8", "replace").decode()
        found = self._cut(UNSPACED.sub(" ", text), apsw.FTS5_TOKENIZE_DOCUMENT)
        for run in UNSPACED.findall(text):
            found += run
            found += ["".join(pair) for pair in pairwise(run)]
        return found

    def of_query(self, text: str) -> list[str]:
        """Return the different words of a query; of unspaced scripts only the pairs."""
        text = text.encode("utf-8", "replace").decode()
        found = self._cut(UNSPACED.sub(" ", text), apsw.FTS5_TOKENIZE_QUERY)
        for run in UNSPACED.findall(text):
            found += [run] if len(run) == 1 else ["".join(pair) for pair in pairwise(run)]
        return list(dict.fromkeys(found))

    def _cut(self, text: str, reason: int) -> list[str]:
        tokens = self._tokenizer(text.encode(), reason, None, include_offsets=False, include_colocated=False)
        return [str(token) for token in tokens]
