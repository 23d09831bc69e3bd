//! Ways around the checked address: redirects, proxies, addresses in a URL, another host's connection.

use serde_json::json;

use super::{PUBLIC, Site};
use crate::support::*;

const HOST: &str = "detour.hooks.test";

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_to_an_address_that_is_not_public_is_not_followed() {
    let mut site = Site::new(&[HOST]).await;
    site.dns.set(HOST, [PUBLIC]);
    let port = site.receiver.address().port();
    let _worker = site.program.worker([]);
    for (number, target) in [
        format!("http://127.0.0.1:{port}/"),
        format!("https://127.0.0.1:{port}/"),
        format!("https://[::1]:{port}/"),
        format!("//localhost:{port}/"),
        format!("https://2130706433:{port}/"),
    ]
    .into_iter()
    .enumerate()
    {
        let (path, account) = (format!("/{number}"), format!("account-{number}"));
        site.receiver.plan(&path, [Answer::Redirect(target.clone())]);
        let webhook = site.here.add(&account, &site.receiver.url_for(HOST, &path)).await;
        site.here.push(&account, TRANSCRIPT).await;
        let log = site.here.finished(webhook).await;
        assert_eq!(json!([log[0]["httpStatus"], log[0]["final"]]), json!([301, true]), "{target}");
        assert_eq!(site.pressed(&account, webhook).await["httpStatus"], 301, "{target}");
        assert_eq!(site.receiver.requests(&path).len(), 2, "{target}");
    }
    site.assert_tripwires_untouched().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_name_with_underscores_is_looked_up_and_believed_by_its_wildcard_certificate() {
    let hosts = ["my_app.hooks.test", "_a__b_.hooks.test"];
    let mut site = Site::new(&hosts).await;
    site.receiver.plan("/", [Answer::Status(200)]);
    let _worker = site.program.worker([]);
    for (host, account) in hosts.into_iter().zip(["inner", "outer"]) {
        site.dns.set(host, [PUBLIC]);
        let webhook = site.here.add(account, &site.receiver.url_for(host, "/")).await;
        site.here.push(account, TRANSCRIPT).await;
        assert_eq!(site.here.finished(webhook).await[0]["httpStatus"], 200, "{host}");
        assert_eq!(site.pressed(account, webhook).await["httpStatus"], 200, "{host}");
    }
    assert_eq!(site.receiver.requests("/").len(), 4);
    site.assert_tripwires_untouched().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn proxies_in_the_environment_are_ignored() {
    let mut site = Site::new(&[HOST]).await;
    site.dns.set(HOST, [PUBLIC]);
    site.receiver.plan("/", [Answer::Status(200)]);
    let mut proxy = Tripwire::start().await;
    let variables = ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "http_proxy", "all_proxy"];
    for scheme in ["http", "socks5h"] {
        let url = format!("{scheme}://{}", proxy.address());
        site.program = variables.iter().fold(site.program, |program, name| program.env(name, &url));
        let account = format!("by-{scheme}");
        let webhook = site.here.add(&account, &site.receiver.url_for(HOST, "/")).await;
        let mut worker = site.program.worker([]);
        site.here.push(&account, TRANSCRIPT).await;
        assert_eq!(site.here.finished(webhook).await[0]["httpStatus"], 200);
        worker.kill9().await;
        assert_eq!(site.pressed(&account, webhook).await["httpStatus"], 200);
    }
    assert_eq!(site.receiver.requests("/").len(), 4);
    proxy.assert_untouched().await;
    site.assert_tripwires_untouched().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_put_into_redis_past_every_check_is_not_connected_to_and_wedges_nothing() {
    let mut site = Site::new(&[HOST]).await;
    site.dns.set(HOST, [PUBLIC]);
    site.receiver.plan("/", [Answer::Status(200)]);
    let port = site.receiver.address().port();
    let forged = [
        format!("https://127.0.0.1:{port}/hidden"),
        format!("https://127.0.0.2:{port}/hidden"),
        format!("https://[::1]:{port}/hidden"),
        format!("https://[::ffff:127.0.0.1]:{port}/hidden"),
        format!("https://2130706433:{port}/hidden"),
        format!("https://0x7f.1:{port}/hidden"),
        format!("https://user:secret@{HOST}:{port}/hidden"),
        format!("http://{HOST}:{port}/hidden"),
        "unix:///var/run/hidden".to_owned(),
    ];
    let mut webhooks = Vec::new();
    for (number, url) in forged.iter().enumerate() {
        let account = format!("account-{number}");
        let webhook = site.here.add(&account, &site.receiver.url_for(HOST, "/")).await;
        webhooks.push(webhook);
        site.forge(&account, webhook, url).await;
        site.here.push(&account, TRANSCRIPT).await;
        let button = site.program.run(["webhook", "test", "--account", &account, &webhook.to_string()]).await;
        assert_eq!(button.code, Some(1), "{url}: {button:#?}");
        assert!(!button.stderr.contains("hidden") && !button.stderr.contains("secret"), "{url}: {button:#?}");
    }
    let neighbour = site.here.add("neighbour", &site.receiver.url_for(HOST, "/")).await;
    site.here.push("neighbour", TRANSCRIPT).await;
    let worker = site.program.worker([]);
    assert_eq!(site.here.finished(neighbour).await[0]["httpStatus"], 200);
    site.here.drained().await;
    for webhook in webhooks {
        let [entry] = site.here.finished(webhook).await.try_into().unwrap();
        let why = "this webhook's settings cannot be read; ask the operator of this service";
        assert_eq!((entry["error"].as_str(), entry["final"].as_bool()), (Some(why), Some(true)));
    }
    assert!(!format!("{}{}", worker.stdout(), worker.stderr()).contains("hidden"));
    assert_eq!(site.receiver.requests("/hidden").len(), 0);
    assert_eq!(site.receiver.connections(), 1, "the neighbour's");
    site.assert_tripwires_untouched().await;
}

/// A free connection whose certificate is also valid for another host at the same port. A request for that host sent on
/// it would reach a host whose addresses were never checked.
#[tokio::test(flavor = "multi_thread")]
async fn a_kept_connection_is_not_used_for_another_host() {
    let mut site = Site::new(&["one.hooks.test", "two.hooks.test"]).await;
    site.dns.set("one.hooks.test", [PUBLIC]);
    site.dns.set("two.hooks.test", [super::PRIVATE]);
    site.receiver.plan("/", [Answer::Status(200)]);
    let one = site.here.add("one", &site.receiver.url_for("one.hooks.test", "/")).await;
    let two = site.here.add("two", &site.receiver.url_for("two.hooks.test", "/")).await;
    let _worker = site.program.worker([]);
    site.here.push("one", TRANSCRIPT).await;
    assert_eq!(site.here.finished(one).await[0]["httpStatus"], 200);
    site.here.push("two", TRANSCRIPT).await;
    let log = site.here.finished(two).await;
    assert!(log[0]["error"].as_str().unwrap().starts_with("refused to connect: "), "{log:#?}");
    assert_eq!(site.receiver.requests("/").len(), 1);
    site.assert_tripwires_untouched().await;
}
