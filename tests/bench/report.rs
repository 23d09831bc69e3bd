//! The output of a scenario: tables for people, one JSON document for programs, and their files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{arguments::Extent, figures::Judged, turn};

/// `target/bench`, the folder of the results.
pub fn folder() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("target holds it");
    let folder = target.join("bench");
    fs::create_dir_all(&folder).expect("target can be written to");
    folder
}

/// A scenario's result.
pub struct Report {
    scenario: &'static str,
    tables: Vec<Table>,
    judged: Vec<Judged>,
    notes: Vec<String>,
    data: Value,
}

impl Report {
    /// `data` is the complete measurement.
    pub fn new(scenario: &'static str, data: &impl Serialize) -> Self {
        let data = serde_json::to_value(data).expect("it can be written");
        Self { scenario, tables: Vec::new(), judged: Vec::new(), notes: Vec::new(), data }
    }

    /// Adds a table. The first column is text, the others are figures.
    pub fn table<const N: usize>(&mut self, header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) {
        let mut table = Table::new();
        table.load_style(ASCII_MARKDOWN).set_header(header);
        for row in rows {
            table.add_row(row);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        self.tables.push(table);
    }

    /// Adds a sentence below the tables.
    pub fn note(&mut self, sentence: String) {
        self.notes.push(sentence);
    }

    pub fn judge(&mut self, judged: Judged) {
        self.judged.push(judged);
    }

    /// Writes the JSON document to its file, and prints either the document (on one line) or the tables.
    pub fn publish(mut self, extent: Extent, as_json: bool) {
        if !self.judged.is_empty() {
            let rows = self.judged.clone();
            let rows = rows.iter().map(|one| {
                [one.figure.clone(), format!("{:.3}", one.measured), one.target.clone(), one.verdict().to_owned()]
            });
            self.table(["to reach", "measured", "target", "verdict"], rows);
        }
        let document = json!({
            "scenario": self.scenario,
            "lynkhook": env!("CARGO_PKG_VERSION"),
            "machine": machine(),
            "extent": extent,
            "judged": self.judged,
            "notes": self.notes,
            "data": self.data,
        });
        let text = serde_json::to_string_pretty(&document).expect("it can be written");
        let file = folder().join(format!("{}.json", self.scenario));
        fs::write(&file, &text).expect("target can be written to");
        if as_json {
            println!("{document}");
            return;
        }
        println!("\n## {}\n", self.scenario);
        for table in &self.tables {
            println!("{table}\n");
        }
        for note in &self.notes {
            println!("{note}\n");
        }
        eprintln!("{}", file.display());
        if !extent.quick && turn::BESIDE.get().is_none() {
            self.record(extent);
        }
    }

    /// Writes the tables into the scenario's block of `tests/bench/README.md`.
    fn record(&self, extent: Extent) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/README.md");
        let readme = fs::read_to_string(&path).expect("it is there");
        let [begins, ends] = ["", "end of "].map(|mark| format!("<!-- {mark}{} -->\n", self.scenario));
        let (Some((before, rest)), machine) = (readme.split_once(&begins), machine()) else {
            eprintln!("{} has no block for {}", path.display(), self.scenario);
            return;
        };
        let (_, after) = rest.split_once(&ends).expect("a block that begins ends");
        let (rounds, cores) = (extent.rounds, &machine["cores"]);
        let parts: Vec<String> =
            self.tables.iter().map(ToString::to_string).chain(self.notes.iter().cloned()).collect();
        let block = format!("\n`{}`: rounds {rounds}, cores {cores}.\n\n{}\n\n", self.scenario, parts.join("\n\n"));
        fs::write(&path, format!("{before}{begins}{block}{ends}{after}")).expect("it can be written to");
    }
}

/// The machine that the figures depend on.
fn machine() -> Value {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    json!({ "cores": cores, "processor": model.map(|(_, model)| model) })
}
