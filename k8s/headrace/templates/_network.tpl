{{- /* of: (dict "root" $ "component" "api" "components" (list "api")) */ -}}
{{- define "headrace.policyHead" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "headrace.fullname" .root }}-{{ .component }}
  labels: {{- include "headrace.labels" (dict "root" .root "component" .component) | nindent 4 }}
spec:
  podSelector:
    matchLabels:
      app.kubernetes.io/name: {{ include "headrace.name" .root | quote }}
      app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
    matchExpressions:
      - key: app.kubernetes.io/component
        operator: In
        values: {{ .components | toJson }}
  policyTypes: [Ingress, Egress]
{{- end -}}

{{- /* Rules of egress that everything but Redis needs: names, and Redis. */ -}}
{{- define "headrace.baseEgress" -}}
- ports:
    - port: 53
      protocol: UDP
    - port: 53
      protocol: TCP
{{- if include "headrace.bundledRedis" . }}
- to:
    - podSelector:
        matchLabels: {{- include "headrace.selectorLabels" (dict "root" . "component" "redis") | nindent 10 }}
  ports:
    - port: 6379
{{- else }}
- ports:
    {{- range .Values.redis.external.ports }}
    - port: {{ int . }}
    {{- end }}
{{- end }}
{{- end -}}

{{- /* Who reads metrics. */ -}}
{{- define "headrace.metricsIngress" -}}
- from: {{- default (list (dict "namespaceSelector" dict)) .Values.networkPolicy.metricsFrom | toYaml | nindent 4 }}
  ports:
    - port: metrics
{{- end -}}

{{- /* Where webhooks may go, as IP blocks: the public ones but those denied, and those allowed. of:
(dict "values" .Values.webhooks) */ -}}
{{- define "headrace.receivers" -}}
{{- $v4 := list "0.0.0.0/8" "10.0.0.0/8" "100.64.0.0/10" "127.0.0.0/8" "169.254.0.0/16" "172.16.0.0/12" "192.168.0.0/16" "224.0.0.0/3" -}}
{{- $v6 := list "::/96" "64:ff9b::/96" "fc00::/7" "fe80::/10" "ff00::/8" -}}
{{- range .values.deny -}}
{{- if contains ":" . }}{{ $v6 = append $v6 . }}{{ else }}{{ $v4 = append $v4 . }}{{ end -}}
{{- end -}}
- to:
    - ipBlock:
        cidr: 0.0.0.0/0
        except: {{- uniq $v4 | toYaml | nindent 10 }}
    - ipBlock:
        cidr: "::/0"
        except: {{- uniq $v6 | toYaml | nindent 10 }}
  ports:
    {{- range .values.ports }}
    - port: {{ int . }}
    {{- end }}
{{- range .values.allow }}
{{- if regexMatch "^[0-9.]+$|^[0-9a-fA-F]*:[0-9a-fA-F.]*:[0-9a-fA-F.:]*$|^[0-9a-fA-F.:]+/[0-9]+$" . }}
- to:
    - ipBlock:
        cidr: {{ ternary . (printf "%s/%s" . (ternary "128" "32" (contains ":" .))) (contains "/" .) | quote }}
{{- end }}
{{- end }}
{{- end -}}
