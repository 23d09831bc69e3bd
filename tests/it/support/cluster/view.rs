//! The cluster as one of its nodes sees it: `CLUSTER NODES`.

use std::ops::RangeInclusive;

/// All nodes as one of them knows them.
pub(super) struct View(Vec<Member>);

struct Member {
    id: String,
    port: u16,
    is_master: bool,
    /// The id of its master, if it is a replica.
    master: String,
    /// It rises each time that the node gets slots.
    epoch: u64,
    slots: Vec<RangeInclusive<u16>>,
}

impl View {
    pub(super) fn parse(text: &str) -> Self {
        Self(text.lines().map(Member::parse).collect())
    }

    /// How new it is: no node's epoch ever falls.
    pub(super) fn age(&self) -> u64 {
        self.0.iter().map(|member| member.epoch).sum()
    }

    /// The port of a slot's master.
    pub(super) fn master_of(&self, slot: u16) -> Option<u16> {
        let owns = |member: &&Member| member.slots.iter().any(|range| range.contains(&slot));
        self.0.iter().find(owns).map(|member| member.port)
    }

    /// The port of a replica's master.
    pub(super) fn master_of_node(&self, port: u16) -> Option<u16> {
        let master = &self.at(port)?.master;
        self.0.iter().find(|member| member.id == *master).map(|member| member.port)
    }

    pub(super) fn replicas_of(&self, port: u16) -> Vec<u16> {
        let Some(master) = self.at(port) else { return Vec::new() };
        self.0.iter().filter(|member| member.master == master.id).map(|member| member.port).collect()
    }

    pub(super) fn masters(&self) -> Vec<u16> {
        self.0.iter().filter(|member| member.is_master).map(|member| member.port).collect()
    }

    pub(super) fn is_master(&self, port: u16) -> bool {
        self.at(port).is_some_and(|member| member.is_master)
    }

    pub(super) fn has_slots(&self, port: u16) -> bool {
        self.at(port).is_some_and(|member| !member.slots.is_empty())
    }

    pub(super) fn count_replicas(&self) -> usize {
        self.0.iter().filter(|member| member.master != "-").count()
    }

    /// Whether the node is a replica of a master that has slots.
    pub(super) fn has_copy(&self, port: u16) -> bool {
        self.master_of_node(port).is_some_and(|master| self.has_slots(master))
    }

    fn at(&self, port: u16) -> Option<&Member> {
        self.0.iter().find(|member| member.port == port)
    }
}

impl Member {
    /// Reads a line: id, `host:port@bus`, flags, master, ping, pong, epoch, link, slots.
    fn parse(line: &str) -> Self {
        let words: Vec<&str> = line.split(' ').collect();
        let port = words[1].split(['@', ',']).next().and_then(|address| address.rsplit(':').next());
        let is_master = words[2].split(',').any(|flag| flag == "master");
        // A slot that is moving stands in brackets besides.
        let ranges = words[8..].iter().filter(|word| !word.starts_with('['));
        Self {
            id: words[0].to_owned(),
            port: port.and_then(|port| port.parse().ok()).unwrap_or_else(|| panic!("a port in {line:?}")),
            is_master,
            master: words[3].to_owned(),
            epoch: words[6].parse().unwrap_or_else(|_| panic!("an epoch in {line:?}")),
            slots: ranges.map(|range| slots(range)).collect(),
        }
    }
}

fn slots(range: &str) -> RangeInclusive<u16> {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("slots in {range:?}"));
    number(first)..=number(last)
}
