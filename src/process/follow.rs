//! A watch that goes on through its interruptions, and knows what is gone.

use std::collections::BTreeSet;

use futures::TryStreamExt;
use futures::stream::{BoxStream, StreamExt};
use kube::core::Resource;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use ringfence_core::world::NamespacedName;

use crate::controller::Pauses;

/// What a watch tells.
#[derive(Debug)]
pub(crate) enum Told<K> {
    /// An object is there, or is so now; nothing when it is gone.
    Object(NamespacedName, Option<Box<K>>),
    /// The first listing is complete.
    Listed(usize),
    /// The watch was interrupted, and is resumed.
    Interrupted(watcher::Error),
}

/// Follows one watch through its interruptions: what is missing from a new listing is gone.
pub(crate) fn follow<K>(
    stream: impl futures::Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static,
) -> BoxStream<'static, Told<K>>
where
    K: Resource<DynamicType = ()> + Send + 'static,
{
    let (mut known, mut listing) = (BTreeSet::<NamespacedName>::new(), BTreeSet::<NamespacedName>::new());
    let mut listed = false;
    // Every attempt begins with `Init`, also one that fails: only what comes after it ends the pauses. A new listing is
    // begun at the start and after an error, and never otherwise.
    let attempts = stream.try_filter(|event| std::future::ready(!matches!(event, Event::Init)));
    let told = attempts.backoff(Pauses::default()).flat_map(move |event| {
        let mut out = Vec::new();
        match event {
            Ok(Event::Init) => {}
            Ok(Event::InitApply(object)) => {
                let key = name_of(&object);
                listing.insert(key.clone());
                out.push(Told::Object(key, Some(Box::new(object))));
            }
            Ok(Event::InitDone) => {
                let current = std::mem::take(&mut listing);
                out.extend(known.difference(&current).map(|gone| Told::Object(gone.clone(), None)));
                known = current;
                if !std::mem::replace(&mut listed, true) {
                    out.push(Told::Listed(known.len()));
                }
            }
            Ok(Event::Apply(object)) => {
                let key = name_of(&object);
                known.insert(key.clone());
                out.push(Told::Object(key, Some(Box::new(object))));
            }
            Ok(Event::Delete(object)) => {
                let key = name_of(&object);
                known.remove(&key);
                out.push(Told::Object(key, None));
            }
            Err(error) => {
                listing.clear();
                out.push(Told::Interrupted(error));
            }
        }
        futures::stream::iter(out)
    });
    told.boxed()
}

fn name_of<K: Resource>(object: &K) -> NamespacedName {
    let metadata = object.meta();
    NamespacedName::new(metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}
