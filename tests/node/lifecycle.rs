//! The operator's life as Helm sees it: upgraded, taken back, upgraded to something that does not start, uninstalled and
//! installed again. What was declared and delivered stays as it was through all of it, and so do the fences.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Instant;

use ringfence_cluster::{Tool, tool};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    Caller, OPERATOR_NAMESPACE, Observation, Story, Target, come_to, object, pod, service, without_interruption,
};

#[test]
fn nothing_is_lost_or_issued_anew_from_one_release_to_the_next() {
    let Some(story) = Story::begin_alone("lifecycle") else { return };
    let scene = Scene::begin(&story);
    scene.fenced("before");
    story.assert_rights_suffice();
    without_interruption(&story, &scene.permitted(), || {
        scene.goes_on("a bad value", || scene.a_bad_value_changes_nothing());
        scene.goes_on("an upgrade", || scene.upgrade_to_the_next_version());
        scene.goes_on("a rollback", || scene.take_the_upgrade_back());
        scene.goes_on("a failed upgrade", || scene.upgrade_to_what_does_not_start());
        scene.goes_on("an uninstall", || scene.uninstall());
        scene.goes_on("a reinstallation", || scene.install_again());
    });
}

/// The chart as it is, with its version.
const THIS: &str = concat!("ringfence-", env!("CARGO_PKG_VERSION"));

/// A fenced namespace, one that will go, and two that are not fenced.
struct Scene<'a> {
    story: &'a Story,
    inside: String,
    leaving: String,
    elsewhere: String,
    monitoring: String,
    /// What Ringfence wrote before anything happened.
    outputs: BTreeMap<String, String>,
}

impl<'a> Scene<'a> {
    fn begin(story: &'a Story) -> Self {
        let [inside, leaving, elsewhere, monitoring] =
            ["inside", "leaving", "elsewhere", "monitoring"].map(|suffix| story.namespace(suffix));
        let signer = |namespace, name| object("ServiceIdentity", Some(namespace), name, json!({"signingKey": {}}));
        let domain = json!({"namespaces": [inside, leaving], "certificateAuthority": {"selfSigned": {}}});
        story.apply(&[
            object("TrustDomain", None, "lifecycle", domain),
            signer(&inside, "web"),
            signer(&inside, "store"),
            signer(&leaving, "leaver"),
            object(
                "AccessPolicy",
                Some(&inside),
                "store",
                json!({
                    "to": {"identity": "store", "ports": [{"port": "https"}]}, "from": [{"identity": {"name": "web"}}],
                }),
            ),
        ]);
        for name in ["web", "store"] {
            story.apply(&service(&inside, name));
            story.apply(&[pod(&inside, name, name, name)]);
        }
        story.apply(&[
            pod(&elsewhere, "stranger", "stranger", "default"),
            pod(&monitoring, "scraper", "scraper", "default"),
        ]);
        for namespace in [&inside, &elsewhere, &monitoring] {
            story.all_ready("pods", namespace);
        }
        for namespace in [&inside, &leaving] {
            story.all_ready("serviceidentities.ringfence.dev", namespace);
        }
        story.all_ready("accesspolicies.ringfence.dev", &inside);
        let mut scene = Self { story, inside, leaving, elsewhere, monitoring, outputs: BTreeMap::new() };
        scene.outputs = scene.outputs_of_old();
        assert!(scene.outputs.len() > 10, "{:#?}", scene.outputs);
        scene
    }

    fn store(&self) -> Target {
        target("store", format!("store.{}.svc:443", self.inside), Some("store"))
    }

    fn permitted(&self) -> [(Caller, Target); 1] {
        [(Caller::pod(&self.inside, "web"), self.store())]
    }

    fn fenced(&self, what: &str) {
        let callers = [Caller::pod(&self.inside, "web"), Caller::pod(&self.elsewhere, "stranger")];
        let callers = callers.map(|caller| (caller, vec![self.store()]));
        let expected = [(("web", "store"), "open"), (("stranger", "store"), "dropped")];
        come_to(self.story, what, &callers, &observation(&expected));
    }

    /// Does something with the release: what was delivered before stays what it was, and the fence where it was.
    fn goes_on(&self, what: &str, work: impl FnOnce()) {
        let started = Instant::now();
        work();
        assert_eq!(self.outputs_of_old(), self.outputs, "after {what}");
        self.fenced(&format!("after {what}"));
        eprintln!("lifecycle: {what} took {:?}", started.elapsed());
    }

