{{- /* of: (dict "root" $ "part" "sender" "own" .Values.webhooks.sender) */ -}}
{{- define "headrace.webhooksContainer" -}}
{{- $webhooks := .root.Values.webhooks -}}
image: {{ include "headrace.image" (dict "root" .root "image" $webhooks.image "registry" .root.Values.image.registry) | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
command: [headrace]
args: [webhooks, run, --only, {{ .part }}]
envFrom: {{- include "headrace.envFrom" .root | nindent 2 }}
env:
  {{- include "headrace.redisEnv" .root | nindent 2 }}
  {{- with include "headrace.webhookSecretEnv" .root }}
  {{- . | nindent 2 }}
  {{- end }}
  - name: HEADRACE_DRAIN_S
    value: {{ int $webhooks.drainS | quote }}
  - name: HEADRACE_METRICS_PORT
    value: "9090"
  - name: HEADRACE_PROBE_HOST
    value: {{ .root.Values.listen | quote }}
  {{- with $webhooks.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
ports:
  - name: metrics
    containerPort: 9090
readinessProbe:
  httpGet:
    path: /healthz
    port: metrics
  periodSeconds: 5
  timeoutSeconds: 3
livenessProbe:
  httpGet:
    path: /livez
    port: metrics
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
resources: {{- toYaml .own.resources | nindent 2 }}
securityContext: {{- include "headrace.containerSecurity" .root | nindent 2 }}
volumeMounts:
  - name: tmp
    mountPath: /tmp
  {{- with $webhooks.volumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
