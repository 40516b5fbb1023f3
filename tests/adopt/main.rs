//! The service in Go of `examples/adopt`, which uses what Ringfence delivers with Go's standard library alone, beside one in
//! Rust on the library `ringfence-workload`: each serves and calls the other, and both refuse the same.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where something is not as it should be")]
#![allow(unreachable_pub, reason = "what the stories share")]

mod certificates;
mod go;
mod issued;
mod page;
mod peers;
mod pod;
mod renewal;
mod shop;
mod tokens;
