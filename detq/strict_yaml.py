"""YAML in which a slip is an error: no key twice, ``1e-3`` is a number, plain values only."""

import re
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"key `{key.value}` stands twice", problem_mark=key.start_mark
                    )
                seen.add(key.value)
        return node


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


# YAML 1.1, which PyYAML follows, reads 1e-3 as text. The dumper must know, so as to quote it.
for _kind in (_Loader, _Dumper):
    _kind.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), None
    )


def load(text: str) -> Any:
    """Plain Python values of one document.

    Raises:
        ValueError: with line and column where they are known.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ValueError(f"{error.problem}{place}") from error
    except Exception as error:  # a wrong tag raises what int() or a dict happens to raise
        raise ValueError(str(error) or type(error).__name__) from error


def dump(value: Any) -> str:
    """Text that ``load`` reads back as ``value``; short lists stay on one line."""
    return yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None
    )
