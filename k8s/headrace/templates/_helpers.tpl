{{- define "headrace.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 30 | trimSuffix "-" -}}
{{- end -}}

{{- /* 30 characters leave room for "-worker-" and a model's name in a label of 63. */ -}}
{{- define "headrace.fullname" -}}
{{- $own := include "headrace.name" . -}}
{{- $both := ternary .Release.Name (printf "%s-%s" .Release.Name $own) (contains $own .Release.Name) -}}
{{- default $both .Values.fullnameOverride | trunc 30 | trimSuffix "-" -}}
{{- end -}}

{{- /* of: (dict "root" $ "component" "api" "model" "optional") */ -}}
{{- define "headrace.selectorLabels" -}}
app.kubernetes.io/name: {{ include "headrace.name" .root | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- with .model }}
headrace/model: {{ . | quote }}
{{- end }}
{{- end -}}

{{- define "headrace.labels" -}}
{{ include "headrace.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "headrace.serviceAccountName" -}}
{{- $own := ternary (include "headrace.fullname" .) "default" .Values.serviceAccount.create -}}
{{- default $own .Values.serviceAccount.name -}}
{{- end -}}

{{- define "headrace.keysSecret" -}}
{{- default (printf "%s-keys" (include "headrace.fullname" .)) .Values.keys.existingSecret -}}
{{- end -}}

{{- define "headrace.bundledRedis" -}}
{{- if and .Values.redis.bundled.enabled (not .Values.redis.external.existingSecret) }}true{{ end -}}
{{- end -}}

{{- /* of: (dict "root" $ "image" .Values.api.image "registry" "…") */ -}}
{{- define "headrace.image" -}}
{{- $at := list .registry .image.repository | compact | join "/" -}}
{{- $tag := coalesce .image.tag .root.Values.image.tag .root.Chart.AppVersion -}}
{{- ternary (printf "%s@%s" $at .image.digest) (printf "%s:%s" $at $tag) (ne .image.digest "") -}}
{{- end -}}

{{- /* An entry of `models` over the defaults of `worker`. of: (dict "root" $ "entry" "echo") */ -}}
{{- define "headrace.model" -}}
{{- $own := get .root.Values.models .entry | default dict -}}
{{- $model := mergeOverwrite (deepCopy .root.Values.worker) (deepCopy $own) -}}
{{- $name := default .entry $own.name -}}
{{- $folder := default (printf "%s/%s" $model.volume.mountPath $name) $own.folder -}}
{{- $drain := int (max $model.drainS $model.timeoutS) -}}
{{- $target := list $name (get $own "version") | compact | join "@" -}}
{{- mergeOverwrite $model (dict "name" $name "target" $target "folder" $folder "drainS" $drain) | toJson -}}
{{- end -}}
