//! ServiceIdentity: what one service is, and the credentials it gets.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::core::Duration;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    CertificateAlgorithm, CertificateUsage, IdentityRestart, LabelSelector, Pkcs12Keystores, RestartStatus,
    SecretTemplate, SigningAlgorithm,
};

/// The identity of one service.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[kube(
    group = "ringfence.dev",
    version = "v1alpha1",
    kind = "ServiceIdentity",
    plural = "serviceidentities",
    shortname = "sid",
    category = "ringfence",
    namespaced,
    status = "ServiceIdentityStatus",
    derive = "PartialEq",
    doc = "The identity of one service: its pods, its SPIFFE ID, and the credentials that Ringfence delivers to its namespace: a certificate (Secret <name>-tls), optionally a token-signing key (Secret <name>-signing-key), and what it needs to verify its peers (ConfigMap <name>-trust).",
    validation = Rule::new("size(self.metadata.name) <= 63").message("the name of a ServiceIdentity has at most 63 characters"),
    validation = Rule::new("self.metadata.name != 'baseline'").message("the name baseline is taken by the NetworkPolicy ringfence-baseline: choose another"),
    validation = Rule::new("!has(self.spec.signingKey) || (has(self.spec.certificate) && has(self.spec.certificate.secretName) ? self.spec.certificate.secretName : self.metadata.name + '-tls') != (has(self.spec.signingKey.secretName) ? self.spec.signingKey.secretName : self.metadata.name + '-signing-key')").message("certificate and signingKey need a Secret each: give one of them another secretName"),
    validation = Rule::new("!has(self.spec.certificate) || !has(self.spec.certificate.commonName) || self.spec.certificate.commonName == self.metadata.name || self.spec.certificate.commonName.contains('.svc') || (has(self.spec.dnsNames) && self.spec.dnsNames.exists(name, name.lowerAscii() == self.spec.certificate.commonName.lowerAscii()))").message("certificate.commonName must be the name of the identity or a DNS name of its certificate: one of dnsNames or of its Services"),
    validation = Rule::new("!has(self.spec.rotation) || self.spec.rotation.target != 'SigningKey' || has(self.spec.signingKey)").message("there is no signing key to rotate: set signingKey, or target Certificate"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "SPIFFE ID", type_ = "string", json_path = ".status.spiffeID"),
    printcolumn(name = "Expires", type_ = "string", json_path = ".status.certificate.notAfter"),
    printcolumn(name = "Renews", type_ = "string", json_path = ".status.certificate.renewalTime", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(validation = Rule::new("has(self.serviceAccountName) == has(oldSelf.serviceAccountName) && (!has(self.serviceAccountName) || self.serviceAccountName == oldSelf.serviceAccountName)")
    .message("serviceAccountName is immutable: the SPIFFE ID contains it; delete and create the identity instead"))]
#[serde(rename_all = "camelCase")]
pub struct ServiceIdentitySpec {
    /// Name of the ServiceAccount that the service's pods run as, e.g. `order`; the last part of the SPIFFE ID
    /// `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`. One identity per ServiceAccount; immutable.
    /// Unset: `metadata.name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub service_account_name: Option<String>,

