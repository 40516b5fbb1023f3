//! The judgement of an AccessPolicy: each `from` entry alone, against what it names and against both domains' ceilings.

use std::cell::OnceCell;
use std::collections::BTreeSet;

use ipnet::IpNet;

use super::callee::{Callee, resolve_callee};
use super::caller::{Caller, resolve_caller, source_in_words};
use super::ceiling::{Admission, Crossing, Direction, Other, admit};
use super::cidr::{blocks, is_anywhere};
use super::proof::demanded;
use super::{
    Authenticated, Grant, GrantSource, GrantTarget, IpBlock, JudgedPolicy, Objection, Origin, Refusal, ResolvedPort,
};
use crate::api::{AccessPolicy, ConditionType, PolicyEnforcement, Reason, Source};
use crate::world::{NamespacedName, Problem, World};

/// Judges one policy. A draft is judged like any other.
pub fn judge(world: &World, key: &NamespacedName, policy: &AccessPolicy) -> JudgedPolicy {
    let callee = resolve_callee(world, key, &policy.spec);
    let cluster_ranges = OnceCell::new();
    let (mut grants, mut refusals) = (Vec::new(), Vec::new());
    for (index, source) in policy.spec.from.iter().enumerate() {
        let outcome = match &callee {
            Ok((callee, ports)) => {
                Entry { world, key, policy, callee, ports, index, source, cluster_ranges: &cluster_ranges }.judge()
            }
            Err(objection) => Err(objection.clone()),
        };
        match outcome {
            Ok(grant) => grants.push(grant),
            Err(Objection { reason, message, unresolved }) => {
                let source = source_in_words(key, source);
                refusals.push(Refusal { index, source, reason, message, unresolved });
            }
        }
    }
    JudgedPolicy {
        origin: Origin::Policy(key.clone()),
        draft: policy.spec.enforcement == PolicyEnforcement::Audit,
        grants,
        refusals,
        problems: missing_namespaces(world, policy),
    }
}

/// Namespaces that the policy names and that do not exist: nothing is open for them, and nothing need be refused.
fn missing_namespaces(world: &World, policy: &AccessPolicy) -> Vec<Problem> {
    let missing: BTreeSet<&str> = policy
        .spec
        .pods()
        .flat_map(|pods| &pods.namespaces)
        .map(String::as_str)
        .filter(|namespace| world.namespace(namespace).is_none())
        .collect();
    missing
        .into_iter()
        .map(|namespace| Problem {
            condition: ConditionType::ResolvedRefs,
            reason: Reason::NamespaceNotFound,
            message: format!("namespace {namespace} does not exist: create it, or correct pods.namespaces"),
        })
        .collect()
}

/// One `from` entry with all that it is judged by.
struct Entry<'a> {
    world: &'a World,
    key: &'a NamespacedName,
    policy: &'a AccessPolicy,
    callee: &'a Callee<'a>,
    ports: &'a [ResolvedPort],
    index: usize,
    source: &'a Source,
    /// The cluster's own ranges, put together when the first entry needs them.
    cluster_ranges: &'a OnceCell<BTreeSet<IpNet>>,
}

