//! A small incident before a real Prometheus: an endpoint is down, a worker is killed, Redis is away. The right alerts
//! fire, and no other. `make incident` runs it, and draws what the dashboard showed meanwhile.

mod faster;
mod load;
#[allow(dead_code, unreachable_pub, reason = "the benchmarks use all of it")]
#[path = "../../../bench/plot.rs"]
mod plot;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    path::Path,
    time::Duration,
};

use self::{
    faster::divided_by_ten,
    load::Load,
    plot::{Chart, Line, Scale},
};
use super::{
    dashboard::{name, over, panels},
    prometheus::unix_now,
    scene::Scene,
};
use crate::support::*;

/// As long as any alert may take: its window, its `for`, and what happens before it.
const MINUTE: Duration = Duration::from_secs(60);
/// The settings of a real installation, in the place of quicker ones.
const REAL: [(&str, &str); 5] = [
    ("LYNKHOOK_WORKER__LEASE", "20s"),
    ("LYNKHOOK_WORKER__RENEW_EVERY", "3s"),
    ("LYNKHOOK_WORKER__START_WITHIN", "8s"),
    ("LYNKHOOK_WORKER__CLAIM_EVERY", "2s"),
    ("LYNKHOOK_DELIVERY__TIMEOUT", "10s"),
];

/// The accounts that get events, in turn. Nobody has no webhook: these events are dropped, which alerts nobody.
const ACCOUNTS: [&str; 7] = ["good", "good", "broken", "good", "broken", "slow", "nobody"];

/// The incident so far.
struct Incident {
    scene: Scene,
    began: f64,
    phases: Vec<Phase>,
}

/// A fault, and the alert that tells of it.
struct Phase {
    name: &'static str,
    alert: &'static str,
    /// The seconds for which the fault lasts.
    broken: Range<f64>,
}

/// The alerts that fire, each a series of its own.
const FIRING: &str = r#"max by (alertname) (ALERTS{alertstate="firing"})"#;

impl Incident {
    fn seconds(&self) -> f64 {
        unix_now() - self.began
    }

