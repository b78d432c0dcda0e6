{{- define "headrace.redisContainer" -}}
{{- $redis := .Values.redis -}}
image: {{ include "headrace.image" (dict "root" . "image" $redis.image "registry" "") | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
command: [redis-server]
# What Headrace checks before it trusts a Redis; the pod's network policy stands in for the
# protected mode.
args:
  - --dir
  - /data
  - --appendonly
  - "yes"
  - --appendfsync
  - always
  - --save
  - ""
  - --maxmemory
  - {{ $redis.bundled.maxmemory | quote }}
  - --maxmemory-policy
  - noeviction
  - --protected-mode
  - "no"
  {{- if $redis.bundled.passwordSecret }}
  - --requirepass
  - $(REDISCLI_AUTH)
  {{- end }}
{{- with $redis.bundled.passwordSecret }}
env: {{- include "headrace.secretEnv" (dict "name" "REDISCLI_AUTH" "secret" . "entry" $redis.bundled.passwordEntry) | nindent 2 }}
{{- end }}
ports:
  - name: redis
    containerPort: 6379
# Exits 0 while it loads its log, so that a long one is not cut short.
livenessProbe:
  exec:
    command: [redis-cli, ping]
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  exec:
    command: [sh, -c, redis-cli ping | grep -q PONG]
  periodSeconds: 5
  timeoutSeconds: 5
resources: {{- toYaml $redis.resources | nindent 2 }}
securityContext: {{- include "headrace.containerSecurity" . | nindent 2 }}
volumeMounts:
  - name: data
    mountPath: /data
  - name: tmp
    mountPath: /tmp
{{- end -}}
