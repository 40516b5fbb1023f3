//! The operator goes, and comes back: what was declared and delivered stays as it was, and so do the fences.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use crate::support::{Caller, Observation, Story, Target, come_to, object, pod, service, without_interruption};

#[test]
fn nothing_is_lost_or_issued_anew_when_the_chart_is_uninstalled_and_installed_again() {
    let Some(story) = Story::begin_alone("uninstall") else { return };
    let (inside, elsewhere) = (story.namespace("inside"), story.namespace("elsewhere"));
    let identity = |name: &str| object("ServiceIdentity", Some(&inside), name, json!({"signingKey": {}}));
    story.apply(&[
        object(
            "TrustDomain",
            None,
            "uninstall",
            json!({
                "namespaces": [inside], "certificateAuthority": {"selfSigned": {}},
            }),
        ),
        identity("web"),
        identity("store"),
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
    story.apply(&[pod(&elsewhere, "stranger", "stranger", "default")]);
    for namespace in [&inside, &elsewhere] {
        story.all_ready("pods", namespace);
    }
    for kind in ["serviceidentities.ringfence.dev", "accesspolicies.ringfence.dev"] {
        story.all_ready(kind, &inside);
    }
    let store = Target {
        label: "store".to_owned(),
        address: format!("store.{inside}.svc:443"),
        answers: Some("store".to_owned()),
    };
    let [web, stranger] = [Caller::pod(&inside, "web"), Caller::pod(&elsewhere, "stranger")];
    let permitted = [(web.clone(), store.clone())];
    let callers = [(web, vec![store.clone()]), (stranger, vec![store])];
    let fenced = |what: &str| {
        let key = |caller: &str| (caller.to_owned(), "store".to_owned());
        let expected = Observation::from([(key("web"), "open".to_owned()), (key("stranger"), "dropped".to_owned())]);
        come_to(&story, what, &callers, &expected);
    };
    fenced("before");
    story.assert_rights_suffice();
    let before = outputs(&story);
    assert!(before.len() > 10, "{before:#?}");

    without_interruption(&story, &permitted, || {
        uninstall(&story);
        assert_eq!(outputs(&story), before);
        fenced("without an operator");
        // With the admission policies gone, this is for the first time allowed; nobody does it.
        story.kubectl(&format!("delete networkpolicy ringfence-web --dry-run=server --namespace={inside}"));

        // What is declared meanwhile waits for the operator. When it is done, the operator has been through everything.
        story.installation.operator_requests();
        story.apply(&[identity("late")]);
        story.installation.install().unwrap();
        story.all_ready("serviceidentities.ringfence.dev", &inside);
        assert_eq!(written_for_others(&story, "late"), [""; 0]);
        let mut after = outputs(&story);
        after.retain(|name, _| !name.contains("late"));
        assert_eq!(after, before);
        fenced("with an operator again");
    });
}

/// Uninstalls the chart: gone is all that it installed, but the kinds and what is declared.
fn uninstall(story: &Story) {
    let manifest = tempfile::NamedTempFile::new().unwrap();
    fs::write(&manifest, story.installation.helm("get manifest ringfence").unwrap()).unwrap();
    let of_the_chart = format!("get --filename={} --ignore-not-found --output=name", manifest.path().display());
    assert!(story.kubectl(&of_the_chart).lines().count() > 10);
    story.installation.helm("uninstall ringfence --wait --cascade=foreground --timeout=2m").unwrap();
    // Helm may come back while the garbage collector is still at it.
    story.kubectl("wait --for=delete deployment/ringfence --namespace=ringfence-system --timeout=60s");
    let left = story.kubectl(&of_the_chart);
    let kinds: Vec<&str> = left.lines().collect();
    assert_eq!(kinds.len(), 3, "{left}");
    assert!(kinds.iter().all(|kind| kind.starts_with("customresourcedefinition")), "{left}");
}

/// What the operator wrote, but for one identity.
fn written_for_others(story: &Story, identity: &str) -> Vec<String> {
    let requests = story.installation.operator_requests();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let writes = requests.iter().filter(|request| !["get", "list", "watch"].contains(&text(&request["verb"]).as_str()));
    let objects = writes.map(|request| &request["objectRef"]).filter(|object| {
        ["secrets", "configmaps", "networkpolicies"].contains(&text(&object["resource"]).as_str())
            && !text(&object["name"]).contains(identity)
    });
    objects.map(Value::to_string).collect()
}

/// All that Ringfence wrote, anywhere, by name, with its version. A version changes with any write, so that keys and
/// serial numbers are the same where it is.
fn outputs(story: &Story) -> BTreeMap<String, String> {
    let selected = "--all-namespaces --selector=app.kubernetes.io/managed-by=ringfence";
    let found = story.get(&format!("secrets,configmaps,networkpolicies {selected}"));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let entry = |object: &Value| {
        let metadata = &object["metadata"];
        let name = format!("{} {}/{}", text(&object["kind"]), text(&metadata["namespace"]), text(&metadata["name"]));
        (name, text(&metadata["resourceVersion"]))
    };
    found["items"].as_array().unwrap().iter().map(entry).collect()
}
