{{/*
Every template here takes one argument, and so does every chart that uses them:

    (dict "root" $ "values" .Values.pulsegate)

"values" has the shape of this chart's values.yaml. "name" may be added: what objects are named after, in place of the
release's name.
*/}}

{{/* native (an init container that goes on running) or classic (an ordinary container). */}}
{{- define "pulsegate-lib.mode" -}}
{{- $mode := .values.sidecar.mode -}}
{{- $able := semverCompare ">=1.29.0-0" .root.Capabilities.KubeVersion.Version -}}
{{- if eq $mode "auto" -}}
{{- ternary "native" "classic" $able -}}
{{- else if and (eq $mode "native") (not $able) -}}
{{- /* The manifest would be accepted there, and the pod would wait for ever for an init container to end. */ -}}
{{- fail (printf "sidecar.mode is native, which needs Kubernetes 1.29 or newer, and this is %s: use auto or classic" .root.Capabilities.KubeVersion.Version) -}}
{{- else -}}
{{- $mode -}}
{{- end -}}
{{- end -}}

{{/* What objects are named after. */}}
{{- define "pulsegate-lib.name" -}}
{{- .name | default .root.Release.Name -}}
{{- end -}}

{{- define "pulsegate-lib.configMapName" -}}
{{- printf "%s-pulsegate" (include "pulsegate-lib.name" .) -}}
{{- end -}}

{{/* Whether pulsegate is the entry point of the app's own container, in place of a container beside it. */}}
{{- define "pulsegate-lib.wraps" -}}
{{- if eq .values.cli.visibility "wrapper" -}}true{{- end -}}
{{- end -}}

{{- define "pulsegate-lib.image" -}}
{{- with .values.sidecar.image -}}
{{- if .digest -}}{{ .repository }}@{{ .digest }}{{- else -}}{{ .repository }}:{{ .tag }}{{- end -}}
{{- end -}}
{{- end -}}

{{/* Until the process of pulsegate must be gone. Where it has the app as a child, that one's end is within it. */}}
{{- define "pulsegate-lib.graceSeconds" -}}
{{- $drain := .values.drain -}}
{{- add (int $drain.graceSeconds) (ternary (int $drain.appStopSeconds) 0 (eq (include "pulsegate-lib.wraps" .) "true")) -}}
{{- end -}}

{{/*
How long a pod may take to end. The app's preStop waits for the last request, then the app stops, then a native sidecar is
told, whose lame duck is over by then; and five seconds for the kubelet.
*/}}
{{- define "pulsegate-lib.terminationGracePeriodSeconds" -}}
{{- $drain := .values.drain -}}
{{- $wait := int $drain.graceSeconds -}}
{{- if eq $drain.appPreStop "sleep" -}}{{- $wait = max $wait (int $drain.sleepSeconds) -}}{{- end -}}
{{- $needed := add $wait (int $drain.appStopSeconds) 5 -}}
{{- if include "pulsegate-lib.wraps" . -}}{{- $needed = add (include "pulsegate-lib.graceSeconds" . | int) 5 -}}{{- end -}}
{{- $set := int $drain.terminationGracePeriodSeconds -}}
{{- if and $set (lt $set (int $needed)) -}}
{{- fail (printf "drain.terminationGracePeriodSeconds is %d and must be at least %d, which the other values of drain add up to; 0 lets the chart choose" $set $needed) -}}
{{- end -}}
{{- $set | default $needed -}}
{{- end -}}

{{/* Fails where two values do not fit together, which a schema cannot say well. Every pod template passes here. */}}
{{- define "pulsegate-lib.check" -}}
{{- $cli := .values.cli -}}
{{- $seen := $cli.visibility -}}
{{- if and (eq (include "pulsegate-lib.preset" .) "claude-proxy") (eq $seen "none") -}}
{{- fail "preset is claude-proxy, whose checks look at the CLI and its login: set cli.visibility to sharedVolume, processNamespace or wrapper, or the preset to none" -}}
{{- end -}}
{{- if and (eq $seen "sharedVolume") (not $cli.login.volume) (not $cli.files.volume) -}}
{{- fail "cli.visibility is sharedVolume: set cli.login.volume (where the login is), cli.files.volume (where the CLI is), or both" -}}
{{- end -}}
{{- if and (ne $seen "sharedVolume") $cli.files.volume -}}
{{- fail "cli.files.volume is for cli.visibility=sharedVolume" -}}
{{- end -}}
{{- if and (or (eq $seen "none") (eq $seen "wrapper")) $cli.login.volume -}}
{{- fail "cli.login.volume is for cli.visibility=sharedVolume or processNamespace: otherwise give the app the volume by its own volumes" -}}
{{- end -}}
{{- if and (eq $seen "wrapper") (not .values.app.command) -}}
{{- fail "cli.visibility is wrapper: pulsegate starts the app, so app.command must say how; Kubernetes does not know the image's own entry point" -}}
{{- end -}}
{{- if eq $seen "wrapper" -}}
{{- range $field := list "env" "envFrom" "volumeMounts" -}}
{{- if get $.values.sidecar $field -}}
{{- fail (printf "cli.visibility is wrapper, so there is no container of the sidecar for sidecar.%s: pulsegate has what the app has" $field) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if eq .values.sidecar.name "app" -}}
{{- fail "sidecar.name must not be app, which is the name of the app's container" -}}
{{- end -}}
{{- if and (get (.values.app.lifecycle | default dict) "preStop") (ne .values.drain.appPreStop "none") (ne $seen "wrapper") -}}
{{- fail "app.lifecycle has a preStop, and so has drain.appPreStop; a container has one: set drain.appPreStop to none, and have yours end when the last request is answered" -}}
{{- end -}}
{{- if eq (int .values.sidecar.ports.traffic) (int .values.sidecar.ports.admin) -}}
{{- fail "sidecar.ports.traffic and sidecar.ports.admin must differ" -}}
{{- end -}}
{{- if or (eq (int .values.app.port) (int .values.sidecar.ports.traffic)) (eq (int .values.app.port) (int .values.sidecar.ports.admin)) -}}
{{- fail (printf "app.port %d is a port of the sidecar: containers of a pod share their ports; change app.port or sidecar.ports" (int .values.app.port)) -}}
{{- end -}}
{{- range .values.app.ports -}}
{{- if has (int .containerPort) (list (int $.values.app.port) (int $.values.sidecar.ports.traffic) (int $.values.sidecar.ports.admin)) -}}
{{- fail (printf "app.ports has %d, which the chart declares itself: it is for further ports" (int .containerPort)) -}}
{{- end -}}
{{- end -}}
{{- if and (eq .values.drain.appPreStop "sleep") (semverCompare "<1.30.0-0" .root.Capabilities.KubeVersion.Version) -}}
{{- fail (printf "drain.appPreStop is sleep, which needs Kubernetes 1.30 or newer, and this is %s: use waitForDrain" .root.Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- if gt (int .values.drain.lameDuckSeconds) (int .values.drain.graceSeconds) -}}
{{- fail "drain.lameDuckSeconds must not be longer than drain.graceSeconds" -}}
{{- end -}}
{{- end -}}
