{{/* Sets what is in "from" in "into", table by table; null takes away. */}}
{{- define "pulsegate-lib.merge" -}}
{{- $into := .into -}}
{{- range $key, $value := .from -}}
{{- if kindIs "invalid" $value -}}
{{- $_ := unset $into $key -}}
{{- else if and (kindIs "map" $value) (kindIs "map" (get $into $key)) -}}
{{- include "pulsegate-lib.merge" (dict "into" (get $into $key) "from" $value) -}}
{{- else -}}
{{- $_ := set $into $key $value -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A table as TOML, first its own keys, then its tables. Helm's own toToml writes whole numbers as 5.0. */}}
{{- define "pulsegate-lib.table" -}}
{{- $path := .path -}}
{{- $own := false -}}
{{- range $key, $value := .table -}}{{- if not (or (kindIs "map" $value) (kindIs "invalid" $value)) -}}{{- $own = true -}}{{- end -}}{{- end -}}
{{- if and $path (or $own (not .table)) }}

[{{ $path }}]
{{- end -}}
{{- range $key, $value := .table -}}
{{- if not (or (kindIs "map" $value) (kindIs "invalid" $value)) }}
{{ include "pulsegate-lib.key" $key }} = {{ include "pulsegate-lib.value" $value }}
{{- end -}}
{{- end -}}
{{- range $key, $value := .table -}}
{{- if kindIs "map" $value -}}
{{- $name := include "pulsegate-lib.key" $key -}}
{{- include "pulsegate-lib.table" (dict "path" (ternary (printf "%s.%s" $path $name) $name (ne $path "")) "table" $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "pulsegate-lib.key" -}}
{{- if regexMatch "^[A-Za-z0-9_-]+$" . -}}{{ . }}{{- else -}}{{ toRawJson . }}{{- end -}}
{{- end -}}

{{/* A value in a line. JSON's texts, truths and fractions are TOML's too. */}}
{{- define "pulsegate-lib.value" -}}
{{- if kindIs "map" . -}}
{{- $pairs := list -}}
{{- range $key, $value := . -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $pairs = append $pairs (printf "%s = %s" (include "pulsegate-lib.key" $key) (include "pulsegate-lib.value" $value)) -}}
{{- end -}}
{{- end -}}
{ {{- join ", " $pairs | printf " %s " -}} }
{{- else if kindIs "slice" . -}}
{{- $items := list -}}
{{- range . -}}{{- $items = append $items (include "pulsegate-lib.value" .) -}}{{- end -}}
[{{ join ", " $items }}]
{{- else if and (kindIs "float64" .) (eq (floor .) .) (lt . 9e15) (gt . -9e15) -}}
{{- printf "%.0f" . -}}
{{- else -}}
{{- toRawJson . -}}
{{- end -}}
{{- end -}}
