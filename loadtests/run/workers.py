"""Workers of a run on several machines, and what is not known once one of them is lost. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Workers:
    """The workers of one run.

    What a lost one sent since its last report is counted by nobody on this side. That makes no answer a wrong one, so a verdict
    on answers stands, and other sources may differ by so much.
    """

    known: dict[str, int] = field(default_factory=dict)
    """Name -> the most users that it had."""
    lost: dict[str, int] = field(default_factory=dict)
    """Name -> how many of its requests may not be counted."""

    def look(self, here: Mapping[str, int], each: float) -> list[str]:
        """Compare with those that are here now; the names of those that have been lost since the last look.

        :param here: name -> users; one that has just come has none yet
        :param each: requests that one user may have sent and not reported
        """
        gone = sorted(self.known.keys() - here.keys() - self.lost.keys())
        self.lost |= {name: math.ceil(self.known[name] * each) for name in gone}
        self.known |= {name: max(users, self.known.get(name, 0)) for name, users in here.items()}
        return gone

    @property
    def uncounted(self) -> int:
        """Requests that may not be counted, of all that were lost."""
        return sum(self.lost.values())

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a reader of the verdict should know."""
        return tuple(f"worker {name} was lost: up to {n} of its requests are not counted" for name, n in self.lost.items())
