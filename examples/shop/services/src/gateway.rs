//! The one door of the shop: REST and GraphQL for customers, who bring an access token.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use clap::Args;
use http::{HeaderMap, StatusCode};
use ringfence_workload::Caller;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::behalf::OnBehalfOf;
use crate::calls::Calls;
use crate::correlation::CorrelationId;
use crate::errand::{Errand, IDEMPOTENCY_KEY};
use crate::graphql;
use crate::hop::Hops;
use crate::peer::Peer;
use crate::problem::Problem;
use crate::service::{Options, Service};
use crate::stock::{Item, Line};
use crate::throttle::{Throttle, retry_after};

const INVENTORY: &str = "inventory.storefront.svc";
const ORDER: &str = "order.storefront.svc";
/// Longest name that a customer may give an order.
const LONGEST_KEY: usize = 128;

/// `shop gateway`
#[derive(Debug, Args)]
pub(crate) struct Gateway {
    #[command(flatten)]
    options: Options,
    /// Calls a second that one customer may make by one client; twice as many in a moment.
    #[arg(long, default_value = "50")]
    client_rate: NonZeroU32,
}

#[derive(Clone)]
struct Door {
    inventory: Peer,
    order: Peer,
    throttle: Arc<Throttle>,
    calls: Arc<Calls>,
}

impl Gateway {
    pub(crate) async fn run(self) -> Result<()> {
        let mut service = Service::start("gateway", self.options)?;
        let client = service.workload.client();
        let door = Door {
            inventory: Peer::new(client.clone(), INVENTORY, Duration::from_secs(3)),
            // It calls three others one after the other.
            order: Peer::new(client, ORDER, Duration::from_secs(10)),
            throttle: Arc::new(Throttle::new(self.client_rate)),
            calls: Arc::new(Calls::register(&mut service.metrics.registry)),
        };
        let schema = graphql::schema(door.inventory.clone());
        let router = Router::new()
            .route("/items", get(items))
            .route("/orders", post(place))
            .route("/orders/{id}", get(look_up))
            .route("/graphql", post(move |errand, request| graphql::answer(schema.clone(), errand, request)))
            .layer(from_fn_with_state(door.clone(), identify))
            .route("/healthz", get(|| async { "ok\n" }))
            .with_state(door);
        service.serve(router).await
    }
}

/// Takes the customer from the token that the workload library verified, and makes it wait if it calls too often.
async fn identify(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    Extension(correlation): Extension<CorrelationId>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let customer = caller.claims.as_deref().and_then(OnBehalfOf::of_token);
    let nobody =
        || Problem::new(StatusCode::UNAUTHORIZED, "an access token is needed, and the gateway's policy asks for none");
    let customer = customer.ok_or_else(nobody)?;
    let turn = door.throttle.take(caller_of(&customer));
    door.calls.count(&customer.client_id, turn.is_ok());
    if let Err(wait) = turn {
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too many calls: wait as long as Retry-After says");
        return Ok((retry_after(wait), problem).into_response());
    }
    request.extensions_mut().insert(Errand { correlation, customer });
    Ok(next.run(request).await)
}

/// Whose calls are limited together: those of one customer by one client. By the client alone, all customers of a front would
/// wait for one of them, since their tokens are the front's.
fn caller_of(customer: &OnBehalfOf) -> (&str, &str) {
    (&customer.client_id, &customer.sub)
}

/// What is searched for.
#[derive(Debug, Deserialize)]
struct Search {
    #[serde(default)]
    search: String,
}

/// The path at inventory of what is searched for.
pub(crate) fn search_path(text: &str) -> String {
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("search", text).finish();
    format!("/items?{query}")
}

async fn items(
    State(door): State<Door>,
    Extension(errand): Extension<Errand>,
    Query(search): Query<Search>,
) -> Result<impl IntoResponse, Problem> {
    let found = door.inventory.get::<Vec<Item>>(&errand, &search_path(&search.search)).await?;
    Ok((Extension(found.hops), Json(found.content)))
}

/// What a customer orders.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Basket {
    items: Vec<Line>,
}

async fn place(
    State(door): State<Door>,
    Extension(errand): Extension<Errand>,
    headers: HeaderMap,
    basket: Result<Json<Basket>, JsonRejection>,
) -> Result<impl IntoResponse, Problem> {
    let Json(basket) = basket.map_err(|wrong| Problem::new(StatusCode::BAD_REQUEST, wrong.body_text()))?;
    let key = headers.get(IDEMPOTENCY_KEY).map(|key| {
        let wrong = || {
            Problem::new(StatusCode::BAD_REQUEST, format!("Idempotency-Key is 1 to {LONGEST_KEY} visible characters"))
        };
        let key = key.to_str().ok().filter(|key| (1..=LONGEST_KEY).contains(&key.len()));
        key.ok_or_else(wrong)
    });
    let order = json!({"key": key.transpose()?, "items": basket.items});
    let placed = door.order.post::<Value>(&errand, "/orders", &order).await?;
    Ok((StatusCode::CREATED, Extension(placed.hops), Json(placed.content)))
}

async fn look_up(
    State(door): State<Door>,
    Extension(errand): Extension<Errand>,
    Path(id): Path<String>,
) -> Result<(Extension<Hops>, Json<Value>), Problem> {
    let found = door.order.get::<Value>(&errand, &format!("/orders/{id}")).await?;
    Ok((Extension(found.hops), Json(found.content)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn customers_of_one_front_do_not_wait_for_one_another() {
        let customer = |sub: &str| OnBehalfOf::of_token(&json!({"sub": sub, "azp": "front"})).unwrap();
        let throttle = Throttle::new(NonZeroU32::MIN);
        let bot = customer("bot");
        assert!((0..20).any(|_| throttle.take(caller_of(&bot)).is_err()));
        // One in 65,536 shares a bucket; of four, not all do.
        assert!(["alice", "bob", "carol", "dave"].iter().any(|sub| throttle.take(caller_of(&customer(sub))).is_ok()));
    }
}
