{{/* For `initContainers:` of the pod: the sidecar where it is native, otherwise nothing. */}}
{{- define "pulsegate-lib.initContainers" -}}
{{- include "pulsegate-lib.check" . -}}
{{- if include "pulsegate-lib.wraps" . -}}
{{- if eq .values.cli.wrapper.source "copy" -}}
{{- include "pulsegate-lib.copyContainer" . -}}
{{- end -}}
{{- else if eq (include "pulsegate-lib.mode" .) "native" -}}
{{- include "pulsegate-lib.container" . -}}
{{- end -}}
{{- end -}}

{{/* For `containers:` of the pod: the sidecar where it is classic, otherwise nothing. */}}
{{- define "pulsegate-lib.containers" -}}
{{- if and (not (include "pulsegate-lib.wraps" .)) (eq (include "pulsegate-lib.mode" .) "classic") -}}
{{- include "pulsegate-lib.container" . -}}
{{- end -}}
{{- end -}}

{{/* The sidecar. `pulsegate manifest` prints the same. */}}
{{- define "pulsegate-lib.container" -}}
{{- $sidecar := .values.sidecar -}}
- name: {{ $sidecar.name | quote }}
  image: {{ include "pulsegate-lib.image" . | quote }}
  imagePullPolicy: {{ $sidecar.image.pullPolicy }}
  args: [run, --config, /etc/pulsegate/pulsegate.toml]
  {{- if eq (include "pulsegate-lib.mode" .) "native" }}
  # A native sidecar: it starts before the app, gates the pod's readiness, and is stopped after the app.
  restartPolicy: Always
  {{- end }}
  {{- with $sidecar.env }}
  env:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $sidecar.envFrom }}
  envFrom:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- include "pulsegate-lib.ports" . | nindent 2 }}
  {{- include "pulsegate-lib.probes" . | nindent 2 }}
  lifecycle:
    preStop:
      # Not ready from here on, and still serving: this must not end the process.
      exec:
        command: [pulsegate, drain, --config, /etc/pulsegate/pulsegate.toml]
  {{- with $sidecar.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- include "pulsegate-lib.securityContext" . | nindent 4 }}
  volumeMounts:
    {{- include "pulsegate-lib.volumeMounts" . | nindent 4 }}
{{- end -}}

{{/* Ports by number: names of native sidecars reach Services from Kubernetes 1.32 on only. */}}
{{- define "pulsegate-lib.ports" -}}
ports:
  - name: traffic
    containerPort: {{ .values.sidecar.ports.traffic }}
    protocol: TCP
  - name: admin
    containerPort: {{ .values.sidecar.ports.admin }}
    protocol: TCP
{{- end -}}

{{/*
Probes of the management port. Liveness asks no dependency, so nothing that fails elsewhere restarts the pod; startup does
not wait for the app, which a native sidecar holds back until then.
*/}}
{{- define "pulsegate-lib.probes" -}}
{{- $port := .values.sidecar.ports.admin -}}
{{- $scheme := ternary "HTTPS" "HTTP" (ne .values.admin.tls.existingSecret "") -}}
{{- range $index, $name := list "startup" "liveness" "readiness" }}
{{- if $index }}
{{ end }}
{{- $probe := get $.values.sidecar.probes $name -}}
{{ $name }}Probe:
  httpGet:
    path: {{ $probe.path }}
    port: {{ $port }}
    scheme: {{ $scheme }}
  {{- omit $probe "path" | toYaml | nindent 2 }}
{{- end -}}
{{- end -}}

{{/* Whether both containers run as the same user: only so does the kernel let one look at what is the other's. */}}
{{- define "pulsegate-lib.sharesUser" -}}
{{- if or (eq .values.cli.visibility "sharedVolume") (eq .values.cli.visibility "processNamespace") -}}true{{- end -}}
{{- end -}}

{{- define "pulsegate-lib.securityContext" -}}
{{- $context := deepCopy (.values.sidecar.securityContext | default dict) -}}
{{- if include "pulsegate-lib.sharesUser" . -}}
{{- $user := int .values.cli.runAsUser -}}
{{- $_ := set $context "runAsUser" $user -}}
{{- if not $user -}}{{- $_ := set $context "runAsNonRoot" false -}}{{- end -}}
{{- end -}}
{{- toYaml $context -}}
{{- end -}}

{{/* In the container in which pulsegate runs. */}}
{{- define "pulsegate-lib.volumeMounts" -}}
{{- $values := .values -}}
- name: pulsegate-config
  mountPath: /etc/pulsegate
  readOnly: true
{{- if $values.admin.apiKeys.existingSecret }}
- name: pulsegate-keys
  mountPath: /run/pulsegate/keys
  readOnly: true
{{- end }}
{{- if $values.tls.existingSecret }}
- name: pulsegate-proxy-tls
  mountPath: /run/pulsegate/proxy-tls
  readOnly: true
{{- end }}
{{- if $values.admin.tls.existingSecret }}
- name: pulsegate-admin-tls
  mountPath: /run/pulsegate/admin-tls
  readOnly: true
{{- end }}
{{- if include "pulsegate-lib.wraps" . }}
{{- if eq $values.cli.wrapper.source "copy" }}
- name: pulsegate-bin
  mountPath: /pulsegate
  readOnly: true
{{- end }}
{{- else }}
# Where the programs run that checks run, if they run any.
- name: pulsegate-tmp
  mountPath: /tmp
{{- range $volume := list "login" "files" }}
{{- $shared := get $values.cli $volume }}
{{- if $shared.volume }}
# A directory, and read-only: a login that is mounted as a single file is lost when the CLI renews it.
- name: cli-{{ $volume }}
  mountPath: {{ $shared.mountPath }}
  readOnly: true
{{- end }}
{{- end }}
{{- with $values.sidecar.volumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- end -}}

{{/* For `volumes:` of the pod. */}}
{{- define "pulsegate-lib.volumes" -}}
{{- $values := .values -}}
- name: pulsegate-config
  configMap:
    name: {{ include "pulsegate-lib.configMapName" . }}
{{- range $name, $secret := dict "keys" $values.admin.apiKeys "proxy-tls" $values.tls "admin-tls" $values.admin.tls }}
{{- if $secret.existingSecret }}
- name: pulsegate-{{ $name }}
  secret:
    secretName: {{ $secret.existingSecret | quote }}
{{- end }}
{{- end }}
{{- if include "pulsegate-lib.wraps" . }}
{{- if eq $values.cli.wrapper.source "copy" }}
- name: pulsegate-bin
  emptyDir:
    sizeLimit: 64Mi
{{- end }}
{{- else }}
- name: pulsegate-tmp
  emptyDir:
    sizeLimit: 16Mi
{{- range $volume := list "login" "files" }}
{{- with (get $values.cli $volume).volume }}
- name: cli-{{ $volume }}
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}
