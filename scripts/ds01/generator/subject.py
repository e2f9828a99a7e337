"""What the checks look at: the documents, the policy compiled from them, and where everything stands. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ds01.core.policy import Policy
from ds01.generator.inventory import Documents
from ds01.generator.problems import Place
from ds01.generator.yamltext import Path


@dataclass(frozen=True, slots=True)
class Subject:
    """What is checked.

    Attributes:
        policy: compiled from the documents; None when they are too broken for that.
        host: name of the host the policy is held against.
    """

    documents: Documents
    policy: Policy | None
    host: str

    def key(self, *path: str | int) -> Place:
        """Return the place of a key in the policy file."""
        return self.documents.policy.key_place(path)

    def value(self, *path: str | int) -> Place:
        """Return the place of a value in the policy file."""
        return self.documents.policy.value_place(path)

    def written(self, *path: str | int) -> bool:
        """Whether a key stands in the policy file, even if its value was so wrong that it was taken out."""
        return path in self.documents.policy.keys

    def intact(self, *path: str | int) -> bool:
        """Whether what is written here was right by the schema; what hangs on it is not checked when it was not."""
        return not self.written(*path) or path[-1] in self.section(*map(str, path[:-1]))

    def section(self, *path: str) -> dict[str, Any]:
        """Return a mapping of the policy file, empty when it is not there."""
        node: Any = self.documents.policy.data
        for step in path:
            node = node.get(step) if isinstance(node, dict) else None
        return node if isinstance(node, dict) else {}

    def host_section(self, key: str) -> list[Any]:
        """Return a list of the host's file, empty when it is not there."""
        file = self.documents.hosts.get(self.host)
        entries = file.data.get(key) if file is not None and isinstance(file.data, dict) else None
        return entries if isinstance(entries, list) else []

    def layers(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Yield every layer of limits as written."""
        yield ("defaults",), self.section("defaults")
        for section in ("groups", "user_overrides"):
            for name in self.section(section):
                yield (section, name), self.section(section, name)
