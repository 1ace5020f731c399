{{- define "gsc.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "gsc.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "gsc.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "gsc.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "gsc.selector" -}}
app.kubernetes.io/name: {{ include "gsc.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "gsc.labels" -}}
{{ include "gsc.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "gsc.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "gsc.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "gsc.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The name of an object that exists twice: for the services, and, before them, for the hooks. */}}
{{- define "gsc.config" -}}
{{- printf "%s%s" (include "gsc.fullname" .root) (ternary "-hooks" "" .hook) -}}
{{- end -}}

{{/* Hook annotations: created before install and upgrade, deleted when all hooks have succeeded. */}}
{{- define "gsc.hook" -}}
helm.sh/hook: pre-install,pre-upgrade
helm.sh/hook-weight: {{ .weight | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}

{{- define "gsc.secret" -}}
{{- default (include "gsc.config" .) .root.Values.secret.existingSecret -}}
{{- end -}}

{{/* A setting, or its default in the code. */}}
{{- define "gsc.setting" -}}
{{- $given := index .root.Values.settings .name -}}
{{- if kindIs "invalid" $given }}{{ .default }}{{ else }}{{ $given }}{{ end -}}
{{- end -}}

{{/* A named secret must exist in the cluster, with its key. Checked when helm can see the cluster, where every namespace has a service account `default`. */}}
{{- define "gsc.there" -}}
{{- $root := index . 0 -}}
{{- $name := index . 2 -}}
{{- $namespace := $root.Release.Namespace -}}
{{- if and $name (lookup "v1" "ServiceAccount" $namespace "default") -}}
{{- $found := lookup "v1" "Secret" $namespace $name -}}
{{- if not $found -}}
{{- fail (printf "%s: there is no secret %s in the namespace %s" (index . 1) $name $namespace) -}}
{{- end -}}
{{- if and (index . 3) (not (hasKey (default dict $found.data) (index . 3))) -}}
{{- fail (printf "%s: the secret %s has no key %s" (index . 1) $name (index . 3)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Required values, checked before anything is installed. */}}
{{- define "gsc.required" -}}
{{- if not .Values.kafka.bootstrapServers -}}
{{- fail "kafka.bootstrapServers: missing" -}}
{{- end -}}
{{- $secret := .Values.secret -}}
{{- if not (or $secret.existingSecret $secret.external.enabled $secret.values.GSC_POSTGRES_DSN) -}}
{{- fail "secret: give existingSecret, external or values.GSC_POSTGRES_DSN" -}}
{{- end -}}
{{- if and $secret.external.enabled (not (and $secret.external.storeName $secret.external.remoteKey)) -}}
{{- fail "secret.external: give storeName and remoteKey" -}}
{{- end -}}
{{- if not (or .Values.catalog.existingSecret .Values.catalog.content) -}}
{{- fail "catalog: give existingSecret, or content and credentialsSecret" -}}
{{- end -}}
{{- if and .Values.catalog.content (not .Values.catalog.credentialsSecret) -}}
{{- fail "catalog.credentialsSecret: missing: the files that catalog.content names" -}}
{{- end -}}
{{- include "gsc.there" (list . "secret.existingSecret" $secret.existingSecret "GSC_POSTGRES_DSN") -}}
{{- include "gsc.there" (list . "catalog.existingSecret" .Values.catalog.existingSecret "catalog.yaml") -}}
{{- if .Values.catalog.content -}}
{{- include "gsc.there" (list . "catalog.credentialsSecret" .Values.catalog.credentialsSecret "") -}}
{{- end -}}
{{- if and .Values.daily.enabled .Values.settings.daily_cron -}}
{{- fail "daily.enabled and settings.daily_cron: both request the same days; set only one" -}}
{{- end -}}
{{- if and .Values.workloadIdentity.enabled (not .Values.workloadIdentity.audience) -}}
{{- fail "workloadIdentity.audience: missing" -}}
{{- end -}}
{{- if and (eq .Values.topics.mode "strimzi") (not .Values.topics.strimzi.cluster) -}}
{{- fail "topics.strimzi.cluster: missing" -}}
{{- end -}}
{{- end -}}

{{/* Seconds that a clean stop may take: the drain, and for a fetcher one call and its page. */}}
{{- define "gsc.grace" -}}
{{- $call := include "gsc.setting" (dict "root" .root "name" "http_timeout_s" "default" 120) | float64 -}}
{{- $drain := include "gsc.setting" (dict "root" .root "name" "drain_s" "default" 10) | float64 -}}
{{- $least := get (dict "producer" 30 "fetcher" (ceil (addf $call $drain 20.0) | int) "sink" 60) .name -}}
{{- $given := (index .root.Values .name).terminationGracePeriodSeconds -}}
{{- if kindIs "invalid" $given -}}
{{- $least -}}
{{- else if lt (int $given) (int $least) -}}
{{- fail (printf "%s.terminationGracePeriodSeconds: %d is less than the %d that a clean stop may take" .name (int $given) (int $least)) -}}
{{- else -}}
{{- int $given -}}
{{- end -}}
{{- end -}}

{{/* The most fetchers that the quota keeps busy (Little's law); never more than partitions. */}}
{{- define "gsc.maxFetchers" -}}
{{- $scaling := .Values.fetcher.autoscaling -}}
{{- $qpm := include "gsc.setting" (dict "root" . "name" "user_qpm" "default" 1200) | float64 -}}
{{- $headroom := include "gsc.setting" (dict "root" . "name" "quota_headroom" "default" 0.8) | float64 -}}
{{- $atOnce := include "gsc.setting" (dict "root" . "name" "max_concurrency" "default" 32) | float64 -}}
{{- $underWay := divf (mulf $scaling.credentials $qpm $headroom $scaling.callSeconds) 60 -}}
{{- $busy := ceil (divf $underWay $atOnce) | int -}}
{{- $partitions := 0 -}}
{{- range .Files.Get "files/topics.json" | fromJsonArray -}}
{{- if eq .name "batches" }}{{ $partitions = int .partitions }}{{ end -}}
{{- end -}}
{{- $most := ternary $busy (int $scaling.maxReplicas) (kindIs "invalid" $scaling.maxReplicas) -}}
{{- max (int $scaling.minReplicas) (min $most $busy $partitions) -}}
{{- end -}}

{{- define "gsc.env" -}}
{{- $secret := include "gsc.secret" . -}}
{{- $optional := list "GSC_KAFKA_SASL_USERNAME" "GSC_KAFKA_SASL_PASSWORD" -}}
{{- if eq .name "producer" }}{{ $optional = append $optional "GSC_HTTP_TOKEN" }}{{ end -}}
- {name: GSC_CATALOG, value: /etc/gsc-stream/catalog.yaml}
{{- if ne .name "fetcher" }}
- name: GSC_POSTGRES_DSN
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: GSC_POSTGRES_DSN}}
{{- end }}
{{- range $optional }}
- name: {{ . }}
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: {{ . }}, optional: true}}
{{- end }}
{{- end -}}

