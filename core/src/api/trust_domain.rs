//! TrustDomain: the ceiling that a platform team sets around a group of namespaces.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::core::Duration;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CertificateAlgorithm, Empty, IdentityRef, LabelSelector, Protocol, SigningAlgorithm, TokenIssuer};

/// A trust domain: a group of namespaces with one certificate authority, one set of limits, and a border that nothing
/// crosses unless it is listed here. The platform team owns it; application teams grant access inside it with
/// AccessPolicies, never above it.
#[derive(CustomResource, Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[kube(
    group = "ringfence.dev",
    version = "v1alpha1",
    kind = "TrustDomain",
    plural = "trustdomains",
    shortname = "td",
    category = "ringfence",
    status = "TrustDomainStatus",
    derive = "PartialEq",
    doc = "A trust domain: a group of namespaces with one certificate authority, one set of limits, and a border that nothing crosses unless it is listed here. The platform team owns it; application teams grant access inside it with AccessPolicies, never above it.",
    validation = Rule::new("size(self.metadata.name) <= 63").message("the name of a TrustDomain has at most 63 characters"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Trust domain", type_ = "string", json_path = ".status.trustDomain"),
    printcolumn(name = "Enforcement", type_ = "string", json_path = ".spec.enforcement"),
    printcolumn(name = "CA expires", type_ = "string", json_path = ".status.certificateAuthority.notAfter"),
    printcolumn(name = "Namespaces", type_ = "string", json_path = ".status.namespaces", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(validation = Rule::new("has(self.trustDomain) == has(oldSelf.trustDomain) && (!has(self.trustDomain) || self.trustDomain == oldSelf.trustDomain)")
    .message("trustDomain is immutable: every SPIFFE ID of the domain contains it"))]
#[serde(rename_all = "camelCase")]
pub struct TrustDomainSpec {
    /// SPIFFE trust-domain name: the authority part of every SPIFFE ID, e.g. `shop.example` in
    /// `spiffe://shop.example/ns/storefront/sa/order`. Lower-case letters, digits, `.`, `-` and `_`; at most 63
    /// characters; immutable; unique in the cluster (a second claimant is refused). Unset: `metadata.name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$"))]
    pub trust_domain: Option<String>,

    /// Names of member namespaces, e.g. `[storefront]`. At most 256. A namespace belongs to one domain: the first claim
    /// stays. `kube-system`, `kube-public`, `kube-node-lease` and the operator's namespace can't be members. Unset: only
    /// `namespaceSelector` decides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 63)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub namespaces: Vec<String>,

    /// Selects member namespaces by label, in addition to `namespaces`. Only the keys `kubernetes.io/metadata.name` and
    /// `ringfence.dev/*` may be used, since only those are guarded against change by tenants. Unset: none are selected.
    /// A domain without namespaces serves as a root for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("(has(self.matchLabels) && size(self.matchLabels) > 0) || (has(self.matchExpressions) && size(self.matchExpressions) > 0)")
        .message("an empty namespaceSelector would take in every namespace of the cluster: name labels, or leave it out"))]
    #[x_kube(validation = Rule::new("!has(self.matchLabels) || self.matchLabels.all(key, key == 'kubernetes.io/metadata.name' || key.startsWith('ringfence.dev/'))")
        .message("namespaceSelector may use only the keys kubernetes.io/metadata.name and ringfence.dev/*"))]
    #[x_kube(validation = Rule::new("!has(self.matchExpressions) || self.matchExpressions.all(e, e.key == 'kubernetes.io/metadata.name' || e.key.startsWith('ringfence.dev/'))")
        .message("namespaceSelector may use only the keys kubernetes.io/metadata.name and ringfence.dev/*"))]
    pub namespace_selector: Option<LabelSelector>,

    /// Where the domain's certificates come from. Exactly one of its fields is set.
    pub certificate_authority: CertificateAuthority,

    /// Defaults and limits for the certificates of identities. Unset: ECDSA P-256 and 24 hours.
    #[serde(default)]
    pub certificates: CertificateSettings,

    /// Defaults and limits for the token-signing keys of identities. Unset: ES256 and tokens of at most 5 minutes.
    #[serde(default)]
    pub signing_keys: SigningKeySettings,

    /// Issuers of access tokens that the domain trusts, e.g. `[{name: sts, builtIn: {}}]`. Naming one here is the consent:
    /// identities that list it in their `tokenIssuers` get the way to it, its roots and its credentials, and no others do.
    /// At most 8; names, issuers and `builtIn` once each. Unset: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[x_kube(validation = Rule::new("self.filter(issuer, has(issuer.builtIn)).size() <= 1").message("builtIn may be named once"))]
    #[x_kube(validation = Rule::new("self.all(a, !has(a.issuer) || self.exists_one(b, has(b.issuer) && b.issuer == a.issuer))").message("each issuer may be named once"))]
    pub token_issuers: Vec<TokenIssuer>,

    /// What may come in over the domain's border. At most 64 entries. Unset: nothing. An edge from another domain needs,
    /// besides this, an `outbound` entry of that domain. Nothing is needed for edges inside the domain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub inbound: Vec<InboundCeiling>,

    /// What may go out over the domain's border. At most 64 entries. Unset: nothing but DNS.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub outbound: Vec<OutboundCeiling>,

    /// What happens to NetworkPolicies in member namespaces that are not Ringfence's own: they could only widen the fence.
    /// `Deny` (when unset): admission refuses them while the domain enforces. `Report`: they are allowed, and the condition
    /// `Widened` names them.
    #[serde(default)]
    pub foreign_policies: ForeignPolicies,

    /// `Enforce` (when unset): NetworkPolicies are written. `Audit`: everything is computed and reported, and no
    /// NetworkPolicy is written. `Disabled`: no NetworkPolicies; certificates and keys go on.
    #[serde(default)]
    pub enforcement: Enforcement,
}

