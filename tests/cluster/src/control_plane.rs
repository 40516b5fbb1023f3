//! etcd, the API server, the controller manager and the scheduler of one cluster.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;

use crate::cache::tool;
use crate::certs::{Authority, Credential, create_signing_key};
use crate::kubeconfig::{self, Kubectl};
use crate::layout::Layout;
use crate::ports;
use crate::process::{Process, wait_until};
use crate::servers::Tool;
use crate::supervisor::Supervisor;

/// A server of the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    Etcd,
    ApiServer,
    ControllerManager,
    /// Runs in a cluster whose pods can have addresses, which is one that can have nodes.
    Scheduler,
}

/// What the control plane is to be like.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Where the API server listens.
    pub(crate) bind_address: IpAddr,
    /// Which address of the API server the Service `kubernetes` leads to.
    pub(crate) advertise_address: IpAddr,
    /// More names and addresses for the API server's certificate.
    pub(crate) extra_names: Vec<String>,
    /// The range that nodes get their pods' addresses from, unless they bring their own.
    pub(crate) pod_cidr: Option<String>,
    /// Whether pods are given to nodes.
    pub(crate) scheduler: bool,
    pub(crate) extra_arguments: Vec<(Server, String)>,
}

/// The Services' addresses, the first of which is the API server's.
pub(crate) const SERVICE_CIDR: &str = "10.96.0.0/16";
const API_SERVICE_ADDRESS: &str = "10.96.0.1";

#[derive(Debug)]
pub(crate) struct ControlPlane {
    etcd: Unit,
    api_server: Unit,
    controller_manager: Unit,
    scheduler: Option<Unit>,
    kubectl: Kubectl,
}

/// A server, how it is started, and its process while it runs.
#[derive(Debug)]
struct Unit {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
    process: Option<Process>,
}

impl ControlPlane {
    /// Starts all of it and returns when it is ready to work.
    pub(crate) fn start(
        supervisor: &Supervisor,
        layout: &Layout,
        authority: &Authority,
        settings: &Settings,
    ) -> Result<Self> {
        let mut etcd = Unit::new(Server::Etcd, etcd_arguments(layout), settings)?;
        etcd.start(supervisor, layout)?;
        write_credentials(layout, authority, settings)?;

        let (mut api_server, address) = start_api_server(supervisor, layout, settings)?;
        let admin = authority.client("admin", &["system:masters"])?;
        let manager = authority.client("system:kube-controller-manager", &[])?;
        let scheduler = authority.client("system:kube-scheduler", &[])?;
        let write = |path: &Path, credential: &Credential| {
            kubeconfig::write(path, &format!("https://{address}"), authority, credential)
        };
        write(&layout.kubeconfig(), &admin)?;
        write(&manager_kubeconfig(layout), &manager)?;
        write(&scheduler_kubeconfig(layout), &scheduler)?;

        let kubectl = Kubectl::new(&layout.kubeconfig())?;
        api_server.wait_until("the API server's readiness", || Ok(kubectl.is_ready()))?;

        // Not before: it asks once a second whether it may begin.
        let arguments = controller_manager_arguments(layout, settings);
        let mut controller_manager = Unit::new(Server::ControllerManager, arguments, settings)?;
        controller_manager.start(supervisor, layout)?;
        let mut scheduler = None;
        if settings.scheduler {
            let unit = Unit::new(Server::Scheduler, scheduler_arguments(layout), settings)?;
            scheduler.insert(unit).start(supervisor, layout)?;
        }

        // The controller manager is at work when the first namespace has what every pod needs. One client that waits
        // takes less from two busy servers than many that ask.
        controller_manager.wait_until("the default service account", || {
            Ok(kubectl.succeeds(&[
                "wait",
                "--for=create",
                "--namespace=default",
                "--timeout=5s",
                "serviceaccount/default",
                "configmap/kube-root-ca.crt",
            ]))
        })?;
        Ok(Self { etcd, api_server, controller_manager, scheduler, kubectl })
    }

    /// Starts a server that was stopped, with the same arguments; waits until the API works if its server runs.
    pub(crate) fn start_server(&mut self, server: Server, supervisor: &Supervisor, layout: &Layout) -> Result<()> {
        self.unit(server)?.start(supervisor, layout)?;
        if self.api_server.is_running() {
            let kubectl = &self.kubectl;
            let ready = || Ok(kubectl.is_ready());
            self.api_server.wait_until("the API server's readiness", ready)?;
        }
        Ok(())
    }

