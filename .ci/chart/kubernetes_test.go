package chart

import (
	"fmt"
	"maps"
	"path"
	"reflect"
	"slices"
	"strings"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	gateway "sigs.k8s.io/gateway-api/apis/v1"
)

// namedTypes are those that values.yaml may name in @type.
var namedTypes = map[string]reflect.Type{
	"core/v1.Affinity":                               reflect.TypeFor[core.Affinity](),
	"core/v1.EnvVar":                                 reflect.TypeFor[core.EnvVar](),
	"core/v1.HostAlias":                              reflect.TypeFor[core.HostAlias](),
	"core/v1.LocalObjectReference":                   reflect.TypeFor[core.LocalObjectReference](),
	"core/v1.PodSecurityContext":                     reflect.TypeFor[core.PodSecurityContext](),
	"core/v1.ResourceRequirements":                   reflect.TypeFor[core.ResourceRequirements](),
	"core/v1.SecurityContext":                        reflect.TypeFor[core.SecurityContext](),
	"core/v1.Toleration":                             reflect.TypeFor[core.Toleration](),
	"core/v1.TopologySpreadConstraint":               reflect.TypeFor[core.TopologySpreadConstraint](),
	"core/v1.Volume":                                 reflect.TypeFor[core.Volume](),
	"core/v1.VolumeMount":                            reflect.TypeFor[core.VolumeMount](),
	"autoscaling/v2.HorizontalPodAutoscalerBehavior": reflect.TypeFor[autoscaling.HorizontalPodAutoscalerBehavior](),
	"networking/v1.IngressTLS":                       reflect.TypeFor[networking.IngressTLS](),
	"networking/v1.NetworkPolicyPeer":                reflect.TypeFor[networking.NetworkPolicyPeer](),
	"networking/v1.NetworkPolicyIngressRule":         reflect.TypeFor[networking.NetworkPolicyIngressRule](),
	"networking/v1.NetworkPolicyEgressRule":          reflect.TypeFor[networking.NetworkPolicyEgressRule](),
	"gateway/v1.ParentReference":                     reflect.TypeFor[gateway.ParentReference](),
	"gateway/v1.HTTPRouteFilter":                     reflect.TypeFor[gateway.HTTPRouteFilter](),
	"gateway/v1.HTTPRouteTimeouts":                   reflect.TypeFor[gateway.HTTPRouteTimeouts](),
	"monitoring/v1.RelabelConfig":                    reflect.TypeFor[monitoring.RelabelConfig](),
}

// leafSchemas are types with a form of their own in JSON.
var leafSchemas = map[reflect.Type]map[string]any{
	reflect.TypeFor[resource.Quantity]():  {"oneOf": []any{map[string]any{"type": "number"}, map[string]any{"type": "string", "pattern": quantityPattern}}},
	reflect.TypeFor[intstr.IntOrString](): {"type": []any{"integer", "string"}},
	reflect.TypeFor[meta.Time]():          {"type": "string"},
	reflect.TypeFor[meta.FieldsV1]():      {"type": "object"},
}

const quantityPattern = `^[+-]?([0-9]+|[0-9]+\.[0-9]*|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$`

// kubernetesTypes makes closed definitions of Go types, as many as are asked for.
type kubernetesTypes struct{ known map[string]any }

func newKubernetesTypes() *kubernetesTypes { return &kubernetesTypes{map[string]any{}} }

func (k *kubernetesTypes) definitions() map[string]any { return k.known }

// named fills in the schema of a @type.
func (k *kubernetesTypes) named(typ string, schema map[string]any) error {
	if of, isList := strings.CutPrefix(typ, "list of "); isList {
		item := map[string]any{}
		schema["type"], schema["items"] = "array", item
		return k.named(of, item)
	}
	if of, or := strings.CutPrefix(typ, "name or "); or {
		other := map[string]any{}
		schema["anyOf"] = []any{map[string]any{"type": "string"}, other}
		return k.named(of, other)
	}
	switch typ {
	case "string", "integer", "boolean":
		schema["type"] = typ
	case "any":
		schema["type"] = []any{"object", "string"}
	case "map of string":
		schema["type"], schema["additionalProperties"] = "object", map[string]any{"type": "string"}
	case "thresholds":
		schema["type"], schema["additionalProperties"] = "object", false
		schema["properties"] = ofAlerts(map[string]any{"type": "string", "pattern": "^[0-9]+([.][0-9]+)?$"}, hasThreshold)
	case "durations of alerts":
		schema["type"], schema["additionalProperties"] = "object", false
		schema["properties"] = ofAlerts(map[string]any{"type": "string", "pattern": "^([0-9]+[smhd])+$"}, func(monitoring.Rule) bool { return true })
	case "alert":
		schema["enum"] = slices.Sorted(maps.Keys(ofAlerts(nil, func(monitoring.Rule) bool { return true })))
	case "quantity":
		schema["type"], schema["pattern"] = "string", quantityPattern
	default:
		of, ok := namedTypes[typ]
		if !ok {
			return fmt.Errorf("unknown type %s: namedTypes has none", typ)
		}
		schema["$ref"] = k.ref(of)
	}
	return nil
}

// ref names the definition of a struct, and makes it where it is new.
func (k *kubernetesTypes) ref(t reflect.Type) string {
	group, version := path.Base(path.Dir(t.PkgPath())), path.Base(t.PkgPath())
	if strings.HasPrefix(t.PkgPath(), "sigs.k8s.io/gateway-api/") {
		group = "gateway"
	}
	name := group + "." + version + "." + t.Name()
	if _, known := k.known[name]; !known {
		definition := map[string]any{"type": "object", "additionalProperties": false}
		k.known[name] = definition // before its fields: types may hold themselves
		properties := map[string]any{}
		required := []any{}
		k.fields(t, properties, &required)
		definition["properties"] = properties
		if len(required) > 0 {
			definition["required"] = required
		}
	}
	return "#/definitions/" + name
}

// fields adds the JSON members of a struct. One without omitempty is demanded, as the API server does.
func (k *kubernetesTypes) fields(t reflect.Type, properties map[string]any, required *[]any) {
	for i := range t.NumField() {
		field := t.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case name == "-":
		case name == "" && field.Anonymous:
			k.fields(field.Type, properties, required)
		default:
			properties[name] = k.schema(field.Type)
			if !strings.Contains(options, "omitempty") && !strings.Contains(options, "omitzero") {
				*required = append(*required, name)
			}
		}
	}
}

func (k *kubernetesTypes) schema(t reflect.Type) map[string]any {
	if leaf, ok := leafSchemas[t]; ok {
		return leaf
	}
	switch t.Kind() {
	case reflect.Pointer:
		return k.schema(t.Elem())
	case reflect.Struct:
		return map[string]any{"$ref": k.ref(t)}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return map[string]any{"type": "string"}
		}
		return map[string]any{"type": "array", "items": k.schema(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": k.schema(t.Elem())}
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint16, reflect.Uint64:
		return map[string]any{"type": "integer"}
	}
	panic("no schema for " + t.String())
}
