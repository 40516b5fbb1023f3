//! AccessPolicy: who may call whom, on which ports, and how the caller must prove itself.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::core::Duration;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Empty, IdentityRef, PodPeer, Protocol};

/// A grant of access.
#[derive(CustomResource, Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[kube(
    group = "ringfence.dev",
    version = "v1alpha1",
    kind = "AccessPolicy",
    plural = "accesspolicies",
    shortname = "ap",
    category = "ringfence",
    namespaced,
    status = "AccessPolicyStatus",
    derive = "PartialEq",
    doc = "A grant of access: who may call whom, on which ports, and how the caller must prove itself. It lies in the namespace of the one being called; for something without an identity, in the caller's. It opens both sides of the connection and delivers what both sides need to verify each other, and never widens what the TrustDomains allow.",
    validation = Rule::new("size(self.metadata.name) <= 63").message("the name of an AccessPolicy has at most 63 characters"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "To", type_ = "string", json_path = ".spec.to.identity"),
    printcolumn(name = "Edges", type_ = "integer", json_path = ".status.edges"),
    printcolumn(name = "Enforcement", type_ = "string", json_path = ".spec.enforcement"),
    printcolumn(name = "Effective after", type_ = "string", json_path = ".status.effectiveAfter", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(validation = Rule::new("has(self.to.identity) || self.from.all(source, has(source.identity) && !has(source.identity.namespace))")
    .message("to pods, external and kubernetesAPI only identities of this namespace may go: write from: [{identity: {name: ...}}] without a namespace"))]
#[x_kube(validation = Rule::new("has(self.to.identity) || (!has(self.authentication) && (!has(self.rules) || size(self.rules) == 0))")
    .message("authentication and rules need a callee with an identity: the others have nothing that could check them"))]
#[x_kube(validation = Rule::new("!has(self.authentication) || !has(self.authentication.jwt) || (has(self.authentication.jwt.signer) && self.authentication.jwt.signer == 'Issuer') || self.from.all(source, !has(source.trustDomain))")
    .message("a jwt that the caller signs needs callers named one by one: it can't be asked of a whole trustDomain"))]
#[serde(rename_all = "camelCase")]
pub struct AccessPolicySpec {
    /// Who is being called. Exactly one of its fields `identity`, `pods`, `external` and `kubernetesAPI` is set.
    pub to: Target,

    /// Who may call: 1 to 128 entries. Each is judged alone: one that is refused stays closed and is named in
    /// `status.from`; the others stand.
    #[schemars(length(min = 1, max = 128))]
    pub from: Vec<Source>,

    /// How callers must prove themselves; all keys present are required. Unset: mutual TLS for `identity` and
    /// `trustDomain` sources, nothing for the others. Ringfence delivers what is needed; the service checks it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<Authentication>,

    /// What may be called, for services (or proxies) that check it; it is delivered in `access.json`. At most 32.
    /// Unset: everything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub rules: Vec<HttpRule>,

    /// `Enforce` (when unset): the policy is in force. `Audit`: a draft; its edges are computed and reported, and nothing
    /// is opened or delivered.
    #[serde(default)]
    pub enforcement: PolicyEnforcement,
}

impl AccessPolicySpec {
    /// The pods without an identity that it names, as callee and as callers.
    pub fn pods(&self) -> impl Iterator<Item = &PodPeer> {
        let callee = self.to.pods.iter().map(|callee| &callee.pods);
        callee.chain(self.from.iter().filter_map(|source| source.pods.as_ref()))
    }
}

/// Who is being called: exactly one of `identity`, `pods`, `external` and `kubernetesAPI`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = Rule::new("(has(self.identity) ? 1 : 0) + (has(self.pods) ? 1 : 0) + (has(self.external) ? 1 : 0) + (has(self.kubernetesAPI) ? 1 : 0) == 1")
    .message("exactly one of identity, pods, external and kubernetesAPI must be set"))]
#[x_kube(validation = Rule::new("!has(self.identity) || (has(self.ports) && size(self.ports) > 0)")
    .message("ports must name at least one port of the identity being called"))]
#[x_kube(validation = Rule::new("has(self.identity) || !has(self.ports) || size(self.ports) == 0")
    .message("ports beside identity only: pods and external have ports of their own"))]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Name of a ServiceIdentity of this namespace, e.g. `payment`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub identity: Option<String>,
    /// Ports of the identity's pods, e.g. `[{port: 8443}]` or `[{port: grpc}]`. 1 to 16 with `identity`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub ports: Vec<PolicyPort>,
    /// Pods without an identity, outside every trust domain. Opens the callers' way out only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<PodsCallee>,
    /// Addresses. Opens the callers' way out only. NetworkPolicies know no host names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalCallee>,
    /// The Kubernetes API server. Opens the callers' way out only.
    #[serde(default, rename = "kubernetesAPI", skip_serializing_if = "Option::is_none")]
    pub kubernetes_api: Option<Empty>,
}

