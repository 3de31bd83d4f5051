package chart

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"sigs.k8s.io/yaml"
)

// keycloakPod is Keycloak's pod before the gateway comes, as far as it matters here.
const keycloakPod = `
containers:
  - name: keycloak
    image: quay.io/keycloak/keycloak:26.7
    ports: [{name: http, containerPort: 8080}, {name: management, containerPort: 9000}]
securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}`

// podWith gives the IdP's pod with the gateway in it, as the recipe's own way of use makes it.
func podWith(t *testing.T, s scenario, kube string) core.PodTemplateSpec {
	t.Helper()
	text := recipeOf(t, s, kube)
	switch recipes[s.name] {
	case "keycloak-operator":
		return operatorPod(t, s.name, text)
	case "keycloakx":
		return keycloakxPod(t, s.name, text)
	}
	base, err := os.ReadFile(filepath.Join("testdata", "idp", recipes[s.name]+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return patchedPod(t, s.name, string(base), text)
}

// patchedPod does what kubectl patch and kustomize do.
func patchedPod(t *testing.T, name, base, patch string) core.PodTemplateSpec {
	t.Helper()
	decodeAs(t, name, patch, &apps.Deployment{})
	original, err := yaml.YAMLToJSON([]byte(base))
	if err != nil {
		t.Fatal(err)
	}
	change, err := yaml.YAMLToJSON([]byte(patch))
	if err != nil {
		t.Fatal(err)
	}
	patched, err := strategicpatch.StrategicMergePatch(original, change, apps.Deployment{})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	var deployment apps.Deployment
	if err := json.Unmarshal(patched, &deployment); err != nil {
		t.Fatal(err)
	}
	return deployment.Spec.Template
}

// operatorPod does what the Keycloak operator does: the pod template is the base, its first container becomes Keycloak's.
func operatorPod(t *testing.T, name, text string) core.PodTemplateSpec {
	t.Helper()
	var resource struct {
		APIVersion string         `json:"apiVersion"`
		Kind       string         `json:"kind"`
		Metadata   map[string]any `json:"metadata"`
		Spec       struct {
			Ingress           map[string]bool                `json:"ingress"`
			NetworkPolicy     map[string]bool                `json:"networkPolicy"`
			HTTP              map[string]any                 `json:"http"`
			Hostname          map[string]string              `json:"hostname"`
			Proxy             map[string]string              `json:"proxy"`
			AdditionalOptions []struct{ Name, Value string } `json:"additionalOptions"`
			Unsupported       struct {
				PodTemplate core.PodTemplateSpec `json:"podTemplate"`
			} `json:"unsupported"`
		} `json:"spec"`
	}
	decodeAs(t, name, text, &resource)
	pod := resource.Spec.Unsupported.PodTemplate
	var idp core.PodSpec
	decodeAs(t, name, keycloakPod, &idp)
	lifecycle := pod.Spec.Containers[0].Lifecycle
	pod.Spec.Containers[0] = idp.Containers[0]
	pod.Spec.Containers[0].Lifecycle = lifecycle
	for _, option := range resource.Spec.AdditionalOptions {
		pod.Spec.Containers[0].Env = append(pod.Spec.Containers[0].Env, core.EnvVar{Name: "KC_" + strings.ToUpper(strings.ReplaceAll(option.Name, "-", "_")), Value: option.Value})
	}
	return pod
}

// keycloakxPod does what the keycloakx chart does: texts are rendered and put in their place.
func keycloakxPod(t *testing.T, name, text string) core.PodTemplateSpec {
	t.Helper()
	var values struct {
		HTTP                          map[string]string `json:"http"`
		Proxy                         map[string]any    `json:"proxy"`
		Health                        map[string]bool   `json:"health"`
		ExtraEnv                      string            `json:"extraEnv"`
		ExtraInitContainers           string            `json:"extraInitContainers"`
		ExtraContainers               string            `json:"extraContainers"`
		ExtraVolumes                  string            `json:"extraVolumes"`
		LifecycleHooks                string            `json:"lifecycleHooks"`
		TerminationGracePeriodSeconds int64             `json:"terminationGracePeriodSeconds"`
		Ingress                       map[string]bool   `json:"ingress"`
		HTTPRoute                     map[string]bool   `json:"httpRoute"`
		NetworkPolicy                 map[string]bool   `json:"networkPolicy"`
	}
	decodeAs(t, name, text, &values)
	var pod core.PodTemplateSpec
	decodeAs(t, name, keycloakPod, &pod.Spec)
	if strings.Contains(text, "{{") {
		t.Errorf("%s: keycloakx would take {{ for a template", name)
	}
	idp := &pod.Spec.Containers[0]
	idp.Lifecycle = &core.Lifecycle{}
	var more []core.Container
	for part, into := range map[string]any{values.ExtraEnv: &idp.Env, values.ExtraInitContainers: &pod.Spec.InitContainers, values.ExtraContainers: &more,
		values.ExtraVolumes: &pod.Spec.Volumes, values.LifecycleHooks: idp.Lifecycle} {
		decodeAs(t, name, part, into)
	}
	pod.Spec.Containers = append(pod.Spec.Containers, more...)
	pod.Spec.TerminationGracePeriodSeconds = &values.TerminationGracePeriodSeconds
	return pod
}

// sidecarIn finds the gateway in a pod, and says whether it is a native sidecar.
func sidecarIn(pod core.PodTemplateSpec) (gateway *core.Container, native bool) {
	for i := range pod.Spec.InitContainers {
		if pod.Spec.InitContainers[i].Name == "ort-gateway" {
			return &pod.Spec.InitContainers[i], true
		}
	}
	for i := range pod.Spec.Containers {
		if pod.Spec.Containers[i].Name == "ort-gateway" {
			return &pod.Spec.Containers[i], false
		}
	}
	return nil, false
}

// Each recipe, applied as its users do, gives a pod in which the gateway stands as the cluster's version wants it, on ports of
// its own, with its files, and time to stop.
func TestRecipes(t *testing.T) {
	for _, s := range scenarios(t) {
		if recipes[s.name] == "" {
			continue
		}
		for _, kube := range kubeVersions {
			t.Run(recipes[s.name]+"-"+kube, func(t *testing.T) {
				pod := podWith(t, s, kube)
				gateway, native := sidecarIn(pod)
				if gateway == nil {
					t.Fatal("no gateway")
				}
				checkContainer(t, s.name, *gateway)
				if want := kube != "1.28.0"; native != want {
					t.Errorf("native is %v on %s", native, kube)
				}
				if native && (gateway.RestartPolicy == nil || *gateway.RestartPolicy != core.ContainerRestartPolicyAlways) {
					t.Error("an init container that is no sidecar: the IdP would wait for its end")
				}
				alone := core.PodTemplateSpec{Spec: core.PodSpec{Containers: []core.Container{*gateway}, Volumes: pod.Spec.Volumes}}
				alone.Spec.Containers[0].RestartPolicy = nil
				judge(t, s.name, &alone)
				checkPorts(t, pod, gateway)
				checkVolumes(t, pod, gateway)
				checkEnd(t, s, pod, gateway, kube)
			})
		}
	}
}

func checkPorts(t *testing.T, pod core.PodTemplateSpec, gateway *core.Container) {
	t.Helper()
	taken := map[int32]string{}
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		for _, port := range c.Ports {
			if other := taken[port.ContainerPort]; other != "" {
				t.Errorf("port %d is %s's and %s's", port.ContainerPort, other, c.Name)
			}
			taken[port.ContainerPort] = c.Name
		}
	}
	if !strings.HasPrefix(environmentOf(*gateway)["ORT_UPSTREAM_URL"], "http://127.0.0.1:") {
		t.Error("the IdP is not asked on loopback")
	}
}

func checkVolumes(t *testing.T, pod core.PodTemplateSpec, gateway *core.Container) {
	t.Helper()
	names := map[string]bool{}
	for _, v := range pod.Spec.Volumes {
		names[v.Name] = true
	}
	for _, mount := range gateway.VolumeMounts {
		if !names[mount.Name] {
			t.Errorf("%s is mounted, and no volume", mount.Name)
		}
	}
}

// checkEnd: the IdP sleeps before it stops, and the pod's grace period holds the sleep, the IdP's end and the gateway's.
func checkEnd(t *testing.T, s scenario, pod core.PodTemplateSpec, gateway *core.Container, kube string) {
	t.Helper()
	for _, c := range pod.Spec.Containers {
		if c.Name == "ort-gateway" {
			continue
		}
		if c.Lifecycle == nil || c.Lifecycle.PreStop == nil || (c.Lifecycle.PreStop.Sleep != nil) != (kube == "1.33.0") {
			t.Errorf("%s does not sleep before its end as %s can: %+v", c.Name, kube, c.Lifecycle)
		}
	}
	env := environmentOf(*gateway)
	stop := seconds(t, env["ORT_SHUTDOWN_DELAY"]) + seconds(t, env["ORT_SHUTDOWN_TIMEOUT"]) + 5
	if got := *pod.Spec.TerminationGracePeriodSeconds; got != stop+5+30 {
		t.Errorf("%s: the pod has %d s to stop, its parts need %d", s.name, got, stop+5+30)
	}
}

// Keycloak is bound to loopback, and its management port, which takes over that address unless told otherwise, is not: the
// kubelet's probes come from outside.
func TestKeycloakListensOnLoopbackAlone(t *testing.T) {
	for _, s := range scenarios(t) {
		if recipe := recipes[s.name]; !strings.HasPrefix(recipe, "keycloak") {
			continue
		}
		env := environmentOf(podWith(t, s, "1.33.0").Spec.Containers[0])
		if env["KC_HTTP_HOST"] != "127.0.0.1" || env["KC_HTTP_MANAGEMENT_HOST"] != "0.0.0.0" {
			t.Errorf("%s: %v", s.name, env)
		}
	}
}

// A chart of one's own includes the parts from this one as a dependency.
func TestPartsInAChartOfOnesOwn(t *testing.T) {
	for _, s := range scenarios(t) {
		if s.name != "sidecar-keycloakx" {
			continue
		}
		parent := parentChart(t)
		files, err := render(parent, map[string]any{"ort-gateway": maps.Clone(s.values), "global": map[string]any{"other": "chart's"}}, install{})
		if err != nil {
			t.Fatal(err)
		}
		var deployment apps.Deployment
		decodeAs(t, "parent", files["parent/templates/idp.yaml"], &deployment)
		gateway, native := sidecarIn(deployment.Spec.Template)
		if gateway == nil || !native {
			t.Fatalf("no sidecar in %s", files["parent/templates/idp.yaml"])
		}
		checkVolumes(t, deployment.Spec.Template, gateway)
		env := environmentOf(deployment.Spec.Template.Spec.Containers[0])
		if env["KC_HTTP_HOST"] != "127.0.0.1" || deployment.Spec.Template.Spec.Containers[0].Lifecycle == nil {
			t.Errorf("the IdP has %v", env)
		}
		if files["parent/charts/ort-gateway/templates/services.yaml"] == "" {
			t.Error("the Service is not rendered beside")
		}
	}
}
