//! The OpenAPI document says what the router does: every route, every status, every scope.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use super::support::{Api, Reply, with_json};
use crate::support::Receiver;

/// A path of the document with something in place of each parameter.
fn filled(path: &str) -> String {
    path.replace("{account}", "acme")
        .replace("{id}", "wh_01890000-0000-7000-8000-000000000000")
        .replace("{event}", "transcript.created")
        .replace("{delivery}", "none")
        .replace("{name}", "invalid")
}

/// The scope that an operation states; `None`: any key.
fn scope(operation: &Value) -> Option<String> {
    operation["security"][0]["key"].as_array().unwrap().first().map(|scope| scope.as_str().unwrap().to_owned())
}

/// A request that an operation does not refuse for its body.
async fn call(api: &Api, method: &Method, path: &str, key: &str) -> Reply {
    let mut request = api.bare(method.clone(), &filled(path)).bearer_auth(key);
    if [Method::POST, Method::PATCH].contains(method) {
        request = with_json(request, &json!({}));
    }
    api.send(request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_documented_route_is_there_and_takes_the_documented_methods_only() {
    let api = Api::start(&Receiver::start().await).await;
    let operations = api.operations();
    assert!(operations.len() > 30, "the document has {} operations", operations.len());
    for path in operations.iter().map(|(path, ..)| path).collect::<BTreeSet<_>>() {
        let documented: Vec<&Method> =
            operations.iter().filter(|(of, ..)| of == path).map(|(_, method, _)| method).collect();
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS] {
            if documented.contains(&&method) {
                let reply = call(&api, &method, path, &api.admin).await;
                assert_ne!(reply.json["type"], "about:blank", "{method} {path} is not served: {reply:?}");
                continue;
            }
            let reply = api.send(api.request(method.clone(), &filled(path))).await;
            reply.problem(405, "");
            let allowed: BTreeSet<&str> = reply.header("allow").unwrap().split(',').map(str::trim).collect();
            let mut wanted: BTreeSet<&str> = documented.iter().map(|method| method.as_str()).collect();
            if wanted.contains("GET") {
                wanted.insert("HEAD");
            }
            assert_eq!(allowed, wanted, "{path}");
        }
    }
    for path in ["/", "/v1", "/v1/", "/v1/accounts", "/v1/accounts/acme/webhooks/", "/V1/key", "/v2/key", "/nothing"] {
        api.get(path).await.problem(404, "");
    }
    let reply = api.get(&format!("/v1/event-types/{}", api.admin)).await;
    reply.problem(404, "no-such-event-type");
    assert!(!reply.text().contains(&api.admin), "a key in the path is not repeated: {reply:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn head_answers_the_headers_of_get() {
    let api = Api::start(&Receiver::start().await).await;
    for path in ["/openapi.json", "/docs", "/v1/event-types", "/v1/nothing", "/v1/event-types/none"] {
        let (get, head) = (api.get(path).await, api.send(api.request(Method::HEAD, path)).await);
        assert_eq!(head.status, get.status, "{path}");
        for name in ["content-length", "content-type", "etag"] {
            assert_eq!(head.header(name), get.header(name), "{path}: {name}");
        }
        assert_eq!(get.header("content-length"), Some(get.bytes.len().to_string().as_str()), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_route_documents_its_refusal_of_a_large_head() {
    let api = Api::start(&Receiver::start().await).await;
    for (path, method, operation) in api.operations() {
        if !path.starts_with("/v1/") {
            let reply = api.send(api.bare(method, &filled(&path)).header("x-long", "a".repeat(17_000))).await;
            reply.problem(431, "head-too-large");
            assert!(operation["responses"]["500"].is_object(), "{path}");
        }
    }
    let text = api.document["info"]["description"].as_str().unwrap();
    assert!(text.contains("400, 414 or 431 and no body"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_route_needs_a_key_with_the_scope_that_the_document_states() {
    let api = Api::start(&Receiver::start().await).await;
    let scopes = [
        "events:write",
        "webhooks:read",
        "webhooks:write",
        "logs:read",
        "payloads:read",
        "portal",
        "queue:read",
        "admin",
    ];
    let mut keys = Vec::new();
    for scope in scopes {
        keys.push((scope, api.key(&["--scope", scope]).await));
    }
    let mut seen = BTreeSet::new();
    for (path, method, operation) in api.operations() {
        if !path.starts_with("/v1/") {
            assert_eq!(operation["security"], json!([{}]), "{path} is open, and the document says so");
            continue;
        }
        let mut bare = api.bare(method.clone(), &filled(&path));
        if [Method::POST, Method::PATCH].contains(&method) {
            bare = with_json(bare, &json!({}));
        }
        let reply = api.send(bare).await;
        reply.problem(401, "unauthenticated");
        assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
        let needed = scope(&operation);
        for (scope, key) in &keys {
            let reply = call(&api, &method, &path, key).await;
            let may = *scope == "admin" || needed.as_deref().is_none_or(|needed| needed == *scope);
            if may {
                assert!(![401, 403].contains(&reply.status), "{method} {path} with {scope}: {reply:?}");
            } else {
                reply.problem(403, "forbidden");
            }
        }
        seen.extend(needed);
    }
    assert_eq!(seen, scopes.map(str::to_owned).into(), "each scope opens something");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_one_account_opens_no_route_of_another() {
    let api = Api::start(&Receiver::start().await).await;
    let all = ["events:write", "webhooks:read", "webhooks:write", "logs:read", "payloads:read", "portal"];
    let flags: Vec<&str> = all.iter().flat_map(|scope| ["--scope", scope]).chain(["--account", "globex"]).collect();
    let key = api.key(&flags).await;
    let mut refused = 0;
    for (path, method, _) in api.operations() {
        if path.contains("{account}") || path.starts_with("/v1/queue") {
            call(&api, &method, &path, &key).await.problem(403, "forbidden");
            refused += 1;
        }
    }
    assert!(refused > 20, "only {refused} routes were tried");
    // Other spellings of its own account's path do not help either.
    for path in
        ["/v1/accounts/Globex/webhooks", "/v1/accounts/%67lobex2/webhooks", "/v1/accounts/globex%2F..%2Facme/webhooks"]
    {
        let status = api.send(api.bare(Method::GET, path).bearer_auth(&key)).await.status;
        assert!([400, 403, 404].contains(&status), "{path}: {status}");
    }
    let own = api.send(api.bare(Method::GET, "/v1/accounts/%67lobex/webhooks").bearer_auth(&key)).await;
    assert_eq!((own.status, &own.json), (200, &json!({"items": [], "next": null})), "its own account, percent-encoded");
    let me = api.send(api.bare(Method::GET, "/v1/key").bearer_auth(&key)).await;
    assert_eq!(me.json["account"], "globex");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_openapi_3_1_with_valid_schemas_and_its_page_loads_nothing_from_outside() {
    let api = Api::start(&Receiver::start().await).await;
    let document = &api.document;
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["title"], "Lynkhook");
    assert_eq!(document["info"]["license"]["identifier"], "MIT");
    let text = document.to_string();
    assert!(!text.contains("\"nullable\""), "OpenAPI 3.1 has no `nullable`");
    assert!(!text.contains("x-problems"));
    for (name, _) in document["components"]["schemas"].as_object().unwrap() {
        let schema = json!({"components": document["components"], "$ref": format!("#/components/schemas/{name}")});
        jsonschema::draft202012::new(&schema).unwrap_or_else(|fault| panic!("{name}: {fault}"));
    }
    // Each reference leads somewhere.
    for (at, _) in text.match_indices("\"#/components/schemas/") {
        let name = text[at + 1..].split('"').next().unwrap().rsplit('/').next().unwrap().to_owned();
        assert!(document["components"]["schemas"][&name].is_object(), "{name} is not in the document");
    }
    let ids: Vec<String> = api
        .operations()
        .iter()
        .map(|(_, _, operation)| operation["operationId"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "an operation's id occurs twice: {ids:?}");
    for (path, method, operation) in api.operations() {
        let declared: BTreeSet<&str> = operation["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|parameter| parameter["in"] == "path")
            .map(|parameter| parameter["name"].as_str().unwrap())
            .collect();
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            assert!(parameter["description"].is_string(), "{method} {path} does not explain {}", parameter["name"]);
            assert!(!parameter["schema"].to_string().contains("null"), "a parameter is absent, not null: {parameter}");
        }
        let named: BTreeSet<&str> = path.split(['{', '}']).skip(1).step_by(2).collect();
        assert_eq!(declared, named, "{method} {path}");
        assert!(
            operation["summary"].as_str().is_some_and(|summary| !summary.is_empty()),
            "{method} {path} has no summary"
        );
    }
    let page = api.send(api.bare(Method::GET, "/docs")).await;
    assert!(page.header("content-security-policy").unwrap().contains("default-src 'none'"));
    let page = page.text();
    assert!(
        page.contains("<code>Idempotency-Key</code>") && !page.contains('`'),
        "the marks of code are shown as code"
    );
    for outside in ["<script", "http://", "https://cdn", "style=", "onclick", "<img", "@import"] {
        assert!(!page.contains(outside), "the page has {outside}");
    }
    for (path, _, _) in api.operations() {
        assert!(page.contains(&path), "{path} is not on the page");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_problem_of_the_document_is_explained_by_this_server() {
    let api = Api::start(&Receiver::start().await).await;
    let text = api.document["paths"].to_string();
    let mut names = BTreeSet::new();
    for (_, _, operation) in api.operations() {
        for (status, response) in operation["responses"].as_object().unwrap() {
            if response["content"]["application/problem+json"].is_object() {
                let description = response["description"].as_str().unwrap();
                let found: Vec<&str> = description.split('`').skip(1).step_by(2).collect();
                assert!(!found.is_empty(), "{status} names no problem");
                names.extend(found.into_iter().map(str::to_owned));
            }
        }
    }
    assert!(names.len() > 20, "{names:?} in {text}");
    names.remove("about:blank");
    for name in names {
        let page = api.send(api.bare(Method::GET, &format!("/problems/{name}"))).await;
        assert_eq!(page.status, 200);
        assert!(page.text().contains(&name));
    }
    api.get("/problems/nothing").await.problem(404, "");
}
