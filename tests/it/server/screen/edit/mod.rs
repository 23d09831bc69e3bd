//! The form that adds and edits a webhook.

mod conflict;

use lynkhook::webhooks::NewAuthentication;
use serde_json::{Value, json};

use super::support::*;
use crate::{server::support::Api, support::*};

/// A secret that no page may have. Its end may be shown.
const SECRET: &str = "planted-secret-value-9876";
const OTHER: &str = "another-secret-value-5432";
const URL: &str = "https://hooks.test/in";
const LIST: &str = "/v1/accounts/acme/webhooks";

/// A server, and a visitor who may change the webhooks of `acme`.
async fn screen() -> (Api, Visit) {
    let receiver = Receiver::start().await;
    let api = serve_screen(&receiver).await;
    let visit = Visit::manager(&api, "acme").await;
    (api, visit)
}

/// The fields of a form as a browser sends them, with some replaced. An empty list of values leaves a field out.
fn form<'a>(changes: &[(&'a str, &[&'a str])]) -> Vec<(&'a str, &'a str)> {
    let mut fields = vec![
        ("url", URL),
        ("event", "transcript.created"),
        ("authentication", "none"),
        ("token", ""),
        ("header_name", ""),
        ("header_value", ""),
        ("description", "CRM sync"),
        ("active", "true"),
    ];
    for (name, values) in changes {
        fields.retain(|(known, _)| known != name);
        fields.extend(values.iter().map(|value| (*name, *value)));
    }
    fields
}

const BEARER: (&str, &[&str]) = ("authentication", &["bearer"]);
const HEADER: (&str, &[&str]) = ("authentication", &["header"]);

/// Adds a webhook on the screen. Answers its id and the path of its form.
async fn added(visit: &Visit, changes: &[(&str, &[&str])]) -> (String, String) {
    let page = visit.post("/webhooks/new", &form(changes)).await;
    assert_eq!(page.status, 303, "{page:?}");
    let id = page.header("location").unwrap().strip_prefix("/accounts/acme/webhooks?saved=").unwrap().to_owned();
    let path = format!("/webhooks/{id}/edit");
    (id, path)
}

/// The webhooks of the account, as the API shows them.
async fn all(api: &Api) -> Vec<Value> {
    api.get(LIST).await.json["items"].as_array().unwrap().clone()
}

async fn one(api: &Api, id: &str) -> Value {
    api.get(&format!("{LIST}/{id}")).await.json
}

/// The authentication that a worker would open.
async fn sent(api: &Api, id: &str) -> Value {
    let tested = api.post(&format!("{LIST}/{id}/test"), &json!({})).await;
    assert_eq!(tested.status, 200, "{tested:?}");
    tested.json["request"]["headers"].clone()
}

/// Asserts that a field has this fault: beside it, in the summary, and told to screen readers. The form was not saved.
#[track_caller]
fn has_fault(page: &Page, field: &str, text: &str) {
    assert_eq!(page.status, 422, "{page:?}");
    let main = page.html.split_once("<main").unwrap().1;
    let (_, first) = main.split_once('>').unwrap();
    assert!(first.trim_start().starts_with("<div class=\"note bad\" role=\"alert\" tabindex=\"-1\""), "{page:?}");
    let link = format!("<a href=\"#{field}\">{text}");
    assert!(page.html.contains(&link), "the summary has no {link}: {page:?}");
    let (_, beside) = page.html.split_once(&format!("<p class=\"error\" id=\"{field}-error\"")).unwrap();
    let (tag, rest) = beside.split_once('>').unwrap();
    assert!(!tag.contains("hidden") && rest.split("</p>").next().unwrap().contains(text), "{page:?}");
    let described = format!("{field}-error");
    let is_invalid = page.html.split('<').any(|tag| {
        tag.starts_with("input") && tag.contains(&format!("name=\"{field}\"")) && tag.contains("aria-invalid=\"true\"")
    });
    let is_described = page
        .html
        .split("aria-describedby=\"")
        .any(|rest| rest.split('"').next().unwrap().split(' ').any(|id| id == described));
    assert!(is_described && (is_invalid || field == "authentication"), "{field} is not marked: {}", page.html);
    assert!(page.html.contains("<title>Error: "), "{page:?}");
}

