//! Envoy, as it is, in front of services: it lets a request in by its token alone.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::eventually;

/// A running Envoy; it ends with this.
pub struct Envoy {
    process: Child,
    _folder: TempDir,
    address: SocketAddr,
}

/// What it is told of the token service.
pub struct Issuer<'a> {
    pub url: &'a str,
    /// Host name of the token service, which its certificate carries.
    pub host: &'a str,
    /// Where the replicas listen.
    pub replicas: &'a [SocketAddr],
    /// Roots by which their certificates are verified, PEM.
    pub roots: &'a Path,
}

impl Envoy {
    /// Starts one that accepts the issuer's tokens for these audiences. `command` starts the program so that it ends with
    /// the cluster.
    pub async fn start(mut command: Command, issuer: &Issuer<'_>, audiences: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (config, log) = (folder.path().join("envoy.json"), folder.path().join("log"));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ringfence_cluster::reserve(LOOPBACK).unwrap()));
        fs::write(&config, bootstrap(address, issuer, audiences).to_string()).unwrap();
        command.arg("--config-path").arg(&config);
        command.args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log).unwrap());
        let mut envoy = Self { process: command.spawn().unwrap(), _folder: folder, address };
        eventually("Envoy listens", async || {
            let ended = envoy.process.try_wait().unwrap();
            assert!(ended.is_none(), "Envoy ended: {}", fs::read_to_string(&log).unwrap());
            TcpStream::connect(address).ok().map(|_| ())
        })
        .await;
        envoy
    }

    /// The URL of the service behind it.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn bootstrap(address: SocketAddr, issuer: &Issuer<'_>, audiences: &[&str]) -> Value {
    let typed = |name: &str, of: &str, mut config: Value| {
        config["@type"] = json!(format!("type.googleapis.com/envoy.extensions.{of}"));
        json!({"name": name, "typed_config": config})
    };
    let at = |address: &SocketAddr| json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}});
    let authn = json!({
        "providers": {"sts": {
            "issuer": issuer.url,
            "audiences": audiences,
            "remote_jwks": {
                "http_uri": {"uri": format!("{}/jwks", issuer.url), "cluster": "sts", "timeout": "5s"},
                "cache_duration": "1s",
            },
            "forward": true,
            "clock_skew_seconds": 1,
            "claim_to_headers": [
                {"header_name": "x-token-sub", "claim_name": "sub"},
                {"header_name": "x-token-scope", "claim_name": "scope"},
            ],
        }},
        "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "sts"}}],
    });
    // The service behind it tells what it got.
    let seen = ["authorization", "x-token-sub", "x-token-scope"].map(|header| {
        let name = format!("x-seen-{}", header.trim_start_matches("x-token-"));
        json!({"header": {"key": name, "value": format!("%REQ({header})%")}})
    });
    let route = json!({
        "match": {"prefix": "/"},
        "direct_response": {"status": 200},
        "response_headers_to_add": seen,
    });
    let manager = json!({
        "stat_prefix": "service",
        "route_config": {"virtual_hosts": [{"name": "service", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            typed("envoy.filters.http.jwt_authn", "filters.http.jwt_authn.v3.JwtAuthentication", authn),
            typed("envoy.filters.http.router", "filters.http.router.v3.Router", json!({})),
        ],
    });
    let tls = json!({
        "sni": issuer.host,
        "common_tls_context": {"validation_context": {
            "trusted_ca": {"filename": issuer.roots},
            "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": issuer.host}}],
        }},
    });
    let endpoints = issuer.replicas.iter().map(|replica| json!({"endpoint": {"address": at(replica)}}));
    json!({"static_resources": {
        "listeners": [{"address": at(&address), "filter_chains": [{"filters": [typed(
            "envoy.filters.network.http_connection_manager",
            "filters.network.http_connection_manager.v3.HttpConnectionManager",
            manager,
        )]}]}],
        "clusters": [{
            "name": "sts",
            "type": "STATIC",
            "load_assignment": {"cluster_name": "sts", "endpoints": [{"lb_endpoints": endpoints.collect::<Vec<_>>()}]},
            "transport_socket": typed("envoy.transport_sockets.tls", "transport_sockets.tls.v3.UpstreamTlsContext", tls),
        }],
    }})
}

const LOOPBACK: std::net::IpAddr = std::net::IpAddr::V4(Ipv4Addr::LOCALHOST);
