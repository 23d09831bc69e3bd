//! HTTP/2 by hyper, for ordinary answers.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::{Ledger, Received};

pub(super) async fn serve(stream: TlsStream<TcpStream>, ledger: Arc<Ledger>, number: usize) -> io::Result<()> {
    let service = service_fn(move |request| answer(request, Arc::clone(&ledger), number));
    http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await
        .map_err(io::Error::other)
}

/// A client that resets the stream drops this future, and with it the exchange.
async fn answer(
    request: Request<Incoming>,
    ledger: Arc<Ledger>,
    number: usize,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let arrived = Instant::now();
    let (head, body) = request.into_parts();
    let (exchange, answer) = ledger.begin(Received {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().map(ToOwned::to_owned),
        version: Version::HTTP_2,
        headers: head.headers,
        body: body.collect().await?.to_bytes(),
        connection: number,
        arrived,
        ended: None,
    });
    let response = answer.when_due().await.response().expect("a plan over HTTP/2 has ordinary answers only");
    exchange.end();
    Ok(response.map(Full::new))
}
