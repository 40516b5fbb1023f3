//! What the three kinds say about themselves, on one screen: what is ready, what was refused, and who is behind. Only
//! their own statuses are read, and each object is let go of as soon as it was looked at.

mod findings;
mod rows;

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

pub use findings::{Finding, Severity};
pub use rows::{AuthorityRow, CertificateRow, DomainRow, IdentityRow, PolicyRow, ReadyRow};

use crate::api::{AccessPolicy, ServiceIdentity, TrustDomain};
use crate::world::NamespacedName;

/// How long after its time a renewal counts as overdue: what is busy renews a little later.
pub const RENEWAL_GRACE: SignedDuration = SignedDuration::from_mins(2);

/// What the three kinds say about themselves.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Overview {
    /// When it was looked, RFC 3339.
    pub time: Timestamp,
    /// Whether there is nothing but warnings among the findings.
    pub well: bool,
    /// The trust domains; those with problems first.
    pub trust_domains: Vec<DomainRow>,
    /// The identities; those with problems first.
    pub identities: Vec<IdentityRow>,
    /// The access policies; those with problems first.
    pub access_policies: Vec<PolicyRow>,
    /// What is not as it should be; the worst first.
    pub findings: Vec<Finding>,
    /// What could not be looked at, in sentences; the rest stands.
    pub not_seen: Vec<String>,
}

impl Overview {
    /// One with nothing in it yet.
    #[must_use]
    pub fn new(time: Timestamp) -> Self {
        Self {
            time,
            well: true,
            trust_domains: Vec::new(),
            identities: Vec::new(),
            access_policies: Vec::new(),
            findings: Vec::new(),
            not_seen: Vec::new(),
        }
    }

    /// Looks at a TrustDomain.
    pub fn add_domain(&mut self, domain: &TrustDomain) {
        self.findings.extend(findings::of_domain(domain, self.time));
        self.trust_domains.push(DomainRow::of(domain));
    }

    /// Looks at a ServiceIdentity.
    pub fn add_identity(&mut self, identity: &ServiceIdentity) {
        self.findings.extend(findings::of_identity(identity, self.time));
        self.identities.push(IdentityRow::of(identity));
    }

    /// Looks at an AccessPolicy.
    pub fn add_policy(&mut self, policy: &AccessPolicy) {
        self.findings.extend(findings::of_policy(policy));
        self.access_policies.push(PolicyRow::of(policy, self.time));
    }

    /// Notes an object that does not fit the schema, and why.
    pub fn add_malformed(&mut self, kind: &'static str, key: &NamespacedName, error: &str) {
        self.findings.push(findings::malformed(kind, key, error));
    }

    /// Sorts it, once everything was looked at.
    #[must_use]
    pub fn finish(mut self) -> Self {
        self.well = self.findings.iter().all(|finding| finding.severity == Severity::Warning);
        self.findings.sort_by(|a, b| a.order().cmp(&b.order()));
        let bad: BTreeSet<(&str, &str, &str)> = self
            .findings
            .iter()
            .filter(|finding| finding.severity != Severity::Warning)
            .map(|finding| (finding.kind, finding.namespace.as_str(), finding.name.as_str()))
            .collect();
        let is_well = |kind, namespace: &str, name: &str| !bad.contains(&(kind, namespace, name));
        for row in &mut self.trust_domains {
            row.well = is_well("TrustDomain", "", &row.name);
        }
        for row in &mut self.identities {
            row.well = is_well("ServiceIdentity", &row.namespace, &row.name);
        }
        for row in &mut self.access_policies {
            row.well = is_well("AccessPolicy", &row.namespace, &row.name);
        }
        self.trust_domains.sort_by(|a, b| (a.well, &a.name).cmp(&(b.well, &b.name)));
        self.identities.sort_by(|a, b| (a.well, &a.namespace, &a.name).cmp(&(b.well, &b.namespace, &b.name)));
        self.access_policies.sort_by(|a, b| (a.well, &a.namespace, &a.name).cmp(&(b.well, &b.namespace, &b.name)));
        self
    }
}

#[cfg(test)]
#[path = "overview_tests.rs"]
mod tests;
