//! What a newcomer gets wrong, and what is said of it.

use std::process::{Command, Output};

use super::support::cluster;

fn run(arguments: &[&str]) -> Output {
    let kubeconfig = cluster().kubeconfig();
    let health = "--health-address=127.0.0.1:0";
    Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .args(["token-service", "--log-format=json", "--metrics-address=off", health])
        .args(arguments)
        .env("KUBECONFIG", kubeconfig)
        .output()
        .unwrap()
}

#[tokio::test]
async fn a_wrong_flag_is_told_with_what_to_write_instead() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("--address={}", taken.local_addr().unwrap());
    let store = "--store=https://127.0.0.1:1";
    let cases: [(&[&str], &str); 9] = [
        (&[], "--store"),
        (&["--store=http://etcd:2379"], "is not https://"),
        (&[store, "--issuer=http://sts.example.com"], "is no issuer: write an https URL"),
        (&[store, "--issuer=https://sts.example.com/"], "slash at its end"),
        (&[store, "--namespace=Sts"], "lower-case letters"),
        (&[store, "--identity=token.service"], "lower-case letters"),
        (&[store, "--key-rotation-period=0s"], "at least 1s"),
        (&[store, "--client-rate=0"], "client-rate"),
        (&[store, &taken], "choose another --address"),
    ];
    for (arguments, said) in cases {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let shown = arguments.join(" ");
        let output =
            tokio::task::spawn_blocking(move || run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()));
        let output = output.await.unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && told.contains(said), "{shown}: {said}: {output:?}");
    }
}