    /// Ends a server at once, as a crash would.
    pub(crate) fn stop_server(&mut self, server: Server) -> Result<()> {
        match self.unit(server)?.process.take() {
            Some(mut process) => process.kill(),
            None => Ok(()),
        }
    }

    pub(crate) fn signal_server(&mut self, server: Server, signal: Signal) -> Result<()> {
        let unit = self.unit(server)?;
        match &unit.process {
            Some(process) => process.signal(signal),
            None => bail!("{} does not run", unit.name),
        }
    }

    fn unit(&mut self, server: Server) -> Result<&mut Unit> {
        match server {
            Server::Etcd => Ok(&mut self.etcd),
            Server::ApiServer => Ok(&mut self.api_server),
            Server::ControllerManager => Ok(&mut self.controller_manager),
            Server::Scheduler => self.scheduler.as_mut().context("a cluster without nodes has no scheduler"),
        }
    }
}

impl Unit {
    fn new(server: Server, mut arguments: Vec<String>, settings: &Settings) -> Result<Self> {
        let program = match server {
            Server::Etcd => Tool::Etcd,
            Server::ApiServer => Tool::KubeApiserver,
            Server::ControllerManager => Tool::KubeControllerManager,
            Server::Scheduler => Tool::KubeScheduler,
        };
        let extra = settings.extra_arguments.iter();
        arguments.extend(extra.filter(|(of, _)| *of == server).map(|(_, argument)| argument.clone()));
        Ok(Self { name: program.name(), program: tool(program)?, arguments, process: None })
    }

    fn start(&mut self, supervisor: &Supervisor, layout: &Layout) -> Result<()> {
        if self.is_running() {
            bail!("{} runs already", self.name);
        }
        let mut command = supervisor.command(&self.program);
        command.args(&self.arguments);
        self.process = Some(Process::start(self.name, command, &layout.logs())?);
        Ok(())
    }

    fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| !process.has_ended())
    }

    fn wait_until(&mut self, what: &str, condition: impl FnMut() -> Result<bool>) -> Result<()> {
        let process = self.process.as_mut().with_context(|| format!("{} does not run", self.name))?;
        wait_until(process, what, START_LIMIT, condition)
    }
}

