"""The operator's YAML files: `${NAME}` comes from the environment, and errors name the line."""

import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from inference.errors import FileRefused

_SURROGATE = re.compile("[\ud800-\udfff]")

IN_THE_FILE = "secrets are not written into this file: set an environment variable and put ${NAME} here"

REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")

Where = tuple[str | int, ...]

FileStamp = tuple[int, int, int]
"""The time of a file's last change in nanoseconds, its size and its inode: they differ between versions."""


_MISFITS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What PyYAML raises for a value that does not fit its tag, written or guessed, such as 2024-13-45."""


class Entry(BaseModel):
    """A mapping of a file, whose keys are known."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), hide_input_in_errors=True)


Parsed = TypeVar("Parsed", bound=Entry)


@dataclass(frozen=True, slots=True)
class YamlFile:
    """A YAML file with the lines of its values; `error` is what its faults are raised as."""

    path: Path
    node: yaml.Node
    value: Any
    stamp: FileStamp
    error: type[FileRefused]

    @property
    def modified(self) -> int:
        """When the file was changed last, in seconds."""
        return self.stamp[0] // 1_000_000_000

    @classmethod
    def read(cls, path: Path, environment: Mapping[str, str] | None, error: type[FileRefused]) -> "YamlFile":
        """Read a file that is a mapping; without an `environment` no `${NAME}` is replaced."""
        try:
            with path.open(encoding="utf-8") as opened:
                status = os.fstat(opened.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise error(f"{path}: is not a file")
                loader = yaml.SafeLoader(opened.read())
        except OSError as exc:
            raise error(f"{path}: {exc.strerror}") from exc
        except (UnicodeDecodeError, yaml.reader.ReaderError) as exc:
            raise error(f"{path}: is not UTF-8 text: {exc}") from exc
        try:
            node = loader.get_single_node()
            if not isinstance(node, yaml.MappingNode):
                raise error(f"{path}, line 1: is not a mapping")
            file = cls(path, node, _value(path, loader, node, error), file_stamp(status), error)
            return file.checked(environment)
        except yaml.MarkedYAMLError as exc:
            line = exc.problem_mark.line + 1 if exc.problem_mark else 1
            raise error(f"{path}, line {line}: {exc.problem}") from exc
        except RecursionError as exc:
            raise error(f"{path}, line 1: is nested too deeply") from exc
        finally:
            loader.dispose()

    def checked(self, environment: Mapping[str, str] | None) -> "YamlFile":
        """Return the file with its `${NAME}`s replaced; a repeated key is refused."""
        self._refuse_duplicates(self.node)
        return self if environment is None else replace(self, value=self._expanded(self.value, environment))

    def parsed(self, model: type[Parsed]) -> Parsed:
        """Return the file's value as a model."""
        try:
            return model.model_validate(self.value)
        except ValidationError as exc:
            errors = exc.errors(include_url=False, include_input=False)
        # A misspelt key comes first: it is often why another one is missing.
        unknown = next((error["loc"] for error in errors if error["type"] == "extra_forbidden"), None)
        if unknown is not None:
            raise self.refused(unknown, _unknown_key(model, unknown))
        raise self.refused(errors[0]["loc"], errors[0]["msg"])

    def refused(self, where: Where, reason: str) -> FileRefused:
        """Return the error for the value at `where`, with the line of the nearest value that the file has."""
        node = self.node
        for step in where:
            node = _child(node, step) or node
        place = ".".join(map(str, where)).encode(errors="backslashreplace").decode() or "the file"
        return self.error(f"{self.path}, line {node.start_mark.line + 1}: {place}: {reason}")

    def text_at(self, where: Where) -> str:
        """Return the text at `where` as the file has it, with its `${NAME}`s."""
        node = self.node
        for step in where:
            child = _child(node, step)
            if child is None:
                return ""
            node = child
        return node.value if isinstance(node, yaml.ScalarNode) else ""

    def refuse_written_secret(self, where: Where) -> None:
        """Refuse a secret that the file has itself, and not by a `${NAME}`."""
        if not REFERENCE.search(self.text_at(where)):
            raise self.refused(where, IN_THE_FILE)

    def _refuse_duplicates(self, node: yaml.Node) -> None:
        """Refuse a repeated key: YAML would let the last one win."""
        if isinstance(node, yaml.SequenceNode):
            for child in node.value:
                self._refuse_duplicates(child)
        if not isinstance(node, yaml.MappingNode):
            return
        seen = set()
        for key, value in node.value:
            if key.value in seen:
                line = key.start_mark.line + 1
                raise self.error(f"{self.path}, line {line}: the key '{key.value}' is repeated")
            seen.add(key.value)
            self._refuse_duplicates(value)

    def _expanded(self, value: Any, environment: Mapping[str, str], where: Where = ()) -> Any:
        """Return `value` with its `${NAME}`s replaced; an unset one is refused."""
        if isinstance(value, dict):
            for key in value:
                self._refuse_surrogates(key, (*where, key))
            return {key: self._expanded(item, environment, (*where, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self._expanded(item, environment, (*where, place)) for place, item in enumerate(value)]
        if not isinstance(value, str):
            return value
        self._refuse_surrogates(value, where)
        for name in REFERENCE.findall(value):
            if not environment.get(name):
                raise self.refused(where, f"the environment variable {name} is not set")
        return REFERENCE.sub(lambda match: environment[match[1]], value)

    def _refuse_surrogates(self, value: Any, where: Where) -> None:
        if isinstance(value, str) and _SURROGATE.search(value):
            raise self.refused(where, "is not text: half of a surrogate pair is in it")


def _value(path: Path, loader: yaml.SafeLoader, node: yaml.Node, error: type[FileRefused]) -> Any:
    """Return the value of a whole document."""
    try:
        return loader.construct_document(node)
    except _MISFITS as exc:
        line = next((one.start_mark.line for one in _scalars(node) if not _fits(one)), 0) + 1
        raise error(f"{path}, line {line}: a value cannot be read ({exc}): put it in quotes") from exc


def _scalars(node: yaml.Node) -> Iterator[yaml.ScalarNode]:
    if isinstance(node, yaml.ScalarNode):
        yield node
    elif isinstance(node, yaml.SequenceNode):
        for child in node.value:
            yield from _scalars(child)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _scalars(key)
            yield from _scalars(value)


def _fits(node: yaml.ScalarNode) -> bool:
    try:
        yaml.SafeLoader("").construct_object(node)
    except _MISFITS:
        return False
    return True


def file_stamp(status: os.stat_result) -> FileStamp:
    """Return what tells a version of a file from others."""
    return status.st_mtime_ns, status.st_size, status.st_ino


def _unknown_key(model: type[BaseModel], where: Where) -> str:
    """Return the reason why an unknown key is refused, with the known ones of the same mapping."""
    for step in where[:-1]:
        field = model.model_fields.get(str(step))
        if field is not None:
            model = _entry_of(field.annotation) or model
    known = [*model.model_fields]
    meant = get_close_matches(str(where[-1]), known, n=1)
    guess = f" Did you mean '{meant[0]}'?" if meant else ""
    return f"there is no such key.{guess} Keys here: {', '.join(known)}."


def _entry_of(annotation: Any) -> type[BaseModel] | None:
    """Return the model in a type such as dict[str, list[Model]]."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for each in get_args(annotation) if (found := _entry_of(each)) is not None), None)


def _child(node: yaml.Node, step: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        child: yaml.Node = node.value[step]
        return child
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(step):
                # The line of a mapping is its key's; that of a value its own.
                return value if isinstance(value, yaml.ScalarNode) else _at(value, key)
    return None


def _at(value: yaml.Node, key: yaml.Node) -> yaml.Node:
    value.start_mark = key.start_mark
    return value
