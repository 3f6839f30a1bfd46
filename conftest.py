"""Settings for every pytest run: the choice of a tier."""

from __future__ import annotations

from tests.tiers import deselect as pytest_collection_modifyitems

__all__ = ["pytest_collection_modifyitems"]
