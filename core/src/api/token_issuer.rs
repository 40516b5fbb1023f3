//! Token issuers: the security token services (STS) that a trust domain trusts.

use kube::KubeSchema;
use kube::core::Duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CeilingPort, Empty, PodPeer};

/// An issuer of access tokens: the token service of this installation, or another by its URL.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.builtIn) != has(self.issuer)")
    .message("exactly one of builtIn and issuer must be set"))]
#[x_kube(validation = Rule::new("!has(self.builtIn) || !(has(self.jwksUri) || has(self.introspectionUri) || has(self.endpoint) || has(self.caBundle) || has(self.clientAuthentication) || has(self.audiences))")
    .message("beside builtIn nothing else can be set: the token service's addresses, roots and keys are known"))]
#[serde(rename_all = "camelCase")]
pub struct TokenIssuer {
    /// Name under which AccessPolicies and ServiceIdentities of the domain name the issuer, e.g. `sts`. A DNS label.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub name: String,
    /// The token service of this installation (chart value `tokenService.enabled`), with what it may do for this domain, e.g.
    /// `{}`. Exactly one of `builtIn` and `issuer` is set. Unset: another issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub built_in: Option<BuiltInIssuer>,
    /// The issuer's identifier, as its tokens carry it in `iss`: an `https` URL, e.g.
    /// `https://login.example.com/realms/shop`. The operator fetches its metadata from there (RFC 8414, OpenID Connect
    /// Discovery), then its keys, and asks again after what `Cache-Control` or `Expires` say of these, a minute to an hour;
    /// the last good ones stay in use while it can't be reached. Unset: `builtIn`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 9, max = 512), regex(pattern = r"^https://[^\s?#]+$"))]
    pub issuer: Option<String>,
    /// Where the issuer's keys are, an `https` URL, e.g. `https://login.example.com/keys`. Unset: what its metadata say, at the
    /// issuer's own host and port, or at an address of the public internet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 9, max = 512), regex(pattern = r"^https://[^\s#]+$"))]
    pub jwks_uri: Option<String>,
    /// Where its tokens are introspected (RFC 7662), an `https` URL. Unset: what its metadata say. Where this and `jwksUri` are
    /// set, no metadata are asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 9, max = 512), regex(pattern = r"^https://[^\s#]+$"))]
    pub introspection_uri: Option<String>,
    /// Where the issuer is in the network: identities that list it may go there, and nobody else. Unset: identities can't
    /// list it; its tokens can still be demanded, since its keys are delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<IssuerEndpoint>,
    /// Roots by which the issuer's certificate is verified, PEM, at most 64 KiB; delivered to the identities that list it.
    /// Unset: the public roots that Ringfence is built with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65536))]
    pub ca_bundle: Option<String>,
    /// How identities prove themselves to the issuer. Unset: they bring credentials of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_authentication: Option<ClientAuthentication>,
    /// Audiences that tokens of this issuer may carry for any callee of the domain, besides the callee's own, e.g.
    /// `[account]`; for issuers that can't be told to name the service. At most 16. Unset: the callee's own alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 253)))]
    pub audiences: Vec<String>,
}

/// What the token service may do for a domain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct BuiltInIssuer {
    /// Form of the access tokens for callees of this domain. `Jwt` (when unset): verified by key. `Opaque`: introspected,
    /// readable by nobody else; AccessPolicies of this domain must then say `validation: Introspection`.
    #[serde(default)]
    pub token_format: TokenFormat,
    /// Longest life of an access token for callees of this domain, e.g. `5m`; the smallest of this and a policy's
    /// `maxLifetime` counts. From `10s` to `1h`. Unset: `5m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('10s') && duration(self) <= duration('1h')").message("tokenLifetime must be from 10s to 1h"))]
    pub token_lifetime: Option<Duration>,
    /// Scopes that a service may ask for in tokens for callees of this domain, besides those that the AccessPolicy demands,
    /// e.g. `[orders.read]`. At most 64. Unset: those of the AccessPolicy alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 128), regex(pattern = r"^[\x21\x23-\x5B\x5D-\x7E]+$")))]
    pub scopes: Vec<String>,
    /// Clients outside the cluster. Unset: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<RegisteredClients>,
}

/// Clients outside the cluster, registered in a Secret. They get tokens only for callees of this domain whose AccessPolicy
/// takes tokens of the issuer from `anywhere` or from addresses that take in the client's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegisteredClients {
    /// Name of a Secret in the token service's namespace, e.g. `shop-clients`. Each key is a client's id, and its value a
    /// JSON object with the hash of the client's secret, its scopes and its addresses, as `ringfence client` prints it.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
    /// Address ranges that the clients call the token service from, e.g. `[203.0.113.0/24]`; `0.0.0.0/0` for anywhere. The
    /// token service is opened for them. 1 to 64.
    #[schemars(length(min = 1, max = 64), inner(length(min = 3, max = 43)))]
    #[x_kube(validation = Rule::new("self.all(cidr, isCIDR(cidr))").message("cidrs must be address ranges such as 203.0.113.0/24"))]
    pub cidrs: Vec<String>,
}

/// Form of an access token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub enum TokenFormat {
    /// A JWT (RFC 9068).
    #[default]
    Jwt,
    /// A reference that only the issuer can read.
    Opaque,
}

/// Where an issuer is in the network: pods of this cluster, or addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.pods) != has(self.cidrs)").message("exactly one of pods and cidrs must be set"))]
#[serde(rename_all = "camelCase")]
pub struct IssuerEndpoint {
    /// Pods outside every trust domain, e.g. `{namespaces: [keycloak]}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<PodPeer>,
    /// Address ranges, e.g. `[198.51.100.7/32]`. At most 32. They may lie within the cluster's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), inner(length(min = 3, max = 43)))]
    #[x_kube(validation = Rule::new("self.all(cidr, isCIDR(cidr))").message("cidrs must be address ranges such as 203.0.113.0/24"))]
    pub cidrs: Option<Vec<String>>,
    /// Ports there, of the pods or the addresses, e.g. `[{port: 8443}]`. 1 to 8.
    #[schemars(length(min = 1, max = 8))]
    pub ports: Vec<CeilingPort>,
}

/// How identities prove themselves to an issuer: exactly one of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = Rule::new("(has(self.mtls) ? 1 : 0) + (has(self.privateKeyJwt) ? 1 : 0) + (has(self.secretRef) ? 1 : 0) == 1")
    .message("exactly one of mtls, privateKeyJwt and secretRef must be set"))]
#[serde(rename_all = "camelCase")]
pub struct ClientAuthentication {
    /// By the identity's certificate (RFC 8705). The issuer must trust the domain's CA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtls: Option<Empty>,
    /// By a JWT that the identity signs (RFC 7523). The identity needs a `signingKey`, and the issuer its public key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_key_jwt: Option<Empty>,
    /// By a client id and secret that the issuer gave out. They are copied into the Secret
    /// `<identity>-<issuer's name>-client` of each identity that lists the issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<ClientSecretRef>,
}

/// A Secret with a client id and secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientSecretRef {
    /// Name of a Secret in the operator's namespace, e.g. `keycloak-client`, with the keys `client-id` and `client-secret`;
    /// `<namespace>.<identity>.client-id` and `<namespace>.<identity>.client-secret` go before for that one identity.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}
