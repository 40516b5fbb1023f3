//! The service's own view of what was delivered to it, kept current.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwap;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use ringfence_core::pki::SpiffeId;
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{SignatureScheme, crypto};
use tokio::sync::watch;

use crate::client::{Client, Pools};
use crate::material::{Material, MaterialFault};
use crate::mounts::Mounts;
use crate::server::Server;

/// What was delivered to one service. Clones are the same; when the last one goes, nothing is followed any more.
#[derive(Clone)]
pub struct Workload(Arc<Inner>);

struct Inner {
    materials: Arc<ArcSwap<Material>>,
    provider: Arc<CryptoProvider>,
    reloads: watch::Receiver<Reload>,
    pools: Pools,
    _watcher: RecommendedWatcher,
}

/// What came of the last look at the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reload {
    /// How often something else was taken over than before.
    pub generation: u64,
    /// Why what is there now is not taken over, if it is not; what was there before goes on.
    pub fault: Option<String>,
}

/// A service that can't begin.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The files can't be used.
    #[error("what Ringfence delivers can't be used")]
    Material(#[from] MaterialFault),
    /// Changes would not be noticed.
    #[error("the delivered files can't be followed")]
    Watch(#[from] notify::Error),
}

/// After an event, others of the same change follow at once.
const SETTLE: Duration = Duration::from_millis(50);

impl Workload {
    /// Reads what was delivered, and follows it from then on.
    ///
    /// # Errors
    /// [`OpenError`]. The kubelet starts a pod only when its volumes are there, so that this means a mistake in the pod.
    pub fn open(mounts: Mounts) -> Result<Self, OpenError> {
        let provider = Arc::new(crypto::aws_lc_rs::default_provider());
        // Followed before they are read, so that no change falls in between.
        let (changed, changes) = sync_channel(1);
        let watcher = watch(&mounts, changed)?;
        let materials = Arc::new(ArcSwap::from_pointee(Material::read(&mounts, &provider)?));
        let (told, reloads) = watch::channel(Reload::default());
        let (following, using) = (Arc::clone(&materials), Arc::clone(&provider));
        thread::Builder::new()
            .name("ringfence-files".to_owned())
            .spawn(move || follow(&changes, &mounts, &using, &following, &told))
            .map_err(notify::Error::io)?;
        let pools = Pools::new(Arc::clone(&materials), Arc::clone(&provider));
        Ok(Self(Arc::new(Inner { materials, provider, reloads, pools, _watcher: watcher })))
    }

    /// The service's own SPIFFE ID.
    pub fn spiffe_id(&self) -> SpiffeId {
        self.material().spiffe_id.clone()
    }

    /// Tells of every look at the files.
    pub fn reloads(&self) -> watch::Receiver<Reload> {
        self.0.reloads.clone()
    }

    /// What serves a port of this pod (the port that the container listens on, not the Service's).
    pub fn server(&self, port: u16) -> Server {
        Server::new(self.clone(), port)
    }

    /// What calls others.
    pub fn client(&self) -> Client {
        Client::new(self.clone())
    }

    pub(crate) fn material(&self) -> Arc<Material> {
        self.0.materials.load_full()
    }

    pub(crate) fn materials(&self) -> Arc<ArcSwap<Material>> {
        Arc::clone(&self.0.materials)
    }

    pub(crate) fn provider(&self) -> &Arc<CryptoProvider> {
        &self.0.provider
    }

    pub(crate) fn pools(&self) -> &Pools {
        &self.0.pools
    }

    /// What handshakes show.
    pub(crate) fn shown(&self) -> Arc<Shown> {
        Arc::new(Shown(self.materials()))
    }
}

impl fmt::Debug for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Workload").field(&self.spiffe_id()).finish()
    }
}

/// The kubelet changes links in the folders, so that the folders are what is to be looked at.
fn watch(mounts: &Mounts, changed: SyncSender<()>) -> Result<RecommendedWatcher, notify::Error> {
    // If there is a look to come already, it will see this too.
    let tell = move |event: notify::Result<notify::Event>| {
        if event.is_err() || event.is_ok_and(|event| !event.kind.is_access()) {
            let _ = changed.try_send(());
        }
    };
    let mut watcher = notify::recommended_watcher(tell)?;
    for folder in mounts.folders() {
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}

/// Ends when the watcher goes, which holds the other end.
fn follow(
    changes: &Receiver<()>,
    mounts: &Mounts,
    provider: &Arc<CryptoProvider>,
    materials: &ArcSwap<Material>,
    told: &watch::Sender<Reload>,
) {
    while changes.recv().is_ok() {
        while changes.recv_timeout(SETTLE) != Err(RecvTimeoutError::Timeout) {
            if told.is_closed() {
                return;
            }
        }
        match Material::read(mounts, provider) {
            Ok(read) => {
                let is_new = read.digest != materials.load().digest;
                if is_new {
                    materials.store(Arc::new(read));
                }
                told.send_if_modified(|reload| {
                    reload.generation += u64::from(is_new);
                    reload.fault.take().is_some() || is_new
                });
            }
            Err(fault) => {
                let fault = with_source(&fault);
                told.send_if_modified(|reload| reload.fault.replace(fault.clone()).as_ref() != Some(&fault));
            }
        }
    }
}

fn with_source(fault: &MaterialFault) -> String {
    std::error::Error::source(fault).map_or_else(|| fault.to_string(), |source| format!("{fault}: {source}"))
}

/// The service's own certificate, as it is now: what is replaced shows from the next handshake on.
pub(crate) struct Shown(Arc<ArcSwap<Material>>);

impl Shown {
    pub(crate) fn of(materials: Arc<ArcSwap<Material>>) -> Self {
        Self(materials)
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.load().certificate))
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.load().certificate))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
