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

{{/* The account of a pod. Hooks run before the account of the services exists, so they have one of their own. */}}
{{- define "gsc.serviceAccount" -}}
{{- $account := .root.Values.serviceAccount -}}
{{- if $account.create -}}
{{- printf "%s%s" (default (include "gsc.fullname" .root) $account.name) (ternary "-hooks" "" .hook) -}}
{{- else -}}
{{- default "default" $account.name -}}
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

{{/* The secret of a component: its own if it has one, or else the common one. */}}
{{- define "gsc.secret" -}}
{{- $secret := .root.Values.secret -}}
{{- $own := default dict (get $secret.components .name) -}}
{{- if $own.existingSecret -}}
{{- $own.existingSecret -}}
{{- else if and $secret.external.enabled $own.remoteKey -}}
{{- printf "%s-%s" (include "gsc.config" .) .name -}}
{{- else -}}
{{- default (include "gsc.config" .) $secret.existingSecret -}}
{{- end -}}
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
{{- $owners := list -}}
{{- range $name, $own := $secret.components -}}
{{- if $own.existingSecret -}}
{{- $owners = append $owners $name -}}
{{- $key := ternary "" "GSC_POSTGRES_DSN" (has $name (list "fetcher" "topics")) -}}
{{- include "gsc.there" (list $ (printf "secret.components.%s.existingSecret" $name) $own.existingSecret $key) -}}
{{- end -}}
{{- if and $own.remoteKey (not $secret.external.enabled) -}}
{{- fail (printf "secret.components.%s.remoteKey: needs secret.external.enabled" $name) -}}
{{- end -}}
{{- end -}}
{{- if not (or $secret.existingSecret $secret.external.enabled $secret.values.GSC_POSTGRES_DSN (eq (len $owners) 6)) -}}
{{- fail "secret: give existingSecret, external or values.GSC_POSTGRES_DSN, or components.NAME.existingSecret of all six" -}}
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

{{/* The partitions of the batches and the results: as many members as the groups of fetchers and sinks can use. */}}
{{- define "gsc.partitions" -}}
{{- $partitions := .Values.topics.partitions -}}
{{- range .Files.Get "files/topics.json" | fromJsonArray -}}
{{- if and (eq .name "batches") (kindIs "invalid" $partitions) }}{{ $partitions = .partitions }}{{ end -}}
{{- end -}}
{{- int $partitions -}}
{{- end -}}

{{/* The most fetchers that the quota keeps busy: the calls that it allows, by those that one fetcher manages. Never more than credentials, since
one fetcher at a time works for a credential, or than partitions. */}}
{{- define "gsc.maxFetchers" -}}
{{- $scaling := .Values.fetcher.autoscaling -}}
{{- $user := include "gsc.setting" (dict "root" . "name" "user_qpm" "default" 1200) | float64 -}}
{{- $project := include "gsc.setting" (dict "root" . "name" "project_qpm" "default" 40000) | float64 -}}
{{- $headroom := include "gsc.setting" (dict "root" . "name" "quota_headroom" "default" 0.8) | float64 -}}
{{- $allowed := mulf $headroom (minf (mulf $scaling.credentials $user) (mulf $scaling.projects $project)) -}}
{{- $busy := divf $allowed $scaling.callsPerMinute | ceil | int -}}
{{- $partitions := include "gsc.partitions" . | int -}}
{{- $most := ternary $busy (int $scaling.maxReplicas) (kindIs "invalid" $scaling.maxReplicas) -}}
{{- max (int $scaling.minReplicas) (min $most $busy (int $scaling.credentials) $partitions) -}}
{{- end -}}

{{- define "gsc.env" -}}
{{- $secret := include "gsc.secret" . -}}
{{- $optional := list "GSC_KAFKA_SASL_USERNAME" "GSC_KAFKA_SASL_PASSWORD" "GSC_KAFKA_SASL_OAUTHBEARER_CLIENT_ID" "GSC_KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET" -}}
{{- if eq .name "producer" }}{{ $optional = append $optional "GSC_HTTP_TOKEN" }}{{ end -}}
{{- if include "gsc.catalog" . }}
- {name: GSC_CATALOG, value: /etc/gsc-stream/catalog.yaml}
{{- end }}
{{- if not (has .name (list "fetcher" "topics")) }}
- name: GSC_POSTGRES_DSN
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: GSC_POSTGRES_DSN}}
{{- end }}
{{- range $optional }}
- name: {{ . }}
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: {{ . }}, optional: true}}
{{- end }}
{{- range .root.Values.extraEnv }}
- {{ toJson . }}
{{- end }}
{{- end -}}

