//! Entries that are not valid events, and the reason that each must get. A reason that ends in `…` is only a beginning.

use super::{Fields, fields, foreign};
use crate::support::*;

const WEBHOOK: &str = "wh_019a1b2c-0000-7000-8000-000000000001";
const NO_ACCOUNT: &str = "the entry's `account`: an account is 1 to 128 of A-Z a-z 0-9 . _ : -";
const NO_EVENT_ID: &str = "the entry's `id`: an event id is 1 to 64 of A-Z a-z 0-9 _ -";

/// Two partitions, queue 0, envelopes of at most 2000 bytes.
pub(super) fn all(prefix: &str) -> Vec<(Fields, String)> {
    let own =
        |faults: Vec<(Fields, &'static str)>| faults.into_iter().map(|(fields, reason)| (fields, reason.to_owned()));
    let mut all: Vec<(Fields, String)> = own(entries()).chain(own(names())).chain(own(deliveries())).collect();
    all.extend(envelopes().into_iter().map(|(envelope, reason)| {
        (vec![(b"account".to_vec(), b"acme".to_vec()), (b"envelope".to_vec(), envelope)], reason.to_owned())
    }));
    let elsewhere =
        (0..100).map(|number| format!("b{number}")).find(|name| account_id(name).partition(2) == 1).unwrap();
    let event = fields(&[("account", &elsewhere), ("envelope", TRANSCRIPT)]);
    all.push((event, format!("the account {elsewhere} belongs in the queue `{prefix}:{{1}}:queue`")));
    let line = line().replace("\"acme\"", &format!("\"{elsewhere}\""));
    let delivery = fields(&[("delivery", &format!("{line}\n{TRANSCRIPT}"))]);
    all.push((delivery, format!("the account {elsewhere} belongs in the queue `{prefix}:{{1}}:queue`")));
    all
}

/// Missing, foreign and duplicate fields.
fn entries() -> Vec<(Fields, &'static str)> {
    let delivery = format!("{}\n{TRANSCRIPT}", line());
    let (account, envelope) = (("account", "acme"), ("envelope", TRANSCRIPT));
    let twice = |name: &'static str, value| {
        let mut all = vec![account, envelope];
        all.retain(|(other, _)| *other != name);
        all.extend([(name, value), (name, value)]);
        fields(&all)
    };
    vec![
        (fields(&[envelope]), "the entry has no field `account`"),
        (fields(&[account]), "the entry has no field `envelope`"),
        (fields(&[("foo", "bar"), ("\n", "\u{1b}[2J")]), "the entry has no field `account`"),
        (fields(&[("", "")]), "the entry has no field `account`"),
        (fields(&[("id", "e1")]), "the entry has no field `account`"),
        (fields(&[("Account", "acme"), ("Envelope", TRANSCRIPT)]), "the entry has no field `account`"),
        (foreign(500), "the entry has no field `account`"),
        (foreign(501), "the entry has no field `account`"),
        (foreign(5000), "the entry has no field `account`"),
        (vec![(b"\xff".to_vec(), b"\xfe".to_vec())], "the entry has no field `account`"),
        (twice("account", "acme"), "the entry has the field `account` more than once"),
        (twice("envelope", TRANSCRIPT), "the entry has the field `envelope` more than once"),
        (twice("id", "e1"), "the entry has the field `id` more than once"),
        (
            fields(&[("delivery", &delivery), ("delivery", &delivery)]),
            "the entry has the field `delivery` more than once",
        ),
    ]
}

