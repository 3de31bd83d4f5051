{{/* What would lose data or lock up is refused here, with a sentence that says what to set. */}}

{{- define "ort-gateway.checks" -}}
{{- if not .Values.enabled -}}
{{- fail "enabled is false: it is for the condition of a chart that has this one as a dependency; uninstall the release instead" -}}
{{- end -}}
{{- include "ort-gateway.checks.settings" . -}}
{{- include "ort-gateway.checks.store" . -}}
{{- include "ort-gateway.checks.files" . -}}
{{- if eq .Values.mode "sidecar" -}}
{{- include "ort-gateway.checks.sidecar" . -}}
{{- else -}}
{{- include "ort-gateway.checks.standalone" . -}}
{{- end -}}
{{- end }}

{{- define "ort-gateway.checks.settings" -}}
{{- $s := include "ort-gateway.settings" . | fromYaml -}}
{{- if not $s.ORT_ISSUER -}}
{{- fail "settings.ORT_ISSUER is not set: give the IdP's issuer URL, such as https://id.example.com/realms/main" -}}
{{- end -}}
{{- if not $s.ORT_UPSTREAM_URL -}}
{{- fail "settings.ORT_UPSTREAM_URL is not set: give the IdP's Service, such as http://keycloak.idp.svc:8080" -}}
{{- end -}}
{{- range list "ORT_LISTEN_ADDR" "ORT_ADMIN_ADDR" -}}
{{- if not (regexMatch "^(0\\.0\\.0\\.0|\\[::\\])?:[1-9][0-9]*$" (get $s .)) -}}
{{- fail (printf "settings.%s is %s: probes and Services ask at the pod's address, so set a port alone, such as %s" . (get $s .) (get (include "ort-gateway.defaults" $ | fromYaml) .)) -}}
{{- end -}}
{{- end -}}
{{- if eq (include "ort-gateway.port" (list . "ORT_LISTEN_ADDR")) (include "ort-gateway.port" (list . "ORT_ADMIN_ADDR")) -}}
{{- fail "settings.ORT_LISTEN_ADDR and settings.ORT_ADMIN_ADDR have one port: set two" -}}
{{- end -}}
{{- range .Values.extraEnv -}}
{{- if hasPrefix "ORT_" .name -}}
{{- fail (printf "extraEnv sets %s: set it under settings, or as a Secret under secrets" .name) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "ort-gateway.checks.store" -}}
{{- $secrets := .Values.secrets -}}
{{- $name := include "ort-gateway.fullname" . -}}
{{- if eq .Values.store.type "redis" -}}
{{- if not $secrets.storeURL.existingSecret -}}
{{- fail (printf "store.type is redis and secrets.storeURL.existingSecret is not set: kubectl create secret generic %s-store --from-literal=%s='redis://user:password@redis:6379/0', then set it to %s-store" $name $secrets.storeURL.key $name) -}}
{{- end -}}
{{- if not $secrets.sealingKeys.existingSecret -}}
{{- fail (printf "store.type is redis and secrets.sealingKeys.existingSecret is not set (all replicas need one key, and the chart never makes one): kubectl create secret generic %s-keys --from-literal=%s=\"k1:$(openssl rand -base64 32)\", then set it to %s-keys" $name $secrets.sealingKeys.key $name) -}}
{{- end -}}
{{- if .Values.store.bolt.existingClaim -}}
{{- fail "store.bolt.existingClaim is set and store.type is redis: set one of them" -}}
{{- end -}}
{{- else if $secrets.storeURL.existingSecret -}}
{{- fail "secrets.storeURL.existingSecret is set and store.type is bolt: set store.type to redis, or leave the Secret out" -}}
{{- end -}}
{{- end }}

{{- define "ort-gateway.checks.files" -}}
{{- $secrets := .Values.secrets -}}
{{- range $name := list "upstreamCA" "storeCA" -}}
{{- $ca := get $secrets $name -}}
{{- if and $ca.existingSecret $ca.existingConfigMap -}}
{{- fail (printf "secrets.%s has existingSecret and existingConfigMap: set one of them" $name) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.settings.ORT_UPSTREAM_CA_FILE (or $secrets.upstreamCA.existingSecret $secrets.upstreamCA.existingConfigMap) -}}
{{- fail "settings.ORT_UPSTREAM_CA_FILE and secrets.upstreamCA are both set: set one of them" -}}
{{- end -}}
{{- if and (or .Values.settings.ORT_TLS_CERT_FILE .Values.settings.ORT_TLS_KEY_FILE) $secrets.tls.existingSecret -}}
{{- fail "settings.ORT_TLS_CERT_FILE or ORT_TLS_KEY_FILE and secrets.tls are both set: set one of them" -}}
{{- end -}}
{{- end }}

