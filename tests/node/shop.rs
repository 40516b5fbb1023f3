//! The example shop, packet by packet: exactly the declared calls get through.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::thread;

use serde_json::{Value, json};

use crate::support::{Caller, Observation, Story, Target, come_to, pod, without_interruption};

/// Who may call (rows) whom (columns): `x` gets through, `.` does not, `-` is not asked. Beside the five services there
/// are `stray`, a pod without an identity among them; `stranger`, a pod elsewhere; `copy`, elsewhere too, which has the
/// labels and the account's name of `order`; and `outside`, which is no pod. `api` is the API server.
const CALLS: &str = "
              gateway  inventory  order  payment  delivery  api  outside
    gateway      -         x        x       .        .       .      .
    inventory    .         -        .       .        .       .      .
    order        .         x        -       x        x       .      .
    payment      .         .        .       -        .       .      .
    delivery     .         .        .       .        -       .      .
    stray        .         .        .       .        .       .      .
    stranger     x         .        .       .        .       x      x
    copy         x         .        .       .        .       x      x
    outside      x         .        .       .        .       -      -
";

/// The columns that are services, and their namespaces.
const SERVICES: [(&str, &str); 5] = [
    ("gateway", "storefront"),
    ("inventory", "storefront"),
    ("order", "storefront"),
    ("payment", "settlement"),
    ("delivery", "settlement"),
];

#[test]
fn exactly_the_declared_calls_get_through() {
    let Some(story) = Story::begin("shop") else { return };
    let outside = listen_outside(&story);

    // First nothing is fenced, so every listener is seen to answer everyone.
    story.apply_file("examples/shop/policies/1-namespaces.yaml");
    story.apply(&domains_that_only_report());
    story.apply_file("examples/shop/policies/3-storefront.yaml");
    story.apply_file("examples/shop/policies/4-settlement.yaml");
    start_pods(&story);
    for namespace in ["storefront", "settlement"] {
        story.all_ready("serviceidentities.ringfence.dev", namespace);
        assert_eq!(story.kubectl(&format!("get networkpolicies --output=name --namespace={namespace}")), "");
    }
    let callers = callers(&story, outside);
    come_to(&story, "everything is open", &callers, &expected(&callers, |_, _| true));

    // Then the fence goes up around running pods, and those that call what they may call notice nothing.
    let table = table();
    let fenced = |callers: &[_]| {
        expected(callers, |caller: &str, target: &str| match target.split_once(' ') {
            Some((_, "elsewhere")) => false,
            Some((callee, _)) => table[&(caller.to_owned(), callee.to_owned())] == "x",
            None => table[&(caller.to_owned(), target.to_owned())] == "x",
        })
    };
    without_interruption(&story, &permitted(&callers, &table), || {
        story.apply_file("examples/shop/policies/2-trust-domains.yaml");
        come_to(&story, "exactly the declared calls get through", &callers, &fenced(&callers));
    });
    for namespace in ["storefront", "settlement"] {
        story.all_ready("accesspolicies.ringfence.dev", namespace);
    }

    // Pods that come later get ready, because the kubelet's probes reach them, and are fenced in the same way.
    for namespace in ["storefront", "settlement"] {
        story.kubectl(&format!("delete pods --all --namespace={namespace}"));
    }
    start_pods(&story);
    let callers = self::callers(&story, outside);
    come_to(&story, "the same goes for pods that come later", &callers, &fenced(&callers));

    // Every name resolves, also those that may not be called.
    for (name, namespace) in SERVICES {
        let names: Vec<_> = SERVICES.map(|(name, namespace)| format!("{name}.{namespace}.svc")).into();
        let resolved =
            story.kubectl(&format!("exec --namespace={namespace} {name} -- /netcheck resolve {}", names.join(" ")));
        assert!(resolved.lines().all(|line| line.contains(".svc 10.96.")), "{resolved}");
    }

    // And the fence goes down again.
    story.apply(&domains_that_only_report());
    come_to(&story, "everything is open again", &callers, &expected(&callers, |_, _| true));
    story.assert_rights_suffice();
}

/// What platform teams declare, but with `enforcement: Audit`.
fn domains_that_only_report() -> Vec<Value> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/shop/policies/2-trust-domains.yaml");
    let mut domains: Vec<Value> = serde_saphyr::from_multiple(&fs::read_to_string(file).unwrap()).unwrap();
    for domain in &mut domains {
        domain["spec"]["enforcement"] = json!("Audit");
    }
    domains
}

