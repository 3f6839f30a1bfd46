package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpproxy "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"

	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/pkg/networking/core"
	"istio.io/istio/pkg/config/constants"
	"istio.io/istio/pkg/config/host"
	"istio.io/istio/pkg/wellknown"
)

// Caller is whose proxy leads the call.
type Caller struct {
	Namespace string            `json:"namespace"`
	Labels    map[string]string `json:"labels"`
	// Gateway is not empty where the proxy is a gateway's.
	Gateway string `json:"gateway"`
}

// Call is one request, or one connection.
type Call struct {
	Caller Caller `json:"caller"`
	// Host is the authority as the client writes it, with or without a port; for TLS the server name.
	Host    string            `json:"host"`
	Port    int               `json:"port"`
	URI     string            `json:"uri"`
	Method  string            `json:"method"`
	Headers map[string]string `json:"headers"`
	Query   map[string]string `json:"query"`
	// Scheme is http, https (a gateway ends TLS), tls (nobody on the way does) or tcp.
	Scheme string `json:"scheme"`
}

// isTLS says whether the connection begins with a TLS handshake.
func (c Call) isTLS() bool {
	return c.Scheme == "https" || c.Scheme == "tls"
}

// name is the host without port, as DNS and server names have it.
func (c Call) name() string {
	name, _, _ := strings.Cut(strings.ToLower(c.Host), ":")
	return name
}

type proxies struct {
	*core.ConfigGenTest
	services map[host.Name]*corev1.Service
	known    map[string]*proxy
}

// proxy is one with all of its configuration.
type proxy struct {
	node      *model.Proxy
	services  map[string]*model.Service
	listeners []*listener.Listener
	clusters  map[string]bool
	routes    map[string]*route.RouteConfiguration
}

// of makes the configuration of a caller's proxy, once.
func (p proxies) of(caller Caller) *proxy {
	key := fmt.Sprint(caller)
	if p.known[key] == nil {
		p.known[key] = p.made(caller)
	}
	return p.known[key]
}

func (p proxies) made(caller Caller) *proxy {
	kind := model.SidecarProxy
	p.MemRegistry.WantGetProxyServiceTargets = []model.ServiceTarget{}
	if caller.Gateway != "" {
		kind = model.Router
		p.MemRegistry.WantGetProxyServiceTargets = p.entrances(caller)
	}
	metadata := &model.NodeMetadata{
		IstioVersion: "1.31.0", Namespace: caller.Namespace, Labels: caller.Labels, ClusterID: constants.DefaultClusterName,
	}
	node := p.SetupProxy(&model.Proxy{Type: kind, ConfigNamespace: caller.Namespace, Labels: caller.Labels, Metadata: metadata})
	made := &proxy{
		node: node, services: map[string]*model.Service{}, listeners: p.Listeners(node), clusters: map[string]bool{},
		routes: map[string]*route.RouteConfiguration{},
	}
	for _, service := range p.Env().ServiceDiscovery.Services() {
		made.services[string(service.Hostname)] = service
	}
	for _, cluster := range p.Clusters(node) {
		made.clusters[cluster.Name] = true
	}
	for _, routes := range p.RoutesFromListeners(node, made.listeners) {
		made.routes[routes.Name] = routes
	}
	return made
}

// address is what DNS gives the caller for a host; one that nothing listens on where the host has no address of its own.
func (p *proxy) address(host string) string {
	for _, search := range []string{"", "." + p.node.ConfigNamespace + ".svc." + domain, ".svc." + domain, "." + domain} {
		if service := p.services[host+search]; service != nil {
			if address := service.GetAddressForProxy(p.node); address != constants.UnspecifiedIP {
				return address
			}
		}
	}
	return "203.0.113.7"
}

// lead takes the call from its listener to its route.
func (p *proxy) lead(call Call) Answer {
	address := p.address(call.name())
	call.Port = p.listens(call.Port)
	from := p.listening(address, call.Port)
	if from == nil && (call.isTLS() || call.Scheme == "tcp") {
		return Answer{NoRoute: closed}
	}
	if from == nil {
		return Answer{Error: "nothing listens"}
	}
	chain := chosenChain(from, call, address)
	if chain == nil && call.isTLS() {
		return Answer{NoRoute: closed, Via: from.Name}
	}
	if chain == nil {
		return Answer{Error: "no filter chain of listener " + from.Name + " takes it"}
	}
	if (chain.TransportSocket != nil) != (call.Scheme == "https") {
		return Answer{Error: "TLS where none is expected, or none where it is"}
	}
	manager, passed := &hcm.HttpConnectionManager{}, &tcpproxy.TcpProxy{}
	switch {
	case unpacked(chain, manager):
		routes := manager.GetRouteConfig()
		if routes == nil {
			routes = p.routes[manager.GetRds().GetRouteConfigName()]
		}
		host := chosenHost(routes, call)
		answer := p.routed(host, call)
		answer.Via = strings.Join([]string{from.Name, chain.Name, routes.GetName(), host.GetName()}, " > ")
		return answer
	case unpacked(chain, passed):
		answer := p.passed(passed)
		answer.Via = strings.Join([]string{from.Name, chain.Name}, " > ")
		return answer
	}
	panic("filter chain " + chain.Name + " of listener " + from.Name + " passes nothing on")
}

