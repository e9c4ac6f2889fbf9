use super::*;

#[test]
fn facts_follow_from_the_entry_alone() {
    let (vendor, reviewer) = (publisher_signer(1), publisher_signer(2));
    let toml = vendor_toml() + &publisher_toml("reviewer", &[&reviewer], &[], &[]);
    let publishers = Publishers::parse(toml.as_bytes()).unwrap();
    let release = full_release();
    let entry = signed_entry(&release, &[&vendor, &reviewer]);
    let envelope = Envelope::parse_entry(&entry).unwrap();
    let facts = Facts::of(&envelope, &Statement::Release(release.clone()), &publishers);
    assert_eq!(Facts::of_entry(&entry, &publishers), Ok(facts.clone()));
    assert_eq!(facts.claims.len(), 2, "one for each signer");
    assert!(facts.claims.iter().all(|claim| claim.content == release.content()));
    assert_eq!(facts.payload, Some(Hash::digest(envelope.payload())));
    assert_ne!(facts.claims[0].key, facts.claims[1].key);
    // package, version, name, kind, channel, two publishers, two subjects and the manifest's root
    assert_eq!(facts.terms.len(), 10);

    let values = Facts::values(&entry, &publishers).unwrap();
    let digest = Hash::digest(b"b").to_hex();
    let root = Hash::digest(b"c").to_hex();
    for (field, value) in [
        (SearchField::Package, "pkg:generic/example/scanner"),
        (SearchField::Version, "4.2.0"),
        (SearchField::Name, "scanner"),
        (SearchField::Kind, "build"),
        (SearchField::Channel, release.channel.as_str()),
        (SearchField::Publisher, "vendor"),
        (SearchField::Publisher, "reviewer"),
        (SearchField::Digest, digest.as_str()),
        (SearchField::Digest, root.as_str()),
    ] {
        assert!(facts.terms.contains(&Term::new(field, value)) && values.matches(field, value), "{value}");
        assert!(!values.matches(field, "other") && !facts.terms.contains(&Term::new(field, "other")));
    }
    // A name by its beginning, with as much of its namespace as is said.
    for (beginning, begins) in
        [("Sc", true), ("example/scan", true), ("ample/scan", false), ("canner", false)]
    {
        assert_eq!(values.matches(SearchField::Name, beginning), begins, "{beginning}");
    }
    let [low, high] = Term::of_names("example/sca");
    let of = |name: &str| (low..=high).contains(&Term::new(SearchField::Name, name));
    assert!(of("sca") && of("x/SCA~") && of("scanner") && !of("sbz") && !of("scb") && !of("sca/x"));
    // A key that is no longer registered is named by its keyid.
    let later = Facts::values(&entry, &Publishers::parse(vendor_toml().as_bytes()).unwrap()).unwrap();
    assert!(later.matches(SearchField::Publisher, &reviewer.keyid().to_hex()));

    let claim = |change: fn(&mut Release)| {
        let mut other = release.clone();
        change(&mut other);
        Facts::of_entry(&signed_entry(&other, &[&vendor]), &publishers).unwrap().claims[0]
    };
    let original = claim(|_| ());
    assert_eq!(claim(|r| r.purl = Purl::parse("pkg:generic/example/scanner@5").unwrap()).key, original.key);
    assert_ne!(claim(|r| r.sequence = 8).key, original.key);
    assert_ne!(claim(|r| r.channel = "beta".to_owned()).key, original.key);
    assert_ne!(claim(|r| r.subjects.truncate(1)).content, original.content, "other artifacts");
    assert!(
        Facts::of_entry(b"opaque", &publishers).is_err() && Facts::values(b"opaque", &publishers).is_none()
    );
}
