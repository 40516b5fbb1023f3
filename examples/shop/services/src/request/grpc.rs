//! The shop's two gRPC calls with JSON for messages.

use anyhow::{Context, Result, bail};
use axum::body::Bytes;
use http::HeaderMap;
use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tonic::{Code, Status};

use crate::protocols::delivery::v1::{ScheduleReply, ScheduleRequest};
use crate::protocols::payment::v1::{ChargeReply, ChargeRequest};

const CHARGE: &str = "shop.payment.v1.Payment/Charge";
const SCHEDULE: &str = "shop.delivery.v1.Delivery/Schedule";
/// Before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// The body of a call.
pub(super) fn message(method: &str, json: &str) -> Result<Bytes> {
    match method {
        CHARGE => framed::<ChargeRequest>(json),
        SCHEDULE => framed::<ScheduleRequest>(json),
        _ if method.split('/').count() == 2 => framed::<()>("null"),
        _ => bail!("{method} is not written as PACKAGE.SERVICE/METHOD"),
    }
}

fn framed<M: Message + DeserializeOwned>(json: &str) -> Result<Bytes> {
    let message: M = serde_json::from_str(json).context("--data does not fit the method")?;
    let message = message.encode_to_vec();
    let length = u32::try_from(message.len()).context("--data is too long")?;
    Ok([&[0], length.to_be_bytes().as_slice(), &message].concat().into())
}

/// `grpc CODE MESSAGE`, if the answer is one of gRPC; the message of success is the reply.
pub(super) fn outcome(method: &str, headers: &HeaderMap, trailers: &HeaderMap, content: &[u8]) -> Option<String> {
    let status = Status::from_header_map(headers).or_else(|| Status::from_header_map(trailers))?;
    let message = match (status.code(), method) {
        (Code::Ok, CHARGE) => shown::<ChargeReply>(content),
        (Code::Ok, SCHEDULE) => shown::<ScheduleReply>(content),
        _ => status.message().to_owned(),
    };
    Some(format!("grpc {:?} {message}", status.code()))
}

fn shown<M: Message + Default + Serialize>(content: &[u8]) -> String {
    let reply = content.get(PREFIX..).and_then(|message| M::decode(message).ok());
    reply
        .and_then(|reply| serde_json::to_string(&reply).ok())
        .unwrap_or_else(|| "(a reply that can't be read)".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_written_and_its_reply_is_shown_as_json() {
        let body = message(CHARGE, r#"{"order": "o-1", "cents": 500}"#).unwrap();
        let sent = ChargeRequest::decode(&body[PREFIX..]).unwrap();
        assert_eq!((&*sent.order, sent.cents, usize::from(body[4])), ("o-1", 500, body.len() - PREFIX));

        let ok = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
        let reply = ChargeReply { payment: "payment-of-o-1".to_owned(), evidence: None }.encode_to_vec();
        let content = [&[0; PREFIX], &*reply].concat();
        let line = outcome(CHARGE, &HeaderMap::new(), &ok, &content);
        assert_eq!(line.as_deref(), Some(r#"grpc Ok {"payment":"payment-of-o-1","evidence":null}"#));
    }

    #[test]
    fn a_refusal_is_shown_with_its_code() {
        let pairs = [("grpc-status", "16"), ("grpc-message", "TokenRequired")];
        let headers = HeaderMap::from_iter(pairs.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())));
        let line = outcome(CHARGE, &headers, &HeaderMap::new(), b"");
        assert_eq!(line.as_deref(), Some("grpc Unauthenticated TokenRequired"));
        assert_eq!(outcome(CHARGE, &HeaderMap::new(), &HeaderMap::new(), b"<html>"), None);
    }
}
