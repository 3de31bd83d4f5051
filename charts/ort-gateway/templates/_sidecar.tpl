{{/*
Parts for the pods of an IdP, to be included by a chart that has this one as a dependency with mode: sidecar, or printed by
sidecar.recipe and pasted. Each takes this chart's own root: {{ include "ort-gateway.sidecar.volumes" (index .Subcharts "ort-gateway") }}.

  ort-gateway.sidecar.initContainers   list; empty where the form is `container`
  ort-gateway.sidecar.containers       list; empty where the form is `native`
  ort-gateway.sidecar.volumes          list
  ort-gateway.sidecar.idpEnv           list: what the IdP must be told
  ort-gateway.sidecar.idpLifecycle     map: lifecycle of the IdP's container
  ort-gateway.sidecar.gracePeriod      number: terminationGracePeriodSeconds of the pod
*/}}

{{- define "ort-gateway.sidecar.initContainers" -}}
{{- include "ort-gateway.checks" . -}}
{{- if eq (include "ort-gateway.sidecar.form" .) "native" }}
- {{ include "ort-gateway.container" . | nindent 2 | trim }}
  # A native sidecar: the IdP starts once the start-up probe has passed, and stops before it.
  restartPolicy: Always
{{- end }}
{{- end }}

{{- define "ort-gateway.sidecar.containers" -}}
{{- include "ort-gateway.checks" . -}}
{{- if eq (include "ort-gateway.sidecar.form" .) "container" }}
- {{ include "ort-gateway.container" . | nindent 2 | trim }}
{{- end }}
{{- end }}

{{- define "ort-gateway.sidecar.volumes" -}}
{{- include "ort-gateway.volumes" . -}}
{{- end }}

{{/* Origin of the issuers: they share one. */}}
{{- define "ort-gateway.origin" -}}
{{- regexFind "^https?://[^/,]+" (include "ort-gateway.setting" (list . "ORT_ISSUER")) -}}
{{- end }}

{{/* Path before /realms/ in the issuer, Keycloak's http-relative-path: / or /auth. */}}
{{- define "ort-gateway.keycloakPath" -}}
{{- regexReplaceAll "^https?://[^/,]+(.*?)/realms/.*$" (include "ort-gateway.setting" (list . "ORT_ISSUER")) "$1" | default "/" -}}
{{- end }}

{{/* Keycloak's options, by name. It listens on loopback, so that only its own pod reaches it; its management port, which takes over
     that address unless told otherwise, stays open, for the kubelet's probes come from outside. */}}
{{- define "ort-gateway.keycloakOptions" -}}
{{- $path := include "ort-gateway.keycloakPath" . -}}
hostname: {{ include "ort-gateway.origin" . }}{{ ternary "" $path (eq $path "/") }}
{{- if ne $path "/" }}
{{- /* Fixed when an optimized image is built: not said where it is the default anyway. */}}
http-relative-path: {{ $path }}
{{- end }}
http-enabled: "true"
http-host: 127.0.0.1
http-port: {{ int .Values.sidecar.idpPort | quote }}
http-management-host: 0.0.0.0
health-enabled: "true"
proxy-headers: xforwarded
{{- end }}

{{- define "ort-gateway.sidecar.idpEnv" -}}
{{- if eq .Values.sidecar.idp "keycloak" }}
{{- range $name, $value := include "ort-gateway.keycloakOptions" . | fromYaml }}
- name: KC_{{ $name | upper | replace "-" "_" }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* All containers get SIGTERM at once with the plain form, and the IdP gets it at once in any: requests on their way would meet a
     closed port. The sleep counts against the pod's grace period. Before 1.30 it takes a program of the IdP's image. */}}
{{- define "ort-gateway.sidecar.idpLifecycle" -}}
{{- with int .Values.sidecar.preStopSeconds }}
preStop:
  {{- if semverCompare ">=1.30-0" $.Capabilities.KubeVersion.Version }}
  sleep:
    seconds: {{ . }}
  {{- else }}
  exec:
    command: [sleep, {{ . | quote }}]
  {{- end }}
{{- end }}
{{- end }}

{{- define "ort-gateway.sidecar.gracePeriod" -}}
{{- add (int .Values.sidecar.preStopSeconds) (int .Values.sidecar.idpStopSeconds) (include "ort-gateway.stopSeconds" .) -}}
{{- end }}
