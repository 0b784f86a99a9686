{{/* What a ServiceMonitor's and a PodMonitor's endpoint have in common: (list $ .values-of-the-monitor). */}}
{{- define "pulsegate.scrape" -}}
{{- $root := first . -}}
{{- $secret := $root.Values.admin.tls.existingSecret -}}
{{- with last . -}}
path: /metrics
interval: {{ .interval }}
scrapeTimeout: {{ .scrapeTimeout }}
scheme: {{ ternary "https" "http" (ne $secret "") }}
{{- if $secret }}
tlsConfig:
  {{- if .tlsConfig }}
  {{- toYaml .tlsConfig | nindent 2 }}
  {{- else }}
  # By the authority in the same Secret.
  ca:
    secret:
      name: {{ $secret | quote }}
      key: ca.crt
  serverName: {{ include "pulsegate.name" $root | quote }}
  {{- end }}
{{- end }}
{{- with .relabelings }}
relabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
{{- end -}}

{{/*
files/rules.yaml for this release: with its names of metrics, objective and runbook; and, unless they are to speak of every
service, with selectors of its namespace and job. Otherwise each of many releases would raise the alerts of all.
*/}}
{{- define "pulsegate.rules" -}}
{{- $values := .Values.monitoring.prometheusRule -}}
{{- $prefix := printf "%s_" (include "pulsegate-lib.metricsNamespace" (dict "root" $ "values" .Values)) -}}
{{- $groups := list -}}
{{- $file := required "files/rules.yaml is missing" (.Files.Get "files/rules.yaml") | replace "pulsegate_" $prefix | fromYaml -}}
{{- range $file.groups -}}
{{- $rules := list -}}
{{- range .rules -}}
{{- $expr := .expr -}}
{{- if eq (.record | default "") (printf "service:%sobjective:ratio" $prefix) -}}
{{- $expr = printf "vector(%v)" $values.objective -}}
{{- if eq $values.scope "release" -}}
{{- $_ := set . "labels" (dict "namespace" $.Release.Namespace "job" $.Release.Name) -}}
{{- end -}}
{{- else if eq $values.scope "release" -}}
{{- $of := printf "namespace=%q,job=%q" $.Release.Namespace $.Release.Name -}}
{{- $series := printf "((?:service:)?\\b%s[a-z0-9_:]+)" $prefix -}}
{{- $expr = regexReplaceAll (printf "%s\\{" $series) $expr (printf "${1}{%s," $of) -}}
{{- $expr = regexReplaceAll (printf "%s([^{a-z0-9_:]|$)" $series) $expr (printf "${1}{%s}${2}" $of) -}}
{{- end -}}
{{- $_ := set . "expr" $expr -}}
{{- if .alert -}}
{{- $_ := set . "labels" (merge .labels (deepCopy ($values.alertLabels | default dict))) -}}
{{- $_ := set .annotations "runbook_url" (replace "docs/monitoring.md" $values.runbook .annotations.runbook_url) -}}
{{- end -}}
{{- $rules = append $rules . -}}
{{- end -}}
{{- $groups = append $groups (set . "rules" $rules) -}}
{{- end -}}
{{- dict "groups" $groups | toYaml -}}
{{- end -}}
