//! What is declared changes, and the packets with it.

use serde_json::{Value, json};

use crate::support::{Caller, Observation, Story, Target, come_to, object, pod, service};

/// The calls that are tried each time.
const CALLS: [(&str, &str); 4] = [("web", "store"), ("copy", "store"), ("web", "api"), ("copy", "api")];

struct Scene {
    story: Story,
    /// The fenced namespace, which is also the name of its domain.
    inside: String,
    /// Another one.
    elsewhere: String,
    callers: Vec<(Caller, Vec<Target>)>,
}

#[test]
fn packets_follow_every_change() {
    let Some(scene) = Scene::begin() else { return };
    let (story, inside) = (&scene.story, &scene.inside);

    scene.only(&CALLS, "while the domain only reports, everything is open");
    assert_eq!(story.kubectl(&format!("get networkpolicies --output=name --namespace={inside}")), "");
    scene.enforce("Enforce");
    scene.only(&[("copy", "api")], "the fence goes up");

    let grants = [
        scene.policy(
            "store",
            json!({"to": {"identity": "store", "ports": [{"port": "https"}]}, "from": [{"identity": {"name": "web"}}]}),
        ),
        scene.policy("api", json!({"to": {"kubernetesAPI": {}}, "from": [{"identity": {"name": "web"}}]})),
    ];
    story.apply(&grants[..1]);
    scene.only(&[("web", "store"), ("copy", "api")], "one call is granted");
    story.apply(&grants[1..]);
    let both = [("web", "store"), ("web", "api"), ("copy", "api")];
    scene.only(&both, "the API server too");
    story.kubectl(&format!("delete accesspolicy api --namespace={inside}"));
    let one = [("web", "store"), ("copy", "api")];
    scene.only(&one, "and taken back");

    // The very labels of a permitted caller, elsewhere.
    story.kubectl(&format!("label pod copy app.kubernetes.io/name=web --overwrite --namespace={}", scene.elsewhere));
    scene.only(&one, "a label copied into another namespace opens nothing");

    // A pod is what its labels say.
    story.kubectl(&format!("label pod web app.kubernetes.io/name=retired --overwrite --namespace={inside}"));
    scene.only(&[("copy", "api")], "a pod that is no longer labelled as the caller is none");
    story.kubectl(&format!("label pod web app.kubernetes.io/name=web --overwrite --namespace={inside}"));
    scene.only(&one, "and is one again");

    let draft = json!({"spec": {"enforcement": "Audit"}});
    story.kubectl(&format!("patch accesspolicy store --type=merge --patch={draft} --namespace={inside}"));
    scene.only(&[("copy", "api")], "a policy becomes a draft");
    story.apply(&[scene.policy("api", json!({"to": {"kubernetesAPI": {}}, "from": [{"identity": {"name": "web"}}]}))]);
    let enforced = json!({"spec": {"enforcement": "Enforce"}});
    story.kubectl(&format!("patch accesspolicy store --type=merge --patch={enforced} --namespace={inside}"));
    scene.only(&both, "both calls are granted again");

    story.kubectl(&format!("delete serviceidentity web --namespace={inside}"));
    scene.only(&[("copy", "api")], "with the caller's identity all that it may do goes");
    story.apply(&[scene.identity("web")]);
    scene.only(&both, "and comes back with it");
    story.kubectl(&format!("delete serviceidentity store --namespace={inside}"));
    scene.only(&[("web", "api"), ("copy", "api")], "with the callee's identity goes the way to it");

    scene.enforce("Audit");
    scene.only(&CALLS, "the fence goes down");
    assert_eq!(story.kubectl(&format!("get networkpolicies --output=name --namespace={inside}")), "");
    story.assert_rights_suffice();
}

impl Scene {
    /// A domain that only reports, with the services `web` and `store`, and a pod `copy` elsewhere.
    fn begin() -> Option<Self> {
        let story = Story::begin("changes")?;
        let (inside, elsewhere) = (story.namespace("inside"), story.namespace("elsewhere"));
        let scene = Self { story, inside, elsewhere, callers: Vec::new() };
        let (story, inside) = (&scene.story, &scene.inside);
        let domain = object(
            "TrustDomain",
            None,
            inside,
            json!({
                "namespaces": [inside],
                "certificateAuthority": {"selfSigned": {}},
                "outbound": [{"kubernetesAPI": {}}],
                "enforcement": "Audit",
            }),
        );
        story.apply(&[domain, scene.identity("web"), scene.identity("store")]);
        for name in ["web", "store"] {
            story.apply(&service(inside, name));
            story.apply(&[pod(inside, name, name, name)]);
        }
        story.apply(&[pod(&scene.elsewhere, "copy", "copy", "default")]);
        for namespace in [inside, &scene.elsewhere] {
            story.all_ready("pods", namespace);
        }
        story.all_ready("serviceidentities.ringfence.dev", inside);
        let target = |label: &str, address: String, answers| Target { label: label.to_owned(), address, answers };
        let targets = vec![
            target("store", format!("store.{inside}.svc:443"), Some("store".to_owned())),
            target("api", "kubernetes.default.svc:443".to_owned(), None),
        ];
        let callers =
            vec![(Caller::pod(inside, "web"), targets.clone()), (Caller::pod(&scene.elsewhere, "copy"), targets)];
        Some(Self { callers, ..scene })
    }

    fn identity(&self, name: &str) -> Value {
        object("ServiceIdentity", Some(&self.inside), name, json!({}))
    }

    fn policy(&self, name: &str, spec: Value) -> Value {
        object("AccessPolicy", Some(&self.inside), name, spec)
    }

    fn enforce(&self, enforcement: &str) {
        let patch = json!({"spec": {"enforcement": enforcement}});
        self.story.kubectl(&format!("patch trustdomain {} --type=merge --patch={patch}", self.inside));
    }

    /// Waits until these calls get through, and no others.
    fn only(&self, open: &[(&str, &str)], what: &str) {
        let outcome = |call| if open.contains(&call) { "open" } else { "dropped" };
        let key = |(caller, target): (&str, &str)| (caller.to_owned(), target.to_owned());
        let expected: Observation = CALLS.map(|call| (key(call), outcome(call).to_owned())).into();
        come_to(&self.story, what, &self.callers, &expected);
    }
}
