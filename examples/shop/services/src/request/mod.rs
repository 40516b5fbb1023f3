//! `shop request`: one call, from wherever a pod or a person may be, with whatever proof is wanted. For experiments and attacks:
//! it does not use the workload library, and verifies nobody if it is told so.

mod connection;
mod grpc;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use axum::body::Bytes;
use clap::Args;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Uri};
use http_body_util::{BodyExt, Full, Limited};

use self::connection::{Connection, Failure};

/// Longest body that is printed, in bytes.
const LONGEST: usize = 1 << 20;

/// Prints exactly one line, whatever comes of it: `answered STATUS BODY`, `grpc CODE MESSAGE`, or `failed at tcp|tls|http: REASON`.
#[derive(Debug, Args)]
pub(crate) struct Request {
    /// Where to, e.g. `https://payment.settlement.svc`, or `http://` without TLS. For gRPC without a path.
    url: Uri,
    /// Show this certificate (PEM).
    #[arg(long, requires = "key")]
    cert: Option<PathBuf>,
    /// Its private key (PEM).
    #[arg(long, requires = "cert")]
    key: Option<PathBuf>,
    /// Verify the server by these roots (PEM).
    #[arg(long, value_delimiter = ',', conflicts_with = "insecure")]
    roots: Option<Vec<PathBuf>>,
    /// Take any server.
    #[arg(long)]
    insecure: bool,
    /// Send this token.
    #[arg(long, conflicts_with = "bearer_file")]
    bearer: Option<String>,
    /// Send the token in a file; `-` is standard input.
    #[arg(long)]
    bearer_file: Option<PathBuf>,
    /// Call this method by gRPC, e.g. `shop.payment.v1.Payment/Charge`.
    #[arg(long)]
    grpc: Option<String>,
    /// Speak HTTP/2.
    #[arg(long)]
    http2: bool,
    /// Send this; for gRPC as JSON. Then the method is POST.
    #[arg(short = 'd', long = "data")]
    data: Option<String>,
    /// Another method.
    #[arg(short = 'X', long)]
    method: Option<Method>,
    /// Send this header too, as `NAME: VALUE`. May be given several times.
    #[arg(short = 'H', long = "header", value_parser = header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// How long each step may take.
    #[arg(long, default_value = "3s", value_parser = crate::tls::duration)]
    timeout: Duration,
    /// The name that the server must have, in place of the URL's.
    #[arg(long)]
    server_name: Option<String>,
    /// Connect to this HOST:PORT, in place of the URL's.
    #[arg(long)]
    connect: Option<String>,
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("write it as NAME: VALUE")?;
    let wrong = |error: &dyn std::error::Error| error.to_string();
    let name = name.trim().parse().map_err(|error| wrong(&error as &http::header::InvalidHeaderName))?;
    Ok((name, value.trim().parse().map_err(|error| wrong(&error as &http::header::InvalidHeaderValue))?))
}

impl Request {
    /// # Errors
    /// When the command line asks for something that can't be done.
    pub(crate) async fn run(self) -> Result<()> {
        let request = self.request()?;
        let connection = self.connection()?;
        let line = match self.exchange(&connection, request).await {
            Ok(line) => line,
            Err(failure) => failure.to_string(),
        };
        let line = line.trim_end().replace(['\r', '\n'], " ");
        writeln!(std::io::stdout(), "{line}").context("standard output can't be written")
    }

    fn connection(&self) -> Result<Connection> {
        let host = self.url.host().context("the URL has no host")?;
        let encrypted = match self.url.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => bail!("the URL begins with neither https:// nor http://"),
        };
        if encrypted && self.roots.is_none() && !self.insecure {
            bail!("--roots says who the server may be, and --insecure takes anyone: one of them is needed");
        }
        let port = self.url.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
        let http2 = self.http2 || self.grpc.is_some();
        let tls = if encrypted { Some(self.tls(http2)?) } else { None };
        Ok(Connection {
            address: self.connect.clone().unwrap_or_else(|| format!("{host}:{port}")),
            server_name: self.server_name.clone().unwrap_or_else(|| host.trim_matches(['[', ']']).to_owned()),
            tls,
            http2,
            patience: self.timeout,
        })
    }

    fn tls(&self, http2: bool) -> Result<rustls::ClientConfig> {
        let builder = crate::tls::trusting(self.roots.as_deref())?;
        let mut tls = match (&self.cert, &self.key) {
            (Some(certificate), Some(key)) => {
                let shown = (crate::tls::certificates(certificate)?, crate::tls::key(key)?);
                builder.with_client_auth_cert(shown.0, shown.1).context("the certificate can't be shown")?
            }
            _ => builder.with_no_client_auth(),
        };
        tls.alpn_protocols = vec![if http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        Ok(tls)
    }

    fn request(&self) -> Result<http::Request<Full<Bytes>>> {
        let (path, content, kind) = match &self.grpc {
            Some(method) => {
                let message = grpc::message(method, self.data.as_deref().unwrap_or("{}"))?;
                (format!("/{method}"), message, "application/grpc")
            }
            None => {
                let path = self.url.path_and_query().map_or("/", |path| path.as_str());
                (path.to_owned(), self.data.clone().unwrap_or_default().into(), "application/json")
            }
        };
        let posts = self.grpc.is_some() || self.data.is_some();
        let authority = self.url.authority().context("the URL has no host")?.as_str();
        let scheme = self.url.scheme_str().unwrap_or("https");
        let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build()?;
        let mut request = http::Request::new(Full::from(content));
        *request.method_mut() = self.method.clone().unwrap_or(if posts { Method::POST } else { Method::GET });
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(http::header::HOST, authority.parse()?);
        if posts {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        if self.grpc.is_some() {
            headers.insert(http::header::TE, HeaderValue::from_static("trailers"));
        }
        if let Some(token) = self.token()? {
            let value = HeaderValue::try_from(format!("Bearer {token}")).context("the token is no header's value")?;
            headers.insert(AUTHORIZATION, value);
        }
        headers.extend(self.headers.iter().cloned().map(|(name, value)| (Some(name), value)));
        Ok(request)
    }

    fn token(&self) -> Result<Option<String>> {
        let Some(file) = &self.bearer_file else { return Ok(self.bearer.clone()) };
        let mut token = String::new();
        if file == Path::new("-") {
            std::io::stdin().read_to_string(&mut token).context("standard input can't be read")?;
        } else {
            token = std::fs::read_to_string(file).with_context(|| format!("{} can't be read", file.display()))?;
        }
        Ok(Some(token.trim().to_owned()))
    }

    async fn exchange(&self, to: &Connection, request: http::Request<Full<Bytes>>) -> Result<String, Failure> {
        let (head, body) = to.send(request).await?.into_parts();
        let body = tokio::time::timeout(self.timeout, Limited::new(body, LONGEST).collect()).await;
        let body = body.map_err(|_| Failure::late("http", self.timeout))?.map_err(|error| Failure::http(&*error))?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        let content = body.to_bytes();
        if let Some(method) = &self.grpc
            && let Some(line) = grpc::outcome(method, &head.headers, &trailers, &content)
        {
            return Ok(line);
        }
        Ok(format!("answered {} {}", head.status.as_u16(), String::from_utf8_lossy(&content)))
    }
}