#[tokio::test]
async fn a_webhook_is_added_and_the_list_offers_its_test() {
    let (api, visit) = screen().await;
    let page = visit.get("/webhooks/new").await;
    page.says("Must use HTTPS (HTTP is not supported).").says("transcript.created").says("strongly recommended");
    assert!(page.html.contains("value=\"transcript.created\" checked"), "all events are chosen: {}", page.html);
    let changes: &[(&str, &[&str])] = &[BEARER, ("token", &[SECRET])];
    let (id, _) = added(&visit, changes).await;
    let saved = one(&api, &id).await;
    assert_eq!(saved["url"], URL);
    assert_eq!(saved["events"], json!(["transcript.created"]));
    assert_eq!(saved["authentication"], json!({"type": "bearer", "token": "••••9876"}));
    assert_eq!((&saved["description"], &saved["active"]), (&json!("CRM sync"), &json!(true)));
    visit.get(&format!("/webhooks?saved={id}")).await.says("Test it now");
    let changes: &[(&str, &[&str])] =
        &[HEADER, ("header_name", &["X-Key"]), ("header_value", &[SECRET]), ("active", &[])];
    let (id, _) = added(&visit, changes).await;
    let saved = one(&api, &id).await;
    assert_eq!(saved["authentication"], json!({"type": "header", "name": "X-Key", "value": "••••9876"}));
    assert_eq!(saved["active"], false);
}

/// The field of a fault, its text, and the changes of the form that lead to it.
type Row<'a> = (&'a str, &'a str, Vec<(&'a str, &'a [&'a str])>);

#[tokio::test]
async fn each_fault_stands_beside_its_field_and_in_the_summary_and_what_was_typed_stays() {
    let (api, visit) = screen().await;
    let (id, path) = added(&visit, &[]).await;
    let before = one(&api, &id).await;
    let long = "x".repeat(5000);
    let long = [&*long];
    let rows: [Row<'_>; 8] = [
        ("url", "The URL must begin with https://", vec![("url", &["http://hooks.test/<&\""])]),
        ("event", "A webhook needs at least one event type", vec![("event", &[])]),
        ("event", "This event type is not in the catalogue", vec![("event", &["transcript.create"])]),
        ("token", "The bearer token is empty", vec![BEARER]),
        ("token", "The bearer token has a space", vec![BEARER, ("token", &["Bearer planted-secret-value-9876"])]),
        (
            "header_name",
            "The header name host is reserved",
            vec![HEADER, ("header_name", &["Host"]), ("header_value", &[SECRET])],
        ),
        ("header_value", "The header value is empty", vec![HEADER, ("header_name", &["X-Key"])]),
        ("description", "The description is longer than", vec![("description", &long)]),
    ];
    for to in ["/webhooks/new", &*path] {
        for (field, text, changes) in &rows {
            let changes: Vec<_> = changes.iter().copied().chain([("revision", &["1"] as &[&str])]).collect();
            let page = visit.post(to, &form(&changes)).await;
            has_fault(&page, field, text);
            page.says("1 field needs a change");
            assert!(!page.html.contains(SECRET), "{to} {field} answers the secret");
            for (name, value) in form(&changes) {
                let html = value.replace('&', "&#38;").replace('<', "&#60;").replace('"', "&#34;");
                let is_there = page.html.contains(&format!("value=\"{html}\""));
                assert!(
                    is_there || ["token", "header_value", "revision"].contains(&name),
                    "{to} lost {name}: {page:?}"
                );
            }
        }
    }
    let faulty: &[(&str, &[&str])] =
        &[("url", &["https://127.0.0.1/"]), ("event", &[]), HEADER, ("description", &["a\u{7}"])];
    let page = visit.post("/webhooks/new", &form(faulty)).await;
    page.says("5 fields need a change");
    for field in ["url", "event", "header_name", "header_value", "description"] {
        has_fault(&page, field, "");
    }
    assert_eq!(one(&api, &id).await, before);
    assert_eq!(all(&api).await.len(), 1);
}

