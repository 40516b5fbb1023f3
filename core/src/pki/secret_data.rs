//! The content of a Kubernetes Secret, kept from logs.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::ByteString;
use zeroize::Zeroize;

/// The field `data` of a Secret: octets by data key. `Debug` shows the keys only, and the octets are wiped when it goes.
/// (`k8s-openapi`'s own type prints them and leaves them in memory.)
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretData(BTreeMap<String, Vec<u8>>);

impl SecretData {
    /// The octets under a data key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        self.0.get(key).map(Vec::as_slice)
    }

    /// The data keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(crate) fn put(&mut self, key: impl Into<String>, octets: impl AsRef<[u8]>) {
        if let Some(mut replaced) = self.0.insert(key.into(), octets.as_ref().to_vec()) {
            replaced.zeroize();
        }
    }
}

impl FromIterator<(String, Vec<u8>)> for SecretData {
    fn from_iter<I: IntoIterator<Item = (String, Vec<u8>)>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

/// What was read from the cluster.
impl From<&BTreeMap<String, ByteString>> for SecretData {
    fn from(data: &BTreeMap<String, ByteString>) -> Self {
        data.iter().map(|(key, octets)| (key.clone(), octets.0.clone())).collect()
    }
}

/// For the one place that writes it to the cluster.
impl From<SecretData> for BTreeMap<String, ByteString> {
    fn from(mut data: SecretData) -> Self {
        std::mem::take(&mut data.0).into_iter().map(|(key, octets)| (key, ByteString(octets))).collect()
    }
}

impl Drop for SecretData {
    fn drop(&mut self) {
        self.0.values_mut().for_each(Zeroize::zeroize);
    }
}

impl fmt::Debug for SecretData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let redacted = self.0.iter().map(|(key, octets)| (key, format!("{} octets, redacted", octets.len())));
        f.debug_map().entries(redacted).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_keys_and_sizes_only() {
        let data: SecretData = [("tls.key".to_owned(), b"very secret".to_vec())].into_iter().collect();
        assert_eq!(format!("{data:?}"), r#"{"tls.key": "11 octets, redacted"}"#);
    }

    #[test]
    fn what_is_read_is_what_is_written() {
        let read = BTreeMap::from([("a".to_owned(), ByteString(vec![0, 255])), ("b".to_owned(), ByteString(vec![]))]);
        let data = SecretData::from(&read);
        assert_eq!(data.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(
            (data.get("a"), data.get("b"), data.get("c")),
            (Some([0, 255].as_slice()), Some([].as_slice()), None)
        );
        assert_eq!(BTreeMap::<String, ByteString>::from(data), read);
    }
}
