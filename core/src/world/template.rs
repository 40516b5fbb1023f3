//! Labels and annotations that a template puts on a Secret, and the record of which they are: what others put there
//! besides is none of ours, and what a template does not have any more is taken off.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};

use super::{ContentHash, content_hash};
use crate::api::SecretTemplate;

/// Annotation with the keys that a template gave, and their hash.
pub const TEMPLATE_ANNOTATION: &str = "ringfence.dev/secret-template";

/// A template as it is on a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedTemplate {
    /// Hash of the template that was put there.
    pub recorded: ContentHash,
    /// Hash of what is there now of its keys.
    pub found: ContentHash,
}

/// What the annotation says.
#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Record {
    hash: ContentHash,
    labels: Vec<String>,
    annotations: Vec<String>,
}

impl SecretTemplate {
    /// Puts everything on an object, with a record of it.
    pub(crate) fn put_on(&self, metadata: &mut ObjectMeta) {
        let record = Record {
            hash: self.hash(),
            labels: self.labels.keys().cloned().collect(),
            annotations: self.annotations.keys().cloned().collect(),
        };
        // A record is maps and strings, which always serialise.
        let record = serde_json::to_string(&record).unwrap_or_default();
        let (labels, annotations) =
            (metadata.labels.get_or_insert_default(), metadata.annotations.get_or_insert_default());
        for (given, all) in [(&self.labels, labels), (&self.annotations, &mut *annotations)] {
            for (key, value) in given {
                all.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        annotations.insert(TEMPLATE_ANNOTATION.to_owned(), record);
    }

    /// The same for templates that say the same.
    pub(crate) fn hash(&self) -> ContentHash {
        content_hash(&(&self.labels, &self.annotations))
    }
}

impl AppliedTemplate {
    /// The template that was put on an object.
    pub(super) fn of(metadata: &ObjectMeta) -> Option<Self> {
        let record = metadata.annotations.as_ref()?.get(TEMPLATE_ANNOTATION)?;
        // One that can't be read is like that of another template.
        let record: Record = serde_json::from_str(record).unwrap_or_default();
        let among = |all: &Option<std::collections::BTreeMap<String, String>>, keys: Vec<String>| {
            keys.into_iter().filter_map(|key| Some((key.clone(), all.as_ref()?.get(&key)?.clone()))).collect()
        };
        let found = SecretTemplate {
            labels: among(&metadata.labels, record.labels),
            annotations: among(&metadata.annotations, record.annotations),
        };
        Some(Self { recorded: record.hash, found: found.hash() })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn template(labels: &[(&str, &str)], annotations: &[(&str, &str)]) -> SecretTemplate {
        let map = |entries: &[(&str, &str)]| {
            entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>()
        };
        SecretTemplate { labels: map(labels), annotations: map(annotations) }
    }

    fn ours() -> ObjectMeta {
        ObjectMeta {
            labels: Some(BTreeMap::from([(super::super::MANAGED_BY_LABEL.to_owned(), "ringfence".to_owned())])),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn what_others_add_is_none_of_ours_and_what_they_change_is_seen() {
        let given = template(&[("team", "a")], &[("note", "b")]);
        let mut metadata = ours();
        given.put_on(&mut metadata);
        let is_as_given = |metadata: &ObjectMeta| {
            let applied = AppliedTemplate::of(metadata).unwrap();
            (applied.recorded == given.hash(), applied.found == given.hash())
        };
        assert_eq!(is_as_given(&metadata), (true, true));
        metadata.labels.as_mut().unwrap().insert("theirs".to_owned(), "x".to_owned());
        assert_eq!(is_as_given(&metadata), (true, true));
        let mut changed = metadata.clone();
        changed.labels.as_mut().unwrap().insert("team".to_owned(), "x".to_owned());
        assert_eq!(is_as_given(&changed), (true, false));
        let mut removed = metadata.clone();
        removed.annotations.as_mut().unwrap().remove("note");
        assert_eq!(is_as_given(&removed), (true, false));
        let mut forged = metadata.clone();
        forged.annotations.as_mut().unwrap().insert(TEMPLATE_ANNOTATION.to_owned(), "{".to_owned());
        assert_eq!(is_as_given(&forged), (false, false));
        metadata.annotations = None;
        assert_eq!(AppliedTemplate::of(&metadata), None);
    }

    #[test]
    fn a_template_never_takes_the_place_of_what_is_ours() {
        let mut metadata = ours();
        template(&[(super::super::MANAGED_BY_LABEL, "me")], &[(TEMPLATE_ANNOTATION, "{}")]).put_on(&mut metadata);
        assert_eq!(metadata.labels, ours().labels);
        assert!(metadata.annotations.unwrap()[TEMPLATE_ANNOTATION].contains("hash"));
    }

    proptest! {
        /// A template that was put on reads back as itself, and as no other one.
        #[test]
        fn templates_read_back(
            labels in prop::collection::btree_map("[a-c]", "[a-c]{0,2}", 0..4),
            annotations in prop::collection::btree_map("[a-c]", "[a-c]{0,2}", 0..4),
            other in prop::collection::btree_map("[a-c]", "[a-c]{0,2}", 0..4),
        ) {
            let given = SecretTemplate { labels, annotations };
            let another = SecretTemplate { labels: other, annotations: given.annotations.clone() };
            let mut metadata = ours();
            given.put_on(&mut metadata);
            let applied = AppliedTemplate::of(&metadata).unwrap();
            prop_assert_eq!(&applied.found, &applied.recorded);
            prop_assert_eq!(applied.found == another.hash(), given == another);
        }
    }
}
