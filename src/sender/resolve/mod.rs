//! From a host name to addresses that may be dialled.
//!
//! Every address that is known when dialling begins is judged, IPv4 and IPv6; one that is refused refuses the name. What is
//! answered is what is dialled, so that a name cannot change its mind between the check and the connect. Names are asked
//! for as they are, absolute: neither search domains nor the hosts file turn one name into another.
//!
//! **One family alone.** Where one family is answered with addresses, the other has a moment more ([`OTHER_FAMILY`]). A
//! later answer plays no part in this attempt: none of its addresses is dialled, so none needs to be judged. It is kept,
//! and judged with the next attempt.
//!
//! **Several name servers** are asked at once. The first that knows the name counts; one that fails, refuses or denies the
//! name does not outdo it.
//!
//! **Whose fault is a failure?** A question that is never answered, or only with a failure or a refusal, says that something
//! is wrong with the name's zone, or with the name servers and the way to them. The first is the endpoint's fault, the second
//! is ours. It is the endpoint's where some name server gave a useful answer (that a name has something, or does not exist)
//! after the failure, the name was then asked for again, in vain, and a useful answer came once more: the servers worked
//! before and after that question. To get one, probes are sent: they ask for the root, and about the name that was found last,
//! because some servers serve just a few zones and refuse the root. Answers that this program keeps are no sign of life. Where
//! no useful answer comes within [`JUDGED_WITHIN`], the fault is ours, and stays so until one does.
//!
//! * `servers.rs` knows the name servers in use, and whether any answers usefully;
//! * `system.rs` reads the system's;
//! * `sockets.rs` opens sockets, and notes what happens at them.

mod servers;
mod sockets;
mod system;
#[cfg(test)]
mod tests;

use std::{
    net::{IpAddr, Ipv4Addr},
    pin::Pin,
    time::Duration,
};

use hickory_resolver::{
    lookup::Lookup,
    net::{DnsError, NetError},
    proto::{
        op::ResponseCode,
        rr::{Name, RecordType},
    },
};
use tokio::time::{Instant, sleep, timeout};

use self::servers::{Client, Servers};
use super::SenderError;
use crate::{
    config,
    domain::{
        address::{AllowList, judge_with},
        outcome::NetworkFault,
    },
};

/// The other family is waited for no longer than this once one has addresses. RFC 8305, 3, has 50 ms, for people who
/// wait; here a refused address among the later ones is better known.
const OTHER_FAMILY: Duration = Duration::from_millis(250);

/// A question is given up after this. It is sent several times meanwhile, should a packet be lost.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(2);
/// So is the second one, which finds names at servers that take seconds to answer.
const AGAIN_TIMEOUT: Duration = Duration::from_millis(3500);
/// No name server gave a useful answer for this long while a name was asked for: then none answers.
const JUDGED_WITHIN: Duration = Duration::from_secs(5);
/// The same after the second question, and still within an attempt of 10 s.
const JUDGED_AGAIN_WITHIN: Duration = Duration::from_secs(9);
/// A name server that works is heard within this, if attempts are short.
const HEARD_WITHIN: Duration = Duration::from_secs(1);
/// A probe is sent when a question is open for this long, or for a quarter of the time that an attempt has.
const PROBE_AFTER: Duration = Duration::from_secs(1);
/// While no name server answers, a lookup takes no longer than this. Names whose answers are kept take less.
const WHILE_SILENT: Duration = Duration::from_millis(20);

/// At most this many addresses of each family are dialled, though all are judged: an attempt has time for few.
const DIALLED_PER_FAMILY: usize = 8;

const NO_SERVER: &str = "no name server is configured";
const NO_ANSWER: &str = "no name server answers";

/// Looks names up and has their addresses judged.
pub struct Resolver {
    servers: Servers,
    allow: AllowList,
    probe_after: Duration,
}

