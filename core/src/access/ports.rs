//! Ports as they are declared, resolved to the numbers that pods listen on.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Objection, ResolvedPort};
use crate::api::{PolicyPort, Protocol, Reason};
use crate::world::{Identity, ServicePortFacts};

/// The pod ports that a policy means by the ports of an identity: ports of its Services first, translated to the pods'
/// port, and container ports only where no Service has the port. Sorted, without overlaps.
///
/// # Errors
/// `PortNotFound` if nothing has the port or nothing says yet what a name means, `PortAmbiguous` if Services or pods
/// disagree on it, `Invalid` for something that is no port.
pub fn resolve_ports(identity: &Identity, ports: &[PolicyPort]) -> Result<Vec<ResolvedPort>, Objection> {
    let resolved = ports.iter().map(|port| resolve(identity, port)).collect::<Result<Vec<_>, _>>()?;
    nonempty(resolved)
}

/// Ports of something without an identity: numbers, taken at their word. Sorted, without overlaps.
pub(super) fn literal_ports(ports: &[PolicyPort]) -> Result<Vec<ResolvedPort>, Objection> {
    let literal = |port: &PolicyPort| match &port.port {
        IntOrString::Int(number) => literal(port, *number),
        IntOrString::String(name) => {
            let message =
                format!("port {name} is a name, which only a callee with an identity can have: write the number");
            Err(Objection::refused(Reason::Invalid, message))
        }
    };
    nonempty(ports.iter().map(literal).collect::<Result<Vec<_>, _>>()?)
}

/// The same ports, sorted, with those that overlap made one.
pub(super) fn merged(ports: impl IntoIterator<Item = ResolvedPort>) -> Vec<ResolvedPort> {
    let mut by_protocol: BTreeMap<Protocol, Vec<(u16, u16)>> = BTreeMap::new();
    for port in ports.into_iter().collect::<BTreeSet<_>>() {
        let ranges = by_protocol.entry(port.protocol).or_default();
        match ranges.last_mut() {
            Some((_, last)) if port.port <= *last => *last = port.last().max(*last),
            _ => ranges.push((port.port, port.last())),
        }
    }
    let ports = by_protocol.into_iter().flat_map(|(protocol, ranges)| {
        ranges.into_iter().map(move |(first, last)| ResolvedPort::range(first, last, protocol))
    });
    let mut ports: Vec<_> = ports.collect();
    ports.sort_unstable();
    ports
}

fn nonempty(ports: Vec<ResolvedPort>) -> Result<Vec<ResolvedPort>, Objection> {
    if ports.is_empty() {
        let message = "no port is named: name at least one in to.ports".to_owned();
        return Err(Objection::refused(Reason::Invalid, message));
    }
    Ok(merged(ports))
}

fn resolve(identity: &Identity, port: &PolicyPort) -> Result<ResolvedPort, Objection> {
    let number = match (&port.port, port.end_port) {
        (IntOrString::Int(number), Some(_)) => return literal(port, *number),
        (IntOrString::String(name), Some(_)) => {
            let message =
                format!("port {name} is a name and can't begin a range: write a number, or leave endPort out");
            return Err(Objection::refused(Reason::Invalid, message));
        }
        (IntOrString::Int(number), None) => {
            let number = literal(port, *number)?.port;
            let is_meant = |service: &ServicePortFacts| service.port == number;
            match behind_services(identity, port, is_meant)? {
                Some(target) => target,
                None => container_number(identity, number, port.protocol)?,
            }
        }
        (IntOrString::String(name), None) => {
            let is_meant = |service: &ServicePortFacts| service.name.as_ref() == Some(name);
            match behind_services(identity, port, is_meant)? {
                Some(target) => target,
                None => container_name(identity, name, port.protocol)?,
            }
        }
    };
    Ok(ResolvedPort { port: number, end_port: None, protocol: port.protocol })
}

