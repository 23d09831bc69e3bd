//! The OpenAPI document: its head, and what all operations have in common.
//!
//! An operation names the problems of its own in the extension `x-problems`, by the names of `problem.rs`. Here they
//! become responses, together with those that follow from the operation's key, account and body.

use std::collections::BTreeMap;

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        Components, Content, Header, Info, License, OpenApi, OpenApiBuilder, Ref, RefOr, Required, ResponseBuilder,
        Tag,
        path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem},
        schema::{Schema, SchemaType, Type},
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use super::{
    door::SCHEME,
    problem::{Fault, KINDS, Kind, PROBLEM_JSON, ProblemJson},
};

/// The extension with the names of an operation's problems. `body` stands for those of a body that may be absent.
const PROBLEMS: &str = "x-problems";
/// The problems of every operation.
const OF_ALL: [&str; 2] = ["head-too-large", "internal"];
/// The problems of every operation with a key; each has a time limit.
const OF_KEY: [&str; 7] = [
    "invalid-query",
    "malformed",
    "unauthenticated",
    "forbidden",
    "rate-limited",
    "store-unreachable",
    "outcome-unknown",
];
/// The problems of every body.
const OF_BODY: [&str; 6] = ["malformed", "too-slow", "too-large", "unsupported-media-type", "busy", "invalid"];

/// The meanings of parameters that several operations have.
const PARAMETERS: [(&str, &str); 11] = [
    ("account", "The customer's account: 1 to 128 of `A-Z a-z 0-9 . _ : -`, but not `.` or `..`"),
    ("id", "The webhook's id, `wh_…`"),
    ("event", "The event type's name"),
    ("delivery", "The `deliveryId` of the list"),
    ("limit", "The most items of the answer, 1 to 100; 50 if it is absent"),
    ("after", "The `next` of the answer before, unchanged: the list goes on there"),
    ("partition", "Only entries of this partition"),
    ("dryRun", "`true`: only judge"),
    ("skipInvalid", "`true`: leave events with faults out"),
    ("If-Match", "The `ETag` that the client saw. If the webhook has another revision, nothing is changed"),
    ("If-None-Match", "The `ETag` of the answer that the client has. If it is still the same, the answer is 304"),
];

/// The document's beginning, to which the router adds its routes.
pub(super) fn head() -> OpenApi {
    let mut info = Info::new("Lynkhook", env!("CARGO_PKG_VERSION"));
    info.description = Some(
        "The HTTP API of Lynkhook, which delivers webhook events.\n\nEvery answer that is not a success is a problem \
         (RFC 9457) whose `type` is explained by this server. A path that does not exist is answered with 404, and a \
         method that a path does not take with 405 and the header Allow; both have the type `about:blank`. Every answer has a \
         `Request-Id`, and one to a key has `RateLimit` and `RateLimit-Policy`. Bytes that are no HTTP/1.1 request (such as a bad `Content-Length`), and a head of more than 64 KiB or 256 \
         headers, are answered with 400, 414 or 431 and no body. Lists have at most `limit` (1 to 100, 50 by default) items; send `next` as `after` for further \
         ones. In the body of a POST, a member that is `null` counts as absent. Only the two routes that enqueue look at `Idempotency-Key`; all others ignore it."
            .to_owned(),
    );
    let mut license = License::new("MIT");
    license.identifier = Some("MIT".to_owned());
    info.license = Some(license);
    let mut components = Components::new();
    let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("lynk_<id>_<secret>_<checksum>");
    let scheme =
        scheme.description(Some("An API key, made with `lynkhook apikey add`. The scope `admin` includes all others."));
    components.add_security_scheme(SCHEME, SecurityScheme::Http(scheme.build()));
    components.schemas.insert("Problem".to_owned(), ProblemJson::schema());
    components.schemas.insert(Fault::name().into_owned(), Fault::schema());
    let tag = |name, text: &str| {
        let mut tag = Tag::new(name);
        tag.description = Some(text.to_owned());
        tag
    };
    OpenApiBuilder::new()
        .info(info)
        .components(Some(components))
        .tags(Some([
            tag("events", "What happened, on its way to the webhooks"),
            tag("webhooks", "What an account's endpoints get, and how"),
            tag("logs", "What was attempted"),
            tag("deliveries", "What waits, and what failed"),
            tag("event types", "What can happen"),
            tag("portal", "Links to the settings screen"),
            tag("accounts", "Customers"),
            tag("queue", "For operators"),
            tag("key", "The key of a request"),
            tag("server", "The server itself; no key is needed"),
        ]))
        .build()
}

