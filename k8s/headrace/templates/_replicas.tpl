{{- /* How many pods a Deployment is told to have; nothing where an autoscaler tells it.

A manifest that is silent about a number which the one before it gave would have Kubernetes set it to
one. So where an autoscaler is switched on for what runs already, the manifest goes on giving a
number, that of the moment, until silence changes nothing: there is one pod, or with server-side
apply the number belongs to whoever has scaled. From then on it is silent, so that no rollback
brings back an old number, or is refused for a field that is the autoscaler's. Where nothing can be
looked up (`helm template`) it is silent at once. of: (dict "root" $ "name" "…" "scaled" true
"replicas" 2) */ -}}
{{- define "headrace.replicas" -}}
{{- if not .scaled -}}
{{ int .replicas }}
{{- else -}}
{{- $live := lookup "apps/v1" "Deployment" .root.Release.Namespace .name | default dict -}}
{{- $given := eq (dig "metadata" "annotations" "headrace/replicas" "" $live) "given" -}}
{{- $now := int (dig "spec" "replicas" 1 $live) -}}
{{- if and $given (ne $now 1) (not (include "headrace.scaledByOthers" $live)) -}}
{{ $now }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Whether Helm applies on the server, and somebody else has set the number since. of: what runs */ -}}
{{- define "headrace.scaledByOthers" -}}
{{- $applied := false -}}
{{- $scaled := false -}}
{{- range dig "metadata" "managedFields" list . -}}
{{- $applied = or $applied (and (eq .operation "Apply") (hasPrefix "helm" .manager)) -}}
{{- $sets := hasKey (dig "fieldsV1" "f:spec" dict .) "f:replicas" -}}
{{- $scaled = or $scaled (and $sets (eq (dig "subresource" "" .) "scale")) -}}
{{- end -}}
{{- if and $applied $scaled }}true{{ end -}}
{{- end -}}