/// A port of the callee.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = Rule::new("!has(self.endPort) || (type(self.port) == int && self.endPort >= self.port)")
    .message("endPort needs a numeric port that is not above it"))]
#[serde(rename_all = "camelCase")]
pub struct PolicyPort {
    /// Number or name, e.g. `8443` or `grpc`. A port of the identity's Services first (translated to the pod's port), a
    /// container port only if no Service has it.
    #[x_kube(validation = Rule::new("type(self) == int ? (self >= 1 && self <= 65535) : (size(self) >= 1 && size(self) <= 63)")
        .message("port must be a number from 1 to 65535 or a port name"))]
    pub port: IntOrString,
    /// Last pod port of a range that starts at `port`; such a range is never looked up in Services. Unset: only `port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 1, max = 65535))]
    pub end_port: Option<u16>,
    /// Transport protocol. Unset: `TCP`.
    #[serde(default)]
    pub protocol: Protocol,
}

/// Pods without an identity that are being called.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodsCallee {
    /// Which pods.
    #[serde(flatten)]
    pub pods: PodPeer,
    /// Numeric ports of those pods, e.g. `[{port: 5432}]`. 1 to 16.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(validation = Rule::new("self.all(p, type(p.port) == int)").message("ports of pods and external callees must be numbers"))]
    pub ports: Vec<PolicyPort>,
}

/// Addresses that are being called.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExternalCallee {
    /// Address ranges, e.g. `[203.0.113.0/24]`. 1 to 32. The cluster's own addresses inside them stay closed unless the
    /// TrustDomain's ceiling sets `clusterAddresses`.
    #[schemars(length(min = 1, max = 32), inner(length(min = 3, max = 43)))]
    #[x_kube(validation = Rule::new("self.all(cidr, isCIDR(cidr))").message("cidrs must be address ranges such as 203.0.113.0/24"))]
    pub cidrs: Vec<String>,
    /// Numeric ports, e.g. `[{port: 443}]`. 1 to 16.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(validation = Rule::new("self.all(p, type(p.port) == int)").message("ports of pods and external callees must be numbers"))]
    pub ports: Vec<PolicyPort>,
}

/// Who may call: exactly one of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = Rule::new("(has(self.identity) ? 1 : 0) + (has(self.trustDomain) ? 1 : 0) + (has(self.pods) ? 1 : 0) + (has(self.cidr) ? 1 : 0) + (has(self.anywhere) ? 1 : 0) + (has(self.kubernetesAPI) ? 1 : 0) == 1")
    .message("exactly one of identity, trustDomain, pods, cidr, anywhere and kubernetesAPI must be set"))]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// One ServiceIdentity. Its namespace when unset: this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<IdentityRef>,
    /// Every member of a TrustDomain (name of the object), e.g. `storefront`, proved by its certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub trust_domain: Option<String>,
    /// Pods without an identity, outside every trust domain. They prove nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<PodPeer>,
    /// An address range, e.g. `203.0.113.0/24`. A range of length 0 means `anywhere`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 43))]
    #[x_kube(validation = Rule::new("isCIDR(self)").message("cidr must be an address range such as 203.0.113.0/24"))]
    pub cidr: Option<String>,
    /// Any address and any pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anywhere: Option<Empty>,
    /// The Kubernetes API server, e.g. for an admission webhook.
    #[serde(default, rename = "kubernetesAPI", skip_serializing_if = "Option::is_none")]
    pub kubernetes_api: Option<Empty>,
}

/// How callers must prove themselves: every key that is present is required.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.mtls) || has(self.jwt)").message("authentication must demand mtls, jwt or both: leave it out for the default"))]
#[serde(rename_all = "camelCase")]
pub struct Authentication {
    /// A client certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtls: Option<Empty>,
    /// A token. Alone it means: server TLS and a token, no client certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwt: Option<JwtRequirement>,
}

/// The token that a caller must bring.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = Rule::new("(has(self.signer) && self.signer == 'Issuer') || !(has(self.issuer) || has(self.validation) || (has(self.scopes) && size(self.scopes) > 0) || (has(self.oneTime) && self.oneTime))")
    .message("issuer, validation, scopes and oneTime are about tokens of an issuer: set signer: Issuer, or leave them out"))]
#[x_kube(validation = Rule::new("!has(self.oneTime) || !self.oneTime || (has(self.validation) && self.validation == 'Introspection')")
    .message("a one-time token is used up by introspection: set validation: Introspection"))]
