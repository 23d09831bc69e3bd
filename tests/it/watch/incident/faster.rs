//! Alert rules whose times are a tenth of the real ones, so that a test sees them fire.

use std::time::Duration;

/// The age of a process, in seconds, up to which all that it counted is new.
const NEW: (&str, &str) = ("lynkhook_start_time_seconds < 600", "lynkhook_start_time_seconds < 60");

/// The rules with each `for`, each `keep_firing_for`, each window and the age of a new process divided by ten. Thresholds
/// stay.
pub(super) fn divided_by_ten(rules: &str) -> String {
    let lines = rules.lines().map(|line| match line.trim_start().split_once(": ") {
        Some((name @ ("for" | "keep_firing_for"), time)) => {
            let indent = &line[..line.len() - line.trim_start().len()];
            format!("{indent}{name}: {}", tenth(time))
        }
        _ => windows(&line.replace(NEW.0, NEW.1)),
    });
    lines.map(|line| line + "\n").collect()
}

/// A line with each window in brackets divided by ten.
fn windows(line: &str) -> String {
    let (mut divided, mut rest) = (String::new(), line);
    while let Some((before, after)) = rest.split_once('[') {
        let (inside, behind) = after.split_once(']').unwrap_or_else(|| panic!("no end of a window in {line}"));
        let is_window = inside.starts_with(|first: char| first.is_ascii_digit());
        let inside = if is_window { tenth(inside) } else { inside.to_owned() };
        divided.extend([before, "[", &inside, "]"]);
        rest = behind;
    }
    divided + rest
}

fn tenth(time: &str) -> String {
    let time: Duration = humantime::parse_duration(time).unwrap_or_else(|error| panic!("{time}: {error}"));
    format!("{}ms", (time / 10).as_millis())
}

#[test]
fn times_and_windows_are_divided_and_nothing_else() {
    let rules = "\
      - alert: A60
        expr: sum(increase(a_total{x=~\"[ab]\"}[5m])) / sum(increase(b_total[1h])) > 60
          or time() - lynkhook_start_time_seconds < 600
        for: 30s
        keep_firing_for: 2m
        labels: {severity: critical}
";
    let faster = "\
      - alert: A60
        expr: sum(increase(a_total{x=~\"[ab]\"}[30000ms])) / sum(increase(b_total[360000ms])) > 60
          or time() - lynkhook_start_time_seconds < 60
        for: 3000ms
        keep_firing_for: 12000ms
        labels: {severity: critical}
";
    assert_eq!(divided_by_ten(rules), faster);
}
