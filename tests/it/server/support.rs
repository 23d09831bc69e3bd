//! A running API, its keys, and a client that holds every answer against the OpenAPI document.

use std::collections::BTreeSet;

use reqwest::{Method, Request, RequestBuilder};
use serde_json::{Value, json};

use crate::support::*;

/// An installation with a server.
pub(super) struct Api {
    pub(super) here: Installation,
    pub(super) process: Process,
    pub(super) address: String,
    pub(super) client: reqwest::Client,
    /// A key with the scope `admin`.
    pub(super) admin: String,
    /// The OpenAPI document.
    pub(super) document: Value,
}

/// An answer.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: reqwest::header::HeaderMap,
    pub(super) bytes: Vec<u8>,
    /// The body; `null` if it is not JSON.
    pub(super) json: Value,
}

impl Api {
    /// A server with the default settings, on an address of its own.
    pub(super) async fn start(receiver: &Receiver) -> Self {
        Self::of(Installation::new(receiver).await, []).await
    }

    /// A server of this installation with more settings.
    pub(super) async fn of<const N: usize>(here: Installation, extra: [(&str, &str); N]) -> Self {
        let (process, address) = serve(&here.program, &extra).await;
        // Only the first test of this process installs it.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let document = client.get(format!("http://{address}/openapi.json")).send().await.unwrap();
        let document = serde_json::from_slice(&document.bytes().await.unwrap()).unwrap();
        let mut api = Self { here, process, address, client, admin: String::new(), document };
        api.admin = api.key(&["--scope", "admin"]).await;
        api
    }

    /// Makes a key with these flags of `apikey add`.
    pub(super) async fn key(&self, flags: &[&str]) -> String {
        let arguments = ["apikey", "add", "--name", "test"].into_iter().chain(flags.iter().copied());
        let added = self.here.program.json(arguments).await;
        added["key"].as_str().unwrap().to_owned()
    }

