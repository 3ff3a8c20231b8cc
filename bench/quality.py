"""Retrieval quality on the data sets of the command line."""

from collections.abc import Iterator

from bench.figures import Figure, at_least
from bench.retrieval import TOLERANCE, DataSet, run
from bench.rig import Rig


def hybrid(rig: Rig) -> Iterator[Figure]:
    """Measure nDCG@10 and recall@100 of hybrid search, next to the better of words and vectors alone."""
    for path in rig.data_sets:
        data = DataSet.read(path, 50 if rig.quick else None)
        found = run(data, rig.room(f"quality-{data.name}"), None)
        gain, recalled = found["hybrid"]
        best = max(("BM25", "vectors"), key=lambda name: found[name][0])
        peer = f"{best} alone"
        yield Figure(f"{data.name}: nDCG@10 of hybrid search", gain, "", peer, found[best][0])
        lead = gain - found[best][0]
        yield Figure("… its lead over the better one alone", lead, "", bar=at_least(-TOLERANCE))
        yield Figure("… recall@100", recalled, "", peer, found[best][1])