    /// The pods that are this service. Never empty. Unset: `app.kubernetes.io/name: <metadata.name>`. Admission demands
    /// that a pod which matches runs as the ServiceAccount above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("(has(self.matchLabels) && size(self.matchLabels) > 0) || (has(self.matchExpressions) && size(self.matchExpressions) > 0)")
        .message("podSelector must not be empty: it would take in every pod of the namespace"))]
    pub pod_selector: Option<LabelSelector>,

    /// Services of this namespace that select these pods, e.g. `[order]`. Their names `<svc>.<ns>.svc` and
    /// `<svc>.<ns>.svc.<cluster domain>`, and for a headless one `*.<svc>.<ns>.svc`, go into the certificate, and their
    /// ports may be named by AccessPolicies. One identity per Service. At most 16. Unset: the Service named like the
    /// identity, if there is one. Empty: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 63)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub services: Option<Vec<String>>,

    /// More DNS names for the certificate, e.g. `[shop.example.com]`; only those that the TrustDomain allows this
    /// namespace. Exact names; one identity per name. At most 16. Unset: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 253)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub dns_names: Vec<String>,

    /// IP addresses for the certificate, e.g. `[192.0.2.10]`; only those that the TrustDomain allows this namespace.
    /// One identity per address. At most 16. Unset: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 2, max = 39)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[x_kube(validation = Rule::new("self.all(address, isIP(address))").message("ipAddresses must be IPv4 or IPv6 addresses, without a prefix length"))]
    pub ip_addresses: Vec<String>,

    /// Settings of the certificate. Unset: those of the TrustDomain.
    #[serde(default)]
    pub certificate: IdentityCertificate,

    /// If present, even as `{}`, the service gets a key to sign its own tokens, and its permitted callees get the public
    /// part. Unset: it can't sign tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing_key: Option<IdentitySigningKey>,

    /// Names under which the service accepts tokens (`aud`), e.g. `[https://order.shop.example]`. Names shaped like a
    /// SPIFFE ID or a Service belong to their owner alone. At most 16. Unset: its SPIFFE ID and its Service names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 253)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub audiences: Option<Vec<String>>,

    /// Names of the TrustDomain's `tokenIssuers` that the service talks to, to get tokens or to introspect them, e.g. `[sts]`.
    /// It gets the way there, the issuer's roots and, where the TrustDomain says so, credentials. At most 8. Unset: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(min = 1, max = 63)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub token_issuers: Vec<String>,

    /// `true` revokes the identity: every edge of it is closed, its public keys leave every key set, its unexpired
    /// certificates go on the revocation list of the CA that issued them (`crl.pem` in the ConfigMaps of its peers), and
    /// its Secrets and its ConfigMap are deleted, so that its pods can't start again. It keeps its SPIFFE ID and its names.
    /// Back on `false` it gets new keys. Connections that are open stay open, and a callee that does not read `crl.pem`
    /// believes a certificate until it expires. Unset: `false`. Deleting the identity revokes its certificates too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspended: bool,

    /// For services that can't reload: workloads that are rolled, once for each change, when the identity's certificate,
    /// its signing key, or the bundles and key sets in its ConfigMap change, e.g. `{workloads: [{kind: Deployment, name:
    /// order}]}`. Only workloads with pods from before the change are rolled, by the annotation
    /// `ringfence.dev/credentials-hash` of their pod template, and at most ten at a time in the whole cluster. Needs the
    /// chart's value `restart.enabled: true`; without it the condition `RestartPending` says so. Unset: nothing is rolled,
    /// and files in pods change under the running service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<IdentityRestart>,

    /// Asks once for another certificate or signing key, e.g. `{id: 2026-03-01-laptop, target: Certificate, mode:
    /// Compromised}`. A new `id` asks again; what was done is in the status. Unset: nothing is asked for, and certificates
    /// are renewed by age alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<IdentityRotation>,
}

/// A rotation that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct IdentityRotation {
    /// Any name that was not used before, such as a date and a cause, e.g. `2026-03-01-laptop`. At most 63 characters.
    #[schemars(length(min = 1, max = 63))]
    pub id: String,
    /// What is to be replaced.
    pub target: RotationTarget,
    /// How.
    pub mode: RotationMode,
}

/// What a rotation replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum RotationTarget {
    /// The certificate, with its key.
    Certificate,
    /// The token-signing key.
    SigningKey,
}

/// How a rotation goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum RotationMode {
    /// The key may be in other hands: it is distrusted at once, and replaced. All unexpired certificates of the identity go
    /// on the revocation list, or the old key leaves every key set. Requests fail until the pods have the new one.
    Compromised,
}

