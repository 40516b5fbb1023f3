//! Which programs a cluster is made of, and how each is built from its public Go module.

use clap::ValueEnum;

/// A program that the launcher builds from source, once, into the user's cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum Tool {
    Etcd,
    /// Takes a snapshot of a running etcd.
    Etcdctl,
    /// Makes a data folder of a snapshot.
    Etcdutl,
    KubeApiserver,
    KubeControllerManager,
    KubeScheduler,
    Kubectl,
    Kubelet,
    Containerd,
    ContainerdShimRuncV2,
    Ctr,
    CiliumAgent,
    CiliumCni,
    CiliumDbg,
    /// Asks Cilium's agent which flows it saw.
    Hubble,
    Coredns,
    /// Our own: what the pods of a node test run.
    Netcheck,
    Helm,
    /// Scrapes the operator, and evaluates the chart's rules and dashboard.
    Prometheus,
    /// Checks rules without a server.
    Promtool,
    /// Our own build of the OpenTelemetry Collector: it writes the traces that it is sent as lines of JSON.
    Otelcol,
    /// Judges NetworkPolicies by itself, without a cluster.
    Netpolicy,
    /// Another, independent judge of NetworkPolicies.
    Cyclonus,
}

/// How one program is built.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recipe {
    pub(crate) binary: &'static str,
    /// The folder below `servers/` with the Go module that pins every version.
    pub(crate) module: &'static str,
    pub(crate) package: &'static str,
    pub(crate) linker_flags: &'static str,
    /// Build tags.
    pub(crate) tags: &'static str,
}

impl Tool {
    /// What a cluster without nodes needs.
    pub const CONTROL_PLANE: [Self; 4] = [Self::Etcd, Self::KubeApiserver, Self::KubeControllerManager, Self::Kubectl];

    /// What a node needs besides.
    pub(crate) const NODE: [Self; 8] = [
        Self::Containerd,
        Self::ContainerdShimRuncV2,
        Self::Ctr,
        Self::Kubelet,
        Self::CiliumAgent,
        Self::CiliumCni,
        Self::Coredns,
        Self::Netcheck,
    ];

    /// The file name of the program.
    pub fn name(self) -> &'static str {
        self.recipe().binary
    }

    pub(crate) fn recipe(self) -> Recipe {
        let (binary, module, package) = match self {
            Self::Etcd => ("etcd", "etcd", "go.etcd.io/etcd/server/v3"),
            Self::Etcdctl => ("etcdctl", "etcd", "go.etcd.io/etcd/etcdctl/v3"),
            Self::Etcdutl => ("etcdutl", "etcd", "go.etcd.io/etcd/etcdutl/v3"),
            Self::KubeApiserver => ("kube-apiserver", "kubernetes", "k8s.io/kubernetes/cmd/kube-apiserver"),
            Self::KubeControllerManager => {
                ("kube-controller-manager", "kubernetes", "k8s.io/kubernetes/cmd/kube-controller-manager")
            }
            Self::KubeScheduler => ("kube-scheduler", "kubernetes", "k8s.io/kubernetes/cmd/kube-scheduler"),
            Self::Kubectl => ("kubectl", "kubernetes", "k8s.io/kubernetes/cmd/kubectl"),
            Self::Kubelet => ("kubelet", "kubelet", "k8s.io/kubernetes/cmd/kubelet"),
            Self::Containerd => ("containerd", "containerd", "github.com/containerd/containerd/v2/cmd/containerd"),
            Self::ContainerdShimRuncV2 => (
                "containerd-shim-runc-v2",
                "containerd",
                "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
            ),
            Self::Ctr => ("ctr", "containerd", "github.com/containerd/containerd/v2/cmd/ctr"),
            Self::CiliumAgent => ("cilium-agent", "cilium", "github.com/cilium/cilium/daemon"),
            Self::CiliumCni => ("cilium-cni", "cilium", "github.com/cilium/cilium/plugins/cilium-cni"),
            Self::CiliumDbg => ("cilium-dbg", "cilium", "github.com/cilium/cilium/cilium-dbg"),
            Self::Hubble => ("hubble", "cilium", "github.com/cilium/cilium/hubble"),
            Self::Coredns => ("coredns", "coredns", "github.com/coredns/coredns"),
            Self::Netcheck => ("netcheck", "netcheck", "."),
            Self::Helm => ("helm", "helm", "helm.sh/helm/v4/cmd/helm"),
            Self::Prometheus => ("prometheus", "prometheus", "github.com/prometheus/prometheus/cmd/prometheus"),
            Self::Promtool => ("promtool", "prometheus", "github.com/prometheus/prometheus/cmd/promtool"),
            Self::Otelcol => ("otelcol", "otelcol", "."),
            Self::Netpolicy => ("netpolicy", "netpolicy", "github.com/np-guard/netpol-analyzer/cmd/netpolicy"),
            Self::Cyclonus => ("cyclonus", "cyclonus", "github.com/mattfenwick/cyclonus/cmd/cyclonus"),
        };
        let linker_flags = match module {
            "kubernetes" | "kubelet" => KUBERNETES_VERSION,
            _ => STRIPPED,
        };
        // Nobody looks at its pages, and a test names what is to be scraped: neither those nor the clouds' discovery.
        let tags = if module == "prometheus" { "remove_all_sd" } else { "" };
        Recipe { binary, module, package, linker_flags, tags }
    }
}

const STRIPPED: &str = "-s -w";

/// Without these a client that asks for the server's version gets one that it can't parse.
const KUBERNETES_VERSION: &str = "-s -w \
    -X k8s.io/component-base/version.gitVersion=v1.37.2 \
    -X k8s.io/component-base/version.gitMajor=1 \
    -X k8s.io/component-base/version.gitMinor=37 \
    -X k8s.io/client-go/pkg/version.gitVersion=v1.37.2 \
    -X k8s.io/client-go/pkg/version.gitMajor=1 \
    -X k8s.io/client-go/pkg/version.gitMinor=37";
