package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// chosenHost is the virtual host that Envoy takes for an authority: by the exact name, the longest wildcard in front, the longest
// at the end, or the one for all.
func chosenHost(routes *route.RouteConfiguration, call Call) *route.VirtualHost {
	authority := strings.ToLower(call.Host)
	if routes.GetIgnorePortInHostMatching() {
		authority = call.name()
	}
	var chosen *route.VirtualHost
	best := -1
	for _, host := range routes.GetVirtualHosts() {
		for _, domain := range host.Domains {
			if rank := domainRank(strings.ToLower(domain), authority); rank > best {
				chosen, best = host, rank
			}
		}
	}
	return chosen
}

// domainRank is how well a domain fits; -1 if it does not.
func domainRank(domain, authority string) int {
	const exact, suffix, prefix = 3000, 2000, 1000
	switch {
	case domain == authority:
		return exact
	case domain == "*":
		return 0
	case strings.HasPrefix(domain, "*") && len(authority) >= len(domain) && strings.HasSuffix(authority, domain[1:]):
		return suffix + len(domain)
	case strings.HasSuffix(domain, "*") && len(authority) >= len(domain) && strings.HasPrefix(authority, domain[:len(domain)-1]):
		return prefix + len(domain)
	}
	return -1
}

// Fields of a route's match that are evaluated here. A route that sets another one cannot be evaluated.
var evaluated = map[protoreflect.Name]bool{
	"prefix": true, "path": true, "safe_regex": true, "path_separated_prefix": true, "case_sensitive": true, "headers": true,
	"query_parameters": true,
}

// matches is Envoy's decision whether a route takes a request.
func matches(match *route.RouteMatch, call Call) bool {
	match.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if !evaluated[field.Name()] {
			panic(fmt.Sprintf("a route's match by %s", field.Name()))
		}
		return true
	})
	if !pathMatches(match, call.URI) {
		return false
	}
	for _, header := range match.GetHeaders() {
		if !headerMatches(header, call) {
			return false
		}
	}
	for _, parameter := range match.GetQueryParameters() {
		value, there := call.Query[parameter.Name]
		if one := parameter.GetStringMatch(); one != nil {
			there = there && stringMatches(one, value)
		} else {
			there = there == parameter.GetPresentMatch()
		}
		if !there {
			return false
		}
	}
	return true
}

func pathMatches(match *route.RouteMatch, path string) bool {
	fold := func(text string) string { return text }
	if match.GetCaseSensitive() != nil && !match.GetCaseSensitive().GetValue() {
		fold = strings.ToLower
	}
	switch by := match.GetPathSpecifier().(type) {
	case *route.RouteMatch_Prefix:
		return strings.HasPrefix(fold(path), fold(by.Prefix))
	case *route.RouteMatch_Path:
		return fold(path) == fold(by.Path)
	case *route.RouteMatch_SafeRegex:
		return whole(by.SafeRegex.GetRegex()).MatchString(path)
	case *route.RouteMatch_PathSeparatedPrefix:
		return fold(path) == fold(by.PathSeparatedPrefix) || strings.HasPrefix(fold(path), fold(by.PathSeparatedPrefix)+"/")
	default:
		panic(fmt.Sprintf("a route's match by %T", by))
	}
}

func headerMatches(header *route.HeaderMatcher, call Call) bool {
	value, there := call.Headers[strings.ToLower(header.Name)]
	switch header.Name {
	case ":method":
		value, there = call.Method, true
	case ":authority":
		value, there = call.Host, true
	case ":scheme":
		value, there = call.Scheme, true
	}
	switch by := header.GetHeaderMatchSpecifier().(type) {
	case *route.HeaderMatcher_PresentMatch:
		return (there == by.PresentMatch) != header.InvertMatch
	case *route.HeaderMatcher_StringMatch:
		if !there && !header.TreatMissingHeaderAsEmpty {
			return false
		}
		return stringMatches(by.StringMatch, value) != header.InvertMatch
	default:
		panic(fmt.Sprintf("a match of header %s by %T", header.Name, by))
	}
}

func stringMatches(match *matcher.StringMatcher, value string) bool {
	fold := func(text string) string { return text }
	if match.GetIgnoreCase() {
		fold = strings.ToLower
	}
	switch by := match.GetMatchPattern().(type) {
	case *matcher.StringMatcher_Exact:
		return fold(value) == fold(by.Exact)
	case *matcher.StringMatcher_Prefix:
		return strings.HasPrefix(fold(value), fold(by.Prefix))
	case *matcher.StringMatcher_Suffix:
		return strings.HasSuffix(fold(value), fold(by.Suffix))
	case *matcher.StringMatcher_Contains:
		return strings.Contains(fold(value), fold(by.Contains))
	case *matcher.StringMatcher_SafeRegex:
		return whole(by.SafeRegex.GetRegex()).MatchString(value)
	default:
		panic(fmt.Sprintf("a match of text by %T", by))
	}
}

// whole is a pattern that must match all of a text, as Envoy reads them.
func whole(pattern string) *regexp.Regexp {
	return regexp.MustCompile(`\A(?:` + pattern + `)\z`)
}

// prefixed is the path after what the route matched of it is replaced.
func prefixed(match *route.RouteMatch, path, by string) string {
	matched := path
	switch to := match.GetPathSpecifier().(type) {
	case *route.RouteMatch_Prefix:
		matched = path[:len(to.Prefix)]
	case *route.RouteMatch_PathSeparatedPrefix:
		matched = path[:len(to.PathSeparatedPrefix)]
	}
	return by + strings.TrimPrefix(path, matched)
}

// substituted replaces every match of a pattern; groups are written \1 in RE2's substitutions.
func substituted(pattern, path, by string) string {
	by = strings.ReplaceAll(by, "$", "$$")
	return regexp.MustCompile(pattern).ReplaceAllString(path, regexp.MustCompile(`\\(\d)`).ReplaceAllString(by, "$${$1}"))
}

func number(code uint32) string {
	return strconv.FormatUint(uint64(code), 10)
}
