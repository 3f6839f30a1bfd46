"""A part of a VirtualService, or one that istiod makes of a rule and its delegate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from loadtests.rules.view import View, title

MESH = "mesh"
TABLES = frozenset(("headers", "withoutHeaders", "queryParams", "sourceLabels"))
"""Fields of a condition of which rule and delegate add up."""
WRAPPED = frozenset(("mirrorPercent",))
"""Numbers of which the API tells 0 from not set."""
INHERITED = frozenset(
    (
        "name", "rewrite", "directResponse", "timeout", "retries", "fault", "mirror", "mirrorPercent", "mirrorPercentage",
        "corsPolicy", "mirrors", "headers",
    )
)  # fmt: skip
"""What the routes of a delegate take from the route that leads to it, unless they say it themselves."""


def gateway_name(name: str, namespace: str) -> str:
    """``namespace/name`` of a gateway as a rule of ``namespace`` writes it; ``mesh`` stays."""
    if name == MESH:
        return name
    owner, slash, rest = name.partition("/")
    if slash:
        return f"{namespace if owner == '.' else owner}/{rest}"
    short, dot, rest = name.partition(".")
    return f"{rest.partition('.')[0]}/{short}" if dot else f"{namespace}/{short}"


@dataclass(frozen=True)
class Part:
    """A view of something that a VirtualService says."""

    view: View
    rule: View

    @property
    def title(self) -> str:
        """How messages name the rule: ``VirtualService reviews``."""
        return title(self.rule)

    @property
    def namespace(self) -> str:
        """Namespace of the rule."""
        return str(self.rule["metadata"].get("namespace", ""))

    @property
    def path(self) -> str:
        """Where it stands in the rule."""
        return self.view.path_of("")

    def below(self, view: View) -> Part:
        """Something that the same rule says."""
        return replace(self, view=view)


class Layers(Mapping[str, Any]):
    """One or two parts of the same kind: what the first does not set, the second does."""

    def __init__(self, *parts: Part, inherited: frozenset[str] | None = None) -> None:
        """Look at ``parts``, the most important first; of the others, at ``inherited`` fields alone, if given."""
        self.parts, self._inherited = parts, inherited

    def _of(self, key: str) -> list[Part]:
        first, *others = self.parts
        return [first, *(o for o in others if self._inherited is None or key in self._inherited)]

    def _setting(self, key: str) -> Part | None:
        """The part that sets a field; empty texts, zeros and empty lists are not set. Of those after it, it has no bearing."""
        found = None
        for part in self._of(key):
            if found is None and key in part.view and (isinstance(value := part.view[key], View) or value or key in WRAPPED):
                found = part
            elif found is not None and key not in TABLES:
                part.view.accept(key)
        return found

    def __getitem__(self, key: str) -> Any:
        """The value of a field, which then counts as read."""
        part = self._setting(key)
        if part is None:
            raise KeyError(key)
        return part.view[key]

    def __contains__(self, key: object) -> bool:
        """Whether a field is set."""
        return isinstance(key, str) and self._setting(key) is not None

    def __iter__(self) -> Iterator[str]:
        """The names of all fields."""
        return iter(dict.fromkeys(key for part in self.parts for key in part.view if part in self._of(key)))

    def __len__(self) -> int:
        """How many fields there are."""
        return len(list(iter(self)))

    def table(self, key: str) -> dict[str, View]:
        """A field of names and values, of all parts together: name -> where its value is."""
        tables = [table for part in reversed(self._of(key)) if isinstance(table := part.view.get(key), View)]
        return {name: table for table in tables for name in table}

    def part_of(self, key: str) -> Part:
        """The part that sets a field, or the first one."""
        return self._setting(key) or self.parts[0]

    def path_of(self, key: str) -> str:
        """How messages name a field: ``VirtualService reviews: spec.http[0].timeout``."""
        part = self.part_of(key)
        return f"{part.title}: {part.view.path_of(key)}"

    def accept(self, *keys: str) -> None:
        """Say that fields have no bearing."""
        for part in self.parts:
            part.view.accept(*keys)

    def accept_all(self) -> None:
        """Say that nothing of it has a bearing."""
        for part in self.parts:
            part.view.accept_all()

    def unread(self) -> list[str]:
        """Paths of what nobody has read."""
        return [path for part in self.parts for path in part.view.unread()]
