//! Who is there and who may call whom with a token of the built-in issuer, looked up without going through all of it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::members::{ForeignIssuer, Granted, Members, Service};
use super::registration::{RegistrationError, registrations};
use super::{
    Client, Denial, DenialReason, Directory, DirectoryDomain, DirectoryError, OAuthError, RegisteredClient,
    Registration,
};
use crate::pki::{SecretData, SpiffeId};

/// The access graph as the token service knows it. A clone is a snapshot: it shares everything, and what is replaced later
/// does not show in it.
#[derive(Clone, Debug, Default)]
pub struct TokenGraph {
    /// By namespace.
    members: Arc<HashMap<String, Arc<Members>>>,
    /// Namespaces in which a grant names an audience.
    audiences: Index,
    /// Namespaces whose domain registers its clients in a Secret.
    secrets: Index,
    /// By name of the Secret, then by id.
    clients: Arc<HashMap<String, Arc<HashMap<String, Registration>>>>,
}

impl TokenGraph {
    /// Takes the document of a namespace in place of the last one; none when it is gone.
    ///
    /// # Errors
    /// [`DirectoryError`]. Then the namespace is not in the graph: nobody gets a token by what can't be trusted.
    pub fn replace(&mut self, namespace: &str, directory: Option<Directory>) -> Result<(), DirectoryError> {
        let members = directory.map(|directory| Members::new(namespace, directory)).transpose();
        let old = self.members.get(namespace).cloned();
        let (old, new) = (old.as_deref(), members.as_ref().ok().and_then(Option::as_ref));
        self.audiences.update(namespace, &names(old, Members::audiences), &names(new, Members::audiences));
        self.secrets.update(namespace, &names(old, Members::client_secret), &names(new, Members::client_secret));
        match members {
            Ok(Some(members)) => {
                Arc::make_mut(&mut self.members).insert(namespace.to_owned(), Arc::new(members));
                Ok(())
            }
            Ok(None) => {
                self.forget(namespace);
                Ok(())
            }
            Err(error) => {
                self.forget(namespace);
                Err(error)
            }
        }
    }

    /// Takes the content of a Secret with registered clients in place of the last one; none when it is gone. Returns the
    /// clients that are not registered, and why.
    pub fn replace_clients(
        &mut self,
        secret_name: &str,
        data: Option<&SecretData>,
    ) -> Vec<(String, RegistrationError)> {
        let clients = Arc::make_mut(&mut self.clients);
        let Some(data) = data else {
            clients.remove(secret_name);
            return Vec::new();
        };
        let (good, bad) = registrations(data);
        clients.insert(secret_name.to_owned(), Arc::new(good));
        bad
    }

    /// The namespaces that the graph knows.
    pub fn namespaces(&self) -> impl Iterator<Item = &str> {
        self.members.keys().map(String::as_str)
    }

    /// The domain of a service.
    #[must_use]
    pub fn domain_of(&self, spiffe_id: &SpiffeId) -> Option<&DirectoryDomain> {
        self.member(spiffe_id).map(|(members, _)| &members.domain)
    }

    /// A service, whether or not it may talk to the token service.
    #[must_use]
    pub fn service(&self, spiffe_id: &SpiffeId) -> Option<&Service> {
        self.member(spiffe_id).map(|(_, service)| service)
    }

    /// The service that runs under a service account.
    #[must_use]
    pub fn service_account(&self, namespace: &str, name: &str) -> Option<&Service> {
        self.members.get(namespace)?.service(name)
    }

    /// An issuer that the service's domain trusts besides the built-in one, by its identifier.
    #[must_use]
    pub fn foreign_issuer(&self, service: &SpiffeId, issuer: &str) -> Option<&ForeignIssuer> {
        self.member(service)?.0.issuers.get(issuer)
    }

    /// Names of the Secrets that register clients.
    #[must_use]
    pub fn client_secrets(&self) -> BTreeSet<&str> {
        self.secrets.0.keys().map(String::as_str).collect()
    }

    /// The registration of a client; none as soon as no domain names its Secret.
    #[must_use]
    pub fn registration(&self, client: &RegisteredClient) -> Option<&Registration> {
        let (secret_name, registration) = self.only_registration(&client.id).ok()?;
        (secret_name == client.secret_name).then_some(registration)
    }

    /// The registered client with this id, wherever it calls from.
    #[must_use]
    pub fn registered(&self, id: &str) -> Option<RegisteredClient> {
        let (secret_name, _) = self.only_registration(id).ok()?;
        Some(RegisteredClient { id: id.to_owned(), secret_name: secret_name.to_owned(), address: None })
    }

