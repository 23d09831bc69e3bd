use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::*;

/// All roles.
const ROLES: [UserRole; 4] = [UserRole::Worker, UserRole::Producer, UserRole::Operator, UserRole::Server];

/// The scripts that an operator and a server run.
const OF_OPERATORS: [&str; 2] = ["list_kept", "status"];

/// The scripts that only a server runs.
const OF_SERVERS: [&str; 14] = [
    "accept",
    "delete_api_key",
    "delete_webhook",
    "drop_rejected",
    "log",
    "overview",
    "portal_end",
    "portal_enter",
    "portal_link",
    "put_api_key",
    "put_webhook",
    "redeliver",
    "requeue_rejected",
    "use_api_key",
];

/// A command that is sent only if the user may run it. No user of ours may, because it also tells passwords.
const ASKED_FOR: [&str; 1] = ["+config"];

/// Commands that only people send, with `redis-cli`, and other producers.
const BY_HAND: [&str; 5] = ["+client|list", "+command", "+script|kill", "+slowlog|get", "+type"];

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
    role.commands().into_iter().chain(role.commands_on_a_cluster()).map(|(command, _)| right(command)).collect()
}

#[test]
fn each_role_may_run_every_command_of_its_scripts() {
    for (script, rights) in of_scripts() {
        // One only asks.
        assert!(!rights.is_empty() || script == "may", "{script}");
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
    let unlisted: Vec<_> = sent.difference(&listed).filter(|right| !ASKED_FOR.contains(&right.as_str())).collect();
    assert!(unlisted.is_empty(), "no list has {unlisted:?}");
    let unsent: BTreeSet<_> = listed.difference(&sent).map(String::as_str).collect();
    assert_eq!(unsent, BY_HAND.into(), "nothing sends these");
    assert!(ASKED_FOR.iter().all(|asked| !listed.contains(*asked)));
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
        let used: Vec<&str> = role.commands().into_iter().map(|(line, _)| line).collect();
        assert_eq!(keys(&role.on_keys().collect::<Vec<_>>()), keys(&used), "{role:?}");
    }
}

/// The user's line in `deploy/redis/users.acl`, in words.
fn line_of(user: &str) -> Vec<String> {
    let file = source("deploy/redis/users.acl");
    let lines: Vec<&str> = file.lines().filter(|line| line.split(' ').nth(1) == Some(user)).collect();
    assert_eq!(lines.len(), 1, "{user} has one line");
    lines[0].split(' ').map(str::to_owned).collect()
}

#[test]
fn the_users_of_deploy_have_the_rights_that_their_roles_use_no_more_and_no_fewer() {
    for role in ROLES {
        let line = line_of(role.name());
        let password = format!("#REPLACE-WITH-SHA256-OF-{}-PASSWORD", role.name().to_uppercase());
        assert_eq!(line[..4], ["user", role.name(), "on", &password]);
        let mut expected = role.rights("lynkhook");
        expected.insert(role.key_patterns("lynkhook").len(), "-@all".to_owned());
        assert_eq!(line[4..], expected, "{role:?}");
    }
}

#[test]
fn an_operators_commands_all_only_look() {
    // Commands of these categories of Redis change nothing; the others of the list are about the connection.
    let changes =
        ["add", "del", "set", "push", "pop", "trim", "rem", "incr", "expire", "unlink", "rename", "claim", "ack"];
    for right in rights_of(UserRole::Operator) {
        let changing = changes.iter().find(|word| right.contains(**word));
        assert!(changing.is_none() || right == "+script|load", "{right} {changing:?}");
    }
}
