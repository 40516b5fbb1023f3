//! Operators as processes of their own, which can be killed as a node's failure kills them.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};

use serde_json::Value;
use tempfile::NamedTempFile;

use super::cluster::TestCluster;
use super::eventually;

/// A process of the operator; dropping it kills it.
pub struct Replica {
    process: Child,
    log: NamedTempFile,
    health: SocketAddr,
}

impl Replica {
    /// Starts one with a Lease of so many seconds.
    pub fn start(cluster: &TestCluster, seconds: u32) -> Self {
        Self::start_as(cluster, cluster.operator_kubeconfig(), seconds)
    }

    /// Starts one that is someone else, as the audit log tells.
    pub fn start_as(cluster: &TestCluster, kubeconfig: &Path, seconds: u32) -> Self {
        let log = NamedTempFile::new().unwrap();
        let lines = File::create(log.path()).unwrap();
        Self::spawn(cluster, kubeconfig, seconds, log, lines)
    }

    /// Starts one whose log lines nobody can take: the disk is full.
    pub fn start_on_full_disk(cluster: &TestCluster, seconds: u32) -> Self {
        let full = File::options().write(true).open("/dev/full").unwrap();
        Self::spawn(cluster, cluster.operator_kubeconfig(), seconds, NamedTempFile::new().unwrap(), full)
    }

    fn spawn(cluster: &TestCluster, kubeconfig: &Path, seconds: u32, log: NamedTempFile, lines: File) -> Self {
        let health = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let process = cluster
            .cluster()
            .command(env!("CARGO_BIN_EXE_ringfence"))
            .args(["operator", "--log-format=json", "--metrics-address=off"])
            .args([format!("--lease-duration={seconds}s"), format!("--health-address={health}")])
            .env("KUBECONFIG", kubeconfig)
            .stderr(lines)
            .spawn()
            .unwrap();
        Self { process, log, health }
    }

    /// Everything that it said, in one text.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap()
    }

    /// By what it is known in the Lease, once it leads.
    pub fn leads_as(&self) -> Option<String> {
        let log = self.log();
        let line = log.lines().find(|line| line.contains("this replica leads"))?;
        let line: Value = serde_json::from_str(line).ok()?;
        Some(line["fields"]["identity"].as_str()?.to_owned())
    }

    /// Waits until it leads.
    pub async fn leads(&self) -> String {
        eventually("the replica leads", async || self.leads_as()).await
    }

    /// Waits until it has seen everything and follows another one.
    pub async fn follows(&self) {
        eventually("the replica is ready", async || (self.asks("/readyz").0 == 200).then_some(())).await;
        eventually("the replica follows", async || self.log().contains("this one follows").then_some(())).await;
    }

    /// Status and text that a probe gets; nothing while nobody listens.
    pub fn asks(&self, path: &str) -> (u16, String) {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(self.health)?;
            stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = ask().unwrap_or_default();
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
        (status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
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
