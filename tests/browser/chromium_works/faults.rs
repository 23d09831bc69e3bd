use std::sync::{Arc, Mutex};

use super::outcome;
use crate::{
    chromium::{Browser, Page},
    site::{Site, answer, page, page_with},
    support::{Receiver, refused_port},
    world::World,
};

/// The policy of the portal's pages.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      require-trusted-types-for 'script'; trusted-types lynkhook";

/// A page under the policy, in each row with another body and script.
struct Try {
    page: Page,
    site: Site,
    content: Arc<Mutex<(String, String)>>,
}

impl Try {
    async fn start() -> Self {
        let content: Arc<Mutex<(String, String)>> = Arc::default();
        let given = Arc::clone(&content);
        let site = Site::start(move |asked| {
            let (body, script) = given.lock().unwrap().clone();
            std::future::ready(match asked.path.as_str() {
                "/" => page_with(&body, &[("content-security-policy", POLICY)]),
                "/script.js" => answer(200, "text/javascript", &script, &[]),
                _ => answer(410, "text/plain", "gone", &[]),
            })
        })
        .await;
        Self { page: Browser::default().start().await, site, content }
    }

    /// Opens a page with this body and this script, waits for a fault that contains `part`, and answers all faults.
    async fn faults(&self, body: &str, script: &str, part: &str) -> Vec<String> {
        let body = format!("{body}<script src='/script.js'></script>");
        *self.content.lock().unwrap() = (body, script.to_owned());
        self.page.goto(&self.site.url("/")).await;
        let mut all = Vec::new();
        let has_it = async || {
            all.extend(self.page.faults().await);
            all.iter().any(|fault: &String| fault.contains(part)).then_some(())
        };
        self.page.wait(part, has_it).await;
        all
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_on_the_console_and_reports_of_the_policy_are_noticed() {
    let tried = Try::start().await;
    for (body, script, part) in [
        ("", "console.error('an error of ours')", "an error of ours"),
        ("", "setTimeout(() => { throw new Error('thrown later') })", "thrown later"),
        ("", "Promise.reject(new Error('nobody waits'))", "nobody waits"),
        ("<script>1</script>", "", "inline script"),
        ("<p style='color: red'>x</p>", "", "inline style"),
        ("<button onclick='1'>x</button>", "", "inline event handler"),
        ("<img src='http://127.0.0.1:9/x.png' alt=x>", "", "http://127.0.0.1:9/x.png"),
        ("", "try { document.body.innerHTML = '<b>x</b>' } catch {}", "TrustedHTML"),
        ("", "try { trustedTypes.createPolicy('other', {}) } catch {}", "named 'other' violates"),
        ("", "alert('hostile')", "dialog: \"alert\" \"hostile\""),
    ] {
        let faults = tried.faults(body, script, part).await;
        let is_one = |fault: &String| {
            ["console: ", "dialog: "].iter().any(|kind| fault.starts_with(kind)) || fault.ends_with("(csp)")
        };
        assert!(faults.iter().all(is_one), "{body}{script}: {faults:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_requests_and_answers_of_400_and_more_are_noticed_once() {
    let tried = Try::start().await;
    let faults = tried.faults("<img src='/gone.png' alt=x>", "", "answered").await;
    assert_eq!(faults, [format!("GET {} answered 410", tried.site.url("/gone.png"))]);
    let faults = tried.faults("", "fetch('/gone?secret', {method: 'POST'})", "answered").await;
    assert_eq!(faults, [format!("POST {} answered 410", tried.site.url("/gone"))]);
    let refused = format!("http://127.0.0.1:{}/", refused_port());
    let site = Site::of_page(&format!("<img src='{refused}' alt=x>")).await;
    tried.page.goto(&site.url("/")).await;
    assert_eq!(tried.page.faults().await, [format!("GET {refused} failed: net::ERR_CONNECTION_REFUSED")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_inside_a_frame_of_another_site_are_noticed() {
    let inner = "<img src='/gone.png' alt=x><script>console.error('in the frame')</script>";
    let site = Site::start(move |asked| {
        let host = asked.headers["host"].to_str().unwrap().replace("localhost", "127.0.0.1");
        std::future::ready(match asked.path.as_str() {
            "/outer" => page(&format!("<iframe title=Inner src='http://{host}/inner'></iframe>")),
            "/inner" => page(inner),
            _ => answer(404, "text/plain", "", &[]),
        })
    })
    .await;
    let page = Page::open(&site.other_url("/outer")).await;
    page.enter_frame("Inner").await;
    page.find("heading", "Page").await;
    let mut all = Vec::new();
    page.wait("both faults", async || {
        all.extend(page.faults().await);
        let has = |part: &str| all.iter().any(|fault: &String| fault.contains(part));
        (has("/gone.png answered 404") && has("in the frame")).then_some(())
    })
    .await;
    assert_eq!(all.len(), 2, "{all:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_fails_at_its_end_for_each_fault_unless_it_announced_it_and_for_announced_ones_that_do_not_happen() {
    let site = Site::start(|asked| {
        std::future::ready(match asked.path.as_str() {
            "/" => page("<script>console.error('an error of ours')</script>"),
            "/fine" => page("fine"),
            _ => answer(404, "text/plain", "nothing", &[]),
        })
    })
    .await;
    for (path, announced, ends_well) in [
        ("/fine", None, true),
        ("/", None, false),
        ("/nothing", None, false),
        ("/nothing", Some("/nothing answered 404"), true),
        ("/fine", Some("/nothing answered 404"), false),
    ] {
        let url = site.url(path);
        let ended = outcome(async move || {
            let page = Page::open(&url).await;
            if let Some(part) = announced {
                page.announce(part);
            }
        });
        let ended = ended.await;
        assert_eq!(ended.is_ok(), ends_well, "{path} {announced:?}");
        if let Err(message) = ended {
            assert!(message.starts_with("the browser reported:\n"), "{message}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_has_today_is_shown_without_a_fault() {
    let world = World::start(&Receiver::start().await).await;
    let page = Page::open(&world.page("/docs")).await;
    assert!(page.text().await.len() > 200);
    page.goto(&world.page("/problems/invalid")).await;
    page.announce("/nothing answered 404");
    page.goto(&world.page("/nothing")).await;
}
