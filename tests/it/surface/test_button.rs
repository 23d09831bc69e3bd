//! A test shows the request and the receiver's response, never the secret, and stores neither.

use base64::{Engine, prelude::BASE64_STANDARD};
use lynkhook::{
    config::Settings,
    sender::Sender,
    webhooks::{NewAuthentication, Tested},
};
use serde_json::{Value, json};

use crate::{shapes::assert_shape, support::*};

const SECRET: &str = "planted-secret-7f3a";

impl Installation {
    async fn test(&self, receiver: &Receiver, account: &str, path: &str, authentication: NewAuthentication) -> Tested {
        let webhook = self.add_with(account, &receiver.url(path), authentication, true).await;
        let mut variables = self.variables.clone();
        variables.push(("LYNKHOOK_EGRESS__EXTRA_CA", receiver.ca_file().display().to_string()));
        let mut settings = Settings::load(None, variables).unwrap();
        settings.egress.allow.push("127.0.0.0/8".to_owned());
        let sender = Sender::new(&settings.delivery, &settings.egress, &settings.dns).unwrap();
        let tested = self.webhooks.test(&sender, &account_id(account), webhook).await.unwrap();
        assert_shape(&tested);
        let (shown, mut entry) = (json!(tested), json!(tested));
        entry.as_object_mut().unwrap().retain(|member, _| !["request", "response"].contains(&member.as_str()));
        assert_eq!(self.log(webhook).await, [entry], "the log has the entry alone");
        assert!(!shown.to_string().contains("planted") && !format!("{tested:?}").contains("planted"), "{shown}");
        assert_eq!(shown["request"]["url"], receiver.url(path));
        tested
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_shows_request_and_response_with_the_echoed_secret_masked() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    receiver.plan_each("/header", |received| {
        Answer::Redirect(format!("/login?key={}", received.header("authorization").unwrap()))
    });
    let bearer = || NewAuthentication::Bearer(SECRET.into());
    let tested = json!(here.test(&receiver, "a", "/header", bearer()).await);
    let sent = &receiver.requests("/header")[0];
    assert_eq!(sent.header("authorization"), Some("Bearer planted-secret-7f3a"));
    let shown = tested["request"]["headers"].as_object().unwrap();
    assert_eq!(shown.len(), sent.headers.len(), "{shown:?} {:?}", sent.headers);
    for (name, value) in shown {
        let sent = sent.header(name).unwrap().replace(SECRET, "••••7f3a");
        assert_eq!(value, &Value::from(sent), "{name}");
    }
    assert_eq!((&tested["request"]["method"], tested["httpStatus"].as_u64()), (&json!("POST"), Some(301)));
    assert_eq!(tested["request"]["body"].as_str().unwrap().as_bytes(), sent.body);
    let headers = tested["response"]["headers"].as_array().unwrap();
    assert!(headers.contains(&json!(["location", "/login?key=Bearer ••••7f3a"])), "{headers:?}");

    receiver.plan_each("/body", |received| {
        let whole = received.header("x-key").unwrap();
        let body = format!("\u{7f}<{whole}> {} \"{}\"", BASE64_STANDARD.encode(whole), whole.to_uppercase());
        let body = [body.replace("PLANTED", "").as_bytes(), b"\xff"].concat();
        Answer::StatusWithBody(404, body.into())
    });
    let header = NewAuthentication::Header { name: "X-Key".to_owned(), value: SECRET.into() };
    let tested = json!(here.test(&receiver, "b", "/body", header).await);
    assert_eq!(tested["response"]["excerpt"], "\u{7f}<••••7f3a> ••••7f3a== \"-SECRET-7F3A\"\u{fffd}");
    assert_eq!(tested["response"]["truncated"], false);
    assert_eq!(tested["request"]["headers"]["x-key"], "••••7f3a");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_body_is_cut_and_a_secret_at_its_end_is_left_out() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    // One is longer than what is read of a body: 64 KiB.
    for (number, length) in [1025, 5000, 3_000_000].into_iter().enumerate() {
        let (path, body) = (format!("/{length}"), format!("{}{SECRET}{}", "é".repeat(507), "x".repeat(length)));
        receiver.plan(&path, [Answer::StatusWithBody(200, body[..length].to_owned().into())]);
        let bearer = NewAuthentication::Bearer(SECRET.into());
        let tested = here.test(&receiver, &format!("a{number}"), &path, bearer).await;
        let response = tested.response.unwrap();
        // 1014 bytes come before the secret, of which the first 1024 have 10 bytes.
        assert_eq!((response.excerpt, response.truncated), ("é".repeat(507), true), "{length}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_gives_no_whole_response_is_shown_as_far_as_it_came() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    receiver.plan("/none", [Answer::ResetBeforeHeaders]);
    receiver.plan("/body", [Answer::ResetInBody]);
    assert!(here.test(&receiver, "a", "/none", NewAuthentication::None).await.response.is_none());
    let response = here.test(&receiver, "b", "/body", NewAuthentication::None).await.response.unwrap();
    assert!(response.truncated, "{response:?}");
}
