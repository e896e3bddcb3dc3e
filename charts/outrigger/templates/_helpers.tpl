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
