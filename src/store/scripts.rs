//! The scripts, each with its flags and the prelude before it, and its file's name on it.

use std::ops::{Deref, DerefMut};

use redis::{Script, ScriptInvocation, ToRedisArgs};

/// One script, hashed once.
pub(super) struct Step {
    name: &'static str,
    script: Script,
}

/// One run of a script: its keys and arguments.
pub(super) struct Run<'a> {
    /// The script's file, without its ending.
    pub(super) name: &'static str,
    invocation: ScriptInvocation<'a>,
}

impl Step {
    /// A run that begins with this key.
    pub(super) fn key(&self, key: impl ToRedisArgs) -> Run<'_> {
        Run { name: self.name, invocation: self.script.key(key) }
    }
}

impl<'a> Deref for Run<'a> {
    type Target = ScriptInvocation<'a>;

    fn deref(&self) -> &Self::Target {
        &self.invocation
    }
}

impl DerefMut for Run<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.invocation
    }
}

macro_rules! scripts {
    ($($flags:literal: [$($name:ident),* $(,)?])*) => {
        /// Every script, under the name of its file.
        pub(super) struct Scripts {
            $($(pub(super) $name: Step,)*)*
        }

        impl Scripts {
            pub(super) fn new() -> Self {
                Self {
                    $($($name: Step {
                        name: stringify!($name),
                        script: Script::new(concat!(
                            "#!lua flags=",
                            $flags,
                            "\n",
                            include_str!("lua/prelude.lua"),
                            "\n",
                            include_str!(concat!("lua/", stringify!($name), ".lua"))
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
        claim,
        delete_webhook,
        discard_held,
        drop_rejected,
        fan_out,
        group,
        hold,
        leave,
        log,
        promote,
        publish,
        put_webhook,
        redeliver,
        reject,
        renew,
        requeue_rejected,
        settle,
        sweep,
        visit,
    ]
    // What only looks is answered by a replica, too.
    "allow-oom,no-writes": [list_failed, status]
}
