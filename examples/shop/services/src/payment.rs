//! Takes the money, and keeps who asked for it.

use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use clap::Args;
use tonic::service::Routes;
use tonic::{Request, Response, Status, async_trait};

use crate::ledger::Ledger;
use crate::protocols::evidence::v1::Evidence;
use crate::protocols::payment::v1::payment_server::{self, PaymentServer};
use crate::protocols::payment::v1::{ChargeReply, ChargeRequest};
use crate::service::{Options, Service};
use crate::settlement;

/// `shop payment`
#[derive(Debug, Args)]
pub(crate) struct Payment {
    #[command(flatten)]
    options: Options,
}

impl Payment {
    pub(crate) async fn run(self) -> Result<()> {
        let service = Service::start("payment", self.options)?;
        service.serve(Routes::new(PaymentServer::new(Till::default())).into_axum_router()).await
    }
}

/// What was charged.
#[derive(Default)]
struct Till(Mutex<Ledger<Charged>>);

#[derive(Clone)]
struct Charged {
    cents: u64,
    evidence: Evidence,
}

impl Till {
    /// Charges an order once; that it was charged is answered as often as it is asked for.
    fn charge(&self, asked: &ChargeRequest, evidence: Evidence) -> Result<ChargeReply, Status> {
        if asked.order.is_empty() || asked.cents == 0 {
            return Err(Status::invalid_argument("a charge has an order and an amount"));
        }
        let mut ledger = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let charged = ledger.record(&asked.order, || {
            settlement::log("charged", &asked.order, &evidence);
            Charged { cents: asked.cents, evidence }
        });
        if charged.cents != asked.cents {
            return Err(Status::already_exists(format!("order {} was charged another amount", asked.order)));
        }
        Ok(ChargeReply { payment: format!("payment-of-{}", asked.order), evidence: Some(charged.evidence.clone()) })
    }
}

#[async_trait]
impl payment_server::Payment for Till {
    async fn charge(&self, request: Request<ChargeRequest>) -> Result<Response<ChargeReply>, Status> {
        let evidence = settlement::evidence(&request)?;
        Ok(Response::new(Self::charge(self, request.get_ref(), evidence)?))
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn by(token_id: &str) -> Evidence {
        Evidence { token_id: token_id.to_owned(), ..Evidence::default() }
    }

    #[test]
    fn an_order_is_charged_once_and_the_first_evidence_stands() {
        let till = Till::default();
        let charge = ChargeRequest { order: "o-1".to_owned(), cents: 500 };
        let first = till.charge(&charge, by("first")).unwrap();
        assert_eq!(till.charge(&charge, by("second")).unwrap(), first);
        assert_eq!(first.evidence, Some(by("first")));
        let more = ChargeRequest { cents: 900, ..charge };
        assert_eq!(till.charge(&more, by("third")).unwrap_err().code(), Code::AlreadyExists);
    }

    #[test]
    fn a_charge_of_nothing_is_refused() {
        let till = Till::default();
        for (order, cents) in [("", 500), ("o-1", 0)] {
            let charge = ChargeRequest { order: order.to_owned(), cents };
            assert_eq!(till.charge(&charge, by("first")).unwrap_err().code(), Code::InvalidArgument);
        }
    }
}
