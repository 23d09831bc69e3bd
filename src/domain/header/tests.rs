use proptest::prelude::*;
use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Case {
    name: String,
    value: String,
    expect: String,
    why: String,
}

#[test]
fn every_vector_is_judged_as_it_says() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../../../tests/vectors/header_vectors.json")).unwrap();
    assert!(cases.len() > 40);
    for Case { name, value, expect, why } in cases {
        match expect.as_str() {
            "accept" => assert_eq!(judge(&name, &value), Ok(()), "{name:?}: {why}"),
            // "either" leaves the choice; all of them are refused here.
            "reject" | "either" => assert!(judge(&name, &value).is_err(), "{name:?}: {why}"),
            other => panic!("unknown expectation {other}"),
        }
    }
}

#[test]
fn names_are_tokens_of_1_to_128_characters() {
    for good in ["X", "x-api-key", "X_Key", "Authorization", "!#$%&'*+-.^_`|~09azAZ", "Hosts", "X-Cookie", "Content"] {
        assert_eq!(judge(good, "v"), Ok(()), "{good}");
    }
    assert_eq!(judge(&"x".repeat(128), "v"), Ok(()));
    assert_eq!(judge(&"x".repeat(129), "v"), Err(HeaderRefusal::NameTooLong));
    assert_eq!(judge("", "v"), Err(HeaderRefusal::NameEmpty));
    for delimiter in "\"(),/:;<=>?@[\\]{} \t\r\n\0\u{7f}\u{80}é".chars() {
        assert_eq!(judge(&format!("X{delimiter}"), "v"), Err(HeaderRefusal::NameCharacter(delimiter)));
    }
}

#[test]
fn reserved_names_are_refused_in_every_case_and_their_neighbours_are_not() {
    for &(why, names) in RESERVED {
        for &reserved in names {
            let (name, lower) = match reserved {
                Exactly(name) => (name.to_owned(), name),
                StartingWith(prefix) => (format!("{prefix}anything"), prefix),
            };
            assert_eq!(lower, lower.to_ascii_lowercase());
            for spelling in [name.clone(), name.to_ascii_uppercase()] {
                assert!(matches!(judge(&spelling, "v"), Err(HeaderRefusal::NameReserved { .. })), "{spelling}");
            }
            assert_eq!(judge(&format!("z{name}"), "v"), Ok(()), "{name}");
            assert!(HeaderRefusal::NameReserved { name: reserved, why }.to_string().contains(lower));
        }
    }
}

#[test]
fn values_are_1_to_8192_visible_ascii_with_blanks_inside() {
    for good in ["x", "a b", "a\tb", "ApiKey abc123", "!~", "Bearer a.b.c"] {
        assert_eq!(judge("X-Secret", good), Ok(()), "{good:?}");
    }
    assert_eq!(judge("X-Secret", &"v".repeat(8192)), Ok(()));
    for (bad, refusal) in [
        ("v".repeat(8193).as_str(), HeaderRefusal::ValueTooLong),
        ("", HeaderRefusal::ValueEmpty),
        (" a", HeaderRefusal::ValueEdge),
        ("a ", HeaderRefusal::ValueEdge),
        ("\ta", HeaderRefusal::ValueEdge),
        ("a\t", HeaderRefusal::ValueEdge),
        (" ", HeaderRefusal::ValueEdge),
        ("a\nb", HeaderRefusal::ValueCharacter),
        ("a\r\n", HeaderRefusal::ValueCharacter),
        ("a\0", HeaderRefusal::ValueCharacter),
        ("a\u{7f}", HeaderRefusal::ValueCharacter),
        ("é", HeaderRefusal::ValueCharacter),
        ("a\u{a0}b", HeaderRefusal::ValueCharacter),
    ] {
        assert_eq!(judge("X-Secret", bad), Err(refusal), "{bad:?}");
    }
}

#[test]
fn bearer_tokens_are_1_to_8192_visible_ascii() {
    for good in ["x", "abc.DEF-_~+/==", &"t".repeat(8192)] {
        assert_eq!(judge_bearer(good), Ok(()));
    }
    assert_eq!(judge_bearer(""), Err(HeaderRefusal::TokenEmpty));
    assert_eq!(judge_bearer(&"t".repeat(8193)), Err(HeaderRefusal::TokenTooLong));
    for bad in ["a b", " a", "a ", "Bearer abc", "a\tb", "a\n", "\0", "\u{7f}", "tökén"] {
        assert_eq!(judge_bearer(bad), Err(HeaderRefusal::TokenCharacter), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn the_http_library_can_send_every_accepted_header(name in ".{0,20}", value in "\\PC{0,20}") {
        if judge(&name, &value).is_ok() {
            prop_assert!(http::HeaderName::from_bytes(name.as_bytes()).is_ok());
            prop_assert!(http::HeaderValue::from_str(&value).is_ok());
        }
        if judge_bearer(&value).is_ok() {
            let bearer = format!("Bearer {value}");
            prop_assert!(http::HeaderValue::from_str(&bearer).is_ok());
        }
    }

    #[test]
    fn tokens_that_are_not_reserved_are_accepted(name in "X-Q[!#$%&'*+.^_`|~0-9a-zA-Z-]{0,120}", value in "[!-~]{1,200}") {
        prop_assert_eq!(judge(&name, &value), Ok(()));
    }

    #[test]
    fn a_refusal_shows_neither_value_nor_unknown_name(secret in "[a-z]{12}") {
        for refusal in [judge("X-Secret", &format!("{secret}\n")), judge(&format!("{secret} "), "v"), judge("host", &secret)] {
            let refusal = refusal.unwrap_err();
            let texts = format!("{refusal} {refusal:?}");
            prop_assert!(!texts.contains(&secret));
        }
    }
}
