"""Schemathesis's hook that leaves out cases of which two others say the same.

For each property its coverage phase sends a value of every wrong type, four to six of them. All are refused
by the one keyword `type`, so two of each property are sent; which the second is differs from one to the next.
"""

from collections import Counter
from zlib import crc32

import schemathesis
from schemathesis.generation.meta import CoveragePhaseData, CoverageScenario

_sent: Counter[str] = Counter()


@schemathesis.hook
def filter_case(context: schemathesis.HookContext, case: schemathesis.Case) -> bool:
    """Return whether to send the case: not a third value of a wrong type for the same property."""
    data = case.meta.phase.data if case.meta else None
    if not isinstance(data, CoveragePhaseData) or data.scenario is not CoverageScenario.INCORRECT_TYPE:
        return True
    place = f"{case.operation.label} {data.parameter_location} {data.parameter} {data.location}"
    _sent[place] += 1
    return _sent[place] in (1, 2 + crc32(place.encode()) % 3)