/// Why a name has no address to dial.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// An address was refused; the text says whose and why.
    #[error("{0}")]
    Refused(String),
    /// This machine could not ask.
    #[error("{0}")]
    Unable(&'static str),
    /// There is no name server, or none that answers anything.
    #[error("{0}")]
    NoServer(&'static str),
    /// The lookup itself went wrong.
    #[error("{0}")]
    Failed(NetworkFault),
}

/// The answer for one family of addresses; `None` if the lookup did not wait for it.
type Found = Option<Result<Lookup, NetError>>;
type Asking = Pin<Box<dyn Future<Output = Result<Lookup, NetError>> + Send>>;

impl Resolver {
    /// Asks the servers that the settings name, or the system's. An attempt has this much time in all.
    pub fn new(dns: &config::Dns, allow: AllowList, attempt: Duration) -> Result<Self, SenderError> {
        let servers = Servers::new(&dns.servers, dns.resolv_conf.clone());
        let servers = servers.map_err(|error| SenderError::Dns(Box::new(error)))?;
        Ok(Self { servers, allow, probe_after: PROBE_AFTER.min(attempt / 4) })
    }

    /// The addresses to dial for `host`, in order, all of them judged; at least one.
    ///
    /// # Errors
    /// A lookup that failed, or an address that is not allowed: then none of them is.
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, LookupError> {
        let (v4, v6) = self.look_up(host).await?;
        for address in v4.iter().chain(&v6) {
            judge_with(*address, &self.allow).map_err(|why| {
                LookupError::Refused(format!("refused to connect: {host} resolves to {address}; {why}"))
            })?;
        }
        Ok(in_turns(&v4, &v6))
    }

    /// Tells whether a lookup that an attempt's deadline ended is our fault: no useful answer came since it began.
    pub(super) fn silent_since(&self, began: Instant) -> Option<&'static str> {
        let is_silent = !self.servers.sockets.heard_since(began);
        if is_silent && began.elapsed() >= HEARD_WITHIN {
            self.servers.note_silence();
        }
        is_silent.then_some(NO_ANSWER)
    }

    /// All IPv4 and all IPv6 addresses of `host`; at least one in all.
    async fn look_up(&self, host: &str) -> Result<(Vec<IpAddr>, Vec<IpAddr>), LookupError> {
        if host.trim_end_matches('.').eq_ignore_ascii_case("localhost") {
            return Ok((vec![Ipv4Addr::LOCALHOST.into()], Vec::new()));
        }
        let client = self.servers.client().ok_or(LookupError::NoServer(NO_SERVER))?;
        let Ok(mut name) = Name::from_ascii(host) else {
            let (host, reason) = (host.to_owned(), "not a valid DNS name".to_owned());
            return Err(LookupError::Failed(NetworkFault::LookupFailed { host, reason }));
        };
        name.set_fqdn(true);
        let began = Instant::now();
        if self.servers.are_silent() {
            let found = timeout(WHILE_SILENT, both(&client, &name, QUESTION_TIMEOUT, WHILE_SILENT / 2)).await;
            return match found {
                Ok(found) if !is_failure(&found) => self.conclude(host, &name, began, found),
                _ => {
                    self.servers.probe();
                    Err(LookupError::NoServer(NO_ANSWER))
                }
            };
        }
        let mut failed = [None, None];
        for (within, judged_within) in [(QUESTION_TIMEOUT, JUDGED_WITHIN), (AGAIN_TIMEOUT, JUDGED_AGAIN_WITHIN)] {
            let found = self.ask(&client, &name, within).await;
            let is_ours = self.servers.sockets.lacking_since(began).is_some();
            if !is_failure(&found) || is_ours {
                return self.conclude(host, &name, began, found);
            }
            if !self.servers.answer_by(began + judged_within).await {
                return Err(LookupError::NoServer(NO_ANSWER));
            }
            failed = found;
        }
        self.conclude(host, &name, began, failed)
    }

    /// Asks for both families, and sends a probe if that takes long.
    async fn ask(&self, client: &Client, name: &Name, within: Duration) -> [Found; 2] {
        let mut asking = Box::pin(both(client, name, within, OTHER_FAMILY));
        tokio::select! {
            found = &mut asking => return found,
            () = sleep(self.probe_after) => self.servers.probe(),
        }
        asking.await
    }

    /// The addresses that were found, or whose fault it is that there are none.
    fn conclude(
        &self,
        host: &str,
        name: &Name,
        began: Instant,
        found: [Found; 2],
    ) -> Result<(Vec<IpAddr>, Vec<IpAddr>), LookupError> {
        let failures: Vec<&NetError> = failures(&found).collect();
        let is_busy = failures.iter().any(|error| matches!(error, NetError::Busy));
        let busy = is_busy.then_some("too many names are being looked up");
        let lacking = busy.or(self.servers.sockets.lacking_since(began));
        // A family that could not be asked for may be the one that leads to the endpoint.
        let is_open = failures.iter().any(|error| !error.is_no_records_found());
        if let Some(lacking) = lacking.filter(|_| is_open) {
            return Err(LookupError::Unable(lacking));
        }
        if let [v4, v6] = failures[..] {
            return Err(LookupError::Failed(absence(host, v4, v6)));
        }
        let [v4, v6] = found.map(|found| found.and_then(Result::ok).as_ref().map(addresses_in).unwrap_or_default());
        if v4.is_empty() && v6.is_empty() {
            return Err(LookupError::Failed(NetworkFault::NoAddress { host: host.to_owned() }));
        }
        self.servers.note_found(name);
        Ok((v4, v6))
    }
}

