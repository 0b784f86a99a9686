{{/* For `env:` of the app's container. */}}
{{- define "pulsegate-lib.appEnv" -}}
{{- if not (include "pulsegate-lib.wraps" .) }}
# Where the app is looked for. Where pulsegate starts the app, it says so itself.
- name: PORT
  value: {{ .values.app.port | quote }}
{{- end }}
{{- if .values.cli.login.volume }}
- name: CLAUDE_CONFIG_DIR
  value: {{ .values.cli.login.mountPath }}
{{- end }}
{{- end -}}

{{/* For `volumeMounts:` of the app's container. */}}
{{- define "pulsegate-lib.appVolumeMounts" -}}
{{- if include "pulsegate-lib.wraps" . -}}
{{- include "pulsegate-lib.volumeMounts" . }}
{{- else }}
{{- range $volume := list "login" "files" }}
{{- $shared := get $.values.cli $volume }}
{{- if $shared.volume }}
- name: cli-{{ $volume }}
  mountPath: {{ $shared.mountPath }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/*
Fields of the app's container: its port, and its preStop, which keeps it until its last request has been answered; or, where pulsegate is
its entry point, command, ports and probes.
*/}}
{{- define "pulsegate-lib.appFields" -}}
{{- $values := .values -}}
{{- if include "pulsegate-lib.wraps" . -}}
command:
  - {{ ternary "/pulsegate/pulsegate" $values.cli.wrapper.path (eq $values.cli.wrapper.source "copy") }}
  - run
  - --config
  - /etc/pulsegate/pulsegate.toml
  # A PORT among the app's variables is the app's.
  - --port={{ $values.sidecar.ports.traffic }}
  - --
  {{- toYaml $values.app.command | nindent 2 }}
{{ include "pulsegate-lib.ports" . }}
{{ include "pulsegate-lib.probes" . }}
{{- else -}}
ports:
  - name: app
    containerPort: {{ $values.app.port }}
    protocol: TCP
{{- if eq $values.drain.appPreStop "waitForDrain" }}
lifecycle:
  preStop:
    # Answered when the sidecar has been told to drain and nothing is in flight any more.
    httpGet:
      path: /-/wait-for-drain?timeout={{ $values.drain.graceSeconds }}s
      port: {{ $values.sidecar.ports.admin }}
      scheme: {{ ternary "HTTPS" "HTTP" (ne $values.admin.tls.existingSecret "") }}
{{- else if eq $values.drain.appPreStop "sleep" }}
lifecycle:
  preStop:
    sleep:
      seconds: {{ $values.drain.sleepSeconds }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Fields of the pod's spec. */}}
{{- define "pulsegate-lib.podFields" -}}
terminationGracePeriodSeconds: {{ include "pulsegate-lib.terminationGracePeriodSeconds" . }}
{{- if eq .values.cli.visibility "processNamespace" }}
shareProcessNamespace: true
{{- end }}
{{- end -}}

{{/* Puts the program where the app's container finds it: it is one static file. */}}
{{- define "pulsegate-lib.copyContainer" -}}
{{- $sidecar := .values.sidecar -}}
- name: {{ $sidecar.name }}-copy
  image: {{ include "pulsegate-lib.image" . }}
  imagePullPolicy: {{ $sidecar.image.pullPolicy }}
  args: [copy, /pulsegate]
  resources:
    {{- toYaml $sidecar.resources | nindent 4 }}
  securityContext:
    {{- include "pulsegate-lib.securityContext" . | nindent 4 }}
  volumeMounts:
    - name: pulsegate-bin
      mountPath: /pulsegate
{{- end -}}
