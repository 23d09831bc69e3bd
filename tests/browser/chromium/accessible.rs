//! Accessibility, judged by axe-core, which is injected into the page.

use serde_json::Value;

use super::Page;

const AXE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser/node_modules/axe-core/axe.min.js");
/// Answers each violation: the rule and its help, and below it each element with what to mend.
const RUN: &str = r"
    const answer = arguments[arguments.length - 1];
    const line = node => `  ${node.target.join(' ')}: ${node.html}\n    ${node.failureSummary.replace(/\n\s*/g, ' ')}`;
    // axe takes a transparent page for white. The browser gives it the ground of its theme, as do pages around a frame.
    const ground = document.documentElement.style;
    if (getComputedStyle(document.documentElement).backgroundColor === 'rgba(0, 0, 0, 0)') ground.background = 'Canvas';
    // Colours that are just changing would be judged as they are at this moment.
    const changing = document.getAnimations().filter(one => one.effect.getComputedTiming().endTime < Infinity);
    Promise.allSettled(changing.map(one => one.finished))
        .then(() => axe.run(document, {resultTypes: ['violations']}))
        .then(({violations}) => violations.map(({id, help, helpUrl, nodes}) =>
            [`${id}: ${help} (${helpUrl})`, ...nodes.map(line)].join('\n')))
        .finally(() => ground.background = '')
        .then(answer, error => answer([String(error)]));
";

impl Page {
    /// Asserts that axe-core finds nothing in the page, or in the frame that was entered.
    pub async fn is_accessible(&self) {
        let violations = self.violations().await;
        assert!(violations.is_empty(), "the page is not accessible:\n{}", violations.join("\n"));
    }

    /// Everything that axe-core finds: rule, help, elements.
    pub async fn violations(&self) -> Vec<String> {
        if self.script("return typeof axe === 'undefined'", Vec::new()).await == true {
            let axe = std::fs::read_to_string(AXE);
            let axe = axe.unwrap_or_else(|error| panic!("{AXE}: {error}: run `make test-ui`, which installs it"));
            self.script(&axe, Vec::new()).await;
        }
        let found = self.driver.execute_async(RUN, Vec::<Value>::new()).await.unwrap();
        found.convert().unwrap()
    }
}