/// Where a domain's certificates come from: exactly one of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = Rule::new("(has(self.selfSigned) ? 1 : 0) + (has(self.secret) ? 1 : 0) + (has(self.parent) ? 1 : 0) == 1")
    .message("exactly one of selfSigned, secret and parent must be set"))]
#[serde(rename_all = "camelCase")]
pub struct CertificateAuthority {
    /// Ringfence generates a root certificate and keeps its key in the operator's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_signed: Option<SelfSignedAuthority>,
    /// Bring your own: a CA certificate and key in a Secret of the operator's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretAuthority>,
    /// An intermediate that another TrustDomain of this cluster signs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ParentAuthority>,
}

/// A root that Ringfence generates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SelfSignedAuthority {
    /// How long the root is valid, e.g. `87600h`. At least `1h`. Unset: `87600h` (10 years).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1h')").message("a root must be valid for at least 1h"))]
    pub duration: Option<Duration>,
    /// Algorithm of the root's key. Unset: `ECDSA-P256`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "CertificateAlgorithm")]
    pub algorithm: Option<CertificateAlgorithm>,
}

/// A CA that the user brings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretAuthority {
    /// Name of a Secret in the operator's namespace, e.g. `corporate-ca`, with `tls.crt` (the CA's certificate, then its
    /// chain), `tls.key` (PEM) and, unless the chain ends in a root, `ca.crt` (the root). It is checked before it is used;
    /// when it turns bad, the last good one stays in use.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// An intermediate signed by another TrustDomain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParentAuthority {
    /// Name of the TrustDomain object that signs, e.g. `shop-root`. No cycles; at most 3 levels of parents.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// How long the intermediate is valid, e.g. `8760h`; never longer than its parent. At least `1h`. Unset: `8760h` (1 year).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1h')").message("an intermediate must be valid for at least 1h"))]
    pub duration: Option<Duration>,
    /// Algorithm of the intermediate's key. Unset: `ECDSA-P256`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "CertificateAlgorithm")]
    pub algorithm: Option<CertificateAlgorithm>,
}

