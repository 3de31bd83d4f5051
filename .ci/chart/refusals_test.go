package chart

import (
	"strings"
	"testing"
)

const good = "settings: {ORT_ISSUER: 'https://id.example.com', ORT_UPSTREAM_URL: 'http://idp:8080'}\n"

const redis = `
store: {type: redis}
secrets: {storeURL: {existingSecret: s}, sealingKeys: {existingSecret: k}}
`

// sidecarOf gives values of a good sidecar but for what is said of it.
func sidecarOf(sidecar string) string {
	return "settings: {ORT_ISSUER: 'https://id.example.com'}\nmode: sidecar\nsidecar: {" + sidecar + "}\n"
}

// What would lose data or lock up is refused, with a sentence that says what to set.
func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct{ values, says string }{
		"no issuer":            {"settings: {ORT_UPSTREAM_URL: 'http://idp:8080'}", "settings.ORT_ISSUER is not set: give"},
		"nothing at all":       {good + "enabled: false", "enabled is false: it is for the condition"},
		"no upstream":          {"settings: {ORT_ISSUER: 'https://id.example.com'}", "settings.ORT_UPSTREAM_URL is not set: give"},
		"redis without URL":    {good + "store: {type: redis}\nsecrets: {sealingKeys: {existingSecret: k}}", "kubectl create secret generic gw-ort-gateway-store"},
		"redis without keys":   {good + "store: {type: redis}\nsecrets: {storeURL: {existingSecret: s}}", `kubectl create secret generic gw-ort-gateway-keys --from-literal=sealing-keys="k1:$(openssl rand -base64 32)"`},
		"URL for bolt":         {good + "secrets: {storeURL: {existingSecret: s}}", "set store.type to redis"},
		"claim for redis":      {good + "secrets: {storeURL: {existingSecret: s}, sealingKeys: {existingSecret: k}}\nstore: {type: redis, bolt: {existingClaim: c}}", "store.bolt.existingClaim is set and store.type is redis"},
		"scaled bolt":          {good + "autoscaling: {enabled: true}", "set store.type to redis, or autoscaling.enabled to false"},
		"fewest above most":    {good + redis + "autoscaling: {enabled: true, minReplicas: 5, maxReplicas: 2}", "autoscaling.minReplicas is more than"},
		"drain takes all":      {good + redis + "podDisruptionBudget: {maxUnavailable: 2}", "podDisruptionBudget.maxUnavailable lets a drain take all 2 pods"},
		"drain of the fewest":  {good + redis + "replicas: 5\nautoscaling: {enabled: true, minReplicas: 2}\npodDisruptionBudget: {maxUnavailable: 2}", "lets a drain take all 2 pods"},
		"no lame duck":         {strings.Replace(good, "}", ", ORT_SHUTDOWN_DELAY: 0s}", 1) + redis, "settings.ORT_SHUTDOWN_DELAY is shorter than"},
		"loopback listener":    {strings.Replace(good, "}", ", ORT_LISTEN_ADDR: '127.0.0.1:8080'}", 1), "settings.ORT_LISTEN_ADDR is 127.0.0.1:8080"},
		"one port for both":    {strings.Replace(good, "}", ", ORT_LISTEN_ADDR: ':9090'}", 1), "have one port"},
		"setting in extraEnv":  {good + "extraEnv: [{name: ORT_LOG_LEVEL, value: debug}]", "extraEnv sets ORT_LOG_LEVEL: set it under settings"},
		"two CAs":              {good + "secrets: {upstreamCA: {existingSecret: a, existingConfigMap: b}}", "secrets.upstreamCA has existingSecret and existingConfigMap"},
		"CA twice":             {strings.Replace(good, "}", ", ORT_UPSTREAM_CA_FILE: /ca.pem}", 1) + "secrets: {upstreamCA: {existingSecret: a}}", "are both set"},
		"certificate twice":    {strings.Replace(good, "}", ", ORT_TLS_CERT_FILE: /tls.crt}", 1) + "secrets: {tls: {existingSecret: a}}", "are both set"},
		"backup of redis":      {good + redis + "backup: {enabled: true, existingClaim: c}", "back up Redis itself"},
		"backup without token": {good + "backup: {enabled: true, existingClaim: c}", "secrets.adminToken.existingSecret is not"},
		"backup without keys":  {good + "backup: {enabled: true, existingClaim: c}\nsecrets: {adminToken: {existingSecret: a}}", "secrets.sealingKeys.existingSecret is not"},
		"backup to nowhere":    {good + "backup: {enabled: true}\nsecrets: {adminToken: {existingSecret: a}, sealingKeys: {existingSecret: k}}", "backup.existingClaim is not"},
		"backup onto itself":   {good + "backup: {enabled: true, existingClaim: c}\nsecrets: {adminToken: {existingSecret: a}, sealingKeys: {existingSecret: k}}\nstore: {bolt: {existingClaim: c}}", "a copy beside the original"},
		"route to no gateway":  {good + "httpRoute: {enabled: true}", "httpRoute.parentRefs is empty: name the Gateway"},
		"recipe standalone":    {good + "sidecar: {recipe: dex}", "set mode to sidecar"},
		"IdP of unknown size":  {sidecarOf("idpSelector: {app: idp}"), "sidecar.idpReplicas is not set"},
		"several IdPs on bolt": {sidecarOf("idpSelector: {app: idp}, idpReplicas: 2"), "sidecar.idpReplicas is 2 and store.type is bolt"},
		"sidecar of nobody":    {sidecarOf("idpReplicas: 1"), "sidecar.idpSelector is empty: give the labels"},
		"claim that locks":     {sidecarOf("idpReplicas: 1, idpSelector: {app: idp}") + "store: {bolt: {existingClaim: c}}", "set sidecar.idpStopsBeforeStart to true"},
		"IdP by its Service":   {strings.Replace(sidecarOf("idpReplicas: 1, idpSelector: {app: idp}"), "}", ", ORT_UPSTREAM_URL: 'http://idp:8080'}", 1), "settings.ORT_UPSTREAM_URL is http://idp:8080: in a sidecar"},
		"port of the IdP":      {strings.Replace(sidecarOf("idpReplicas: 1, idpSelector: {app: idp}"), "}", ", ORT_LISTEN_ADDR: ':8080'}", 1), "settings.ORT_LISTEN_ADDR has port 8080, which the IdP has"},
		"port of JGroups":      {strings.Replace(sidecarOf("idpReplicas: 1, idpSelector: {app: idp}"), "}", ", ORT_ADMIN_ADDR: ':7800'}", 1), "settings.ORT_ADMIN_ADDR has port 7800"},
		"backup of a sidecar":  {sidecarOf("idpReplicas: 1, idpSelector: {app: idp}") + "backup: {enabled: true}", "backup.enabled is set and mode is sidecar"},
		"scaling of a sidecar": {sidecarOf("idpReplicas: 1, idpSelector: {app: idp}") + "autoscaling: {enabled: true}", "autoscaling.enabled is set and mode is sidecar"},
		"two selectors":        {sidecarOf("idpReplicas: 1, idpSelector: {app: idp}") + "networkPolicy: {idp: {podSelector: {a: b}}}", "networkPolicy.idp.podSelector is for mode standalone"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := render(theChart(t), parseValues(t, c.values), install{})
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %q", err, c.says)
			}
		})
	}
}

// By version: what a cluster cannot do is refused before it hangs there.
func TestRefusalsByVersion(t *testing.T) {
	native := parseValues(t, sidecarOf("idpReplicas: 1, idpSelector: {app: idp}, form: native"))
	if _, err := render(theChart(t), native, install{kube: "1.28.0"}); err == nil || !strings.Contains(err.Error(), "set it to container") {
		t.Errorf("native on 1.28: %v", err)
	}
	if _, err := render(theChart(t), native, install{kube: "1.29.0"}); err != nil {
		t.Errorf("native on 1.29: %v", err)
	}
	if _, err := render(theChart(t), parseValues(t, good), install{kube: "1.27.9"}); err == nil {
		t.Error("1.27 is taken, and no golden shows what it gets")
	}
}
