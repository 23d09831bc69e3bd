//! Every page of the screen in every state: accessible, at each width and in each theme, and pictured.

mod scenes;
mod seeds;

use self::{scenes::GROUPS, seeds::NOW};
pub use self::{scenes::Stage, seeds::Attempt};
use crate::chromium::{Browser, Page, SCREENSHOTS, wants_screenshots};

/// Gives a picture the times, ids and ports that it had the last time: the newest attempt is of 26 March 2026, 14:32.
const STEADY: &str = r"
    const [now, zone] = arguments;
    const then = Date.UTC(2026, 2, 26, 14, 32);
    const local = new Intl.DateTimeFormat('en-US', {dateStyle: 'medium', timeStyle: 'medium', timeZone: zone});
    const utc = date => {
        const text = date.toLocaleString('en-GB', {
            day: 'numeric', month: 'short', year: 'numeric', hour: '2-digit', minute: '2-digit', second: '2-digit', timeZone: 'UTC',
        });
        return `${text} UTC`;
    };
    for (const time of document.querySelectorAll('time[datetime]')) {
        const date = new Date(then + Math.min(0, Math.round((new Date(time.dateTime) - now) / 1000) * 1000));
        time.firstChild.data = local.format(date);
        time.querySelector('.utc').textContent = utc(date);
    }
    for (const typed of document.querySelectorAll('input')) {
        if (typed.type === 'datetime-local') typed.value = '2026-03-26T14:02:00';
        typed.value = typed.value.replace(/(localhost|hooks\.test):\d+/, 'hooks.acme-recruiting.com');
    }
    const ids = [];
    const id = found => {
        if (!ids.includes(found)) ids.push(found);
        return `wh_01a2b3c4-d5e6-7f80-9123-a4b5c6d7e8f${ids.indexOf(found)}`;
    };
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        const text = texts.currentNode;
        text.data = text.data
            .replace(/(localhost|hooks\.test):\d+/g, 'hooks.acme-recruiting.com')
            .replace(/date: .* GMT/g, 'date: Thu, 26 Mar 2026 14:32:00 GMT')
            .replace(/wh_[0-9a-f-]+/g, id);
    }
";
/// The reader's time zone.
pub const ZONE: &str = "Europe/Berlin";

impl Page {
    /// Asserts that a scene looks right, and takes its screenshots if they are wanted.
    pub async fn scene_looks_right(&self, scene: &str) {
        if wants_screenshots() {
            self.script(STEADY, vec![NOW.timestamp_millis().into(), ZONE.into()]).await;
        }
        self.looks_right(scene).await;
    }
}

async fn look_right(group: usize) {
    let mut stage = Stage::start().await;
    let page = Browser::default().start().await;
    page.set_time_zone(ZONE).await;
    for scene in GROUPS[group] {
        eprintln!("scene {scene}");
        stage.show(&page, scene).await;
        page.scene_looks_right(scene).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ways_in_and_the_list_look_right_in_each_state() {
    look_right(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_and_questions_look_right_in_each_state() {
    look_right(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_deliveries_events_and_refusals_look_right_in_each_state() {
    look_right(2).await;
}

#[test]
fn all_screenshots_together_are_small() {
    let Ok(entries) = std::fs::read_dir(SCREENSHOTS) else { return };
    let bytes: u64 = entries.map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes <= 3 << 20, "the screenshots have {bytes} bytes");
}
