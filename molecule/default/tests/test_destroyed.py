"""After ``make destroy``: this host as it was before the lab."""

from __future__ import annotations

import json

from tests import lab


def test_destroy_leaves_nothing_behind() -> None:
    before = set(json.loads((lab.PROJECT / "build/traces.json").read_text()))
    assert lab.traces() - before == set()
    assert not lab.STATE.exists()
