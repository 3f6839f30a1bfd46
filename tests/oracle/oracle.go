// Oracle answers what a mesh does with a call, by istiod's own translation of the rules.
//
// It reads questions as JSON, one a line, and writes one line for each. The code that istiod runs makes Envoy's configuration of
// the objects; a call is then led through it as Envoy does: to a listener and a filter chain (proxy.go), a virtual host and a
// route (match.go). Istio's own simulation (pilot/pkg/simulation) cannot be used: it needs a build of Envoy's API that the lab
// does not make, and looks at paths only.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"istio.io/istio/pilot/pkg/config/kube/crd"
	"istio.io/istio/pilot/pkg/features"
	"istio.io/istio/pilot/pkg/networking/core"
	"istio.io/istio/pilot/pkg/serviceregistry/kube"
	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/constants"
	"istio.io/istio/pkg/config/host"
	"istio.io/istio/pkg/config/mesh"
	istiokube "istio.io/istio/pkg/kube"
	"istio.io/istio/pkg/log"
	"istio.io/istio/pkg/test"
)

const domain = "cluster.local"

// ofKubernetes are the kinds of Kubernetes' own objects.
var ofKubernetes = map[string]bool{"Namespace": true, "Service": true, "Ingress": true, "IngressClass": true, "Secret": true}

// Question is one set of objects with the calls to be led through it.
type Question struct {
	// Objects are Namespaces, Services, Ingresses, their classes, and objects of Istio and the Gateway API, as the API server gives them.
	Objects []json.RawMessage `json:"objects"`
	// Mesh overrides fields of the default meshConfig.
	Mesh  json.RawMessage `json:"mesh"`
	Calls []Call          `json:"calls"`
}

// Reply has an answer for each call, unless Istio refuses one of the objects.
type Reply struct {
	Answers []Answer `json:"answers,omitempty"`
	// Refused has why Istio's validation refuses objects.
	Refused []string `json:"refused,omitempty"`
	// Error says why the oracle itself failed.
	Error string `json:"error,omitempty"`
}

func main() {
	quiet := log.DefaultOptions()
	quiet.OutputPaths = []string{"stderr"}
	if err := log.Configure(quiet); err != nil {
		panic(err)
	}
	for _, scope := range log.Scopes() {
		scope.SetOutputLevel(log.NoneLevel) // what fails is in the replies
	}
	lines, replies := bufio.NewReader(os.Stdin), json.NewEncoder(os.Stdout)
	features.EnableGatewayAPIGatewayClassController = false // it would write classes, which are built in as well
	for {
		line, err := lines.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) > 0 {
			if err := replies.Encode(answer(line)); err != nil {
				panic(err)
			}
		}
		if err != nil {
			return
		}
	}
}

// answer never panics: what goes wrong is in the reply.
func answer(line []byte) (reply Reply) {
	var question Question
	if err := json.Unmarshal(line, &question); err != nil {
		return Reply{Error: err.Error()}
	}
	failed := test.Wrap(func(t test.Failer) {
		defer func() {
			if reason := recover(); reason != nil {
				reply.Error = fmt.Sprintf("%v\n%s", reason, debug.Stack())
			}
		}()
		reply = question.answer(t)
	})
	if failed != nil && reply.Error == "" {
		reply.Error = failed.Error()
	}
	return reply
}

func (q Question) answer(t test.Failer) Reply {
	found := q.read(t)
	if len(found.refused) > 0 {
		return Reply{Refused: found.refused}
	}
	settings, err := mesh.ApplyMeshConfigDefaults(string(q.Mesh))
	if err != nil {
		t.Fatal(err)
	}
	if found.ofGatewayAPI {
		found.configs = append(found.configs, translated(t, found.objects)...)
	}
	if found.hasIngresses {
		found.configs = append(found.configs, ofIngresses(t, found.objects, settings)...)
	}
	services := map[host.Name]*corev1.Service{}
	options := core.TestOptions{Configs: found.configs, MeshConfig: settings}
	for _, service := range found.services {
		known := kube.ConvertService(*service, nil, domain, constants.DefaultClusterName, domain)
		services[known.Hostname] = service
		options.Services = append(options.Services, known)
	}
	proxies, reply := proxies{core.NewConfigGenTest(t, options), services, map[string]*proxy{}}, Reply{Answers: []Answer{}}
	for _, call := range q.Calls {
		reply.Answers = append(reply.Answers, proxies.of(call.Caller).lead(call))
	}
	return reply
}

// sorted are the objects of a question.
type sorted struct {
	configs  []config.Config
	services []*corev1.Service
	// objects are those that the controllers for the Gateway API and for Ingresses read.
	objects      []runtime.Object
	ofGatewayAPI bool
	hasIngresses bool
	refused      []string
}

// read sorts the objects, and validates Istio's as its webhook does.
func (q Question) read(t test.Failer) (found sorted) {
	for _, raw := range q.Objects {
		var object crd.IstioKind
		if err := json.Unmarshal(raw, &object); err != nil {
			t.Fatal(err)
		}
		ofGatewayAPI := isOfGatewayAPI(object.APIVersion)
		found.ofGatewayAPI = found.ofGatewayAPI || ofGatewayAPI
		found.hasIngresses = found.hasIngresses || object.Kind == "Ingress"
		if ofGatewayAPI || ofKubernetes[object.Kind] || object.Kind == "ServiceEntry" {
			one, _, err := istiokube.IstioCodec.UniversalDeserializer().Decode(raw, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			found.objects = append(found.objects, one)
			if service, is := one.(*corev1.Service); is {
				found.services = append(found.services, service)
			}
			if object.Kind != "ServiceEntry" {
				continue
			}
		}
		configs, unknown, err := crd.ParseInputs(string(raw))
		if err != nil {
			found.refused = append(found.refused, fmt.Sprintf("%s %s: %v", object.Kind, object.Name, err))
		}
		if len(unknown) > 0 {
			t.Fatal(fmt.Sprintf("%s %s is no object of Istio's", object.Kind, object.Name))
		}
		for _, one := range configs {
			one.Domain = domain // as istiod sets it when it reads from the cluster; short hosts are completed by it
			found.configs = append(found.configs, one)
		}
	}
	return found
}