{{- define "ort-gateway.checks.standalone" -}}
{{- $redis := eq .Values.store.type "redis" -}}
{{- if .Values.sidecar.recipe -}}
{{- fail "sidecar.recipe is set and mode is standalone: set mode to sidecar" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (not $redis) -}}
{{- fail "autoscaling.enabled is set and store.type is bolt, which one gateway owns: set store.type to redis, or autoscaling.enabled to false" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- fail "autoscaling.minReplicas is more than autoscaling.maxReplicas: set it lower" -}}
{{- end -}}
{{- $fewest := ternary (int .Values.autoscaling.minReplicas) (int .Values.replicas) .Values.autoscaling.enabled -}}
{{- if and $redis .Values.podDisruptionBudget.enabled (gt $fewest 1) (ge (int .Values.podDisruptionBudget.maxUnavailable) $fewest) -}}
{{- fail (printf "podDisruptionBudget.maxUnavailable lets a drain take all %d pods: set it lower" $fewest) -}}
{{- end -}}
{{- $delay := include "ort-gateway.setting" (list . "ORT_SHUTDOWN_DELAY") | include "ort-gateway.seconds" | int -}}
{{- if and $redis (lt $delay (int .Values.probes.readiness.periodSeconds)) -}}
{{- fail (printf "settings.ORT_SHUTDOWN_DELAY is shorter than probes.readiness.periodSeconds (%d s): load balancers would still send to a pod that is gone; set it longer, 5s at least" (int .Values.probes.readiness.periodSeconds)) -}}
{{- end -}}
{{- if .Values.backup.enabled -}}
{{- include "ort-gateway.checks.backup" . -}}
{{- end -}}
{{- include "ort-gateway.checks.ways" . -}}
{{- end }}

{{- define "ort-gateway.checks.backup" -}}
{{- if eq .Values.store.type "redis" -}}
{{- fail "backup.enabled is set and store.type is redis: back up Redis itself, and set backup.enabled to false" -}}
{{- end -}}
{{- if not .Values.secrets.adminToken.existingSecret -}}
{{- fail "backup.enabled is set and secrets.adminToken.existingSecret is not: the copy is asked of the session API, which needs a token" -}}
{{- end -}}
{{- if not .Values.secrets.sealingKeys.existingSecret -}}
{{- fail "backup.enabled is set and secrets.sealingKeys.existingSecret is not: a copy opens with the sealing keys alone, and those that the gateway made are lost with the volume; put them into a Secret (README, Backup)" -}}
{{- end -}}
{{- if not .Values.backup.existingClaim -}}
{{- fail "backup.enabled is set and backup.existingClaim is not: give the claim that the copies go to" -}}
{{- end -}}
{{- if eq .Values.backup.existingClaim .Values.store.bolt.existingClaim -}}
{{- fail "backup.existingClaim is the store's own: give another, a copy beside the original is lost with it" -}}
{{- end -}}
{{- end }}

{{- define "ort-gateway.checks.ways" -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
{{- fail "httpRoute.enabled is set and httpRoute.parentRefs is empty: name the Gateway, such as [{name: public, namespace: gateways}]" -}}
{{- end -}}
{{- end }}

{{- define "ort-gateway.checks.sidecar" -}}
{{- $s := .Values.sidecar -}}
{{- $redis := eq .Values.store.type "redis" -}}
{{- $replicas := int $s.idpReplicas -}}
{{- if lt $replicas 1 -}}
{{- fail "sidecar.idpReplicas is not set: say how many pods the IdP runs, for with more than one the store must be Redis" -}}
{{- end -}}
{{- if and (gt $replicas 1) (not $redis) -}}
{{- fail (printf "sidecar.idpReplicas is %d and store.type is bolt, so each pod would have sessions of its own and users would be logged out by chance: set store.type to redis" $replicas) -}}
{{- end -}}
{{- if and .Values.store.bolt.existingClaim (not $redis) (not $s.idpStopsBeforeStart) -}}
{{- fail "store.bolt.existingClaim is set in a sidecar: a new pod of the IdP would wait for the file that the old one holds, and the old one for the new; run the IdP as a StatefulSet or a Deployment with strategy Recreate, and set sidecar.idpStopsBeforeStart to true" -}}
{{- end -}}
{{- if not $s.idpSelector -}}
{{- fail "sidecar.idpSelector is empty: give the labels of the IdP's pods, such as {app: keycloak}" -}}
{{- end -}}
{{- $upstream := include "ort-gateway.setting" (list . "ORT_UPSTREAM_URL") -}}
{{- if not (regexMatch "^https?://(127[.][0-9.]+|localhost|\\[::1\\])(:[0-9]+)?/?$" $upstream) -}}
{{- fail (printf "settings.ORT_UPSTREAM_URL is %s: in a sidecar the IdP is in the same pod, and its Service leads to the gateway; leave it out, and set sidecar.idpPort" $upstream) -}}
{{- end -}}
{{- $taken := prepend ($s.idpOtherPorts | default list) $s.idpPort -}}
{{- range $name := list "ORT_LISTEN_ADDR" "ORT_ADMIN_ADDR" -}}
{{- $port := include "ort-gateway.port" (list $ $name) -}}
{{- range $taken -}}
{{- if eq $port (int . | toString) -}}
{{- fail (printf "settings.%s has port %s, which the IdP has in the same pod (sidecar.idpPort, sidecar.idpOtherPorts): set another" $name $port) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (eq (include "ort-gateway.sidecar.form" .) "native") (semverCompare "<1.29-0" .Capabilities.KubeVersion.Version) -}}
{{- fail (printf "sidecar.form is native, and Kubernetes %s would wait for the gateway to end before it starts the IdP: set it to container" .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- range $name := list "autoscaling" "backup" -}}
{{- if (get $.Values $name).enabled -}}
{{- fail (printf "%s.enabled is set and mode is sidecar, where the pods are the IdP's: set it to false" $name) -}}
{{- end -}}
{{- end -}}
{{- if .Values.networkPolicy.idp.podSelector -}}
{{- fail "networkPolicy.idp.podSelector is for mode standalone: in a sidecar sidecar.idpSelector says it" -}}
{{- end -}}
{{- include "ort-gateway.checks.ways" . -}}
{{- end }}
