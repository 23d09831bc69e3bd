//! A small web server of another site, which notes what it is asked.
//!
//! It is reached as `127.0.0.1` and as `localhost`. For the browser these are two sites, so that one in the page of the
//! other is a third party.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Response};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinSet};

/// A running server. Dropping it ends it.
pub struct Site {
    port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    _tasks: JoinSet<()>,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: Method,
    pub path: String,
    pub headers: HeaderMap,
}

pub type Reply = Response<Full<Bytes>>;

impl Site {
    /// A server that answers so.
    pub async fn start<F: Future<Output = Reply> + Send + 'static>(
        answer: impl Fn(Asked) -> F + Clone + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let mut tasks = JoinSet::new();
        let noted = Arc::clone(&asked);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, noted) = (answer.clone(), Arc::clone(&noted));
                let serve = service_fn(move |request: http::Request<Incoming>| {
                    let path = request.uri().path().to_owned();
                    let asked = Asked { method: request.method().clone(), path, headers: request.headers().clone() };
                    noted.lock().unwrap().push(asked.clone());
                    let reply = answer(asked);
                    async move { Ok::<_, Infallible>(reply.await) }
                });
                connections.spawn(async move {
                    // The browser may close a connection at any time.
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), serve).await;
                });
            }
        });
        Self { port, asked, _tasks: tasks }
    }

    /// A server that answers every path with this page.
    pub async fn of_page(html: &str) -> Self {
        let html = html.to_owned();
        Self::start(move |_| std::future::ready(page(&html))).await
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The same as another site.
    pub fn other_url(&self, path: &str) -> String {
        format!("http://localhost:{}{path}", self.port)
    }

    /// The requests so far of a path.
    pub fn asked(&self, path: &str) -> Vec<Asked> {
        self.asked.lock().unwrap().iter().filter(|asked| asked.path == path).cloned().collect()
    }
}

impl Asked {
    /// The cookies that came with it, as sent.
    pub fn cookies(&self) -> &str {
        self.headers.get("cookie").map_or("", |value| value.to_str().unwrap())
    }
}

/// A page of HTML: a body in a document with a title and a language.
pub fn page(body: &str) -> Reply {
    page_with(body, &[])
}

/// The same with further headers.
pub fn page_with(body: &str, headers: &[(&str, &str)]) -> Reply {
    let html = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>\
         <title>Page</title><main><h1>Page</h1>{body}</main></html>"
    );
    answer(200, "text/html", &html, headers)
}

pub fn answer(status: u16, media_type: &str, body: &str, headers: &[(&str, &str)]) -> Reply {
    let response = Response::builder().status(status).header("content-type", media_type);
    let response = headers.iter().fold(response, |response, (name, value)| response.header(*name, *value));
    response.body(Full::from(body.to_owned())).unwrap()
}
