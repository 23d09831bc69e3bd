//! How a page looks: at each width, in each theme, in another time zone.

use std::path::Path;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use super::Page;

/// The widths that each page is made for, in CSS pixels: a phone, a tablet, a desk.
pub const WIDTHS: [u32; 3] = [360, 768, 1280];
/// Below it, the browser behaves as a phone's: it heeds `<meta name=viewport>` and has no room for scroll bars.
const PHONE_BELOW: u32 = 600;
/// The folder of the screenshots that are committed. They are taken with `LYNKHOOK_SCREENSHOTS=1`.
const SCREENSHOTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser/screenshots");
/// Quality of a screenshot in WebP, in percent: text stays sharp, and all of them together small.
const QUALITY: u32 = 80;
/// Answers each element that reaches further to the right than the page is wide.
const WIDE: &str = r"
    const root = document.documentElement;
    if (root.scrollWidth <= root.clientWidth) return null;
    const wide = [...document.querySelectorAll('body *')]
        .filter(element => element.getBoundingClientRect().right + scrollX > root.clientWidth)
        .map(element => element.cloneNode().outerHTML);
    return `${root.scrollWidth} pixels wide: ${wide.slice(0, 5).join(' ')}`;
";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    Light,
    Dark,
}

impl Theme {
    pub const ALL: [Self; 2] = [Self::Light, Self::Dark];

    fn name(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }
}

impl Page {
    /// Gives the window this width.
    pub async fn set_width(&self, width: u32) {
        let is_phone = width < PHONE_BELOW;
        let metrics = json!({"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": is_phone});
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    pub async fn set_theme(&self, theme: Theme) {
        self.set_media(&[("prefers-color-scheme", theme.name())]).await;
    }

    /// Sets what media queries find, such as `("prefers-reduced-motion", "reduce")` or `("forced-colors", "active")`, in
    /// place of what was set before.
    pub async fn set_media(&self, features: &[(&str, &str)]) {
        let features: Vec<_> = features.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        self.devtools("Emulation.setEmulatedMedia", json!({"features": features})).await;
    }

    /// Sets the reader's time zone, such as `Europe/Berlin`, for pages opened from now on.
    pub async fn set_time_zone(&self, zone: &str) {
        self.devtools("Emulation.setTimezoneOverride", json!({"timezoneId": zone})).await;
    }

    /// Asserts that at no width one has to scroll sideways. Leaves the page at the last width.
    pub async fn never_scrolls_sideways(&self) {
        for width in WIDTHS {
            self.set_width(width).await;
            self.does_not_scroll_sideways(width).await;
        }
    }

    async fn does_not_scroll_sideways(&self, width: u32) {
        let wide = self.sideways().await;
        assert!(wide.is_none(), "at a width of {width}, the page scrolls sideways: it is {}", wide.unwrap_or_default());
    }

    /// The cause if one has to scroll sideways at the present width: the page's own width, and elements that reach too far.
    pub async fn sideways(&self) -> Option<String> {
        self.script(WIDE, Vec::new()).await.as_str().map(str::to_owned)
    }

    /// Asserts in each theme and at each width that the page is accessible and does not scroll sideways, and takes its
    /// screenshot as `name` if `LYNKHOOK_SCREENSHOTS` is 1.
    pub async fn looks_right(&self, name: &str) {
        for theme in Theme::ALL {
            self.set_theme(theme).await;
            for width in WIDTHS {
                self.set_width(width).await;
                self.does_not_scroll_sideways(width).await;
                self.is_accessible().await;
                if std::env::var("LYNKHOOK_SCREENSHOTS").is_ok_and(|wanted| wanted == "1") {
                    let file = Path::new(SCREENSHOTS).join(format!("{name}-{}-{width}.webp", theme.name()));
                    std::fs::create_dir_all(SCREENSHOTS).unwrap();
                    std::fs::write(file, self.picture().await).unwrap();
                }
            }
        }
    }

    /// The whole page as an image (WebP), not only the part in the window.
    pub async fn picture(&self) -> Vec<u8> {
        let how = json!({"format": "webp", "quality": QUALITY, "captureBeyondViewport": true});
        let answer = self.devtools("Page.getLayoutMetrics", json!({})).await;
        let size = &answer["cssContentSize"];
        let clip = json!({"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1});
        let mut how = how.as_object().unwrap().clone();
        how.insert("clip".to_owned(), clip);
        let answer = self.devtools("Page.captureScreenshot", how.into()).await;
        STANDARD.decode(answer["data"].as_str().unwrap()).unwrap()
    }
}
