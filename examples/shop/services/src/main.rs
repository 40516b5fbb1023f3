//! The `shop` command: the six services of the example, their customer, and a client for experiments.

mod behalf;
mod calls;
mod correlation;
mod customer;
mod delivery;
mod errand;
mod front;
mod gateway;
mod graphql;
mod grpc;
mod hop;
mod inventory;
mod ledger;
mod metrics;
mod observability;
mod observe;
mod order;
mod order_book;
mod payment;
mod peer;
mod problem;
mod protocols;
mod request;
mod service;
mod settlement;
mod stock;
mod telemetry;
mod throttle;
mod tls;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

/// The example shop.
#[derive(Debug, Parser)]
#[command(name = "shop", version)]
enum Command {
    /// The one door: REST and GraphQL for customers with an access token.
    Gateway(gateway::Gateway),
    /// The shop in a browser: logs customers in at an issuer, keeps their tokens, and calls the gateway for them.
    Front(front::Front),
    /// Knows what is in stock. Called by certificate.
    Inventory(inventory::Inventory),
    /// Takes orders. Called by certificate; calls payment and delivery with tokens that it signs.
    Order(order::Order),
    /// Takes the money (gRPC). Called with a token that the caller signed.
    Payment(payment::Payment),
    /// Sends the parcel (gRPC). Called with a token that the caller signed.
    Delivery(delivery::Delivery),
    /// A customer on the command line: gets an access token, searches, orders.
    Customer(customer::Customer),
    /// Makes one call, with whatever proof is wanted, and prints one line about what came of it.
    Request(request::Request),
    /// Does nothing until it is told to stop: for a pod to make requests from.
    Wait,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Command::parse()).await {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "shop: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Gateway(gateway) => gateway.run().await?,
        Command::Front(front) => front.run().await?,
        Command::Inventory(inventory) => inventory.run().await?,
        Command::Order(order) => order.run().await?,
        Command::Payment(payment) => payment.run().await?,
        Command::Delivery(delivery) => delivery.run().await?,
        Command::Customer(customer) => return customer.run().await,
        Command::Request(request) => request.run().await?,
        Command::Wait => {
            signal(SignalKind::terminate())?.recv().await;
        }
    }
    Ok(ExitCode::SUCCESS)
}
