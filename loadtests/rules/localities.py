"""Which pods calls reach where a DestinationRule looks at the place of caller and pods: their region, zone and subzone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from loadtests.rules.expectations import NoExpectationError, NotModelledError, Shares, is_running, namespace_of, of_kind
from loadtests.rules.responses import Request, only
from loadtests.rules.routing import accept_inert
from loadtests.rules.straight import Straight, straight_to
from loadtests.rules.subsets import selected
from loadtests.rules.view import View

LABELS = ("topology.istio.io/locality", "istio-locality")
"""Labels that say where a pod is, whatever its node says; the first one counts."""
FAIR = ("ROUND_ROBIN", "RANDOM")
"""Load balancers by which each pod of a place gets as many calls as another one."""

Place = tuple[str, str, str]
"""Region, zone, subzone."""
Pods = Mapping[Place, Counter[str]]
"""How many pods each app has in each place."""


def _split(text: str) -> Place:
    region, zone, subzone = (*text.split("/", 2), "", "")[:3]
    return region, zone, subzone


def place_of(labels: Mapping[str, str]) -> Place | None:
    """Where a pod is by its labels; None if they do not say it."""
    text = next((str(labels[name]) for name in LABELS if labels.get(name)), "")
    return _split(text if "/" in text else text.replace(".", "/")) if text else None


def is_in(place: Place, pattern: str) -> bool:
    """Whether a rule's words for places are for one of them: ``lab/a/*``, ``lab/a``, ``*``."""
    region, *narrower = _split(pattern)
    fits = (wanted in ("", "*", part) for wanted, part in zip(narrower, place[1:], strict=True))
    return region in ("*", place[0]) and all(fits)


def distance(caller: Place, place: Place) -> int:
    """How far away a place is: 0 is the caller's own, 1 its zone, 2 its region, 3 another one."""
    return next((3 - known for known in (3, 2, 1) if caller[:known] == place[:known]), 3)


def near(objects: Sequence[View], request: Request) -> Shares:
    """Share of the calls that each app's pods get, by the places where they are; none of them fails.

    :param request: ``call``; the service: ``app``, ``namespace``, ``port``
    :raises NoExpectationError: if nothing takes the call, or no rule looks at places
    :raises NotModelledError: if calls may go elsewhere, a place is not known, or it is up to chance what a rule means
    """
    led = straight_to(objects, request)
    accept_inert(led.taken)  # whatever is tried again is answered alike
    found = _located(objects, request, led)
    rule, setting, pods = led.rule, found.setting, found.pods
    if "distribute" in setting:
        shares = _distributed(rule, setting, found.caller, pods)
    else:
        ranks = _ranks(rule, found, "outlierDetection" in led.settings)
        shares = {_only_place(rule, ranks, min(ranks.values())): 1.0}
    if any(len(apps) > 1 for place, apps in pods.items() if shares.get(place)) and found.balancer.get("simple") not in FAIR:
        raise NotModelledError(f"{rule}: {found.balancer.path_of('simple')}")
    found.balancer.accept("simple")
    if "outlierDetection" in led.settings:
        led.settings["outlierDetection"].accept_all()  # no pod fails
    made: Shares = {}
    for place, share in shares.items():
        for app, number in pods[place].items():
            made[app] = made.get(app, 0.0) + share * number / pods[place].total()
    return only(made)


@dataclass(frozen=True)
class Fallback:
    """How many pods each app has in the nearest place, in the one that takes over while no pod there is well, and in all."""

    near: Counter[str]
    far: Counter[str]
    pods: int


def fallback(objects: Sequence[View], request: Request) -> Fallback:
    """Who answers calls, and who takes over.

    :param request: as :func:`near` has it
    :raises NoExpectationError: if nothing takes the call, no rule looks at places, or none takes over
    :raises NotModelledError: if calls may go elsewhere, or it is not known which place is nearer
    """
    led = straight_to(objects, request)
    found = _located(objects, request, led)
    if "distribute" in found.setting:
        raise NotModelledError(f"{led.rule}: {found.setting.path_of('distribute')}")
    ranks = _ranks(led.rule, found, "outlierDetection" in led.settings)
    nearest = sorted(set(ranks.values()))[:2]
    if len(nearest) < 2:
        raise NoExpectationError(f"{led.rule}: no pod is in a place that could take over")
    near, far = (found.pods[_only_place(led.rule, ranks, rank)] for rank in nearest)
    return Fallback(near, far, sum(apps.total() for apps in found.pods.values()))


