//! What every process of Ringfence has besides its work: probes, measurements, and watches that go on.

pub(crate) mod follow;
pub(crate) mod measurements;
pub(crate) mod probes;
