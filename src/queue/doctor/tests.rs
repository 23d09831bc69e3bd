use chrono::Utc;

use super::{finding::pass, server::*, state::*, *};
use crate::store::{Audit, Clock, Group, ServerFacts, ServerInfo};

fn server(lines: &str) -> ServerInfo {
    ServerInfo::parse(&lines.replace(' ', "\n"))
}

/// The verdict, and the finding and the advice on one line.
fn said(finding: &Finding) -> (Verdict, String) {
    (finding.verdict, format!("{} {}", finding.found, finding.advice.as_deref().unwrap_or_default()))
}

#[track_caller]
fn assert_says(finding: &Finding, verdict: Verdict, words: &str) {
    let (found, text) = said(finding);
    assert!(found == verdict && text.contains(words), "{finding:?} is not {verdict:?} with {words:?}");
}

#[test]
fn a_server_that_is_too_old_or_a_replica_fails() {
    assert_says(&version(&server("redis_version:7.0.15")), Verdict::Pass, "redis 7.0.15");
    assert_says(
        &version(&server("redis_version:7.2.4 server_name:valkey valkey_version:8.1.1")),
        Verdict::Pass,
        "valkey 8.1.1",
    );
    assert_says(&version(&server("redis_version:6.2.0")), Verdict::Fail, "7.0 or newer");
    assert_says(&role(&server("role:master redis_mode:standalone")), Verdict::Pass, "writes");
    assert_says(&role(&server("role:slave")), Verdict::Fail, "primary");
    assert_says(&role(&server("role:master redis_mode:cluster")), Verdict::Pass, "writes");
    assert_says(&role(&server("role:slave cluster_enabled:1")), Verdict::Fail, "in a moment");
}

#[test]
fn persistence_passes_only_with_an_append_only_file_that_is_written() {
    let on = server("aof_enabled:1 aof_last_write_status:ok");
    assert_says(&persistence(&on, Some("always")), Verdict::Pass, "before each answer");
    assert_says(&persistence(&on, Some("everysec")), Verdict::Pass, "up to one second");
    assert_says(&persistence(&on, Some("no")), Verdict::Warn, "everysec");
    assert_says(&persistence(&on, None), Verdict::Pass, "is not seen");
    assert_says(&persistence(&server("aof_enabled:0"), Some("always")), Verdict::Fail, "appendonly yes");
    assert_says(&persistence(&server("aof_enabled:1 aof_last_write_status:err"), None), Verdict::Fail, "disk");
    assert_says(&persistence(&server("loading:1"), None), Verdict::Warn, "wait");
}

#[test]
fn eviction_fails_unless_it_is_accepted_by_name() {
    assert_says(&eviction(&server("maxmemory_policy:noeviction"), ""), Verdict::Pass, "noeviction");
    assert_says(&eviction(&server("maxmemory_policy:allkeys-lru"), ""), Verdict::Fail, "noeviction");
    assert_says(&eviction(&server("maxmemory_policy:allkeys-lru"), "volatile-lru"), Verdict::Fail, "allkeys-lru");
    assert_says(&eviction(&server("maxmemory_policy:volatile-lru"), "volatile-lru"), Verdict::Warn, "accepted");
    assert_says(&eviction(&server(""), ""), Verdict::Warn, "noeviction");
}

#[test]
fn memory_is_judged_by_maxmemory_or_else_by_the_machine() {
    let used = |used: u64| server(&format!("used_memory:{used} maxmemory:1000 total_system_memory:100000"));
    assert_says(&memory(&used(749)), Verdict::Pass, "74 %");
    assert_says(&memory(&used(750)), Verdict::Warn, "75 %");
    assert_says(&memory(&used(900)), Verdict::Fail, "90 %");
    assert_says(&memory(&server("used_memory:10 maxmemory:0 total_system_memory:100")), Verdict::Pass, "not set");
    assert_says(&memory(&server("used_memory:10")), Verdict::Warn, "maxmemory");
}

