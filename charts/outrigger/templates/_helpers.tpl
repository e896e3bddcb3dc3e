{{/* Labels that say what an object belongs to. */}}
{{- define "outrigger.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: outrigger
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{ include "outrigger.selector" . }}
{{- end }}

{{/* The labels, and further ones, which win: a list of the context and of a map. */}}
{{- define "outrigger.labelsAnd" -}}
{{- $labels := include "outrigger.labels" (first .) | fromYaml -}}
{{ mergeOverwrite $labels (last . | default dict) | toYaml }}
{{- end }}

{{/* Labels that pods are selected by: never to be changed. */}}
{{- define "outrigger.selector" -}}
app.kubernetes.io/name: outrigger
app.kubernetes.io/component: controller
{{- end }}

{{/* The image by digest, by tag, or by the chart's own version. */}}
{{- define "outrigger.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* What the controller reads as --config. */}}
{{- define "outrigger.config" -}}
{{- with .Values.mesh -}}
trustDomain: {{ .trustDomain | quote }}
clusterDomain: {{ .clusterDomain | quote }}
certificateLifetime: {{ .certificateLifetime | quote }}
issuer: {{ .issuer }}
defaultAccess: {{ .defaultAccess }}
{{- end }}
injection:
  image: {{ include "outrigger.image" . | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  controllerNamespace: {{ .Release.Namespace | quote }}
  {{- with .Values.tracing.otlpEndpoint }}
  otlpEndpoint: {{ . | quote }}
  {{- end }}
  traceSampling: {{ .Values.tracing.sampling }}
  {{- with .Values.proxy }}
  imagePullSecrets: {{ .pullSecrets | default list | toJson }}
  mtls: {{ .mtls }}
  {{- $resources := .resources | default dict }}
  resources:
    requests: {{ $resources.requests | default dict | toJson }}
    limits: {{ $resources.limits | default dict | toJson }}
  logLevel: {{ .logLevel | quote }}
  logFormat: {{ .logFormat }}
  accessLog: {{ .accessLog }}
  skipInboundPorts: {{ .skipInboundPorts | default list | toJson }}
  skipOutboundPorts: {{ .skipOutboundPorts | default list | toJson }}
  skipInboundSubnets: {{ .skipInboundSubnets | default list | toJson }}
  skipOutboundSubnets: {{ .skipOutboundSubnets | default list | toJson }}
  opaquePorts: {{ .opaquePorts | default list | toJson }}
  {{- /* Kubelets that are older cannot sleep, and their API servers take no such hook. */}}
  stopDelay: {{ ternary .stopDelay "0s" (semverCompare ">=1.30-0" $.Capabilities.KubeVersion.Version) }}
  {{- end }}
{{- end }}

{{/* Where the cluster itself lives, and where the webhooks do, nothing ever waits for them. */}}
{{- define "outrigger.webhookNamespaces" -}}
matchExpressions:
  - key: kubernetes.io/metadata.name
    operator: NotIn
    values: {{ list "kube-system" "kube-node-lease" "kube-public" .Release.Namespace | uniq | toJson }}
  - key: outrigger.dev/webhook
    operator: NotIn
    values: [disabled]
  {{- with .Values.webhook.namespaceSelector }}{{ toYaml . | nindent 2 }}{{ end }}
{{- end }}

{{/* An amount of the Kubernetes API as a number: 128Mi is 134217728. */}}
{{- define "outrigger.amount" -}}
{{- $text := toString . -}}
{{- $number := regexFind "^[0-9.]+" $text -}}
{{- $unit := trimPrefix $number $text -}}
{{- $factors := dict "" 1 "n" 0.000000001 "u" 0.000001 "m" 0.001 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 "P" 1000000000000000 "E" 1000000000000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "Pi" 1125899906842624 "Ei" 1152921504606846976 -}}
{{- if hasKey $factors $unit -}}
{{ mulf (float64 $number) (get $factors $unit) }}
{{- else -}}
{{ float64 $text }}
{{- end -}}
{{- end }}

{{/* A duration in seconds: 1h30m is 5400. */}}
{{- define "outrigger.seconds" -}}
{{- $sum := 0 -}}
{{- range regexFindAll "[0-9]+[hms]" . -1 -}}
{{- $unit := substr (int (sub (len .) 1)) (len .) . -}}
{{- $sum = add $sum (mul (trimSuffix $unit . | atoi) (get (dict "h" 3600 "m" 60 "s" 1) $unit)) -}}
{{- end -}}
{{ $sum }}
{{- end }}

{{/* Refuses, by the value's name, what a schema cannot: the controller would not start with it. */}}
{{- define "outrigger.validate" -}}
{{- $lifetime := include "outrigger.seconds" .Values.mesh.certificateLifetime | int -}}
{{- if or (lt $lifetime 60) (gt $lifetime 31536000) -}}
{{- fail (printf "mesh.certificateLifetime: %s is not between 1m and 8760h: write it like 24h" .Values.mesh.certificateLifetime) -}}
{{- end -}}
{{- $resources := .Values.proxy.resources | default dict -}}
{{- $requests := $resources.requests | default dict -}}
{{- $limits := $resources.limits | default dict -}}
{{- with $limits.memory -}}
{{- if lt (include "outrigger.amount" . | float64) 16777216.0 -}}
{{- fail (printf "proxy.resources.limits.memory: %v is too little for a proxy: write 16Mi or more" .) -}}
{{- end -}}
{{- end -}}
{{- range $name, $limit := $limits -}}
{{- $request := get $requests $name | default 0 -}}
{{- if and (not (kindIs "invalid" $limit)) (gt (include "outrigger.amount" $request | float64) (include "outrigger.amount" $limit | float64)) -}}
{{- fail (printf "proxy.resources.requests.%s: %v is above the limit, %v" $name $request $limit) -}}
{{- end -}}
{{- end -}}
{{- range $name := list "skipInboundPorts" "skipOutboundPorts" "opaquePorts" -}}
{{- range get $.Values.proxy $name | default list -}}
{{- $ends := splitList "-" (toString .) -}}
{{- if gt (first $ends | atoi) (last $ends | atoi) -}}
{{- fail (printf "proxy.%s: %v ends before it begins: write the lower port first" $name .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}
