//! Who a policy says is called, resolved.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::caller::{api_server, pods_without_identity};
use super::cidr::parse_cidr;
use super::ports::{literal_ports, merged, resolve_ports};
use super::{Objection, ResolvedPort};
use crate::api::{AccessPolicySpec, PodPeer, Protocol, Reason};
use crate::world::{Identity, NO_TOKEN_SERVICE, NamespacedName, World};

/// Who is called.
#[derive(Clone, Debug)]
pub(super) enum Callee<'a> {
    Identity(&'a Identity),
    Pods(PodPeer),
    External(Vec<IpNet>),
    KubernetesApi(BTreeSet<IpAddr>),
}

/// Resolves `to`: the callee, and its ports.
pub(super) fn resolve_callee<'a>(
    world: &'a World,
    policy: &NamespacedName,
    spec: &AccessPolicySpec,
) -> Result<(Callee<'a>, Vec<ResolvedPort>), Objection> {
    let to = &spec.to;
    if to.identity.is_none() && !spec.rules.is_empty() {
        let message =
            "rules need a callee with an identity, since nothing else could check them: leave them out".to_owned();
        return Err(Objection::refused(Reason::Invalid, message));
    }
    match (&to.identity, &to.pods, &to.external, &to.kubernetes_api) {
        (Some(name), None, None, None) => {
            let identity = callee_identity(world, &NamespacedName::new(policy.namespace.clone(), name.clone()))?;
            Ok((Callee::Identity(identity), resolve_ports(identity, &to.ports)?))
        }
        (None, Some(callee), None, None) => {
            Ok((Callee::Pods(pods_without_identity(world, &callee.pods)?), literal_ports(&callee.ports)?))
        }
        (None, None, Some(callee), None) => {
            let cidrs = callee.cidrs.iter().map(|cidr| parse_cidr(cidr)).collect::<Result<BTreeSet<_>, _>>()?;
            if cidrs.is_empty() {
                let message = "no address range is named: name at least one in to.external.cidrs".to_owned();
                return Err(Objection::refused(Reason::Invalid, message));
            }
            Ok((Callee::External(cidrs.into_iter().collect()), literal_ports(&callee.ports)?))
        }
        (None, None, None, Some(_)) => {
            let (addresses, ports) = api_server(world)?;
            Ok((Callee::KubernetesApi(addresses), merged(ports)))
        }
        _ => {
            let message = "to must name exactly one of identity, pods, external and kubernetesAPI".to_owned();
            Err(Objection::refused(Reason::Invalid, message))
        }
    }
}

/// The built-in token service and its port.
pub(super) fn token_service(world: &World) -> Result<(&Identity, ResolvedPort), Objection> {
    let unresolved = |message: String| Objection::unresolved(Reason::TokenServiceNotFound, message);
    let Some(service) = &world.settings.token_service else { return Err(unresolved(NO_TOKEN_SERVICE.to_owned())) };
    let key = &service.identity;
    let state = match world.resolved(key) {
        None => "does not exist",
        Some(resolved) if resolved.problems.iter().any(|problem| problem.reason == Reason::Suspended) => "is suspended",
        Some(_) => "is not accepted",
    };
    let missing = || {
        unresolved(format!(
            "ServiceIdentity {key} of the token service {state}, so that nobody may call it: the platform team finds more in its status"
        ))
    };
    let identity = world.identity(key).ok_or_else(missing)?;
    if !identity.options.usages.server_auth {
        let message = format!(
            "the certificate of ServiceIdentity {key}, which is the token service, is not for servers: the platform team adds ServerAuth to certificate.usages in it"
        );
        return Err(Objection::refused(Reason::UsageMissing, message));
    }
    Ok((identity, ResolvedPort::range(service.port, service.port, Protocol::Tcp)))
}

fn callee_identity<'a>(world: &'a World, key: &NamespacedName) -> Result<&'a Identity, Objection> {
    let message = match world.service_identity(key) {
        None => {
            format!("ServiceIdentity {key}, which is to be called, does not exist: create it, or correct to.identity")
        }
        Some(object) if object.spec.suspended => {
            format!("ServiceIdentity {key}, which is to be called, is suspended: it comes back with suspended: false")
        }
        Some(_) => format!("ServiceIdentity {key}, which is to be called, is not accepted: see its status"),
    };
    world.identity(key).ok_or_else(|| Objection::unresolved(Reason::CalleeNotFound, message))
}