#[test]
fn too_few_clients_for_a_worker_fail_and_too_few_for_one_more_worker_are_a_warning() {
    let with = |connected: u64| server(&format!("connected_clients:{connected} maxclients:100"));
    assert_says(&clients(&with(1), 65), Verdict::Pass, "1 of 100 connected; a worker with these settings needs 65");
    assert_says(&clients(&with(35), 65), Verdict::Warn, "needs 65 more");
    assert_says(&clients(&with(1), 100), Verdict::Fail, "maxclients");
    assert_says(&clients(&server("connected_clients:1"), 65), Verdict::Pass, "does not show its limit");
}

#[test]
fn replicas_that_lag_and_clocks_that_differ_are_warnings() {
    assert_says(&replication(&server("connected_slaves:0")), Verdict::Pass, "no replica");
    assert_says(&replication(&server("connected_slaves:1 slave0:ip=h,state=online,lag=1")), Verdict::Pass, "1 in sync");
    assert_says(&replication(&server("connected_slaves:1 slave0:ip=h,state=online,lag=11")), Verdict::Warn, "lag");
    assert_says(&replication(&server("connected_slaves:1 slave0:ip=h,state=wait_bgsave,lag=0")), Verdict::Warn, "lag");
    let now = Utc::now();
    assert_says(&clock(now, now + chrono::Duration::seconds(5)), Verdict::Pass, "5s between");
    assert_says(&clock(now + chrono::Duration::seconds(6), now), Verdict::Warn, "synchronize");
}

#[test]
fn a_schema_that_differs_fails_with_the_value_to_set() {
    let noted = |schema: &str, partitions: &str| Some((schema.to_owned(), partitions.to_owned()));
    assert_says(&schema(None, 16, None), Verdict::Pass, "yet; partitions at the start: 16");
    for wanted in [None, Some(4)] {
        assert_says(&schema(noted("1", "4").as_ref(), 4, wanted), Verdict::Pass, "partitions: 4");
        assert_says(&schema(noted("2", "4").as_ref(), 4, wanted), Verdict::Fail, "schema");
        for wrong in ["", "four", "0", "1025"] {
            assert_says(&schema(noted("1", wrong).as_ref(), 4, wanted), Verdict::Fail, "1 to 1024");
        }
    }
    assert_says(&schema(noted("1", "4").as_ref(), 4, Some(1)), Verdict::Fail, "queue.partitions = 4");
}

#[test]
fn partitions_without_a_group_are_named_while_they_are_few_and_counted_when_they_are_many() {
    let groups = |missing: u16| -> Vec<Group> {
        (0..8)
            .map(|partition| Group { partition, audit: (partition >= missing).then(Audit::default), ..no_group() })
            .collect()
    };
    assert_says(&group(&groups(0), None), Verdict::Pass, "exists");
    assert_says(&group(&groups(5), None), Verdict::Warn, "none in partition 0, 1, 2, 3, 4");
    assert_says(&group(&groups(6), None), Verdict::Warn, "none in 6 partitions");
}