    fn a_bad_value_changes_nothing(&self) {
        let state = || (self.history(), self.deployment()["metadata"]["generation"].clone());
        let before = state();
        let bad = "upgrade ringfence charts/ringfence --set replicaCount=3";
        let refusal = format!("{:#}", self.story.installation.helm(bad).unwrap_err());
        assert!(refusal.contains("additional properties 'replicaCount' not allowed"), "{refusal}");
        assert_eq!(state(), before);
    }

    fn upgrade_to_the_next_version(&self) {
        let (story, next) = (self.story, next_version());
        assert!(!self.next_field_is_served());
        name_the_image_again(story);
        let values = json!({
            "log": {"filter": "info,ringfence=debug"},
            "podAnnotations": {"example.com/stage": "next"},
            "networkPolicy": {
                "enabled": true,
                "apiServerPorts": [443, self.api_server_port()],
                "metricsFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.monitoring}}}],
            },
            "extraObjects": ["{apiVersion: v1, kind: ConfigMap, metadata: {name: lifecycle-{{ .Release.Revision }}}}"],
        });
        let file = next.path().join("next.json");
        fs::write(&file, values.to_string()).unwrap();
        let (chart, values) = (next.path().join("ringfence"), file.display());
        self.helm(&format!("upgrade ringfence {} --values={values} --wait --timeout=2m", chart.display()));

        assert_eq!(self.images(), ["ringfence:next"; 2]);
        let extra = format!("get configmap lifecycle-2 --namespace={OPERATOR_NAMESPACE}");
        story.kubectl(&extra);
        assert!(self.next_field_is_served());
        self.operator_is_fenced();
        self.comes_ready("upgraded");
        assert_eq!(self.history(), [&format!("superseded {THIS}"), "deployed ringfence-9.9.9"]);
    }

    /// The operator answers for health to everyone and with metrics to those who may ask; out it gets to the API server.
    fn operator_is_fenced(&self) {
        let story = self.story;
        let mut probe = pod(OPERATOR_NAMESPACE, "probe", "ringfence", "default");
        probe["spec"]["securityContext"] = json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
        probe["spec"]["containers"][0]["securityContext"] =
            json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
        story.apply(&[probe]);
        story.kubectl(&format!("wait pod/probe --for=condition=Ready --timeout=60s --namespace={OPERATOR_NAMESPACE}"));
        let address = |name: &str, namespace: &str| {
            let pod = story.get(&format!("pod {name} --namespace={namespace}"));
            pod["status"]["podIP"].as_str().unwrap().to_owned()
        };
        let stranger = address("stranger", &self.elsewhere);
        let out = vec![
            target("api", "kubernetes.default.svc:443".to_owned(), None),
            target("stranger", format!("{stranger}:8443"), Some("stranger")),
        ];
        let mut into = self.ports_of_the_leader();
        into.push(out[1].clone());
        let callers = [
            (Caller::pod(OPERATOR_NAMESPACE, "probe"), out),
            (Caller::pod(&self.monitoring, "scraper"), into.clone()),
            (Caller::pod(&self.elsewhere, "stranger"), into[..2].to_vec()),
        ];
        let expected = [
            (("probe", "api"), "open"),
            (("probe", "stranger"), "dropped"),
            (("scraper", "stranger"), "open"),
            (("scraper", "health"), "open"),
            (("scraper", "metrics"), "open"),
            (("stranger", "health"), "open"),
            (("stranger", "metrics"), "dropped"),
        ];
        come_to(story, "the operator is fenced", &callers, &observation(&expected));
        story.kubectl(&format!("delete pod probe --namespace={OPERATOR_NAMESPACE}"));
    }

    fn ports_of_the_leader(&self) -> Vec<Target> {
        let leader = self.story.get(&format!("pod {} --namespace={OPERATOR_NAMESPACE}", self.story.leader()));
        let address = leader["status"]["podIP"].as_str().unwrap();
        [("health", 8081), ("metrics", 9090)]
            .map(|(label, port)| target(label, format!("{address}:{port}"), None))
            .into()
    }

