//! Spans: one for each look at a unit, with one for each of its steps. They reach the log as the place where a line was
//! written, and a collector of traces, if there is one, as a tree.

use kube::Resource;
use ringfence_core::plan::BASELINE;
use ringfence_core::world::{MEMBER_BINDING, Unit};
use tracing::{Span, debug_span, field, info_span};

/// What a unit is about: the declared kind, `Member`, `Fence` or `Directory`.
pub(super) fn kind_of(unit: &Unit) -> &'static str {
    match unit {
        Unit::Domain(_) => "TrustDomain",
        Unit::Member(_) => "Member",
        Unit::Fence(_) => "Fence",
        Unit::Directory(_) => "Directory",
        Unit::Identity(_) => "ServiceIdentity",
        Unit::Policy(_) => "AccessPolicy",
    }
}

/// The span of one look at a unit; its outcome is recorded at the end.
pub(super) fn reconcile(unit: &Unit) -> Span {
    let (namespace, name) = match unit {
        Unit::Domain(name) => (None, name.as_str()),
        Unit::Member(namespace) => (Some(namespace.as_str()), MEMBER_BINDING),
        Unit::Fence(namespace) => (Some(namespace.as_str()), BASELINE),
        Unit::Directory(key) | Unit::Identity(key) | Unit::Policy(key) => {
            (Some(key.namespace.as_str()), key.name.as_str())
        }
    };
    info_span!("reconcile", kind = kind_of(unit), namespace, name, outcome = field::Empty)
}

/// The span of what is read from the API server before something is decided.
pub(super) fn gather<K: Resource<DynamicType = ()>>(namespace: &str, name: &str) -> Span {
    gather_of(&K::kind(&()), namespace, name)
}

/// The same for a kind that is known by its name alone.
pub(super) fn gather_of(kind: &str, namespace: &str, name: &str) -> Span {
    debug_span!("gather", kind, namespace, name)
}

/// The span of a decision.
pub(super) fn plan() -> Span {
    debug_span!("plan")
}

/// The span of one write of an output; its outcome is recorded at the end.
pub(super) fn write<K: Resource<DynamicType = ()>>(verb: &str, namespace: Option<&str>, name: Option<&str>) -> Span {
    write_of(verb, &K::kind(&()), namespace, name)
}

/// The same for a kind that is known by its name alone.
pub(super) fn write_of(verb: &str, kind: &str, namespace: Option<&str>, name: Option<&str>) -> Span {
    debug_span!("write", verb, kind, namespace, name, outcome = field::Empty)
}

/// The span of writing a status, or of finding that it says nothing new.
pub(super) fn status() -> Span {
    debug_span!("status", outcome = field::Empty)
}
