//! Where a domain's CA comes from.

use super::*;
use crate::plan::domain_plan;
use crate::plan::testing::Operator;
use crate::testing::{apply, in_words};

fn domain(name: &str, authority: &str) -> String {
    format!("{{kind: TrustDomain, metadata: {{name: {name}}}, spec: {{certificateAuthority: {authority}}}}}")
}

fn under(name: &str, parent: &str) -> String {
    domain(name, &format!("{{parent: {{name: {parent}}}}}"))
}

fn at_rest(domains: &[String]) -> Operator {
    Operator::at_rest(&domains.iter().map(String::as_str).collect::<Vec<_>>())
}

fn blocked(operator: &Operator, name: &str) -> (Reason, String) {
    match domain_plan(&operator.world, name).unwrap().authority {
        AuthorityStep::Blocked(problem) => (problem.reason, problem.message),
        other => panic!("{name}: {other:?}"),
    }
}

/// How many certificates lead from a domain's CA up to its root, both included.
fn depth(operator: &Operator, name: &str) -> usize {
    operator.world.generations(name).unwrap().signing().unwrap().path().len()
}

#[test]
fn intermediates_are_made_from_the_root_down() {
    let mut operator = at_rest(&[under("a", "b"), under("b", "c"), under("c", "root")]);
    assert_eq!(
        blocked(&operator, "c"),
        (Reason::ParentNotFound, "parent TrustDomain root does not exist: create it, or name another".to_owned())
    );
    assert_eq!(blocked(&operator, "b").0, Reason::ParentNotFound, "which all below it see");
    operator.show(&domain("root", "{selfSigned: {}}"));
    operator.work();
    assert_eq!(["a", "b", "c", "root"].map(|name| depth(&operator, name)), [4, 3, 2, 1]);
    assert_eq!(operator.left(), []);
}

#[test]
fn an_intermediate_waits_for_a_parent_that_cannot_sign() {
    let mut operator = at_rest(&[under("child", "brought"), domain("brought", "{secret: {name: theirs}}")]);
    let waits =
        (Reason::ParentNotReady, "parent TrustDomain brought has no CA to sign with yet: see its status".to_owned());
    assert_eq!(blocked(&operator, "child"), waits);
    assert!(matches!(
        domain_plan(&operator.world, "brought").unwrap().authority,
        AuthorityStep::Supplied { secret } if secret == "theirs"
    ));
    operator.show(&domain("brought", "{selfSigned: {}}"));
    operator.work();
    assert_eq!(depth(&operator, "child"), 2);
}

#[test]
fn parents_form_no_cycle_and_no_long_chain() {
    let operator = at_rest(&[under("a", "b"), under("b", "c"), under("c", "a"), under("self", "self")]);
    let cycle = "the parents form a cycle, a → b → c → a: give one of them another certificateAuthority";
    assert_eq!(blocked(&operator, "a"), (Reason::ParentCycle, cycle.to_owned()));
    assert_eq!(blocked(&operator, "self").0, Reason::ParentCycle);
    let chain = [
        domain("root", "{selfSigned: {}}"),
        under("one", "root"),
        under("two", "one"),
        under("three", "two"),
        under("four", "three"),
    ];
    let operator = at_rest(&chain);
    assert_eq!(depth(&operator, "three"), 4);
    let deep = "the chain four → three → two → one → root has more than 3 levels of parents";
    assert_eq!(blocked(&operator, "four"), (Reason::ParentTooDeep, deep.to_owned()));
}

#[test]
fn a_change_at_the_top_is_seen_at_the_bottom() {
    let mut operator = at_rest(&[domain("root", "{selfSigned: {}}"), under("a", "root"), under("b", "a")]);
    operator.forget("TrustDomain", "root");
    operator.work();
    assert!(matches!(domain_plan(&operator.world, "b").unwrap().authority, AuthorityStep::Keep), "what there is stays");
    let cycle = under("root", "b").replace("{name: root}, spec", "{name: root, uid: another}, spec");
    let touched = apply(&mut operator.world, &cycle);
    assert_eq!(in_words(&touched), ["domain a", "domain b", "domain root"]);
    let problem = parent_problem(&operator.world, "b", operator.world.domain("b").unwrap()).unwrap();
    assert_eq!(problem.reason, Reason::ParentCycle);
}

#[test]
fn a_source_that_is_none_or_two_makes_nothing() {
    for source in ["{}", "{selfSigned: {}, secret: {name: theirs}}"] {
        let operator = at_rest(&[domain("d", source)]);
        assert!(matches!(domain_plan(&operator.world, "d").unwrap().authority, AuthorityStep::Keep), "{source}");
        assert!(operator.world.authority("d").is_none());
    }
}

#[test]
fn a_domain_without_its_name_has_no_ca() {
    let twin =
        "{kind: TrustDomain, metadata: {name: twin}, spec: {trustDomain: d, certificateAuthority: {selfSigned: {}}}}";
    let mut operator = at_rest(&[domain("d", "{selfSigned: {}}")]);
    operator.show(twin);
    operator.work();
    assert!(operator.world.authority("twin").is_none());
    operator.forget("TrustDomain", "d");
    operator.work();
    assert!(operator.world.authority("twin").is_some());
}

#[test]
fn a_ca_lives_as_long_as_is_declared() {
    let operator = at_rest(&[
        domain("default", "{selfSigned: {}}"),
        domain("short", "{selfSigned: {duration: 48h}}"),
        under("child", "default"),
        domain("hasty", "{parent: {name: default, duration: 1h}}"),
    ]);
    let hours = |name: &str| {
        let generations = operator.world.generations(name).unwrap();
        generations.signing().unwrap().not_after().duration_since(crate::pki::testing::now()).as_hours()
    };
    assert_eq!(["default", "short", "child", "hasty"].map(hours), [87_600, 48, 8_760, 1]);
}
