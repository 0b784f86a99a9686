{{/* For `env:` of the app's container; what `app.env` sets is not there twice. */}}
{{- define "pulsegate-lib.appEnv" -}}
{{- $own := list -}}
{{- range .values.app.env -}}{{- $own = append $own .name -}}{{- end -}}
{{- if not (or (include "pulsegate-lib.wraps" .) (has "PORT" $own)) }}
# Where the app is looked for. Where pulsegate starts the app, it says so itself.
- name: PORT
  value: {{ .values.app.port | quote }}
{{- end }}
{{- if and .values.cli.login.volume (not (has "CLAUDE_CONFIG_DIR" $own)) }}
- name: CLAUDE_CONFIG_DIR
  value: {{ .values.cli.login.mountPath | quote }}
{{- end }}
{{- with .values.app.env }}
{{ toYaml . }}
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
Fields of the app's container: its ports, and its preStop, which keeps it until its last request has been answered; or, where pulsegate
is its entry point, command, ports and probes.
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
{{- with $values.app.ports }}
  {{- toYaml . | nindent 2 }}
{{- end }}
{{ include "pulsegate-lib.probes" . }}
{{- with $values.app.lifecycle }}
lifecycle:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- else -}}
ports:
  - name: app
    containerPort: {{ $values.app.port }}
    protocol: TCP
  {{- with $values.app.ports }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- if or $values.app.lifecycle (ne $values.drain.appPreStop "none") }}
lifecycle:
  {{- with $values.app.lifecycle }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- if eq $values.drain.appPreStop "waitForDrain" }}
  preStop:
    # Answered when the sidecar has been told to drain and nothing is in flight any more.
    httpGet:
      path: /-/wait-for-drain?timeout={{ $values.drain.graceSeconds }}s
      port: {{ $values.sidecar.ports.admin }}
      scheme: {{ ternary "HTTPS" "HTTP" (ne $values.admin.tls.existingSecret "") }}
{{- else if eq $values.drain.appPreStop "sleep" }}
  preStop:
    sleep:
      seconds: {{ $values.drain.sleepSeconds }}
{{- end -}}
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
  image: {{ include "pulsegate-lib.image" . | quote }}
  imagePullPolicy: {{ $sidecar.image.pullPolicy }}
  args: [copy, /pulsegate]
  {{- with $sidecar.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- include "pulsegate-lib.securityContext" . | nindent 4 }}
  volumeMounts:
    - name: pulsegate-bin
      mountPath: /pulsegate
{{- end -}}
