"""Rules as they are read: an object that notes which of its fields have been looked at.

An expectation is right or absent. So whoever works one out reads the rules through a ``View``, and what nobody has read
afterwards is something that the lab does not model: the verdict is then UNKNOWN, with the paths of those fields. No field is
ignored silently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Path = tuple[str | int, ...]
KINDS = frozenset(
    (
        "AuthorizationPolicy", "DestinationRule", "EnvoyFilter", "Gateway", "GRPCRoute", "HTTPRoute", "Ingress", "ListenerSet",
        "MeshConfig", "PeerAuthentication", "ProxyConfig", "RequestAuthentication", "ServiceEntry", "Sidecar", "TCPRoute",
        "Telemetry", "TLSRoute", "TrafficExtension", "VirtualService", "WasmPlugin", "WorkloadEntry", "WorkloadGroup",
    )
)  # fmt: skip
"""Kinds whose fields are rules; other objects (Deployments, say) are read for facts."""
EXTENSIONS = ("EnvoyFilter", "TrafficExtension", "WasmPlugin")
"""Kinds that may do anything with a call."""


PLAIN = (str, int, float)


class Notes:
    """Which fields of one object have been read, and which have no bearing on what is asked."""

    def __init__(self) -> None:
        """Nothing has been read."""
        self.read: set[Path] = set()
        self.whole: set[Path] = set()

    def covers(self, path: Path) -> bool:
        """Whether a field was read, or lies in a part that has no bearing."""
        return path in self.read or any(path[:n] in self.whole for n in range(1, len(path) + 1))


class View(Mapping[str, Any]):
    """A JSON object whose fields are noted when they are read."""

    def __init__(self, data: Mapping[str, Any], path: Path = (), notes: Notes | None = None) -> None:
        """Look at ``data``, which is at ``path`` of the object that ``notes`` are about."""
        self._data, self._path, self._notes = data, path, notes or Notes()

    def __getitem__(self, key: str) -> Any:
        """The value of a field: a view, a list of views, or a plain value, which then counts as read."""
        return _seen(self._data[key], (*self._path, key), self._notes)

    def __iter__(self) -> Iterator[str]:
        """The names of the fields that are set."""
        return iter(self._data)

    def __len__(self) -> int:
        """How many fields are set."""
        return len(self._data)

    def __contains__(self, key: object) -> bool:
        """Whether a field is set, which alone does not count as having read it."""
        return key in self._data

    def accept(self, *keys: str) -> None:
        """Say that fields have no bearing on what is asked, with all that is below them."""
        self._notes.whole.update((*self._path, key) for key in keys)

    def accept_all(self) -> None:
        """Say that nothing of this object has a bearing on what is asked."""
        self._notes.whole.add(self._path)

    def afresh(self) -> View:
        """The same object, of which nobody has read anything yet."""
        return View(self._data, self._path)

    def path_of(self, key: str) -> str:
        """How messages name a field: ``spec.http[0].match[1].sourceLabels``."""
        return written((*self._path, key))

    def unread(self) -> list[str]:
        """Paths of the fields below this one that nobody has read, sorted."""
        return [written(p) for p in leaves(self._data, self._path) if not self._notes.covers(p)]

    def closed(self) -> list[str]:
        """As :meth:`unread`, but a part of a list of which nobody has read anything is named as a whole."""
        seen = self._notes.read | self._notes.whole
        paths = [path for path in leaves(self._data, self._path) if not self._notes.covers(path)]
        parts = [next((n for n, one in enumerate(path, 1) if isinstance(one, int)), len(path)) for path in paths]
        whole = [not any(one[:n] == path[:n] for one in seen) for path, n in zip(paths, parts, strict=True)]
        named = (path[:n] if one else path for path, n, one in zip(paths, parts, whole, strict=True))
        return list(dict.fromkeys(written(path) for path in named))

    @property
    def data(self) -> Mapping[str, Any]:
        """What is looked at, as it is."""
        return self._data

    @property
    def touched(self) -> bool:
        """Whether any field of the object's spec has been read."""
        return any(path[0] == "spec" for path in self._notes.read | self._notes.whole)


def _seen(value: Any, path: Path, notes: Notes) -> Any:
    if isinstance(value, PLAIN):  # most values are, and the questions below take several times as long
        notes.read.add(path)
        return value
    if isinstance(value, Mapping):
        if not value:
            notes.read.add(path)
        return View(value, path, notes)
    if isinstance(value, Sequence) and not isinstance(value, str) and value:
        return [_seen(one, (*path, number), notes) for number, one in enumerate(value)]
    notes.read.add(path)
    return value


def one_holds(parts: Sequence[View], holds: Callable[[View], bool]) -> bool:
    """Whether one of several alternatives holds.

    One that holds and is read as a whole is enough, so that the others have no bearing. If there is none, what those that hold
    leave unread stays so.
    """
    # By flags: to compare two views would read them.
    held = [(part, holds(part)) for part in parts]
    whole = any(holding and not part.unread() for part, holding in held)
    for part, holding in held:
        if whole or not holding:
            part.accept_all()
    return any(holding for _, holding in held)


def leaves(value: Any, path: Path = ()) -> Iterator[Path]:
    """Paths of all plain values, empty objects and empty lists."""
    if isinstance(value, Mapping) and value:
        for key, one in value.items():
            yield from leaves(one, (*path, key))
    elif isinstance(value, Sequence) and not isinstance(value, str) and value:
        for number, one in enumerate(value):
            yield from leaves(one, (*path, number))
    else:
        yield path


def written(path: Path) -> str:
    """``spec.http[0].timeout``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def title(item: Mapping[str, Any]) -> str:
    """How messages name an object: ``VirtualService reviews``."""
    return f"{item['kind']} {item['metadata']['name']}"


def viewed(objects: Sequence[Mapping[str, Any]]) -> list[View]:
    """The same objects, each with new notes of its own."""
    return [View(o.data if isinstance(o, View) else o) for o in objects]


def not_modelled(objects: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Fields that nobody has read of the rules that were read: ``VirtualService reviews: spec.http[0].timeout``."""
    return tuple(
        f"{title(o)}: {path}"
        for o in objects
        if isinstance(o, View) and o["kind"] in KINDS and o.touched and isinstance(o["spec"], View)
        for path in (o["spec"].closed() if o["kind"] in EXTENSIONS else o["spec"].unread())
    )
