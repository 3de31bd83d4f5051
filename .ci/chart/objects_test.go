package chart

import (
	"fmt"
	"strings"
	"testing"
	"time"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	gateway "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"
)

// decoder knows all that the chart renders, and refuses fields that are in no type.
func decoder(t *testing.T) runtime.Decoder {
	t.Helper()
	types := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, monitoring.AddToScheme, gateway.Install} {
		if err := add(types); err != nil {
			t.Fatal(err)
		}
	}
	return json.NewSerializerWithOptions(json.DefaultMetaFactory, types, types, json.SerializerOptions{Yaml: true, Strict: true})
}

// objects decodes everything that is installed.
func objects(t *testing.T, s scenario) []runtime.Object {
	t.Helper()
	return objectsOf(t, s, install{unchecked: true})
}

func objectsOf(t *testing.T, s scenario, in install) []runtime.Object {
	t.Helper()
	files, err := render(theChart(t), s.values, in)
	if err != nil {
		t.Fatalf("%s: %v", s.name, err)
	}
	d := decoder(t)
	var all []runtime.Object
	for _, document := range documents(manifests(files)) {
		object, _, err := d.Decode([]byte(document), nil, nil)
		if err != nil {
			t.Errorf("%s: %v\n%s", s.name, err, document)
			continue
		}
		all = append(all, object)
	}
	return all
}

// podOf gives the pod that an object runs, nil where it runs none.
func podOf(object runtime.Object) *core.PodTemplateSpec {
	switch o := object.(type) {
	case *apps.Deployment:
		return &o.Spec.Template
	case *apps.StatefulSet:
		return &o.Spec.Template
	case *batch.CronJob:
		return &o.Spec.JobTemplate.Spec.Template
	case *core.Pod:
		return &core.PodTemplateSpec{ObjectMeta: o.ObjectMeta, Spec: o.Spec}
	}
	return nil
}

// judge asks the admission check of Kubernetes itself.
func judge(t *testing.T, name string, pod *core.PodTemplateSpec) {
	t.Helper()
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	level := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	if result := policy.AggregateCheckResults(evaluator.EvaluatePod(level, &pod.ObjectMeta, &pod.Spec)); !result.Allowed {
		t.Errorf("%s: not restricted: %s: %s", name, result.ForbiddenReason(), result.ForbiddenDetail())
	}
}

// Every object has known fields alone, every pod is restricted, has no token of a service account and no service links, asks for
// resources, and stops by itself within its grace period.
func TestObjects(t *testing.T) {
	for _, s := range scenarios(t) {
		for _, object := range objects(t, s) {
			name := fmt.Sprintf("%s, %T", s.name, object)
			pod := podOf(object)
			if pod == nil {
				continue
			}
			judge(t, name, pod)
			if token := pod.Spec.AutomountServiceAccountToken; token == nil || *token {
				t.Errorf("%s: has the token of its service account", name)
			}
			if links := pod.Spec.EnableServiceLinks; links == nil || *links {
				t.Errorf("%s: has service links", name)
			}
			for _, container := range pod.Spec.Containers {
				checkContainer(t, name, container)
			}
		}
	}
}

// A release, a namespace or an object may have a name that YAML takes for a number.
func TestNamesLikeNumbers(t *testing.T) {
	for _, s := range scenarios(t) {
		for _, path := range []string{"nameOverride", "fullnameOverride", "priorityClassName", "runtimeClassName", "ingress.className", "dashboard.namespace",
			"store.bolt.existingClaim", "backup.existingClaim", "secrets.sealingKeys.existingSecret", "secrets.sealingKeys.key", "secrets.adminToken.existingSecret", "secrets.adminToken.key", "serviceAccount.name"} {
			if value := at(s.values, path); value != nil || !strings.Contains(path, "laim") {
				s.values = with(s.values, path, "0123")
			}
		}
		if at(s.values, "backup.enabled") == true {
			s.values = with(s.values, "backup.existingClaim", "0456") // not the store's own
		}
		objectsOf(t, s, install{unchecked: true, release: "007", namespace: "1e3"})
	}
}

// checkContainer looks at what every container of the chart must have.
func checkContainer(t *testing.T, name string, c core.Container) {
	t.Helper()
	if c.Resources.Requests.Memory().IsZero() || c.Resources.Requests.Cpu().IsZero() || c.Resources.Limits.Memory().IsZero() {
		t.Errorf("%s: %s asks for no resources", name, c.Name)
	}
	if c.SecurityContext == nil || c.SecurityContext.ReadOnlyRootFilesystem == nil || !*c.SecurityContext.ReadOnlyRootFilesystem {
		t.Errorf("%s: %s can write to its root", name, c.Name)
	}
	seen := map[string]bool{}
	for _, variable := range c.Env {
		if seen[variable.Name] {
			t.Errorf("%s: %s has %s twice", name, c.Name, variable.Name)
		}
		seen[variable.Name] = true
		if variable.Name == "GOMAXPROCS" {
			t.Errorf("%s: GOMAXPROCS turns off what Go does by itself", name)
		}
	}
	if c.StartupProbe == nil {
		return // a pod that runs once
	}
	if path := c.StartupProbe.HTTPGet.Path; path != "/livez" {
		t.Errorf("%s: starts by %s: a native sidecar would wait for the IdP that waits for it", name, path)
	}
	if path := c.LivenessProbe.HTTPGet.Path; path != "/livez" {
		t.Errorf("%s: lives by %s: a store that is down would restart it", name, path)
	}
	if path := c.ReadinessProbe.HTTPGet.Path; path != "/readyz" {
		t.Errorf("%s: is ready by %s", name, path)
	}
}

