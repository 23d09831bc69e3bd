use super::*;

fn server(lines: &str) -> ServerInfo {
    ServerInfo::parse(&lines.replace(' ', "\n"))
}

/// The verdict, and what is found and advised in one line.
fn said(finding: &Finding) -> (Verdict, String) {
    (finding.verdict, format!("{} {}", finding.found, finding.advice.as_deref().unwrap_or_default()))
}

#[track_caller]
fn assert_says(finding: &Finding, verdict: Verdict, words: &str) {
    let (found, text) = said(finding);
    assert!(found == verdict && text.contains(words), "{finding:?} is not {verdict:?} with {words:?}");
}

#[test]
fn a_server_that_is_too_old_a_replica_or_a_cluster_fails() {
    assert_says(&version(&server("redis_version:7.0.15")), Verdict::Pass, "redis 7.0.15");
    assert_says(
        &version(&server("redis_version:7.2.4 server_name:valkey valkey_version:8.1.1")),
        Verdict::Pass,
        "valkey 8.1.1",
    );
    assert_says(&version(&server("redis_version:6.2.0")), Verdict::Fail, "7.0 or newer");
    assert_says(&role(&server("role:master redis_mode:standalone")), Verdict::Pass, "writes");
    assert_says(&role(&server("role:slave")), Verdict::Fail, "primary");
    assert_says(&role(&server("role:master redis_mode:cluster")), Verdict::Fail, "single");
}

#[test]
fn persistence_passes_only_with_an_append_only_file_that_is_written() {
    let on = server("aof_enabled:1 aof_last_write_status:ok");
    assert_says(&persistence(&on, Some("always")), Verdict::Pass, "before each answer");
    assert_says(&persistence(&on, Some("everysec")), Verdict::Pass, "up to that much");
    assert_says(&persistence(&on, Some("no")), Verdict::Warn, "everysec");
    assert_says(&persistence(&on, None), Verdict::Pass, "may not be asked");
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
fn replicas_that_lag_and_clocks_that_differ_are_warned_of() {
    assert_says(&replication(&server("connected_slaves:0")), Verdict::Pass, "no replica");
    assert_says(&replication(&server("connected_slaves:1 slave0:ip=h,state=online,lag=1")), Verdict::Pass, "1 in step");
    assert_says(&replication(&server("connected_slaves:1 slave0:ip=h,state=online,lag=11")), Verdict::Warn, "lag");
    assert_says(&replication(&server("connected_slaves:1 slave0:ip=h,state=wait_bgsave,lag=0")), Verdict::Warn, "lag");
    let now = Utc::now();
    assert_says(&clock(now, now + chrono::Duration::seconds(5)), Verdict::Pass, "5.0s");
    assert_says(&clock(now + chrono::Duration::seconds(6), now), Verdict::Warn, "synchronize");
}

#[test]
fn a_schema_that_differs_fails_with_what_to_set() {
    let noted = |schema: &str, partitions: &str| Some((schema.to_owned(), partitions.to_owned()));
    assert_says(&schema(None, 4), Verdict::Pass, "yet");
    assert_says(&schema(noted("1", "4").as_ref(), 4), Verdict::Pass, "partitions: 4");
    assert_says(&schema(noted("2", "4").as_ref(), 4), Verdict::Fail, "schema");
    assert_says(&schema(noted("1", "4").as_ref(), 1), Verdict::Fail, "queue.partitions = 4");
}
