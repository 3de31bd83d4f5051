{{/* Names and labels. */}}

{{- define "ort-gateway.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end }}

{{/* 52 characters leave room for the suffixes of other objects, and for the 11 that a CronJob adds. */}}
{{- define "ort-gateway.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else -}}
{{- $name := include "ort-gateway.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "ort-gateway.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "ort-gateway.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end }}

{{/* Labels by which the gateway's own pods are selected; they never change. Called with (dict "root" $ "component" …). */}}
{{- define "ort-gateway.selectorLabels" -}}
app.kubernetes.io/name: {{ include "ort-gateway.name" .root | toYaml }}
app.kubernetes.io/instance: {{ toYaml .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "ort-gateway.labels" -}}
{{- $own := include "ort-gateway.selectorLabels" . | fromYaml -}}
{{- $own = merge $own (dict
  "app.kubernetes.io/version" (.root.Chart.AppVersion | replace "+" "_")
  "app.kubernetes.io/managed-by" .root.Release.Service
  "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")) -}}
{{- toYaml (merge $own (.root.Values.commonLabels | default dict)) -}}
{{- end }}

{{/* Labels that select the pods with the gateway's public port, whoever's they are. */}}
{{- define "ort-gateway.podSelector" -}}
{{- if eq .Values.mode "sidecar" -}}
{{- toYaml .Values.sidecar.idpSelector -}}
{{- else -}}
{{- include "ort-gateway.selectorLabels" (dict "root" . "component" "gateway") -}}
{{- end -}}
{{- end }}

{{- define "ort-gateway.image" -}}
{{- $registry := ((.Values.global).imageRegistry) | default .Values.image.registry -}}
{{- $image := .Values.image.repository -}}
{{- if $registry -}}{{- $image = printf "%s/%s" $registry $image -}}{{- end -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $image .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end }}

{{- define "ort-gateway.pullSecrets" -}}
{{- $all := list -}}
{{- range ((.Values.global).imagePullSecrets) -}}
{{- $all = append $all (kindIs "string" . | ternary (dict "name" .) .) -}}
{{- end -}}
{{- with concat $all (.Values.imagePullSecrets | default list) -}}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end }}

{{/* Where the admin listener is reached inside the cluster. */}}
{{- define "ort-gateway.adminService" -}}
{{- printf "%s-admin.%s.svc:%s" (include "ort-gateway.fullname" .) .Release.Namespace (include "ort-gateway.port" (list . "ORT_ADMIN_ADDR")) -}}
{{- end }}
