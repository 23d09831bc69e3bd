//! The pages for people: the API's documentation, rendered from the OpenAPI document, and an explanation of each
//! problem. They have no script, and load nothing from outside.

use askama::Template;
use serde_json::Value;
use utoipa::openapi::OpenApi;

use super::problem::{KINDS, Kind};

/// The style sheet of the pages.
pub(super) const STYLE: &str = include_str!("templates/style.css");
/// The things that a browser may do on a page.
pub(super) const CSP: &str =
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[derive(Template)]
#[template(path = "docs.html", config = "src/server/askama.toml")]
struct Docs<'a> {
    title: &'a str,
    version: &'a str,
    description: Vec<&'a str>,
    groups: Vec<Group<'a>>,
    schemas: Vec<Schema<'a>>,
}

#[derive(Template)]
#[template(path = "problem.html", config = "src/server/askama.toml")]
struct ProblemPage<'a> {
    kind: &'a Kind,
}

/// The operations under a tag.
struct Group<'a> {
    id: String,
    name: &'a str,
    description: &'a str,
    operations: Vec<Operation<'a>>,
}

struct Operation<'a> {
    id: String,
    method: String,
    path: &'a str,
    summary: &'a str,
    description: Vec<&'a str>,
    scope: String,
    parameters: Vec<Row<'a>>,
    bodies: Vec<Body<'a>>,
    answers: Vec<Answer<'a>>,
}

/// A parameter, or a member of a shape.
struct Row<'a> {
    name: &'a str,
    place: &'a str,
    kind: String,
    text: &'a str,
}

/// A body's type, and the name of its shape if it has one.
struct Body<'a> {
    media_type: &'a str,
    kind: String,
    link: String,
}

struct Answer<'a> {
    status: &'a str,
    bodies: Vec<Body<'a>>,
    text: &'a str,
    problems: Vec<&'static Kind>,
}

struct Schema<'a> {
    name: &'a str,
    text: &'a str,
    kind: String,
    rows: Vec<Row<'a>>,
    example: String,
}

/// The documentation as a page.
pub(super) fn page(document: &OpenApi) -> String {
    let document = serde_json::to_value(document).expect("plain JSON");
    let docs = Docs {
        title: text(&document["info"]["title"]),
        version: text(&document["info"]["version"]),
        description: paragraphs(&document["info"]["description"]),
        groups: groups(&document),
        schemas: members(&document["components"]["schemas"]).map(|(name, schema)| shape(name, schema)).collect(),
    };
    docs.render().expect("a template without errors of its own")
}

/// The explanation of a problem; `None` if there is none with this name.
pub(super) fn problem_page(name: &str) -> Option<String> {
    let kind = KINDS.iter().find(|kind| kind.name == name)?;
    Some(ProblemPage { kind }.render().expect("a template without errors of its own"))
}

fn groups(document: &Value) -> Vec<Group<'_>> {
    let all: Vec<(&str, Operation<'_>)> = members(&document["paths"])
        .flat_map(|(path, item)| members(item).map(move |(method, operation)| (path, method, operation)))
        .filter(|(_, _, operation)| operation["responses"].is_object())
        .map(|(path, method, operation)| (text(&operation["tags"][0]), read_operation(path, method, operation)))
        .collect();
    let mut groups: Vec<Group<'_>> = items(&document["tags"])
        .map(|tag| Group {
            id: text(&tag["name"]).replace(' ', "-"),
            name: text(&tag["name"]),
            description: text(&tag["description"]),
            operations: Vec::new(),
        })
        .collect();
    for (tag, operation) in all {
        if let Some(group) = groups.iter_mut().find(|group| group.name == tag) {
            group.operations.push(operation);
        }
    }
    groups
}

fn read_operation<'a>(path: &'a str, method: &str, operation: &'a Value) -> Operation<'a> {
    let scope = match &operation["security"][0]["key"] {
        Value::Array(scopes) => match scopes.first() {
            Some(scope) => format!("Scope: {}", text(scope)),
            None => "Any key".to_owned(),
        },
        _ => "No key is needed".to_owned(),
    };
    let parameters = items(&operation["parameters"]).map(|parameter| Row {
        name: text(&parameter["name"]),
        place: text(&parameter["in"]),
        kind: kind_of(&parameter["schema"]),
        text: text(&parameter["description"]),
    });
    let answers = members(&operation["responses"]).map(|(status, answer)| {
        let of_status = |kind: &&Kind| kind.status.to_string() == status;
        let description = text(&answer["description"]);
        let named: Vec<&'static Kind> = KINDS
            .iter()
            .copied()
            .filter(of_status)
            .filter(|kind| description.contains(&format!("`{}`", kind.name)))
            .collect();
        Answer {
            status,
            bodies: bodies(&answer["content"]),
            text: if named.is_empty() { description } else { "" },
            problems: named,
        }
    });
    Operation {
        id: format!("{method}{}", path.replace(['/', '{', '}'], "-")),
        method: method.to_uppercase(),
        path,
        summary: text(&operation["summary"]),
        description: paragraphs(&operation["description"]),
        scope,
        parameters: parameters.collect(),
        bodies: bodies(&operation["requestBody"]["content"]),
        answers: answers.collect(),
    }
}

fn bodies(content: &Value) -> Vec<Body<'_>> {
    members(content)
        .map(|(media_type, content)| Body {
            media_type,
            kind: kind_of(&content["schema"]),
            link: link_of(&content["schema"]).unwrap_or_default().to_owned(),
        })
        .collect()
}

fn shape<'a>(name: &'a str, schema: &'a Value) -> Schema<'a> {
    let required: Vec<&str> = items(&schema["required"]).map(text).collect();
    let rows = members(&schema["properties"]).map(|(name, property)| Row {
        name,
        place: if required.contains(&name) { "" } else { " (may be absent)" },
        kind: kind_of(property),
        text: text(&property["description"]),
    });
    let example = match &schema["example"] {
        Value::Null => String::new(),
        example => serde_json::to_string_pretty(example).expect("plain JSON"),
    };
    Schema { name, text: text(&schema["description"]), kind: kind_of(schema), rows: rows.collect(), example }
}

/// A schema's type in a few words.
fn kind_of(schema: &Value) -> String {
    if let Some(name) = link_of(schema) {
        return name.to_owned();
    }
    for either in ["oneOf", "anyOf", "allOf"] {
        let kinds: Vec<String> = items(&schema[either]).map(kind_of).collect();
        if !kinds.is_empty() {
            return kinds.join(if either == "allOf" { " and " } else { " or " });
        }
    }
    let values: Vec<String> = items(&schema["enum"]).map(ToString::to_string).collect();
    if !values.is_empty() {
        return values.join(" or ");
    }
    match &schema["type"] {
        Value::Array(kinds) => kinds.iter().map(text).collect::<Vec<_>>().join(" or "),
        Value::String(kind) if kind == "array" => format!("array of {}", kind_of(&schema["items"])),
        Value::String(kind) if kind == "object" && schema["properties"].is_object() => {
            let names = members(&schema["properties"]).map(|(name, member)| match items(&member["enum"]).next() {
                Some(value) => format!("{name} {value}"),
                None => name.to_owned(),
            });
            format!("object with {}", names.collect::<Vec<_>>().join(", "))
        }
        Value::String(kind) => kind.clone(),
        _ => "any value".to_owned(),
    }
}

fn link_of(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.strip_prefix("#/components/schemas/")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn paragraphs(value: &Value) -> Vec<&str> {
    text(value).split("\n\n").filter(|paragraph| !paragraph.is_empty()).collect()
}

fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
