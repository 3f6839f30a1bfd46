"""Latency of requests that start when they are due, whether or not earlier ones have been answered. Pure: no requests here.

A client that waits for an answer before it sends again is silent while the other side stalls, so a stall of seconds shows
as one slow request (coordinated omission). Here every request has an intended start, and its latency counts from there.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

QUANTILES = (0.5, 0.9, 0.99, 0.999)
FACTOR = 1.25
"""Of one step's rate to the next one's."""


@dataclass(frozen=True)
class Request:
    """One request; times in seconds on one clock."""

    due: float
    began: float
    ended: float
    failed: bool


@dataclass(frozen=True)
class Step:
    """What came of one rate; times in milliseconds."""

    rate: float
    """Requests per second that were due."""
    sent: int
    errors: int
    achieved: float
    """Requests per second that were answered without an error, until the last answer."""
    waited: int
    """Requests that began more than 10 ms after they were due: no client was free, or this side had no time for them."""
    latency: dict[str, float]
    """From when they were due: p50, p90, p99, p99.9, max."""
    service: dict[str, float]
    """From when they were sent, as a closed loop measures."""
    locust: dict[str, float] = field(default_factory=dict)
    """Locust's own statistics of the same requests, which round."""
    hops: tuple[Any, ...] = ()
    """What each hop of the way did meanwhile (``hops.Hop``), where that was asked for."""


def due_times(rate: float, seconds: float, seed: int | None) -> Iterator[float]:
    """Intended starts in seconds from the beginning: evenly spread, or with a seed at random (Poisson).

    :param rate: requests per second
    """
    if seed is None:
        yield from (number / rate for number in range(math.ceil(round(rate * seconds, 6))))
        return
    chance = random.Random(seed)  # noqa: S311 - arrivals that can be repeated, no secret
    at = 0.0
    while at < seconds:
        yield at
        at += chance.expovariate(rate)


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """Nearest-rank quantiles and the maximum of times in seconds, in milliseconds; nan where there are none."""
    ordered = sorted(values)
    ranks = {f"p{q * 100:g}": math.ceil(q * len(ordered)) - 1 for q in QUANTILES} | {"max": len(ordered) - 1}
    return {name: round(ordered[rank] * 1000, 2) if ordered else math.nan for name, rank in ranks.items()}


def summary(rate: float, requests: Sequence[Request], began: float) -> Step:
    """What came of one rate.

    :param began: when its first request was due
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
    """Why a step does not hold the service level; empty where it does.

    :param p99: milliseconds from when they were due; None for any
    :param errors: share of requests that may fail, fraction of 1
    """
    if step.errors > errors * step.sent:
        return f"{step.errors} of {step.sent} requests failed"
    if p99 is not None and not step.latency["p99"] <= p99:
        return f"p99 is {step.latency['p99']:.0f} ms, more than {p99:g} ms"
    return ""


def next_rate(steps: Sequence[Step], most: float) -> float | None:
    """The rate to try after ``steps``, all of which held the service level; None when there is nothing more to try."""
    rate = steps[-1].rate * FACTOR
    return rate if rate <= most else None


def table(steps: Sequence[Step]) -> list[str]:
    """Lines for a person."""
    head = f"{'rate/s':>8} {'answered/s':>10} {'errors':>7} {'':8} " + " ".join(f"{n:>9}" for n in (*_names(),))
    lines = [head]
    for step in steps:
        for name, times in (("from due", step.latency), ("service", step.service), ("Locust", step.locust)):
            first = f"{step.rate:>8.1f} {step.achieved:>10.1f} {step.errors:>7}" if name == "from due" else " " * 27
            lines.append(f"{first} {name:8} " + " ".join(f"{times.get(n, math.nan):>6.1f} ms" for n in _names()))
    return lines


def table_of_hops(step: Step) -> list[str]:
    """Lines for a person: the hops at one rate."""

    def said(number: float | None) -> str:
        return "?" if number is None else f"{number:.2f}"

    lines = [f"{'hop':28} {'requests/s':>10} {'errors':>7} {'p50':>9} {'p99':>9} {'under way':>10} {'cores':>6} {'proxy':>6}"]
    for hop in step.hops:
        times = " ".join(f"{hop.latency[name]:>6.0f} ms" for name in ("p50", "p99"))
        first = f"{hop.name:28} {hop.rate:>10.1f} {hop.errors:>7} {times}"
        lines.append(f"{first} {hop.under_way:>10.2f} {said(hop.cores):>6} {said(hop.proxy_cores):>6}")
    return lines


def by_locust(percentile: Callable[[float], float]) -> dict[str, float]:
    """The same quantiles, as ``percentile`` tells them for fractions of 1, in milliseconds."""
    return {f"p{q * 100:g}": percentile(q) for q in QUANTILES} | {"max": percentile(1.0)}


def _names() -> tuple[str, ...]:
    return (*(f"p{q * 100:g}" for q in QUANTILES), "max")