/// Starts the API server on a free port; on another one if somebody was faster to take it.
fn start_api_server(supervisor: &Supervisor, layout: &Layout, settings: &Settings) -> Result<(Unit, SocketAddr)> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let address = SocketAddr::new(settings.bind_address, ports::reserve(settings.bind_address)?);
        let arguments = api_server_arguments(layout, settings, address);
        let mut unit = Unit::new(Server::ApiServer, arguments, settings)?;
        unit.start(supervisor, layout)?;
        let listening = unit.wait_until("listening of the API server", || Ok(TcpStream::connect(address).is_ok()));
        match listening {
            Ok(()) => return Ok((unit, address)),
            Err(error) if attempts < PORT_ATTEMPTS && is_port_taken(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

fn is_port_taken(error: &anyhow::Error) -> bool {
    format!("{error:#}").contains("address already in use")
}

fn write_credentials(layout: &Layout, authority: &Authority, settings: &Settings) -> Result<()> {
    let pki = layout.pki();
    create_signing_key(&pki, "service-accounts")?;
    let mut names: Vec<String> = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "localhost",
        "127.0.0.1",
        API_SERVICE_ADDRESS,
    ]
    .map(str::to_owned)
    .to_vec();
    names.push(settings.bind_address.to_string());
    names.push(settings.advertise_address.to_string());
    names.extend(settings.extra_names.iter().cloned());
    authority.server("kube-apiserver", &names)?.write(&pki, "api-server")?;
    authority.client("kube-apiserver-kubelet-client", &["system:masters"])?.write(&pki, "api-server-kubelet-client")?;
    let policy = audit_policy(layout);
    std::fs::write(&policy, include_str!("audit-policy.yaml")).with_context(|| format!("write {}", policy.display()))
}

fn etcd_arguments(layout: &Layout) -> Vec<String> {
    // Sockets in the cluster's folder, which is the working directory, need no port, and nobody else can reach them.
    vec![
        format!("--data-dir={}", layout.etcd_data().display()),
        format!("--listen-client-urls={ETCD_ENDPOINT}"),
        format!("--advertise-client-urls={ETCD_ENDPOINT}"),
        format!("--listen-peer-urls={ETCD_PEER}"),
        format!("--initial-advertise-peer-urls={ETCD_PEER}"),
        format!("--initial-cluster=default={ETCD_PEER}"),
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
    ]
}

fn api_server_arguments(layout: &Layout, settings: &Settings, address: SocketAddr) -> Vec<String> {
    let pki = |name: &str| layout.pki().join(name).display().to_string();
    vec![
        format!("--etcd-servers={ETCD_ENDPOINT}"),
        format!("--bind-address={}", address.ip()),
        format!("--secure-port={}", address.port()),
        format!("--advertise-address={}", settings.advertise_address),
        format!("--service-cluster-ip-range={SERVICE_CIDR}"),
        format!("--client-ca-file={}", pki("ca.crt")),
        format!("--tls-cert-file={}", pki("api-server.crt")),
        format!("--tls-private-key-file={}", pki("api-server.key")),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        "--allow-privileged=true".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
        // By default it names the advertised address, which only pods can reach, if anyone.
        format!("--service-account-jwks-uri=https://{address}/openid/v1/jwks"),
        format!("--service-account-key-file={}", pki("service-accounts.pub")),
        format!("--service-account-signing-key-file={}", pki("service-accounts.key")),
        format!("--kubelet-client-certificate={}", pki("api-server-kubelet-client.crt")),
        format!("--kubelet-client-key={}", pki("api-server-kubelet-client.key")),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        format!("--audit-policy-file={}", audit_policy(layout).display()),
        format!("--audit-log-path={}", layout.audit_log().display()),
        // Tests read one file from its beginning.
        "--audit-log-maxsize=0".to_owned(),
        "--profiling=false".to_owned(),
    ]
}

fn controller_manager_arguments(layout: &Layout, settings: &Settings) -> Vec<String> {
    let pki = |name: &str| layout.pki().join(name).display().to_string();
    let mut arguments = vec![
        format!("--kubeconfig={}", manager_kubeconfig(layout).display()),
        // Each controller acts under its own name, as in a real cluster, so that RBAC and the audit log tell them apart.
        "--use-service-account-credentials=true".to_owned(),
        format!("--root-ca-file={}", pki("ca.crt")),
        format!("--service-account-private-key-file={}", pki("service-accounts.key")),
        format!("--cluster-signing-cert-file={}", pki("ca.crt")),
        format!("--cluster-signing-key-file={}", pki("ca.key")),
        format!("--service-cluster-ip-range={SERVICE_CIDR}"),
        "--leader-elect=false".to_owned(),
        // It serves nothing that anybody needs here.
        "--secure-port=0".to_owned(),
        "--profiling=false".to_owned(),
        "--kube-api-qps=500".to_owned(),
        "--kube-api-burst=1000".to_owned(),
    ];
    if let Some(range) = &settings.pod_cidr {
        arguments.push("--allocate-node-cidrs=true".to_owned());
        arguments.push(format!("--cluster-cidr={range}"));
    }
    arguments
}

fn scheduler_arguments(layout: &Layout) -> Vec<String> {
    vec![
        format!("--kubeconfig={}", scheduler_kubeconfig(layout).display()),
        "--leader-elect=false".to_owned(),
        "--secure-port=0".to_owned(),
        "--profiling=false".to_owned(),
        "--kube-api-qps=500".to_owned(),
        "--kube-api-burst=1000".to_owned(),
    ]
}

fn manager_kubeconfig(layout: &Layout) -> PathBuf {
    layout.pki().join("controller-manager.kubeconfig")
}

fn scheduler_kubeconfig(layout: &Layout) -> PathBuf {
    layout.pki().join("scheduler.kubeconfig")
}

fn audit_policy(layout: &Layout) -> PathBuf {
    layout.folder().join("audit-policy.yaml")
}

const ETCD_ENDPOINT: &str = "unix://etcd.sock";
const ETCD_PEER: &str = "unix://etcd-peer.sock";
const PORT_ATTEMPTS: usize = 5;
/// Generous, since several clusters may start on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(120);
