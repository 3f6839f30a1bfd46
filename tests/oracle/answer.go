package main

import (
	"sort"
	"strings"

	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	fault "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	xdstype "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc/codes"

	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pkg/util/grpc"
	"istio.io/istio/pkg/wellknown"
)

// Why a call is sent to no destination.
const (
	notFound    = "404"
	closed      = "closed"
	passthrough = "passthrough"
	blackhole   = "blackhole"
)

// Answer is what the mesh does with one call: one of Destinations, Redirect, Direct, NoRoute and Error; and how.
type Answer struct {
	Destinations []Destination `json:"destinations,omitempty"`
	Redirect     *Redirect     `json:"redirect,omitempty"`
	Direct       *Direct       `json:"direct,omitempty"`
	NoRoute      string        `json:"no_route,omitempty"`
	// Error says that nothing listens, or that the oracle cannot tell.
	Error   string        `json:"error,omitempty"`
	Fault   *Fault        `json:"fault,omitempty"`
	Timeout float64       `json:"timeout,omitempty"`
	Retries *Retries      `json:"retries,omitempty"`
	Mirrors []Destination `json:"mirrors,omitempty"`
	Rewrite *Rewrite      `json:"rewrite,omitempty"`
	// Via is the way that the call took, for whoever looks into a disagreement.
	Via string `json:"via"`
}

// Destination is where a share of the calls goes.
type Destination struct {
	Host   string  `json:"host"`
	Subset string  `json:"subset"`
	Port   int     `json:"port"`
	Share  float64 `json:"share"`
	// Missing says that the proxy has no such cluster: these calls fail.
	Missing bool `json:"missing,omitempty"`
}

// Redirect has only the parts that change.
type Redirect struct {
	Code      int    `json:"code"`
	Authority string `json:"authority,omitempty"`
	Path      string `json:"path,omitempty"`
	Scheme    string `json:"scheme,omitempty"`
	Port      int    `json:"port,omitempty"`
}

// Direct is an answer of the proxy's own.
type Direct struct {
	Status int    `json:"status"`
	Body   string `json:"body"`
}

// Fault has shares as fractions of 1, and the delay in seconds.
type Fault struct {
	Delay      float64 `json:"delay"`
	DelayShare float64 `json:"delay_share"`
	HTTPStatus int     `json:"http_status,omitempty"`
	GRPCStatus string  `json:"grpc_status,omitempty"`
	AbortShare float64 `json:"abort_share"`
}

// Retries are absent where nothing is tried again; PerTry is in seconds, 0 for no limit.
type Retries struct {
	Attempts int      `json:"attempts"`
	PerTry   float64  `json:"per_try,omitempty"`
	RetryOn  []string `json:"retry_on"`
}

// Rewrite has only the parts that change; URI is the whole path.
type Rewrite struct {
	Authority string `json:"authority,omitempty"`
	URI       string `json:"uri,omitempty"`
}

// destinations are clusters by weight, sorted by name.
func (p *proxy) destinations(weights map[string]uint32) []Destination {
	total, made := uint32(0), []Destination{}
	for _, weight := range weights {
		total += weight
	}
	for name, weight := range weights {
		_, subset, host, port := model.ParseSubsetKey(name)
		made = append(made, Destination{string(host), subset, port, float64(weight) / float64(total), !p.clusters[name]})
	}
	sort.Slice(made, func(i, j int) bool {
		a, b := made[i], made[j]
		return a.Host < b.Host || a.Host == b.Host && (a.Subset < b.Subset || a.Subset == b.Subset && a.Port < b.Port)
	})
	return made
}

// sent is the answer for clusters by weight; two of Istio's stand for hosts that the proxy does not know.
func (p *proxy) sent(weights map[string]uint32) Answer {
	for name := range weights {
		switch name {
		case "PassthroughCluster", "InboundPassthroughCluster":
			return Answer{NoRoute: passthrough}
		case "BlackHoleCluster":
			return Answer{NoRoute: blackhole}
		}
	}
	return Answer{Destinations: p.destinations(weights)}
}

// routed is the answer of a virtual host, or of none.
func (p *proxy) routed(host *route.VirtualHost, call Call) Answer {
	if host.GetRequireTls() == route.VirtualHost_ALL && call.Scheme != "https" {
		return Answer{Redirect: &Redirect{Code: 301, Scheme: "https"}}
	}
	for _, one := range host.GetRoutes() {
		if matches(one.GetMatch(), call) {
			return p.taken(host, one, call)
		}
	}
	return Answer{NoRoute: notFound}
}

