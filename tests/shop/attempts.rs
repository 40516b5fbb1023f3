//! Calls from pods, by `shop request`, which says in one line what came of them.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::support::Story;

/// A pod that calls: one of a Deployment, or one by its name.
#[derive(Clone, Copy, Debug)]
pub struct From {
    pub namespace: &'static str,
    pub pod: &'static str,
}

pub const GATEWAY: From = From { namespace: "storefront", pod: "deployment/gateway" };
pub const INVENTORY: From = From { namespace: "storefront", pod: "deployment/inventory" };
pub const ORDER: From = From { namespace: "storefront", pod: "deployment/order" };
pub const PAYMENT: From = From { namespace: "settlement", pod: "deployment/payment" };
pub const DELIVERY: From = From { namespace: "settlement", pod: "deployment/delivery" };

impl From {
    pub fn name(self) -> &'static str {
        self.pod.strip_prefix("deployment/").unwrap_or(self.pod)
    }

    /// What came of a call. A token, if there is one, goes over standard input, so that no list of processes shows it.
    pub fn request(self, story: &Story, arguments: &[&str], token: Option<&str>) -> String {
        let kubeconfig = story.cluster().kubeconfig().to_owned();
        let mut kubectl = Command::new(ringfence_cluster::tool(ringfence_cluster::Tool::Kubectl).unwrap());
        kubectl.arg("--kubeconfig").arg(kubeconfig).args(["exec", "--stdin", "--namespace", self.namespace, self.pod]);
        kubectl.args(["--", "/shop", "request"]).args(arguments);
        if token.is_some() {
            kubectl.args(["--bearer-file", "-"]);
        }
        let mut process = kubectl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut input = process.stdin.take().unwrap();
        input.write_all(token.unwrap_or_default().as_bytes()).unwrap();
        drop(input);
        let output = process.wait_with_output().unwrap();
        let said = if output.status.success() { output.stdout } else { output.stderr };
        String::from_utf8_lossy(&said).trim_end().to_owned()
    }

    /// Whether packets reach an address: `reached`, `dropped`, or what else happened.
    pub fn reach(self, story: &Story, address: &str) -> String {
        let line = self.request(story, &["--insecure", "--timeout", "1s", &format!("https://{address}")], None);
        if line.starts_with("failed at tcp") {
            if line.contains("nothing came") { "dropped".to_owned() } else { line }
        } else if line.starts_with("answered") || line.starts_with("failed at") {
            "reached".to_owned()
        } else {
            line
        }
    }
}
