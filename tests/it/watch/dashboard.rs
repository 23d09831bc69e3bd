//! The dashboard's file, as far as it can be judged without Grafana.

use serde_json::Value;

use super::{prometheus::Labels, text::Metrics};
use crate::{health::Probed, support::*};

/// The metrics that only a server has. `server::metrics` looks at them.
const OF_SERVER: [&str; 1] = ["lynkhook_requests_total"];
/// The questions, in their order.
const QUESTIONS: [&str; 6] =
    ["Is everything in time?", "Who fails?", "Is there room?", "How is Redis?", "What waits?", "What is dropped?"];

/// A panel: its title, its queries with their legends, and where it lies.
#[derive(Debug)]
pub(super) struct Panel {
    pub(super) title: String,
    pub(super) unit: String,
    pub(super) queries: Vec<(String, String)>,
    /// Left, top, width, height.
    place: [u64; 4],
}

fn file() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/grafana/lynkhook.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

fn place(panel: &Value) -> [u64; 4] {
    ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap())
}

/// All panels, without the headings.
pub(super) fn panels() -> Vec<Panel> {
    let file = file();
    let panels = file["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row");
    let query = |target: &Value| (word(&target["expr"]), word(&target["legendFormat"]));
    panels
        .map(|panel| Panel {
            title: word(&panel["title"]),
            unit: word(&panel["fieldConfig"]["defaults"]["unit"]),
            queries: panel["targets"].as_array().unwrap().iter().map(query).collect(),
            place: place(panel),
        })
        .collect()
}

/// A query as Grafana sends it, for windows of this length.
pub(super) fn over(query: &str, window: &str) -> String {
    let sent = query.replace("$__rate_interval", window);
    assert!(!sent.contains('$'), "{query} has a variable that the dashboard does not define");
    sent
}

/// The same query for what was counted since the processes started, instead of what was counted in a window.
pub(super) fn since_the_start(query: &str) -> String {
    let totals = query.replace("increase(", "").replace("rate(", "").replace("[$__rate_interval])", "");
    assert!(!totals.contains('$') && !totals.contains('['), "{query} has another window");
    totals
}

/// The name of a series, as its legend shows it.
pub(super) fn name(legend: &str, labels: &Labels) -> String {
    let put = |name: String, (label, value): (&String, &String)| name.replace(&format!("{{{{{label}}}}}"), value);
    labels.iter().fold(legend.to_owned(), put)
}

/// The labels that a legend shows.
fn shown(legend: &str) -> impl Iterator<Item = &str> {
    legend.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap())
}

#[test]
fn the_totals_of_a_query_have_no_window() {
    let query = "sum by (a) (rate(b_total{c!=\"d\"}[$__rate_interval]) + increase(e_total[$__rate_interval])) > 0";
    assert_eq!(since_the_start(query), "sum by (a) (b_total{c!=\"d\"} + e_total) > 0");
}

/// Grafana shows no text for a label that a series lacks, and every series in the same way.
#[test]
fn a_legend_shows_all_labels_by_which_its_query_is_grouped_and_no_others_and_each_unit_is_one_of_grafana() {
    for panel in panels() {
        assert!(["s", "ops", "reqps", "percentunit", "none"].contains(&panel.unit.as_str()), "{panel:?}");
        for (query, legend) in &panel.queries {
            // The first grouping is the outer one.
            let grouped = query.split_once(" by (").map_or("", |(_, rest)| rest.split(')').next().unwrap());
            let grouped: Vec<&str> = grouped.split(", ").filter(|label| !["", "le"].contains(label)).collect();
            assert_eq!(shown(legend).collect::<Vec<_>>(), grouped, "{query}: {legend}");
            assert!(!legend.is_empty(), "{query}");
        }
    }
}

#[test]
fn at_most_sixteen_panels_answer_six_questions_in_order_and_none_lies_on_another() {
    let (panels, file) = (panels(), file());
    assert!(panels.len() <= 16, "{}", panels.len());
    let headings = file["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] == "row");
    let headings: Vec<(String, u64)> = headings.map(|row| (word(&row["title"]), place(row)[1])).collect();
    assert_eq!(headings.iter().map(|(title, _)| title.as_str()).collect::<Vec<_>>(), QUESTIONS);
    assert!(headings.is_sorted_by_key(|(_, top)| *top));
    let mut places: Vec<[u64; 4]> = panels.iter().map(|panel| panel.place).collect();
    places.extend(headings.iter().map(|(_, top)| [0, *top, 24, 1]));
    for (at, &[x, y, w, h]) in places.iter().enumerate() {
        assert!(x + w <= 24, "{:?} is wider than the page", places[at]);
        for &[left, top, width, height] in &places[..at] {
            let is_apart = x + w <= left || left + width <= x || y + h <= top || top + height <= y;
            assert!(is_apart, "{:?} lies on {:?}", places[at], [left, top, width, height]);
        }
    }
}

#[test]
fn each_panel_has_a_description_and_asks_the_chosen_source_and_no_id_is_used_twice() {
    let file = file();
    let variables = file["templating"]["list"].as_array().unwrap();
    assert_eq!((&variables[0]["name"], &variables[0]["type"]), (&"datasource".into(), &"datasource".into()));
    let all = file["panels"].as_array().unwrap();
    let mut ids: Vec<u64> = all.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all.len());
    for panel in all.iter().filter(|panel| panel["type"] != "row") {
        let title = &panel["title"];
        assert!(panel["description"].as_str().is_some_and(|text| text.ends_with('.')), "{title}");
        for source in panel["targets"]
            .as_array()
            .unwrap()
            .iter()
            .map(|target| &target["datasource"])
            .chain([&panel["datasource"]])
        {
            assert_eq!((&source["type"], &source["uid"]), (&"prometheus".into(), &"${datasource}".into()), "{title}");
        }
    }
}

/// The names of metrics in a query.
pub(super) fn names(query: &str) -> Vec<&str> {
    let is_part = |character: char| character.is_ascii_alphanumeric() || character == '_';
    query.split(|character| !is_part(character)).filter(|word| word.starts_with("lynkhook_")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_query_asks_for_metrics_that_there_are_and_never_sums_what_every_process_tells() {
    let receiver = Receiver::start().await;
    let here = Installation::new(&receiver).await;
    let worker = Probed::start(&here.program, None).await;
    let series = Metrics::of(&worker).await.series();
    let known: Vec<&str> = series.iter().map(|series| series.split('{').next().unwrap()).chain(OF_SERVER).collect();
    let mut asked = 0;
    for (query, _) in panels().into_iter().flat_map(|panel| panel.queries) {
        for name in names(&query) {
            assert!(known.contains(&name), "{name} of {query} is no metric");
            asked += 1;
            if name.contains("_queue_") || name.contains("_dropped_") {
                assert!(query.contains("max by (partition"), "{query} adds what two workers tell");
            }
        }
    }
    assert!(asked > 20, "{asked}");
}