    /// Waits until exactly these alerts fire. Until then, none may fire but these and those that have to resolve.
    async fn until_firing(&self, expected: &[&str], resolving: &[&str]) {
        let since = tokio::time::Instant::now();
        loop {
            let firing = self.scene.prometheus.firing().await;
            let others: Vec<&String> = firing
                .iter()
                .filter(|alert| !expected.contains(&alert.as_str()) && !resolving.contains(&alert.as_str()))
                .collect();
            assert!(others.is_empty(), "these alerts fire besides {expected:?}: {others:?}");
            if firing == expected {
                return;
            }
            assert!(since.elapsed() < MINUTE * 2, "{firing:?} fire, and not {expected:?}");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// One phase: something breaks, an alert fires, it is mended, the alert resolves.
    async fn phase(&mut self, name: &'static str, alert: &'static str, from: f64) {
        let until = self.seconds();
        self.phases.push(Phase { name, alert, broken: from..until });
        println!("{name} from {from:.0} s to {until:.0} s: {alert} fired, and no other alert");
        self.until_firing(&[], &[alert]).await;
        println!("{alert} resolved at {:.0} s", self.seconds());
    }

    /// Each alert fired for the first time while its phase lasted. Between two looks, and since the last one, none fired
    /// besides.
    async fn no_other_alert_has_fired(&self) {
        let fired = self.scene.prometheus.range(FIRING, self.began).await;
        let first: BTreeMap<&str, f64> =
            fired.iter().map(|(labels, points)| (labels["alertname"].as_str(), points[0].0 - self.began)).collect();
        let expected: BTreeSet<&str> = self.phases.iter().map(|phase| phase.alert).collect();
        assert_eq!(first.keys().copied().collect::<BTreeSet<_>>(), expected);
        for Phase { name, alert, broken } in &self.phases {
            // The step of the range is a second, so the first one in which an alert fires may be that much later.
            let is_in_time = broken.contains(&first[alert]) || broken.contains(&(first[alert] - 1.0));
            assert!(is_in_time, "{alert} fired first at {} s; {name}: {broken:?}", first[alert]);
        }
    }

    /// Draws the phases and the alerts, and each panel of the dashboard below them.
    async fn draw(self, file: &Path) {
        let Self { scene, began, phases } = self;
        let line = |name: String, points: Vec<(f64, f64)>| Line {
            name,
            points: with_gaps(points.into_iter().map(|(at, value)| (at - began, value))),
        };
        let marked: Vec<_> = phases.iter().map(|phase| phase.broken.clone()).collect();
        let chart = |title: String, unit: String, lines| Chart {
            title,
            x: ("seconds".to_owned(), Scale::Linear),
            y: (unit, Scale::Linear),
            lines,
        };
        let alerts = scene.prometheus.range(FIRING, began).await;
        let alerts = alerts.into_iter().map(|(labels, points)| line(labels["alertname"].clone(), points));
        // Each line has a level of its own, so that none covers another.
        let phases = phases.into_iter().map(|Phase { name, broken, .. }| Line {
            name: name.to_owned(),
            points: vec![(broken.start, 1.0), (broken.end, 1.0)],
        });
        let levels = phases.chain(alerts).zip(1..).map(|(line, level)| Line {
            points: line.points.into_iter().map(|(at, value)| (at, value * f64::from(level))).collect(),
            ..line
        });
        let mut charts =
            vec![chart("The incident, and the alerts that fired".to_owned(), String::new(), levels.collect())];
        for panel in panels() {
            let mut lines = Vec::new();
            for (query, legend) in &panel.queries {
                for (labels, points) in scene.prometheus.range(&over(query, "10s"), began).await {
                    lines.push(line(name(legend, &labels), points));
                }
            }
            // A legend has room for so many names; lines that are zero all the time go first.
            lines.sort_by_key(|line| line.points.iter().all(|(_, value)| value.is_nan() || *value == 0.0));
            lines.truncate(15);
            charts.push(chart(panel.title, unit_of(&panel.unit), lines));
        }
        plot::draw_marked(file, &charts, &marked);
    }
}

/// The points of a line, one a second, with a gap where seconds are missing: there was nothing to see.
fn with_gaps(points: impl Iterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
    let mut all: Vec<(f64, f64)> = Vec::new();
    for (at, value) in points {
        if let Some(&(before, _)) = all.last().filter(|(before, _)| at - before > 1.5) {
            all.push((before + 1.0, f64::NAN));
        }
        all.push((at, value));
    }
    all
}

/// Grafana's name of a unit, in words.
fn unit_of(name: &str) -> String {
    match name {
        "s" => "seconds",
        "ops" | "reqps" => "a second",
        "percentunit" => "part of 1",
        _ => "",
    }
    .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it takes minutes: make incident"]
async fn incident_the_right_alerts_fire_and_no_other() {
    let receiver = Receiver::start().await;
    receiver.plan("/good", [Answer::Status(200)]);
    receiver.plan("/slow", [Answer::Delay(Duration::from_secs(8), Box::new(Answer::Status(200)))]);
    receiver.plan("/broken", [Answer::Status(200)]);
    let mut redis = RedisServer::start(AppendFsync::EverySecond);
    let here = Installation::on(&redis, &receiver).await;
    for path in ["good", "slow", "broken"] {
        here.add(path, &receiver.url(&format!("/{path}"))).await;
    }
    let rules = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/prometheus/alerts.yaml")).unwrap();
    let scene = Scene::start(here, &REAL, &divided_by_ten(&rules)).await;
    let load = Load::start(&redis, scene.here.key("queue"), &ACCOUNTS);
    let mut incident = Incident { scene, began: unix_now(), phases: Vec::new() };
    // All is well for a while.
    tokio::time::sleep(Duration::from_secs(10)).await;
    incident.until_firing(&[], &[]).await;

    let from = incident.seconds();
    receiver.plan("/broken", [Answer::CloseBeforeHeaders]);
    incident.until_firing(&["LynkhookNetworkErrors"], &[]).await;
    receiver.plan("/broken", [Answer::Status(200)]);
    incident.phase("endpoint down", "LynkhookNetworkErrors", from).await;

    let from = incident.seconds();
    let (killed, _) = incident.scene.kill_the_fuller(3.0).await;
    incident.until_firing(&["LynkhookLeasesLost"], &[]).await;
    incident.scene.replace(killed).await;
    incident.phase("worker killed", "LynkhookLeasesLost", from).await;

    // Longer than a lease, so that leases end although their workers live.
    let from = incident.seconds();
    redis.kill9();
    incident.until_firing(&["LynkhookRedisAway"], &[]).await;
    tokio::time::sleep(Duration::from_secs(25)).await;
    redis.restart();
    incident.scene.here.redis = redis.connection().await;
    incident.phase("Redis away", "LynkhookRedisAway", from).await;

    let accepted = load.stop().await;
    incident.scene.here.drained_within(MINUTE).await;
    incident.no_other_alert_has_fired().await;
    let arrived = receiver.requests("/good").len() + receiver.requests("/slow").len();
    let (good, slow) = (accepted["good"], accepted["slow"]);
    assert!(arrived >= good + slow, "{arrived} requests for {good} and {slow} events that Redis accepted");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/incident");
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("incident.svg");
    incident.draw(&file).await;
    println!("drawn: {}", file.display());
}