@dataclass(frozen=True)
class _Located:
    """What a rule says of places, and where caller and pods are."""

    balancer: View
    setting: View
    caller: Place
    pods: Pods


def _located(objects: Sequence[View], request: Request, led: Straight) -> _Located:
    balancer = led.settings.get("loadBalancer", View({}))
    setting = balancer.get("localityLbSetting")
    if setting is None or setting.get("enabled", True) is False:
        raise NoExpectationError(f"{led.rule} says nothing about localities")
    caller = _place_of_caller(objects, request)
    return _Located(balancer, setting, caller, _places(led.rule, selected(objects, led.service, View({}))))


def _place_of_caller(objects: Sequence[View], request: Request) -> Place:
    caller = request["call"].caller
    running = [
        {name: str(value) for name, value in (pod["metadata"].get("labels") or {}).items()}
        for pod in of_kind(objects, "Pod")
        if namespace_of(pod) == caller.namespace and is_running(pod)
    ]
    places = {place_of(labels) for labels in running if caller.labels.items() <= labels.items()}
    if len(places) != 1 or (place := places.pop()) is None:
        raise NotModelledError(f"the place of {caller.labels.get('app', 'the caller')}")
    return place


def _places(rule: str, labels: Sequence[Mapping[str, str]]) -> Pods:
    if not labels:
        raise NoExpectationError(f"{rule}: its service has no running pod")
    pods: dict[Place, Counter[str]] = {}
    for one in labels:
        place = place_of(one)
        if place is None:
            raise NotModelledError(f"{rule}: the place of {one.get('app', 'a pod')}")
        pods.setdefault(place, Counter())[str(one.get("app", ""))] += 1
    return pods


def _distributed(rule: str, setting: View, caller: Place, pods: Pods) -> dict[Place, float]:
    """Share of each place by the first distribution for the caller's."""
    chosen = next((one for one in setting["distribute"] if is_in(caller, str(one["from"]))), None)
    if chosen is None:
        raise NotModelledError(f"{rule}: {setting.path_of('distribute')}")
    for one in setting["distribute"]:
        if one is not chosen:
            one.accept_all()
    setting.accept("enabled")
    weights = chosen["to"]
    wanted = {str(pattern): float(weights[pattern]) for pattern in weights}
    matching = {place: [pattern for pattern in wanted if is_in(place, pattern)] for place in pods}
    for pattern in wanted:
        # istiod takes patterns in no order, and rounds what several places share.
        if sum(pattern in patterns for patterns in matching.values()) > 1:
            raise NotModelledError(f"{rule}: {chosen.path_of('to')}")
    if any(len(patterns) > 1 for patterns in matching.values()):
        raise NotModelledError(f"{rule}: {chosen.path_of('to')}")
    reached = {place: wanted[patterns[0]] for place, patterns in matching.items() if patterns}
    if not sum(reached.values()):
        raise NoExpectationError(f"{rule}: no pod is where {chosen.path_of('to')} sends the calls")
    # A weight of 0 leaves the number of pods as the weight.
    if not all(reached.values()):
        raise NotModelledError(f"{rule}: {chosen.path_of('to')}")
    return {place: weight / sum(reached.values()) for place, weight in reached.items()}


def _ranks(rule: str, found: _Located, detects: bool) -> dict[Place, int]:
    """How far away each place is, as priorities have it: calls are for the nearest ones, as long as pods there are well."""
    setting, caller = found.setting, found.caller
    if not detects:
        raise NoExpectationError(f"{rule} has no outlierDetection, without which nothing fails over")
    if "failoverPriority" in setting:
        raise NotModelledError(f"{rule}: {setting.path_of('failoverPriority')}")
    setting.accept("enabled")
    far = list(_farther(setting, caller))
    ranks = {place: distance(caller, place) for place in found.pods}
    for place, rank in ranks.items():
        if rank == 3 and far and place[0] != far[0]:
            ranks[place] = 4
    return ranks


def _only_place(rule: str, ranks: Mapping[Place, int], wanted: int) -> Place:
    """The place of a rank."""
    found = [place for place, rank in ranks.items() if rank == wanted]
    if len(found) > 1:
        raise NotModelledError(f"{rule}: several places are equally near")
    return found[0]


def _farther(setting: View, caller: Place) -> Iterator[str]:
    """The region that takes over from the caller's, if a rule says which."""
    for one in setting.get("failover", []):
        if one["from"] == caller[0]:
            yield str(one["to"])
        else:
            one.accept_all()