{{/* Whether a pod calls Google with a Kubernetes token. */}}
{{- define "gsc.federated" -}}
{{- if and (eq .name "fetcher") .root.Values.workloadIdentity.enabled }}true{{ end -}}
{{- end -}}

{{/* A pod of the chart: `name` and `command`, and whether it is a hook. */}}
{{- define "gsc.pod" -}}
{{- $values := .root.Values -}}
serviceAccountName: {{ .hook | ternary "default" (include "gsc.serviceAccount" .root) }}
automountServiceAccountToken: {{ and (not .hook) $values.serviceAccount.automountToken }}
securityContext: {{ toJson $values.podSecurityContext }}
{{- with $values.imagePullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with $values.tolerations }}
tolerations: {{ toJson . }}
{{- end }}
{{- with $values.affinity }}
affinity: {{ toJson . }}
{{- end }}
containers:
  - name: {{ .name }}
    image: {{ include "gsc.image" .root }}
    imagePullPolicy: {{ $values.image.pullPolicy }}
    args: {{ toJson .command }}
    securityContext: {{ toJson $values.containerSecurityContext }}
    envFrom: [{configMapRef: {name: {{ include "gsc.config" . }}}}]
    env: {{- include "gsc.env" . | nindent 6 }}
    resources: {{ toJson .resources }}
    {{- if .probes }}
    ports: [{name: http, containerPort: 8080}]
    startupProbe: {httpGet: {path: /live, port: http}, periodSeconds: 2, failureThreshold: 60}
    livenessProbe: {httpGet: {path: /live, port: http}, periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 6}
    readinessProbe: {httpGet: {path: /ready, port: http}, periodSeconds: 5, timeoutSeconds: 3}
    {{- end }}
    volumeMounts:
      - {name: tmp, mountPath: /tmp}
      - {name: catalog, mountPath: /etc/gsc-stream, readOnly: true}
      {{- if include "gsc.federated" . }}
      - {name: identity, mountPath: /var/run/secrets/gsc-stream, readOnly: true}
      {{- end }}
      {{- range $values.extraVolumeMounts }}
      - {{ toJson (merge (dict "readOnly" true) .) }}
      {{- end }}
volumes:
  - {name: tmp, emptyDir: {sizeLimit: 64Mi}}
  - name: catalog
    projected:
      sources:
        {{- if $values.catalog.existingSecret }}
        - secret: {name: {{ $values.catalog.existingSecret }}}
        {{- else }}
        - configMap: {name: {{ include "gsc.config" . }}-catalog}
        - secret: {name: {{ $values.catalog.credentialsSecret }}}
        {{- end }}
  {{- if include "gsc.federated" . }}
  - name: identity
    projected:
      sources:
        - serviceAccountToken:
            path: token
            audience: {{ $values.workloadIdentity.audience | quote }}
            expirationSeconds: {{ $values.workloadIdentity.expirationSeconds }}
  {{- end }}
  {{- range $values.extraVolumes }}
  - {{ toJson . }}
  {{- end }}
{{- end -}}