#[test]
fn each_refusal_of_the_server_fails_with_advice_for_its_cause() {
    for (line, words) in [
        ("-WRONGTYPE Operation against a key\r\n", "not written by Lynkhook"),
        ("-READONLY You can't write against a read only replica.\r\n", "primary"),
        ("-MASTERDOWN Link with MASTER is down\r\n", "primary"),
        ("-MOVED 866 127.0.0.1:7001\r\n", "wait"),
        ("-CLUSTERDOWN Hash slot not served\r\n", "until another master has taken the slots over"),
        (
            "-NOPERM User x has no permissions to run the 'cluster|info' command\r\n",
            "'+cluster|info' '+cluster|slots' +asking",
        ),
        ("-LOADING Redis is loading the dataset in memory\r\n", "wait"),
        ("-NOPERM User x has no permissions to run the 'info' command\r\n", "this permission"),
        ("-ERR The user executing the script can't run this command or subcommand\r\n", "this permission"),
        ("-NOPERM this user has no permissions to access one of the keys used as arguments\r\n", "all keys"),
        ("-NOPERM No permissions to access a key\r\n", "all keys"),
        ("-ERR The user executing the script can't access at least one of the keys\r\n", "all keys"),
        ("-NOPERM User x has no permissions to run the 'select' command\r\n", "+select"),
        ("-ERR ACL failure in script: User x has no permissions to run the 'zcard' command\r\n", "this permission"),
        ("-NOAUTH Authentication required.\r\n", "password"),
        ("-WRONGPASS invalid username-password pair or user is disabled.\r\n", "correct the user name or the password"),
        ("-ERR max number of clients reached\r\n", "raise maxclients"),
        ("-DENIED Redis is running in protected mode. 1) x\r\n", "set a password in Redis"),
        ("-ERR AUTH <password> called without any password configured\r\n", "remove the password"),
        ("-ERR DB index is out of range\r\n", "a database that this Redis has"),
        ("-ERR something else\r\n", "log"),
    ] {
        let finding = refusal::of_fact("queue", &StoreError::answered(line));
        assert_says(&finding, Verdict::Fail, words);
        let (_, text) = said(&finding);
        assert!(!text.contains("unreachable") && !text.contains("start Redis"), "it answered {line}: {text}");
    }
    assert_says(&refusal::of_connection(&StoreError::gone()), Verdict::Fail, "start Redis, or correct redis.url");
}

fn no_group() -> Group {
    Group { partition: 0, audit: None, stuck: 0, suspects: 0, touched: None }
}

#[test]
fn an_old_queue_fails_only_if_no_worker_reads_it_and_an_id_from_the_future_is_a_warning() {
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    // The age of the oldest entry in seconds, and the time since a worker touched its partition.
    for (of, verdict, words) in [
        (&[(None, None)][..], Verdict::Pass, "empty"),
        (&[(Some(9), None)], Verdict::Pass, "arrived 9s ago"),
        (&[(Some(20), None)], Verdict::Warn, "arrived 20s ago"),
        (&[(Some(61), None)], Verdict::Fail, "arrived 1m 1s ago, and no worker has ever read from partition 0"),
        (&[(Some(7200), seconds(90))], Verdict::Fail, "no worker has read from partition 0 for 1m 30s"),
        (&[(Some(7200), seconds(3))], Verdict::Warn, "arrived 2h ago"),
        (&[(Some(7200), seconds(3)), (Some(70), seconds(60))], Verdict::Fail, "arrived 1m 10s ago, and no worker"),
        (&[(Some(7200), seconds(3)), (None, None), (Some(1), None)], Verdict::Warn, "start more workers"),
        (&[(Some(-59), seconds(3))], Verdict::Pass, "arrived less than 1s ago"),
        (&[(Some(-61), seconds(3)), (Some(2), seconds(3))], Verdict::Warn, "from the future, 1m 1s ahead"),
        (&[(Some(-61), None), (Some(70), None)], Verdict::Fail, "from partition 1"),
    ] {
        let groups: Vec<Group> = (0..)
            .zip(of)
            .map(|(partition, (age, touched))| {
                let audit = Audit { oldest: age.map(chrono::TimeDelta::seconds), ..Audit::default() };
                Group { partition, audit: Some(audit), touched: *touched, ..no_group() }
            })
            .collect();
        let findings = entries::judge(&groups, None);
        assert_says(findings.iter().find(|finding| finding.check == "age").unwrap(), verdict, words);
    }
}

