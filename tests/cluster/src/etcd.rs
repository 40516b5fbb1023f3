//! etcd alone, as a store of its own: one member or several, TLS on the loopback address, no Kubernetes.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;

use crate::cache::tool;
use crate::certs::{Authority, Credential};
use crate::layout::Layout;
use crate::ports;
use crate::process::{Process, wait_until};
use crate::servers::Tool;
use crate::supervisor::Supervisor;

/// The name that all members have in their certificates.
const MEMBER_NAME: &str = "token-store.store.svc";

/// Generous, since a cluster may start on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Running members. They end when this is dropped, or when the process that holds it ends in whatever way.
pub struct Etcd {
    members: Vec<Member>,
    program: PathBuf,
    authority: Authority,
    supervisor: Supervisor,
    layout: Layout,
}

struct Member {
    name: String,
    client_port: u16,
    peer_port: u16,
    /// Absent while it is stopped.
    process: Option<Process>,
}

impl fmt::Debug for Etcd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Etcd").field("folder", &self.layout.folder()).finish_non_exhaustive()
    }
}

impl Etcd {
    /// Starts so many members and returns when each takes connections. Blocks.
    pub fn start(members: usize) -> Result<Self> {
        let program = tool(Tool::Etcd)?;
        let layout = Layout::create(None)?;
        let supervisor = Supervisor::start(&layout)?;
        let authority = Authority::create(&layout.pki())?;
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let names = [loopback.to_string(), MEMBER_NAME.to_owned()];
        authority.service("token-store", &names)?.write(&layout.pki(), "member")?;
        let member = |index| {
            let (client_port, peer_port) = (ports::reserve(loopback)?, ports::reserve(loopback)?);
            Ok(Member { name: format!("member-{index}"), client_port, peer_port, process: None })
        };
        let members: Vec<_> = (0..members).map(member).collect::<Result<_>>()?;
        let mut etcd = Self { members, program, authority, supervisor, layout };
        // All of them before any is waited for: they answer when most of them are there.
        for index in 0..etcd.members.len() {
            etcd.spawn(index)?;
        }
        for index in 0..etcd.members.len() {
            etcd.wait(index)?;
        }
        Ok(etcd)
    }

    /// The members' URLs for clients, in their order.
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(|member| format!("https://127.0.0.1:{}", member.client_port)).collect()
    }

    /// The certificate of the authority that signed the members', in PEM.
    pub fn authority(&self) -> &str {
        self.authority.certificate()
    }

    /// Process ids of the members that run.
    pub fn processes(&self) -> Vec<u32> {
        self.members.iter().filter_map(|member| member.process.as_ref()).map(Process::id).collect()
    }

    /// A client that the members let in.
    pub fn client(&self) -> Result<Credential> {
        self.authority.service("token-service", &["token-service.store.svc".to_owned()])
    }

    /// A service with these names that the members let in, and that shows a certificate of their authority itself.
    pub fn service(&self, names: &[String]) -> Result<Credential> {
        self.authority.service("token-service", names)
    }

    /// Ends a member at once, as a crash would; its data stay.
    pub fn stop_member(&mut self, member: usize) -> Result<()> {
        match self.members[member].process.take() {
            Some(mut process) => process.kill(),
            None => Ok(()),
        }
    }

    /// Starts a member that was stopped, with the data that it had.
    pub fn start_member(&mut self, member: usize) -> Result<()> {
        if self.members[member].process.is_some() {
            bail!("{} runs already", self.members[member].name);
        }
        self.spawn(member)?;
        self.wait(member)
    }

    /// Stops a member in its tracks, or lets it go on: it takes connections, and says nothing.
    pub fn pause_member(&self, member: usize, pause: bool) -> Result<()> {
        let Member { process, name, .. } = &self.members[member];
        let process = process.as_ref().with_context(|| format!("{name} does not run"))?;
        process.signal(if pause { Signal::STOP } else { Signal::CONT })
    }

    fn spawn(&mut self, index: usize) -> Result<()> {
        let peer_url = |member: &Member| format!("https://127.0.0.1:{}", member.peer_port);
        let cluster: Vec<_> =
            self.members.iter().map(|member| format!("{}={}", member.name, peer_url(member))).collect();
        let member = &self.members[index];
        let client_url = format!("https://127.0.0.1:{}", member.client_port);
        let pki = |name: &str| self.layout.pki().join(name).display().to_string();
        let (certificate, key, authority) = (pki("member.crt"), pki("member.key"), pki("ca.crt"));
        let mut command = self.supervisor.command(&self.program);
        command.args([
            format!("--name={}", member.name),
            format!("--data-dir={}", self.layout.folder().join(&member.name).display()),
            format!("--listen-client-urls={client_url}"),
            format!("--advertise-client-urls={client_url}"),
            format!("--listen-peer-urls={}", peer_url(member)),
            format!("--initial-advertise-peer-urls={}", peer_url(member)),
            format!("--initial-cluster={}", cluster.join(",")),
            format!("--cert-file={certificate}"),
            format!("--key-file={key}"),
            format!("--trusted-ca-file={authority}"),
            "--client-cert-auth".to_owned(),
            format!("--peer-cert-file={certificate}"),
            format!("--peer-key-file={key}"),
            format!("--peer-trusted-ca-file={authority}"),
            "--peer-client-cert-auth".to_owned(),
            format!("--peer-cert-allowed-hostname={MEMBER_NAME}"),
            "--peer-skip-client-san-verification".to_owned(),
            "--unsafe-no-fsync".to_owned(),
            "--log-level=warn".to_owned(),
        ]);
        let process = Process::start(&member.name, command, &self.layout.logs())?;
        self.members[index].process = Some(process);
        Ok(())
    }

    fn wait(&mut self, index: usize) -> Result<()> {
        let Member { process, name, client_port, .. } = &mut self.members[index];
        let process = process.as_mut().with_context(|| format!("{name} does not run"))?;
        let what = format!("listening of {name}");
        // It listens when it has found the others, not before.
        wait_until(process, &what, START_LIMIT, || Ok(TcpStream::connect(("127.0.0.1", *client_port)).is_ok()))
    }
}
