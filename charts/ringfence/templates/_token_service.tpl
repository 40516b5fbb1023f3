{{- /* Labels of the token service's pods and of its store's: those by which Ringfence knows the services. */ -}}
{{- define "ringfence.tokenServiceSelectorLabels" -}}
app.kubernetes.io/name: token-service
app.kubernetes.io/part-of: ringfence
{{- end }}

{{- define "ringfence.tokenStoreSelectorLabels" -}}
app.kubernetes.io/name: token-store
app.kubernetes.io/part-of: ringfence
{{- end }}

{{- define "ringfence.tokenServiceIssuer" -}}
{{- with .Values.tokenService -}}
{{ .issuer | default (printf "https://token-service.%s.svc:%d" .namespace (int .port)) }}
{{- end }}
{{- end }}

{{- /* How pods are spread, from a list with a dict of the constraints and the name of the labels that count. */ -}}
{{- define "ringfence.spread" -}}
{{- $labels := .labels }}
{{- range .constraints }}
- {{- toYaml . | nindent 2 }}
  {{- if not .labelSelector }}
  labelSelector:
    matchLabels:
      {{- $labels | nindent 6 }}
  {{- end }}
{{- end }}
{{- end }}

{{- /* Where the pods of both run: where the operator's do. */ -}}
{{- define "ringfence.placement" -}}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}
