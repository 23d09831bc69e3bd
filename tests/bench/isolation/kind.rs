//! The kinds of bad endpoints.

use crate::world::{PLAIN, Setup};

/// The series of the good endpoints.
pub const OK: &str = "ok";

const ACCOUNTS: usize = 100;

/// The setup of most kinds, with good endpoints only.
pub const HEALTHY: Setup = Setup { accounts: ACCOUNTS, series: &[OK], ..PLAIN };

/// One kind of bad endpoints.
#[derive(Clone, Copy)]
pub struct Kind {
    pub name: &'static str,
    /// An account whose series is not [`OK`] is bad.
    pub series: &'static [&'static str],
    /// A bad account gets this many times the events of a good one.
    pub times: u32,
    /// The load on the good accounts, as a share of the usual load.
    pub load: f64,
    /// The length of a turn unless the command line says otherwise.
    pub seconds: u64,
    /// Whether the bad endpoints recover after a while.
    pub recovers: bool,
}

const PLAIN_KIND: Kind = Kind { name: "", series: &[], times: 1, load: 1.0, seconds: 60, recovers: false };

pub const KINDS: [Kind; 7] = [
    Kind { name: "hang", series: &one_in_ten("hang"), seconds: 300, ..PLAIN_KIND },
    Kind { name: "slow", series: &one_in_ten("slow-3000"), seconds: 300, ..PLAIN_KIND },
    Kind { name: "5xx", series: &one_in_ten("status-503"), ..PLAIN_KIND },
    Kind { name: "reset", series: &one_in_ten("reset"), ..PLAIN_KIND },
    Kind { name: "no-tls", series: &one_in_ten("no-tls"), ..PLAIN_KIND },
    Kind { name: "recover", series: &RECOVERING, recovers: true, ..PLAIN_KIND },
    // One account sends a hundred times as much as another: as much as all others together. With it, the total is the
    // usual load.
    Kind { name: "flood", series: &FLOODED, times: 100, load: 0.5, ..PLAIN_KIND },
];

impl Kind {
    pub fn setup(&self) -> Setup {
        Setup { series: self.series, ..HEALTHY }
    }

    /// The same kind with ten healthy endpoints instead of the bad ones.
    pub fn well(&self) -> Self {
        Self { series: &WELL, ..*self }
    }

    /// The events of all bad accounts together, for each event of a good account.
    pub fn bad_share(&self) -> f64 {
        let [good, bad] = [true, false].map(|good| u32::try_from(self.accounts(good).len()).expect("a hundred"));
        f64::from(bad * self.times) / f64::from(good)
    }

    /// The numbers of the good accounts, or of the bad ones.
    pub fn accounts(&self, good: bool) -> Vec<usize> {
        (0..ACCOUNTS).filter(|n| self.is_good(*n) == good).collect()
    }

    /// Whether this account is one of the good ones.
    pub fn is_good(&self, account: usize) -> bool {
        self.series[account % self.series.len()] == OK
    }

    /// The series of the bad accounts, counted apart where it matters.
    pub fn bad_series(&self) -> impl Iterator<Item = &'static str> {
        self.series.iter().copied().filter(|series| *series != OK)
    }
}

/// The last of every ten is bad.
const fn one_in_ten(bad: &'static str) -> [&'static str; 10] {
    [OK, OK, OK, OK, OK, OK, OK, OK, OK, bad]
}

/// Ten of the hundred are healthy as well, and are counted apart from the good ones.
const WELL: [&str; 10] = one_in_ten("ok-well");

/// The last account floods.
const FLOODED: [&str; ACCOUNTS] = {
    let mut series = [OK; ACCOUNTS];
    series[ACCOUNTS - 1] = "ok-flood";
    series
};

/// Ten endpoints recover; they are counted one by one, and half of them have each fault.
const RECOVERING: [&str; ACCOUNTS] = {
    let bad = ["hang-0", "close-1", "hang-2", "close-3", "hang-4", "close-5", "hang-6", "close-7", "hang-8", "close-9"];
    let mut series = [OK; ACCOUNTS];
    let mut n = 0;
    while n < bad.len() {
        series[n * 10 + 9] = bad[n];
        n += 1;
    }
    series
};
