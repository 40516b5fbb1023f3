//! The keystores beside a certificate: whether they are those of this leaf and this password.

use crate::api::{ConditionType, Reason};
use crate::pki::{CaGenerations, KeystorePassword, LeafFacts, keystore_record};
use crate::world::{Identity, OutputFacts, PasswordFacts, Problem, World};

/// The password for the keystores of an identity, if it is to have any and there is one.
pub fn keystore_password<'a>(world: &'a World, identity: &Identity) -> Option<&'a KeystorePassword> {
    match world.password(identity.options.keystores.as_ref()?)? {
        PasswordFacts::Found(Ok(password)) => Some(password),
        _ => None,
    }
}

/// Whether the keystores of a Secret must be written anew, or taken away. Without a password they stay as they are.
pub(super) fn keystores_differ<T>(
    world: &World,
    identity: &Identity,
    generations: &CaGenerations,
    found: &OutputFacts<T>,
    leaf: &LeafFacts,
) -> bool {
    if identity.options.keystores.is_none() {
        return leaf.keystores_sha256.is_some() || found.keystore_record.is_some();
    }
    let (Some(password), Some(authority)) = (keystore_password(world, identity), leaf.issuer(generations)) else {
        return false;
    };
    leaf.keystores_sha256.is_none()
        || found.keystore_record.as_deref() != Some(&keystore_record(authority, leaf, password))
}

/// Why there are no keystores, or none that are current.
pub(super) fn keystore_problem(world: &World, identity: &Identity) -> Option<Problem> {
    let password = identity.options.keystores.as_ref()?;
    let (reason, what) = match world.password(password)? {
        PasswordFacts::Found(Ok(_)) => return None,
        PasswordFacts::Missing => (
            Reason::SecretNotFound,
            format!("Secret {} does not exist: create it with a password under {}", password.secret, password.key),
        ),
        PasswordFacts::Found(Err(fault)) => (
            Reason::Invalid,
            format!(
                "the data key {} of Secret {} {fault}: put a password of 6 to 128 printable ASCII characters there",
                password.key, password.secret
            ),
        ),
    };
    Some(Problem {
        condition: ConditionType::ResolvedRefs,
        reason,
        message: format!("the keystores of certificate.pkcs12 can't be written; the certificate can. {what}"),
    })
}
