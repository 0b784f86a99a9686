{{/*
Everything is named after the release: `helm install my-app` makes a Service my-app. Releases have at most 53 characters, which
leaves room for what is appended.
*/}}
{{- define "pulsegate.name" -}}
{{- $name := .Values.fullnameOverride | default .Release.Name | replace "." "-" -}}
{{- if regexMatch "^[0-9]" $name -}}
{{- fail (printf "%s cannot be the name of a Service, which begins with a letter: set fullnameOverride" $name) -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{/* What a Deployment's selector cannot change any more: nothing here depends on versions. */}}
{{- define "pulsegate.selector" -}}
app.kubernetes.io/name: {{ .Values.nameOverride | default .Chart.Name | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "pulsegate.ownLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "pulsegate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* With those of the values below: (list $ (list "commonLabels" …)); the later ones win. */}}
{{- define "pulsegate.labelsWith" -}}
{{- $root := first . -}}
{{- $own := include "pulsegate.ownLabels" $root -}}
{{- $further := dict -}}
{{- range last . -}}{{- $further = merge (deepCopy .) $further -}}{{- end -}}
{{- range $label, $ignored := $further -}}
{{- if hasKey (fromYaml $own) $label -}}
{{- fail (printf "the label %s is the chart's: selectors and charts go by it" $label) -}}
{{- end -}}
{{- end -}}
{{ $own }}
{{- with $further }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "pulsegate.labels" -}}
{{- include "pulsegate.labelsWith" (list . (list (.Values.commonLabels | default dict))) -}}
{{- end -}}

{{/* Labels of an object, and its own further ones: (list $ .labels). */}}
{{- define "pulsegate.labelsOf" -}}
{{- $root := first . -}}
{{- include "pulsegate.labelsWith" (list $root (list ($root.Values.commonLabels | default dict) (last . | default dict))) -}}
{{- end -}}

{{- define "pulsegate.metadata" -}}
name: {{ include "pulsegate.name" . | quote }}
namespace: {{ .Release.Namespace | quote }}
labels:
  {{- include "pulsegate.labels" . | nindent 2 }}
{{- end -}}

{{/* The same with further labels, and with annotations: (list $ .labels .annotations). */}}
{{- define "pulsegate.metadataOf" -}}
{{- $root := index . 0 -}}
name: {{ include "pulsegate.name" $root | quote }}
namespace: {{ $root.Release.Namespace | quote }}
labels:
  {{- include "pulsegate.labelsOf" (list $root (index . 1)) | nindent 2 }}
{{- with index . 2 }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
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
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}
