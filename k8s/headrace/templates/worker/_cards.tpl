{{- /* of: (dict "root" $ "model" …) */ -}}
{{- define "headrace.cardsContainer" -}}
{{- $cards := .root.Values.cards -}}
image: {{ include "headrace.image" (dict "root" .root "image" .model.image "registry" .root.Values.image.registry) | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
command: [headrace]
args: [worker, {{ .model.folder | quote }}, --publish-cards, --within, {{ int $cards.withinS | quote }}]
envFrom: {{- include "headrace.envFrom" .root | nindent 2 }}
env:
  {{- include "headrace.redisEnv" .root | nindent 2 }}
  {{- with .model.version }}
  - name: HEADRACE_PINNED_ONLY
    value: "true"
  {{- end }}
  - name: HOME
    value: /tmp
  # Where NVIDIA's runtime is the node's default, the image alone would give it every GPU.
  - name: NVIDIA_VISIBLE_DEVICES
    value: void
  {{- with .model.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
resources: {{- toYaml $cards.resources | nindent 2 }}
securityContext: {{- include "headrace.containerSecurity" .root | nindent 2 }}
volumeMounts:
  - name: tmp
    mountPath: /tmp
  {{- with include "headrace.modelMounts" .model | trim }}
  {{- . | nindent 2 }}
  {{- end }}
{{- end -}}