func environmentOf(c core.Container) map[string]string {
	all := map[string]string{}
	for _, variable := range c.Env {
		all[variable.Name] = variable.Value
	}
	return all
}

// seconds of a setting, rounded up.
func seconds(t *testing.T, text string) int64 {
	t.Helper()
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return int64((d + time.Second - 1) / time.Second)
}

// The kubelet kills a pod after terminationGracePeriodSeconds: both pauses of the gateway's end must have passed before, and
// five seconds more.
func TestGracePeriodCoversTheEnd(t *testing.T) {
	workloads := 0
	for _, s := range scenarios(t) {
		for _, object := range objects(t, s) {
			pod := podOf(object)
			if pod == nil || pod.Spec.Containers[0].Name != "ort-gateway" {
				continue
			}
			workloads++
			env := environmentOf(pod.Spec.Containers[0])
			want := seconds(t, env["ORT_SHUTDOWN_DELAY"]) + seconds(t, env["ORT_SHUTDOWN_TIMEOUT"]) + 5
			if got := *pod.Spec.TerminationGracePeriodSeconds; got != want {
				t.Errorf("%s: terminationGracePeriodSeconds is %d, want %d", s.name, got, want)
			}
		}
	}
	if workloads < 6 {
		t.Errorf("%d workloads", workloads)
	}
}

// Bolt: one pod, always, with its claim; Redis: never fewer pods than before while the version changes.
func TestWorkloads(t *testing.T) {
	for _, s := range scenarios(t) {
		for _, object := range objects(t, s) {
			switch o := object.(type) {
			case *apps.StatefulSet:
				if *o.Spec.Replicas != 1 {
					t.Errorf("%s: %d pods on one file", s.name, *o.Spec.Replicas)
				}
				// kubernetes/kubernetes#67250: seen with the real controller, which never replaced a pod that was not ready.
				if o.Spec.PodManagementPolicy != apps.ParallelPodManagement {
					t.Errorf("%s: an upgrade that mends a wrong setting waits for ever until the pod with it is ready", s.name)
				}
				claims := len(o.Spec.VolumeClaimTemplates)
				for _, v := range o.Spec.Template.Spec.Volumes {
					if v.PersistentVolumeClaim != nil {
						claims++
					}
				}
				if claims != 1 {
					t.Errorf("%s: %d claims", s.name, claims)
				}
			case *apps.Deployment:
				update := o.Spec.Strategy.RollingUpdate
				if update.MaxUnavailable.IntValue() != 0 || update.MaxSurge.IntValue() < 1 {
					t.Errorf("%s: a rollout takes pods away: %v", s.name, update)
				}
				env := environmentOf(o.Spec.Template.Spec.Containers[0])
				if url, set := env["ORT_STORE_URL"]; !set || url != "" || env["ORT_STORE_URL_FILE"] == "" {
					t.Errorf("%s: the image's own ORT_STORE_URL still holds beside the file", s.name)
				}
			}
		}
	}
}

// One Service alone has the admin port, and a monitor finds that one alone: two Services with one label would be scraped twice.
// All go to ports by number.
func TestServicesAndMonitors(t *testing.T) {
	for _, s := range scenarios(t) {
		var services []*core.Service
		selector := map[string]string{}
		for _, object := range objects(t, s) {
			switch o := object.(type) {
			case *core.Service:
				services = append(services, o)
				for _, port := range o.Spec.Ports {
					if port.TargetPort.IntValue() == 0 {
						t.Errorf("%s: %s goes to port %q by name", s.name, o.Name, port.TargetPort.StrVal)
					}
				}
			case *monitoring.ServiceMonitor:
				selector = o.Spec.Selector.MatchLabels
			case *monitoring.PodMonitor:
				if s.values["mode"] != "sidecar" || o.Spec.PodMetricsEndpoints[0].PortNumber == nil {
					t.Errorf("%s: PodMonitor is for sidecars, by number", s.name)
				}
			}
		}
		found := 0
		for _, service := range services {
			if isSubset(selector, service.Labels) {
				found++
			}
		}
		if len(selector) > 0 && found != 1 {
			t.Errorf("%s: the monitor finds %d services", s.name, found)
		}
	}
}

func isSubset(small, large map[string]string) bool {
	for name, value := range small {
		if large[name] != value {
			return false
		}
	}
	return true
}

// decodeAs decodes YAML strictly.
func decodeAs(t *testing.T, name, text string, into any) {
	t.Helper()
	if err := yaml.UnmarshalStrict([]byte(text), into); err != nil {
		t.Errorf("%s: %v\n%s", name, err, strings.TrimSpace(text))
	}
}
