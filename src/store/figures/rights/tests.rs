use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::*;

/// All roles.
const ROLES: [UserRole; 4] = [UserRole::Worker, UserRole::Producer, UserRole::Operator, UserRole::Server];

/// The scripts that only an operator and a server run.
const OF_OPERATORS: [&str; 11] = [
    "delete_api_key",
    "delete_webhook",
    "drop_rejected",
    "list_kept",
    "log",
    "portal_end",
    "put_api_key",
    "put_webhook",
    "redeliver",
    "requeue_rejected",
    "status",
];

/// The scripts that only a server runs.
const OF_SERVERS: [&str; 5] = ["accept", "overview", "portal_enter", "portal_link", "use_api_key"];

/// Rights that are asked for but not needed: a user without them is told so.
const ASKED_FOR: [&str; 1] = ["+config"];

fn source(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// A script without its comments.
fn lua(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| line.split("--").next().unwrap()).collect::<Vec<_>>().join("\n")
}

/// The quoted texts at the beginning, while only commas and blanks separate them: `'XGROUP', 'CREATE'`.
fn quoted(text: &str) -> Vec<&str> {
    let (mut found, mut rest) = (Vec::new(), text.trim_start());
    while let Some((word, behind)) = rest.strip_prefix('\'').and_then(|rest| rest.split_once('\'')) {
        found.push(word);
        rest = behind.trim_start_matches([',', ' ']);
    }
    found
}

/// The rights that a piece of a script takes by itself.
fn called(piece: &str) -> BTreeSet<String> {
    let calls = piece.split("redis.call(").skip(1).chain(piece.split("redis.pcall(").skip(1));
    let mut rights = BTreeSet::new();
    for call in calls {
        match quoted(call)[..] {
            // Its callers name the command.
            [] => assert!(call.starts_with("push,"), "no command: {call:.40}"),
            ["XINFO"] => rights.extend(["GROUPS", "CONSUMERS"].map(|kind| right(&format!("XINFO {kind}")))),
            [command, ref more @ ..] => {
                rights.insert(right(&format!("{command} {}", more.first().unwrap_or(&""))));
            }
        }
    }
    for push in ["'LPUSH'", "'LPUSHX'"].into_iter().filter(|push| piece.contains(push)) {
        rights.insert(right(push.trim_matches('\'')));
    }
    rights
}

/// The rights that each script takes, with what it uses of the prelude.
fn of_scripts() -> BTreeMap<String, BTreeSet<String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/lua");
    let files = |folder: &Path| std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let prelude: String = files(&folder.join("prelude")).map(|part| lua(&part) + "\n").collect();
    let functions: Vec<(&str, &str)> = prelude
        .split("local function ")
        .skip(1)
        .map(|function| (function.split('(').next().unwrap(), function))
        .collect();
    let calls = |piece: &str, name: &str| {
        let mut words = piece.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words.any(|word| word == name)
    };
    let scripts = files(&folder).filter(|path| path.is_file());
    let of_script = scripts.map(|path| {
        let mut pieces = vec![lua(&path)];
        let mut seen = 0;
        while seen < pieces.len() {
            let piece = pieces[seen].clone();
            let called = functions.iter().filter(|(name, _)| calls(&piece, name));
            let new: Vec<String> =
                called.map(|(_, text)| (*text).to_owned()).filter(|text| !pieces.contains(text)).collect();
            pieces.extend(new);
            seen += 1;
        }
        let rights = pieces.iter().flat_map(|piece| called(piece)).collect();
        (path.file_stem().unwrap().to_str().unwrap().to_owned(), rights)
    });
    of_script.collect()
}

fn rights_of(role: UserRole) -> BTreeSet<String> {
    role.commands().into_iter().flat_map(|(commands, _)| commands).map(|command| right(command)).collect()
}

#[test]
fn each_role_may_run_every_command_of_its_scripts() {
    for (script, rights) in of_scripts() {
        assert!(!rights.is_empty(), "{script}");
        let roles: &[UserRole] = match &*script {
            script if OF_OPERATORS.contains(&script) => &[UserRole::Operator, UserRole::Server],
            script if OF_SERVERS.contains(&script) => &[UserRole::Server],
            _ => &[UserRole::Worker],
        };
        for role in roles {
            let lacking: Vec<_> = rights.difference(&rights_of(*role)).cloned().collect();
            assert!(lacking.is_empty(), "{script}.lua runs what {} may not: {lacking:?}", role.one());
        }
    }
}

#[test]
fn every_command_that_the_store_sends_is_in_a_list_and_every_command_in_a_list_is_sent() {
    let mut sent: BTreeSet<String> = of_scripts().into_values().flatten().collect();
    let mut files = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store")];
    while let Some(path) = files.pop() {
        if path.is_dir() && !path.ends_with("figures/rights") {
            files.extend(std::fs::read_dir(path).unwrap().map(|file| file.unwrap().path()));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = std::fs::read_to_string(path).unwrap();
            for call in text.split("cmd(\"").skip(1) {
                let (name, behind) = call.split_once('"').unwrap();
                let argument = behind.strip_prefix(").arg(\"").and_then(|behind| behind.split('"').next());
                // The subcommand may follow in a line of its own.
                let argument = argument.unwrap_or(if name == "CLIENT" { "TRACKING" } else { "" });
                sent.insert(right(&format!("{name} {argument}")));
            }
        }
    }
    // The library loads scripts.
    sent.insert(right("SCRIPT LOAD"));
    // AUTH takes no right, and SELECT is sent only where redis.url has a database: deploy/README.md says so beside the lists.
    assert!(sent.remove("+auth") && sent.remove("+select") && source("deploy/README.md").contains("`+select`"));
    let listed: BTreeSet<String> = ROLES.into_iter().flat_map(rights_of).collect();
    let asked_for = ASKED_FOR.map(str::to_owned).into();
    let unlisted: Vec<_> = sent.difference(&listed).filter(|right| !ASKED_FOR.contains(&right.as_str())).collect();
    assert!(unlisted.is_empty(), "no list has {unlisted:?}");
    let unsent: Vec<_> = listed.difference(&sent.union(&asked_for).cloned().collect()).cloned().collect();
    assert!(unsent.is_empty(), "nothing sends {unsent:?}");
}

#[test]
fn each_key_of_a_partition_that_a_role_uses_is_tried_in_every_partition() {
    let keys = |lines: &[&str]| -> BTreeSet<String> {
        let words = lines.iter().flat_map(|line| line.split(' ')).filter(|word| word.starts_with('{'));
        words
            .filter(|word| !word.contains("{apikeys") && !["{meta}", "{worker}"].contains(word))
            .map(str::to_owned)
            .collect()
    };
    for role in ROLES {
        let used: Vec<&str> = role.commands().iter().flat_map(|(lines, _)| lines.iter().copied()).collect();
        assert_eq!(keys(&role.on_keys().collect::<Vec<_>>()), keys(&used), "{role:?}");
    }
}

#[test]
fn deploy_readme_has_the_rights_of_each_role() {
    let readme = source("deploy/README.md");
    for role in ROLES {
        let line = format!("ACL SETUSER lynkhook-{} on '>PASSWORD' {}", role.name(), role.rights("lynkhook"));
        assert!(readme.lines().any(|found| found.ends_with(&line)), "deploy/README.md has no line\nredis-cli {line}");
    }
}
