{{- define "headrace.apiContainer" -}}
{{- $api := .Values.api -}}
image: {{ include "headrace.image" (dict "root" . "image" $api.image "registry" .Values.image.registry) | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
command: [headrace]
args: [api]
envFrom: {{- include "headrace.envFrom" . | nindent 2 }}
env:
  {{- include "headrace.redisEnv" . | nindent 2 }}
  {{- with include "headrace.webhookSecretEnv" . }}
  {{- . | nindent 2 }}
  {{- end }}
  - name: HEADRACE_API_HOST
    value: {{ .Values.listen | quote }}
  - name: HEADRACE_API_PORT
    value: "8000"
  - name: HEADRACE_API_WORKERS
    value: {{ int $api.processes | quote }}
  - name: HEADRACE_METRICS_PORT
    value: "9090"
  - name: HEADRACE_DRAIN_S
    value: {{ int $api.drainS | quote }}
  - name: HEADRACE_KEYS_FILE
    value: /etc/headrace/keys
  {{- with $api.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
ports:
  - name: http
    containerPort: 8000
  - name: metrics
    containerPort: 9090
# Not /healthz: while Redis is away a pod answers 503 and when to come back, which is more than a
# Service without pods does.
readinessProbe:
  httpGet:
    path: /livez
    port: http
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 2
livenessProbe:
  httpGet:
    path: /livez
    port: http
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
startupProbe:
  httpGet:
    path: /livez
    port: http
  periodSeconds: 2
  failureThreshold: 30
{{- if $api.preStopS }}
lifecycle:
  preStop:
    sleep:
      seconds: {{ int $api.preStopS }}
{{- end }}
resources: {{- toYaml $api.resources | nindent 2 }}
securityContext: {{- include "headrace.containerSecurity" . | nindent 2 }}
volumeMounts:
  - name: tmp
    mountPath: /tmp
  - name: keys
    mountPath: /etc/headrace
    readOnly: true
  {{- with $api.volumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
