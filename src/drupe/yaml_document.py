"""YAML as configurations need it: a key given twice, or a file made to explode, is an error.

PyYAML takes the last of two equal keys in silence, so that a criterion given twice could become the
weaker one, and lets a few hundred bytes of aliases stand for millions of values.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml

MOST_NODES = 200_000
"""Keys and values of a document, each counted as often as aliases repeat it."""

DEEPEST = 60
"""Mappings and lists inside one another."""


def read_document(text: str) -> Any:
    """Return the document that ``text`` is: mappings, lists and scalars, None where it is empty.

    Raises:
        ValueError: with the line: no YAML, a key given twice in one mapping, a key that is no
            scalar, a scalar that isn't of the type that it states, too many values or levels.
    """
    loader = None
    try:
        loader = yaml.SafeLoader(text)  # refuses characters that YAML doesn't have
        node = loader.get_single_node()
        if node is None:
            return None
        _Weighing().nodes(node, 0)
        return loader.construct_document(node)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(" ".join(str(error).split())) from None
    # What PyYAML raises for scalars that don't have the type they state: !!bool maybe, !!int ''.
    except (KeyError, AttributeError, IndexError, TypeError, OverflowError):
        raise ValueError("a value isn't of the type that it states") from None
    finally:
        if loader is not None:
            loader.dispose()


class _Weighing:
    """Counts the nodes of a document as if every alias were written out, and checks its keys."""

    def __init__(self) -> None:
        self._known: dict[int, int] = {}
        self._open: set[int] = set()

    def nodes(self, node: yaml.Node, depth: int) -> int:
        """Return the number of nodes in ``node``, itself included."""
        place = id(node)
        if place in self._open:
            raise ValueError(f"{_line(node)}: holds itself")
        if depth > DEEPEST:
            raise ValueError(f"{_line(node)}: nested too deeply, at most {DEEPEST} levels")
        if place not in self._known:
            self._open.add(place)
            count = 1 + sum(self.nodes(child, depth + 1) for child in _children(node))
            self._open.remove(place)
            if count > MOST_NODES:
                raise ValueError(f"{_line(node)}: stands for more than {MOST_NODES:,} values")
            self._known[place] = count
        return self._known[place]


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        _check_keys(node)
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _check_keys(mapping: yaml.MappingNode) -> None:
    """Refuse a key that stands twice; ``<<`` may, it is no key."""
    seen: dict[Hashable, yaml.Node] = {}
    for key, _ in mapping.value:
        if not isinstance(key, yaml.ScalarNode):
            raise ValueError(f"{_line(key)}: a key must be a word or a number")
        name = (key.tag, key.value)
        if name in seen and key.tag != "tag:yaml.org,2002:merge":
            raise ValueError(
                f"{_line(key)}: {key.value!r} is given twice, first in {_line(seen[name])}"
            )
        seen[name] = key


def _line(node: yaml.Node) -> str:
    return f"line {node.start_mark.line + 1}"
