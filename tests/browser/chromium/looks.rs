//! How a page looks: at each width, in each theme, in another time zone.

use std::path::Path;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use super::Page;

/// The widths that each page is made for, in CSS pixels: a phone, a tablet, a desk.
pub const WIDTHS: [u32; 3] = [360, 768, 1280];
/// The width that a desk of 1280 pixels has left at a zoom of 200 %.
const ZOOMED: u32 = 640;
/// Below it, the browser behaves as a phone's: it heeds `<meta name=viewport>` and has no room for scroll bars.
const PHONE_BELOW: u32 = 600;
/// The folder of the screenshots that are committed. They are taken with `LYNKHOOK_SCREENSHOTS=1`.
pub const SCREENSHOTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser/screenshots");
/// The part of a long page that its screenshot has, in pixels from the top.
const HEIGHT_MAX: u32 = 1200;
/// The colours of a screenshot: text stays sharp, and all screenshots together small.
const COLOURS: u32 = 16;
/// Answers an image (PNG) of at most 16 colours, with half a byte for each pixel. The next colour of the palette is always
/// the one that is missed most: it is frequent, or far from the others. Each pixel gets the nearest colour.
const SMALL: &str = r"
    const [png, most, answer] = arguments;
    const crcOf = bytes => {
        let crc = -1;
        for (const byte of bytes) {
            crc ^= byte;
            for (let bit = 0; bit < 8; bit++) crc = crc >>> 1 ^ (crc & 1 ? 0xedb88320 : 0);
        }
        return ~crc;
    };
    const number = value => [24, 16, 8, 0].map(bits => value >>> bits & 255);
    const chunk = (name, bytes) => {
        const body = [...name].map(char => char.charCodeAt(0)).concat(Array.from(bytes));
        return [...number(bytes.length), ...body, ...number(crcOf(body))];
    };
    const small = async () => {
        const bitmap = await createImageBitmap(new Blob([Uint8Array.from(atob(png), char => char.charCodeAt())]));
        const {width, height} = bitmap;
        const context = new OffscreenCanvas(width, height).getContext('2d');
        context.drawImage(bitmap, 0, 0);
        const pixels = new Uint32Array(context.getImageData(0, 0, width, height).data.buffer);
        const counts = new Map();
        for (const pixel of pixels) counts.set(pixel, (counts.get(pixel) ?? 0) + 1);
        const channels = colour => [colour & 255, colour >> 8 & 255, colour >> 16 & 255];
        const colours = [...counts].map(([pixel, count]) => ({pixel, count, channels: channels(pixel), place: 0, missed: Infinity}));
        const palette = [];
        while (palette.length < most) {
            const next = colours.reduce((a, b) => a.count * a.missed >= b.count * b.missed ? a : b).channels;
            for (const colour of colours) {
                const missed = colour.channels.reduce((sum, value, at) => sum + (value - next[at]) ** 2, 0);
                if (missed < colour.missed) Object.assign(colour, {missed, place: palette.length});
            }
            palette.push(next);
        }
        const places = new Map(colours.map(colour => [colour.pixel, colour.place]));
        const stride = 1 + Math.ceil(width / 2);
        const rows = new Uint8Array(stride * height);
        pixels.forEach((pixel, at) => {
            const x = at % width;
            rows[Math.floor(at / width) * stride + 1 + (x >> 1)] |= places.get(pixel) << (x % 2 ? 0 : 4);
        });
        const packed = await new Response(new Blob([rows]).stream().pipeThrough(new CompressionStream('deflate'))).arrayBuffer();
        const bytes = [
            137, 80, 78, 71, 13, 10, 26, 10,
            ...chunk('IHDR', [...number(width), ...number(height), 4, 3, 0, 0, 0]),
            ...chunk('PLTE', palette.flat()),
            ...chunk('IDAT', new Uint8Array(packed)),
            ...chunk('IEND', []),
        ];
        return btoa(bytes.map(byte => String.fromCharCode(byte)).join(''));
    };
    small().then(answer, error => answer(`${error}`));
";
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

/// Whether this run takes the screenshots.
pub fn wants_screenshots() -> bool {
    std::env::var("LYNKHOOK_SCREENSHOTS").is_ok_and(|wanted| wanted == "1")
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

    /// Asserts in each theme and at each width that the page is accessible and does not scroll sideways, not even at a zoom
    /// of 200 %, and takes its screenshot as `name` if `LYNKHOOK_SCREENSHOTS` is 1.
    pub async fn looks_right(&self, name: &str) {
        for theme in Theme::ALL {
            self.set_theme(theme).await;
            for width in WIDTHS {
                self.set_width(width).await;
                self.does_not_scroll_sideways(width).await;
                self.is_accessible().await;
                if wants_screenshots() {
                    let file = Path::new(SCREENSHOTS).join(format!("{name}-{}-{width}.png", theme.name()));
                    std::fs::create_dir_all(SCREENSHOTS).unwrap();
                    std::fs::write(file, self.picture(HEIGHT_MAX).await).unwrap();
                }
            }
            self.set_width(ZOOMED).await;
            self.does_not_scroll_sideways(ZOOMED).await;
        }
    }

    /// The page as an image (PNG), not only the part in the window, up to this height.
    pub async fn picture(&self, height_max: u32) -> Vec<u8> {
        let answer = self.devtools("Page.getLayoutMetrics", json!({})).await;
        let size = &answer["cssContentSize"];
        let height = size["height"].as_f64().unwrap().min(height_max.into());
        let clip = json!({"x": 0, "y": 0, "width": size["width"], "height": height, "scale": 1});
        let how = json!({"format": "png", "captureBeyondViewport": true, "clip": clip});
        let answer = self.devtools("Page.captureScreenshot", how).await;
        let small = self.driver.execute_async(SMALL, vec![answer["data"].clone(), COLOURS.into()]).await.unwrap();
        STANDARD.decode(small.json().as_str().unwrap()).unwrap()
    }
}
