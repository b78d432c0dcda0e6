{{- /* of: (dict "root" $ "model" …) */ -}}
{{- define "headrace.workerContainer" -}}
{{- $model := .model -}}
image: {{ include "headrace.image" (dict "root" .root "image" $model.image "registry" .root.Values.image.registry) | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
command: [headrace]
args: {{- concat (list "worker" $model.folder) $model.args | toYaml | nindent 2 }}
envFrom: {{- include "headrace.envFrom" .root | nindent 2 }}
env: {{- include "headrace.workerEnv" . | nindent 2 }}
ports:
  - name: metrics
    containerPort: 9090
# Ready is a model that is loaded and warm, on a device that has just run a kernel.
startupProbe:
  httpGet:
    path: /healthz
    port: metrics
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: {{ div (add (int $model.startupS) 4) 5 }}
readinessProbe:
  httpGet:
    path: /healthz
    port: metrics
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 2
# The feeder alone: it restarts an engine that hangs by itself.
livenessProbe:
  httpGet:
    path: /livez
    port: metrics
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
resources: {{- include "headrace.workerResources" $model | nindent 2 }}
securityContext: {{- include "headrace.containerSecurity" .root | nindent 2 }}
volumeMounts: {{- include "headrace.workerMounts" $model | nindent 2 }}
{{- end -}}

{{- define "headrace.workerEnv" -}}
{{ include "headrace.redisEnv" .root }}
- name: HEADRACE_WORKER_PORT
  value: "9090"
- name: HEADRACE_PROBE_HOST
  value: {{ .root.Values.listen | quote }}
- name: HEADRACE_DRAIN_S
  value: {{ int .model.drainS | quote }}
- name: HEADRACE_DATA_DIR
  value: /var/lib/headrace
- name: HEADRACE_DEVICE
  value: {{ default (ternary "cuda" "cpu" .model.gpu.enabled) .model.device }}
{{- with .model.version }}
- name: HEADRACE_PINNED_ONLY
  value: "true"
{{- end }}
{{- if not .model.gpu.enabled }}
# Where NVIDIA's runtime is the node's default, the image alone would give it every GPU.
- name: NVIDIA_VISIBLE_DEVICES
  value: void
{{- end }}
# Libraries keep caches there.
- name: HOME
  value: /tmp
{{- with .model.env }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "headrace.workerResources" -}}
{{- $gpu := ternary (dict .gpu.resource 1) dict .gpu.enabled -}}
{{- mergeOverwrite (deepCopy .resources) (dict "limits" $gpu) | toYaml -}}
{{- end -}}
