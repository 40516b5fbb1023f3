//! The gateway's GraphQL: what is on sale.

use std::sync::{Arc, Mutex};

use async_graphql::{Context, EmptyMutation, EmptySubscription, ID, Object, Request, Response, Schema, SimpleObject};
use axum::response::IntoResponse;
use axum::{Extension, Json};

use crate::errand::Errand;
use crate::gateway::search_path;
use crate::hop::Hops;
use crate::peer::Peer;
use crate::stock;

/// Deepest query that is answered.
const DEEPEST: usize = 8;
/// Most fields of a query that is answered, however they are named.
const MOST_FIELDS: usize = 50;

/// What is served.
pub(crate) type Shop = Schema<Query, EmptyMutation, EmptySubscription>;

/// Where questions begin.
pub(crate) struct Query {
    inventory: Peer,
}

/// A thing on sale.
#[derive(SimpleObject)]
struct Item {
    sku: ID,
    name: String,
    /// In cents.
    price: u64,
    in_stock: u32,
}

/// The calls that a query made.
#[derive(Default)]
struct Called(Mutex<Hops>);

#[Object]
impl Query {
    /// Things on sale that have a text in their name or number; all of them without one.
    async fn items(&self, context: &Context<'_>, search: Option<String>) -> async_graphql::Result<Vec<Item>> {
        let errand = context.data::<Errand>()?;
        let path = search_path(&search.unwrap_or_default());
        let found = self.inventory.get::<Vec<stock::Item>>(errand, &path).await;
        let found = found.map_err(|problem| async_graphql::Error::new(problem.message))?;
        if let Ok(mut called) = context.data::<Arc<Called>>()?.0.lock() {
            called.extend(found.hops);
        }
        let item =
            |item: stock::Item| Item { sku: ID(item.sku), name: item.name, price: item.cents, in_stock: item.in_stock };
        Ok(found.content.into_iter().map(item).collect())
    }
}

/// The schema, with limits to what one query may ask for.
pub(crate) fn schema(inventory: Peer) -> Shop {
    let schema = Schema::build(Query { inventory }, EmptyMutation, EmptySubscription);
    schema.limit_depth(DEEPEST).limit_complexity(MOST_FIELDS).finish()
}

/// Answers one query.
pub(crate) async fn answer(
    schema: Shop,
    Extension(errand): Extension<Errand>,
    Json(request): Json<Request>,
) -> impl IntoResponse {
    let called = Arc::new(Called::default());
    let response: Response = schema.execute(request.data(errand).data(called.clone())).await;
    let hops = called.0.lock().map(|hops| hops.clone()).unwrap_or_default();
    (Extension(hops), Json(response))
}
