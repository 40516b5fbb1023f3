//! `shop request` says in one line what came of a call, whatever came of it, and ends well.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;
use std::thread;

fn request(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_shop")).arg("request").args(arguments).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

/// A server that answers one connection.
fn server(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]).and_then(|_| stream.write_all(answer.as_bytes()));
    });
    address
}

#[test]
fn an_answer_is_told_with_status_and_body() {
    let address = server("HTTP/1.1 403 Forbidden\r\nContent-Length: 8\r\n\r\nnot\r\nyou");
    assert_eq!(request(&[&format!("http://{address}/")]), "answered 403 not  you\n");
}

#[test]
fn a_failure_is_told_with_the_step_at_which_it_happened() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let said = request(&["--insecure", &format!("https://{free}/")]);
    assert!(said.starts_with("failed at tcp: "), "{said}");
    let said = request(&["--insecure", &format!("https://{}/", server("what?\r\n"))]);
    assert!(said.starts_with("failed at tls: "), "{said}");
    let said = request(&[&format!("http://{}/", server("what?\r\n"))]);
    assert!(said.starts_with("failed at http: "), "{said}");
}

#[test]
fn a_call_that_makes_no_sense_is_refused_before_it_is_made() {
    let output = Command::new(env!("CARGO_BIN_EXE_shop")).args(["request", "https://localhost"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("--roots"), "{said}");
}