#[serde(rename_all = "camelCase")]
pub struct JwtRequirement {
    /// Who signs the token. Unset: `Caller`, the calling service itself, which needs a `signingKey`. `Issuer`: one of the
    /// `tokenIssuers` of the callee's TrustDomain.
    #[serde(default)]
    pub signer: Signer,
    /// Name of the issuer in the `tokenIssuers` of the callee's TrustDomain, e.g. `sts`; with `signer: Issuer` alone. Unset:
    /// the only one there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub issuer: Option<String>,
    /// How the callee validates the issuer's token; with `signer: Issuer` alone. `Jwks`: by the issuer's keys, which are
    /// delivered to it. `Introspection`: by asking the issuer, which the callee lists in its `tokenIssuers`. Unset: `Jwks`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "TokenValidation")]
    pub validation: Option<TokenValidation>,
    /// Audiences of the callee of which the token must carry one. At most 16. Unset: all audiences of the callee.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 253)))]
    pub audiences: Vec<String>,
    /// Scopes that the issuer's token must all carry, e.g. `[customer]`; with `signer: Issuer` alone. At most 16. Unset: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 128), regex(pattern = r"^[\x21\x23-\x5B\x5D-\x7E]+$")))]
    pub scopes: Vec<String>,
    /// True: each call needs a token of its own, which its first introspection uses up: a transaction token of the built-in
    /// issuer, bound to a purpose and to the request's details. Needs `signer: Issuer` and `validation: Introspection`.
    /// Unset: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub one_time: bool,
    /// Longest time from `iat` to `exp`, e.g. `1m`. At least `10s`. With `signer: Caller` the smallest of this and both
    /// TrustDomains' `signingKeys.maxTokenLifetime` counts, for tokens of the built-in issuer that of this and its
    /// `tokenLifetime` in the callee's TrustDomain, and for those of another issuer this alone. Unset: the TrustDomains'
    /// limit; for another issuer none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('10s')").message("maxLifetime must be at least 10s"))]
    pub max_lifetime: Option<Duration>,
}

/// Who signs a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub enum Signer {
    /// The calling service, with its own key.
    #[default]
    Caller,
    /// A token issuer of the callee's TrustDomain.
    Issuer,
}

/// How a callee validates a token of an issuer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub enum TokenValidation {
    /// By the issuer's keys.
    #[default]
    Jwks,
    /// By asking the issuer (RFC 7662).
    Introspection,
}

/// One thing that may be called: HTTP methods and paths, or a gRPC service and its methods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.grpcService) ? (!has(self.methods) && !has(self.paths)) : !has(self.grpcMethods)")
    .message("a rule is either about HTTP (methods, paths) or about gRPC (grpcService, grpcMethods)"))]
#[serde(rename_all = "camelCase")]
pub struct HttpRule {
    /// HTTP methods, e.g. `[GET, POST]`. At most 9. Unset: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 9), inner(length(min = 1, max = 16)))]
    pub methods: Vec<String>,
    /// Paths, e.g. `[/orders, /orders/*]`: exact, or a prefix that ends in `/*`. At most 32. Unset: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 256), regex(pattern = r"^/[^*]*\*?$")))]
    pub paths: Vec<String>,
    /// Full name of a gRPC service, e.g. `shop.payment.v1.Payment`. Unset: the rule is about HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub grpc_service: Option<String>,
    /// Methods of the gRPC service, e.g. `[Charge]`. At most 32. Unset: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 128)))]
    pub grpc_methods: Vec<String>,
}

/// Whether a policy is in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub enum PolicyEnforcement {
    /// In force.
    #[default]
    Enforce,
    /// A draft: computed and reported, nothing opened or delivered.
    Audit,
}

/// What the operator last saw and did.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessPolicyStatus {
    /// Generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready` sums up; `Accepted` is about ceilings and conflicts; `ResolvedRefs` about what the policy names;
    /// `Programmed` about what was written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Number of `from` entries that are open (for a draft: that would be).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edges: Option<i32>,
    /// The `from` entries that are not open, and why. Empty: all are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<SourceStatus>,
    /// When files mounted in pods have surely caught up with what this policy opened: the packets pass before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective_after: Option<Time>,
}

/// Why one `from` entry is not open.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceStatus {
    /// Position of the entry in `spec.from`, from 0.
    pub index: i32,
    /// The entry in words, e.g. `identity storefront/order`.
    pub source: String,
    /// Why it is closed, CamelCase.
    pub reason: String,
    /// The same in a sentence, with what to do.
    pub message: String,
}
