//! What can be seen of a running operator: its log, its measurements, its traces. Here it is the program itself, as it
//! would be started in a pod.

mod begin;
mod http;
mod metrics;
mod process;
mod prometheus;
mod secrecy;
mod traces;

pub use begin::{Observed, begin, remove};
pub use http::{Collector, get};
pub use process::Process;
