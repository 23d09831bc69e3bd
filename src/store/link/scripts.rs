//! The scripts: each has its flags and its parts of the prelude before it, and the name of its file.

use redis::{Arg, Cmd, ErrorKind, FromRedisValue, RedisError, RedisResult, Script, ServerErrorKind, ToRedisArgs, aio};

/// The beginning of Redis 7.0's text for a script whose user lacks a permission.
const UNNAMED: &str = "The user executing the script can't";

/// One script, hashed once.
pub(in crate::store) struct Step {
    name: &'static str,
    text: &'static str,
    script: Script,
}

/// One run of a script, with its keys and arguments. Arguments are written once, into one buffer.
pub(in crate::store) struct Run<'a> {
    /// The name of the script's file, without `.lua`.
    pub(in crate::store) name: &'static str,
    text: &'static str,
    script: &'a Script,
    keys: Vec<String>,
    arguments: Cmd,
}

impl Step {
    fn new(name: &'static str, text: &'static str) -> Self {
        Self { name, text, script: Script::new(text) }
    }

    /// A run with this first key.
    pub(in crate::store) fn key(&self, key: impl Into<String>) -> Run<'_> {
        let mut run = self.without_keys();
        run.key(key);
        run
    }

    /// A run without keys, which any node of a cluster does.
    pub(in crate::store) fn without_keys(&self) -> Run<'_> {
        Run { name: self.name, text: self.text, script: &self.script, keys: Vec::new(), arguments: Cmd::new() }
    }
}

impl Run<'_> {
    /// Adds a key.
    pub(in crate::store) fn key(&mut self, key: impl Into<String>) -> &mut Self {
        self.keys.push(key.into());
        self
    }

    /// Adds an argument, or several.
    pub(in crate::store) fn arg(&mut self, argument: impl ToRedisArgs) -> &mut Self {
        self.arguments.arg(argument);
        self
    }

    /// Runs the script, and loads it first if the server does not know it.
    pub(in crate::store) async fn invoke<T: FromRedisValue>(
        &self,
        connection: &mut impl aio::ConnectionLike,
    ) -> RedisResult<T> {
        let command = self.command();
        let answer = match command.query_async(connection).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.script.load_async(connection).await?;
                command.query_async(connection).await
            }
            answer => answer,
        };
        answer.map_err(|error| refused_in(self.text, &error).unwrap_or(error))
    }

    fn command(&self) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(self.script.get_hash()).arg(self.keys.len()).arg(&self.keys);
        for argument in self.arguments.args_iter() {
            if let Arg::Simple(bytes) = argument {
                command.arg(bytes);
            }
        }
        command
    }
}

/// The refusal of a command in a script, with the command's name. Redis 7.0 names the line alone, at the end of its text:
/// `on @user_script:12.`
fn refused_in(text: &str, error: &RedisError) -> Option<RedisError> {
    let detail = error.detail().filter(|detail| detail.starts_with(UNNAMED))?;
    let number: usize = detail.rsplit_once("@user_script:")?.1.trim_end_matches('.').parse().ok()?;
    let line = text.lines().nth(number.checked_sub(1)?)?;
    let calls = line.split("call('").skip(1).filter_map(|call| call.split('\'').next());
    let mut names: Vec<String> = calls.map(|name| format!("'{}'", name.to_ascii_lowercase())).collect();
    names.dedup();
    if names.is_empty() {
        return None;
    }
    let (names, is_of_a_key) = (names.join(" or "), detail.contains("access"));
    let refusal =
        if is_of_a_key { "to access a key that a script gives to" } else { "to run, in a script, the command" };
    let detail = format!("this user has no permissions {refusal} {names}");
    Some(redis::make_extension_error("NOPERM".to_owned(), Some(detail)))
}

macro_rules! scripts {
    (@text $flags:literal [$($part:ident)*] $file:ident $($_name:ident)?) => {
        concat!(
            $flags,
            $(include_str!(concat!("../lua/prelude/", stringify!($part), ".lua")), "\n",)*
            include_str!(concat!("../lua/", stringify!($file), ".lua"))
        )
    };
    ($($flags:literal: [$($name:ident $(of $file:ident)? [$($part:ident)*]),* $(,)?])*) => {
        /// All scripts, each under the name of its file, or of its use of another file.
        pub(in crate::store) struct Scripts {
            $($(pub(in crate::store) $name: Step,)*)*
        }

        impl Scripts {
            pub(in crate::store) fn new() -> Self {
                Self {
                    $($($name: Step::new(
                        stringify!($name),
                        scripts!(@text $flags [$($part)*] $($file)? $name),
                    ),)*)*
                }
            }

            fn all(&self) -> impl Iterator<Item = &Step> {
                [$($(&self.$name,)*)*].into_iter()
            }
        }

        /// The parts of the prelude that each script names.
        #[cfg(test)]
        const PARTS: &[(&str, &str)] = &[$($((stringify!($($file)? $name), stringify!($($part)*)),)*)*];
    };
}