    /// The ids that several Secrets register. They are nobody's: a token names its client by the id alone.
    #[must_use]
    pub fn ambiguous_clients(&self) -> BTreeSet<&str> {
        let (mut known, mut twice) = (HashSet::new(), BTreeSet::new());
        for (_, ids) in self.registering() {
            twice.extend(ids.keys().map(String::as_str).filter(|id| !known.insert(*id)));
        }
        twice
    }

    /// Authenticates a client outside the cluster by its secret and the address that it calls from.
    ///
    /// # Errors
    /// `invalid_client`.
    pub fn authenticate_registered(&self, id: &str, secret: &str, address: IpAddr) -> Result<Client, Denial> {
        let denial = |reason| Denial::new(OAuthError::InvalidClient, reason);
        let (secret_name, registration) = self.only_registration(id).map_err(denial)?;
        if !registration.verify(secret) {
            return Err(denial(DenialReason::WrongSecret));
        }
        if !self.client_ranges(secret_name).any(|ranges| registration.admits(address, ranges)) {
            return Err(denial(DenialReason::AddressNotRegistered));
        }
        let (id, secret_name) = (id.to_owned(), secret_name.to_owned());
        Ok(Client::Registered(RegisteredClient { id, secret_name, address: Some(address) }))
    }

    /// The one registration of an id, with the name of its Secret.
    fn only_registration(&self, id: &str) -> Result<(&str, &Registration), DenialReason> {
        let mut found = self.registering().filter_map(|(name, ids)| Some((name, ids.get(id)?)));
        let first = found.next().ok_or(DenialReason::UnknownClient)?;
        found.next().map_or(Ok(first), |_| Err(DenialReason::AmbiguousClient))
    }

    /// The Secrets that register clients, by name.
    fn registering(&self) -> impl Iterator<Item = (&str, &HashMap<String, Registration>)> {
        let named = self.clients.iter().filter(|(name, _)| self.secrets.0.contains_key(*name));
        named.map(|(name, ids)| (name.as_str(), &**ids))
    }

    /// Whether a grant names this audience.
    #[must_use]
    pub fn is_audience(&self, name: &str) -> bool {
        self.audiences.0.contains_key(name)
    }

    /// The grants in force by which the client may ask for this audience, each with its callee.
    pub(super) fn granted(&self, client: &Client, audience: &str) -> Vec<Granted<'_>> {
        let members = self.audiences.namespaces(audience).filter_map(|namespace| self.members.get(namespace));
        match client {
            Client::Identity(service) => {
                members.flat_map(|members| members.granted_to_service(audience, &service.spiffe_id)).collect()
            }
            Client::Registered(client) => {
                let Some(registration) = self.registration(client) else { return Vec::new() };
                members.flat_map(|members| members.granted_to_registered(audience, client, registration)).collect()
            }
        }
    }

    /// The address ranges of the domains that name a Secret.
    fn client_ranges<'a>(&'a self, secret_name: &'a str) -> impl Iterator<Item = &'a [IpNet]> {
        let members = self.secrets.namespaces(secret_name).filter_map(|namespace| self.members.get(namespace));
        members.filter_map(|members| members.client_ranges())
    }

    fn member(&self, spiffe_id: &SpiffeId) -> Option<(&Members, &Service)> {
        let members = self.members.get(spiffe_id.namespace())?;
        let service = members.service(spiffe_id.service_account())?;
        (service.spiffe_id == *spiffe_id).then_some((&**members, service))
    }

    fn forget(&mut self, namespace: &str) {
        if self.members.contains_key(namespace) {
            Arc::make_mut(&mut self.members).remove(namespace);
        }
    }
}

/// Names, each with the namespaces that have it.
#[derive(Clone, Debug, Default)]
struct Index(Arc<HashMap<String, BTreeSet<String>>>);

impl Index {
    fn namespaces(&self, name: &str) -> impl Iterator<Item = &String> {
        self.0.get(name).into_iter().flatten()
    }

    /// Puts the names of a namespace in place of its last ones; most documents change none of them.
    fn update(&mut self, namespace: &str, old: &BTreeSet<&str>, new: &BTreeSet<&str>) {
        if old == new {
            return;
        }
        let index = Arc::make_mut(&mut self.0);
        for gone in old.difference(new) {
            if let Some(namespaces) = index.get_mut(*gone) {
                namespaces.remove(namespace);
                if namespaces.is_empty() {
                    index.remove(*gone);
                }
            }
        }
        for added in new.difference(old) {
            index.entry((*added).to_owned()).or_default().insert(namespace.to_owned());
        }
    }
}

fn names<'a, I: IntoIterator<Item = &'a str>>(
    members: Option<&'a Members>,
    names: fn(&'a Members) -> I,
) -> BTreeSet<&'a str> {
    members.into_iter().flat_map(names).collect()
}

#[cfg(test)]
#[path = "graph_tests.rs"]
mod tests;
