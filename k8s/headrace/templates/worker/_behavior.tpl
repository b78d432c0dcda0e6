{{- /* Up at once, down one pod at a time and only when fewer have been enough for a while. of: a
model's autoscaling */ -}}
{{- define "headrace.scaleBehavior" -}}
scaleUp:
  stabilizationWindowSeconds: 0
  policies:
    - type: Percent
      value: 100
      periodSeconds: 15
    - type: Pods
      value: 4
      periodSeconds: 15
scaleDown:
  stabilizationWindowSeconds: {{ int .stabilizationS }}
  policies:
    - type: Pods
      value: 1
      periodSeconds: 60
{{- end -}}