// After each script are the parts of the prelude (`lua/prelude`) that it needs. Only these are put before it.
scripts! {
    // A full Redis must not stop the queue from draining.
    "#!lua flags=allow-oom\n": [
        audit [clock counts groups ids unleased taken_out],
        claim [clock counts entries],
        delete_api_key [],
        delete_webhook [counts webhooks],
        drop_rejected [counts],
        fan_out [clock fence counts entries],
        group [clock],
        hold [clock fence counts guard settings times],
        ids [clock groups ids],
        leave [fence counts entries],
        log [clock counts times logs],
        mend_times [clock counts times],
        portal_end [clock portal],
        portal_enter [clock portal],
        portal_link [clock portal],
        promote [clock],
        publish [],
        put_api_key [],
        put_webhook [clock counts times],
        redeliver [],
        reject [fence counts entries bytes],
        release [clock settings],
        renew [clock fence counts ids vanished],
        requeue_rejected [],
        settle [clock fence counts guard entries times bytes logs ids vanished attempted],
        sweep [clock counts age],
        take_back [counts],
        use_api_key [],
        visit [clock counts settings times age webhooks logs held_bytes],
    ]
    // A replica, too, answers scripts that only read.
    "#!lua flags=allow-oom,no-writes\n": [
        list_kept [],
        look of audit [clock counts groups ids unleased taken_out],
        look_at_ids of ids [clock groups ids],
        may [],
        overview [clock],
        status [clock],
    ]
    // A full Redis refuses a producer. Without a line of flags, it does so at the first write and not at the start.
    "": [
        accept [clock counts],
    ]
}

/// Each script's hash, as `EVALSHA` calls it, and its name.
pub fn script_names() -> Vec<(String, &'static str)> {
    Scripts::new().all().map(|step| (step.script.get_hash().to_owned(), step.name)).collect()
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet},
        path::Path,
    };

    use super::PARTS;

    fn text(file: &str) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/lua").join(file);
        std::fs::read_to_string(path).unwrap()
    }

    /// The words of a file's code that may name a function, without comments, texts and fields of tables.
    fn words(file: &str) -> Vec<String> {
        let code: String = text(file).lines().map(|line| line.split("--").next().unwrap().to_owned() + "\n").collect();
        let code = code.split('\'').step_by(2).collect::<Vec<_>>().join(" ");
        let words = code.split(|c: char| !c.is_ascii_alphanumeric() && !"_.".contains(c));
        words.map(str::to_owned).collect()
    }

    /// The functions that a part defines.
    fn defined(part: &str) -> Vec<String> {
        let text = text(&format!("prelude/{part}.lua"));
        let functions = text.lines().filter_map(|line| line.strip_prefix("local function ")?.split('(').next());
        functions.map(str::to_owned).collect()
    }

    #[test]
    fn each_script_has_the_parts_of_the_prelude_that_it_uses_and_no_other() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/lua/prelude");
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        let parts = files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned());
        let home: BTreeMap<String, String> =
            parts.flat_map(|part| defined(&part).into_iter().map(move |function| (function, part.clone()))).collect();
        for (names, parts) in PARTS {
            let script = names.split(' ').next().unwrap();
            let parts: Vec<&str> = parts.split_whitespace().collect();
            let mut used = BTreeSet::new();
            for place in (0..=parts.len()).rev() {
                let file = parts.get(place).map_or(format!("{script}.lua"), |part| format!("prelude/{part}.lua"));
                assert!(place == parts.len() || used.contains(parts[place]), "{script} does not use {}", parts[place]);
                for part in words(&file).iter().filter_map(|word| home.get(word)) {
                    let is_before = parts[..parts.len().min(place + 1)].contains(&part.as_str());
                    assert!(is_before, "{file} uses {part}, which {script} does not have before it");
                    used.insert(part.as_str());
                }
            }
        }
    }
}
