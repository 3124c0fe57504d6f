"""YAML with the line of every key, so that a mistake found later can be shown where it was written."""

from typing import Any

import yaml

from ssl4rl_core.errors import UsageError

Key = tuple[str | int, ...]


class Places:
    """Where the keys of a document stand."""

    def __init__(self, name: str = "recipe") -> None:
        self.name = name
        self._lines: dict[Key, int] = {}
        self._by_hand: set[Key] = set()

    def add(self, key: Key, line: int) -> None:
        """Key stands in this line, counted from 1."""
        self._lines[key] = line

    def set_by_hand(self, key: Key) -> None:
        """Key came from the command line, with all that stands below it."""
        self._lines = {each: line for each, line in self._lines.items() if each[: len(key)] != key}
        self._by_hand = {each for each in self._by_hand if each[: len(key)] != key} | {key}

    def where(self, key: Key) -> str:
        """ "demo.yaml, line 12, grpo.max_steps"; a missing key is named with the line of its block.

        What came from the command line is "--set grpo.max_steps"; a key below, "--set tasks, tasks.0.weight".
        """
        dotted = ".".join(map(str, key))
        for length in range(len(key), 0, -1):
            if key[:length] in self._by_hand:
                return f"--set {'.'.join(map(str, key[:length]))}" + (f", {dotted}" if length < len(key) else "")
            if key[:length] in self._lines:
                return f"{self.name}, line {self._lines[key[:length]]}, {dotted}"
        return f"{self.name}, {dotted}" if dotted else self.name

    def stands(self, key: Key) -> str:
        """ "line 12", "--set", or "default" where neither file nor command line has the key."""
        if any(hand[: len(key)] == key[: len(hand)] for hand in self._by_hand):
            return "--set"
        for length in range(len(key), 0, -1):
            if key[:length] in self._lines:
                # Above it only a plain value may have said it: "tasks: rotation:paper" is the first of the tasks.
                said = length == len(key) or self._is_plain(key[:length])
                return f"line {self._lines[key[:length]]}" if said else "default"
        return "default"

    def _is_plain(self, key: Key) -> bool:
        return not any(len(each) > len(key) and each[: len(key)] == key for each in self._lines)


def read_keys(text: str, name: str) -> tuple[dict[str, Any], Places]:
    """The mapping that a YAML document is, and where its keys stand.

    Raises:
        UsageError: it is not YAML, not a mapping, names a key twice, or stands within itself.
    """
    places = Places(name)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
        _walk(node, (), places)
    except RecursionError as error:
        raise UsageError(f"{name}: an alias (*NAME) stands within what it names, or blocks are too deep") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise UsageError(f"{name}{line}: not YAML: {getattr(error, 'problem', None) or error}") from error
    if not isinstance(values, dict):
        raise UsageError(f"{name}: a recipe is a mapping of keys such as model, data, tasks, grpo")
    return values, places


def _walk(node: yaml.Node | None, key: Key, places: Places) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for name, value in node.value:
            line = name.start_mark.line + 1
            if name.value in seen:
                raise UsageError(f"{places.name}, line {line}: key {name.value!r} is given twice")
            seen.add(name.value)
            places.add((*key, name.value), line)
            _walk(value, (*key, name.value), places)
    elif isinstance(node, yaml.SequenceNode):
        for position, value in enumerate(node.value):
            places.add((*key, position), value.start_mark.line + 1)
            _walk(value, (*key, position), places)
