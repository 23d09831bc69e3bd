//! The report: one table of all rows, and a list of everything that breaks a promise.

use std::{
    collections::BTreeMap,
    fmt::{self, Display, Formatter},
};

use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};

use super::load::Fetched;

/// The worker may lose this much more of its first attempts than Node's client loses of its requests, in percent.
const BEYOND_NODE_PERCENT: f64 = 0.5;
/// With a server that allows few connections, the worker may lose this much of its first attempts, in percent.
const LIMITED_PERCENT: f64 = 1.0;
/// Of a hundred statuses, the worker may learn this many fewer than curl.
const BEYOND_CURL: usize = 3;
/// Of a hundred statuses of a server that lingers, the worker learns at least this many.
const LINGERING: usize = 95;

/// A row and its result.
pub struct Told {
    pub row: String,
    pub ending: Ending,
}

pub enum Ending {
    Ran {
        version: String,
        figures: Figures,
    },
    /// The reason.
    Skipped(String),
    Broken(String),
}

pub enum Figures {
    Loaded(Loaded),
    Early {
        rows: Vec<Early>,
        /// The errors of the attempts without the expected status.
        reasons: BTreeMap<String, usize>,
    },
}

/// The figures of a worker and of Node's client under load.
pub struct Loaded {
    pub events: usize,
    pub first_attempts: usize,
    /// First attempts that failed, by reason.
    pub lost: BTreeMap<String, usize>,
    pub delivered: usize,
    /// Deliveries that failed for good.
    pub failed: usize,
    pub fetched: Fetched,
    /// Connections that brought requests: the worker's, Node's.
    pub connections: [usize; 2],
    pub is_limited: bool,
}

/// How often the status of an early answer was learned.
pub struct Early {
    pub bytes: usize,
    pub tries: usize,
    pub worker: usize,
    pub curl: usize,
    pub lingers: bool,
}

impl Told {
    /// Everything that breaks a promise.
    pub fn wrong(&self) -> Vec<String> {
        let wrong = match &self.ending {
            Ending::Ran { figures: Figures::Loaded(loaded), .. } => loaded.wrong(),
            Ending::Ran { figures: Figures::Early { rows, .. }, .. } => rows.iter().flat_map(Early::wrong).collect(),
            Ending::Skipped(_) => Vec::new(),
            Ending::Broken(error) => vec![error.clone()],
        };
        wrong.into_iter().map(|wrong| format!("{}: {wrong}", self.row)).collect()
    }

    /// The row's lines of the table.
    fn cells(&self) -> Vec<[String; 8]> {
        let name = self.row.clone();
        match &self.ending {
            Ending::Ran { version, figures: Figures::Loaded(loaded) } => {
                let [worker, node] = loaded.connections;
                let fetched = &loaded.fetched;
                vec![[
                    name,
                    version.clone(),
                    loaded.first_attempts.to_string(),
                    loaded.lost.values().sum::<usize>().to_string(),
                    format!("{} of {}", fetched.lost.values().sum::<usize>(), fetched.made),
                    loaded.failed.to_string(),
                    format!("{worker} / {node}"),
                    verdict(&loaded.wrong()),
                ]]
            }
            Ending::Ran { version, figures: Figures::Early { rows, .. } } => rows
                .iter()
                .map(|row| {
                    [
                        format!("{name}, {} kB", row.bytes / 1000),
                        version.clone(),
                        row.tries.to_string(),
                        (row.tries - row.worker).to_string(),
                        format!("{} of {} (curl)", row.tries - row.curl, row.tries),
                        String::new(),
                        String::new(),
                        verdict(&row.wrong()),
                    ]
                })
                .collect(),
            Ending::Skipped(_) => vec![without_figures(name, "skipped")],
            Ending::Broken(_) => vec![without_figures(name, "NO")],
        }
    }
}

/// The figures in words, printed as soon as the row has ended.
impl Display for Told {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let verdict = if self.wrong().is_empty() { "as promised" } else { "NOT as promised" };
        match &self.ending {
            Ending::Ran { figures: Figures::Loaded(loaded), .. } => {
                writeln!(f, "      the worker lost {} first attempts{}", sum(&loaded.lost), list(&loaded.lost))?;
                let fetched = &loaded.fetched;
                writeln!(
                    f,
                    "      Node lost {} of {} requests{}",
                    sum(&fetched.lost),
                    fetched.made,
                    list(&fetched.lost)
                )?;
                write!(
                    f,
                    "      {} of {} delivered, {} failed for good: ",
                    loaded.delivered, loaded.events, loaded.failed
                )?;
                write!(f, "{verdict}")
            }
            Ending::Ran { figures: Figures::Early { rows, reasons }, .. } => {
                for Early { bytes, tries, worker, curl, .. } in rows {
                    writeln!(
                        f,
                        "      {bytes} bytes: the worker knew the status {worker} times of {tries}, curl {curl}"
                    )?;
                }
                write!(f, "      {verdict}{}", list(reasons))
            }
            Ending::Skipped(why) => write!(f, "      skipped: {why}"),
            Ending::Broken(error) => write!(f, "      broken: {error}"),
        }
    }
}

