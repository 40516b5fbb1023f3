//! Sends the parcel, and keeps who asked for it.

use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use clap::Args;
use tonic::service::Routes;
use tonic::{Request, Response, Status, async_trait};

use crate::ledger::Ledger;
use crate::protocols::delivery::v1::delivery_server::{self, DeliveryServer};
use crate::protocols::delivery::v1::{Item, ScheduleReply, ScheduleRequest};
use crate::protocols::evidence::v1::Evidence;
use crate::service::{Options, Service};
use crate::settlement;

/// `shop delivery`
#[derive(Debug, Args)]
pub(crate) struct Delivery {
    #[command(flatten)]
    options: Options,
}

impl Delivery {
    pub(crate) async fn run(self) -> Result<()> {
        let service = Service::start("delivery", self.options)?;
        service.serve(Routes::new(DeliveryServer::new(Ramp::default())).into_axum_router()).await
    }
}

/// What was sent.
#[derive(Default)]
struct Ramp(Mutex<Ledger<Parcel>>);

#[derive(Clone)]
struct Parcel {
    items: Vec<Item>,
    evidence: Evidence,
}

impl Ramp {
    /// Sends an order once; that it was sent is answered as often as it is asked for.
    fn schedule(&self, asked: &ScheduleRequest, evidence: Evidence) -> Result<ScheduleReply, Status> {
        if asked.order.is_empty() || asked.items.is_empty() {
            return Err(Status::invalid_argument("a parcel has an order and something in it"));
        }
        let mut ledger = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let parcel = ledger.record(&asked.order, || {
            settlement::log("scheduled", &asked.order, &evidence);
            Parcel { items: asked.items.clone(), evidence }
        });
        if parcel.items != asked.items {
            return Err(Status::already_exists(format!("order {} was sent with other items", asked.order)));
        }
        Ok(ScheduleReply { parcel: format!("parcel-of-{}", asked.order), evidence: Some(parcel.evidence.clone()) })
    }
}

#[async_trait]
impl delivery_server::Delivery for Ramp {
    async fn schedule(&self, request: Request<ScheduleRequest>) -> Result<Response<ScheduleReply>, Status> {
        let evidence = settlement::evidence(&request)?;
        Ok(Response::new(Self::schedule(self, request.get_ref(), evidence)?))
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn an_order_is_sent_once_and_the_first_evidence_stands() {
        let ramp = Ramp::default();
        let by = |token_id: &str| Evidence { token_id: token_id.to_owned(), ..Evidence::default() };
        let item = |quantity| Item { sku: "teapot".to_owned(), quantity };
        let parcel = ScheduleRequest { order: "o-1".to_owned(), items: vec![item(1)] };
        let first = ramp.schedule(&parcel, by("first")).unwrap();
        assert_eq!(ramp.schedule(&parcel, by("second")).unwrap(), first);
        assert_eq!(first.evidence, Some(by("first")));
        let other = ScheduleRequest { items: vec![item(2)], ..parcel };
        assert_eq!(ramp.schedule(&other, by("third")).unwrap_err().code(), Code::AlreadyExists);
    }
}