fn start_pods(story: &Story) {
    story.apply_file("examples/shop/stand-ins.yaml");
    let account =
        json!({"metadata": {"name": "order", "namespace": "strangers"}, "apiVersion": "v1", "kind": "ServiceAccount"});
    story.apply(&[account, pod("strangers", "copy", "order", "order"), pod("storefront", "stray", "stray", "default")]);
    for namespace in ["storefront", "settlement", "strangers"] {
        story.all_ready("pods", namespace);
    }
}

/// Everyone who calls, with all that they call.
fn callers(story: &Story, outside: SocketAddr) -> Vec<(Caller, Vec<Target>)> {
    let target = |label: String, address: String, answers: Option<&str>| Target {
        label,
        address,
        answers: answers.map(str::to_owned),
    };
    let mut targets = Vec::new();
    for (name, namespace) in SERVICES {
        let pod = story.get(&format!("pod {name} --namespace={namespace}"));
        let address = pod["status"]["podIP"].as_str().unwrap();
        targets.push(target(format!("{name} by name"), format!("{name}.{namespace}.svc:443"), Some(name)));
        targets.push(target(format!("{name} by address"), format!("{address}:8443"), Some(name)));
        targets.push(target(format!("{name} elsewhere"), format!("{address}:9443"), Some(name)));
    }
    targets.push(target("api".to_owned(), "kubernetes.default.svc:443".to_owned(), None));
    targets.push(target("outside".to_owned(), outside.to_string(), Some("outside")));
    let mut callers: Vec<_> = SERVICES.iter().map(|(name, namespace)| Caller::pod(namespace, name)).collect();
    callers.extend([
        Caller::pod("storefront", "stray"),
        Caller::pod("strangers", "stranger"),
        Caller::pod("strangers", "copy"),
        Caller::Outside,
    ]);
    let asked = |caller: &Caller| {
        let targets = targets.iter().filter(|target| match caller {
            // Who is not in the cluster knows no names in it.
            Caller::Outside => !target.label.ends_with("by name") && target.label.contains(' '),
            Caller::Pod { name, .. } => !target.label.starts_with(&format!("{name} ")),
        });
        targets.cloned().collect()
    };
    callers.into_iter().map(|caller| (caller.clone(), asked(&caller))).collect()
}

fn expected(callers: &[(Caller, Vec<Target>)], open: impl Fn(&str, &str) -> bool) -> Observation {
    let attempts = callers.iter().flat_map(|(caller, targets)| targets.iter().map(|target| (caller.name(), target)));
    let outcome = |caller: &str, target: &Target| if open(caller, &target.label) { "open" } else { "dropped" };
    attempts
        .map(|(caller, target)| ((caller.to_owned(), target.label.clone()), outcome(caller, target).to_owned()))
        .collect()
}

/// The calls among the five services that get through. By address: a lost datagram of a name server is nobody's fence.
fn permitted(callers: &[(Caller, Vec<Target>)], table: &Table) -> Vec<(Caller, Target)> {
    let calls = callers.iter().flat_map(|(caller, targets)| targets.iter().map(move |target| (caller, target)));
    let permitted = calls.filter(|(caller, target)| {
        let callee = target.label.strip_suffix(" by address").unwrap_or_default();
        let service = SERVICES.iter().any(|(name, _)| *name == caller.name());
        service && table.get(&(caller.name().to_owned(), callee.to_owned())) == Some(&"x")
    });
    permitted.map(|(caller, target)| (caller.clone(), target.clone())).collect()
}

/// The table's cells, by row and column.
type Table = BTreeMap<(String, String), &'static str>;

fn table() -> Table {
    let mut lines = CALLS.lines().filter(|line| !line.trim().is_empty());
    let columns: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    let mut cells = BTreeMap::new();
    for line in lines {
        let row: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(row.len(), columns.len() + 1, "{line}");
        cells.extend(
            columns.iter().zip(&row[1..]).map(|(column, cell)| ((row[0].to_owned(), (*column).to_owned()), *cell)),
        );
    }
    cells
}

/// A server outside of the cluster, which says so.
fn listen_outside(story: &Story) -> SocketAddr {
    let listener = TcpListener::bind((story.cluster().node().unwrap().outside_address(), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // Callers come and go as they like, and a fence may go up between a connection and what is said on it.
            thread::spawn(move || {
                let _ = stream.read(&mut [0; 1024]).and_then(|_| stream.write_all(b"HTTP/1.0 200 OK\r\n\r\noutside\n"));
            });
        }
    });
    address
}
