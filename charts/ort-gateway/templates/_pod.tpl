{{/* Container and volumes, the same in every pod that the gateway runs in. */}}

{{- define "ort-gateway.probe" -}}
{{- $numbers := index . 0 -}}
httpGet:
  path: {{ index . 1 }}
  port: {{ index . 2 }}
{{- range $name, $number := $numbers }}
{{ $name }}: {{ int $number }}
{{- end }}
{{- end }}

{{/* The container. Ports and probes go by number: a Service that names the port of an init container finds no pod before
     Kubernetes 1.32. Start-up and life ask for this process alone: a store or an IdP that is down is no reason to restart it, and
     in a sidecar the IdP starts only after the start-up probe has passed. */}}
{{- define "ort-gateway.container" -}}
{{- $admin := include "ort-gateway.port" (list . "ORT_ADMIN_ADDR") -}}
name: ort-gateway
image: {{ include "ort-gateway.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- with .Values.securityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
env:
  {{- include "ort-gateway.env" . | trim | nindent 2 }}
ports:
  - name: ort-public
    containerPort: {{ include "ort-gateway.port" (list . "ORT_LISTEN_ADDR") }}
    protocol: TCP
  - name: ort-admin
    containerPort: {{ $admin }}
    protocol: TCP
startupProbe:
  {{- include "ort-gateway.probe" (list .Values.probes.startup "/livez" $admin) | nindent 2 }}
livenessProbe:
  {{- include "ort-gateway.probe" (list .Values.probes.liveness "/livez" $admin) | nindent 2 }}
readinessProbe:
  {{- include "ort-gateway.probe" (list .Values.probes.readiness "/readyz" $admin) | nindent 2 }}
{{- with .Values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with include "ort-gateway.mounts" . | trim }}
volumeMounts:
  {{- . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "ort-gateway.mounts" -}}
{{- if eq .Values.store.type "bolt" }}
- name: ort-data
  mountPath: /data
{{- end }}
{{- include "ort-gateway.fileMounts" . }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Whole directories: a file that is mounted by subPath does not change with its Secret. */}}
{{- define "ort-gateway.fileMounts" -}}
{{- range (include "ort-gateway.files" . | fromYaml).files }}
- name: ort-{{ .name }}
  mountPath: /run/ort/{{ .name }}
  readOnly: true
{{- end }}
{{- end }}

{{/* Volumes of the files, and in a sidecar of the store. */}}
{{- define "ort-gateway.volumes" -}}
{{- if eq .Values.store.type "bolt" }}
{{- with .Values.store.bolt.existingClaim }}
- name: ort-data
  persistentVolumeClaim:
    claimName: {{ . | toYaml }}
{{- else }}
{{- if eq .Values.mode "sidecar" }}
- name: ort-data
  emptyDir: {}
{{- end }}
{{- end }}
{{- end }}
{{- include "ort-gateway.fileVolumes" . }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "ort-gateway.fileVolumes" -}}
{{- range (include "ort-gateway.files" . | fromYaml).files }}
- name: ort-{{ .name }}
  {{- if .secret }}
  secret:
    secretName: {{ toYaml .secret }}
  {{- else }}
  configMap:
    name: {{ toYaml .configMap }}
  {{- end }}
    items:
    {{- range $path, $key := .items }}
      - key: {{ toYaml $key }}
        path: {{ $path }}
    {{- end }}
{{- end }}
{{- end }}

{{/* The pod of the gateway's own: standalone. */}}
{{- define "ort-gateway.podTemplate" -}}
metadata:
  labels:
    {{- toYaml (merge (include "ort-gateway.labels" (dict "root" . "component" "gateway") | fromYaml) (.Values.podLabels | default dict)) | nindent 4 }}
  {{- with .Values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "ort-gateway.serviceAccountName" . | toYaml }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ include "ort-gateway.stopSeconds" . }}
  {{- with include "ort-gateway.pullSecrets" . }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with .Values.podSecurityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with include "ort-gateway.podPlace" . | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml . | nindent 4 }}
  {{- else }}
  {{- if eq .Values.store.type "redis" }}
  topologySpreadConstraints:
    {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      matchLabelKeys: [pod-template-hash]
      labelSelector:
        matchLabels:
          {{- include "ort-gateway.selectorLabels" (dict "root" $ "component" "gateway") | nindent 10 }}
    {{- end }}
  {{- end }}
  {{- end }}
  containers:
    - {{ include "ort-gateway.container" . | nindent 6 | trim }}
  {{- with include "ort-gateway.volumes" . | trim }}
  volumes:
    {{- . | nindent 4 }}
  {{- end }}
{{- end }}

{{/* Where a pod runs, and as what: also for backup and test. */}}
{{- define "ort-gateway.podPlace" -}}
{{- if kindIs "bool" .Values.hostUsers }}
hostUsers: {{ .Values.hostUsers }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . | toYaml }}
{{- end }}
{{- with .Values.runtimeClassName }}
runtimeClassName: {{ . | toYaml }}
{{- end }}
{{- range $name := list "nodeSelector" "tolerations" "affinity" "hostAliases" }}
{{- with get $.Values $name }}
{{ $name }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}