impl Loaded {
    fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let lost_percent = percent(sum(&self.lost), self.first_attempts);
        let allowed = if self.is_limited {
            LIMITED_PERCENT
        } else {
            percent(sum(&self.fetched.lost), self.fetched.made) + BEYOND_NODE_PERCENT
        };
        if lost_percent > allowed {
            wrong.push(format!("{lost_percent:.2} % of first attempts lost, not {allowed:.2} %{}", list(&self.lost)));
        }
        if self.failed > 0 {
            wrong.push(format!("{} deliveries failed for good", self.failed));
        }
        if self.fetched.made != self.events || self.delivered + self.failed != self.events {
            let Self { events, delivered, failed, fetched, .. } = self;
            wrong.push(format!("{events} events, {delivered} delivered, {failed} failed; Node made {}", fetched.made));
        }
        if self.connections.contains(&0) {
            wrong.push(format!("connections of worker and Node at the server: {:?}", self.connections));
        }
        wrong
    }
}

impl Early {
    fn wrong(&self) -> Vec<String> {
        let least = self.curl.saturating_sub(BEYOND_CURL * self.tries / 100);
        let least = if self.lingers { least.max(LINGERING * self.tries / 100) } else { least };
        let Self { bytes, tries, worker, curl, .. } = self;
        let wrong =
            format!("{bytes} bytes: the worker knew the status {worker} times of {tries}, not {least}; curl {curl}");
        if *worker < least { vec![wrong] } else { Vec::new() }
    }
}

/// The whole, as Markdown.
pub fn table(told: &[Told]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header([
        "server and row",
        "version",
        "first attempts",
        "lost by the worker",
        "lost by Node",
        "failed for good",
        "connections (worker / Node)",
        "as promised",
    ]);
    for row in told.iter().flat_map(Told::cells) {
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn without_figures(name: String, verdict: &str) -> [String; 8] {
    let mut cells: [String; 8] = std::array::from_fn(|_| String::new());
    cells[0] = name;
    verdict.clone_into(&mut cells[7]);
    cells
}

fn verdict(wrong: &[String]) -> String {
    if wrong.is_empty() { "yes" } else { "NO" }.to_owned()
}

fn sum(counts: &BTreeMap<String, usize>) -> usize {
    counts.values().sum()
}

fn list(counts: &BTreeMap<String, usize>) -> String {
    let each: Vec<String> = counts.iter().map(|(reason, times)| format!("{times} × {reason}")).collect();
    if each.is_empty() { String::new() } else { format!(" ({})", each.join(", ")) }
}

#[allow(clippy::cast_precision_loss, reason = "both are small")]
fn percent(part: usize, whole: usize) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(lost: usize, node_lost: usize, failed: usize, is_limited: bool) -> Loaded {
        let lost_by = |times| BTreeMap::from([("reset".to_owned(), times)]);
        Loaded {
            events: 2000,
            first_attempts: 2000,
            lost: lost_by(lost),
            delivered: 2000 - failed,
            failed,
            fetched: Fetched { made: 2000, lost: lost_by(node_lost) },
            connections: [1, 1],
            is_limited,
        }
    }

    #[test]
    fn the_worker_may_lose_half_a_percent_more_than_node_one_percent_at_a_limit_and_nothing_for_good() {
        for (lost, node_lost, failed, is_limited, faults) in [
            (10, 0, 0, false, 0),
            (11, 0, 0, false, 1),
            (30, 20, 0, false, 0),
            (31, 20, 0, false, 1),
            (0, 0, 1, false, 1),
            (20, 0, 0, true, 0),
            (21, 2000, 0, true, 1),
        ] {
            let loaded = loaded(lost, node_lost, failed, is_limited);
            assert_eq!(loaded.wrong().len(), faults, "{lost} {node_lost} {failed} {is_limited}");
        }
        assert_eq!(Loaded { delivered: 1999, ..loaded(0, 0, 0, false) }.wrong().len(), 1, "an event is missing");
        assert_eq!(
            Loaded { connections: [1, 0], ..loaded(0, 0, 0, false) }.wrong().len(),
            1,
            "not from another address"
        );
    }

    #[test]
    fn the_worker_may_miss_three_more_statuses_of_a_hundred_than_curl_and_5_if_the_server_lingers() {
        for (worker, curl, lingers, is_wrong) in [
            (47, 50, false, false),
            (46, 50, false, true),
            (0, 2, false, false),
            (95, 100, true, true),
            (95, 98, true, false),
            (94, 90, true, true),
        ] {
            let early = Early { bytes: 5000, tries: 100, worker, curl, lingers };
            assert_eq!(!early.wrong().is_empty(), is_wrong, "{worker} {curl} {lingers}");
        }
    }
}
