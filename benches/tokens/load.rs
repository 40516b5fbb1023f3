//! The load: so many connections, each of which sends its next request when the last one is answered.
//!
//! It is bounded by its time and by a number of answers, goes to loopback addresses only, and knows each latency exactly.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::process::Server;

/// Connections of each load.
pub(crate) const CONNECTIONS: usize = 32;

/// No connection keeps more latencies than this, so that a load's memory is bounded.
const ANSWERS: usize = 1_000_000;

type Connection = SendRequest<Full<Bytes>>;

/// A server, and how to speak TLS with it.
#[derive(Clone)]
pub(crate) struct Target {
    address: SocketAddr,
    name: ServerName<'static>,
    tls: Arc<ClientConfig>,
}

/// What is asked, again and again.
pub(crate) struct Question {
    pub(crate) path: String,
    /// Value of the header `Authorization`.
    pub(crate) authorization: Option<String>,
    /// Forms, taken in turn by all connections together.
    pub(crate) forms: Vec<Bytes>,
    /// Each form can be sent once: the load ends with the last one.
    pub(crate) once: bool,
    /// Part of every right answer.
    pub(crate) expected: &'static str,
}

/// What came of a load.
#[derive(Default)]
pub(crate) struct Figures {
    /// Answers for each second, of each round.
    rates: Vec<f64>,
    /// Of all rounds, in microseconds.
    latencies: Vec<u32>,
    /// Processor time of the server in all rounds.
    processor_time: Duration,
}

impl Target {
    /// Only loopback addresses: a load is for servers of one's own.
    pub(crate) fn new(address: SocketAddr, name: &'static str, tls: ClientConfig) -> Self {
        assert!(address.ip().is_loopback(), "{address} is not a loopback address");
        Self { address, name: name.try_into().unwrap(), tls: Arc::new(tls) }
    }

    /// So many right answers.
    pub(crate) async fn ask(&self, question: &Arc<Question>, answers: usize) -> Vec<Bytes> {
        let one = async |first| {
            let mut connection = self.connect().await;
            let mut bodies = Vec::new();
            for form in (first..answers).step_by(CONNECTIONS) {
                bodies.push(answer(&mut connection, self, question, form).await);
            }
            bodies
        };
        join_all((0..CONNECTIONS).map(one)).await.concat()
    }

    /// The load of one round; its figures are added to those of the rounds before.
    pub(crate) async fn load(&self, server: &Server, question: &Arc<Question>, time: Duration, figures: &mut Figures) {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            connections.push(self.connect().await);
        }
        let processor_time = server.processor_time();
        let begin = Instant::now();
        let end = begin + time;
        let tasks: Vec<_> = (connections.into_iter().enumerate())
            .map(|(number, connection)| {
                tokio::spawn(one_connection(self.clone(), question.clone(), connection, number, end))
            })
            .collect();
        let before = figures.latencies.len();
        for task in tasks {
            figures.latencies.extend(task.await.unwrap());
        }
        figures.processor_time += server.processor_time() - processor_time;
        figures.rates.push(count(figures.latencies.len() - before) / begin.elapsed().as_secs_f64());
    }

    async fn connect(&self) -> Connection {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let stream = TlsConnector::from(self.tls.clone()).connect(self.name.clone(), stream).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }
}

impl Question {
    fn request(&self, target: &Target, form: usize) -> http::Request<Full<Bytes>> {
        let mut request = http::Request::post(&self.path)
            .header(HOST, target.name.to_str().as_ref())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        request.body(Full::new(self.forms[form % self.forms.len()].clone())).unwrap()
    }
}

async fn one_connection(
    target: Target,
    question: Arc<Question>,
    mut connection: Connection,
    first: usize,
    end: Instant,
) -> Vec<u32> {
    let mut latencies = Vec::with_capacity(4096);
    for form in (first..).step_by(CONNECTIONS) {
        let begin = Instant::now();
        if begin >= end || latencies.len() == ANSWERS || (question.once && form >= question.forms.len()) {
            break;
        }
        answer(&mut connection, &target, &question, form).await;
        latencies.push(u32::try_from(begin.elapsed().as_micros()).unwrap());
    }
    latencies
}

async fn answer(connection: &mut Connection, target: &Target, question: &Question, form: usize) -> Bytes {
    connection.ready().await.unwrap();
    let response = connection.send_request(question.request(target, form)).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let text = std::str::from_utf8(&body).unwrap();
    assert!(status == 200 && text.contains(question.expected), "{}: {status} {text}", question.path);
    body
}

impl Figures {
    /// Answers for each second: the median of the rounds.
    pub(crate) fn rate(&self) -> f64 {
        let mut rates = self.rates.clone();
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    }

    /// Processor time of the server for each answer. Other work on the machine, which lowers rates, hardly changes it.
    pub(crate) fn processor_time(&self) -> Duration {
        self.processor_time.div_f64(count(self.latencies.len()))
    }

    /// The latency that this share of all answers did not exceed.
    pub(crate) fn quantile(&mut self, share: f64) -> Duration {
        self.latencies.sort_unstable();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is below the length")]
        let rank = (count(self.latencies.len()) * share).ceil() as usize;
        Duration::from_micros(self.latencies[rank.saturating_sub(1)].into())
    }
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap())
}
