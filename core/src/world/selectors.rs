//! Which identities a pod may be of, by their selectors: a pod is compared with few of them, however many there are.

use std::collections::BTreeMap;

use super::NamespacedName;
use crate::api::LabelSelector;

/// Identities by one label that their pods must have.
#[derive(Debug, Default)]
pub(super) struct Selectors {
    /// By namespace, and by key and value of the first label that is demanded.
    by_label: BTreeMap<(String, String, String), Vec<NamespacedName>>,
    /// By namespace: those that demand no label with one value.
    others: BTreeMap<String, Vec<NamespacedName>>,
}

impl Selectors {
    /// Replaces the selector of one identity.
    pub(super) fn replace(&mut self, key: &NamespacedName, old: Option<&LabelSelector>, new: Option<&LabelSelector>) {
        if let Some(old) = old {
            match first_label(key, old) {
                Some(label) => remove(&mut self.by_label, &label, key),
                None => remove(&mut self.others, &key.namespace, key),
            }
        }
        if let Some(new) = new {
            let place = match first_label(key, new) {
                Some(label) => self.by_label.entry(label).or_insert_with(|| Vec::with_capacity(1)),
                None => self.others.entry(key.namespace.clone()).or_default(),
            };
            place.push(key.clone());
        }
    }

    /// Those that may select a pod with these labels; each selector has the last word.
    pub(super) fn candidates<'a>(
        &'a self,
        namespace: &'a str,
        labels: &'a BTreeMap<String, String>,
    ) -> impl Iterator<Item = &'a NamespacedName> {
        let demanded = labels
            .iter()
            .filter_map(move |(label, value)| self.by_label.get(&(namespace.to_owned(), label.clone(), value.clone())));
        demanded.chain(self.others.get(namespace)).flatten()
    }
}

/// Namespace, key and value of the first label that a selector demands.
fn first_label(key: &NamespacedName, selector: &LabelSelector) -> Option<(String, String, String)> {
    let (label, value) = selector.match_labels.iter().next()?;
    Some((key.namespace.clone(), label.clone(), value.clone()))
}

fn remove<K: Ord>(map: &mut BTreeMap<K, Vec<NamespacedName>>, place: &K, key: &NamespacedName) {
    let Some(keys) = map.get_mut(place) else { return };
    keys.retain(|other| other != key);
    if keys.is_empty() {
        map.remove(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(text: &str) -> LabelSelector {
        serde_saphyr::from_str(text).unwrap()
    }

    #[test]
    fn only_those_that_may_select_a_pod_are_compared_with_it() {
        let mut selectors = Selectors::default();
        let key = |name| NamespacedName::new("ns", name);
        let (a, b) = (selector("{matchLabels: {app: a, tier: x}}"), selector("{matchLabels: {app: b}}"));
        let any = selector("{matchExpressions: [{key: app, operator: Exists}]}");
        selectors.replace(&key("a"), None, Some(&a));
        selectors.replace(&key("b"), None, Some(&b));
        selectors.replace(&key("any"), None, Some(&any));
        selectors.replace(&NamespacedName::new("elsewhere", "a"), None, Some(&a));
        let of = |selectors: &Selectors, labels: &[(&str, &str)]| {
            let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            selectors.candidates("ns", &labels).map(|key| key.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(of(&selectors, &[("app", "a"), ("tier", "y")]), ["a", "any"], "the selector has the last word");
        assert_eq!(of(&selectors, &[("app", "c")]), ["any"]);
        selectors.replace(&key("a"), Some(&a), Some(&b));
        selectors.replace(&key("any"), Some(&any), None);
        assert_eq!(of(&selectors, &[("app", "a")]), [""; 0]);
        assert_eq!(of(&selectors, &[("app", "b")]), ["b", "a"]);
        selectors.replace(&key("a"), Some(&b), None);
        selectors.replace(&key("b"), Some(&b), None);
        assert_eq!((selectors.by_label.len(), selectors.others.len()), (1, 0), "nothing is left of them");
    }
}
