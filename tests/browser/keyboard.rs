//! The screen by keyboard alone, without motion, in forced colours, and in the theme of its link.

use lynkhook::webhooks::NewAuthentication;
use serde_json::json;
use thirtyfour::Key;

use crate::{
    chromium::{Page, Theme},
    pages::Stage,
    support::*,
};

/// Whether the focus is seen: the element with the focus, or the label or choice around it, has an outline, and no part
/// of it lies outside the window's top or sides.
const SEEN: &str = r"
    const focused = document.activeElement;
    // Behind the last element, the browser itself has the focus.
    if (focused === document.body) return true;
    const around = [focused, focused.parentElement, focused.closest('label')].filter(Boolean);
    const box = focused.getBoundingClientRect();
    return box.top >= 0 && box.left >= 0 && around.some(one => {
        const {outlineStyle, outlineWidth} = getComputedStyle(one);
        return outlineStyle !== 'none' && parseFloat(outlineWidth) >= 2;
    });
";
/// Answers each animation or transition that runs or could run.
const MOTION: &str = r"
    const moving = [...document.querySelectorAll('*')].filter(one => ['', '::before', '::after'].some(part => {
        const {transitionDuration, animationName} = getComputedStyle(one, part || null);
        return animationName !== 'none' || transitionDuration.split(', ').some(time => parseFloat(time) > 0);
    }));
    return [moving.length, document.getAnimations().length];
";
/// Answers the colours that tell states apart.
const COLOURS: &str = r"
    const of = (selector, name, part) => getComputedStyle(document.querySelector(selector), part)[name];
    return {
        ground: of('body', 'backgroundColor'), canvas: of('html', 'backgroundColor'),
        good: of('.strip .good', 'fill'), bad: of('.strip .bad', 'fill'),
        on: of('.switch[aria-checked=true]', 'backgroundColor', '::before'),
        off: of('.switch[aria-checked=false]', 'backgroundColor', '::before'),
        edge: of('.switch[aria-checked=false]', 'borderTopColor', '::before'),
        knob: of('.switch[aria-checked=false]', 'backgroundColor', '::after'),
    };
";

impl Page {
    /// Presses Tab until something has the focus, and asserts each time that the focus is seen. Answers all on the way.
    async fn tab_to(&self, role: &str, name: &str) -> Vec<String> {
        let mut passed = Vec::new();
        while passed.len() < 40 {
            self.press(Key::Tab).await;
            let (its_role, its_name) = self.focused().await;
            let seen = self.script(SEEN, Vec::new()).await;
            assert_eq!(seen, true, "the focus on {its_role} {its_name:?} is not seen, after {passed:?}");
            passed.push(its_name.clone());
            if its_role == role && its_name == name {
                return passed;
            }
        }
        panic!("no {role} {name:?} can be reached; there were {passed:?}");
    }