/// Gives every operation the responses of its problems, and every read 304.
///
/// # Panics
/// If an operation names a problem that does not exist.
pub(super) fn complete(document: &mut OpenApi) {
    for (path, item) in &mut document.paths.paths {
        if let Some(read) = item.get.as_mut().filter(|_| path.starts_with("/v1/")) {
            has_entity_tag(read);
        }
        for operation in operations(item) {
            operation.parameters.iter_mut().flatten().for_each(complete_parameter);
            let own = operation.extensions.as_mut().and_then(|all| all.remove(PROBLEMS));
            let own: Vec<String> = own.map_or_else(Vec::new, |names| serde_json::from_value(names).expect("names"));
            let mut names: Vec<&str> = own.iter().map(String::as_str).collect();
            names.extend(OF_ALL);
            if path.starts_with("/v1/") {
                names.extend(OF_KEY);
            }
            let is_optional = names.contains(&"body");
            if operation.request_body.is_some() || is_optional {
                names.retain(|name| *name != "body");
                names.extend(OF_BODY);
                if let Some(RefOr::T(body)) = &mut operation.request_body {
                    body.required = Some(if is_optional { Required::False } else { Required::True });
                }
            }
            respond(operation, &names);
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete].into_iter().flatten()
}

/// Gives a parameter its meaning. One that may be absent is never `null`.
fn complete_parameter(parameter: &mut RefOr<Parameter>) {
    let RefOr::T(parameter) = parameter else { return };
    if parameter.description.is_none() {
        let meaning = PARAMETERS.iter().find(|(name, _)| *name == parameter.name);
        parameter.description = meaning.map(|(_, meaning)| (*meaning).to_owned());
    }
    if let Some(RefOr::T(Schema::Object(object))) = &mut parameter.schema
        && let SchemaType::Array(kinds) = &mut object.schema_type
    {
        kinds.retain(|kind| *kind != Type::Null);
        if let [kind] = &kinds[..] {
            object.schema_type = SchemaType::Type(kind.clone());
        }
    }
}

/// The answer to every read has an entity tag.
fn has_entity_tag(read: &mut Operation) {
    let header = ParameterBuilder::new().name("If-None-Match").parameter_in(ParameterIn::Header);
    let header = header.required(Required::False).schema(Some(String::schema()));
    read.parameters.get_or_insert_default().push(header.build().into());
    let known = ResponseBuilder::new().description("The client has this answer").build();
    read.responses.responses.insert("304".to_owned(), RefOr::T(known));
    if let Some(RefOr::T(found)) = read.responses.responses.get_mut("200") {
        found.headers.entry("ETag".to_owned()).or_insert_with(|| Header::new(String::schema()).into());
    }
}

fn respond(operation: &mut Operation, names: &[&str]) {
    let mut by_status: BTreeMap<u16, Vec<&Kind>> = BTreeMap::new();
    for name in names {
        let kind =
            KINDS.iter().find(|kind| kind.name == *name).unwrap_or_else(|| panic!("no problem is called {name}"));
        let kinds = by_status.entry(kind.status).or_default();
        if !kinds.contains(kind) {
            kinds.push(kind);
        }
    }
    for (status, kinds) in by_status {
        let lines: Vec<String> = kinds.iter().map(|kind| format!("`{}`: {}", kind.name, kind.title)).collect();
        let content = Content::new(Some(RefOr::Ref(Ref::from_schema_name("Problem"))));
        let mut response =
            ResponseBuilder::new().description(lines.join("\n\n")).content(PROBLEM_JSON, content).build();
        if [429, 503].contains(&status) {
            let mut header = Header::new(u64::schema());
            header.description = Some("After this many seconds the request may be repeated".to_owned());
            response.headers.insert("Retry-After".to_owned(), header.into());
        }
        operation.responses.responses.insert(status.to_string(), RefOr::T(response));
    }
}
