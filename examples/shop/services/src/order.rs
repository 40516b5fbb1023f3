//! Takes orders: sets the items aside at inventory, has them paid at payment and sent at delivery.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Request, State};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use clap::Args;
use http::{StatusCode, Uri};
use ringfence_workload::{Caller, Client};
use serde::Deserialize;
use serde_json::json;

use crate::behalf::{self, OnBehalfOf};
use crate::correlation::CorrelationId;
use crate::errand::Errand;
use crate::grpc;
use crate::hop::Hops;
use crate::order_book::{self, OrderBook, Placed};
use crate::peer::{Answer, Peer};
use crate::problem::Problem;
use crate::protocols::delivery::v1::delivery_client::DeliveryClient;
use crate::protocols::delivery::v1::{Item, ScheduleReply, ScheduleRequest};
use crate::protocols::payment::v1::payment_client::PaymentClient;
use crate::protocols::payment::v1::{ChargeReply, ChargeRequest};
use crate::service::{Options, Service};
use crate::stock::{Line, Reservation};

const INVENTORY: &str = "inventory.storefront.svc";
const PAYMENT: &str = "payment.settlement.svc";
const DELIVERY: &str = "delivery.settlement.svc";
/// How long each of them may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// `shop order`
#[derive(Debug, Args)]
pub(crate) struct Order {
    #[command(flatten)]
    options: Options,
}

#[derive(Clone)]
struct Desk {
    inventory: Peer,
    payment: PaymentClient<Client>,
    delivery: DeliveryClient<Client>,
    book: Arc<Mutex<OrderBook>>,
}

impl Order {
    pub(crate) async fn run(self) -> Result<()> {
        let service = Service::start("order", self.options)?;
        let client = service.workload.client();
        let desk = Desk {
            inventory: Peer::new(client.clone(), INVENTORY, PATIENCE),
            payment: PaymentClient::with_origin(client.clone(), origin(PAYMENT)?),
            delivery: DeliveryClient::with_origin(client, origin(DELIVERY)?),
            book: Arc::default(),
        };
        let router = Router::new()
            .route("/orders", post(place))
            .route("/orders/{id}", get(look_up))
            .layer(from_fn(on_behalf_of))
            .with_state(desk);
        service.serve(router).await
    }
}

fn origin(host: &str) -> Result<Uri> {
    Ok(format!("https://{host}").parse()?)
}

/// Whoever proved itself by a certificate may say for whom it calls.
async fn on_behalf_of(
    Extension(caller): Extension<Caller>,
    Extension(correlation): Extension<CorrelationId>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let customer = OnBehalfOf::of_request(request.headers()).filter(|_| caller.by_certificate);
    let nobody =
        || Problem::new(StatusCode::BAD_REQUEST, format!("{} must say for whom the caller calls", behalf::HEADER));
    let errand = Errand { correlation, customer: customer.ok_or_else(nobody)? };
    request.extensions_mut().insert(errand);
    Ok(next.run(request).await)
}

#[derive(Debug, Deserialize)]
struct Wanted {
    key: Option<String>,
    items: Vec<Line>,
}

async fn place(
    State(desk): State<Desk>,
    Extension(errand): Extension<Errand>,
    wanted: Result<Json<Wanted>, JsonRejection>,
) -> Result<(Extension<Hops>, Json<Placed>), Problem> {
    let Json(wanted) = wanted.map_err(|wrong| Problem::new(StatusCode::BAD_REQUEST, wrong.body_text()))?;
    let id = order_book::id(&errand.customer, wanted.key.as_deref());
    // Each of the three does its part once for an order, so that an order which broke off goes on when it is sent again.
    let reserved = desk.reserve(&errand, &id, &wanted.items).await?;
    let cents = reserved.content.cents;
    let charged = desk.charge(&errand, &id, cents).await?;
    let scheduled = desk.schedule(&errand, &id, &wanted.items).await?;
    let mut hops = reserved.hops;
    hops.extend(charged.hops);
    hops.extend(scheduled.hops);
    let placed = Placed {
        id,
        customer: errand.customer.sub,
        items: wanted.items,
        cents,
        payment: charged.content,
        delivery: scheduled.content,
    };
    let placed = desk.book.lock().unwrap_or_else(PoisonError::into_inner).enter(placed);
    Ok((Extension(hops), Json(placed)))
}

async fn look_up(
    State(desk): State<Desk>,
    Extension(errand): Extension<Errand>,
    Path(id): Path<String>,
) -> Result<Json<Placed>, Problem> {
    let book = desk.book.lock().unwrap_or_else(PoisonError::into_inner);
    let unknown = || Problem::new(StatusCode::NOT_FOUND, "this customer has no such order");
    book.look_up(&id, &errand.customer).map(Json).ok_or_else(unknown)
}

impl Desk {
    async fn reserve(&self, errand: &Errand, order: &str, items: &[Line]) -> Result<Answer<Reservation>, Problem> {
        self.inventory.post(errand, "/reservations", &json!({"order": order, "items": items})).await
    }

    async fn charge(&self, errand: &Errand, order: &str, cents: u64) -> Result<Answer<ChargeReply>, Problem> {
        let charge = ChargeRequest { order: order.to_owned(), cents };
        let mut payment = self.payment.clone();
        let send = async move |request| payment.charge(request).await;
        grpc::call(errand, (PAYMENT, "Charge"), PATIENCE, charge, send).await
    }

    async fn schedule(&self, errand: &Errand, order: &str, items: &[Line]) -> Result<Answer<ScheduleReply>, Problem> {
        let items = items.iter().map(|line| Item { sku: line.sku.clone(), quantity: line.quantity });
        let parcel = ScheduleRequest { order: order.to_owned(), items: items.collect() };
        let mut delivery = self.delivery.clone();
        let send = async move |request| delivery.schedule(request).await;
        grpc::call(errand, (DELIVERY, "Schedule"), PATIENCE, parcel, send).await
    }
}
