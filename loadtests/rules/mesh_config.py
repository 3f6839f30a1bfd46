"""Settings of the whole mesh (``meshConfig``): those that bear on expectations, and the short lists of those that do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from loadtests.rules.calls import Mesh
from loadtests.rules.view import View

KIND, PROXIES = "MeshConfig", "ProxyConfig"
INERT = (
    "accessLogEncoding", "accessLogFile", "accessLogFormat", "connectTimeout", "defaultProviders", "disableEnvoyListenerLog",
    "dnsRefreshRate", "enableEnvoyAccessLogService", "enablePrometheusMerge", "enableTracing", "extensionProviders",
    "hboneIdleTimeout", "tcpKeepalive",
)  # fmt: skip
"""Settings about logs, traces, metrics, and connections that nobody uses; providers have an effect where a rule names them."""
INERT_IN_PROXIES = (
    "binaryPath", "concurrency", "configPath", "discoveryAddress", "drainDuration", "extraStatTags", "fileFlushInterval",
    "fileFlushMinSizeKb", "holdApplicationUntilProxyStarts", "image", "meshId", "proxyStatsMatcher", "readinessProbe",
    "serviceCluster", "statsCompression", "terminationDrainDuration", "tracing",
)  # fmt: skip
"""Likewise, of ``defaultConfig``."""
INERT_IN_RULES = ("image", "selector")
"""Likewise, of a ProxyConfig, whichever pods it is for. Its variables may be settings of the proxy, and stay unread."""
DEFAULTS: Mapping[str, Sequence[Any]] = {
    "defaultDestinationRuleExportTo": (["*"],),
    "defaultServiceExportTo": (["*"],),
    "defaultVirtualServiceExportTo": (["*"],),
    "enableAutoMtls": (True,),
    "inboundTrafficPolicy": ({"mode": "PASSTHROUGH"},),
    "ingressClass": ("istio",),
    "ingressControllerMode": ("STRICT",),
    "ingressService": ("istio-ingressgateway",),
    "localityLbSetting": ({"enabled": True},),
    "protocolDetectionTimeout": ("0s",),
    "rootNamespace": ("istio-system",),
    "trustDomain": ("cluster.local",),
}
"""Values that say what istiod does, and the lab expects, anyway."""
LOG_FORMAT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% '
    '%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% '
    '%BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" '
    '"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% '
    "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%"
)
"""Istio's default format of access logs."""
EMPTY: Sequence[Any] = (None, "", {}, [])
RETRIES = ("attempts", "backoff", "retryIgnorePreviousHosts", "retryOn", "retryRemoteLocalities")
"""What says when something is tried again: without a bearing where no answer fails, and read where one does."""


def as_object(config_map: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as an object like that of a rule.

    :param config_map: ``istio`` of the root namespace
    :raises ValueError: if they are no YAML
    """
    try:
        mesh, networks = (yaml.safe_load(config_map.get("data", {}).get(key, "")) or {} for key in ("mesh", "meshNetworks"))
    except yaml.YAMLError as error:
        raise ValueError(f"ConfigMap {config_map['metadata']['name']}: {' '.join(str(error).split())}") from error
    beside = {"meshNetworks": networks["networks"]} if networks.get("networks") else {}
    return {"kind": KIND, "metadata": config_map["metadata"], "spec": {**mesh, **beside}}


def mesh_of(objects: Sequence[View]) -> Mesh:
    """The settings that bear on routing; Istio's defaults where the objects say none.

    Settings without a bearing are accepted. What is left of the others stays unread.
    """
    spec = _spec_of(objects)
    if spec is None:
        return Mesh()
    _accept(spec, (*INERT, *(name for name, values in DEFAULTS.items() if spec.data.get(name) in values)))
    if isinstance(config := spec.get("defaultConfig"), View):
        _accept(config, INERT_IN_PROXIES)
    retries, outside = spec.get("defaultHttpRetryPolicy"), spec.get("outboundTrafficPolicy")
    if isinstance(retries, View):
        accept_retries(retries)
    modes = {"ALLOW_ANY": True, "REGISTRY_ONLY": False}
    allow_any = True
    if isinstance(outside, View) and outside.data.get("mode") in modes:
        allow_any = modes[outside["mode"]]
    return Mesh(allow_any=allow_any, retries=retries if isinstance(retries, View) else None)


def read_proxies(objects: Sequence[View], namespace: str) -> None:
    """Read the ProxyConfigs that may be for pods of a namespace, or for a gateway in the root namespace.

    :param namespace: whose pods call and are called
    """
    for one in objects:
        if one["kind"] == PROXIES:
            near = str(one["metadata"].get("namespace", namespace)) in (namespace, Mesh().root_namespace)
            if not near:
                one["spec"].accept_all()
                continue
            one["spec"].accept(*INERT_IN_RULES)
            # Pods whose load balancers take turns say themselves how many threads do so; only a selector overrules that.
            if not (one["spec"].data.get("selector") or {}).get("matchLabels"):
                one["spec"].accept("concurrency")


def accept_retries(retries: View) -> None:
    """Say that retries have no bearing where no answer fails; a time for each attempt may cut one off, and stays unread."""
    retries.accept(*RETRIES, *(() if int(retries.data.get("attempts", 0)) > 0 else ("perTryTimeout",)))


def is_mtls_automatic(objects: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a proxy encrypts what the callee takes encrypted, where no DestinationRule says."""
    spec = _spec_of(objects)
    return spec is None or bool(spec.get("enableAutoMtls", True))


def providers_of(objects: Sequence[Mapping[str, Any]]) -> set[str] | None:
    """The names of the providers that rules may refer to; None if the objects do not tell."""
    spec = _spec_of(objects)
    return None if spec is None else {str(one["name"]) for one in spec.get("extensionProviders") or []}


def tracing_provider_of(objects: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any] | None:
    """The provider that traces go to: the named one, or the mesh's default one; None if there is none."""
    spec = _spec_of(objects) or View({})
    wanted = name or next(iter((spec.get("defaultProviders") or {}).get("tracing") or []), "")
    return next((one for one in spec.get("extensionProviders") or [] if one["name"].lower() == wanted.lower()), None)


def log_setting_of(objects: Sequence[Mapping[str, Any]]) -> str:
    """The setting by which access logs have other fields, or others' order, than Istio's default; '' if none does."""
    spec = _spec_of(objects)
    if spec is None:
        return ""
    if spec.get("accessLogEncoding", "TEXT") != "TEXT":
        return "accessLogEncoding"
    return "" if str(spec.get("accessLogFormat", "")).strip() in ("", LOG_FORMAT) else "accessLogFormat"


def _spec_of(objects: Sequence[Mapping[str, Any]]) -> View | None:
    spec = next((o["spec"] for o in objects if o["kind"] == KIND), None)
    return View(spec) if spec is not None and not isinstance(spec, View) else spec


def _accept(settings: View, inert: Sequence[str]) -> None:
    settings.accept(*inert, *(name for name, value in settings.data.items() if value in EMPTY))