    async fn has_focus_on(&self, role: &str, name: &str) {
        let wanted = (role.to_owned(), name.to_owned());
        self.wait(&format!("the focus on {role} {name:?}"), async || (self.focused().await == wanted).then_some(()))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_added_and_tested_by_keyboard_alone() {
    let stage = Stage::start().await;
    let (world, receiver) = (&stage.world, &stage.receiver);
    receiver.plan("/hook", [Answer::Status(200)]);
    let page = Page::open(&world.way_in("keys", json!({})).await).await;
    page.tab_to("button", "Open webhooks").await;
    page.press(Key::Enter).await;
    page.find("heading", "No webhooks yet").await;

    page.tab_to("link", "Skip to the content").await;
    page.press(Key::Enter).await;
    page.has_focus_on("main", "").await;
    let passed = page.tab_to("link", "Add Webhook").await;
    assert_eq!(passed, ["Events", "Add Webhook"], "the link skips the trail");
    page.press(Key::Enter).await;
    page.find("heading", "Add Webhook").await;

    page.tab_to("textbox", "URL").await;
    page.press(receiver.url("/hook").replace("https", "http")).await;
    let event = "transcript.created";
    let passed = page.tab_to("checkbox", event).await;
    assert_eq!(passed, ["See what each event contains", event]);
    page.sees("begin with https://").await;
    page.press(" ").await;
    page.tab_to("textbox", "Description optional").await;
    page.press("By keys").await;
    page.tab_to("switch", "Active").await;
    page.tab_to("button", "Save").await;
    page.announce("/webhooks/new answered 422");
    page.press(Key::Enter).await;
    page.sees("The webhook was not saved: 2 fields need a change").await;
    let summary = page.script("return document.activeElement.id", Vec::new()).await;
    assert_eq!(summary, "summary", "the summary of the faults has the focus");

    page.press(Key::Tab).await;
    page.press(Key::Enter).await;
    page.has_focus_on("textbox", "URL").await;
    page.press(Key::Home).await;
    for _ in "http".chars() {
        page.press(Key::Delete).await;
    }
    page.press("https").await;
    page.tab_to("checkbox", event).await;
    page.press(" ").await;
    page.tab_to("button", "Save").await;
    page.press(" ").await;
    page.sees("Test it now").await;
    page.tab_to("button", "Test: By keys").await;
    page.press(Key::Enter).await;
    page.find("heading", "Test result Success").await;

    page.tab_to("switch", "Active: By keys").await;
    page.press(" ").await;
    page.sees("Switched off.").await;
    page.tab_to("link", "View Logs: By keys").await;
    page.press(Key::Enter).await;
    page.find("heading", "Delivery logs of By keys").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_moves_where_motion_is_not_wanted_and_states_are_seen_in_forced_colours() {
    let stage = Stage::start().await;
    let world = &stage.world;
    world.busy_crm("calm").await;
    let off = world.add_with("calm", "Off", "https://events.acme-recruiting.com/in", NewAuthentication::None).await;
    world.here.webhooks.disable(&account_id("calm"), off, None).await.unwrap();
    let page = Page::open(&world.way_in("calm", json!({})).await).await;
    page.click("button", "Open webhooks").await;
    page.find("article", "Off Inactive").await;
    let moving = page.script(MOTION, Vec::new()).await;
    assert!(moving[0].as_u64() > Some(0), "otherwise the next assertion says nothing: {moving}");
    page.set_media(&[("prefers-reduced-motion", "reduce")]).await;
    page.script("document.querySelector('.button').setAttribute('aria-busy', 'true')", Vec::new()).await;
    assert_eq!(page.script(MOTION, Vec::new()).await, json!([0, 0]));

    for scheme in ["light", "dark"] {
        page.set_media(&[
            ("forced-colors", "active"),
            ("prefers-color-scheme", scheme),
            ("prefers-reduced-motion", "reduce"),
        ])
        .await;
        let colours = page.script(COLOURS, Vec::new()).await;
        let differ = |a: &str, b: &str| assert_ne!(colours[a], colours[b], "{a} and {b} in {scheme}: {colours}");
        for (a, b) in
            [("good", "canvas"), ("bad", "canvas"), ("good", "bad"), ("on", "off"), ("off", "edge"), ("off", "knob")]
        {
            differ(a, b);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_has_a_theme_of_its_own_and_otherwise_the_systems() {
    const LIGHT: &str = "rgb(255, 255, 255)";
    const DARK: &str = "rgb(20, 23, 26)";
    let stage = Stage::start().await;
    let grounds = [("system", [LIGHT, DARK]), ("light", [LIGHT, LIGHT]), ("dark", [DARK, DARK])];
    for (mode, expected) in grounds {
        let theme =
            json!({"mode": mode, "accent": "#ffee00", "accentDark": "#102030", "radius": 0, "productName": "Acme"});
        let page = Page::open(&stage.world.way_in(mode, json!({"theme": theme})).await).await;
        page.click("button", "Open webhooks").await;
        page.sees("Back to Acme").await;
        for (theme, ground) in Theme::ALL.into_iter().zip(expected) {
            page.set_theme(theme).await;
            let found =
                page.script("return getComputedStyle(document.documentElement).backgroundColor", Vec::new()).await;
            assert_eq!(found, ground, "{mode} in {theme:?}");
            page.is_accessible().await;
        }
        let radius =
            page.script("return getComputedStyle(document.querySelector('.button')).borderRadius", Vec::new()).await;
        assert_eq!(radius, "0px");
    }
}