    fn take_the_upgrade_back(&self) {
        let story = self.story;
        self.helm("rollback ringfence --wait --timeout=2m");
        assert_eq!(self.images(), [concat!("ringfence:", env!("CARGO_PKG_VERSION")); 2]);
        let gone = "get networkpolicy/ringfence configmap/lifecycle-2 --ignore-not-found --output=name";
        assert_eq!(story.kubectl(&format!("{gone} --namespace={OPERATOR_NAMESPACE}")), "");
        assert!(!self.next_field_is_served());
        let callers = [(Caller::pod(&self.elsewhere, "stranger"), self.ports_of_the_leader())];
        let expected = [(("stranger", "health"), "open"), (("stranger", "metrics"), "open")];
        come_to(story, "the operator is not fenced any more", &callers, &observation(&expected));
        self.comes_ready("taken-back");
        let (first, third) = (format!("superseded {THIS}"), format!("deployed {THIS}"));
        assert_eq!(self.history(), [&first, "superseded ringfence-9.9.9", &third]);
    }

    fn upgrade_to_what_does_not_start(&self) {
        let story = self.story;
        let led = || (story.leader(), story.lease()["leaseTransitions"].clone());
        let before = led();
        let missing = "--set=image.tag=missing --set=image.pullPolicy=Never --wait --timeout=10s";
        let upgrade = format!("upgrade ringfence charts/ringfence {missing}");
        story.installation.helm(&upgrade).unwrap_err();
        assert_eq!(self.history()[3], format!("failed {THIS}"));
        assert_eq!(self.deployment()["status"]["availableReplicas"], 2);
        self.comes_ready("meanwhile");
        assert_eq!(led(), before, "whoever led goes on");
        self.helm("rollback ringfence --wait --timeout=2m");
        assert_eq!(led(), before, "what never started is all that ends");
        let deployed: Vec<_> = self.history().into_iter().filter(|line| line.starts_with("deployed ")).collect();
        assert_eq!((self.history().len(), deployed.len()), (5, 1));
        story.assert_rights_suffice();
    }

    /// Uninstalls the chart: gone is all that it installed, but the kinds and what is declared.
    fn uninstall(&self) {
        let story = self.story;
        let manifest = tempfile::NamedTempFile::new().unwrap();
        fs::write(&manifest, self.helm("get manifest ringfence")).unwrap();
        let of_the_chart = format!("get --filename={} --ignore-not-found --output=name", manifest.path().display());
        assert!(story.kubectl(&of_the_chart).lines().count() > 10);
        self.helm("uninstall ringfence --wait --cascade=foreground --timeout=2m");
        // Helm may come back while the garbage collector is still at it.
        story
            .kubectl(&format!("wait --for=delete deployment/ringfence --namespace={OPERATOR_NAMESPACE} --timeout=60s"));
        let left = story.kubectl(&of_the_chart);
        let kinds: Vec<&str> = left.lines().collect();
        assert_eq!(kinds.len(), 3, "{left}");
        assert!(kinds.iter().all(|kind| kind.starts_with("customresourcedefinition")), "{left}");

        // With the admission policies gone, this is for the first time allowed; nobody does it.
        story.kubectl(&format!("delete networkpolicy ringfence-web --dry-run=server --namespace={}", self.inside));
        // Nothing waits for an operator that is gone.
        story.kubectl(&format!("delete namespace {} --timeout=60s", self.leaving));
    }

    fn install_again(&self) {
        let story = self.story;
        // What is declared meanwhile waits for the operator. When it is done, the operator has been through everything.
        story.installation.operator_requests();
        story.apply(&[object("ServiceIdentity", Some(&self.inside), "new-late", json!({}))]);
        story.installation.install().unwrap();
        story.all_ready("serviceidentities.ringfence.dev", &self.inside);
        assert_eq!(self.written_for_old(), [""; 0]);
        assert_eq!(self.history(), [format!("deployed {THIS}")]);
    }

    /// Declares one more identity, and waits until the operator that is there has done its part.
    fn comes_ready(&self, name: &str) {
        self.story.apply(&[object("ServiceIdentity", Some(&self.inside), &format!("new-{name}"), json!({}))]);
        self.story.all_ready("serviceidentities.ringfence.dev", &self.inside);
    }

    fn helm(&self, line: &str) -> String {
        self.story.installation.helm(line).unwrap_or_else(|error| panic!("helm {line}: {error:#}"))
    }

    /// Status and chart of each revision, the first one first.
    fn history(&self) -> Vec<String> {
        let history: Vec<Value> = serde_json::from_str(&self.helm("history ringfence --output=json")).unwrap();
        let line = |revision: &Value| format!("{} {}", text(&revision["status"]), text(&revision["chart"]));
        history.iter().map(line).collect()
    }