/// Asks for the addresses of both families. Where one has some, the other has this much `more` time.
async fn both(client: &Client, name: &Name, within: Duration, more: Duration) -> [Found; 2] {
    let family = |kind| -> Asking {
        let (client, name) = (client.clone(), name.clone());
        Box::pin(async move { client.lookup(name, kind, within).await })
    };
    let (mut v4, mut v6) = (family(RecordType::A), family(RecordType::AAAA));
    tokio::select! {
        found = &mut v4 => {
            let other = beside(&found, v6, more).await;
            [Some(found), other]
        }
        found = &mut v6 => {
            let other = beside(&found, v4, more).await;
            [other, Some(found)]
        }
    }
}

/// The answer for the other family than the one that was answered so.
async fn beside(found: &Result<Lookup, NetError>, mut other: Asking, more: Duration) -> Found {
    if found.as_ref().is_ok_and(|found| !addresses_in(found).is_empty()) {
        let Ok(other) = timeout(more, &mut other).await else {
            // It is kept for the next attempt when it comes.
            tokio::spawn(other);
            return None;
        };
        return Some(other);
    }
    Some(other.await)
}

/// Whether there is no address, and perhaps only because something went wrong.
fn is_failure(found: &[Found; 2]) -> bool {
    let has_addresses = |found: &Result<Lookup, _>| found.as_ref().is_ok_and(|found| !addresses_in(found).is_empty());
    !found.iter().flatten().any(has_addresses) && failures(found).any(|error| !error.is_no_records_found())
}

/// Whether no name server answered at all.
fn is_unanswered(error: &NetError) -> bool {
    matches!(error, NetError::Timeout | NetError::NoConnections | NetError::Io(_) | NetError::Busy)
}

fn failures(found: &[Found; 2]) -> impl Iterator<Item = &NetError> {
    found.iter().flatten().filter_map(|found| found.as_ref().err())
}

/// One of each family in turns (RFC 8305, 4), so that a family that leads nowhere costs little.
fn in_turns(v4: &[IpAddr], v6: &[IpAddr]) -> Vec<IpAddr> {
    (0..DIALLED_PER_FAMILY).flat_map(|nth| [v4.get(nth), v6.get(nth)]).flatten().copied().collect()
}

fn addresses_in(lookup: &Lookup) -> Vec<IpAddr> {
    lookup.answers().iter().filter_map(|record| record.data.ip_addr()).collect()
}

/// Why both questions came back without an address. A failure outweighs "there is none": it may be there after all.
fn absence(host: &str, v4: &NetError, v6: &NetError) -> NetworkFault {
    let host = host.to_owned();
    match [v4, v6].into_iter().find(|error| !error.is_no_records_found()) {
        Some(failure) => NetworkFault::LookupFailed { host, reason: reason(failure) },
        None if v4.is_nx_domain() || v6.is_nx_domain() => NetworkFault::NoSuchHost { host },
        None => NetworkFault::NoAddress { host },
    }
}

/// The name servers' behaviour, in a few words.
fn reason(error: &NetError) -> String {
    match error {
        NetError::Dns(DnsError::ResponseCode(ResponseCode::ServFail)) => "the name server failed".to_owned(),
        NetError::Dns(DnsError::ResponseCode(ResponseCode::Refused)) => "the name server refused to answer".to_owned(),
        NetError::Dns(DnsError::ResponseCode(code)) => format!("the name server answered: {code}"),
        NetError::Timeout => "no answer from the name servers".to_owned(),
        NetError::NoConnections | NetError::Io(_) => "the name servers cannot be reached".to_owned(),
        NetError::Truncated => "the answer is too large".to_owned(),
        _ => "the name servers gave no usable answer".to_owned(),
    }
}
