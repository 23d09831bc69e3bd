//! The scripts, each with its flags and the prelude before it, and its file's name on it.

use redis::{Arg, Cmd, ErrorKind, FromRedisValue, RedisResult, Script, ServerErrorKind, ToRedisArgs, aio};

/// One script, hashed once.
pub(in crate::store) struct Step {
    name: &'static str,
    script: Script,
}

/// One run of a script: its keys and arguments, each written once into one buffer.
pub(in crate::store) struct Run<'a> {
    /// The script's file, without its ending.
    pub(in crate::store) name: &'static str,
    script: &'a Script,
    keys: Vec<String>,
    arguments: Cmd,
}

impl Step {
    /// A run that begins with this key.
    pub(in crate::store) fn key(&self, key: impl Into<String>) -> Run<'_> {
        Run { name: self.name, script: &self.script, keys: vec![key.into()], arguments: Cmd::new() }
    }
}

impl Run<'_> {
    /// One more key.
    pub(in crate::store) fn key(&mut self, key: impl Into<String>) -> &mut Self {
        self.keys.push(key.into());
        self
    }

    /// One more argument, or several.
    pub(in crate::store) fn arg(&mut self, argument: impl ToRedisArgs) -> &mut Self {
        self.arguments.arg(argument);
        self
    }

    /// Runs it, loading the script first where the server does not know it.
    pub(in crate::store) async fn invoke<T: FromRedisValue>(
        &self,
        connection: &mut impl aio::ConnectionLike,
    ) -> RedisResult<T> {
        let command = self.command();
        match command.query_async(connection).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.script.load_async(connection).await?;
                command.query_async(connection).await
            }
            answer => answer,
        }
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

macro_rules! scripts {
    (@file $name:ident) => { concat!("../lua/", stringify!($name), ".lua") };
    (@file $name:ident $file:ident) => { concat!("../lua/", stringify!($file), ".lua") };
    ($($flags:literal: [$($name:ident $(of $file:ident)?),* $(,)?])*) => {
        /// Every script, under the name of its file, or of what it does of one.
        pub(in crate::store) struct Scripts {
            $($(pub(in crate::store) $name: Step,)*)*
        }

        impl Scripts {
            pub(in crate::store) fn new() -> Self {
                Self {
                    $($($name: Step {
                        name: stringify!($name),
                        script: Script::new(concat!(
                            "#!lua flags=",
                            $flags,
                            "\n",
                            include_str!("../lua/prelude.lua"),
                            "\n",
                            include_str!(scripts!(@file $name $($file)?))
                        )),
                    },)*)*
                }
            }
        }
    };
}

scripts! {
    // A full Redis must not stop the queue from draining.
    "allow-oom": [
        audit,
        claim,
        delete_webhook,
        drop_rejected,
        fan_out,
        group,
        hold,
        ids,
        leave,
        log,
        mend_times,
        promote,
        publish,
        put_webhook,
        redeliver,
        reject,
        release,
        renew,
        requeue_rejected,
        settle,
        sweep,
        take_back,
        visit,
    ]
    // What only looks is answered by a replica, too.
    "allow-oom,no-writes": [list_failed, look of audit, look_at_ids of ids, status]
}