// unpacked reads the network filter of a message's type; whether there is one.
func unpacked(chain *listener.FilterChain, into proto.Message) bool {
	for _, filter := range chain.Filters {
		if filter.GetTypedConfig().MessageIs(into) {
			if err := filter.GetTypedConfig().UnmarshalTo(into); err != nil {
				panic(err)
			}
			return true
		}
	}
	return false
}

// listens is the port of the pod behind a port of a gateway's Service; every other port is the pod's own.
func (p *proxy) listens(port int) int {
	for _, target := range p.node.ServiceTargets {
		if target.Port.Port == port {
			return int(target.Port.TargetPort)
		}
	}
	return port
}

// listening is the listener for an address, or any, and a port; else the one that all of a sidecar's connections come to.
func (p *proxy) listening(address string, port int) *listener.Listener {
	for _, wanted := range []string{address, constants.UnspecifiedIP} {
		for _, one := range p.listeners {
			at := one.GetAddress().GetSocketAddress()
			if at.GetAddress() == wanted && int(at.GetPortValue()) == port {
				return one
			}
		}
	}
	for _, one := range p.listeners {
		if one.Name == model.VirtualOutboundListenerName {
			return one
		}
	}
	return nil
}

// passed is the answer for a connection that is passed on as it is.
func (p *proxy) passed(to *tcpproxy.TcpProxy) Answer {
	weights := map[string]uint32{}
	for _, cluster := range to.GetWeightedClusters().GetClusters() {
		weights[cluster.Name] += cluster.Weight
	}
	if name := to.GetCluster(); name != "" {
		weights[name] = 1
	}
	return p.sent(weights)
}

// inspects says whether a listener filter looks at connections to a port.
func inspects(from *listener.Listener, name string, port int) bool {
	for _, filter := range from.ListenerFilters {
		if filter.Name == name {
			return filter.FilterDisabled == nil || !holds(filter.FilterDisabled, port)
		}
	}
	return false
}

func holds(condition *listener.ListenerFilterChainMatchPredicate, port int) bool {
	switch by := condition.Rule.(type) {
	case *listener.ListenerFilterChainMatchPredicate_NotMatch:
		return !holds(by.NotMatch, port)
	case *listener.ListenerFilterChainMatchPredicate_OrMatch:
		return slices.ContainsFunc(by.OrMatch.Rules, func(one *listener.ListenerFilterChainMatchPredicate) bool { return holds(one, port) })
	case *listener.ListenerFilterChainMatchPredicate_DestinationPortRange:
		return port >= int(by.DestinationPortRange.Start) && port < int(by.DestinationPortRange.End)
	}
	panic(fmt.Sprintf("a listener filter that is disabled by %T", condition.Rule))
}

// chosenChain narrows the chains by one criterion after the other, as Envoy does: of those that name what fits, the ones that
// fit best; else those that name nothing. The default chain is for connections that none takes.
func chosenChain(from *listener.Listener, call Call, address string) *listener.FilterChain {
	transport, protocol := "raw_buffer", ""
	if call.isTLS() && inspects(from, wellknown.TLSInspector, call.Port) {
		transport = "tls"
	}
	if call.Scheme == "http" && inspects(from, wellknown.HTTPInspector, call.Port) {
		protocol = "http/1.1"
	}
	type match = *listener.FilterChainMatch
	criteria := []func(match) (named bool, fit int){
		func(m match) (bool, int) {
			return m.GetDestinationPort() != nil, fits(int(m.GetDestinationPort().GetValue()) == call.Port)
		},
		func(m match) (bool, int) {
			best := 0
			for _, one := range m.GetPrefixRanges() {
				within := netip.MustParsePrefix(fmt.Sprintf("%s/%d", one.AddressPrefix, one.GetPrefixLen().GetValue()))
				if within.Contains(netip.MustParseAddr(address)) {
					best = max(best, 1+within.Bits())
				}
			}
			return len(m.GetPrefixRanges()) > 0, best
		},
		func(m match) (bool, int) {
			best := 0
			for _, name := range m.GetServerNames() {
				switch asked := call.name(); {
				case transport != "tls":
				case name == asked:
					best = max(best, 1000)
				case strings.HasPrefix(name, "*") && strings.HasSuffix(asked, name[1:]):
					best = max(best, len(name))
				}
			}
			return len(m.GetServerNames()) > 0, best
		},
		func(m match) (bool, int) {
			return m.GetTransportProtocol() != "", fits(m.GetTransportProtocol() == transport)
		},
		func(m match) (bool, int) {
			return len(m.GetApplicationProtocols()) > 0, fits(slices.Contains(m.GetApplicationProtocols(), protocol))
		},
	}
	chains := from.FilterChains
	for _, criterion := range criteria {
		chains = narrowed(chains, criterion)
	}
	switch len(chains) {
	case 0:
		return from.DefaultFilterChain
	case 1:
		return chains[0]
	}
	panic("several filter chains of listener " + from.Name + " take the call")
}

func fits(does bool) int {
	if does {
		return 1
	}
	return 0
}

func narrowed(chains []*listener.FilterChain, criterion func(*listener.FilterChainMatch) (bool, int)) []*listener.FilterChain {
	fit := func(chain *listener.FilterChain) int {
		named, fit := criterion(chain.GetFilterChainMatch())
		if !named {
			return 0
		}
		return cmp.Or(fit, -1)
	}
	best := 0
	for _, chain := range chains {
		best = max(best, fit(chain))
	}
	var left []*listener.FilterChain
	for _, chain := range chains {
		if fit(chain) == best {
			left = append(left, chain)
		}
	}
	return left
}
