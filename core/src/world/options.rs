//! What an identity chose about its certificate and the Secret that holds it, as far as it can be had.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::fold::{Dirty, replace};
use super::{NamespacedName, Problem, Unit, World};
use crate::api::{ConditionType, Reason, SecretTemplate, ServiceIdentity};
use crate::pki::{KeystorePassword, PasswordFault, Usages};

/// Longest common name (X.520, ub-common-name), in characters.
const LONGEST_COMMON_NAME: usize = 64;

/// Choices beside names, algorithm and duration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateOptions {
    /// What the certificate may be used for.
    pub usages: Usages,
    /// The subject's common name, if it is not the identity's name.
    pub common_name: Option<String>,
    /// Labels and annotations for the Secret.
    pub template: Option<Arc<SecretTemplate>>,
    /// Where the password for keystores is, if there are to be any.
    pub keystores: Option<Arc<PasswordRef>>,
}

/// One password, in a Secret of a user.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PasswordRef {
    /// The Secret.
    pub secret: NamespacedName,
    /// Its data key.
    pub key: String,
}

/// What is known of a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasswordFacts {
    /// The Secret does not exist.
    Missing,
    /// What is in it, or why that is no password.
    Found(Result<KeystorePassword, PasswordFault>),
}

impl World {
    /// Folds what is known of a password; whoever named it looks at its keystores.
    pub(super) fn fold_password(&mut self, password: &PasswordRef, new: Option<PasswordFacts>, dirty: &mut Dirty) {
        let old = replace(&mut self.passwords, password, new);
        if old.as_ref() == self.passwords.get(password) {
            return;
        }
        let names_it = |key: &&NamespacedName| {
            self.identity(key).is_some_and(|identity| identity.options.keystores.as_deref() == Some(password))
        };
        let owners = self.identities_in(&password.secret.namespace).map(|(key, _)| key).filter(names_it);
        dirty.units.extend(owners.cloned().map(Unit::Identity));
    }
}

/// The choices of an identity whose certificate has these DNS names, and what of them can't be had.
pub(super) fn options(object: &ServiceIdentity, dns_names: &BTreeSet<String>) -> (CertificateOptions, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut refuse = |reason, message| {
        problems.push(Problem { condition: ConditionType::Accepted, reason, message });
    };
    let declared = &object.spec.certificate;
    let usages = declared.usages.as_deref().map_or(Some(Usages::BOTH), Usages::of).unwrap_or_else(|| {
        let message = "certificate.usages must not be empty, and all are given: name ServerAuth, ClientAuth or both";
        refuse(Reason::Invalid, message.to_owned());
        Usages::BOTH
    });
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let common_name = declared.common_name.as_deref().filter(|wanted| *wanted != name).and_then(|wanted| {
        let wanted = wanted.to_ascii_lowercase();
        if dns_names.contains(&wanted) && wanted.len() <= LONGEST_COMMON_NAME {
            return Some(wanted);
        }
        let message = format!(
            "the common name {wanted} is refused, and {name} is used instead: it must be that name or a DNS name of the certificate, with at most {LONGEST_COMMON_NAME} characters; see services and dnsNames"
        );
        refuse(Reason::NameNotAllowed, message);
        None
    });
    let template = declared.secret_template.clone().and_then(|mut template| {
        for (key, fault) in template.sift() {
            refuse(Reason::Invalid, format!("certificate.secretTemplate: {key} is left out: {fault}; correct it"));
        }
        (template != SecretTemplate::default()).then(|| Arc::new(template))
    });
    let keystores = declared.pkcs12.as_ref().map(|keystores| {
        let namespace = object.metadata.namespace.clone().unwrap_or_default();
        let password = &keystores.password_secret_ref;
        let secret = NamespacedName::new(namespace, password.name.clone());
        Arc::new(PasswordRef { secret, key: password.key.clone() })
    });
    (CertificateOptions { usages, common_name, template, keystores }, problems)
}

#[cfg(test)]
#[path = "options_tests.rs"]
mod tests;
