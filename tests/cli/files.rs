//! PEM files, without a cluster.

use std::process::Command;

use rcgen::ExtendedKeyUsagePurpose;

use crate::certificates::{Issued, Issuer, Wanted};
use crate::command::{path, ringfence, run};

#[test]
fn a_good_certificate_verifies_and_says_who_it_is() {
    let issuer = Issuer::new("shop");
    let file = issuer.file("order.pem", &issuer.issue(&Wanted::default()).certificate);
    let ran = ringfence(&["inspect", path(&file), "--bundle", path(&issuer.bundle())]);
    assert_eq!((ran.code, ran.complaints.as_str()), (0, ""), "{}", ran.output);
    for words in [
        "SPIFFE ID           spiffe://shop/ns/shop/sa/order",
        "names               order.shop.svc",
        "may be              server, client",
        "A peer with this bundle would accept it, if its access.json names it.",
    ] {
        assert!(ran.output.contains(words), "{words:?} is in\n{}", ran.output);
    }
    assert!(ran.output.lines().all(|line| line.chars().count() <= 100), "{}", ran.output);
    assert!(!ran.output.contains('\x1b'), "no colours for a pipe");

    let json = ringfence(&["inspect", path(&file), "-o", "json"]).json();
    assert_eq!([&json["kind"], &json["spiffeID"]], ["Certificate", "spiffe://shop/ns/shop/sa/order"]);
    assert_eq!(json["certificates"][0]["keyAlgorithm"], "ECDSA-P256");
    assert_eq!(json.get("verifiedAgainst"), None, "there was nothing to verify it against");
    let yaml = ringfence(&["inspect", path(&file), "-o", "yaml"]).output;
    let parsed: serde_json::Value = serde_saphyr::from_str(&yaml).unwrap();
    assert_eq!(parsed["certificates"], json["certificates"], "YAML says the same as JSON");
}

#[test]
fn each_reason_to_refuse_is_named_with_exit_code_1() {
    let (issuer, stranger) = (Issuer::new("shop"), Issuer::new("stranger"));
    let of = |wanted: Wanted| issuer.issue(&wanted).certificate;
    let good = Wanted::default;
    let cases = [
        ("expired", of(Wanted { hours: (-3, -1), ..good() }), "Expired"),
        ("early", of(Wanted { hours: (1, 2), ..good() }), "NotYetValid"),
        ("without SPIFFE ID", of(Wanted { uris: Vec::new(), ..good() }), "NoSpiffeId"),
        ("usage", of(Wanted { usages: vec![ExtendedKeyUsagePurpose::CodeSigning], ..good() }), "WrongUsage"),
        ("chain", stranger.issue(&good()).certificate, "UnknownIssuer"),
    ];
    for (what, text, reason) in cases {
        let file = issuer.file("one.pem", &text);
        let ran = ringfence(&["inspect", path(&file), "--bundle", path(&issuer.bundle()), "-o", "json"]);
        assert_eq!((ran.code, ran.refusals()), (1, vec![reason.to_owned()]), "{what}");
        let shown = ringfence(&["inspect", path(&file), "--bundle", path(&issuer.bundle())]).output;
        assert!(shown.contains("A peer would refuse it:") && shown.contains(reason), "{shown}");
    }
    let file = issuer.file("named.pem", &of(good()));
    let named = |name| ringfence(&["inspect", path(&file), "--servername", name, "-o", "json"]);
    assert_eq!(named("order.shop.svc").code, 0);
    assert_eq!(named("payment.shop.svc").refusals(), ["NameMismatch"]);
}

#[test]
fn a_key_beside_the_certificate_is_compared_and_never_shown() {
    let issuer = Issuer::new("shop");
    let [one, other] = [issuer.issue(&Wanted::default()), issuer.issue(&Wanted::default())];
    let pair = |certificate: &Issued, key: &Issued| {
        let file = issuer.file("pair.pem", &format!("{}{}", key.key, certificate.certificate));
        let ran = ringfence(&["inspect", path(&file), "-o", "json", "--log", "trace"]);
        for line in key.key.lines().filter(|line| !line.starts_with('-')) {
            assert!(!ran.output.contains(line) && !ran.complaints.contains(line), "{ran:?}");
        }
        ran
    };
    assert_eq!((pair(&one, &one).code, pair(&one, &one).refusals()), (0, Vec::new()));
    assert_eq!((pair(&one, &other).code, pair(&one, &other).refusals()), (1, vec!["KeyMismatch".to_owned()]));
}

#[test]
fn a_bundle_is_a_list_of_authorities() {
    let issuer = Issuer::new("shop");
    let ran = ringfence(&["inspect", path(&issuer.bundle())]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.output.contains("root") && ran.output.contains("CN=shop"), "{}", ran.output);
    assert_eq!(ringfence(&["inspect", path(&issuer.bundle()), "-o", "json"]).json()["kind"], "Bundle");
}

#[test]
fn what_cannot_be_looked_at_is_said_in_a_sentence_with_exit_code_2() {
    let issuer = Issuer::new("shop");
    let good = issuer.file("order.pem", &issuer.issue(&Wanted::default()).certificate);
    let text = std::fs::read_to_string(&good).unwrap();
    let cut = issuer.file("cut.pem", &text[..200]);
    let key = issuer.file("key.pem", &issuer.issue(&Wanted::default()).key);
    let cases: [(&[&str], &str); 6] = [
        (&["nowhere.pem"], "there is no file nowhere.pem; write secret/NAME"),
        (&[path(&cut)], "cut.pem can't be inspected: the PEM text is cut off"),
        (&[path(&key)], "key.pem can't be inspected: the PEM text holds no certificate"),
        (&[path(&good), "--bundle", "nowhere.pem"], "nowhere.pem can't be read"),
        (&[path(&good), "--bundle", path(&key)], "is no bundle: the PEM text holds something else"),
        (&[path(&good), "--bundle", "cluster"], "no cluster to talk to"),
    ];
    for (arguments, complaint) in cases {
        let ran = ringfence(&[&["inspect"], arguments].concat());
        assert_eq!((ran.code, ran.output.as_str()), (2, ""), "{arguments:?}");
        assert!(ran.complaints.starts_with("ERROR ") && ran.complaints.contains(complaint), "{}", ran.complaints);
    }
}

#[test]
fn colours_are_for_terminals_unless_they_are_asked_for() {
    let issuer = Issuer::new("shop");
    let bundle = issuer.bundle();
    let line = |color: &str| format!("{} inspect {} --color {color}", env!("CARGO_BIN_EXE_ringfence"), path(&bundle));
    let is_coloured = |command: &mut Command| {
        let ran = run(command.env("TERM", "xterm"));
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.output.contains("\x1b[")
    };
    let on_a_pipe = |color: &str| is_coloured(Command::new("sh").args(["-c", &line(color)]));
    assert_eq!(["auto", "never", "always"].map(on_a_pipe), [false, false, true]);
    // The program script gives it a terminal.
    let on_a_terminal = |line: &str| is_coloured(Command::new("script").args(["-qec", line, "/dev/null"]));
    assert_eq!(["auto", "never", "always"].map(|color| on_a_terminal(&line(color))), [true, false, true]);
    assert!(!on_a_terminal(&format!("NO_COLOR=1 {}", line("auto"))));
    assert!(on_a_terminal(&format!("NO_COLOR=1 {}", line("always"))));
}