fn literal(port: &PolicyPort, number: i32) -> Result<ResolvedPort, Objection> {
    let invalid = |message: String| Objection::refused(Reason::Invalid, message);
    let first = u16::try_from(number).ok().filter(|first| *first > 0);
    let first =
        first.ok_or_else(|| invalid(format!("port {number} does not exist: ports are numbers from 1 to 65535")))?;
    let last = port.end_port.unwrap_or(first);
    if last < first {
        return Err(invalid(format!(
            "the range of ports {first} to {last} ends before it begins: swap port and endPort"
        )));
    }
    Ok(ResolvedPort::range(first, last, port.protocol))
}

/// The pod port behind a port of the identity's Services; nothing if none of them has it.
fn behind_services(
    identity: &Identity,
    port: &PolicyPort,
    is_meant: impl Fn(&ServicePortFacts) -> bool,
) -> Result<Option<u16>, Objection> {
    let mut targets: BTreeMap<u16, &str> = BTreeMap::new();
    for (service, facts) in &identity.services {
        for found in facts.ports.iter().filter(|found| found.protocol == port.protocol && is_meant(found)) {
            let target = match &found.target {
                IntOrString::Int(number) => {
                    u16::try_from(*number).ok().filter(|number| *number > 0).unwrap_or(found.port)
                }
                IntOrString::String(name) => container_name(identity, name, port.protocol)?,
            };
            targets.entry(target).or_insert(service);
        }
    }
    if targets.len() > 1 {
        let targets: Vec<String> =
            targets.iter().map(|(target, service)| format!("{target} (Service {service})")).collect();
        let message = format!(
            "port {} of ServiceIdentity {} leads to different pod ports: {}; name the one that is meant",
            in_words(port),
            identity.key,
            targets.join(", ")
        );
        return Err(Objection::unresolved(Reason::PortAmbiguous, message));
    }
    Ok(targets.into_keys().next())
}

/// A container port by number: believed unless every pod says which ports it has, and none has this one.
fn container_number(identity: &Identity, number: u16, protocol: Protocol) -> Result<u16, Objection> {
    let pods = &identity.pods;
    if !pods.any || pods.some_declare_no_port || pods.numbers.contains(&(protocol, number)) {
        return Ok(number);
    }
    let declared: Vec<String> =
        pods.numbers.iter().take(8).map(|(protocol, number)| format!("{number}/{}", protocol.as_str())).collect();
    let message = format!(
        "neither a Service nor a pod of ServiceIdentity {} has port {number}/{}: its pods declare {}; correct the port, or declare it in the pods",
        identity.key,
        protocol.as_str(),
        declared.join(", ")
    );
    Err(Objection::unresolved(Reason::PortNotFound, message))
}

/// A container port by name: all pods must have it, and under the same number.
fn container_name(identity: &Identity, name: &str, protocol: Protocol) -> Result<u16, Objection> {
    let (pods, transport) = (&identity.pods, protocol.as_str());
    if !pods.any {
        let message = format!(
            "no pod of ServiceIdentity {} runs yet that could say which number the port {name}/{transport} has: name the number, or wait for the pods",
            identity.key
        );
        return Err(Objection::unresolved(Reason::PortNotFound, message));
    }
    let key = (name.to_owned(), protocol);
    let numbers = pods.named_ports.get(&key).cloned().unwrap_or_default();
    let missing = pods.missing_names.contains(&key);
    match (numbers.iter().next(), numbers.len()) {
        (Some(number), 1) if !missing => Ok(*number),
        (None, _) => {
            let message = format!(
                "neither a Service nor a pod of ServiceIdentity {} has a port named {name}/{transport}: correct the name, or add it to the pods",
                identity.key
            );
            Err(Objection::unresolved(Reason::PortNotFound, message))
        }
        _ => {
            let mut said: Vec<String> = numbers.iter().map(ToString::to_string).collect();
            said.extend(missing.then(|| "nothing".to_owned()));
            let message = format!(
                "the pods of ServiceIdentity {} disagree on what the port named {name}/{transport} is: {}; make them agree, or name the number",
                identity.key,
                said.join(", ")
            );
            Err(Objection::unresolved(Reason::PortAmbiguous, message))
        }
    }
}

fn in_words(port: &PolicyPort) -> String {
    let name = match &port.port {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(name) => name.clone(),
    };
    format!("{name}/{}", port.protocol.as_str())
}

#[cfg(test)]
#[path = "ports_tests.rs"]
mod tests;
