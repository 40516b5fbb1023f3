//! Kubernetes Events: a log of what happened to security, one for each transition and none for a mere look.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::Resource;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use ringfence_core::api::Reason;
use tracing::{info, warn};

use super::error::tell;
use super::write::MANAGER;

/// Longest note that the API server takes, in bytes.
const MAX_NOTE: usize = 1024;

/// Publishes events, and says the same in the log.
#[derive(Clone)]
pub(super) struct Events {
    client: Client,
    reporter: Reporter,
}

/// Which replica this is: in a pod, the pod's name.
pub(super) fn instance() -> Option<String> {
    std::fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|name| name.trim().to_owned())
}

impl Events {
    pub(super) fn new(client: Client) -> Self {
        Self { client, reporter: Reporter { controller: MANAGER.to_owned(), instance: instance() } }
    }

    /// Says that something good, or at least intended, happened to an object.
    pub(super) async fn normal<K: Resource<DynamicType = ()>>(&self, object: &K, reason: Reason, note: String) {
        self.publish(&object.object_ref(&()), EventType::Normal, reason, note).await;
    }

    /// Says that something needs someone's attention.
    pub(super) async fn warning<K: Resource<DynamicType = ()>>(&self, object: &K, reason: Reason, note: String) {
        self.warning_about(&object.object_ref(&()), reason, note).await;
    }

    /// The same about an object that can't be read.
    pub(super) async fn warning_about(&self, object: &ObjectReference, reason: Reason, note: String) {
        self.publish(object, EventType::Warning, reason, note).await;
    }

    async fn publish(&self, object: &ObjectReference, type_: EventType, reason: Reason, mut note: String) {
        let (kind, namespace, name) = (object.kind.as_deref(), object.namespace.as_deref(), object.name.as_deref());
        match type_ {
            EventType::Normal => info!(kind, namespace, name, %reason, "{note}"),
            EventType::Warning => warn!(kind, namespace, name, %reason, "{note}"),
        }
        if note.len() > MAX_NOTE {
            note.truncate(note.floor_char_boundary(MAX_NOTE - '…'.len_utf8()));
            note.push('…');
        }
        let event =
            Event { type_, reason: reason.to_string(), note: Some(note), action: reason.to_string(), secondary: None };
        // A recorder folds events of one reason into the first, with its note, whatever the later ones have to say.
        let recorder = Recorder::new(self.client.clone(), self.reporter.clone());
        if let Err(error) = recorder.publish(&event, object).await {
            tell(&error, "the event could not be published");
        }
    }
}
