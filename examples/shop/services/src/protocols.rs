//! The protocols of payment and delivery, made from `proto/`.

#![allow(unreachable_pub, unused_qualifications, clippy::all, clippy::use_self)]

include!(concat!(env!("OUT_DIR"), "/protocols.rs"));

pub(crate) use shop::{delivery, evidence, payment};
