//! Two domains under one root, and whether their members let each other in where revocation lists are read.

use ringfence_core::api::TrustDomain;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use webpki::{CertRevocationList, EndEntityCert, KeyUsage, OwnedCertRevocationList, RevocationOptionsBuilder};

use super::declare::{Story, Trust, domain};
use super::{OpenSsl, Peer, now};

impl Story {
    /// Two domains under one root; `order` and `gateway` in the first call `payment` in the second, with a certificate and a
    /// token of their own.
    pub async fn family(&self) -> [Trust; 2] {
        let names = ["root", "left", "right"].map(|suffix| format!("{}-{suffix}", self.name));
        let [root, left, right] = &names;
        self.create_cluster_wide::<TrustDomain>(domain(root, json!({"certificateAuthority": {"selfSigned": {}}})))
            .await;
        let under_root = |more: Value| {
            let mut spec = json!({"certificateAuthority": {"parent": {"name": root}}});
            spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            spec
        };
        for (suffix, more) in [
            ("left", json!({"namespaces": [left], "outbound": [{"trustDomains": [right]}]})),
            ("right", json!({"namespaces": [right], "inbound": [{"trustDomains": [left]}]})),
        ] {
            let namespace = self.namespace(suffix).await;
            self.create_cluster_wide::<TrustDomain>(domain(&namespace, under_root(more))).await;
        }
        let [left, right] = [left, right].map(|name| Trust { domain: name.clone(), namespace: name.clone() });
        for name in ["order", "gateway"] {
            self.ready_identity(&left.namespace, name, json!({"signingKey": {}})).await;
        }
        self.ready_identity(&right.namespace, "payment", json!({})).await;
        let callers: Vec<Value> =
            ["order", "gateway"].map(|name| json!({"identity": {"name": name, "namespace": left.namespace}})).to_vec();
        let spec = json!({
            "to": {"identity": "payment", "ports": [{"port": 8443}]}, "from": callers,
            "authentication": {"mtls": {}, "jwt": {}},
        });
        self.ready_policy(&right.namespace, "pay", spec).await;
        [left, right]
    }
}

/// Whether a caller's chain passes with what a callee has, in two implementations that share nothing.
pub fn passes(caller: &Peer, callee: &Peer) -> bool {
    let openssl = OpenSsl::with(&callee.files);
    openssl.file("chain.pem", &caller.files["tls.crt"]);
    let verify =
        "verify -purpose sslclient -crl_check_all -CAfile callers.pem -CRLfile crl.pem -untrusted chain.pem chain.pem";
    let by_openssl = openssl.try_run(verify);
    if let Err(said) = &by_openssl {
        assert!(said.contains("certificate revoked"), "{said}");
    }
    let lists: Vec<CertRevocationList<'_>> =
        CertificateRevocationListDer::pem_slice_iter(callee.files["crl.pem"].as_bytes())
            .map(|der| OwnedCertRevocationList::from_der(&der.unwrap()).unwrap().into())
            .collect();
    let lists: Vec<&CertRevocationList<'_>> = lists.iter().collect();
    let options = RevocationOptionsBuilder::new(&lists).unwrap();
    let options = options.with_expiration_policy(webpki::ExpirationPolicy::Enforce).build();
    let roots = callee.certificates("callers.pem");
    let anchors: Vec<_> = roots.iter().map(|root| webpki::anchor_from_trusted_cert(root).unwrap()).collect();
    let chain = caller.certificates("tls.crt");
    let leaf = EndEntityCert::try_from(&chain[0]).unwrap();
    let usage = KeyUsage::client_auth();
    let verified =
        leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, &chain[1..], now(), usage, Some(options), None);
    match verified {
        Ok(_) => assert!(by_openssl.is_ok(), "{by_openssl:?}"),
        Err(error) => assert_eq!((error, by_openssl.is_err()), (webpki::Error::CertRevoked, true)),
    }
    by_openssl.is_ok()
}
