//! The commands that a worker may send to Redis while it works, and their forms. None may grow with the number of
//! queued, waiting, held or kept deliveries, or of webhooks. Limits by a constant of the program or by one account are
//! fine.

/// The most entries in a batch of the program, and in a page of the entries in flight.
const BATCH_MAX: usize = 100;

/// Says why a command may not be used. `words` are the words as Redis recorded them.
pub(super) fn check(words: &[String]) -> Result<(), String> {
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let name = words[0].to_ascii_uppercase();
    let arguments = &words[1..];
    let form_is_allowed = match name.as_str() {
        // Commands on one entry, field or member, or on as many as are named; a worker's scripts and its own
        // connections; the server's properties, which a worker asks for when it starts. Then it also tries its rights
        // after a `MULTI`, and nothing that follows is executed.
        "XACK" | "XDEL" | "XLEN" | "XCLAIM" | "HGET" | "HEXISTS" | "HINCRBY" | "HMGET" | "HSET" | "HSETNX" | "HDEL"
        | "ZREM" | "ZSCORE" | "ZADD" | "LPUSH" | "LPUSHX" | "RPOP" | "EXPIRE" | "TYPE" | "TIME" | "SET" | "EVALSHA"
        | "HELLO" | "CLIENT" | "PING" | "INFO" | "MULTI" => true,
        // The group is created once, and each worker has one consumer.
        "XGROUP" => matches!(arguments, ["CREATE" | "DELCONSUMER", ..]),
        "XINFO" => matches!(arguments, ["CONSUMERS" | "GROUPS", ..] | ["STREAM", _]),
        "SCRIPT" => matches!(arguments, ["LOAD", _]),
        "CONFIG" => matches!(arguments, ["GET", _]),
        // Adding to the queue must not trim it. Adding to the failed deliveries trims the oldest beyond the limit.
        "XADD" => match arguments {
            [_, "*", ..] => true,
            [key, "MAXLEN", "=", _, "*", ..] => key.contains(":failed:"),
            _ => false,
        },
        "XREADGROUP" => within(arguments, "COUNT"),
        // The entries of a batch and as many between them, or a page of entries in flight: not more than workers have
        // in hand.
        "XPENDING" => match arguments {
            [_, "workers", _, _, most, _consumer] => most.parse().is_ok_and(|most: usize| most <= 2 * BATCH_MAX),
            // A page of idle entries; a whole page; or the number of pending entries that are gone.
            [_, "workers", "IDLE", _, _, "+", page] => small(page),
            [_, "workers", _, _, most] => most.parse().is_ok_and(|most: usize| most <= 10 * BATCH_MAX),
            _ => false,
        },
        // One entry, or a limited number.
        "XRANGE" => match arguments {
            [_, from, to] => from == to,
            _ => within(arguments, "COUNT"),
        },
        // The entries beyond the limit, from the oldest on.
        "XTRIM" => {
            matches!(arguments, [_, "MAXLEN" | "MINID", "=", _] | [_, "MINID", "~", _, "LIMIT", "1000"])
        }
        // An account's webhooks are few, and so are the notes of an audit. Nothing else is read whole.
        "HGETALL" => matches!(arguments, [key] if key.contains(":webhooks:") || key.ends_with(":audit")),
        "LTRIM" => matches!(arguments, [_, "0", "49"]),
        "LINDEX" => matches!(arguments, [_, "-1"]),
        "ZRANGE" => match arguments {
            [_, "0", last, "WITHSCORES"] => *last == "0" || small(last),
            [_, "-inf", _, "BYSCORE", "LIMIT", "0", most, ..] | [_, _, "+inf", "BYSCORE", "LIMIT", "0", most] => {
                small(most)
            }
            _ => false,
        },
        // Five samples of a stream, while it is far below its limit.
        "MEMORY" => matches!(arguments, ["USAGE", _]),
        // A stream that has become empty; a worker's own figures.
        "DEL" => {
            matches!(arguments, [key] if [":held:", ":failed:", ":rejected", ":workers:"].iter().any(|part| key.contains(part)))
        }
        _ => false,
    };
    if form_is_allowed { Ok(()) } else { Err(format!("{name} {}", shortened(arguments))) }
}

/// Whether this option is present with a small number.
fn within(arguments: &[&str], option: &str) -> bool {
    let at = arguments.iter().position(|word| *word == option);
    at.and_then(|at| arguments.get(at + 1)).is_some_and(|most| small(most))
}

fn small(most: &str) -> bool {
    most.parse().is_ok_and(|most: usize| (1..=BATCH_MAX).contains(&most))
}

/// The key and options: enough to find the command, and the same for all commands of its kind.
fn shortened(arguments: &[&str]) -> String {
    let known = |word: &&&str| word.len() < 24 || word.contains(":{");
    arguments.iter().filter(known).take(6).copied().collect::<Vec<_>>().join(" ")
}

#[test]
fn commands_in_forms_that_grow_with_waiting_work_are_not_allowed() {
    let check = |command: &str| check(&command.split(' ').map(str::to_owned).collect::<Vec<_>>());
    for command in [
        "KEYS *",
        "SCAN 0",
        "SMEMBERS k",
        "LRANGE k 0 -1",
        "ZRANGE k 0 -1",
        "ZRANGE k 0 -1 WITHSCORES",
        "ZRANGE k 0 100000 WITHSCORES",
        "ZRANGE k -inf 7 BYSCORE",
        "ZRANGE k -inf 7 BYSCORE LIMIT 0 100000",
        "ZCOUNT k -inf 7",
        "XRANGE k - +",
        "XRANGE k 1-0 +",
        "XRANGE k - + COUNT 5000",
        "XREVRANGE k + -",
        "XPENDING k workers",
        "XPENDING k workers - + 10000",
        "XPENDING k workers - + 1001",
        "XINFO STREAM k FULL",
        "XPENDING k workers 1-0 9-0 10000 c",
        "XREADGROUP GROUP workers c STREAMS k >",
        "XADD p:{0}:queue MAXLEN = 5 * a b",
        "XADD p:{0}:failed:wh MAXLEN 5 * a b",
        "HGETALL p:{0}:counts",
        "HKEYS k",
        "MEMORY USAGE k SAMPLES 0",
        "XINFO STREAM k FULL",
        "DEL p:{0}:retries",
    ] {
        assert!(check(command).is_err(), "{command}");
    }
    for command in [
        "XRANGE k 1-0 1-0",
        "XRANGE k - + COUNT 1",
        "XADD p:{0}:failed:wh MAXLEN = 5 * a b",
        "XPENDING k workers 1-0 1-0 1",
        "XPENDING k workers 1-0 9-0 100 c",
        "XPENDING k workers IDLE 7 - + 100",
        "XPENDING k workers - + 100",
        "HGETALL p:{0}:webhooks:acme",
        "MEMORY USAGE k",
    ] {
        assert_eq!(check(command), Ok(()), "{command}");
    }
}
