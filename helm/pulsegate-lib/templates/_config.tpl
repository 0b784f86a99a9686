{{/* The preset of the configuration: that of a Claude proxy where its CLI can be seen. */}}
{{- define "pulsegate-lib.preset" -}}
{{- .values.preset | default (ternary "none" "claude-proxy" (eq .values.cli.visibility "none")) -}}
{{- end -}}

{{/* What the names of metrics begin with. */}}
{{- define "pulsegate-lib.metricsNamespace" -}}
{{- $own := "" -}}
{{- with .values.config.metrics -}}{{- $own = .namespace -}}{{- end -}}
{{- $own | default .values.metricsNamespace | default (ternary "claude_proxy" "pulsegate" (eq (include "pulsegate-lib.preset" .) "claude-proxy")) -}}
{{- end -}}

{{/* The configuration as TOML: what follows from the values, and `config` over it, key by key. */}}
{{- define "pulsegate-lib.config" -}}
{{- $values := .values -}}
{{- $preset := include "pulsegate-lib.preset" . -}}
{{- $service := $values.serviceName | default (ternary "claude-proxy" (include "pulsegate-lib.name" .) (eq $preset "claude-proxy")) -}}
{{- if not (regexMatch "^[A-Za-z]" $service) -}}
{{- fail (printf "pulsegate wants a service's name to begin with a letter, and %s does not: set serviceName" $service) -}}
{{- end -}}
{{- $settings := dict
      "preset" $preset
      "service" (dict "name" $service)
      "metrics" (dict "namespace" (include "pulsegate-lib.metricsNamespace" .))
      "proxy" (dict "listen" (printf "[::]:%d" (int $values.sidecar.ports.traffic)) "upstream" (printf "http://127.0.0.1:%d" (int $values.app.port)))
      "admin" (dict "listen" (printf "[::]:%d" (int $values.sidecar.ports.admin)))
      "shutdown" (dict "lame_duck" (printf "%ds" (int $values.drain.lameDuckSeconds)) "grace" (printf "%ds" (include "pulsegate-lib.graceSeconds" . | int)))
      "checks" dict "endpoints" dict -}}
{{- with $values.config.proxy -}}{{- if .listen -}}{{- fail "config.proxy.listen is the chart's: set sidecar.ports.traffic" -}}{{- end -}}{{- end -}}
{{- with $values.config.admin -}}{{- if .listen -}}{{- fail "config.admin.listen is the chart's: set sidecar.ports.admin" -}}{{- end -}}{{- end -}}
{{- with $values.config.shutdown -}}{{- if or .grace .lame_duck -}}{{- fail "config.shutdown.grace and lame_duck are the chart's, as the pod's end depends on them: set drain.graceSeconds and drain.lameDuckSeconds" -}}{{- end -}}{{- end -}}
{{- range $name, $tls := dict "proxy" $values.tls "admin" $values.admin.tls -}}
{{- with get $values.config $name -}}{{- if and .tls (not $tls.existingSecret) -}}{{- fail (printf "config.%s.tls without a Secret: probes and Services must know of it, so set %stls.existingSecret" $name (ternary "admin." "" (eq $name "admin"))) -}}{{- end -}}{{- end -}}
{{- end -}}
{{- if include "pulsegate-lib.wraps" . -}}
{{- with $values.config.app -}}{{- if .stop_timeout -}}{{- fail "config.app.stop_timeout is the chart's, as the pod's end depends on it: set drain.appStopSeconds" -}}{{- end -}}{{- end -}}
{{- $_ := set $settings "app" (dict "stop_timeout" (printf "%ds" (int $values.drain.appStopSeconds))) -}}
{{- end -}}
{{- $ports := list -}}
{{- range $values.app.env -}}{{- if eq .name "PORT" -}}{{- $ports = append $ports .name -}}{{- end -}}{{- end -}}
{{- if and $values.config.proxy (not $ports) (not (include "pulsegate-lib.wraps" .)) -}}
{{- $port := regexFind ":[0-9]+/?$" (regexFind "^[a-z0-9]+://(127\\.[0-9.]+|localhost|\\[::1\\]):[0-9]+/?$" (toString $values.config.proxy.upstream)) | trimPrefix ":" | trimSuffix "/" -}}
{{- if and $port (ne (int $port) (int $values.app.port)) -}}
{{- fail (printf "config.proxy.upstream leads to port %s, and the app has its PORT from app.port, which is %d: set app.port" $port (int $values.app.port)) -}}
{{- end -}}
{{- end -}}
{{- range $name, $probe := $values.sidecar.probes -}}
{{- $path := regexReplaceAll "\\?.*" $probe.path "" -}}
{{- with get ($values.config.endpoints | default dict) $path -}}
{{- if eq "off" (toString .dialect) -}}
{{- fail (printf "config.endpoints has %s off, which sidecar.probes.%s.path asks: change one of the two" $path $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if $values.config.preset -}}{{- fail "config.preset is the chart's: set preset" -}}{{- end -}}
{{- include "pulsegate-lib.checks" (dict "values" $values "preset" $preset "into" $settings) -}}
{{- include "pulsegate-lib.access" (dict "values" $values "into" $settings) -}}
{{- range list "checks" "endpoints" -}}{{- if not (get $settings .) -}}{{- $_ := unset $settings . -}}{{- end -}}{{- end -}}
{{- include "pulsegate-lib.merge" (dict "into" $settings "from" $values.config) -}}
{{- include "pulsegate-lib.table" (dict "path" "" "table" $settings) | trim -}}
{{- end -}}

{{/* Adds the checks that can see what they look at, and no others. */}}
{{- define "pulsegate-lib.checks" -}}
{{- $cli := .values.cli -}}
{{- $claude := eq .preset "claude-proxy" -}}
{{- with .values.app.health -}}
{{- if .enabled -}}
{{- $check := dict "http" (dict "path" .path "expect_status" .expectStatus) -}}
{{- $_ := set $.into.checks (ternary "api_server" "app" $claude) $check -}}
{{- end -}}
{{- end -}}
{{- if not $claude -}}
{{- $_ := set .into.checks "traffic" (dict "traffic" dict) -}}
{{- $_ := set .into.endpoints "/health" (dict "dialect" "claude-proxy") -}}
{{- $_ := set .into.endpoints "/health/detailed" (dict "dialect" "claude-proxy" "detail" true) -}}
{{- else -}}
{{- $program := dict -}}
{{- $login := dict -}}
{{- if $cli.login.volume -}}
{{- $_ := set $login "credentials" (dict "config_dir" $cli.login.mountPath) -}}
{{- end -}}
{{- if $cli.files.volume -}}
{{- $_ := set $program "cli" (dict "path" $cli.files.path "version_from" $cli.files.versionFrom) -}}
{{- end -}}
{{- if eq $cli.visibility "processNamespace" -}}
{{- $_ := set $program "cli" (dict "through" "upstream") -}}
{{- end -}}
{{- if ne $cli.visibility "wrapper" -}}
{{- /* Shown, with what the traffic says, and without weight: it would be unknown, and the pod unready, for ever. */ -}}
{{- if not $cli.login.volume -}}{{- $_ := set $login "on_failure" "ignore" -}}{{- end -}}
{{- if and (eq $cli.visibility "sharedVolume") (not $cli.files.volume) -}}{{- $_ := set $program "on_failure" "ignore" -}}{{- end -}}
{{- end -}}
{{- if $program -}}{{- $_ := set .into.checks "claude_cli" $program -}}{{- end -}}
{{- if $login -}}{{- $_ := set .into.checks "authentication" $login -}}{{- end -}}
{{- end -}}
{{- end -}}

{{/* Adds keys and certificates, which are files of mounted secrets. */}}
{{- define "pulsegate-lib.access" -}}
{{- with .values.admin.apiKeys -}}
{{- if .existingSecret -}}
{{- $keys := list -}}
{{- range .keys -}}{{- $keys = append $keys (dict "file" (printf "/run/pulsegate/keys/%s" .)) -}}{{- end -}}
{{- $_ := set $.into.admin "api_keys" $keys -}}
{{- end -}}
{{- end -}}
{{- range $name, $tls := dict "proxy" .values.tls "admin" .values.admin.tls -}}
{{- if $tls.existingSecret -}}
{{- $settings := dict "cert" (printf "/run/pulsegate/%s-tls/tls.crt" $name) "key" (printf "/run/pulsegate/%s-tls/tls.key" $name) -}}
{{- if $tls.clientCa -}}{{- $_ := set $settings "client_ca" (printf "/run/pulsegate/%s-tls/%s" $name $tls.clientCa) -}}{{- end -}}
{{- $_ := set (get $.into $name) "tls" $settings -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The ConfigMap, whole. "labels" may be added to the argument. */}}
{{- define "pulsegate-lib.configMap" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "pulsegate-lib.configMapName" . }}
  namespace: {{ .root.Release.Namespace | quote }}
  {{- with .labels }}
  labels:
    {{- toYaml . | nindent 4 }}
  {{- end }}
data:
  pulsegate.toml: |
    {{- regexReplaceAll "(?m)^ +$" (include "pulsegate-lib.config" . | nindent 4) "" }}
{{- end -}}

{{/* Annotations of the pod: a changed configuration makes new pods, unless pulsegate is to read it anew by itself. */}}
{{- define "pulsegate-lib.podAnnotations" -}}
{{- if .values.sidecar.restartOnConfigChange -}}
checksum/pulsegate: {{ include "pulsegate-lib.config" . | sha256sum }}
{{- end -}}
{{- end -}}
