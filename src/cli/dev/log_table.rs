//! The delivery log as a table, with every field that customers are promised.

use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};

use crate::domain::log_entry::{LogEntry, Status};

/// Narrow enough for most terminals; cells wrap.
const WIDTH: u16 = 110;
/// The column whose cells are not broken: an id over two lines cannot be copied.
const IDENTIFIERS: usize = 6;

/// The log, newest first, as it comes.
pub(super) fn table(log: &[LogEntry]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_width(WIDTH);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["Status", "Event", "HTTP\nStatus", "Attempt", "Duration", "Error", "Identifiers", "Time"]);
    for entry in log {
        let identifiers = entry.identifiers.iter().map(|(name, value)| match value.as_str() {
            Some(text) => format!("{name}\n{text}"),
            None => format!("{name}\n{value}"),
        });
        table.add_row([
            Cell::new(if entry.status == Status::Success { "success" } else { "failed" }),
            Cell::new(&entry.event),
            Cell::new(entry.http_status.to_string().replace(' ', "\n")),
            Cell::new(entry.attempt).set_alignment(CellAlignment::Right),
            Cell::new(format!("{} ms", entry.duration_ms)).set_alignment(CellAlignment::Right),
            Cell::new(entry.error.as_deref().unwrap_or("–")),
            Cell::new(identifiers.collect::<Vec<_>>().join("\n")),
            Cell::new(entry.time.replace('T', "\n")),
        ]);
    }
    if let Some(column) = table.column_mut(IDENTIFIERS) {
        column.set_constraint(ColumnConstraint::ContentWidth);
    }
    table.column_iter_mut().for_each(|column| {
        column.set_padding((0, 1));
    });
    table
}
