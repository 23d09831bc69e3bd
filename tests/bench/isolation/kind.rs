//! The kinds of badness.

use crate::world::{PLAIN, Setup};

/// The series of the good ones.
pub const OK: &str = "ok";

const ACCOUNTS: usize = 100;

/// As most kinds are: all good.
pub const HEALTHY: Setup = Setup { accounts: ACCOUNTS, series: &[OK], ..PLAIN };

/// One kind.
#[derive(Clone, Copy)]
pub struct Kind {
    pub name: &'static str,
    /// An account in another series than [`OK`] is bad.
    pub series: &'static [&'static str],
    /// A bad one gets this many times the events that a good one gets.
    pub times: u32,
    /// The load on the good ones, as a share of the usual.
    pub load: f64,
    /// How long a turn lasts where nothing else is said.
    pub seconds: u64,
    /// Whether they answer after a while.
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
    // One sends a hundred times as much: as much as all others. With it, the load is the usual one.
    Kind { name: "flood", series: &FLOODED, times: 100, load: 0.5, ..PLAIN_KIND },
];

impl Kind {
    pub fn setup(&self) -> Setup {
        Setup { series: self.series, ..HEALTHY }
    }

    /// Ten of a hundred that are well.
    pub fn well(&self) -> Self {
        Self { series: &WELL, ..*self }
    }

    /// What the bad ones get together, for each event that a good one gets.
    pub fn bad_share(&self) -> f64 {
        let [good, bad] = [true, false].map(|good| u32::try_from(self.accounts(good).len()).expect("a hundred"));
        f64::from(bad * self.times) / f64::from(good)
    }

    /// The numbers of the good, or of the bad accounts.
    pub fn accounts(&self, good: bool) -> Vec<usize> {
        (0..ACCOUNTS).filter(|n| self.is_good(*n) == good).collect()
    }

    /// Whether this account is one of the good ones.
    pub fn is_good(&self, account: usize) -> bool {
        self.series[account % self.series.len()] == OK
    }

    /// The series of the bad ones, which are told apart where it matters.
    pub fn bad_series(&self) -> impl Iterator<Item = &'static str> {
        self.series.iter().copied().filter(|series| *series != OK)
    }
}

/// The last of ten is bad.
const fn one_in_ten(bad: &'static str) -> [&'static str; 10] {
    [OK, OK, OK, OK, OK, OK, OK, OK, OK, bad]
}

/// Ten that are counted apart from the good ones.
const WELL: [&str; 10] = one_in_ten("ok-well");

/// The last of all floods.
const FLOODED: [&str; ACCOUNTS] = {
    let mut series = [OK; ACCOUNTS];
    series[ACCOUNTS - 1] = "ok-flood";
    series
};

/// Ten that are told apart, half of each sort.
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
