//! The page `tests/clients/README.md`: an account's life with `curl`. All of it is run, in the reader's order.

use reqwest::Method;

use super::support::Api;
use crate::{readme, support::*};

const PAGE: &str = include_str!("../../clients/README.md");

#[tokio::test(flavor = "multi_thread")]
async fn each_step_with_curl_does_what_the_page_says() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let _worker = here.program.worker([("LYNKHOOK_DELIVERY__RETRY_DELAYS", "50ms,50ms")]);
    let api = Api::of(here, [("LYNKHOOK_SERVER__PUBLIC_URL", "https://webhooks.example.com")]).await;
    let mut failed = 0;
    receiver.plan_each("/crm", move |request| {
        let fails = request.body.ends_with(br#"{"messageId": "m3"}}"#) && failed < 3;
        failed += usize::from(fails);
        Answer::Status(if fails { 500 } else { 200 })
    });
    for (language, text) in readme::blocks(PAGE) {
        match language {
            "sh" => {}
            // The lines for a platform's page: the script is there, and defines the element.
            "html" => {
                let embed = api.bare(Method::GET, "/embed.js").send().await.unwrap().text().await.unwrap();
                assert!(text.contains("/embed.js\"") && text.contains("<lynkhook-webhooks link="), "{text}");
                assert!(embed.contains("customElements.define(\"lynkhook-webhooks\""), "{embed}");
            }
            _ => panic!("nothing looks at this block:\n{text}"),
        }
    }
    let script = readme::all(PAGE, "sh")
        .replace("http://127.0.0.1:8080", &format!("http://{}", api.address))
        .replace("https://hooks.example.org/crm", &receiver.url("/crm"));
    let folder = tempfile::tempdir().unwrap();
    let output = readme::run(&api.here, folder.path(), &script);

    let printed = String::from_utf8(output.stdout).unwrap();
    for part in [
        r##""pointer":"#/event","detail":"there is no such member; did you mean `events`?""##,
        r#""id":"m1""#,
        "idempotent-replayed: true",
        r#""url":"https://webhooks.example.com/accounts/acme/enter?link="#,
        "The account has as many webhooks as it may have",
    ] {
        assert!(printed.contains(part), "{part} is not in\n{printed}");
    }
    let arrived = receiver.requests("/crm");
    let ids: Vec<&str> = arrived.iter().map(|request| request.header("webhook-id").unwrap()).collect();
    let of = |message: &str| {
        let it = format!(r#"{{"messageId": "{message}"}}}}"#);
        arrived.iter().filter(|request| request.body.ends_with(it.as_bytes())).count()
    };
    assert!(ids[0].starts_with("test-") && ids[1] == "m1", "{ids:?}");
    assert_eq!(["m1", "b1", "b2", "m2", "m3"].map(of), [1, 1, 1, 1, 4], "{ids:?}");
    let left = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect::<Vec<_>>();
    assert!(left.iter().all(|name| !name.to_str().unwrap().contains("key")), "a key is left: {left:?}");
}
