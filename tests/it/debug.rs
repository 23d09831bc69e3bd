//! No `Debug` output shows a secret, or the path or query of a customer's URL: values that are passed around may end up
//! in an error or a log line.

use std::time::Duration;

use lynkhook::{
    config::Settings,
    domain::{
        account::AccountId,
        address::AllowList,
        event::EventId,
        header,
        url::EndpointUrl,
        webhook::{Authentication, Webhook, WebhookId},
    },
    secrets::{SecretSlot, SecretsError, Vault},
    sender::{Request, Sender},
    store::StoreError,
    webhooks::{
        AuthenticationView, Edit, Enabled, NewAuthentication, NewWebhook, NotResealed, Rotation, View, WebhooksError,
    },
};

const KEY: &str = "dGVzdHMgb25seSwgbmV2ZXIgYSByZWFsIHNlY3JldCE=";
const SECRET: &str = "sec-Zq8vN3xW7rT5";
const PASSWORD: &str = "pas-Qd6hJ3yU8oF1";
const URL: &str = "https://hooks.example.com/cap-Xw4jD8fG1nC3?key=qry-Lm7tR2vB9kE5";

/// The texts that no `Debug` output may contain.
const HIDDEN: [&str; 5] = [KEY, SECRET, PASSWORD, "cap-Xw4jD8fG1nC3", "qry-Lm7tR2vB9kE5"];

/// Asserts this for both `Debug` forms of a value.
fn assert_hidden(name: &str, value: &dyn std::fmt::Debug) {
    for text in [format!("{value:?}"), format!("{value:#?}")] {
        for hidden in HIDDEN {
            assert!(!text.contains(hidden), "{name}: {text}");
        }
    }
}

fn settings() -> Settings {
    let variables = [
        ("LYNKHOOK_REDIS__URL", format!("redis://user:{PASSWORD}@redis.internal/")),
        ("LYNKHOOK_SECRETS__KEY", KEY.to_owned()),
    ];
    Settings::load(None, variables).unwrap()
}

fn account() -> AccountId {
    "acme".parse().unwrap()
}

fn webhook_id() -> WebhookId {
    "wh_019a1b2c-0000-7000-8000-000000000001".parse().unwrap()
}

fn webhook(authentication: Authentication) -> Webhook {
    Webhook {
        id: webhook_id(),
        url: EndpointUrl::from_saved(URL).unwrap(),
        events: vec!["transcript.created".to_owned()],
        authentication,
        description: "CRM sync".to_owned(),
        active: true,
        revision: 1,
        created_at: String::new(),
        updated_at: String::new(),
    }
}

fn ways() -> [NewAuthentication; 3] {
    [
        NewAuthentication::Bearer(SECRET.into()),
        NewAuthentication::Header { name: "X-Key".to_owned(), value: SECRET.into() },
        // A secret pasted into the wrong field.
        NewAuthentication::Header { name: SECRET.to_owned(), value: "x".into() },
    ]
}

#[test]
fn inputs_and_answers_hide_secrets() {
    for authentication in ways() {
        assert_hidden("NewAuthentication", &authentication);
        assert_hidden("Edit", &Edit { url: Some(URL.into()), authentication: Some(authentication), ..Edit::default() });
    }
    for authentication in ways() {
        let new =
            NewWebhook { url: URL.into(), events: None, authentication, description: String::new(), active: true };
        assert_hidden("NewWebhook", &new);
    }
    let Webhook { id, url, events, description, active, revision, created_at, updated_at, .. } =
        webhook(Authentication::None);
    let authentication = AuthenticationView::Bearer { token: "••••".to_owned() };
    let account = account();
    let view = View { id, account, url, events, authentication, description, active, revision, created_at, updated_at };
    assert!(serde_json::to_string(&view).unwrap().contains(URL), "the customer's own answer has it");
    assert_hidden("View", &view);
    assert_hidden("Enabled", &Enabled { view, held_discarded: None });
}

