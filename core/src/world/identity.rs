//! A valid identity, and what a ServiceIdentity says about itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use jiff::SignedDuration;

use super::{CertificateOptions, Client, ListedIssuer, NamespacedName, PodFacts, Problem, ServiceFacts};
use crate::api::{CertificateAlgorithm, LabelSelector, Protocol, ServiceIdentity, SigningAlgorithm};
use crate::pki::SpiffeId;

/// How long a certificate is valid unless anything else is declared.
pub const DEFAULT_CERTIFICATE_DURATION: SignedDuration = SignedDuration::from_hours(24);

/// A valid identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The ServiceIdentity.
    pub key: NamespacedName,
    /// Its UID.
    pub uid: String,
    /// Name of the TrustDomain object that its namespace belongs to.
    pub domain: String,
    /// Its SPIFFE ID.
    pub spiffe_id: SpiffeId,
    /// Its pods.
    pub selector: Arc<LabelSelector>,
    /// Its Services that exist, with what they say about ports.
    pub services: BTreeMap<String, ServiceFacts>,
    /// DNS names of the certificate.
    pub dns_names: Arc<BTreeSet<String>>,
    /// IP addresses of the certificate.
    pub ip_addresses: BTreeSet<IpAddr>,
    /// Algorithm of the certificate's key.
    pub certificate_algorithm: CertificateAlgorithm,
    /// How long the certificate is valid.
    pub certificate_duration: SignedDuration,
    /// Name of the Secret for certificate and key.
    pub tls_secret: String,
    /// What else it chose about both.
    pub options: CertificateOptions,
    /// Algorithm and Secret of the signing key, if it has one.
    pub signing_key: Option<(SigningAlgorithm, String)>,
    /// Names under which it accepts tokens.
    pub audiences: BTreeSet<String>,
    /// The token issuers that it talks to.
    pub issuers: Vec<ListedIssuer>,
    /// The credentials that it gets for some of them.
    pub clients: Vec<Client>,
    /// What its pods say.
    pub pods: PodSummary,
}

impl Identity {
    /// Name of the ConfigMap with what it needs to verify its peers.
    pub fn trust_config_map(&self) -> String {
        format!("{}-trust", self.key.name)
    }

    /// Name of its NetworkPolicy.
    pub fn network_policy(&self) -> String {
        format!("ringfence-{}", self.key.name)
    }

    /// Names of its certificate that are not those of its Services, in the spelling in which they are compared.
    pub(super) fn extra_names(&self) -> BTreeSet<String> {
        self.dns_names.iter().cloned().chain(self.ip_addresses.iter().map(ToString::to_string)).collect()
    }
}

/// What an identity's pods say together; equal however many pods say it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodSummary {
    /// There is at least one.
    pub any: bool,
    /// At least one declares no port at all, so that an undeclared number must be believed.
    pub some_declare_no_port: bool,
    /// Named container ports, with every number that some pod gives the name.
    pub named_ports: BTreeMap<(String, Protocol), BTreeSet<u16>>,
    /// Names that at least one of the pods does not have.
    pub missing_names: BTreeSet<(String, Protocol)>,
    /// Numbers that some pod declares.
    pub numbers: BTreeSet<(Protocol, u16)>,
    /// Names of pods on the host's network.
    pub host_network: BTreeSet<String>,
    /// Names of pods under another service account.
    pub other_service_account: BTreeSet<String>,
}

impl PodSummary {
    pub(super) fn of<'a>(
        pods: &(impl Iterator<Item = (&'a str, &'a PodFacts)> + Clone),
        service_account: &str,
    ) -> Self {
        let mut summary = Self::default();
        for (name, pod) in pods.clone() {
            summary.any = true;
            summary.some_declare_no_port |= pod.ports.is_empty();
            for port in &pod.ports {
                summary.numbers.insert((port.protocol, port.number));
                if let Some(name) = &port.name {
                    summary.named_ports.entry((name.clone(), port.protocol)).or_default().insert(port.number);
                }
            }
            if pod.host_network {
                summary.host_network.insert(name.to_owned());
            }
            if pod.service_account != service_account {
                summary.other_service_account.insert(name.to_owned());
            }
        }
        let has = |pod: &PodFacts, (name, protocol): &(String, Protocol)| {
            pod.ports.iter().any(|port| port.protocol == *protocol && port.name.as_ref() == Some(name))
        };
        summary.missing_names =
            summary.named_ports.keys().filter(|key| pods.clone().any(|(_, pod)| !has(pod, key))).cloned().collect();
        summary
    }
}

/// A ServiceIdentity after resolution: valid or not, with everything that is wrong about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvedIdentity {
    /// The identity, unless it can't have its SPIFFE ID. What was refused is not in it.
    pub identity: Option<Identity>,
    /// What was refused, is missing or is worth knowing.
    pub problems: Vec<Problem>,
}

impl ServiceIdentity {
    /// Name of the service account.
    pub fn service_account(&self) -> &str {
        self.spec.service_account_name.as_deref().unwrap_or_else(|| self.metadata.name.as_deref().unwrap_or_default())
    }

    /// Selector of the pods.
    pub fn pod_selector(&self) -> LabelSelector {
        self.spec.pod_selector.clone().unwrap_or_else(|| {
            LabelSelector::label("app.kubernetes.io/name", self.metadata.name.as_deref().unwrap_or_default())
        })
    }

    /// Name of the Secret for certificate and key.
    pub fn tls_secret(&self) -> String {
        let name = self.metadata.name.as_deref().unwrap_or_default();
        self.spec.certificate.secret_name.clone().unwrap_or_else(|| format!("{name}-tls"))
    }

    /// Name of the Secret for the signing key, if it has one.
    pub fn signing_key_secret(&self) -> Option<String> {
        let name = self.metadata.name.as_deref().unwrap_or_default();
        let key = self.spec.signing_key.as_ref()?;
        Some(key.secret_name.clone().unwrap_or_else(|| format!("{name}-signing-key")))
    }

    /// Services that it names, or the one named like it.
    pub fn service_names(&self) -> Vec<String> {
        let default = || vec![self.metadata.name.clone().unwrap_or_default()];
        self.spec.services.clone().unwrap_or_else(default)
    }
}

/// The duration of an API field.
pub fn signed(duration: &kube::core::Duration) -> SignedDuration {
    SignedDuration::try_from(std::time::Duration::from(*duration)).unwrap_or(SignedDuration::MAX)
}
