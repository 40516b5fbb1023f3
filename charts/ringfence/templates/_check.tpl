{{- /* Refuses what would be set twice: the operator would not start, or would follow one of the two by chance. */ -}}
{{- define "ringfence.check" }}
{{- $arguments := dict "--cluster-domain" "cluster.domain" "--health-address" "listenAddress" "--metrics-address" "metrics and listenAddress" "--namespace" "the release's namespace" "--restart-workloads" "restart.enabled" "--token-service" "tokenService" "--token-service-port" "tokenService.port" "--token-service-issuer" "tokenService.issuer" }}
{{- range .Values.extraArgs }}
{{- $argument := splitList "=" . | first }}
{{- with get $arguments $argument }}
{{- fail (printf "extraArgs can't hold %s: it follows from %s" $argument .) }}
{{- end }}
{{- end }}
{{- with .Values.tokenService }}
{{- $arguments := dict "--namespace" "tokenService.namespace" "--identity" "the chart's names" "--issuer" "tokenService.issuer" "--address" "tokenService.port and listenAddress" "--health-address" "listenAddress" "--metrics-address" "metrics and listenAddress" "--store" "tokenService.store" "--store-secret" "tokenService.store" }}
{{- range .extraArgs }}
{{- $argument := splitList "=" . | first }}
{{- with get $arguments $argument }}
{{- fail (printf "tokenService.extraArgs can't hold %s: it follows from %s" $argument .) }}
{{- end }}
{{- end }}
{{- if and $.Values.metrics.enabled (eq (int .port) (int $.Values.metrics.port)) }}
{{- fail (printf "tokenService.port and metrics.port are both %d: a pod has one of each" (int .port)) }}
{{- end }}
{{- end }}
{{- $variables := dict "RINGFENCE_LOG" "log.filter" "RINGFENCE_LOG_FORMAT" "log.format" "OTEL_EXPORTER_OTLP_ENDPOINT" "tracing.endpoint" "POD_NAMESPACE" "the release's namespace" }}
{{- range $variable := .Values.extraEnv }}
{{- with get $variables $variable.name }}
{{- fail (printf "extraEnv can't hold %s: it follows from %s" $variable.name .) }}
{{- end }}
{{- end }}
{{- $metrics := .Values.metrics }}
{{- $labels := dict "deploymentLabels" .Values.deploymentLabels "podLabels" .Values.podLabels "metrics.podMonitor.labels" $metrics.podMonitor.labels "metrics.serviceMonitor.labels" $metrics.serviceMonitor.labels "metrics.rules.labels" $metrics.rules.labels "metrics.dashboard.labels" $metrics.dashboard.labels }}
{{- $own := append (include "ringfence.labels" . | fromYaml | keys) "app.kubernetes.io/component" }}
{{- range $value, $given := $labels }}
{{- range $label, $_ := $given }}
{{- if has $label $own }}
{{- fail (printf "%s can't hold %s: the chart gives this label itself" $value $label) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