/// Defaults and limits for certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateSettings {
    /// Algorithm of an identity's key unless the identity asks for another. Unset: `ECDSA-P256`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "CertificateAlgorithm")]
    pub algorithm: Option<CertificateAlgorithm>,
    /// How long a certificate is valid unless the identity asks for less; also the upper limit, e.g. `24h`. At least `5m`.
    /// Unset: `24h`. Certificates are renewed at two thirds of their life, give or take 5 %.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('5m')").message("a certificate must be valid for at least 5m"))]
    pub duration: Option<Duration>,
    /// Names beyond those of their own Services that identities may claim, and from which namespaces. At most 64.
    /// Unset: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub allowed_names: Vec<AllowedName>,
}

/// A name that identities of some namespaces may put into their certificates.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AllowedName {
    /// An exact DNS name or IP address, e.g. `shop.example.com` or `192.0.2.10`; no patterns.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("!self.contains('*')").message("allowed names are exact: wildcards are not accepted"))]
    pub name: String,
    /// Namespaces whose identities may claim the name, e.g. `[storefront]`. At least 1, at most 64.
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 63)))]
    pub namespaces: Vec<String>,
}

/// Defaults and limits for token-signing keys and the tokens they sign.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SigningKeySettings {
    /// Algorithm of a signing key unless the identity asks for another. Unset: `ES256`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "SigningAlgorithm")]
    pub algorithm: Option<SigningAlgorithm>,
    /// Longest time from `iat` to `exp` of a token that a service signs, e.g. `5m`. From `10s` to `24h`. Unset: `5m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('10s') && duration(self) <= duration('24h')").message("maxTokenLifetime must be from 10s to 24h"))]
    pub max_token_lifetime: Option<Duration>,
    /// Whether a token may carry an audience whose first label is `*`, e.g. `*.settlement.svc`. Unset: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_wildcard_audiences: bool,
}

/// One thing that may come in over the border: exactly one of `anywhere`, `trustDomains`, `namespaces`, `cidrs` and
/// `kubernetesAPI` says from where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = Rule::new("(has(self.anywhere) ? 1 : 0) + (has(self.trustDomains) ? 1 : 0) + (has(self.namespaces) ? 1 : 0) + (has(self.cidrs) ? 1 : 0) + (has(self.kubernetesAPI) ? 1 : 0) == 1")
    .message("exactly one of anywhere, trustDomains, namespaces, cidrs and kubernetesAPI must be set"))]
#[serde(rename_all = "camelCase")]
pub struct InboundCeiling {
    /// From any address and any pod that is not a member of another trust domain. A NetworkPolicy can't tell such a
    /// member apart: where its own domain lets it out to the callee's address, its packets arrive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anywhere: Option<Empty>,
    /// From members of these TrustDomains (names of the objects), e.g. `[storefront]`. At most 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 63)))]
    pub trust_domains: Option<Vec<String>>,
    /// From pods of these namespaces, which are in no trust domain, e.g. `[monitoring]`. At most 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 63)))]
    pub namespaces: Option<Vec<String>>,
    /// From these address ranges, e.g. `[203.0.113.0/24]`. At most 64. A range of length 0 means `anywhere`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 3, max = 43)))]
    #[x_kube(validation = Rule::new("self.all(cidr, isCIDR(cidr))").message("cidrs must be address ranges such as 203.0.113.0/24"))]
    pub cidrs: Option<Vec<String>>,
    /// From the Kubernetes API server, which calls admission webhooks and aggregated APIs.
    #[serde(default, rename = "kubernetesAPI", skip_serializing_if = "Option::is_none")]
    pub kubernetes_api: Option<Empty>,
    /// Pod ports that may be reached. At most 32. Unset: all ports. Compared with the resolved port of the pod, not with
    /// the port of a Service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub ports: Vec<CeilingPort>,
    /// Which identities of this domain may be reached. At most 64. Unset: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub identities: Vec<IdentityRef>,
    /// True: `anywhere` and `cidrs` may include the cluster's own pod, Service, node and link-local addresses. Unset: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cluster_addresses: bool,
    /// Ways for a caller to prove itself of which a policy must demand one. Unset: `Mtls`, `CallerJwt` and `IssuerJwt` for
    /// `trustDomains`; these and `None` for the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4))]
    pub accepted_authentication: Option<Vec<AcceptedAuthentication>>,
}