#[tokio::test]
async fn an_edit_changes_only_what_differs_and_nothing_leaves_the_revision() {
    let (api, visit) = screen().await;
    let (id, path) = added(&visit, &[BEARER, ("token", &[SECRET])]).await;
    let page = visit.get(&path).await;
    page.says("Edit CRM sync").says("Token ends in 9876 · Replace");
    assert!(page.html.contains("name=\"revision\" value=\"1\"") && !page.html.contains(SECRET), "{page:?}");
    let unchanged = visit.post(&path, &form(&[BEARER, ("revision", &["1"])])).await;
    assert_eq!((unchanged.status, unchanged.header("location")), (303, Some("/accounts/acme/webhooks?done=saved")));
    assert_eq!(one(&api, &id).await["revision"], 1);
    let edit: &[(&str, &[&str])] =
        &[BEARER, ("revision", &["1"]), ("url", &["https://hooks.test/new"]), ("description", &[""]), ("active", &[])];
    assert_eq!(visit.post(&path, &form(edit)).await.status, 303);
    let saved = one(&api, &id).await;
    assert_eq!((&saved["url"], &saved["description"]), (&json!("https://hooks.test/new"), &json!("")));
    assert_eq!((&saved["active"], &saved["revision"]), (&json!(false), &json!(2)));
    visit.get(&path).await.says("Edit hooks.test");
    visit.get("/webhooks?done=saved").await.says("Saved.");
    api.process.sigterm();
    let log = api.process.output(SOON).await;
    let lines: Vec<&str> = log.stderr.lines().filter(|line| line.contains("webhook edited")).collect();
    assert_eq!(lines.len(), 1, "{log:?}");
    assert!(lines[0].contains("\"url description active\"") && !log.stderr.contains(SECRET), "{log:?}");
}

#[tokio::test]
async fn a_secret_is_kept_replaced_or_removed() {
    let (api, visit) = screen().await;
    let changes: &[(&str, &[&str])] = &[HEADER, ("header_name", &["X-Key"]), ("header_value", &[SECRET])];
    let (id, path) = added(&visit, changes).await;
    let save = async |changes: &[(&str, &[&str])]| {
        let revision = one(&api, &id).await["revision"].to_string();
        let mut fields = form(changes);
        fields.push(("revision", &revision));
        visit.post(&path, &fields).await
    };
    visit.get(&path).await.says("Value ends in 9876 · Replace");
    let kept = save(&[HEADER, ("header_name", &["X-Key"]), ("description", &["kept"])]).await;
    assert_eq!(kept.status, 303, "{kept:?}");
    assert_eq!(sent(&api, &id).await["x-key"], "••••9876");
    // A value belongs to its header, so another name needs it again.
    let renamed = save(&[HEADER, ("header_name", &["X-Other"])]).await;
    has_fault(&renamed, "header_value", "The header value is empty");
    let renamed = save(&[HEADER, ("header_name", &["X-Other"]), ("header_value", &[OTHER])]).await;
    assert_eq!(renamed.status, 303, "{renamed:?}");
    assert_eq!(
        one(&api, &id).await["authentication"],
        json!({"type": "header", "name": "X-Other", "value": "••••5432"})
    );
    has_fault(&save(&[BEARER]).await, "token", "The bearer token is empty");
    assert_eq!(save(&[BEARER, ("token", &[SECRET])]).await.status, 303);
    assert_eq!(one(&api, &id).await["authentication"]["token"], "••••9876");
    assert_eq!(save(&[]).await.status, 303);
    assert_eq!(one(&api, &id).await["authentication"], json!({"type": "none"}));
    // A form that names no way to authenticate leaves it as it is.
    assert_eq!(save(&[BEARER, ("token", &[SECRET])]).await.status, 303);
    assert_eq!(save(&[("authentication", &[]), ("description", &["x"])]).await.status, 303);
    assert_eq!(one(&api, &id).await["authentication"]["token"], "••••9876");
}

