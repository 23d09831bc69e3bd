use base64::{Engine, engine::general_purpose::STANDARD};

use super::outcome;
use crate::{
    chromium::{Browser, Page, Theme, WIDTHS},
    site::{Asked, Site, answer, page, page_with},
};

/// Answers the size of an image, and the colour of its middle.
const READ: &str = r"
    const [picture, answer] = arguments;
    createImageBitmap(new Blob([Uint8Array.from(atob(picture), char => char.charCodeAt())])).then(bitmap => {
        const {width, height} = bitmap;
        const context = new OffscreenCanvas(width, height).getContext('2d');
        context.drawImage(bitmap, 0, 0);
        answer([width, height, ...context.getImageData(width / 2, height / 2, 1, 1).data.slice(0, 3)]);
    });
";
/// A page that tells what it finds.
const TELLS: &str = "<p id=told>no script</p><script>
    const media = ['(prefers-color-scheme: dark)', '(prefers-reduced-motion: reduce)', '(forced-colors: active)'];
    told.textContent = `${innerWidth} ${media.map(query => matchMedia(query).matches).join(' ')} ${
        Intl.DateTimeFormat().resolvedOptions().timeZone}`;
    </script>";

#[tokio::test(flavor = "multi_thread")]
async fn width_theme_motion_colours_and_time_zone_are_as_the_test_sets_them() {
    let site = Site::of_page(TELLS).await;
    let page = Page::open(&site.url("/")).await;
    page.set_time_zone("Asia/Kolkata").await;
    for width in WIDTHS {
        page.set_width(width).await;
        page.set_theme(Theme::Dark).await;
        page.reload().await;
        page.sees(&format!("{width} true false false Asia/")).await;
        page.set_theme(Theme::Light).await;
        page.reload().await;
        page.sees(&format!("{width} false false false Asia/")).await;
    }
    page.set_media(&[("prefers-reduced-motion", "reduce"), ("forced-colors", "active")]).await;
    page.set_time_zone("America/New_York").await;
    page.reload().await;
    page.sees("1280 false true true America/New_York").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_javascript_no_script_runs_and_the_page_can_still_be_used() {
    let form = format!("{TELLS}<form action=/sent><label>Name <input name=name></label><button>Send</button></form>");
    let site = Site::start(move |asked| {
        std::future::ready(if asked.path == "/sent" { page("It was sent") } else { page(&form) })
    })
    .await;
    let page = Browser::without_javascript().start().await;
    page.goto(&site.url("/")).await;
    page.sees("no script").await;
    page.fill("Name", "Ada").await;
    page.click("button", "Send").await;
    page.sees("It was sent").await;
    assert!(page.url().await.ends_with("/sent?name=Ada"), "{}", page.url().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_scrolls_sideways_at_one_width_is_noticed() {
    let answer = |asked: Asked| page(&format!("<div style='width: {}px'>wide</div>", &asked.path[1..]));
    let site = Site::start(move |asked| std::future::ready(answer(asked))).await;
    let page = Browser::default().start().await;
    for pixels in [300, 500, 1000, 1400] {
        for width in WIDTHS {
            page.set_width(width).await;
            page.goto(&site.url(&format!("/{pixels}"))).await;
            assert_eq!(page.sideways().await.is_some(), pixels > width, "{pixels} in {width}");
        }
    }
    page.goto(&site.url("/300")).await;
    page.never_scrolls_sideways().await;
    drop(page);
    let url = site.url("/1000");
    let message = outcome(async move || Page::open(&url).await.never_scrolls_sideways().await).await.unwrap_err();
    assert!(message.contains("at a width of 360") && message.contains("1000px"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_violation_of_accessibility_is_told_with_rule_element_and_help_even_under_the_policy_of_the_portal() {
    let bad = "<img src='/x.svg'><input name=unlabelled><p class=pale>pale</p><link rel=stylesheet href='/x.css'>";
    let site = Site::start(move |asked| {
        let policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      require-trusted-types-for 'script'; trusted-types lynkhook";
        std::future::ready(match asked.path.as_str() {
            "/x.svg" => answer(200, "image/svg+xml", "<svg xmlns='http://www.w3.org/2000/svg'/>", &[]),
            "/x.css" => answer(200, "text/css", ".pale { color: #ccc; background: #fff }", &[]),
            "/fine" => page("fine"),
            _ => page_with(bad, &[("content-security-policy", policy)]),
        })
    })
    .await;
    let page = Page::open(&site.url("/fine")).await;
    page.is_accessible().await;
    page.goto(&site.url("/")).await;
    let violations = page.violations().await;
    for (rule, element) in [("image-alt: ", "<img src"), ("label: ", "<input name"), ("color-contrast: ", "<p class")] {
        let told = violations.iter().find(|violation| violation.starts_with(rule)).expect(rule);
        assert!(told.contains(element) && told.contains("https://") && told.contains("Fix "), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_shows_the_whole_page_as_an_image_that_browsers_read() {
    let site = Site::of_page("<div style='height: 3000px; background: #ff0000'>tall</div>").await;
    let page = Page::open(&site.url("/")).await;
    page.set_width(360).await;
    for (height_max, heights) in [(4000, 3000..4000), (2000, 2000..2001)] {
        let picture = page.picture(height_max).await;
        let read = page.driver.execute_async(READ, vec![STANDARD.encode(picture).into()]).await.unwrap();
        let [width, height, colour @ ..] = read.convert::<[u32; 5]>().unwrap();
        assert!(width == 360 && heights.contains(&height), "{width} x {height}");
        assert_eq!(colour, [255, 0, 0], "the middle of the page is red");
    }
}