    fn deployment(&self) -> Value {
        self.story.get(&format!("deployment ringfence --namespace={OPERATOR_NAMESPACE}"))
    }

    /// The images of the operator's pods, those left out that are about to end.
    fn images(&self) -> Vec<String> {
        let pods = self.story.get(&format!("pods --namespace={OPERATOR_NAMESPACE}"));
        let staying =
            pods["items"].as_array().unwrap().iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        staying.map(|pod| text(&pod["spec"]["containers"][0]["image"])).collect()
    }

    /// Whether the API server keeps the field that comes with the next version.
    fn next_field_is_served(&self) -> bool {
        let patch = json!({"spec": {"nextField": "set"}});
        let patch = format!("patch trustdomain lifecycle --type=merge --patch={patch} --dry-run=server --output=json");
        let patched: Value = serde_json::from_str(&self.story.kubectl(&patch)).unwrap();
        patched["spec"]["nextField"] == "set"
    }

    fn api_server_port(&self) -> Value {
        self.story.get("endpointslices kubernetes --namespace=default")["ports"][0]["port"].clone()
    }

    /// What the operator wrote for what was there at the beginning.
    fn written_for_old(&self) -> Vec<String> {
        let requests = self.story.installation.operator_requests();
        let writes = requests.iter().filter(|request| {
            let verb = text(&request["verb"]);
            !["get", "list", "watch"].contains(&verb.as_str())
        });
        let objects = writes.map(|request| &request["objectRef"]).filter(|object| {
            ["secrets", "configmaps", "networkpolicies"].contains(&object["resource"].as_str().unwrap_or_default())
                && !object["name"].as_str().unwrap_or_default().contains("new-")
        });
        objects.map(Value::to_string).collect()
    }

    /// All that Ringfence wrote, anywhere, by name, with its version: but for what came later, and where everything goes.
    /// A version changes with any write, so that keys and serial numbers are the same where it is.
    fn outputs_of_old(&self) -> BTreeMap<String, String> {
        let selected = "--all-namespaces --selector=app.kubernetes.io/managed-by=ringfence";
        let found = self.story.get(&format!("secrets,configmaps,networkpolicies {selected}"));
        let entry = |object: &Value| {
            let metadata = &object["metadata"];
            let name =
                format!("{} {}/{}", text(&object["kind"]), text(&metadata["namespace"]), text(&metadata["name"]));
            (name, text(&metadata["resourceVersion"]))
        };
        let mut outputs: BTreeMap<String, String> = found["items"].as_array().unwrap().iter().map(entry).collect();
        outputs.retain(|name, _| !name.contains("new-") && !name.contains(&self.leaving));
        outputs
    }
}

fn target(label: &str, address: String, answers: Option<&str>) -> Target {
    Target { label: label.to_owned(), address, answers: answers.map(str::to_owned) }
}

fn observation(outcomes: &[((&str, &str), &str)]) -> Observation {
    let owned = |((caller, target), outcome): &((&str, &str), &str)| {
        (((*caller).to_owned(), (*target).to_owned()), (*outcome).to_owned())
    };
    outcomes.iter().map(owned).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// The same chart as it might be a version later: another image, and a kind with one field more.
fn next_version() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let chart = folder.path().join("ringfence");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/ringfence"), &chart);
    let change = |file: &str, from: &str, to: &str| {
        let file = chart.join(file);
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{from} is not in {}", file.display());
        fs::write(file, text.replacen(from, to, 1)).unwrap();
    };
    let version = env!("CARGO_PKG_VERSION");
    change("Chart.yaml", &format!("\nversion: {version}\n"), "\nversion: 9.9.9\n");
    change("Chart.yaml", &format!("\nappVersion: {version}\n"), "\nappVersion: next\n");
    let field = "              certificateAuthority:\n";
    let more = format!("              nextField:\n                type: string\n{field}");
    change("templates/crds.yaml", field, &more);
    folder
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let place = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &place);
        } else {
            fs::copy(entry.path(), place).unwrap();
        }
    }
}

/// Gives the operator's image one name more, on every node.
fn name_the_image_again(story: &Story) {
    let image = |tag: &str| format!("docker.io/library/ringfence:{tag}");
    for node in story.cluster().nodes().unwrap() {
        let mut command = node.command(tool(Tool::Ctr).unwrap());
        command.args(["--namespace=k8s.io", "images", "tag", "--force"]);
        let output = command.args([image(env!("CARGO_PKG_VERSION")), image("next")]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
