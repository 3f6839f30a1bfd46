package main

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/gateway-api/pkg/consts"

	meshconfig "istio.io/api/mesh/v1alpha1"
	"istio.io/istio/pilot/pkg/config/kube/gateway"
	"istio.io/istio/pilot/pkg/config/kube/ingress"
	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/pkg/serviceregistry/kube/controller"
	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/mesh/meshwatcher"
	"istio.io/istio/pkg/config/schema/gvk"
	"istio.io/istio/pkg/config/schema/gvr"
	istiokube "istio.io/istio/pkg/kube"
	"istio.io/istio/pkg/kube/kclient/clienttest"
	"istio.io/istio/pkg/test"
)

// bundled are the kinds of the Gateway API that istiod reads, whether or not there are any.
var bundled = []schema.GroupVersionResource{
	gvr.KubernetesGateway, gvr.GatewayClass, gvr.ListenerSet, gvr.HTTPRoute, gvr.GRPCRoute, gvr.TCPRoute, gvr.TLSRoute, gvr.ReferenceGrant,
	gvr.BackendTLSPolicy, gvr.XBackendTrafficPolicy, gvr.InferencePool, gvr.ServiceEntry,
}

func isOfGatewayAPI(apiVersion string) bool {
	return strings.HasPrefix(apiVersion, gvk.KubernetesGateway.Group+"/")
}

// translated are the rules of Istio's own kinds that istiod's controller for the Gateway API makes of objects in a cluster.
func translated(t test.Failer, objects []runtime.Object) (made []config.Config) {
	client := istiokube.NewFakeClient(objects...)
	for _, kind := range bundled {
		clienttest.MakeCRDWithAnnotations(t, client, kind, map[string]string{consts.BundleVersionAnnotation: consts.BundleVersion})
	}
	stop := test.NewStop(t)
	there := func(schema.GroupVersionResource, <-chan struct{}) bool { return true }
	from := gateway.NewController(client, there, controller.Options{DomainSuffix: domain}, nil)
	// What is known of services is for the objects' status, which nobody reads here.
	from.Reconcile(model.NewPushContext())
	go from.Run(stop)
	client.RunAndWait(stop)
	if !istiokube.WaitForCacheSync("gateways", stop, from.HasSynced) {
		t.Fatal("the Gateway API's objects are not translated")
	}
	for _, kind := range []config.GroupVersionKind{gvk.Gateway, gvk.VirtualService, gvk.DestinationRule} {
		made = append(made, from.List(kind, "")...)
	}
	return made
}

// ofIngresses are the rules of Istio's own kinds that istiod makes of the Ingresses of its class.
func ofIngresses(t test.Failer, objects []runtime.Object, settings *meshconfig.MeshConfig) (made []config.Config) {
	client, stop := istiokube.NewFakeClient(objects...), test.NewStop(t)
	from := ingress.NewController(client, meshwatcher.NewTestWatcher(settings), controller.Options{DomainSuffix: domain}, nil)
	go from.Run(stop)
	client.RunAndWait(stop)
	if !istiokube.WaitForCacheSync("ingresses", stop, from.HasSynced) {
		t.Fatal("the Ingresses are not translated")
	}
	for _, kind := range []config.GroupVersionKind{gvk.Gateway, gvk.VirtualService} {
		made = append(made, from.List(kind, "")...)
	}
	return made
}

// entrances are the ports of a gateway's Services, each with the port of its pod.
func (p proxies) entrances(caller Caller) (targets []model.ServiceTarget) {
	for _, service := range p.Env().ServiceDiscovery.Services() {
		own := p.services[service.Hostname]
		if own == nil || own.Namespace != caller.Namespace || !selects(own, caller.Labels) {
			continue
		}
		for number, port := range service.Ports {
			to := model.ServiceInstancePort{ServicePort: port, TargetPort: uint32(own.Spec.Ports[number].TargetPort.IntVal)}
			targets = append(targets, model.ServiceTarget{Service: service, Port: to})
		}
	}
	return targets
}

func selects(service *corev1.Service, pod map[string]string) bool {
	selector := service.Spec.Selector
	return len(selector) > 0 && labels.SelectorFromSet(selector).Matches(labels.Set(pod))
}
