//! Access over HTTP: API keys for the platform's backend, links and sessions for its customers.
//!
//! [`ApiKeys`] adds, lists, revokes and rotates keys (`keys.rs`), and says whose a key is (`authenticate.rs`, with the
//! cache in `known.rs`). [`Portal`] makes links, and turns a link into a session once. A surface asks a [`Caller`] what
//! it may do; the rules are those of `domain::api_key` and `domain::portal`.
//!
//! Redis has only the hashes of secrets. A secret leaves this module once, when it is made. All times are by Redis's
//! clock: a key's end too, which a process carries forward with its monotonic clock between two looks.

mod authenticate;
mod error;
mod keys;
mod known;
mod portal;
mod refusals;

pub use self::{
    authenticate::{Caller, Denied},
    error::{AccessError, InputFault, Refusal},
    keys::{Added, ApiKeys, KeyView, NewKey},
    portal::{Link, LinkNow, NewLink, NewTheme, Portal, SESSION_LIFE, Session, SessionView, WhichSession},
    refusals::{Cause, RefusalCounts},
};
use crate::domain::token::{TOKEN_BYTES, Token};

fn new_token() -> Token {
    Token::new(&random::<TOKEN_BYTES>())
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system gives random bytes");
    bytes
}
