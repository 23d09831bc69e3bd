//! The scripts, each with the prelude before it.

use redis::Script;

/// Every script, hashed once.
pub(super) struct Scripts {
    pub(super) claim: Script,
    pub(super) delete_webhook: Script,
    pub(super) discard_held: Script,
    pub(super) drop_rejected: Script,
    pub(super) fan_out: Script,
    pub(super) group: Script,
    pub(super) hold: Script,
    pub(super) leave: Script,
    pub(super) list_failed: Script,
    pub(super) log: Script,
    pub(super) promote: Script,
    pub(super) publish: Script,
    pub(super) put_webhook: Script,
    pub(super) redeliver: Script,
    pub(super) reject: Script,
    pub(super) renew: Script,
    pub(super) requeue_rejected: Script,
    pub(super) settle: Script,
    pub(super) status: Script,
    pub(super) sweep: Script,
    pub(super) visit: Script,
}

macro_rules! script {
    ($file:literal) => {
        Script::new(concat!(include_str!("lua/prelude.lua"), "\n", include_str!(concat!("lua/", $file, ".lua"))))
    };
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            claim: script!("claim"),
            delete_webhook: script!("delete_webhook"),
            discard_held: script!("discard_held"),
            drop_rejected: script!("drop_rejected"),
            fan_out: script!("fan_out"),
            group: script!("group"),
            hold: script!("hold"),
            leave: script!("leave"),
            list_failed: script!("list_failed"),
            log: script!("log"),
            promote: script!("promote"),
            publish: script!("publish"),
            put_webhook: script!("put_webhook"),
            redeliver: script!("redeliver"),
            reject: script!("reject"),
            renew: script!("renew"),
            requeue_rejected: script!("requeue_rejected"),
            settle: script!("settle"),
            status: script!("status"),
            sweep: script!("sweep"),
            visit: script!("visit"),
        }
    }
}