#[test]
fn suspects_that_wait_for_their_turn_count_as_stuck_only_if_no_worker_touches_their_queue() {
    let of = |stuck, suspects, touched| Group { stuck, suspects, touched, ..no_group() };
    let (now, long_ago) = (Some(Duration::from_secs(3)), Some(Duration::from_mins(2)));
    for (group, verdict, words) in [
        (of(0, 0, now), Verdict::Pass, "is stuck"),
        (of(0, 40, now), Verdict::Warn, "40 that were lost twice wait for their turn"),
        (of(2, 40, now), Verdict::Fail, "2 of the entries"),
        (of(0, 40, long_ago), Verdict::Fail, "40 of the entries"),
        (of(1, 2, None), Verdict::Fail, "3 of the entries"),
    ] {
        assert_says(&stuck(&[group], None, Duration::from_secs(36)), verdict, words);
    }
}

#[test]
fn entries_that_no_worker_holds_trims_and_blocked_ids_are_reported_with_advice() {
    let sound = Audit::default();
    let hour = Duration::from_hours(1);
    let of = |audit: Audit| {
        let groups = [sound.clone(), audit].map(Some);
        let groups: Vec<Group> =
            (0..).zip(groups).map(|(partition, audit)| Group { partition, audit, ..no_group() }).collect();
        entries::judge(&groups, None)
    };
    for (audit, check, verdict, words) in [
        (sound.clone(), "held", Verdict::Pass, "is held by a worker"),
        (
            Audit { unheld: 20, ..sound.clone() },
            "held",
            Verdict::Fail,
            "20 entries were read, and no worker holds them",
        ),
        (sound.clone(), "ids", Verdict::Pass, "accepts entries"),
        (
            Audit { is_exhausted: true, ..sound.clone() },
            "ids",
            Verdict::Fail,
            "partition 1 has reached the largest possible id",
        ),
        (Audit { is_beyond: true, ..sound.clone() }, "ids", Verdict::Fail, "new entries are not read"),
        (sound.clone(), "trims", Verdict::Pass, "no entry was removed"),
        (Audit { trimmed: true, ..sound.clone() }, "trims", Verdict::Fail, "their number is unknown"),
        (Audit { trimmed: true, entries_trimmed: 20, ..sound.clone() }, "trims", Verdict::Fail, "just now: 20"),
        (Audit { trim_noticed: Some(hour * 23), ..sound.clone() }, "trims", Verdict::Fail, "23h ago"),
        (Audit { trim_noticed: Some(hour * 25), ..sound.clone() }, "trims", Verdict::Pass, "1day 1h ago, none since"),
    ] {
        let findings = of(audit);
        assert_says(findings.iter().find(|finding| finding.check == check).unwrap(), verdict, words);
    }
    assert_eq!(entries::judge(&[no_group()], None), [], "there is nothing to compare");
}

/// A server of a cluster, with these settings, answers to `INFO` and to `CLUSTER INFO`.
fn of_cluster(port: u16, partitions: Option<&[u16]>, settings: &str, info: &str, cluster: &str) -> Server {
    let settings = server(settings);
    let names = ["appendfsync", "cluster-require-full-coverage", "cluster-node-timeout", "min-replicas-to-write"];
    let seen = names.iter().filter_map(|name| Some(((*name).to_owned(), settings.text(name)?.to_owned())));
    let facts = ServerFacts {
        info: server(info),
        clock: None,
        settings: Some(seen.collect()),
        cluster: Some(Ok(server(&format!("cluster_state:ok cluster_slots_ok:16384 cluster_known_nodes:2 {cluster}")))),
    };
    let address = Some(format!("h:{port}"));
    Server { address, partitions: partitions.map(<[u16]>::to_vec), facts: Ok(facts) }
}

