//! Live ports, without a cluster.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, SupportedProtocolVersion};

use crate::certificates::{Issued, Issuer, Wanted};
use crate::command::{path, ringfence};

#[test]
fn a_server_is_seen_as_a_peer_sees_it() {
    let issuer = Issuer::new("shop");
    let wanted = Wanted { dns_names: vec!["order.shop.svc".to_owned()], ..Wanted::default() };
    let config = server(&issuer.issue(&wanted), None, rustls::ALL_VERSIONS);
    let ran = ringfence(&["inspect", &listen(&config), "--bundle", path(&issuer.bundle()), "-o", "json"]);
    assert_eq!((ran.code, ran.refusals()), (0, Vec::new()), "{ran:?}");
    let json = ran.json();
    assert_eq!(json["spiffeID"], "spiffe://shop/ns/shop/sa/order");
    assert_eq!(json["handshake"]["protocol"], "TLSv1_3");
    assert_eq!(json["handshake"]["asksForClientCertificate"], false);
    let named = ringfence(&["inspect", &listen(&config), "--servername", "payment.shop.svc", "-o", "json"]);
    assert_eq!((named.code, named.refusals()), (1, vec!["NameMismatch".to_owned()]));
    assert_eq!(named.json()["handshake"]["serverName"], "payment.shop.svc");
}

#[test]
fn a_server_that_refuses_strangers_is_seen_all_the_same() {
    let issuer = Issuer::new("shop");
    for versions in [&[&rustls::version::TLS12], &[&rustls::version::TLS13]] {
        let config = server(&issuer.issue(&Wanted::default()), Some(&issuer), versions);
        let ran = ringfence(&["inspect", &listen(&config), "--bundle", path(&issuer.bundle())]);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.output.contains("the server asks for one"), "{}", ran.output);
    }
}

#[test]
fn a_server_that_peers_would_refuse_is_told_with_exit_code_1() {
    let (issuer, stranger) = (Issuer::new("shop"), Issuer::new("stranger"));
    let expired = Wanted { hours: (-3, -1), ..Wanted::default() };
    let client = Wanted { usages: vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth], ..Wanted::default() };
    let cases = [
        (issuer.issue(&expired), "Expired"),
        (issuer.issue(&client), "WrongUsage"),
        (stranger.issue(&Wanted::default()), "UnknownIssuer"),
    ];
    for (issued, reason) in cases {
        let port = listen(&server(&issued, None, rustls::ALL_VERSIONS));
        let ran = ringfence(&["inspect", &port, "--bundle", path(&issuer.bundle()), "-o", "json"]);
        assert_eq!((ran.code, ran.refusals()), (1, vec![reason.to_owned()]));
    }
}

#[test]
fn where_no_tls_is_spoken_it_says_so_with_exit_code_2() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().to_string();
    let plain = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"220 hello, I speak something else\r\n").unwrap();
        let _ = stream.read(&mut [0; 1024]);
    });
    let ran = ringfence(&["inspect", &port]);
    plain.join().unwrap();
    assert_eq!((ran.code, ran.output.as_str()), (2, ""));
    assert!(ran.complaints.contains("see whether TLS is spoken there"), "{}", ran.complaints);
    // The listener is gone now.
    let closed = ringfence(&["inspect", &port]);
    assert_eq!(closed.code, 2);
    assert!(closed.complaints.contains(&format!("{port} can't be reached")), "{}", closed.complaints);
}

/// A server with this certificate, which asks for one of an issuer if there is one.
fn server(
    issued: &Issued,
    clients: Option<&Issuer>,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions).unwrap();
    let config = match clients {
        None => config.with_no_client_auth(),
        Some(issuer) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(issuer.bundle()).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            config.with_client_cert_verifier(verifier)
        }
    };
    let chain = vec![CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap()];
    Arc::new(config.with_single_cert(chain, PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap()).unwrap())
}

/// Shakes hands with whoever comes next at the address that is returned.
pub fn listen(config: &Arc<ServerConfig>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut connection = ServerConnection::new(Arc::clone(config)).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // Strangers are refused in the middle of it.
        while connection.is_handshaking() && connection.complete_io(&mut stream).is_ok() {}
        let _ = stream.read(&mut [0; 16]);
    });
    address
}