/// Settings of an identity's certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct IdentityCertificate {
    /// Algorithm of the key. Unset: the TrustDomain's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "CertificateAlgorithm")]
    pub algorithm: Option<CertificateAlgorithm>,
    /// How long the certificate is valid, e.g. `1h`. At least `5m`; at most, and when unset, the TrustDomain's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('5m')").message("a certificate must be valid for at least 5m"))]
    pub duration: Option<Duration>,
    /// Name of the Secret for certificate and key, e.g. `order-tls`. Unset: `<metadata.name>-tls`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub secret_name: Option<String>,
    /// What the certificate may be used for, e.g. `[ClientAuth]` for a service that only calls others. Never empty. An edge
    /// whose caller or callee could not show its certificate is refused in the AccessPolicy's status. A change takes effect
    /// with a new certificate at once. Unset: both, `[ServerAuth, ClientAuth]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub usages: Option<Vec<CertificateUsage>>,
    /// The common name (CN) in the subject, for old tools: peers go by the SPIFFE ID and the DNS names. `metadata.name`, or
    /// one of the DNS names of the certificate, e.g. `order.shop.svc`, in lower case. At most 64 characters (X.520). Unset:
    /// `metadata.name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub common_name: Option<String>,
    /// Labels and annotations for the certificate's Secret, e.g. `{labels: {team: checkout}}`; the Secret of the signing key
    /// gets none of them. A change is one write, and no new certificate; what is taken out here is taken off the Secret.
    /// Unset: none but Ringfence's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_template: Option<SecretTemplate>,
    /// If present, the Secret also holds `keystore.p12` (key, certificate and intermediates) and `truststore.p12` (the
    /// roots), for Java and others that read PKCS#12, e.g. `{passwordSecretRef: {name: order-keystore, key: password}}`.
    /// Unset: no keystores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pkcs12: Option<Pkcs12Keystores>,
}

/// Settings of an identity's token-signing key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct IdentitySigningKey {
    /// Signature algorithm. Unset: the TrustDomain's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "SigningAlgorithm")]
    pub algorithm: Option<SigningAlgorithm>,
    /// Name of the Secret for the key, e.g. `order-signing-key`. Unset: `<metadata.name>-signing-key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub secret_name: Option<String>,
}

/// What the operator last saw and did.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceIdentityStatus {
    /// Generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready` sums up; `Accepted` is about the spec and its conflicts; `ResolvedRefs` about what it names; `Programmed`
    /// about what was written. Others appear only when they apply.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The identity's SPIFFE ID.
    #[serde(default, rename = "spiffeID", skip_serializing_if = "Option::is_none")]
    pub spiffe_id: Option<String>,
    /// The certificate in the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateStatus>,
    /// Certificates that it had before and that may be valid still: they are revoked with it. Those that are on a
    /// revocation list already are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub previous_certificates: Vec<IssuedCertificate>,
    /// The token-signing key in the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing_key: Option<SigningKeyStatus>,
    /// Whether the workloads of `spec.restart` run with what is delivered. Unset: none are named, or restarts are off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<RestartStatus>,
    /// The last rotation that was asked for and begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<RotationStatus>,
}

/// The certificate in use.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateStatus {
    /// Name of the Secret that holds it.
    pub secret_name: String,
    /// Serial number, in hexadecimal.
    pub serial: String,
    /// Id of the CA generation that issued it, as the CA's Secret has it. Unset: one that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// When it begins to be valid.
    pub not_before: Time,
    /// When it ends to be valid.
    pub not_after: Time,
    /// When it will be renewed.
    pub renewal_time: Time,
}

/// A rotation that was begun.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RotationStatus {
    /// Its `id`.
    pub id: String,
    /// When what was there before was distrusted. Unset: the identity was new, and nothing was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
}

/// A certificate that was issued.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct IssuedCertificate {
    /// Serial number, in hexadecimal.
    pub serial: String,
    /// Id of the CA generation that issued it.
    pub authority: String,
    /// When it ends to be valid.
    pub not_after: Time,
}

/// The token-signing key in use.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SigningKeyStatus {
    /// Name of the Secret that holds it.
    pub secret_name: String,
    /// Key ID (`kid`): the key's thumbprint (RFC 7638).
    #[serde(rename = "keyID")]
    pub key_id: String,
}
