"""The file of the operator's tools is checked at start, with the line of what is wrong."""

from pathlib import Path

import pytest

from inference import operator_tools
from inference.errors import ToolsRefused
from inference.operator_tools.tools_file import OperatorTools

EXAMPLE = Path(operator_tools.__file__).parent / "tools.example.yaml"
FUNCTIONS = "tests.inference.operator_tools.functions"


def read(
    folder: Path, tool: str, label: str = "office", name: str = "find", **environment: str
) -> OperatorTools:
    path = folder / "tools.yaml"
    path.write_text(f"toolsets:\n  {label}:\n    tools:\n      {name}:\n        {tool}\n")
    return OperatorTools.from_file(path, environment)


def test_the_example_can_be_used_with_a_module_beside_it(tmp_path: Path) -> None:
    (tmp_path / "tools.yaml").write_text(EXAMPLE.read_text())
    (tmp_path / "office_tools.py").write_text("def working_days(arguments, context):\n    return 5\n")
    tools = OperatorTools.from_file(tmp_path / "tools.yaml", {"ROOMS_TOKEN": "t"})
    server = tools.find("office", "any")
    assert server is not None
    assert [*server.tools] == ["find_room", "working_days"]


def test_a_toolset_is_for_its_projects(tmp_path: Path) -> None:
    path = tmp_path / "tools.yaml"
    path.write_text(
        "toolsets:\n  office:\n    projects: [a]\n    tools:\n"
        f"      f: {{description: d, python: '{FUNCTIONS}:add'}}\n"
    )
    tools = OperatorTools.from_file(path, {})
    assert tools.find("office", "a") is not None
    assert tools.find("office", "b") is None
    assert tools.find("other", "a") is None


@pytest.mark.parametrize(
    ("tool", "reason"),
    [
        ("description: d", r"line 4: toolsets\.office\.tools\.find: needs either 'python' or 'url'"),
        ("{description: d, python: a, url: 'http://a'}", "needs either 'python' or 'url'"),
        ("{description: d, python: nothing}", "'nothing' is not of the form package.module:function"),
        ("{description: d, python: 'no_such_module:f'}", "cannot be imported: ModuleNotFoundError"),
        (f"{{description: d, python: '{FUNCTIONS}:missing'}}", "cannot be imported: AttributeError"),
        (f"{{description: d, python: '{FUNCTIONS}:NOT_A_FUNCTION'}}", "is not a function"),
        ("{description: d, url: 'ftp://a'}", "is not a valid URL of http or https"),
        ("{description: d, url: 'http://u:p@a/'}", "has a user name or password in it"),
        ("{description: d, url: 'http://a', parameters: {type: string}}", "is not the schema of an object"),
        (
            "{description: d, url: 'http://a', parameters: {type: object, required: 7}}",
            "is not a JSON schema: 7 is not of type",
        ),
        (
            "{description: d, url: 'http://a', headers: {Authorization: Bearer 1}}",
            "line 5: .*secrets are not written into this file",
        ),
        ("{description: d, url: 'http://a', headers: {a: '${UNSET}'}}", "UNSET is not set"),
        ("{description: d, url: 'http://a', heeders: {a: b}}", "Did you mean 'headers'"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_line(tmp_path: Path, tool: str, reason: str) -> None:
    with pytest.raises(ToolsRefused, match=reason):
        read(tmp_path, tool)


def test_names_are_those_that_models_take(tmp_path: Path) -> None:
    tool = "{description: d, url: 'http://a'}"
    with pytest.raises(ToolsRefused, match="a name is up to 64 letters"):
        read(tmp_path, tool, name="find room")
    with pytest.raises(ToolsRefused, match="a label begins with a letter"):
        read(tmp_path, tool, label="1office")
