//! Makes Rust of the shop's protocols, without `protoc`.

use std::error::Error;

const PROTOCOLS: [&str; 2] = ["shop/payment/v1/payment.proto", "shop/delivery/v1/delivery.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let described = protox::compile(PROTOCOLS, ["proto"])?;
    let serde = "#[derive(serde::Deserialize, serde::Serialize)] #[serde(default)]";
    tonic_prost_build::configure()
        .build_transport(false)
        // Requests are written as JSON on a command line, and answers are shown as JSON.
        .message_attribute(".", serde)
        .include_file("protocols.rs")
        .compile_fds(described)?;
    Ok(())
}
