use proptest::prelude::*;
use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Case {
    url: String,
    expect: String,
    why: String,
}

fn parse(input: &str) -> Result<EndpointUrl, UrlRefusal> {
    EndpointUrl::parse(input, &AllowList::default())
}

fn parse_allowing(input: &str, host: &str) -> Result<EndpointUrl, UrlRefusal> {
    EndpointUrl::parse(input, &AllowList::parse(&[host.to_owned()]).unwrap())
}

fn canonical(input: &str) -> String {
    parse(input).unwrap_or_else(|refusal| panic!("{input}: {refusal}")).as_str().to_owned()
}

/// Asserts that all these inputs are refused for one reason.
fn refused(refusal: &UrlRefusal, inputs: &[&str]) {
    for input in inputs {
        assert_eq!(parse(input).as_ref(), Err(refusal), "{input:?}");
    }
}

#[test]
fn every_vector_is_judged_as_it_says() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../../../tests/vectors/url_vectors.json")).unwrap();
    assert!(cases.len() > 130);
    for Case { url, expect, why } in cases {
        let start: String = url.chars().take(80).collect();
        match expect.as_str() {
            "accept" => assert!(parse(&url).is_ok(), "{start:?}: {why}: {:?}", parse(&url)),
            "reject" => assert!(parse(&url).is_err(), "{start:?}: {why}"),
            "either" => drop(parse(&url)),
            other => panic!("unknown expectation {other}"),
        }
    }
}

#[test]
fn the_canonical_form_is_what_is_sent() {
    for (input, expected) in [
        ("https://example.com", "https://example.com/"),
        ("HTTPS://EXAMPLE.com/Hook", "https://example.com/Hook"),
        ("https://example.com:443/", "https://example.com/"),
        ("https://example.com:0443/", "https://example.com/"),
        ("https://example.com:/", "https://example.com/"),
        ("https://example.com:8443?x", "https://example.com:8443/?x"),
        ("https://bücher.de/", "https://xn--bcher-kva.de/"),
        ("https://BÜCHER.de/", "https://xn--bcher-kva.de/"),
        ("https://XN--BCHER-KVA.de/", "https://xn--bcher-kva.de/"),
        ("https://faß.de/", "https://xn--fa-hia.de/"),
        ("https://παράδειγμα.δοκιμή.gr/", "https://xn--hxajbheg2az3al.xn--jxalpdlp.gr/"),
        ("https://пример.рф/", "https://xn--e1afmkfd.xn--p1ai/"),
        ("https://مثال.com/", "https://xn--mgbh0fb.com/"),
        ("https://example.com/ü?ü=ü", "https://example.com/%C3%BC?%C3%BC=%C3%BC"),
        ("https://example.com/a/../b/./c", "https://example.com/b/c"),
        ("https://example.com/a//b?a=/../b", "https://example.com/a//b?a=/../b"),
        ("https://r3---sn.example.com/", "https://r3---sn.example.com/"),
        ("https://1.2.3.4.example.com/", "https://1.2.3.4.example.com/"),
        ("https://0x7f.com/", "https://0x7f.com/"),
        ("https://My_App.example.com/", "https://my_app.example.com/"),
        ("https://_a.b_.c__d.example.com/", "https://_a.b_.c__d.example.com/"),
    ] {
        assert_eq!(canonical(input), expected);
    }
}