impl Entry<'_> {
    fn judge(&self) -> Result<Grant, Objection> {
        let caller = self.caller()?;
        let authentication = demanded(self.world, self.policy.spec.authentication.as_ref(), &caller, self.callee)?;
        let (source, target) = self.ends(caller, &authentication)?;
        Ok(Grant {
            origin: Origin::Policy(self.key.clone()),
            index: self.index,
            source,
            target,
            ports: self.ports.to_vec(),
            authentication,
            rules: self.policy.spec.rules.clone(),
        })
    }

    fn caller(&self) -> Result<Caller<'_>, Objection> {
        let caller = resolve_caller(self.world, self.key, self.source)?;
        let own = |caller: &Caller<'_>| matches!(caller, Caller::Identity(identity) if identity.key.namespace == self.key.namespace);
        if !matches!(self.callee, Callee::Identity(_)) && !own(&caller) {
            let message = format!(
                "{} may not go to a callee without an identity from here: only identities of namespace {} may",
                caller.in_words(),
                self.key.namespace
            );
            return Err(Objection::refused(Reason::Invalid, message));
        }
        Ok(caller)
    }

    /// Both ends, once the ceilings have let them through.
    fn ends(&self, caller: Caller<'_>, proof: &Authenticated) -> Result<(GrantSource, GrantTarget), Objection> {
        let target = match (self.callee, &caller) {
            (Callee::Identity(callee), _) => GrantTarget::Identity((*callee).into()),
            (Callee::Pods(pods), _) => {
                self.outbound(&caller, Other::Pods(&pods.namespaces), proof)?;
                GrantTarget::Pods(pods.clone())
            }
            (Callee::External(cidrs), _) => {
                let cidrs = cidrs.iter().map(|cidr| {
                    let other = if is_anywhere(*cidr) { Other::Anywhere } else { Other::Cidr(*cidr) };
                    let admission = self.outbound(&caller, other, proof)?;
                    self.blocks(*cidr, admission)
                });
                let blocks = cidrs.collect::<Result<Vec<_>, _>>()?.into_iter().flatten();
                GrantTarget::External(blocks.collect::<BTreeSet<_>>().into_iter().collect())
            }
            (Callee::KubernetesApi(addresses), _) => {
                self.outbound(&caller, Other::KubernetesApi, proof)?;
                GrantTarget::KubernetesApi(addresses.clone())
            }
        };
        let source = match caller {
            Caller::Identity(identity) => {
                self.across(&caller, &identity.domain, proof)?;
                GrantSource::Identity(identity.into())
            }
            Caller::TrustDomain { name, ref trust_domain } => {
                self.across(&caller, name, proof)?;
                GrantSource::TrustDomain {
                    name: name.to_owned(),
                    trust_domain: trust_domain.to_string(),
                    namespaces: self.world.namespaces_of(name),
                }
            }
            Caller::Pods(pods) => {
                self.inbound(Other::Pods(&pods.namespaces), proof)?;
                GrantSource::Pods(pods)
            }
            Caller::Cidr(declared) => {
                let admission = self.inbound(Other::Cidr(declared), proof)?;
                GrantSource::Cidr { declared, blocks: self.blocks(declared, admission)? }
            }
            Caller::Anywhere => {
                self.inbound(Other::Anywhere, proof)?;
                GrantSource::Anywhere
            }
            Caller::KubernetesApi(addresses) => {
                self.inbound(Other::KubernetesApi, proof)?;
                GrantSource::KubernetesApi(addresses)
            }
        };
        Ok((source, target))
    }

    /// An edge between members: free within one domain, and otherwise with the consent of both.
    fn across(&self, caller: &Caller<'_>, domain: &str, proof: &Authenticated) -> Result<(), Objection> {
        let Callee::Identity(callee) = self.callee else { return Ok(()) };
        if callee.domain == domain {
            return Ok(());
        }
        let inbound = self.inbound(Other::Domain(domain), proof);
        let outbound = self.outbound(caller, Other::Domain(&callee.domain), proof);
        match (inbound, outbound) {
            (Ok(_), Ok(_)) => Ok(()),
            (Err(objection), Ok(_)) | (Ok(_), Err(objection)) => Err(objection),
            (Err(inbound), Err(outbound)) => {
                Err(Objection { message: format!("{}; and {}", inbound.message, outbound.message), ..inbound })
            }
        }
    }

    /// What the callee's domain says.
    fn inbound(&self, other: Other<'_>, proof: &Authenticated) -> Result<Admission, Objection> {
        let Callee::Identity(callee) = self.callee else { return Err(self.without_identities()) };
        self.admit(
            &callee.domain,
            Direction::Inbound,
            &Crossing { ours: Some(&callee.key), other, ports: self.ports, proof },
        )
    }

    /// What the caller's domain says.
    fn outbound(&self, caller: &Caller<'_>, other: Other<'_>, proof: &Authenticated) -> Result<Admission, Objection> {
        let (domain, ours) = match caller {
            Caller::Identity(identity) => (identity.domain.as_str(), Some(&identity.key)),
            Caller::TrustDomain { name, .. } => (*name, None),
            _ => return Err(self.without_identities()),
        };
        self.admit(domain, Direction::Outbound, &Crossing { ours, other, ports: self.ports, proof })
    }

    fn admit(&self, domain: &str, direction: Direction, crossing: &Crossing<'_>) -> Result<Admission, Objection> {
        let missing =
            || Objection::unresolved(Reason::NotInTrustDomain, format!("TrustDomain {domain} does not exist"));
        admit(self.world.domain(domain).ok_or_else(missing)?, direction, crossing)
    }

    fn blocks(&self, cidr: IpNet, admission: Admission) -> Result<Vec<IpBlock>, Objection> {
        let cluster_ranges = self.cluster_ranges.get_or_init(|| self.world.cluster.ranges());
        let blocks = blocks(cidr, cluster_ranges, admission.cluster_addresses);
        if blocks.is_empty() {
            let message = format!(
                "{cidr} lies within the cluster's own addresses: name an identity or pods, or ask the platform team for an entry with clusterAddresses: true"
            );
            return Err(Objection::refused(Reason::ClusterAddresses, message));
        }
        Ok(blocks)
    }

    fn without_identities(&self) -> Objection {
        let message = "neither end of the entry has an identity, so that there is nothing to open".to_owned();
        Objection::refused(Reason::Invalid, message)
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
