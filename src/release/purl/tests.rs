use proptest::prelude::*;

use super::*;

#[test]
fn packages_and_versions() {
    for (text, package, version) in [
        ("pkg:generic/example/scanner@4.2.0", "pkg:generic/example/scanner", "4.2.0"),
        (
            "pkg:deb/debian/libstdc%2B%2B6@1:12.2~rc1?arch=amd64",
            "pkg:deb/debian/libstdc%2B%2B6?arch=amd64",
            "1:12.2~rc1",
        ),
        ("pkg:npm/%40angular/core@17.0.0#src/x", "pkg:npm/%40angular/core", "17.0.0"),
        ("pkg:deb/debian/a@1?arch=all&distro=bookworm", "pkg:deb/debian/a?arch=all&distro=bookworm", "1"),
        ("pkg:generic/a@1?url=https:%2F%2Fx", "pkg:generic/a?url=https:%2F%2Fx", "1"),
        ("pkg:generic/a@release%2F1", "pkg:generic/a", "release%2F1"),
    ] {
        let purl = Purl::parse(text).unwrap();
        assert_eq!((purl.package().as_str(), purl.version()), (package, version));
        assert_eq!(purl.to_string(), text);
    }
}

#[test]
fn every_spelling_is_read_and_the_canonical_one_is_written() {
    for (spelt, canonical) in [
        ("pkg:generic/a@1?url=https://x/y", "pkg:generic/a@1?url=https:%2F%2Fx%2Fy"),
        ("pkg:generic/a@1?url=https:%2f%2fx%2fy", "pkg:generic/a@1?url=https:%2F%2Fx%2Fy"),
        ("PKG://Generic/a@1", "pkg:generic/a@1"),
        ("pkg:generic/a%2bb@1", "pkg:generic/a%2Bb@1"),
        ("pkg:generic/a+b@1+2", "pkg:generic/a%2Bb@1%2B2"),
        ("pkg:generic/%61@%31", "pkg:generic/a@1"),
        ("pkg:generic/%C3%A9@1", "pkg:generic/%C3%A9@1"),
        ("pkg:generic/a@1?b=1&a=2", "pkg:generic/a@1?a=2&b=1"),
        ("pkg:generic/a@1?a=&b=1", "pkg:generic/a@1?b=1"),
        ("pkg:generic/a@1?a=", "pkg:generic/a@1"),
        ("pkg:generic/a@1?a=x@y=z", "pkg:generic/a@1?a=x%40y%3Dz"),
        ("pkg:generic/a@1#/x/y/", "pkg:generic/a@1#x/y"),
        ("pkg:npm/@angular/core@17", "pkg:npm/%40angular/core@17"),
        ("pkg:brew/node@20@20.10.0", "pkg:brew/node%4020@20.10.0"),
        ("pkg:docker/a@sha256%3Aab", "pkg:docker/a@sha256:ab"),
        // Spellings that a type treats as equal.
        ("pkg:github/Example/Scanner@V1", "pkg:github/example/scanner@V1"),
        ("pkg:deb/Debian/Bash@5", "pkg:deb/debian/bash@5"),
        ("pkg:rpm/Fedora/ImageMagick@7", "pkg:rpm/fedora/ImageMagick@7"),
        ("pkg:pypi/Django_Rest@1.0RC1", "pkg:pypi/django-rest@1.0rc1"),
        ("pkg:pub/Flutter-Web@1", "pkg:pub/flutter_web@1"),
        ("pkg:generic/Example/Scanner_A@1", "pkg:generic/Example/Scanner_A@1"),
    ] {
        let purl = Purl::parse(spelt).unwrap();
        assert_eq!(purl.as_str(), canonical, "{spelt}");
        assert_eq!(Purl::parse(canonical), Ok(purl));
    }
    assert_eq!(Purl::parse_version("1:2+b/c%20d").as_deref(), Ok("1:2%2Bb%2Fc%20d"));
    for bad in ["", ".", "..", "%2e%2E", "a b", "%zz", "%0a"] {
        assert!(Purl::parse_version(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn what_is_no_purl_is_refused() {
    for bad in [
        "",
        "pkg:",
        "example",
        "npm:generic/a@1",
        "pkg:generic",
        "pkg:generic/",
        "pkg:generic/a",
        "pkg:generic/a@",
        "pkg:generic/@1",
        "pkg:/a@1",
        "pkg:3d/a@1",
        "pkg:g%65neric/a@1",
        "pkg:generic//a@1",
        "pkg:generic/b//a@1",
        "pkg:generic/a/@1",
        "pkg:generic/a b@1",
        "pkg:generic/a\tb@1",
        "pkg:generic/a%@1",
        "pkg:generic/a%2@1",
        "pkg:generic/a%+1@1",
        "pkg:generic/a%FF@1",
        "pkg:generic/é@1",
        // Read as paths, these lead out of the package.
        "pkg:generic/../a@1",
        "pkg:generic/./a@1",
        "pkg:generic/b/..@1",
        "pkg:generic/%2e%2E/a@1",
        "pkg:generic/.%2E/a@1",
        "pkg:generic/b%2Fc/a@1",
        "pkg:generic/b%2fa@1",
        "pkg:generic/a@..",
        "pkg:generic/a@%2E",
        "pkg:generic/a@1#x/../y",
        "pkg:generic/a@1#.",
        "pkg:generic/a@1#x%2Fy",
        // Control characters.
        "pkg:generic/a%00@1",
        "pkg:generic/a%0A@1",
        "pkg:generic/a%C2%85@1",
        "pkg:generic/a@1%1B",
        "pkg:generic/a@1?b=%7F",
        "pkg:generic/a@1#%0D",
        // Ambiguous spellings.
        "pkg:generic/a@1/b",
        "pkg:generic/a@1/b@2",
        "pkg:generic/a@1?url=x?y=z",
        "pkg:generic/a@1#x#y",
        "pkg:generic/a@1?",
        "pkg:generic/a@1?arch",
        "pkg:generic/a@1?a=1&a=2",
        "pkg:generic/a@1?a=&a=2",
        "pkg:generic/a@1?Arch=x",
        "pkg:generic/a@1?=x",
        "pkg:generic/a@1#",
        "pkg:generic/a@1#/",
        "pkg:generic/a@1#x//y",
    ] {
        assert!(Purl::parse(bad).is_err(), "{bad:?}");
    }
    assert!(Purl::parse("pkg:generic/a").unwrap_err().to_string().contains("a version"));
    assert!(Purl::parse(&format!("pkg:generic/{}@1", "a".repeat(1_024))).is_err());
    let long = format!("pkg:generic/{}@1", "+".repeat(400));
    assert!(long.len() < 1_024 && Purl::parse(&long).is_err(), "in its canonical spelling it is too long");
}

#[test]
fn patterns_cover_what_they_say() {
    let covers = |pattern, purl| PurlPattern::parse(pattern).unwrap().covers(&Purl::parse(purl).unwrap());
    for (pattern, purl) in [
        ("pkg:deb/debian/*", "pkg:deb/debian/bash@5?arch=amd64"),
        ("pkg:deb/debian/bash", "pkg:deb/debian/bash@5?arch=amd64"),
        ("pkg:deb/debian/bash?arch=amd64", "pkg:deb/debian/bash@5?arch=amd64"),
        ("pkg:deb/*", "pkg:deb/debian/bash@5"),
        ("pkg:julia/Dates", "pkg:julia/Dates@1?uuid=ade2ca70"),
        // However either of them is spelt.
        ("pkg:npm/@angular/*", "pkg:npm/%40angular/core@17"),
        ("pkg:npm/%40angular/*", "pkg:npm/@angular/core@17"),
        ("pkg:GitHub/Example/*", "pkg:github/example/Scanner@1"),
        ("pkg:pypi/Our_*", "pkg:pypi/our-scanner@1"),
        ("pkg:generic/a?url=https://x/*", "pkg:generic/a@1?url=https:%2F%2Fx%2Fy"),
        ("pkg:generic/a?url=https:%2F%2Fx%2F*", "pkg:generic/a@1?url=https://x/y"),
        ("pkg:generic/a?a=1&b=*", "pkg:generic/a@1?b=2&a=1"),
    ] {
        assert!(covers(pattern, purl), "{pattern} {purl}");
    }
    for (pattern, purl) in [
        ("pkg:deb/debian/bash?arch=arm64", "pkg:deb/debian/bash@5?arch=amd64"),
        ("pkg:deb/debian/bash", "pkg:deb/debian/bash-doc@5"),
        ("pkg:deb/debian/*", "pkg:deb/debianish/bash@5"),
        ("pkg:generic/Example/*", "pkg:generic/example/scanner@1"),
    ] {
        assert!(!covers(pattern, purl), "{pattern} {purl}");
    }
    for bad in [
        "",
        "*",
        "pkg:*",
        "deb/*",
        "pkg:deb/*/bash",
        "pkg:deb/a@1",
        "pkg:deb/a@1*",
        "pkg:deb/a**",
        "pkg:deb/a b*",
        "pkg:deb/debian/a#x",
        "pkg:deb/debian/a#x*",
        "pkg:generic/example/../*",
        "pkg:generic/../rival/*",
        "pkg:generic/example/%2E%2E/*",
        "pkg:generic/example%2F*",
        "pkg:generic/example%2fscanner",
        "pkg:generic/example/a%0A*",
        "pkg:generic/example/a%*",
        "pkg:generic/example/a%C3*",
        // The open value is not the last one in order, so nobody could say what it covers.
        "pkg:generic/a?b=1&a=*",
        "pkg:generic/a?b=x&a=*",
    ] {
        assert!(PurlPattern::parse(bad).is_err(), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn the_quick_way_reads_what_the_long_way_reads(
        text in "(pkg:|PKG:|pkg:/|)(generic|docker|cpan|npm|Generic|x1.-|1x|)/([a-zA-Z0-9~:._-]{0,3}[/@%+]?){0,4}(@[a-z0-9:._~@/-]{0,4})?"
    ) {
        if let Some(plain) = PackageUrl::plain(&text) {
            let parts = PackageUrl::read(&text).unwrap();
            prop_assert_eq!(PackageUrl::of(&parts), Ok(plain), "{}", text);
            prop_assert_eq!(types::check(&parts), Ok(()), "{}", text);
        }
    }

    #[test]
    fn what_is_read_is_written_in_one_spelling(
        text in prop_oneof![
            "pkg:[a-z]{1,3}/[a-zA-Z0-9%@+._/-]{0,12}@[a-z0-9%+/.]{0,5}(\\?[a-c]=[a-z/%&=.]{0,8})?(#[a-z/%.]{0,6})?",
            "(pkg|PKG):/{0,2}(npm|pypi|github|rpm|deb)/[a-zA-Z_@/-]{1,12}@[a-zA-Z0-9]{1,4}",
            "\\PC{0,24}",
        ]
    ) {
        if let Ok(url) = PackageUrl::parse(&text) {
            prop_assert_eq!(PackageUrl::parse(url.as_str()), Ok(url.clone()), "{}", text);
            // A type without rules is accepted without another look.
            let parts = PackageUrl::read(url.as_str()).unwrap();
            prop_assert!(types::has_rules(&parts.kind) || types::check(&parts).is_ok(), "{}", text);
            let is_plain = |b: u8| b.is_ascii_graphic() && b != b'+';
            prop_assert!(url.as_str().bytes().all(is_plain), "{}", url);
            prop_assert!(!url.name().split('/').any(|segment| matches!(segment, "" | "." | "..")), "{}", url);
            let version = url.version.clone().or(Some(url.name..url.name));
            let versioned = Purl(PackageUrl { version, ..url.clone() });
            let pattern = PurlPattern::parse(&url.package()).unwrap();
            prop_assert!(pattern.covers(&versioned), "{}", url);
        }
    }

    #[test]
    fn a_pattern_means_the_same_in_its_canonical_spelling(
        text in "pkg:(generic|npm|pypi|rpm)/[a-zA-Z%@+._/-]{0,8}(\\?[a-c]=[a-z/%&=.]{0,8})?[*]?"
    ) {
        if let Ok(pattern) = PurlPattern::parse(&text) {
            prop_assert_eq!(PurlPattern::parse(pattern.as_str()), Ok(pattern));
        }
    }
}
