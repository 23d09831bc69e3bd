//! Properties that must hold for every input from outside. The fuzzer looks for inputs that break them (`make fuzz`);
//! the tests replay those that were kept (`tests/it/kept.rs`).

#![allow(dead_code, reason = "each fuzz target uses one of them")]

use std::{collections::BTreeMap, net::IpAddr};

use bytes::Bytes;
use lynkhook::{
    config::EventType,
    domain::{
        address::AllowList,
        delivery::Delivery,
        entry::{Found, Judged, Work},
        event::Catalogue,
        header,
        log_entry::LogEntry,
        url::EndpointUrl,
        webhook::Sealed,
    },
    secrets::{SecretSlot, Vault},
};

/// An accepted URL is canonical and `https`; its host is a name with a dot, not an address; and another parser reads
/// the same host and port.
pub(crate) fn url(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let Ok(url) = EndpointUrl::parse(text, &AllowList::default()) else { return };
    let again = EndpointUrl::parse(url.as_str(), &AllowList::default());
    assert_eq!(again.as_ref(), Ok(&url), "the canonical form is not canonical");
    assert_eq!(EndpointUrl::from_saved(url.as_str()).as_ref(), Ok(&url));
    assert!(url.as_str().starts_with("https://") && url.as_str().is_ascii());
    assert!(url.host().contains('.') && url.host().parse::<IpAddr>().is_err());
    let other: http::Uri = url.as_str().parse().expect("every parser reads it");
    assert_eq!(other.host(), Some(url.host()), "two parsers read different hosts");
    assert_eq!(other.port_u16().unwrap_or(443), url.port());
    assert!(!other.authority().expect("it has one").as_str().contains('@'));
}

/// The HTTP client can send every accepted header, and no accepted header changes the framing of the request.
pub(crate) fn header(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let Some((name, value)) = header::read_line(text) else { return };
    if header::judge_bearer(value).is_ok() {
        assert!(http::HeaderValue::from_str(&format!("Bearer {value}")).is_ok());
    }
    if header::judge(name, value).is_err() {
        return;
    }
    let name = http::HeaderName::from_bytes(name.as_bytes()).expect("a name that can be sent");
    let value = http::HeaderValue::from_str(value).expect("a value that can be sent");
    assert!(value.to_str().is_ok_and(|value| value.trim() == value && !value.is_empty()));
    let framing = ["host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "cookie"];
    assert!(!framing.contains(&name.as_str()), "{name} decides about the request");
}

/// An entry is judged without a panic. An event keeps its bytes, and a delivery reads back unchanged.
///
/// The first line of the input is the account, the second the id (an empty line means no id), the rest the envelope;
/// the whole input is also read as a delivery's text.
pub(crate) fn entry(data: &[u8]) {
    let kind = EventType {
        description: String::new(),
        identifiers: BTreeMap::from([("messageId".into(), "/messageId".into())]),
        ..EventType::default()
    };
    let catalogue = Catalogue::new(BTreeMap::from([("transcript.created".to_owned(), kind)]), 1 << 16);
    let found = Found { entry: "1774535520000-0", partition: 0, partitions: 1 };
    let judge =
        |fields: &[(Bytes, Bytes)]| Judged::parse(fields, &found, &catalogue, |p| format!("lynkhook:{{{p}}}:queue"));

    let mut lines = data.splitn(3, |byte| *byte == b'\n').map(Bytes::copy_from_slice);
    let (account, id) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let envelope = lines.next().unwrap_or_default();
    let mut fields = vec![("account".into(), account.clone()), ("envelope".into(), envelope.clone())];
    if !id.is_empty() {
        fields.push(("id".into(), id.clone()));
    }
    if let Ok(Judged { work: Work::Event(event), envelope: kept, .. }) = judge(&fields) {
        assert_eq!(kept, envelope, "the bytes sent are the bytes pushed");
        assert_eq!(event.account.as_str().as_bytes(), account);
        assert!(id.is_empty() || event.id.as_str().as_bytes() == id);
        assert!(event.id.as_str().parse::<lynkhook::domain::event::EventId>().is_ok());
    }

    let whole = Bytes::copy_from_slice(data);
    if let Ok(Judged { work: Work::Delivery(delivery), envelope, .. }) = judge(&[("delivery".into(), whole)]) {
        let text = [delivery.line().as_bytes(), b"\n", &envelope].concat();
        assert_eq!(Delivery::parse(&text), Ok((delivery, &envelope[..])), "a delivery is passed on unchanged");
    }
}

/// A log entry that can be read is written so that it reads back the same.
pub(crate) fn log_entry(data: &[u8]) {
    let Ok(entry) = serde_json::from_slice::<LogEntry>(data) else { return };
    let again: LogEntry = serde_json::from_str(&entry.to_json()).expect("a written entry can be read");
    assert_eq!(again, entry);
}

/// Only text that was sealed for this place opens.
pub(crate) fn sealed(data: &[u8]) {
    let key = secrecy::SecretString::from("dGVzdHMgb25seSwgbmV2ZXIgYSByZWFsIHNlY3JldCE=");
    let vault = Vault::new(Some(&key)).expect("a key");
    let account = "acme".parse().expect("an account");
    let webhook = "wh_019a1b2c-0000-7000-8000-000000000001".parse().expect("a webhook");
    let place = SecretSlot { account: &account, webhook, field: "token" };
    let text = String::from_utf8_lossy(data).into_owned();
    assert!(vault.open(place, &Sealed(text)).is_err(), "text that was never sealed has opened");
}
