//! An installation with a server, as a platform runs it, and links to its portal.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::*;

/// A running server that browsers reach.
pub struct World {
    pub here: Installation,
    pub process: Process,
    /// The address at which browsers reach the server: `http://127.0.0.1:<port>`.
    pub url: String,
    client: reqwest::Client,
    /// A key with the scope `admin`.
    key: String,
}

impl World {
    /// On the Redis that all tests share.
    pub async fn start(receiver: &Receiver) -> Self {
        Self::of(Installation::new(receiver).await, []).await
    }

    /// A server of this installation with more settings.
    pub async fn of<const N: usize>(here: Installation, extra: [(&str, &str); N]) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let program = extra.into_iter().fold(here.program.clone(), |program, (name, value)| program.env(name, value));
        let (process, url) = serve(&program, &client).await;
        let added = here.program.json(["apikey", "add", "--name", "platform", "--scope", "admin"]).await;
        let key = added["key"].as_str().unwrap().to_owned();
        Self { here, process, url, client, key }
    }

    /// The address of a page.
    pub fn page(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// A request to the API, as the platform's backend makes it. Answers status and body.
    pub async fn api(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        Backend::of(self).api(method, path, body).await
    }

    /// A link that opens the portal of an account for everything, payloads included.
    pub async fn link(&self, account: &str) -> String {
        self.link_with(account, json!({"access": "manage", "payloads": true})).await
    }

    /// A link with these properties.
    pub async fn link_with(&self, account: &str, link: Value) -> String {
        let (status, made) = Backend::of(self).link(account, link).await;
        assert_eq!(status, 201, "{made}");
        made["url"].as_str().unwrap().to_owned()
    }
}

/// The part of the platform that calls the API.
#[derive(Clone)]
pub struct Backend {
    client: reqwest::Client,
    url: String,
    key: String,
}

impl Backend {
    pub fn of(world: &World) -> Self {
        Self { client: world.client.clone(), url: world.url.clone(), key: world.key.clone() }
    }

    /// The address of something that the server serves.
    pub fn address(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    pub async fn link(&self, account: &str, link: Value) -> (u16, Value) {
        self.api(Method::POST, &format!("/v1/accounts/{account}/portal-links"), Some(link)).await
    }

    pub async fn api(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let request = self.client.request(method, format!("{}{path}", self.url)).bearer_auth(&self.key);
        let request = match body {
            Some(body) => request.header("content-type", "application/json").body(body.to_string()),
            None => request,
        };
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or(Value::Null))
    }
}

/// Starts a server whose public address is its own, and waits until it serves. Another process may take the port first.
async fn serve(program: &Program, client: &reqwest::Client) -> (Process, String) {
    for _ in 0..5 {
        let address = format!("127.0.0.1:{}", unused_port());
        let url = format!("http://{address}");
        let program = program.clone().env("LYNKHOOK_SERVER__BIND", &address).env("LYNKHOOK_SERVER__PUBLIC_URL", &url);
        let mut process = program.start(["server"]);
        let is_served = eventually(SOON, "the server serves or ends", async || {
            let answer = client.get(format!("{url}/healthz")).send().await;
            if answer.is_ok_and(|answer| answer.status() == 200) {
                Some(true)
            } else {
                process.has_ended().then_some(false)
            }
        });
        if is_served.await {
            return (process, url);
        }
        eprintln!("the server ended: {}{}", process.stdout(), process.stderr());
    }
    panic!("no server of five stayed");
}