#[test]
fn a_check_of_several_servers_is_one_line_if_they_are_alike_and_else_names_those_at_fault() {
    let of = |policies: &[&str]| {
        let servers: Vec<Server> = (1..)
            .zip(policies)
            .map(|(port, policy)| of_cluster(port, None, "", &format!("maxmemory_policy:{policy}"), ""))
            .collect();
        of_each(&Known::of(&servers), |facts| eviction(&facts.info, "volatile-lru"))
    };
    let none = "noeviction";
    assert_eq!(of(&[none, none]), eviction(&server("maxmemory_policy:noeviction"), ""));
    assert_says(&of(&[none, "allkeys-lru", "allkeys-lru"]), Verdict::Fail, "h:2, h:3: allkeys-lru: a full");
    assert_says(&of(&["allkeys-lru", "allkeys-lru"]), Verdict::Fail, "all 2: allkeys-lru: a full");
    let both = of(&["volatile-lru", none, "allkeys-lru"]);
    assert_says(&both, Verdict::Fail, "h:3: allkeys-lru: a full");
    assert_says(&both, Verdict::Fail, "; h:1: volatile-lru, accepted");
    let many = of(&[
        "allkeys-lru",
        none,
        "allkeys-lru",
        "allkeys-lru",
        "allkeys-lru",
        "allkeys-lru",
        "allkeys-lru",
        "allkeys-lru",
    ]);
    assert_says(&many, Verdict::Fail, "h:1, h:3, h:4, h:5, h:6, h:7 and 1 more: allkeys-lru");
    let filled = |used: &[u64]| {
        let info = |used| format!("used_memory:{used} maxmemory:100");
        let servers: Vec<Server> =
            (1..).zip(used).map(|(port, used)| of_cluster(port, None, "", &info(used), "")).collect();
        of_largest(&Known::of(&servers), server::filled, |facts| memory(&facts.info))
    };
    assert_says(&filled(&[10, 30, 20]), Verdict::Pass, "most at h:2: 30 B in use");
    assert_says(&filled(&[10, 80, 76]), Verdict::Warn, "h:2: 80 B in use, 80 % of 100 B (maxmemory); h:3: 76 B in use");
}

#[test]
fn servers_that_do_not_answer_are_named_with_their_partitions() {
    let away = |port: u16, partitions: Option<&[u16]>| {
        let facts = Err(StoreError::gone());
        Server { address: Some(format!("h:{port}")), partitions: partitions.map(<[u16]>::to_vec), facts }
    };
    let here = of_cluster(1, Some(&[0, 1]), "", "", "");
    let all = cluster::servers(&[here.clone(), of_cluster(2, None, "", "", "")]);
    assert_eq!(all, [pass("servers", "all 2 answer, of which 1 are masters")]);
    let [one] = &cluster::servers(&[here.clone(), away(2, Some(&[2, 3, 4, 7]))])[..] else { panic!() };
    assert_says(one, Verdict::Fail, "connection refused; its partitions: 2 to 4, 7");
    let [replica] = &cluster::servers(&[here.clone(), away(2, None)])[..] else { panic!() };
    assert_says(replica, Verdict::Warn, "no master");
    let [unseen] = &cluster::servers(&[here])[..] else { panic!() };
    assert_says(unseen, Verdict::Warn, "or follow no master yet: 1");
}

#[test]
fn slots_without_a_master_fail_and_a_cluster_that_stops_as_a_whole_is_a_warning() {
    let of = |settings: &str, told: &str| {
        let servers =
            [of_cluster(1, None, "cluster-require-full-coverage:no", "", ""), of_cluster(2, None, settings, "", told)];
        cluster::coverage(&Known::of(&servers))
    };
    let (full, partial) = ("cluster-require-full-coverage:yes", "cluster-require-full-coverage:no");
    assert_says(&of(partial, ""), Verdict::Pass, "the partitions of the others go on");
    assert_says(&of("", ""), Verdict::Pass, "is not seen");
    assert_says(&of(full, ""), Verdict::Warn, "yes at h:2: if a master is lost, all");
    assert_says(&of(partial, "cluster_slots_ok:16380"), Verdict::Fail, "4 slots have no master");
    assert_says(&of(full, "cluster_state:fail"), Verdict::Fail, "h:2 refuse all keys");
    assert_says(&of(full, "cluster_state:fail"), Verdict::Fail, "cluster-require-full-coverage no");
    let (_, text) = said(&of(partial, "cluster_slots_ok:16380"));
    assert!(!text.contains("full-coverage"), "{text}");
}

