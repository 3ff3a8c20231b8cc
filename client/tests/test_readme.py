"""README's examples, in order, as one program."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


def test_the_examples_of_the_readme_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("birds.txt").write_text("Penguins swim under ice.")
    names = {"__name__": "readme"}
    for example in EXAMPLES:
        exec(compile(example, str(README), "exec"), names)
    names["client"].close()
    assert "You said: What is the weather in Paris?" in capsys.readouterr().out
    assert len(EXAMPLES) >= 5
