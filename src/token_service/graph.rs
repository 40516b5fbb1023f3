//! What is known of the cluster, as one snapshot that requests read without waiting.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use ringfence_core::pki::{PeerAnchors, PeerAnchorsError, SecretData, SpiffeId};
use ringfence_core::tokens::{Directory, DirectoryDomain, DirectoryError, RegistrationError, TokenGraph};
use ringfence_workload::Anchors;

/// Everything that decisions are made of, at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    /// Counts the snapshots; 0 for the empty one at the beginning.
    pub(super) epoch: u64,
    /// Who may call whom.
    pub(super) graph: TokenGraph,
    /// By namespace.
    anchors: HashMap<String, Arc<Anchored>>,
}

/// What verifies the members of a namespace, with the text that it was read from.
#[derive(Debug)]
struct Anchored {
    bundle: String,
    revocation_lists: String,
    anchors: PeerAnchors,
}

/// Why a document is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum DocumentFault {
    #[error("it has no directory.json")]
    Missing,
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Anchors(#[from] PeerAnchorsError),
}

impl Anchors for Snapshot {
    /// The CAs of its trust domain, as its own namespace's document has them. None if the service is not in the graph.
    fn anchors(&self, id: &SpiffeId) -> Option<&PeerAnchors> {
        self.graph.service(id)?;
        self.anchors.get(id.namespace()).map(|anchored| &anchored.anchors)
    }

    fn epoch(&self) -> u64 {
        self.epoch
    }
}

impl Snapshot {
    /// The next snapshot, with this document of a namespace. Its text is none when it is gone.
    fn with(&self, namespace: &str, text: Option<&[u8]>) -> Result<Self, DocumentFault> {
        let mut next = self.clone();
        let Some(text) = text else {
            next.graph.replace(namespace, None)?;
            next.anchors.remove(namespace);
            return Ok(next);
        };
        let directory = Directory::parse(text)?;
        next.anchors.insert(namespace.to_owned(), self.anchored(&directory.domain)?);
        next.graph.replace(namespace, Some(directory))?;
        Ok(next)
    }

    /// The namespaces of a domain have the same CAs, which are read once.
    fn anchored(&self, domain: &DirectoryDomain) -> Result<Arc<Anchored>, PeerAnchorsError> {
        let DirectoryDomain { bundle, revocation_lists, .. } = domain;
        let same = |known: &&Arc<Anchored>| known.bundle == *bundle && known.revocation_lists == *revocation_lists;
        if let Some(known) = self.anchors.values().find(same) {
            return Ok(Arc::clone(known));
        }
        let anchors = PeerAnchors::from_pem(bundle, revocation_lists)?;
        Ok(Arc::new(Anchored { bundle: bundle.clone(), revocation_lists: revocation_lists.clone(), anchors }))
    }
}

/// Folds what the watches tell into the next snapshot.
#[derive(Debug, Default)]
pub(super) struct Folding {
    next: Snapshot,
    refused_documents: BTreeMap<String, String>,
    refused_registrations: BTreeMap<String, usize>,
    ambiguous_clients: BTreeSet<String>,
}

impl Folding {
    /// Takes the document of a namespace; none when it is gone. The last good one stays in force while the newest can't be
    /// read: that is so most often while one of operator and token service is newer than the other.
    ///
    /// # Errors
    /// [`DocumentFault`], once for each fault.
    pub(super) fn document(
        &mut self,
        namespace: &str,
        text: Option<Result<&[u8], DocumentFault>>,
    ) -> Result<(), DocumentFault> {
        let taken = match text.transpose() {
            Ok(text) => self.next.with(namespace, text),
            Err(fault) => Err(fault),
        };
        match taken {
            Ok(next) => {
                self.next = next;
                self.refused_documents.remove(namespace);
                Ok(())
            }
            Err(fault) => {
                let said = fault.to_string();
                let known = self.refused_documents.insert(namespace.to_owned(), said.clone());
                if known.is_some_and(|known| known == said) { Ok(()) } else { Err(fault) }
            }
        }
    }

    /// Takes a Secret with registered clients; none when it is gone. Returns the clients whose registration can't be read.
    pub(super) fn clients(&mut self, secret_name: &str, data: Option<&SecretData>) -> Vec<(String, RegistrationError)> {
        let refused = self.next.graph.replace_clients(secret_name, data);
        if refused.is_empty() {
            self.refused_registrations.remove(secret_name);
        } else {
            self.refused_registrations.insert(secret_name.to_owned(), refused.len());
        }
        refused
    }

    /// The ids that several Secrets register and did not before.
    pub(super) fn new_ambiguous_clients(&mut self) -> Vec<String> {
        let now: BTreeSet<String> = self.next.graph.ambiguous_clients().into_iter().map(str::to_owned).collect();
        let new = now.difference(&self.ambiguous_clients).cloned().collect();
        self.ambiguous_clients = now;
        new
    }

    /// The snapshot, to be shown to requests.
    pub(super) fn snapshot(&mut self) -> Arc<Snapshot> {
        self.next.epoch += 1;
        Arc::new(self.next.clone())
    }

    /// The graph as it will be.
    pub(super) fn graph(&self) -> &TokenGraph {
        &self.next.graph
    }

    /// How many documents and registrations can't be read.
    pub(super) fn refused(&self) -> (usize, usize) {
        let registrations: usize = self.refused_registrations.values().sum();
        (self.refused_documents.len(), registrations + self.ambiguous_clients.len())
    }
}