#[tokio::test]
async fn a_secret_that_was_typed_before_a_fault_is_asked_for_again_and_the_old_one_does_not_stay_by_oversight() {
    let (api, visit) = screen().await;
    let (id, path) = added(&visit, &[BEARER, ("token", &[SECRET])]).await;
    let faulty: &[(&str, &[&str])] = &[BEARER, ("token", &[OTHER]), ("url", &["nowhere"]), ("revision", &["1"])];
    let page = visit.post(&path, &form(faulty)).await;
    has_fault(&page, "url", "The URL must begin");
    page.says("Enter it again");
    assert!(page.html.contains("name=\"again\"") && !page.html.contains(OTHER), "{page:?}");
    let again: &[(&str, &[&str])] = &[BEARER, ("again", &["true"]), ("revision", &["1"])];
    let page = visit.post(&path, &form(again)).await;
    has_fault(&page, "token", "The bearer token is empty");
    assert!(page.html.contains("name=\"again\""), "it is still asked for: {page:?}");
    let again: &[(&str, &[&str])] = &[BEARER, ("again", &["true"]), ("token", &[OTHER]), ("revision", &["1"])];
    assert_eq!(visit.post(&path, &form(again)).await.status, 303);
    assert_eq!(one(&api, &id).await["authentication"]["token"], "••••5432");
    assert!(!visit.get(&path).await.html.contains("name=\"again\""));
}

#[tokio::test]
async fn a_form_of_an_earlier_session_saves_nothing_and_comes_back_with_what_was_typed() {
    let (api, visit) = screen().await;
    let (id, path) = added(&visit, &[]).await;
    let mut earlier = Visit::manager(&api, "acme").await;
    earlier.token = visit.token.clone();
    for to in ["/webhooks/new", &*path] {
        let changes: &[(&str, &[&str])] =
            &[BEARER, ("token", &[SECRET]), ("description", &["typed"]), ("revision", &["1"])];
        let page = earlier.post(to, &form(changes)).await;
        assert_eq!(page.status, 403, "{page:?}");
        page.says("Your session was renewed meanwhile. Check, and save once more.");
        assert!(page.html.contains("value=\"typed\"") && !page.html.contains(SECRET), "{page:?}");
        assert_ne!(page.token(), visit.token);
        assert!(page.html.contains(&format!("name=\"form_token\" value=\"{}\"", page.token())), "{page:?}");
    }
    assert_eq!(one(&api, &id).await["description"], "CRM sync");
    assert_eq!(all(&api).await.len(), 1);
}

#[tokio::test]
async fn a_webhook_beyond_the_limit_is_told_with_the_form() {
    let (api, visit) = screen().await;
    for _ in 0..2 {
        added(&visit, &[]).await;
    }
    let page = visit.post("/webhooks/new", &form(&[("description", &["a third"])])).await;
    assert_eq!(page.status, 409, "{page:?}");
    page.says("You can currently add a maximum of 2 webhook subscriptions per account.");
    assert!(page.html.contains("value=\"a third\""), "{page:?}");
    assert_eq!(all(&api).await.len(), 2);
}

#[tokio::test]
async fn a_visitor_who_may_only_look_has_no_form() {
    let (api, manager) = screen().await;
    let (id, path) = added(&manager, &[]).await;
    let visit = Visit::with(&api, "acme", &json!({"access": "read"})).await;
    for path in ["/webhooks/new", &*path] {
        visit.get(path).await.says("You may look at webhooks");
        assert_eq!(visit.get(path).await.status, 403);
        assert_eq!(visit.post(path, &form(&[("description", &["x"]), ("revision", &["1"])])).await.status, 403);
    }
    assert_eq!(visit.post("/webhooks/judge", &form(&[("left", &["url"])])).await.status, 403);
    assert_eq!(one(&api, &id).await["revision"], 1);
    assert_eq!(all(&api).await.len(), 1);
}

