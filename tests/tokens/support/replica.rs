//! Processes of the token service.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};

use ringfence_cluster::{Cluster, reserve};
use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::eventually;

/// A process; dropping it kills it.
pub struct Replica {
    process: Child,
    log: NamedTempFile,
    /// Where it answers with TLS.
    pub address: SocketAddr,
    health: SocketAddr,
    metrics: SocketAddr,
}

impl Replica {
    /// Starts one.
    pub fn start(cluster: &Cluster, kubeconfig: &Path, port: u16, arguments: &[String]) -> Self {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let free = || SocketAddr::new(loopback, reserve(loopback).unwrap());
        let (address, health, metrics) = (SocketAddr::new(loopback, port), free(), free());
        let log = NamedTempFile::new().unwrap();
        let process = cluster
            .command(env!("CARGO_BIN_EXE_ringfence"))
            .args(["token-service", "--log-format=json"])
            .args([format!("--address={address}"), format!("--health-address={health}")])
            .arg(format!("--metrics-address={metrics}"))
            .args(arguments)
            .env("KUBECONFIG", kubeconfig)
            .stderr(File::create(log.path()).unwrap())
            .spawn()
            .unwrap();
        Self { process, log, address, health, metrics }
    }

    /// Waits until it is ready.
    pub async fn ready(self) -> Self {
        eventually("the replica is ready", async || (self.probe("/readyz").await?.0 == 200).then_some(())).await;
        self
    }

    /// Everything that it said, in one text.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap()
    }

    /// The fields of the lines that its audit log has about an event, e.g. `issued`.
    pub fn audited(&self, event: &str) -> Vec<Value> {
        let log = self.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let lines = lines.filter(|line| line["target"] == "ringfence::audit" && line["fields"]["event"] == event);
        lines.map(|mut line| line["fields"].take()).collect()
    }

    /// Status and text that a probe gets; nothing while nobody listens.
    pub async fn probe(&self, path: &str) -> Option<(u16, String)> {
        plain(self.health, path).await
    }

    /// The value of a measurement whose line begins so.
    pub async fn measured(&self, beginning: &str) -> Option<f64> {
        let (_, text) = plain(self.metrics, "/metrics").await?;
        let line = text.lines().find(|line| line.starts_with(beginning))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends it a signal, such as `TERM`.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([format!("-{signal}"), self.process.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits until it has ended.
    pub async fn ended(&mut self) -> ExitStatus {
        let process = &mut self.process;
        eventually("the replica ends", async || process.try_wait().unwrap()).await
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        // One that has ended already is just what is wanted.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Status and body of an answer without TLS.
async fn plain(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}
