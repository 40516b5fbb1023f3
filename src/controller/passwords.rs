//! The Secrets with passwords for keystores. They are their users' and carry no label of ours, so that each is watched by
//! its name, as long as an identity of a namespace that the operator has rights in names it. Nothing else of such a
//! namespace comes to be seen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::stream::{BoxStream, StreamExt};
use kube::Client;
use ringfence_core::pki::{KeystorePassword, SecretData};
use ringfence_core::world::{Change, NamespacedName, PasswordFacts, PasswordRef};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::keystores::AVAILABLE;
use super::members::Access;
use super::watch::{Seen, secret_named};

/// Which passwords are wanted, and by whom.
#[derive(Debug, Default)]
pub(super) struct Passwords {
    state: Mutex<State>,
    touched: Notify,
}

#[derive(Debug, Default)]
struct State {
    wanted: BTreeMap<NamespacedName, Arc<PasswordRef>>,
    /// Wanted or not, which the watches don't know yet.
    touched: BTreeSet<Arc<PasswordRef>>,
}

/// Whether an identity waits until its password has been looked for: from then on it is known, or known to be missing.
pub(super) fn awaited(context: &Context, identity: &NamespacedName) -> bool {
    let world = context.world();
    let valid = world.identity(identity).filter(|_| AVAILABLE);
    let wanted = valid.and_then(|identity| identity.options.keystores.clone());
    let wanted = wanted.filter(|_| context.members.access(&world, &identity.namespace) == Access::Open);
    context.passwords.want(identity, wanted.as_ref());
    wanted.is_some_and(|password| world.password(&password).is_none())
}

impl Passwords {
    fn want(&self, identity: &NamespacedName, password: Option<&Arc<PasswordRef>>) {
        let mut state = self.lock();
        let before = match password {
            Some(password) => state.wanted.insert(identity.clone(), Arc::clone(password)),
            None => state.wanted.remove(identity),
        };
        if before.as_ref() != password {
            state.touched.extend(before.into_iter().chain(password.cloned()));
            drop(state);
            self.touched.notify_one();
        }
    }

    /// Nothing in a namespace is wanted until it is asked for again: it was left, or entered anew.
    fn forget(&self, namespace: &str) {
        self.lock().wanted.retain(|identity, _| identity.namespace != namespace);
    }

    /// Waits until passwords are wanted or no more; those that are wanted come with `true`.
    pub(super) async fn touched(&self) -> Vec<(Arc<PasswordRef>, bool)> {
        loop {
            let more = self.touched.notified();
            {
                let mut state = self.lock();
                let touched = std::mem::take(&mut state.touched);
                if !touched.is_empty() {
                    let wanted: BTreeSet<&Arc<PasswordRef>> = state.wanted.values().collect();
                    return touched.iter().map(|password| (Arc::clone(password), wanted.contains(password))).collect();
                }
            }
            more.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The watches of those that are wanted.
#[derive(Debug, Default)]
pub(super) struct PasswordWatches(BTreeMap<Arc<PasswordRef>, CancellationToken>);

impl PasswordWatches {
    /// Begins and ends watches: those that begin, and what is to be forgotten.
    pub(super) fn follow(
        &mut self,
        client: &Client,
        touched: Vec<(Arc<PasswordRef>, bool)>,
    ) -> (Vec<BoxStream<'static, Seen>>, Vec<Change>) {
        let (mut begun, mut forgotten) = (Vec::new(), Vec::new());
        for (password, wanted) in touched {
            match (wanted, self.0.contains_key(&password)) {
                (true, false) => {
                    let stop = CancellationToken::new();
                    begun.push(watch(client, &password, stop.clone()));
                    self.0.insert(password, stop);
                }
                (false, true) => forgotten.extend(self.end(&password)),
                _ => {}
            }
        }
        (begun, forgotten)
    }

    /// Ends those of a namespace.
    pub(super) fn leave(&mut self, passwords: &Passwords, namespace: &str) -> Vec<Change> {
        passwords.forget(namespace);
        let of_namespace = self.0.keys().filter(|password| password.secret.namespace == namespace);
        let of_namespace: Vec<Arc<PasswordRef>> = of_namespace.cloned().collect();
        of_namespace.iter().flat_map(|password| self.end(password)).collect()
    }

    fn end(&mut self, password: &PasswordRef) -> Option<Change> {
        self.0.remove(password)?.cancel();
        Some(Change::Password(password.clone(), None))
    }
}

/// One password from now on: what it is, and that it is missing when a first look found none.
fn watch(client: &Client, password: &Arc<PasswordRef>, stop: CancellationToken) -> BoxStream<'static, Seen> {
    let wanted = Arc::clone(password);
    let facts = move |secret: Option<&SecretData>| {
        let facts = secret.map_or(PasswordFacts::Missing, |data| {
            PasswordFacts::Found(KeystorePassword::parse(data.get(&wanted.key)))
        });
        Change::Password(wanted.as_ref().clone(), Some(facts))
    };
    let missing = facts(None);
    let mut missing = Some(missing);
    let told = secret_named(client, &password.secret, facts).filter_map(move |seen| {
        std::future::ready(match seen {
            Seen::Listed(_) => missing.take().map(|missing| Seen::Changed(vec![missing])),
            seen => {
                missing = missing.take().filter(|_| !matches!(seen, Seen::Changed(_)));
                Some(seen)
            }
        })
    });
    told.take_until(stop.cancelled_owned()).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(namespace: &str, name: &str) -> Arc<PasswordRef> {
        Arc::new(PasswordRef { secret: NamespacedName::new(namespace, name), key: "password".to_owned() })
    }

    #[tokio::test]
    async fn a_password_is_wanted_as_long_as_one_identity_wants_it() {
        let passwords = Passwords::default();
        let [order, cart] = ["order", "cart"].map(|name| NamespacedName::new("shop", name));
        let [old, new] = ["old", "new"].map(|name| password("shop", name));
        passwords.want(&order, Some(&old));
        passwords.want(&cart, Some(&old));
        assert_eq!(passwords.touched().await, [(Arc::clone(&old), true)]);
        passwords.want(&order, Some(&new));
        assert_eq!(passwords.touched().await, [(Arc::clone(&new), true), (Arc::clone(&old), true)]);
        passwords.want(&order, Some(&new));
        passwords.want(&cart, None);
        assert_eq!(passwords.touched().await, [(old, false)]);
    }

    #[tokio::test]
    async fn the_watches_of_a_namespace_end_when_it_is_left_and_begin_when_it_is_asked_for_again() {
        let client = Client::try_from(kube::Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap();
        let (passwords, mut watches) = (Passwords::default(), PasswordWatches::default());
        let order = NamespacedName::new("shop", "order");
        let wanted = password("shop", "keystore");
        passwords.want(&order, Some(&wanted));
        passwords.want(&NamespacedName::new("other", "order"), Some(&password("other", "keystore")));
        let (begun, forgotten) = watches.follow(&client, passwords.touched().await);
        assert_eq!((begun.len(), forgotten.len()), (2, 0));
        let forgotten = watches.leave(&passwords, "shop");
        assert!(matches!(&forgotten[..], [Change::Password(password, None)] if *password == *wanted));
        passwords.want(&order, Some(&wanted));
        let (begun, _) = watches.follow(&client, passwords.touched().await);
        assert_eq!(begun.len(), 1);
        assert_eq!(watches.0.len(), 2);
    }
}