#[test]
fn masters_without_partitions_are_a_warning_with_the_number_to_choose() {
    let of = |shares: &[&[u16]], partitions| {
        let servers: Vec<Server> =
            (1..).zip(shares).map(|(port, its)| of_cluster(port, Some(its), "", "", "")).collect();
        cluster::masters(&servers, partitions)
    };
    assert_says(&of(&[&[0, 2], &[1]], 3), Verdict::Pass, "h:1 has partitions 0, 2; h:2 has partitions 1");
    assert_says(&of(&[&[0], &[]], 1), Verdict::Warn, "no partition lies at h:2: 1 for 2 masters");
    assert_says(&of(&[&[0], &[]], 1), Verdict::Warn, "queue.partitions = 16");
    assert_says(&of(&[&[0], &[1], &[2], &[3], &[]], 4), Verdict::Warn, "queue.partitions = 64");
    assert_says(&of(&[&[0], &[]], 16), Verdict::Warn, "rebalance");
}

#[test]
fn a_master_without_a_replica_or_whose_successor_would_refuse_writes_is_a_warning() {
    let of = |info: &str, settings: &str| {
        let sound = of_cluster(1, Some(&[0]), "", "connected_slaves:2 slave0:state=online slave1:state=online", "");
        cluster::replication(&Known::of(&[sound, of_cluster(2, Some(&[1]), settings, info, "")]))
    };
    let one = "connected_slaves:1 slave0:state=online,lag=0";
    assert_says(
        &of(one, ""),
        Verdict::Pass,
        "h:1: 2 in sync; a failover may lose writes that are not yet replicated; h:2: 1",
    );
    assert_says(&of("connected_slaves:0", ""), Verdict::Warn, "h:2: no replica");
    assert_says(&of(one, "min-replicas-to-write:1"), Verdict::Warn, "h:2: min-replicas-to-write is 1 and there are 1");
    assert_says(&of(&format!("{one} min_slaves_good_slaves:1"), ""), Verdict::Warn, "give each master 2 replicas");
    assert_says(&of(one, "min-replicas-to-write:0"), Verdict::Pass, "h:2: 1 in sync");
    let two = "connected_slaves:2 slave0:state=online,lag=0 slave1:state=wait_bgsave,lag=0";
    assert_says(&of(two, "min-replicas-to-write:1"), Verdict::Warn, "h:2: a replica lags");
}

#[test]
fn a_long_node_timeout_and_clocks_that_are_apart_are_warnings() {
    let of = |settings: &str| {
        let servers = [of_cluster(1, None, "cluster-node-timeout:5000", "", ""), of_cluster(2, None, settings, "", "")];
        cluster::node_timeout(&Known::of(&servers))
    };
    assert_says(&of("cluster-node-timeout:5000"), Verdict::Pass, "after 5s");
    assert_says(&of("cluster-node-timeout:5001"), Verdict::Warn, "h:2: 5s: the partitions of a lost master wait");
    assert_says(&of(""), Verdict::Pass, "not seen");

    let (here, ms) = (Utc::now(), chrono::TimeDelta::milliseconds);
    let clocks = |ahead_ms: &[i64]| {
        let clocks = ahead_ms.iter().map(|ahead| Clock { there: here + ms(*ahead), here });
        let clocks: Vec<(Option<&str>, Clock)> =
            [Some("h:1"), Some("h:2"), Some("h:3")].into_iter().zip(clocks).collect();
        cluster::clocks(&clocks)
    };
    assert_eq!(clocks(&[]), None);
    assert_says(&clocks(&[-400, 500, 600]).unwrap(), Verdict::Pass, "less than 1s between Redis and this machine");
    assert_says(&clocks(&[7000, 6500, 7400]).unwrap(), Verdict::Warn, "7s between Redis and this machine");
    assert_says(&clocks(&[0, -900, 101]).unwrap(), Verdict::Warn, "1s between h:2 and h:3, which is ahead");
}
