//! How the verbs for users reach a cluster: by the user's own kubeconfig, with the flags that kubectl has for it.

use std::error::Error;
use std::fmt::Debug;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::core::{DeserializeGuard, Resource};
use kube::{Api, Client, Config};
use ringfence_core::world::NamespacedName;
use serde::de::DeserializeOwned;

/// Which cluster, and where in it.
#[derive(Debug, Args)]
pub(super) struct Connection {
    #[command(flatten)]
    access: Access,
    /// Namespace. Unset: the context's.
    #[arg(short, long, value_name = "NAME")]
    pub(super) namespace: Option<String>,
}

/// Which cluster.
#[derive(Debug, Args)]
pub(super) struct Access {
    /// Kubeconfig file. Unset: as for kubectl, `$KUBECONFIG` or `~/.kube/config`; in a pod without them, its service
    /// account.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig. Unset: its current one.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

/// A cluster that can be asked.
pub(super) struct Cluster {
    /// The client.
    pub(super) client: Client,
    /// The namespace that was named, or the context's.
    pub(super) namespace: String,
    server: String,
}

/// How long the API server may take to be reached, and to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Objects in one page of a listing: so many of them, whole, are in memory at once.
const PAGE: u32 = 500;

impl Connection {
    /// Reads the kubeconfig. Nothing is asked yet.
    pub(super) async fn open(&self) -> Result<Cluster> {
        let cluster = self.access.open().await?;
        let namespace = self.namespace.clone().unwrap_or(cluster.namespace);
        Ok(Cluster { namespace, ..cluster })
    }
}

impl Access {
    /// Reads the kubeconfig. Nothing is asked yet.
    pub(super) async fn open(&self) -> Result<Cluster> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let config = match &self.kubeconfig {
            Some(file) => {
                let kubeconfig = Kubeconfig::read_from(file);
                let kubeconfig =
                    kubeconfig.map_err(|error| anyhow!("{} can't be used: {}", file.display(), fault(&error)))?;
                Config::from_custom_kubeconfig(kubeconfig, &options).await
            }
            None => match Config::from_kubeconfig(&options).await {
                Err(error) if self.context.is_none() => Config::incluster().map_err(|_| error),
                config => config,
            },
        };
        let mut config = config.map_err(|error| {
            anyhow!("no cluster to talk to: {}; name a --kubeconfig, and a --context that it has", fault(&error))
        })?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.read_timeout = Some(ANSWER_TIMEOUT);
        let namespace = config.default_namespace.clone();
        let server = config.cluster_url.to_string();
        let client = Client::try_from(config).context("the kubeconfig can't be used")?;
        Ok(Cluster { client, namespace, server })
    }
}

impl Cluster {
    /// Hands over all objects of a listing, page by page; those that do not fit the schema with the reason.
    pub(super) async fn each<K>(
        &self,
        api: Api<DeserializeGuard<K>>,
        mut look: impl FnMut(std::result::Result<K, (NamespacedName, String)>),
    ) -> kube::Result<()>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        let mut parameters = ListParams::default().limit(PAGE);
        loop {
            let page = api.list(&parameters).await?;
            for DeserializeGuard(item) in page.items {
                look(item.map_err(|invalid| {
                    let metadata = invalid.metadata;
                    let key =
                        NamespacedName::new(metadata.namespace.unwrap_or_default(), metadata.name.unwrap_or_default());
                    (key, invalid.error)
                }));
            }
            match page.metadata.continue_ {
                Some(token) if !token.is_empty() => parameters = parameters.continue_token(&token),
                _ => return Ok(()),
            }
        }
    }

    /// An error as a sentence that says what to do. `what` is what was asked for, e.g. `ServiceIdentities of shop`.
    pub(super) fn explain(&self, what: &str, error: &kube::Error) -> anyhow::Error {
        match error {
            kube::Error::Api(status) if status.is_forbidden() => {
                anyhow!("you may not read {what}: {}; ask for that right, or use another --context", status.message)
            }
            kube::Error::Api(status) if status.code == 401 => {
                anyhow!("the API server at {} does not know who you are: log in again", self.server)
            }
            kube::Error::Api(status) => anyhow!("{what} can't be read: {}", status.message),
            other => anyhow!(
                "the API server at {} can't be asked for {what}: {}; see whether it runs, and whether this is the \
                 right --context",
                self.server,
                root_cause(other)
            ),
        }
    }
}

/// Whether a whole kind is unknown to the API server.
pub(super) fn is_not_installed(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Whether a user lacks a right.
pub(super) fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_forbidden())
}

/// What is wrong with a kubeconfig. What a parser says would show a piece of it, and with that perhaps a token.
fn fault(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::Parse(_) => "it is no kubeconfig".to_owned(),
        other => other.to_string(),
    }
}

fn root_cause(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Runs what asks a cluster to its end.
pub(super) fn run<T>(asking: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("the runtime can't be started")?.block_on(asking)
}
