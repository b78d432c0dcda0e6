{{- /* of: a model */ -}}
{{- define "headrace.workerMounts" -}}
- name: tmp
  mountPath: /tmp
- name: data
  mountPath: /var/lib/headrace
- name: shm
  mountPath: /dev/shm
{{ include "headrace.modelMounts" . }}
{{- end -}}

{{- define "headrace.modelMounts" -}}
{{- if has .volume.type (list "pvc" "hostPath") }}
- name: models
  mountPath: {{ .volume.mountPath | quote }}
  readOnly: true
{{- end }}
{{- with .volumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "headrace.workerVolumes" -}}
- name: tmp
  emptyDir:
    sizeLimit: {{ .tmpSize | quote }}
- name: data
  emptyDir:
    sizeLimit: {{ .dataSize | quote }}
- name: shm
  emptyDir:
    medium: Memory
    sizeLimit: {{ .shmSize | quote }}
{{ include "headrace.modelVolumes" . }}
{{- end -}}

{{- define "headrace.modelVolumes" -}}
{{- if eq .volume.type "pvc" }}
- name: models
  persistentVolumeClaim:
    claimName: {{ .volume.claim | quote }}
    readOnly: true
{{- else if eq .volume.type "hostPath" }}
- name: models
  hostPath:
    path: {{ .volume.path | quote }}
    type: Directory
{{- end }}
{{- with .volumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