    /// A request with the key of the administrator.
    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.bare(method, path).bearer_auth(&self.admin)
    }

    /// A request without a key.
    pub(super) fn bare(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.address))
    }

    /// Sends a request, and holds the answer against the document.
    pub(super) async fn send(&self, request: RequestBuilder) -> Reply {
        let request = request.build().unwrap();
        let asked = request.try_clone().unwrap();
        let response = self.client.execute(request).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await.unwrap().to_vec();
        let json = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        let reply = Reply { status, headers, bytes, json };
        assert!(reply.header("request-id").is_some(), "each answer has an id: {reply:?}");
        self.hold_against_document(&asked, &reply);
        reply
    }

    pub(super) async fn get(&self, path: &str) -> Reply {
        self.send(self.request(Method::GET, path)).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send(with_json(self.request(Method::POST, path), body)).await
    }

    pub(super) async fn delete(&self, path: &str) -> Reply {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// Adds a webhook to an account, and answers its id.
    pub(super) async fn add(&self, account: &str, url: &str) -> String {
        let added = self.post(&format!("/v1/accounts/{account}/webhooks"), &json!({"url": url})).await;
        assert_eq!(added.status, 201, "{added:?}");
        added.json["id"].as_str().unwrap().to_owned()
    }

    /// The documented paths: each with its methods in capitals and their operations.
    pub(super) fn operations(&self) -> Vec<(String, Method, Value)> {
        let paths = self.document["paths"].as_object().unwrap();
        let of = |(path, item): (&String, &Value)| {
            let item = item.as_object().unwrap().clone();
            let operations = item.into_iter().filter(|(_, operation)| operation["responses"].is_object());
            let path = path.clone();
            operations
                .map(move |(method, operation)| (path.clone(), method.to_uppercase().parse().unwrap(), operation))
                .collect::<Vec<_>>()
        };
        paths.iter().flat_map(of).collect()
    }

    /// The operation of a request; `None` if the document has none.
    fn operation(&self, method: &Method, path: &str) -> Option<Value> {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let given: Vec<&str> = path.split('/').collect();
        let is_it = |template: &str| {
            let parts: Vec<&str> = template.split('/').collect();
            parts.len() == given.len()
                && parts.iter().zip(&given).all(|(part, given)| part == given || part.starts_with('{'))
        };
        // A path without parameters goes before one with.
        let mut found: Vec<_> =
            self.operations().into_iter().filter(|(path, of, _)| of == method && is_it(path)).collect();
        found.sort_by_key(|(path, ..)| path.matches('{').count());
        found.into_iter().next().map(|(_, _, operation)| operation)
    }

    /// Each answer has a status that the document has, and a body of the shape that it states.
    fn hold_against_document(&self, request: &Request, reply: &Reply) {
        let asked = format!("{} {} -> {}", request.method(), request.url().path(), reply.status);
        let has_body = reply.status != 304 && request.method() != Method::HEAD;
        assert!(has_body || reply.bytes.is_empty(), "{asked} has a body");
        let media_type = reply.header("content-type").unwrap_or_default();
        let Some(operation) = self.operation(request.method(), request.url().path()) else {
            // Nothing is there: the two problems of every server.
            assert!([404, 405].contains(&reply.status), "{asked} is not in the document");
            if has_body {
                self.is_of_shape(&asked, &json!({"$ref": "#/components/schemas/Problem"}), &reply.json);
            }
            return;
        };
        let documented = &operation["responses"][reply.status.to_string()];
        assert!(documented.is_object(), "{asked} is not in the document: {}", String::from_utf8_lossy(&reply.bytes));
        if !has_body {
            return;
        }
        let essence = media_type.split(';').next().unwrap();
        let content = &documented["content"][essence];
        assert!(content.is_object(), "{asked} answers {media_type}, and the document has {documented}");
        if essence.ends_with("json") {
            assert!(!reply.json.is_null(), "{asked} answers no JSON");
            self.is_of_shape(&asked, &content["schema"], &reply.json);
        }
    }

    fn is_of_shape(&self, asked: &str, schema: &Value, instance: &Value) {
        let whole = json!({"components": self.document["components"], "allOf": [schema]});
        let validator = jsonschema::draft202012::new(&whole).unwrap();
        let faults: Vec<String> = validator.iter_errors(instance).map(|fault| fault.to_string()).collect();
        assert!(faults.is_empty(), "{asked}: {instance} is not of its documented shape: {faults:?}");
    }
}

/// Starts a server with more settings, and answers it with its address.
pub(super) async fn serve(program: &Program, extra: &[(&str, &str)]) -> (Process, String) {
    let program = program.clone().env("LYNKHOOK_SERVER__BIND", "127.0.0.1:0");
    let process = extra.iter().fold(program, |program, (name, value)| program.env(name, value)).start(["server"]);
    let line: Value = serde_json::from_str(&process.wait_for_line("the API is served").await).unwrap();
    let address = line["address"].as_str().unwrap().to_owned();
    (process, address)
}

/// The request with a JSON body.
pub(super) fn with_json(request: RequestBuilder, body: &Value) -> RequestBuilder {
    request.header("content-type", "application/json").body(body.to_string())
}

impl std::fmt::Debug for Reply {
    /// The body is text, so that people can read what failed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}\n{}", self.status, self.headers, String::from_utf8_lossy(&self.bytes))
    }
}

impl Reply {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).unwrap()
    }

    /// Asserts that this is a problem of this status and name, and answers the places that it names. A plain problem has
    /// the name "".
    #[track_caller]
    pub(super) fn problem(&self, status: u16, name: &str) -> BTreeSet<String> {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let kind = if name.is_empty() { "about:blank".to_owned() } else { format!("/problems/{name}") };
        assert_eq!(self.json["type"], kind, "{self:?}");
        assert_eq!(self.json["status"], status);
        assert_eq!(self.json["requestId"].as_str(), self.header("request-id"));
        assert!(self.json["title"].as_str().is_some_and(|title| !title.is_empty()), "{self:?}");
        assert!(self.json["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{self:?}");
        let errors = self.json["errors"].as_array().cloned().unwrap_or_default();
        let place = |error: &Value| error["pointer"].as_str().or(error["parameter"].as_str()).unwrap().to_owned();
        errors.iter().map(place).collect()
    }
}