#[tokio::test]
async fn settings_the_vault_and_what_they_make_hide_secrets() {
    let settings = settings();
    assert_hidden("Settings", &settings);
    assert_hidden("Redis", &settings.redis);
    assert_hidden("Secrets", &settings.secrets);
    let vault = Vault::new(settings.secrets.key.as_ref()).unwrap();
    assert_hidden("Vault", &vault);
    let sender = Sender::new(&settings.delivery, &settings.egress, &settings.dns).unwrap();
    assert_hidden("Sender", &sender);

    let (account, webhook_id) = (account(), webhook_id());
    let place = |field| SecretSlot { account: &account, webhook: webhook_id, field };
    assert_hidden("SecretSlot", &place("token"));
    let seal = |field| vault.seal(place(field), &SECRET.into()).unwrap();
    let event: EventId = "e1".parse().unwrap();
    for authentication in [
        Authentication::None,
        Authentication::Bearer { token: seal("token") },
        Authentication::Header { name: "X-Key".to_owned(), value: seal("value") },
    ] {
        let webhook = webhook(authentication);
        assert_hidden("Webhook", &webhook);
        let request = Request::to_webhook(&vault, (&account, &webhook), &event, 1, SECRET.into()).unwrap();
        assert_hidden("the request's headers", &request.headers);
        assert_hidden("Request", &request);
    }
}

#[tokio::test]
async fn errors_hide_secrets() {
    let settings = settings();
    let allow = AllowList::parse(&[]).unwrap();
    for url in [
        URL.replace("https", "http"),
        URL.replace("hooks.example.com", "127.0.0.1"),
        URL.replace("hooks.example.com", "printer"),
        URL.replace("hooks.example.com", &format!("{SECRET}@hooks.example.com")),
        URL.replace('?', "<"),
        SECRET.to_owned(),
    ] {
        let refusal = EndpointUrl::parse(&url, &allow).unwrap_err();
        assert_hidden("UrlRefusal", &refusal);
        let fault = lynkhook::webhooks::InputFault { field: "url".to_owned(), why: refusal.into() };
        assert_hidden("WebhooksError", &WebhooksError::Input(vec![fault]));
    }
    for (name, value) in
        [("X-Key", format!("{SECRET}\n")), (&format!("{SECRET} "), SECRET.to_owned()), ("Cookie", SECRET.into())]
    {
        let refusal = header::judge(name, &value).unwrap_err();
        assert_hidden("HeaderRefusal", &refusal);
        let fault = lynkhook::webhooks::InputFault { field: "authentication.name".to_owned(), why: refusal.into() };
        assert_hidden("WebhooksError", &WebhooksError::Input(vec![fault]));
    }
    for key in [SECRET.to_owned(), format!("{KEY} {SECRET}"), [KEY; 9].join(" ")] {
        assert_hidden("SecretsError", &Vault::new(Some(&key.into())).unwrap_err());
    }

    let other = Vault::new(Some(&Vault::new_key().to_string().into())).unwrap();
    let (account, webhook) = (account(), webhook_id());
    let place = SecretSlot { account: &account, webhook, field: "token" };
    let error =
        Vault::new(settings.secrets.key.as_ref()).unwrap().open(place, &other.seal(place, &SECRET.into()).unwrap());
    let error = error.unwrap_err();
    assert!(matches!(error, SecretsError::OtherKey { .. }));
    let failures = vec![NotResealed { account: account.clone(), webhook: None, why: error.into() }];
    assert_hidden("Rotation", &Rotation { not_resealed: 1, failures, ..Rotation::default() });

    let mut settings = settings;
    settings.redis.connect_timeout = Duration::from_millis(200);
    for url in [
        format!("redis://:{PASSWORD}@127.0.0.1:1/"),
        format!("redis://:{PASSWORD}@127.0.0.1:1/no-number"),
        format!("nonsense://:{PASSWORD}@127.0.0.1/"),
        format!("redis+unix:///no/such?pass={PASSWORD}"),
    ] {
        settings.redis.servers = vec![url.into()];
        let error: StoreError = lynkhook::store::Store::open(&settings).await.err().unwrap();
        assert_hidden("StoreError", &error);
        assert!(!error.to_string().contains(PASSWORD), "{error}");
    }
}