#[tokio::test]
async fn a_field_that_was_left_is_judged_and_nothing_is_saved() {
    let (api, visit) = screen().await;
    let judge = async |changes: &[(&str, &[&str])]| {
        let page = visit.post("/webhooks/judge", &form(changes)).await;
        assert_eq!((page.status, page.header("content-type")), (200, Some("application/json")), "{page:?}");
        assert!(!page.html.contains(SECRET), "{page:?}");
        let judged: Value = serde_json::from_str(&page.html).unwrap();
        judged["faults"].as_array().unwrap().clone()
    };
    let url: &[(&str, &[&str])] = &[("url", &["http://hooks.test/"]), ("description", &["\u{7}"]), ("left", &["url"])];
    assert_eq!(judge(url).await, [json!({"field": "url", "text": "The URL must begin with https://"})]);
    let header = ("header_name", &["Host"] as &[&str]);
    assert_eq!(judge(&[HEADER, header, ("left", &["header_name"])]).await[0]["field"], "header_name");
    let spaced = "planted-secret-value-9876 ";
    assert_eq!(judge(&[HEADER, header, ("header_value", &[spaced]), ("left", &["header_value"])]).await.len(), 1);
    assert_eq!(judge(&[BEARER, ("token", &[spaced]), ("left", &["token"])]).await[0]["field"], "token");
    // Sound, empty, unknown, and no field at all.
    for (field, value) in
        [("url", URL), ("description", "x"), ("token", ""), ("url", ""), ("other", "x"), ("active", "")]
    {
        let faults = judge(&[(field, &[value]), ("left", &[field])]).await;
        assert!(faults.is_empty(), "{field} {faults:?}");
    }
    assert!(judge(&[]).await.is_empty());
    assert!(all(&api).await.is_empty());
}

#[tokio::test]
async fn an_inactive_webhook_says_what_waits() {
    let (api, visit) = screen().await;
    let (id, path) = added(&visit, &[("active", &[])]).await;
    assert!(!visit.get(&path).await.text().contains("sent when you save"));
    let mut redis = api.here.redis.clone();
    for _ in 0..2 {
        let held = text(&first("acme", id.parse().unwrap(), "held"), TRANSCRIPT);
        let key = api.here.key(&format!("held:{id}"));
        let _: String = redis::AsyncCommands::xadd(&mut redis, key, "*", &[("delivery", held)]).await.unwrap();
    }
    visit.get(&path).await.says("2 events wait, and are sent when you save the webhook as active.");
}

#[tokio::test]
async fn an_edit_of_a_webhook_that_is_gone_keeps_what_was_typed_in_sight() {
    let (api, visit) = screen().await;
    let (id, path) = added(&visit, &[]).await;
    api.delete(&format!("{LIST}/{id}")).await;
    let changes: &[(&str, &[&str])] =
        &[BEARER, ("token", &[SECRET]), ("description", &["typed"]), ("revision", &["1"])];
    let page = visit.post(&path, &form(changes)).await;
    assert_eq!(page.status, 404, "{page:?}");
    page.says("There is no such webhook").says("This is what you typed").says(URL).says("typed");
    assert!(!page.html.contains(SECRET), "{page:?}");
}

#[tokio::test]
async fn without_a_key_for_secrets_a_customer_reads_words_for_customers() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let id = here.add_with("acme", URL, NewAuthentication::None, true).await;
    let api = Api::of(here, [("LYNKHOOK_SERVER__PUBLIC_URL", PUBLIC), ("LYNKHOOK_SECRETS__KEY", "")]).await;
    let visit = Visit::manager(&api, "acme").await;
    for path in ["/webhooks/new".to_owned(), format!("/webhooks/{id}/edit")] {
        let changes: &[(&str, &[&str])] = &[BEARER, ("token", &[SECRET]), ("revision", &["1"])];
        let page = visit.post(&path, &form(changes)).await;
        has_fault(&page, "authentication", "Authentication cannot be saved right now; contact support");
        assert!(!page.html.contains("secrets.key") && !page.html.contains("LYNKHOOK"), "{page:?}");
    }
}

#[tokio::test]
async fn a_form_that_is_sent_twice_is_saved_once_and_is_no_conflict() {
    let (api, visit) = screen().await;
    let (id, path) = added(&visit, &[]).await;
    let fields = form(&[("url", &[" https://hooks.test/mine\n"]), ("description", &["mine"]), ("revision", &["1"])]);
    for _ in 0..2 {
        let saved = visit.post(&path, &fields).await;
        assert_eq!((saved.status, saved.header("location")), (303, Some("/accounts/acme/webhooks?done=saved")));
    }
    let saved = one(&api, &id).await;
    assert_eq!((&saved["url"], &saved["revision"]), (&json!("https://hooks.test/mine"), &json!(2)));
}