/// One thing that may go out over the border: exactly one of `anywhere`, `trustDomains`, `namespaces`, `cidrs` and
/// `kubernetesAPI` says where to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = Rule::new("(has(self.anywhere) ? 1 : 0) + (has(self.trustDomains) ? 1 : 0) + (has(self.namespaces) ? 1 : 0) + (has(self.cidrs) ? 1 : 0) + (has(self.kubernetesAPI) ? 1 : 0) == 1")
    .message("exactly one of anywhere, trustDomains, namespaces, cidrs and kubernetesAPI must be set"))]
#[serde(rename_all = "camelCase")]
pub struct OutboundCeiling {
    /// To any address outside the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anywhere: Option<Empty>,
    /// To members of these TrustDomains (names of the objects), e.g. `[settlement]`. At most 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 63)))]
    pub trust_domains: Option<Vec<String>>,
    /// To pods of these namespaces, which are in no trust domain, e.g. `[databases]`. At most 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 63)))]
    pub namespaces: Option<Vec<String>>,
    /// To these address ranges, e.g. `[198.51.100.0/24]`. At most 64. A range of length 0 means `anywhere`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 3, max = 43)))]
    #[x_kube(validation = Rule::new("self.all(cidr, isCIDR(cidr))").message("cidrs must be address ranges such as 203.0.113.0/24"))]
    pub cidrs: Option<Vec<String>>,
    /// To the Kubernetes API server.
    #[serde(default, rename = "kubernetesAPI", skip_serializing_if = "Option::is_none")]
    pub kubernetes_api: Option<Empty>,
    /// Ports that may be reached: of the pod for pods, of the address for addresses. At most 32. Unset: all ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub ports: Vec<CeilingPort>,
    /// Which identities of this domain may go out. At most 64. Unset: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub identities: Vec<IdentityRef>,
    /// True: `anywhere` and `cidrs` may include the cluster's own pod, Service, node and link-local addresses. Unset: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cluster_addresses: bool,
}

/// A port or a range of ports in a ceiling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = Rule::new("!has(self.endPort) || self.endPort >= self.port").message("endPort must not be below port"))]
#[serde(rename_all = "camelCase")]
pub struct CeilingPort {
    /// Number of the pod's port, 1 to 65535, e.g. `8443`.
    #[schemars(with = "i32", range(min = 1, max = 65535))]
    pub port: u16,
    /// Last port of a range that starts at `port`. Unset: only `port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 1, max = 65535))]
    pub end_port: Option<u16>,
    /// Transport protocol. Unset: `TCP`.
    #[serde(default)]
    pub protocol: Protocol,
}

/// A way for a caller to prove who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub enum AcceptedAuthentication {
    /// A client certificate (mutual TLS).
    Mtls,
    /// A token that the caller signs itself.
    CallerJwt,
    /// A token that one of the domain's `tokenIssuers` signs.
    IssuerJwt,
    /// No proof at all.
    None,
}

/// What happens to NetworkPolicies of others in member namespaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum ForeignPolicies {
    /// Admission refuses them while the domain enforces.
    #[default]
    Deny,
    /// They are allowed and reported.
    Report,
}

/// Whether NetworkPolicies are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub enum Enforcement {
    /// NetworkPolicies are written.
    #[default]
    Enforce,
    /// All is computed and reported; no NetworkPolicy is written.
    Audit,
    /// No NetworkPolicies.
    Disabled,
}

/// What the operator last saw and did.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrustDomainStatus {
    /// Generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready` sums up; `Accepted` is about the spec and its conflicts; `ResolvedRefs` about what it names; `Programmed`
    /// about what was written. Others appear only when they apply.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The SPIFFE trust-domain name that this object holds. Unset: it holds none, because another object does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust_domain: Option<String>,
    /// The namespaces that this object holds, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// The certificate authority that signs now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_authority: Option<AuthorityStatus>,
}

/// The certificate authority that signs now.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuthorityStatus {
    /// Identifier of the CA generation in use, as in the Secret `<name>-ca`.
    pub generation: String,
    /// Serial number of the CA's certificate, in hexadecimal.
    pub serial: String,
    /// When the CA's certificate begins to be valid.
    pub not_before: Time,
    /// When the CA's certificate ends to be valid.
    pub not_after: Time,
}
