//! `deploy/Dockerfile`, read without a tool: the image holds one program that an unprivileged user runs, and its first
//! stage can build that program.

use super::files::text;

/// Debian's releases with glibc 2.34 or newer. Older ones build a static program that finds no Redis by name.
const RELEASES: [&str; 3] = ["bookworm", "trixie", "forky"];

/// The stages, each with its instructions: the name, and what follows. A continued line is one line.
fn stages() -> Vec<Vec<(String, String)>> {
    let file = text("Dockerfile");
    let lines: Vec<&str> = file.lines().filter(|line| !line.starts_with('#')).collect();
    let mut stages: Vec<Vec<(String, String)>> = Vec::new();
    for line in lines.join("\n").replace("\\\n", " ").lines().filter(|line| !line.trim().is_empty()) {
        let (name, rest) = line.split_once(' ').unwrap();
        if name == "FROM" {
            stages.push(Vec::new());
        }
        let rest = rest.split_whitespace().collect::<Vec<_>>().join(" ");
        stages.last_mut().expect("FROM comes first").push((name.to_owned(), rest));
    }
    stages
}

#[test]
fn the_image_is_one_program_from_scratch_for_an_unprivileged_user_and_is_healthy_without_redis() {
    let mut last = stages().pop().unwrap();
    last.retain(|(name, _)| name != "LABEL");
    let expected = [
        ("FROM", "scratch"),
        ("COPY", "--from=build /lynkhook /lynkhook"),
        ("USER", "65532:65532"),
        ("ENTRYPOINT", r#"["/lynkhook"]"#),
        ("HEALTHCHECK", r#"--interval=10s --timeout=3s --start-period=10s CMD ["/lynkhook", "health"]"#),
    ];
    let found: Vec<(&str, &str)> = last.iter().map(|(name, rest)| (name.as_str(), rest.as_str())).collect();
    assert_eq!(found, expected);
}

#[test]
fn the_program_is_built_with_a_glibc_that_resolves_names_in_a_static_program() {
    let stages = stages();
    assert_eq!(stages.len(), 2);
    let image = stages[0][0].1.strip_suffix(" AS build").unwrap();
    let release = image.strip_prefix("rust:").unwrap().split_once('-').expect("the tag names the release").1;
    assert!(RELEASES.contains(&release), "{image}");
}

#[test]
fn no_other_project_shares_a_cache_of_the_build() {
    let stages = stages();
    let words = stages.iter().flatten().flat_map(|(_, rest)| rest.split(' '));
    let caches: Vec<&str> = words.filter(|word| word.starts_with("--mount=type=cache,")).collect();
    assert_eq!(caches.len(), 2, "{caches:?}");
    for cache in caches {
        assert!(cache.split(',').any(|option| option.starts_with("id=lynkhook-")), "{cache}");
    }
}
