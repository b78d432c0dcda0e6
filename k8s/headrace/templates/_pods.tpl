{{- /* What all pods share. A pod with service links would get variables HEADRACE_…, which Headrace
takes for settings it does not know. of: (dict "root" $ "user" 10001 "group" 10001) */ -}}
{{- define "headrace.pod" -}}
serviceAccountName: {{ include "headrace.serviceAccountName" .root | quote }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ int (default .root.Values.podSecurity.user .user) }}
  runAsGroup: {{ int (default .root.Values.podSecurity.group .group) }}
  fsGroup: {{ int (default .root.Values.podSecurity.group .group) }}
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{- define "headrace.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- /* Where a pod runs. of: (dict "values" .Values.api "labels" (include "headrace.selectorLabels" …)) */ -}}
{{- define "headrace.scheduling" -}}
{{- range $field := list "nodeSelector" "tolerations" "affinity" "runtimeClassName" "priorityClassName" }}
{{- with get $.values $field }}
{{ $field }}: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- with .values.topologySpread }}
topologySpreadConstraints:
  {{- range . }}
  - {{- toYaml . | nindent 4 }}
    labelSelector:
      matchLabels: {{- $.labels | nindent 8 }}
  {{- end }}
{{- end }}
{{- end -}}

{{- /* of: (dict "root" $ "values" .Values.api "labels" …): labels and annotations of a pod. A change
of the settings changes the annotation, and so restarts the pod. */ -}}
{{- define "headrace.podMetadata" -}}
labels:
  {{- .labels | nindent 2 }}
  {{- with .values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  checksum/config: {{ include (print .root.Template.BasePath "/config.yaml") .root | sha256sum }}
  {{- with .values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- /* The settings of all processes. */ -}}
{{- define "headrace.envFrom" -}}
- configMapRef:
    name: {{ include "headrace.fullname" . }}-config
{{- end -}}

{{- /* of: (dict "name" "HEADRACE_…" "secret" "…" "entry" "…") */ -}}
{{- define "headrace.secretEnv" -}}
- name: {{ .name }}
  valueFrom:
    secretKeyRef:
      name: {{ .secret | quote }}
      key: {{ .entry | quote }}
{{- end -}}

{{- define "headrace.redisEnv" -}}
{{- $redis := .Values.redis -}}
{{- if include "headrace.bundledRedis" . -}}
{{- with $redis.bundled.passwordSecret -}}
{{ include "headrace.secretEnv" (dict "name" "REDIS_PASSWORD" "secret" . "entry" $redis.bundled.passwordEntry) }}
{{ end -}}
- name: HEADRACE_REDIS_URL
  value: redis://{{ if $redis.bundled.passwordSecret }}:$(REDIS_PASSWORD)@{{ end }}{{ include "headrace.fullname" . }}-redis:6379/0
{{- else -}}
{{ include "headrace.secretEnv" (dict "name" "HEADRACE_REDIS_URL" "secret" $redis.external.existingSecret "entry" $redis.external.entry) }}
{{- with $redis.external.rqEntry }}
{{ include "headrace.secretEnv" (dict "name" "HEADRACE_RQ_REDIS_URL" "secret" $redis.external.existingSecret "entry" .) }}
{{- end }}
{{- end -}}
{{- end -}}

{{- define "headrace.webhookSecretEnv" -}}
{{- with .Values.webhooks.secret.existingSecret -}}
{{ include "headrace.secretEnv" (dict "name" "HEADRACE_WEBHOOK_SECRET" "secret" . "entry" $.Values.webhooks.secret.entry) }}
{{- end -}}
{{- end -}}
