//! Knows what is in stock, and sets things aside for orders.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use clap::Args;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::problem::Problem;
use crate::service::{Options, Service};
use crate::stock::{Item, Line, Reservation, Shortage, Stock};

/// `shop inventory`
#[derive(Debug, Args)]
pub(crate) struct Inventory {
    #[command(flatten)]
    options: Options,
}

type Shelf = Arc<Mutex<Stock>>;

impl Inventory {
    pub(crate) async fn run(self) -> Result<()> {
        let service = Service::start("inventory", self.options)?;
        let shelf = Shelf::new(Mutex::new(Stock::of_the_shop()));
        let router = Router::new().route("/items", get(items)).route("/reservations", post(reserve)).with_state(shelf);
        service.serve(router).await
    }
}

#[derive(Debug, Deserialize)]
struct Search {
    #[serde(default)]
    search: String,
}

async fn items(State(shelf): State<Shelf>, Query(search): Query<Search>) -> Json<Vec<Item>> {
    Json(shelf.lock().unwrap_or_else(PoisonError::into_inner).search(&search.search))
}

/// What is to be set aside.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Wanted {
    pub(crate) order: String,
    pub(crate) items: Vec<Line>,
}

async fn reserve(
    State(shelf): State<Shelf>,
    wanted: Result<Json<Wanted>, JsonRejection>,
) -> Result<Json<Reservation>, Problem> {
    let Json(wanted) = wanted.map_err(|wrong| Problem::new(StatusCode::BAD_REQUEST, wrong.body_text()))?;
    let mut shelf = shelf.lock().unwrap_or_else(PoisonError::into_inner);
    shelf.reserve(&wanted.order, &wanted.items).map(Json).map_err(|shortage| match shortage {
        Shortage::Invalid(message) => Problem::new(StatusCode::BAD_REQUEST, message),
        Shortage::Conflict(message) => Problem::new(StatusCode::CONFLICT, message),
    })
}