#[test]
fn each_refusal_says_its_own_reason() {
    refused(
        &UrlRefusal::NotHttps,
        &["", "https", "https:/a.com", "https:a.com", "http://a.com/", "httpſ://a.com", "hüüüüttps"],
    );
    refused(
        &UrlRefusal::ControlOrSpace,
        &[
            " https://a.com",
            "https://a.com/ ",
            "https://a.com/\u{a0}",
            "https://a.com/\u{85}",
            "https://a.com/\u{2028}",
        ],
    );
    refused(&UrlRefusal::Backslash, &["https://a.com\\b", "https://a.com/?\\", "https://\\a.com"]);
    refused(&UrlRefusal::Fragment, &["https://a.com/#", "https://a.com#@b.com/"]);
    refused(
        &UrlRefusal::Credentials,
        &["https://@a.com/", "https://:@a.com/", "https://a:b@[::1]/", "https://a%40b@c.com"],
    );
    refused(&UrlRefusal::NoHost, &["https://", "https:///a.com", "https://?a.com", "https://:443/"]);
    refused(
        &UrlRefusal::HostCharacter,
        &["https://a*b.com/", "https://-a.com/", "https://a_-.com/", "https://a-.com/", "https://a.com%2e/"],
    );
    refused(&UrlRefusal::EmptyLabel, &["https://a..com/", "https://.a.com/", "https://a.com./", "https://a.com../"]);
    refused(
        &UrlRefusal::Unencoded,
        &["https://a.com/<", "https://a.com/?a[b]=c", "https://a.com/|", "https://a.com/\u{fdd0}"],
    );
    refused(&UrlRefusal::PercentEscape, &["https://a.com/%", "https://a.com/%zz", "https://a.com/?%1"]);
}

#[test]
fn no_spelling_of_an_ip_address_is_a_host() {
    refused(
        &UrlRefusal::IpAddress,
        &[
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://0x7f000001/",
            "https://0X7F.1/",
            "https://017700000001/",
            "https://4294967296/",
            "https://1.2.3.4.5/",
            "https://256.1.1.1/",
            "https://a.0x/",
            "https://a.1/",
            "https://[::]/",
            "https://[::ffff:1.2.3.4]:8443/",
            "https://1::2/",
            "https://[v1.a]/",
        ],
    );
    for replaced in ["https://１２７.1/", "https://127。0。0。1/", "https://①.1/", "https://0x7f.0.0.₁/"] {
        assert!(parse(replaced).is_err(), "{replaced}");
    }
    assert_eq!(parse_allowing("https://127.0.0.1/", "127.0.0.1"), Err(UrlRefusal::IpAddress));
}

#[test]
fn a_name_that_would_be_looked_up_as_another_is_refused() {
    for (input, host) in [
        ("https://ⓔxample.com/", "example.com"),
        ("https://ｅｘａｍｐｌｅ.com/", "example.com"),
        ("https://exam\u{ad}ple.com/", "example.com"),
        ("https://exam\u{200b}ple.com/", "example.com"),
        ("https://bü\u{2060}cher.de/", "xn--bcher-kva.de"),
        ("https://ｂücher.de/", "xn--bcher-kva.de"),
        ("https://example。com/", "example.com"),
        ("https://例え。jp/", "xn--r8jz45g.jp"),
        ("https://\u{212a}ey.com/", "key.com"),
        ("https://\u{212a}üche.com/", "xn--kche-0ra.com"),
        ("https://example.ſhop/", "example.shop"),
        ("https://ﬁ.com/", "fi.com"),
        ("https://example.c℠/", "example.csm"),
    ] {
        assert_eq!(parse(input), Err(UrlRefusal::HostReplaced(host.to_owned())), "{input}");
    }
    for invalid in [
        "https://xn--a/",
        "https://xn--.com/",
        "https://xn--localhost-.com/",
        "https://xn--zzzzzz99999.com/",
        "https://\u{202e}a.com/",
    ] {
        assert!(parse(invalid).is_err(), "{invalid}");
    }
}

#[test]
fn private_names_are_refused_by_their_last_label() {
    for &(suffix, _) in PRIVATE_SUFFIXES {
        for host in [format!("a.{suffix}"), format!("a.b.{}", suffix.to_uppercase())] {
            let refusal = parse(&format!("https://{host}/")).unwrap_err();
            assert!(matches!(refusal, UrlRefusal::PrivateName { .. }), "{host}: {refusal}");
        }
        assert!(parse(&format!("https://{suffix}.com/")).is_ok());
        assert!(parse(&format!("https://a.x{suffix}/")).is_ok());
        assert_eq!(parse(&format!("https://{suffix}/")), Err(UrlRefusal::SingleLabel(suffix.to_owned())));
    }
    assert_eq!(
        parse("https://db.internal/secret").unwrap_err().to_string(),
        "db.internal is not a public host name: .internal is not in the public DNS (ICANN, 2024)"
    );
    for public in ["https://example.com/", "https://example.org/", "https://example.net/", "https://a.host/"] {
        assert!(parse(public).is_ok(), "{public}");
    }
}

