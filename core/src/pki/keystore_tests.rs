//! Passwords, and the record of what was written with them.

use proptest::prelude::*;

use super::*;
use crate::pki::testing::{generations, intermediate, key, leaf_profile, now, root, serial};
use crate::pki::{issue_leaf, tls_secret_data};

fn password(text: &str) -> KeystorePassword {
    KeystorePassword::parse(Some(text.as_bytes())).unwrap()
}

fn secret(authority: &CaGeneration) -> SecretData {
    let profile = leaf_profile();
    let leaf = issue_leaf(&profile, authority, &key(profile.algorithm), &serial(), now()).unwrap();
    tls_secret_data(&leaf, &generations([authority.clone()]))
}

fn facts(data: &SecretData) -> LeafFacts {
    LeafFacts::of_secret(data).unwrap()
}

#[test]
fn a_password_is_text_that_every_program_reads_alike() {
    let cases: [(Option<&[u8]>, PasswordFault); 9] = [
        (None, PasswordFault::NoKey),
        (Some(b""), PasswordFault::Empty),
        (Some(b"changeit\n"), PasswordFault::LineBreak),
        (Some(b"change\r\nit"), PasswordFault::LineBreak),
        (Some("p\u{e4}ssword".as_bytes()), PasswordFault::NotAscii),
        (Some(b"pass\xffword"), PasswordFault::NotAscii),
        (Some(b"pass\0word"), PasswordFault::NotAscii),
        (Some(b"short"), PasswordFault::Length),
        (Some(&[b'x'; 129]), PasswordFault::Length),
    ];
    for (octets, fault) in cases {
        assert_eq!(KeystorePassword::parse(octets), Err(fault));
    }
    assert_eq!(password("six ch").expose(), "six ch");
    assert_eq!(password(&"x".repeat(128)).expose().len(), 128);
    assert!(!format!("{:?}", password("very secret")).contains("secret"));
}

#[test]
fn the_content_is_that_of_the_secret() {
    let parent = root("shop-root");
    let issuing = intermediate("storefront", &parent);
    let content = KeystoreContent::of(&secret(&issuing)).unwrap();
    assert_eq!(content.chain.len(), 2, "leaf and intermediate");
    assert_eq!(content.chain[1], issuing.certificate().der());
    assert_eq!(content.roots, [parent.certificate().der().to_vec()]);
    let key = crate::pki::PrivateKey::from_pkcs8_der(&content.key).unwrap();
    let leaf = Certificate::from_der(content.chain[0].clone()).unwrap();
    assert_eq!(key.public_key_bits(), leaf.public_key_bits());
    assert!(KeystoreContent::of(&SecretData::default()).is_err());
}

#[test]
fn a_record_is_of_this_ca_this_leaf_these_octets_and_this_password() {
    let authority = root("storefront");
    let mut data = secret(&authority);
    assert_eq!(facts(&data).keystores_sha256, None);
    data.put_keystores(b"one", b"two");
    let record = keystore_record(&authority, &facts(&data), &password("changeit"));
    assert_eq!(record, keystore_record(&authority, &facts(&data), &password("changeit")), "the same each time");
    assert_eq!(record.len(), 64);
    let mut others = vec![
        keystore_record(&authority, &facts(&data), &password("changeit2")),
        keystore_record(&root("storefront"), &facts(&data), &password("changeit")),
    ];
    let octets: [(&[u8], &[u8]); 3] = [(b"onet", b"wo"), (b"two", b"one"), (b"one", b"")];
    for (keystore, truststore) in octets {
        let mut other = data.clone();
        other.put_keystores(keystore, truststore);
        others.push(keystore_record(&authority, &facts(&other), &password("changeit")));
    }
    let mut another_leaf = secret(&authority);
    another_leaf.keep_keystores(&data);
    others.push(keystore_record(&authority, &facts(&another_leaf), &password("changeit")));
    let mut other_roots = data.clone();
    other_roots.put(CA_CRT, root("else").certificate().to_pem());
    others.push(keystore_record(&authority, &facts(&other_roots), &password("changeit")));
    assert!(!others.contains(&record));
    let all = others.len();
    others.sort();
    others.dedup();
    assert_eq!(others.len(), all, "and each of its own");
}

#[test]
fn one_keystore_without_the_other_is_seen() {
    let mut half = SecretData::default();
    half.put(KEYSTORE, b"one");
    let mut other = SecretData::default();
    other.put(TRUSTSTORE, b"one");
    let both = |data: &SecretData| keystores_sha256(data).unwrap();
    assert_ne!(both(&half), both(&other));
    assert_eq!(keystores_sha256(&SecretData::default()), None);
}

proptest! {
    /// Whatever a Secret holds, it is a password that is kept to the letter, or a fault that does not repeat it.
    #[test]
    fn any_octets_are_a_password_or_a_fault(octets in prop::collection::vec(any::<u8>(), 0..140)) {
        match KeystorePassword::parse(Some(&octets)) {
            Ok(password) => prop_assert_eq!(password.expose().as_bytes(), &octets[..]),
            Err(fault) => prop_assert!(octets.len() < 4 || !fault.to_string().as_bytes().windows(octets.len()).any(|part| part == &octets[..])),
        }
    }

    /// Other octets or another password never have the same record.
    #[test]
    fn records_tell_apart(a in "[ -~]{6,12}", b in "[ -~]{6,12}", x in any::<[u8; 2]>(), y in any::<[u8; 2]>()) {
        static SECRET: std::sync::LazyLock<(CaGeneration, SecretData)> = std::sync::LazyLock::new(|| {
            let authority = root("storefront");
            let data = secret(&authority);
            (authority, data)
        });
        let (authority, data) = &*SECRET;
        let record = |text: &str, octets: [u8; 2]| {
            let mut data = data.clone();
            data.put_keystores(octets, b"truststore");
            keystore_record(authority, &facts(&data), &password(text))
        };
        prop_assert_eq!(record(&a, x) == record(&b, y), (a, x) == (b, y));
    }
}