func (p *proxy) taken(host *route.VirtualHost, one *route.Route, call Call) Answer {
	var made Answer
	switch action := one.GetAction().(type) {
	case *route.Route_Redirect:
		made.Redirect = redirected(action.Redirect, one.GetMatch(), call)
	case *route.Route_DirectResponse:
		status := int(action.DirectResponse.GetStatus())
		// Istio's answers for hosts that are not known, and for a gateway's port that no rule is bound to.
		switch {
		case host.Name == "block_all":
			return Answer{NoRoute: blackhole}
		case strings.HasPrefix(host.Name, "blackhole:"):
			return Answer{NoRoute: notFound}
		}
		body := action.DirectResponse.GetBody()
		made.Direct = &Direct{status, body.GetInlineString() + string(body.GetInlineBytes())}
	case *route.Route_Route:
		made = p.forwarded(action.Route, one.GetMatch(), call)
	default:
		return Answer{Error: "a route without an action"}
	}
	made.Fault = injected(one)
	return made
}

func (p *proxy) forwarded(action *route.RouteAction, match *route.RouteMatch, call Call) Answer {
	weights, rewrite := map[string]uint32{}, &Rewrite{Authority: action.GetHostRewriteLiteral()}
	for _, cluster := range action.GetWeightedClusters().GetClusters() {
		weights[cluster.Name] += cluster.GetWeight().GetValue()
	}
	if name := action.GetCluster(); name != "" {
		weights[name] = 1
	}
	made := p.sent(weights)
	if made.NoRoute != "" {
		return made
	}
	made.Timeout = action.GetTimeout().AsDuration().Seconds()
	if policy := action.GetRetryPolicy(); policy != nil {
		made.Retries = retried(policy)
	}
	for _, mirror := range action.GetRequestMirrorPolicies() {
		to := p.destinations(map[string]uint32{mirror.Cluster: 1})[0]
		to.Share = fraction(mirror.GetRuntimeFraction().GetDefaultValue())
		made.Mirrors = append(made.Mirrors, to)
	}
	if prefix := action.GetPrefixRewrite(); prefix != "" {
		rewrite.URI = prefixed(match, call.URI, prefix)
	} else if pattern := action.GetRegexRewrite(); pattern != nil {
		rewrite.URI = substituted(pattern.GetPattern().GetRegex(), call.URI, pattern.GetSubstitution())
	}
	if *rewrite != (Rewrite{}) {
		made.Rewrite = rewrite
	}
	return made
}

func retried(policy *route.RetryPolicy) *Retries {
	made := &Retries{Attempts: 1, PerTry: policy.GetPerTryTimeout().AsDuration().Seconds(), RetryOn: strings.Split(policy.GetRetryOn(), ",")}
	if policy.NumRetries != nil {
		made.Attempts = int(policy.NumRetries.Value)
	}
	for _, code := range policy.GetRetriableStatusCodes() {
		made.RetryOn = append(made.RetryOn, number(code))
	}
	return made
}

func redirected(action *route.RedirectAction, match *route.RouteMatch, call Call) *Redirect {
	codes := map[route.RedirectAction_RedirectResponseCode]int{
		route.RedirectAction_MOVED_PERMANENTLY: 301, route.RedirectAction_FOUND: 302, route.RedirectAction_SEE_OTHER: 303,
		route.RedirectAction_TEMPORARY_REDIRECT: 307, route.RedirectAction_PERMANENT_REDIRECT: 308,
	}
	made := &Redirect{
		Code: codes[action.GetResponseCode()], Authority: action.GetHostRedirect(), Path: action.GetPathRedirect(),
		Scheme: action.GetSchemeRedirect(), Port: int(action.GetPortRedirect()),
	}
	if prefix := action.GetPrefixRewrite(); prefix != "" {
		made.Path = prefixed(match, call.URI, prefix)
	}
	if action.GetHttpsRedirect() {
		made.Scheme = "https"
	}
	return made
}

// injected are the faults of a route; nil where it has none.
func injected(one *route.Route) *Fault {
	packed := one.GetTypedPerFilterConfig()[wellknown.Fault]
	if packed == nil {
		return nil
	}
	read := &fault.HTTPFault{}
	if err := packed.UnmarshalTo(read); err != nil {
		panic(err)
	}
	made := &Fault{
		Delay:      read.GetDelay().GetFixedDelay().AsDuration().Seconds(),
		DelayShare: fraction(read.GetDelay().GetPercentage()),
		HTTPStatus: int(read.GetAbort().GetHttpStatus()),
		AbortShare: fraction(read.GetAbort().GetPercentage()),
	}
	if _, isGRPC := read.GetAbort().GetErrorType().(*fault.FaultAbort_GrpcStatus); isGRPC {
		for name, code := range grpc.SupportedGRPCStatus {
			if code == codes.Code(read.GetAbort().GetGrpcStatus()) {
				made.GRPCStatus = name
			}
		}
	}
	return made
}

func fraction(percent *xdstype.FractionalPercent) float64 {
	of := map[xdstype.FractionalPercent_DenominatorType]float64{
		xdstype.FractionalPercent_HUNDRED: 100, xdstype.FractionalPercent_TEN_THOUSAND: 10_000, xdstype.FractionalPercent_MILLION: 1_000_000,
	}
	return float64(percent.GetNumerator()) / of[percent.GetDenominator()]
}
