"""What the model reads of its code: the description of the tool, and the results of calls."""

from collections.abc import Sequence

from inference.code.driver import FOLDER
from inference.code.outputs import Status
from inference.code.sessions import CodeResult

MAX_TEXT = 16_000
"""Characters of the logs that the model reads: beginning and end of what is longer."""

MAX_NAMES = 50
"""Files that the description names."""

LOST = (
    "The Python session is a new one: the variables and imports of earlier code are lost. "
    f"The files in {FOLDER} are still there."
)

ENDS: dict[Status, str] = {
    "timeout": "The code took too long and was interrupted.",
    "killed": "The code took too long, ignored its interrupt and was ended, with all its variables.",
    "memory": "The code used too much memory and was ended, with all its variables.",
    "processes": "The code started too many processes and was ended, with all its variables.",
    "files": "The code wrote too many files and was ended, with all its variables.",
    "died": "The Python session ended while the code ran: all variables are lost.",
}


def description(names: Sequence[str], seconds: float) -> str:
    """Return the description of the tool; `names` are those of the container's files."""
    text = (
        "Runs Python code in a notebook's session with numpy, pandas, scipy, matplotlib, pillow, openpyxl "
        "and pypdf. Variables and files stay between calls. There is no network, and nothing can be "
        f"installed. A call may take {seconds:.0f} seconds. Print what you want to read. Figures of "
        f"matplotlib are shown to the user. Read and write files in {FOLDER}; to give the user a file, link "
        f"it in your answer, such as [report.csv](sandbox:{FOLDER}/report.csv)."
    )
    if not names:
        return text
    listed = "\n".join(f"{FOLDER}/{name}" for name in names[:MAX_NAMES])
    more = f"\nand {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return f"{text}\n\nFiles that are there:\n{listed}{more}"


def result_text(result: CodeResult, logs: str, shown: int, seen: int, notes: Sequence[str]) -> str:
    """Return what the model reads of a call; it sees `seen` of the images."""
    parts = [*notes, *([LOST] if result.is_fresh and not notes else []), shortened(logs).rstrip("\n")]
    if result.status in ENDS:
        parts.append(ENDS[result.status])
    if shown:
        images = "An image was" if shown == 1 else f"{shown} images were"
        parts.append(f"[{images} shown to the user{_which(shown, seen)}.]")
    if result.files:
        parts.append("[Files written: " + ", ".join(_file(each) for each in result.files[:MAX_NAMES]) + "]")
    parts += [f"[{note}]" for note in result.notes]
    return "\n".join(part for part in parts if part) or "[The code ran and showed nothing.]"


def shortened(logs: str) -> str:
    """Return logs, of long ones beginning and end."""
    if len(logs) <= MAX_TEXT:
        return logs
    half = MAX_TEXT // 2
    return f"{logs[:half]}\n[… {len(logs) - 2 * half} characters are left out …]\n{logs[-half:]}"


def _which(shown: int, seen: int) -> str:
    if not seen:
        return ", but you cannot see it" if shown == 1 else ", but you cannot see them"
    return "" if seen >= shown else f"; you see {seen} of them"


def _file(file: dict[str, object]) -> str:
    return f"{file['path']} ({file['bytes']} bytes)"