/// Invalid accounts and ids.
fn names() -> Vec<(Fields, &'static str)> {
    let account = |account: &[u8]| {
        let mut all = fields(&[("envelope", TRANSCRIPT)]);
        all.insert(0, (b"account".to_vec(), account.to_vec()));
        (all, NO_ACCOUNT)
    };
    let id = |id: &[u8]| {
        let mut all = fields(&[("account", "acme"), ("envelope", TRANSCRIPT)]);
        all.push((b"id".to_vec(), id.to_vec()));
        (all, NO_EVENT_ID)
    };
    let accounts: [&[u8]; 10] =
        [b"", &[b'a'; 129], b"a b", b"a/b", b"a{0}", "ä".as_bytes(), b"acme\n", b"\xff", b"ac\0me", &[b'a'; 10_000]];
    let ids: [&[u8]; 7] = [b"", &[b'e'; 65], b"a.b", b"a b", "é".as_bytes(), b"\xff\xfe", b"e1\n"];
    accounts.into_iter().map(account).chain(ids.into_iter().map(id)).collect()
}

/// Invalid envelopes.
fn envelopes() -> Vec<(Vec<u8>, &'static str)> {
    let with = |event: &str, timestamp: &str, data: &str| {
        format!(r#"{{"event":{event},"timestamp":{timestamp},"data":{data}}}"#).into_bytes()
    };
    let (event, timestamp) = (r#""transcript.created""#, r#""2026-03-26T14:32:00Z""#);
    let no_time = "the envelope's `timestamp` is not an RFC 3339 time";
    let mut all = vec![
        (b"".to_vec(), "the envelope is not JSON (line 1, column 0)"),
        (b" \n ".to_vec(), "the envelope is not JSON (line 2, column 1)"),
        (b"nope".to_vec(), "the envelope is not JSON (line 1, column 2)"),
        (br#"{"event":"#.to_vec(), "the envelope is not JSON (line 1, column 9)"),
        (b"{} {}".to_vec(), "the envelope is not JSON (line 1, column 4)"),
        (
            [b"\xef\xbb\xbf", TRANSCRIPT.as_bytes()].concat(),
            "the envelope begins with a byte order mark (U+FEFF); send it without",
        ),
        (b"{\"event\":\"\xff\"}".to_vec(), "the envelope is not UTF-8"),
        (br#"{"event":"\ud800"}"#.to_vec(), "the envelope's `event` is not a string"),
        (b"{}".to_vec(), "the envelope has no `event`"),
        (format!(r#"{{"timestamp":{timestamp},"data":{{}}}}"#).into(), "the envelope has no `event`"),
        (format!(r#"{{"event":{event},"data":{{}}}}"#).into(), "the envelope has no `timestamp`"),
        (format!(r#"{{"event":{event},"timestamp":{timestamp}}}"#).into(), "the envelope has no `data`"),
        (with(r#""call.ended""#, timestamp, "{}"), "the event type `call.ended` is not in the catalogue"),
        (with(r#""""#, timestamp, "{}"), "the event type `` is not in the catalogue"),
        (with(r#""webhook.test""#, timestamp, "{}"), "the event type `webhook.test` is reserved for the test button"),
        (with(event, r#""yesterday""#, "{}"), no_time),
        (with(event, r#""2026-03-26""#, "{}"), no_time),
        (with(event, r#""2026-03-26T14:32:00""#, "{}"), no_time),
        (with(event, r#""2026-02-30T14:32:00Z""#, "{}"), no_time),
        (with(event, r#""""#, "{}"), no_time),
        (vec![b' '; 2001], "the envelope has 2001 bytes, more than the 2000 allowed"),
        (vec![b'{'; 1 << 20], "the envelope has 1048576 bytes, more than the 2000 allowed"),
        (vec![b'['; 2000], "the envelope is not JSON (line 1, column 2000)"),
    ];
    all.extend(
        [b"[]".as_slice(), b"[{}]", b"\"x\"", b"1", b"1e999", b"true", b"null"]
            .map(|json| (json.to_vec(), "the envelope is not a JSON object")),
    );
    for wrong in ["1", "null", "true", "[]", "{}"] {
        all.push((with(wrong, timestamp, "{}"), "the envelope's `event` is not a string"));
        all.push((with(event, wrong, "{}"), "the envelope's `timestamp` is not a string"));
    }
    for wrong in ["1", "null", "false", "[]", r#""{}""#] {
        all.push((with(event, timestamp, wrong), "the envelope's `data` is not an object"));
    }
    for (repeated, reason) in [
        (r#""event":"x""#, "the envelope has `event` more than once"),
        (r#""timestamp":null"#, "the envelope has `timestamp` more than once"),
        (r#""data":{}"#, "the envelope has `data` more than once"),
        (r#""\u0064ata":{}"#, "the envelope has `data` more than once"),
    ] {
        let once = String::from_utf8(with(event, timestamp, "{}")).unwrap();
        let twice = format!("{},{repeated}}}", once.strip_suffix('}').unwrap());
        all.push((twice.into_bytes(), reason));
    }
    all
}

/// Invalid deliveries: the line, the newline, the envelope.
fn deliveries() -> Vec<(Fields, &'static str)> {
    const NO_LINE: &str = "the delivery has no first line";
    const NOT_ONE: &str = "the delivery's first line is not a delivery: column …";
    let with = |from: &str, to: &str| line().replace(from, to).into_bytes();
    let attempt = |attempt: &str| with("\"attempt\":1", &format!("\"attempt\":{attempt}"));
    let mut all: Vec<(Vec<u8>, &str)> = [
        (b"not JSON".to_vec(), NOT_ONE),
        (b"".to_vec(), NOT_ONE),
        (b"{}".to_vec(), NOT_ONE),
        (b"[]".to_vec(), NOT_ONE),
        (b"null".to_vec(), NOT_ONE),
        (with(",\"attempt\":1", ""), NOT_ONE),
        (with(",\"account\":\"acme\"", ""), NOT_ONE),
        (with("\"acme\"", "\"a b\""), NOT_ONE),
        (with("\"acme\"", "null"), NOT_ONE),
        (with("}", ",\"unknown\":1}"), NOT_ONE),
        (with("}", ",\"attempt\":1}"), NOT_ONE),
        (with("}", ",\"redelivery\":-1}"), NOT_ONE),
        (with(WEBHOOK, "wh_1"), NOT_ONE),
        (with(WEBHOOK, "019a1b2c-0000-7000-8000-000000000001"), NOT_ONE),
        (with("\"event_id\":\"e1\"", "\"event_id\":\"e.1\""), NOT_ONE),
        (with("\"id\":\"e1.", "\"id\":\"e2."), "the delivery's id is not <event_id>.<webhook>"),
        (attempt("0"), "the delivery's attempt is 0; attempts count from 1"),
        (attempt("256"), NOT_ONE),
        (attempt("-1"), NOT_ONE),
        (attempt("1.5"), NOT_ONE),
        (attempt("\"1\""), NOT_ONE),
        ([line().as_bytes(), b"\xff"].concat(), NOT_ONE),
        (vec![b'x'; 2000], NO_LINE),
    ]
    .into_iter()
    .map(|(line, reason)| ([&line[..], b"\n", TRANSCRIPT.as_bytes()].concat(), reason))
    .collect();
    all.extend([
        (b"".to_vec(), NO_LINE),
        (line().into_bytes(), NO_LINE),
        (format!("{}\n", line()).into_bytes(), "the envelope is not JSON (line 1, column 0)"),
        (format!("{}\n[]", line()).into_bytes(), "the envelope is not a JSON object"),
        ([line().as_bytes(), b"\n\xff"].concat(), "the envelope is not UTF-8"),
    ]);
    all.into_iter().map(|(delivery, reason)| (vec![(b"delivery".to_vec(), delivery)], reason)).collect()
}

fn line() -> String {
    format!(r#"{{"id":"e1.{WEBHOOK}","event_id":"e1","account":"acme","webhook":"{WEBHOOK}","attempt":1}}"#)
}
