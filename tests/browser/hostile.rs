//! Hostile text in every field that people, producers, receivers, operators and themes fill: it is text, and nothing else.

use lynkhook::webhooks::NewAuthentication;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    chromium::{Browser, Page},
    pages::{Attempt, Stage},
    support::*,
};

/// Leaves every place of a page in which a text can stand, and would run a script in it.
const SCRIPT: &str =
    "</title></textarea></script><script>window.hacked=1</script>\"'><img src=x onerror=hacked=1><svg onload=hacked=1>";
/// A text turned around, without room for a line break.
const BIDI: &str = "\u{202e}evil\u{2066}";
/// Answers what no page may have. Own scripts are files of this server.
const INTRUDERS: &str = r"
    const own = new URL('/screen/', location).href;
    const foreign = [...document.querySelectorAll('script')].filter(script => !script.src.startsWith(own) || script.text);
    const handlers = [...document.querySelectorAll('*')]
        .filter(one => one.getAttributeNames().some(name => name.startsWith('on') || name === 'style'));
    const links = [...document.querySelectorAll('a[href], form[action]')]
        .filter(one => !/^https?:$/.test(new URL(one.href ?? one.action, location).protocol));
    const strangers = document.querySelectorAll('img, object, embed, iframe, base, meta[http-equiv]');
    return [window.hacked ?? null, ...[...foreign, ...handlers, ...links, ...strangers].map(one => one.outerHTML)];
";

/// Answers each text of a page in which a character turns the text around it, or is not seen.
const UNSEEN: &str = r"
    const texts = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) texts.push(walker.currentNode.data);
    return texts.filter(text => /[\u0000-\u0008\u202a-\u202e\u2066-\u2069]/.test(text));
";

impl Page {
    /// Asserts that hostile text is seen as text, does nothing, and fits into a phone.
    async fn holds(&self, part: &str) {
        self.set_width(360).await;
        self.sees(part).await;
        let intruders = self.script(INTRUDERS, Vec::new()).await;
        assert_eq!(intruders, json!([null]), "{}", self.url().await);
        let wide = self.sideways().await;
        assert!(wide.is_none(), "{} scrolls sideways: it is {}", self.url().await, wide.unwrap_or_default());
        let unseen = self.script(UNSEEN, Vec::new()).await;
        assert_eq!(unseen, json!([]), "{}: characters that are not seen", self.url().await);
    }
}

/// As much of a text as a field of 64 characters takes.
fn short(text: &str) -> String {
    text.chars().take(64).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_text_of_anybody_is_shown_as_text_on_every_page() {
    let long = "w".repeat(180);
    let described = json!({"description": format!("{SCRIPT}{BIDI}{long}"), "identifiers": {"messageId": "/messageId"}});
    let types = json!({ "evil.type": described }).to_string().replace("\":", "\"=");
    let stage = Stage::with([("LYNKHOOK_EVENT__TYPES", &types)]).await;
    let (world, receiver) = (&stage.world, &stage.receiver);
    let body = format!("{SCRIPT}{BIDI}\0{}", "b".repeat(5000));
    receiver.plan("/hook", [Answer::StatusWithBody(500, body.into())]);
    let description = format!("{SCRIPT}{}", &long[..80]);
    let header = NewAuthentication::Header { name: "X-Webhook-Secret".to_owned(), value: "secret".to_owned().into() };
    let url = format!("{}?{}", receiver.url("/hook"), "q".repeat(900));
    let id = world.add_with("hostile", &description, &url, header).await;
    for number in 0..4 {
        let identifiers = json!({"messageId": format!("{SCRIPT}{BIDI}{number}"), SCRIPT: long});
        let event = format!("<script>{BIDI}hacked=1</script>");
        let attempt = Attempt { last: true, number: 3, ..Attempt::failed(number, 503) };
        let text = format!("{SCRIPT}{BIDI}{long}");
        world
            .write_with(id, attempt, [("identifiers", identifiers), ("event", event.into()), ("error", text.into())])
            .await;
    }
    world.fail("hostile", id, 1).await;
    world.hold("hostile", id, 3).await;
    let theme = json!({"productName": short(SCRIPT)});
    let grant = json!({"theme": theme, "user": short(&SCRIPT[25..])});

    let page = Browser::default().start().await;
    page.goto(&world.way_in("hostile", grant).await).await;
    page.holds("</title></textarea></script><script>").await;
    page.click("button", "Open webhooks").await;
    page.holds("onerror=hacked=1>").await;
    let hook = format!("/webhooks/{id}");
    let delivery = format!("{hook}/deliveries/{}.{id}", Attempt::good(1).event);
    for path in [
        "/edit",
        "/logs",
        "/logs?identifier=%3Cscript%3Ehacked%3D1%3C%2Fscript%3E",
        "/failed",
        "/held",
        "/delete",
        "/switch",
    ] {
        world.goto(&page, "hostile", &format!("{hook}{path}")).await;
        page.holds("<script>").await;
    }
    for path in [&*delivery, "/events"] {
        world.goto(&page, "hostile", path).await;
        page.holds("<script>").await;
    }
    page.announce("%3Cscript%3E/edit answered 404");
    world.goto(&page, "hostile", "/webhooks/%3Cscript%3E/edit").await;
    page.holds("There is no such").await;

    world.goto(&page, "hostile", "/webhooks").await;
    let tests = page.all("button", &format!("Test: {description}")).await;
    tests.first().expect("the test's button has the whole name").click().await.unwrap();
    page.sees("Answer of your endpoint").await;
    page.holds("<img src=x onerror=hacked=1>").await;
    typed_by_a_visitor(&page, &stage).await;
}

/// Types hostile text into the form, and asserts that every page that repeats it holds.
async fn typed_by_a_visitor(page: &Page, stage: &Stage) {
    stage.world.goto(page, "hostile", "/webhooks/new").await;
    page.announce("/webhooks/new answered 422");
    page.fill("URL", &format!("javascript:{SCRIPT}")).await;
    page.fill("Description optional", SCRIPT).await;
    page.click("button", "Save").await;
    page.holds("The webhook was not saved").await;
    let typed = page.script("return document.getElementById('url').value", Vec::new()).await;
    assert_eq!(typed, format!("javascript:{SCRIPT}"), "nothing is lost");
    page.fill("URL", &stage.receiver.url("/hook")).await;
    stage.world.revoke("hostile").await;
    page.announce("/webhooks/new answered 401");
    page.click("button", "Save").await;
    page.holds("Your session has ended").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_leads_back_to_the_platform_only_and_names_are_plain() {
    let stage = Stage::start().await;
    let refused = [
        json!({"returnUrl": "javascript:hacked=1"}),
        json!({"returnUrl": "https://evil.example.net/"}),
        json!({"user": BIDI}),
        json!({"theme": {"productName": BIDI}}),
        json!({"theme": {"accent": "red;} * {display: none"}}),
    ];
    for more in refused {
        let mut link: Value = json!({"access": "manage"});
        link.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (status, problem) = stage.world.api(Method::POST, "/v1/accounts/acme/portal-links", Some(link)).await;
        assert_eq!(status, 422, "{more}: {problem}");
    }
}
