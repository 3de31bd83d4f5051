{{/* The gateway's settings: what the operator set, over what the chart sets by itself. */}}

{{/* native or container: how the sidecar stands in the pod. */}}
{{- define "ort-gateway.sidecar.form" -}}
{{- if ne .Values.sidecar.form "auto" -}}
{{- .Values.sidecar.form -}}
{{- else -}}
{{- ternary "native" "container" (semverCompare ">=1.29-0" .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- end }}

{{/* Settings that differ from the program's own defaults. */}}
{{- define "ort-gateway.defaults" -}}
ORT_LISTEN_ADDR: ":8080"
ORT_ADMIN_ADDR: ":9090"
ORT_SHUTDOWN_DELAY: 5s
ORT_SHUTDOWN_TIMEOUT: 15s
{{- if eq .Values.mode "sidecar" }}
{{- /* Not Keycloak's 8080 and 9000: one network namespace. */}}
ORT_LISTEN_ADDR: ":7080"
ORT_ADMIN_ADDR: ":7090"
ORT_UPSTREAM_URL: http://127.0.0.1:{{ int .Values.sidecar.idpPort }}
{{- if eq (include "ort-gateway.sidecar.form" .) "native" }}
{{- /* It gets SIGTERM only after the IdP's container has ended, and that one sleeps before: nobody calls any more. */}}
ORT_SHUTDOWN_DELAY: 0s
{{- end }}
{{- end }}
{{- end }}

{{/* All settings as a YAML map of text: numbers without exponent, lists with commas. */}}
{{- define "ort-gateway.settings" -}}
{{- $all := dict -}}
{{- range $name, $value := include "ort-gateway.defaults" . | fromYaml -}}
{{- $_ := set $all $name $value -}}
{{- end -}}
{{- range $name, $value := .Values.settings -}}
{{- if kindIs "slice" $value -}}
{{- $_ := set $all $name (join "," $value) -}}
{{- else if kindIs "float64" $value -}}
{{- $_ := set $all $name (int64 $value | toString) -}}
{{- else -}}
{{- $_ := set $all $name (toString $value) -}}
{{- end -}}
{{- end -}}
{{- toYaml $all -}}
{{- end }}

{{/* One setting by name. Called with (list $ "ORT_…"). */}}
{{- define "ort-gateway.setting" -}}
{{- get (include "ort-gateway.settings" (index . 0) | fromYaml) (index . 1) -}}
{{- end }}

{{/* The port of an address setting. Called with (list $ "ORT_…_ADDR"). */}}
{{- define "ort-gateway.port" -}}
{{- include "ort-gateway.setting" . | regexFind "[0-9]+$" -}}
{{- end }}

{{/* Whole seconds of a Go duration, rounded up. */}}
{{- define "ort-gateway.seconds" -}}
{{- $total := 0.0 -}}
{{- $factors := dict "h" 3600.0 "m" 60.0 "s" 1.0 "ms" 0.001 "us" 0.000001 "µs" 0.000001 "ns" 0.000000001 -}}
{{- range regexFindAll "[0-9.]+(ms|us|µs|ns|s|m|h)" . -1 -}}
{{- $unit := regexFind "[a-zµ]+$" . -}}
{{- $total = addf $total (mulf (float64 (trimSuffix $unit .)) (get $factors $unit)) -}}
{{- end -}}
{{- ceil $total | int -}}
{{- end }}

{{/* Seconds that the gateway takes to stop: both of its pauses, and 5 for the end of what runs in the background. */}}
{{- define "ort-gateway.stopSeconds" -}}
{{- $delay := include "ort-gateway.setting" (list . "ORT_SHUTDOWN_DELAY") | include "ort-gateway.seconds" | int -}}
{{- $timeout := include "ort-gateway.setting" (list . "ORT_SHUTDOWN_TIMEOUT") | include "ort-gateway.seconds" | int -}}
{{- add $delay $timeout 5 -}}
{{- end }}

{{/* Files that the container reads: secret or config map, key, mount point, file and variable. */}}
{{- define "ort-gateway.files" -}}
{{- $s := .Values.secrets -}}
{{- $redis := eq .Values.store.type "redis" -}}
files:
{{- if $redis }}
- {name: store-url, secret: {{ $s.storeURL.existingSecret | quote }}, items: {store-url: {{ $s.storeURL.key | quote }}}, env: {ORT_STORE_URL_FILE: store-url}}
{{- end }}
{{- with $s.sealingKeys.existingSecret }}
- {name: sealing-keys, secret: {{ . | quote }}, items: {sealing-keys: {{ $s.sealingKeys.key | quote }}}, env: {ORT_SEALING_KEYS_FILE: sealing-keys}}
{{- end }}
{{- with $s.adminToken.existingSecret }}
- {name: admin-token, secret: {{ . | quote }}, items: {admin-token: {{ $s.adminToken.key | quote }}}, env: {ORT_ADMIN_TOKEN_FILE: admin-token}}
{{- end }}
{{- with $s.tls.existingSecret }}
- {name: tls, secret: {{ . | quote }}, items: {tls.crt: {{ $s.tls.certKey | quote }}, tls.key: {{ $s.tls.keyKey | quote }}}, env: {ORT_TLS_CERT_FILE: tls.crt, ORT_TLS_KEY_FILE: tls.key}}
{{- end }}
{{- range $name, $ca := dict "upstream-ca" $s.upstreamCA "store-ca" $s.storeCA }}
{{- if or $ca.existingSecret $ca.existingConfigMap }}
- {name: {{ $name }}, secret: {{ $ca.existingSecret | quote }}, configMap: {{ $ca.existingConfigMap | quote }}, items: {ca.crt: {{ $ca.key | quote }}}, env: {{ ternary (dict "ORT_UPSTREAM_CA_FILE" "ca.crt") dict (eq $name "upstream-ca") | toJson }}}
{{- end }}
{{- end }}
{{- end }}

{{/* The container's environment, in the order of names. */}}
{{- define "ort-gateway.env" -}}
{{- $env := include "ort-gateway.settings" . | fromYaml -}}
{{- range (include "ort-gateway.files" . | fromYaml).files -}}
{{- $file := . -}}
{{- range $name, $path := .env -}}
{{- $_ := set $env $name (printf "/run/ort/%s/%s" $file.name $path) -}}
{{- end -}}
{{- end -}}
{{- /* The image has a store URL of its own, and the program takes a variable or its file, not both: empty is not set. */ -}}
{{- $_ := set $env "ORT_STORE_URL" (ternary "bolt:/data/ort-sessions.db" "" (eq .Values.store.type "bolt")) -}}
{{- range $name, $value := $env }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}