#[test]
fn an_underscore_makes_no_private_name_public_and_no_address_a_name() {
    for (input, refusal) in [
        ("https://my_app/", UrlRefusal::SingleLabel("my_app".to_owned())),
        ("https://web.my_app_default/", UrlRefusal::UnderscoreInLast("web.my_app_default".to_owned())),
        ("https://x.int_ernal/", UrlRefusal::UnderscoreInLast("x.int_ernal".to_owned())),
        ("https://example.com_/", UrlRefusal::UnderscoreInLast("example.com_".to_owned())),
        ("https://a_b.127.0.0.1/", UrlRefusal::IpAddress),
        ("https://my%5Fapp.example.com/", UrlRefusal::HostCharacter),
        ("https://my\u{ff3f}app.example.com/", UrlRefusal::HostReplaced("my_app.example.com".to_owned())),
    ] {
        assert_eq!(parse(input), Err(refusal), "{input}");
    }
    assert!(matches!(parse("https://my_app.internal/"), Err(UrlRefusal::PrivateName { .. })));
    for allowed in ["my_app", "web.my_app_default"] {
        assert_eq!(parse_allowing(&format!("https://{allowed}:8443/"), allowed).unwrap().host(), allowed);
    }
}

#[test]
fn an_allowed_host_may_be_private_and_keeps_every_other_rule() {
    assert_eq!(parse_allowing("https://LOCALHOST:8443/x", "localhost").unwrap().host(), "localhost");
    assert!(parse_allowing("https://hooks.corp/", "Hooks.Corp.").is_ok());
    for input in [
        "https://foo.localhost/",
        "http://localhost/",
        "https://localhost./",
        "https://localhost:22/",
        "https://a@localhost/",
        "https://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/",
        "https://localhost/#a",
        "https://loc%61lhost/",
        "https://localhost6/",
    ] {
        assert!(parse_allowing(input, "localhost").is_err(), "{input}");
    }
}

#[test]
fn lengths_are_accepted_to_the_limit_and_refused_beyond() {
    let label = |length: usize| "a".repeat(length);
    assert!(parse(&format!("https://{}.com/", label(63))).is_ok());
    refused(&UrlRefusal::LabelTooLong, &[&format!("https://{}.com/", label(64))]);
    let host = |last: usize| format!("https://{}.{}.{}.{}/", label(63), label(63), label(63), label(last));
    assert_eq!(parse(&host(61)).unwrap().host().len(), 253);
    refused(&UrlRefusal::HostTooLong, &[&host(62)]);
    let path = |length: usize| format!("https://example.com/{}", "p".repeat(length - 20));
    assert_eq!(canonical(&path(2048)).len(), 2048);
    refused(&UrlRefusal::TooLong, &[&path(2049), &format!("https://example.com/{}", "ü".repeat(400))]);
    assert_eq!(canonical(&format!("https://example.com/pp{}", "ü".repeat(337))).len(), 2044);
}

#[test]
fn ports_are_1_to_65535_and_not_another_protocols() {
    for (port, expected) in [("1024", 1024), ("65535", 65535), ("80", 80), ("08443", 8443), ("6379", 6379)] {
        assert_eq!(parse(&format!("https://a.com:{port}/")).unwrap().port(), expected);
    }
    assert_eq!(parse("https://a.com/").unwrap().port(), 443);
    for port in ["0", "00", "65536", "99999999999999999999", "-1", "+443", "0x1bb", "4 43", "４４３", "443a", "a"] {
        assert!(parse(&format!("https://a.com:{port}/")).is_err(), "{port}");
    }
    for &port in BAD_PORTS {
        refused(&UrlRefusal::BadPort(port), &[&format!("https://a.com:{port}/")]);
    }
    assert!(BAD_PORTS.is_sorted());
}

