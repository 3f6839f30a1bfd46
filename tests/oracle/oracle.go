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

	"istio.io/istio/pilot/pkg/config/kube/crd"
	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/pkg/networking/core"
	"istio.io/istio/pilot/pkg/serviceregistry/kube"
	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/constants"
	"istio.io/istio/pkg/config/mesh"
	"istio.io/istio/pkg/log"
	"istio.io/istio/pkg/test"
)

const domain = "cluster.local"

// Question is one set of objects with the calls to be led through it.
type Question struct {
	// Objects are Services and objects of Istio, as the API server gives them.
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
	configs, services, refused := q.read(t)
	if len(refused) > 0 {
		return Reply{Refused: refused}
	}
	settings, err := mesh.ApplyMeshConfigDefaults(string(q.Mesh))
	if err != nil {
		t.Fatal(err)
	}
	istiod := core.NewConfigGenTest(t, core.TestOptions{Configs: configs, Services: services, MeshConfig: settings})
	proxies, reply := proxies{istiod, map[string]*proxy{}}, Reply{Answers: []Answer{}}
	for _, call := range q.Calls {
		reply.Answers = append(reply.Answers, proxies.of(call.Caller).lead(call))
	}
	return reply
}

// read sorts the objects, and validates Istio's as its webhook does.
func (q Question) read(t test.Failer) (configs []config.Config, services []*model.Service, refused []string) {
	for _, raw := range q.Objects {
		var object crd.IstioKind
		if err := json.Unmarshal(raw, &object); err != nil {
			t.Fatal(err)
		}
		if object.Kind == "Service" {
			var service corev1.Service
			if err := json.Unmarshal(raw, &service); err != nil {
				t.Fatal(err)
			}
			services = append(services, kube.ConvertService(service, nil, domain, constants.DefaultClusterName, domain))
			continue
		}
		found, unknown, err := crd.ParseInputs(string(raw))
		if err != nil {
			refused = append(refused, fmt.Sprintf("%s %s: %v", object.Kind, object.Name, err))
		}
		if len(unknown) > 0 {
			t.Fatal(fmt.Sprintf("%s %s is no object of Istio's", object.Kind, object.Name))
		}
		for _, one := range found {
			one.Domain = domain // as istiod sets it when it reads from the cluster; short hosts are completed by it
			configs = append(configs, one)
		}
	}
	return configs, services, refused
}
