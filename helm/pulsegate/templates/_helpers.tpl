{{/* Everything is named after the release: `helm install my-app` makes a Service my-app. */}}
{{- define "pulsegate.name" -}}
{{- .Values.fullnameOverride | default .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "pulsegate.selector" -}}
app.kubernetes.io/name: {{ .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "pulsegate.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "pulsegate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "pulsegate.metadata" -}}
name: {{ include "pulsegate.name" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "pulsegate.labels" . | nindent 2 }}
{{- end -}}

{{- define "pulsegate.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "pulsegate.name" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* Labels of the pod of `helm test`: none by which the Service would take it for the app. */}}
{{- define "pulsegate.testLabels" -}}
app.kubernetes.io/name: {{ .Values.nameOverride | default .Chart.Name | trunc 58 | trimSuffix "-" }}-test
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* How Prometheus finds the certificate of the management port good: by the authority in the same Secret. */}}
{{- define "pulsegate.scrapeTls" -}}
{{- if .Values.admin.tls.existingSecret -}}
tlsConfig:
  ca:
    secret:
      name: {{ .Values.admin.tls.existingSecret }}
      key: ca.crt
  serverName: {{ include "pulsegate.name" . }}
{{- end -}}
{{- end -}}