{{/* Whether a pod reads the catalog, and whether it reads Google's keys, too. */}}
{{- define "gsc.catalog" -}}
{{- if has .name (list "producer" "fetcher" "migrate" "daily") }}true{{ end -}}
{{- end -}}
{{- define "gsc.keys" -}}
{{- if eq .name "fetcher" }}true{{ end -}}
{{- end -}}

{{/* Whether a pod calls Google with a Kubernetes token. */}}
{{- define "gsc.federated" -}}
{{- if and (eq .name "fetcher") .root.Values.workloadIdentity.enabled }}true{{ end -}}
{{- end -}}

{{/* A scheduling setting of a service or of the jobs, or else the one of all pods. */}}
{{- define "gsc.scheduling" -}}
{{- $own := get .root.Values (ternary .name "jobs" (has .name (list "producer" "fetcher" "sink"))) -}}
{{- $value := get $own .setting -}}
{{- if $value }}{{ toJson $value }}{{ else if get .root.Values .setting }}{{ toJson (get .root.Values .setting) }}{{ end -}}
{{- end -}}

{{/* A pod of the chart: `name` and `command`, and whether it is a hook. */}}
{{- define "gsc.pod" -}}
{{- $it := . -}}
{{- $values := .root.Values -}}
serviceAccountName: {{ include "gsc.serviceAccount" . }}
automountServiceAccountToken: {{ and (not .hook) $values.serviceAccount.automountToken }}
# Otherwise every service of the namespace adds variables, and one named gsc-http adds GSC_HTTP_PORT.
enableServiceLinks: false
securityContext: {{ toJson $values.podSecurityContext }}
{{- with $values.imagePullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
{{- range $setting := list "nodeSelector" "tolerations" "affinity" }}
{{- with include "gsc.scheduling" (dict "root" $it.root "name" $it.name "setting" $setting) }}
{{ $setting }}: {{ . }}
{{- end }}
{{- end }}
containers:
  - name: {{ .name }}
    image: {{ include "gsc.image" .root }}
    imagePullPolicy: {{ $values.image.pullPolicy }}
    args: {{ toJson .command }}
    securityContext: {{ toJson $values.containerSecurityContext }}
    envFrom: {{ toJson (prepend $values.extraEnvFrom (dict "configMapRef" (dict "name" (include "gsc.config" .)))) }}
    {{- with include "gsc.env" . }}
    env: {{- . | nindent 6 }}
    {{- end }}
    resources: {{ toJson .resources }}
    {{- if .probes }}
    ports: [{name: http, containerPort: 8080}]
    startupProbe: {httpGet: {path: /live, port: http}, periodSeconds: 2, failureThreshold: 60}
    livenessProbe: {httpGet: {path: /live, port: http}, periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 6}
    readinessProbe: {httpGet: {path: /ready, port: http}, periodSeconds: 5, timeoutSeconds: 3}
    {{- end }}
    volumeMounts:
      - {name: tmp, mountPath: /tmp}
      {{- if include "gsc.catalog" . }}
      - {name: catalog, mountPath: /etc/gsc-stream, readOnly: true}
      {{- end }}
      {{- if include "gsc.federated" . }}
      - {name: identity, mountPath: /var/run/secrets/gsc-stream, readOnly: true}
      {{- end }}
      {{- range $values.extraVolumeMounts }}
      - {{ toJson (merge (dict "readOnly" true) .) }}
      {{- end }}
volumes:
  - {name: tmp, emptyDir: {sizeLimit: 64Mi}}
  {{- if include "gsc.catalog" . }}
  - name: catalog
    projected:
      sources:
        {{- if $values.catalog.existingSecret }}
        - secret:
            name: {{ $values.catalog.existingSecret }}
            {{- if not (include "gsc.keys" .) }}
            items: [{key: catalog.yaml, path: catalog.yaml}]
            {{- end }}
        {{- else }}
        - configMap: {name: {{ include "gsc.config" . }}-catalog}
        {{- if include "gsc.keys" . }}
        - secret: {name: {{ $values.catalog.credentialsSecret }}}
        {{- end }}
        {{- end }}
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
