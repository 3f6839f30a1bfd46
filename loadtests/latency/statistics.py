"""Latency of requests that start when they are due, even if earlier ones are still open. Pure: nothing is sent here.

A client that waits for a response before it sends again is silent while the server stalls, so a stall of seconds shows up as a
single slow request (coordinated omission). Here every request has an intended start, and its latency counts from then.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

QUANTILES = (0.5, 0.9, 0.99, 0.999)
FACTOR = 1.25
"""Ratio of one step's rate to the previous one's."""


@dataclass(frozen=True)
class Request:
    """One request; times in seconds on one clock."""

    due: float
    began: float
    ended: float
    failed: bool


@dataclass(frozen=True)
class Hop:
    """One hop in one time span; times in milliseconds."""

    name: str
    requests: int
    errors: int
    """Responses with 5xx, and connections that neither end closed on purpose."""
    rate: float
    """Requests per second that arrived."""
    latency: dict[str, float]
    """As measured by its own proxy: p50, p90, p99, p99.9, max."""
    in_flight: float
    """Average number of requests in flight (Little's law)."""
    cores: float | None
    """CPU cores of its workload; None if the kubelet has too few samples."""
    proxy_cores: float | None
    """CPU cores of its proxy."""


@dataclass(frozen=True)
class Step:
    """Results at one rate; times in milliseconds."""

    rate: float
    """Requests per second that were due."""
    sent: int
    errors: int
    achieved: float
    """Requests per second that succeeded, up to the last response."""
    waited: int
    """Requests that began more than 10 ms after they were due: no client was free, or the generator was busy."""
    latency: dict[str, float]
    """From when they were due: p50, p90, p99, p99.9, max."""
    service: dict[str, float]
    """From when they were sent, as a closed loop measures it."""
    locust: dict[str, float] = field(default_factory=dict)
    """Locust's own statistics of the same requests, which are rounded."""
    hops: tuple[Hop, ...] = ()
    """Figures of each hop, if requested."""


def due_times(rate: float, seconds: float, seed: int | None) -> Iterator[float]:
    """Intended starts in seconds from the beginning: evenly spaced, or random (Poisson) with a seed.

    :param rate: requests per second
    """
    if seed is None:
        yield from (number / rate for number in range(math.ceil(round(rate * seconds, 6))))
        return
    chance = random.Random(seed)  # noqa: S311 - repeatable arrivals, not a secret
    at = 0.0
    while at < seconds:
        yield at
        at += chance.expovariate(rate)


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """Nearest-rank quantiles and maximum in milliseconds, of times in seconds; nan if there are none."""
    ordered = sorted(values)
    ranks = {f"p{q * 100:g}": math.ceil(q * len(ordered)) - 1 for q in QUANTILES} | {"max": len(ordered) - 1}
    return {name: round(ordered[rank] * 1000, 2) if ordered else math.nan for name, rank in ranks.items()}


def summary(rate: float, requests: Sequence[Request], began: float) -> Step:
    """Results at one rate.

    :param began: when the first request was due
    """
    good = [r for r in requests if not r.failed]
    lasted = max((r.ended for r in requests), default=began) - began
    return Step(
        rate=rate, sent=len(requests), errors=len(requests) - len(good),
        achieved=round(len(good) / lasted, 2) if lasted else 0.0,
        waited=sum(r.began - r.due > 0.01 for r in requests),
        latency=quantiles([r.ended - r.due for r in requests]), service=quantiles([r.ended - r.began for r in requests]),
    )  # fmt: skip


def broken(step: Step, p99: float | None, errors: float) -> str:
    """Why a step missed the service level; empty if it met it.

    :param p99: limit in milliseconds from when requests were due; None for no limit
    :param errors: share of requests that may fail, fraction of 1
    """
    if step.errors > errors * step.sent:
        return f"{step.errors} of {step.sent} requests failed"
    if p99 is not None and not step.latency["p99"] <= p99:
        return f"p99 is {step.latency['p99']:.0f} ms, more than {p99:g} ms"
    return ""


def next_rate(steps: Sequence[Step], most: float) -> float | None:
    """The rate to try after ``steps``, which all met the service level; None if the highest rate is reached."""
    rate = steps[-1].rate * FACTOR
    return rate if rate <= most else None


def table(steps: Sequence[Step]) -> list[str]:
    """A table of the steps, as text lines."""
    head = f"{'rate/s':>8} {'answered/s':>10} {'errors':>7} {'':8} " + " ".join(f"{n:>9}" for n in (*_names(),))
    lines = [head]
    for step in steps:
        for name, times in (("from due", step.latency), ("service", step.service), ("Locust", step.locust)):
            first = f"{step.rate:>8.1f} {step.achieved:>10.1f} {step.errors:>7}" if name == "from due" else " " * 27
            lines.append(f"{first} {name:8} " + " ".join(f"{times.get(n, math.nan):>6.1f} ms" for n in _names()))
    return lines


def table_of_hops(step: Step) -> list[str]:
    """A table of the hops at one rate, as text lines."""

    def shown(number: float | None) -> str:
        return "?" if number is None else f"{number:.2f}"

    lines = [f"{'hop':28} {'requests/s':>10} {'errors':>7} {'p50':>9} {'p99':>9} {'in flight':>10} {'cores':>6} {'proxy':>6}"]
    for hop in step.hops:
        times = " ".join(f"{hop.latency[name]:>6.0f} ms" for name in ("p50", "p99"))
        first = f"{hop.name:28} {hop.rate:>10.1f} {hop.errors:>7} {times}"
        lines.append(f"{first} {hop.in_flight:>10.2f} {shown(hop.cores):>6} {shown(hop.proxy_cores):>6}")
    return lines


def by_locust(percentile: Callable[[float], float]) -> dict[str, float]:
    """The same quantiles from ``percentile``, which takes fractions of 1 and returns milliseconds."""
    return {f"p{q * 100:g}": percentile(q) for q in QUANTILES} | {"max": percentile(1.0)}


def _names() -> tuple[str, ...]:
    return (*(f"p{q * 100:g}" for q in QUANTILES), "max")
