//! Servers and clients in both languages.

use std::future::Future;
use std::time::Duration;

use axum::body::Body;
use axum::{Extension, Router};
use http::Request;
use http::header::AUTHORIZATION;
use http_body_util::BodyExt;
use ringfence_workload::{Caller, Client as RustClient, Mounts, OnBehalfOf, Reload, Workload};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::go::Program;
use crate::pod::Pod;
use crate::shop::PORT;

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Language {
    Go,
    Rust,
}

pub const LANGUAGES: [Language; 2] = [Language::Go, Language::Rust];

/// Each server with each client.
pub fn pairs() -> impl Iterator<Item = (Language, Language)> {
    LANGUAGES.into_iter().flat_map(|server| LANGUAGES.map(|client| (server, client)))
}

/// A service that answers with who called. It ends with this value.
pub struct Server {
    pub url: String,
    running: Running,
}

enum Running {
    Go(Program),
    Rust { reloads: watch::Receiver<Reload>, _stop: DropGuard },
}

impl Server {
    pub async fn start(language: Language, pod: &Pod) -> Self {
        let (port, running) = match language {
            Language::Go => {
                let more = ["-port", &PORT.to_string(), "-listen", "127.0.0.1:0"];
                let mut program = Program::start("serve", pod.path(), &more);
                let line = in_time(program.logs("address=")).await;
                (line.rsplit(':').next().unwrap().parse::<u16>().unwrap(), Running::Go(program))
            }
            Language::Rust => {
                let workload = open(pod);
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let (port, stop) = (listener.local_addr().unwrap().port(), CancellationToken::new());
                let running = Running::Rust { reloads: workload.reloads(), _stop: stop.clone().drop_guard() };
                let router = Router::new().fallback(who_called);
                tokio::spawn(async move { workload.server(PORT).serve(listener, router, stop).await });
                (port, running)
            }
        };
        Self { url: format!("https://localhost:{port}/"), running }
    }

    /// Waits until it has taken up what was mounted last.
    pub async fn takes_up(&mut self) {
        match &mut self.running {
            Running::Go(program) => in_time(took_up(program)).await,
            Running::Rust { reloads, .. } => in_time(reloads.changed()).await.unwrap(),
        }
    }
}

async fn who_called(Extension(caller): Extension<Caller>) -> String {
    let on_behalf_of = caller.claims.as_ref().and_then(|claims| claims.get("obo")).cloned();
    let mut said = json!({"caller": caller.spiffe_id.map(|id| id.to_string())});
    if let Some(user) = on_behalf_of {
        said["onBehalfOf"] = user;
    }
    said.to_string()
}

/// Calls by what is mounted. It ends with this value.
pub enum Client {
    Go(Program),
    Rust { client: RustClient, reloads: watch::Receiver<Reload> },
}

/// What came of a call: status and body, or why there was none.
pub type Answer = Result<(u16, String), String>;

impl Client {
    pub fn start(language: Language, pod: &Pod) -> Self {
        match language {
            Language::Go => Self::Go(Program::start("call", pod.path(), &[])),
            Language::Rust => {
                let workload = open(pod);
                Self::Rust { client: workload.client(), reloads: workload.reloads() }
            }
        }
    }

    pub async fn call(&mut self, server: &Server) -> Answer {
        match self {
            Self::Go(program) => {
                let line = in_time(program.ask(&server.url)).await;
                match line.split_once(' ').map(|(status, body)| (status.parse(), body)) {
                    Some((Ok(status), body)) => Ok((status, body.to_owned())),
                    _ => Err(line),
                }
            }
            Self::Rust { client, .. } => send(client, Request::get(&server.url)).await,
        }
    }

    /// Waits until it has taken up what was mounted last.
    pub async fn takes_up(&mut self) {
        match self {
            Self::Go(program) => in_time(took_up(program)).await,
            Self::Rust { reloads, .. } => in_time(reloads.changed()).await.unwrap(),
        }
    }
}

/// Calls with any token, from a pod whose `access.json` demands none.
pub async fn call_with(pod: &Pod, server: &Server, token: &str) -> Answer {
    send(&open(pod).client(), Request::get(&server.url).header(AUTHORIZATION, format!("Bearer {token}"))).await
}

/// Calls on behalf of a user.
pub async fn call_on_behalf_of(pod: &Pod, server: &Server, user: &Value) -> Answer {
    send(&open(pod).client(), Request::get(&server.url).extension(OnBehalfOf(user.clone()))).await
}

async fn send(client: &RustClient, request: http::request::Builder) -> Answer {
    let answer = in_time(client.request(request.body(Body::empty()).unwrap())).await;
    let answer = answer.map_err(|error| format!("{:#}", anyhow::Error::from(error)))?;
    let status = answer.status().as_u16();
    let body = in_time(answer.into_body().collect()).await.unwrap().to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

fn open(pod: &Pod) -> Workload {
    Workload::open(Mounts::below(pod.path())).unwrap()
}

async fn took_up(program: &mut Program) {
    program.logs("took up what was delivered").await;
}

async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it takes no longer")
}