#[test]
fn path_and_query_are_shown_by_as_str_only() {
    let url = parse("https://example.com:8443/s3cret?t=s3cret").unwrap();
    assert_eq!(url.redacted(), "https://example.com:8443/…");
    assert_eq!(format!("{url:?}"), "EndpointUrl(\"https://example.com:8443/…\")");
    assert_eq!(parse("https://example.com/s3cret").unwrap().redacted(), "https://example.com:443/…");
    assert_eq!(serde_json::to_string(&url).unwrap(), "\"https://example.com:8443/s3cret?t=s3cret\"");
}

#[test]
fn a_saved_url_is_read_without_the_allow_list_of_its_time() {
    assert_eq!(EndpointUrl::from_saved("https://localhost:8443/x").unwrap().as_str(), "https://localhost:8443/x");
    for never in ["http://localhost/", "https://127.0.0.1/", "https://a@b.com/", "https://a.com/s3cret\n"] {
        let error = EndpointUrl::from_saved(never).unwrap_err().to_string();
        assert!(!error.contains("s3cret"), "{error}");
    }
}

/// Texts that look enough like URLs to get past the first rules.
fn url_like() -> impl Strategy<Value = String> {
    let host = prop_oneof![
        "[a-z0-9._-]{1,20}",
        "[a-zA-Z0-9ü例ß。ⓐ\u{ad}\u{212a}.%_@:-]{1,12}",
        "(xn--)?[a-z0-9-]{1,12}\\.com",
        "\\PC{1,10}(\\.[a-z]{2,3})?",
        "[0-9a-fx.]{1,16}",
    ];
    (host, "(:[0-9]{0,6})?", "(/[a-zA-Z0-9./%ü'~;:@&=+$,é-]{0,20})?", "(\\?\\PC{0,10})?")
        .prop_map(|(host, port, path, query)| format!("https://{host}{port}{path}{query}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_text_never_panics(text in any::<String>(), path in any::<String>()) {
        let _ = parse(&text);
        let _ = parse(&format!("https://{text}"));
        let _ = parse(&format!("https://a.com/{path}"));
    }

    #[test]
    fn an_accepted_url_is_canonical_and_has_a_public_name(input in url_like()) {
        if let Ok(url) = parse(&input) {
            prop_assert_eq!(parse(url.as_str()), Ok(url.clone()));
            prop_assert_eq!(EndpointUrl::from_saved(url.as_str()), Ok(url.clone()));
            prop_assert!(url.as_str().is_ascii() && url.as_str().len() <= URL_MAX_BYTES);
            let start = format!("https://{}", url.host());
            prop_assert!(url.as_str().starts_with(&start));
            prop_assert!(url.host().split('.').count() >= 2 && url.host().split('.').all(is_host_label));
            prop_assert!(url.host().parse::<std::net::IpAddr>().is_err());
            prop_assert!(rustls::pki_types::ServerName::try_from(url.host().to_owned()).is_ok());
            prop_assert!(url.as_url().username().is_empty() && url.as_url().password().is_none());
            prop_assert!(url.as_url().fragment().is_none() && url.port() != 0);
        }
    }

    #[test]
    fn ordinary_urls_are_accepted(host in "[a-z][a-z0-9]{0,30}(-[a-z0-9]{1,9})?\\.(com|de|co\\.uk)", path in "(/[a-zA-Z0-9._~-]{1,9}){0,5}") {
        let url = format!("https://{host}{path}");
        prop_assert!(parse(&url).is_ok());
    }

    #[test]
    fn no_refusal_shows_the_path(secret in "[a-z]{12}", end in "(<|#|%|\\\\| )") {
        let refusal = parse(&format!("https://a.com/{secret}{end}")).unwrap_err();
        let texts = format!("{refusal} {refusal:?}");
        prop_assert!(!texts.contains(&secret));
    }
}
