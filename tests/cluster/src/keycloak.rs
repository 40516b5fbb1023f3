//! Keycloak as it is distributed, beside the cluster: an issuer of tokens that is not Ringfence's, and not in a pod.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use aws_lc_rs::digest::{Context as Digest, SHA256};

use crate::cache::{finish, hex, once, root};
use crate::cluster::Cluster;
use crate::process::{Process, wait_until};

/// The name by which it is called, in the cluster and outside.
pub const KEYCLOAK_HOST: &str = "keycloak.login.svc";
/// Its port.
pub const KEYCLOAK_PORT: u16 = 8443;

const ARTIFACT: &str = "org.keycloak:keycloak-quarkus-dist:26.4.0:tar.gz";
const FILE: &str = "keycloak-quarkus-dist-26.4.0.tar.gz";
const FOLDER: &str = "keycloak-26.4.0";
const CHECKSUM: &str = "9fe5f9213ecf83f24b53b27409f3e0f20e10edce36aaa0828778a57c80f07a87";

/// Generous, since it fills a database first.
const START_LIMIT: Duration = Duration::from_secs(180);

/// Keycloak with one realm, in the cluster's folder. Its database is in its memory.
#[derive(Debug)]
pub struct Keycloak {
    home: PathBuf,
}

impl Keycloak {
    /// Fetches and builds it where it is not in the user's cache yet, and copies it to the cluster's folder. `${NAME}` in the
    /// realm (a JSON file of Keycloak's) stands for the environment variable of that name at the start.
    pub fn prepare(cluster: &Cluster, realm: &Path) -> Result<Self> {
        let home = cluster.dir().join(FOLDER);
        finish(Command::new("cp").arg("-r").arg(built()?).arg(&home))?;
        let import = home.join("data/import");
        fs::create_dir_all(&import).with_context(|| format!("create {}", import.display()))?;
        fs::copy(realm, import.join("realm.json")).with_context(|| format!("copy {}", realm.display()))?;
        Ok(Self { home })
    }

    /// The script that starts what was built.
    pub fn program(&self) -> PathBuf {
        self.home.join("bin/kc.sh")
    }

    /// What it is started with: to listen on an address alone, under the name in `url`, with a certificate and its key.
    pub fn arguments(&self, listen: SocketAddr, url: &str, certificate: &Path, key: &Path) -> Vec<String> {
        let always = ["start", "--optimized", "--import-realm", "--http-enabled=false"].map(str::to_owned);
        let own = [
            format!("--http-host={}", listen.ip()),
            format!("--https-port={}", listen.port()),
            format!("--hostname={url}"),
            format!("--https-certificate-file={}", certificate.display()),
            format!("--https-certificate-key-file={}", key.display()),
        ];
        always.into_iter().chain(own).collect()
    }

    /// Starts it on an address as [`KEYCLOAK_HOST`], with a certificate of the cluster's authority, and returns when it takes
    /// connections. It ends with the cluster.
    pub fn start(
        cluster: &Cluster,
        realm: &Path,
        address: IpAddr,
        environment: &BTreeMap<String, String>,
    ) -> Result<()> {
        let listen = SocketAddr::new(address, KEYCLOAK_PORT);
        if TcpStream::connect(listen).is_ok() {
            bail!("something listens on {listen} already: Keycloak is started once, and ends with the cluster");
        }
        let keycloak = Self::prepare(cluster, realm)?;
        let (certificate, key) = cluster.server_certificate("keycloak", &[KEYCLOAK_HOST.to_owned()])?;
        let url = format!("https://{KEYCLOAK_HOST}:{KEYCLOAK_PORT}");
        let mut command = cluster.command(keycloak.program());
        command.args(keycloak.arguments(listen, &url, &certificate, &key)).envs(environment);
        command.env("JAVA_OPTS_KC_HEAP", "-Xms64m -Xmx512m");
        let mut process = Process::start("keycloak", command, &cluster.logs())?;
        let is_there = || Ok(TcpStream::connect(listen).is_ok());
        wait_until(&mut process, &format!("Keycloak's answer on {listen}"), START_LIMIT, is_there)?;
        process.leave_to_cluster();
        Ok(())
    }
}

/// Keycloak as it is after its own build, for a database in its memory. It bears to be moved.
fn built() -> Result<PathBuf> {
    once(&root()?.join("keycloak").join("built").join(CHECKSUM), FOLDER, |output| {
        let folder = output.parent().context("a file of the cache has a folder")?;
        finish(Command::new("tar").arg("-xzf").arg(distribution()?).arg("-C").arg(folder))?;
        finish(Command::new(output.join("bin/kc.sh")).args(["build", "--db=dev-mem"]))
    })
}

/// The distribution in the user's cache, by its content.
fn distribution() -> Result<PathBuf> {
    once(&root()?.join("keycloak").join(CHECKSUM), FILE, |output| {
        let folder = output.parent().context("a file of the cache has a folder")?;
        let mut fetch = Command::new("mvn");
        fetch.args(["--quiet", "--batch-mode", "dependency:copy", &format!("-Dartifact={ARTIFACT}")]);
        finish(fetch.arg(format!("-DoutputDirectory={}", folder.display())))?;
        let mut digest = Digest::new(&SHA256);
        digest.update(&fs::read(output).with_context(|| format!("read {}", output.display()))?);
        if hex(digest) != CHECKSUM {
            bail!("{ARTIFACT} is not what it was");
        }
        Ok(())
    })
}
