//! Resolves a store's endpoint and addressing from options, environment and profiles.

use crate::bucket::settings::Place;
use crate::bucket::{Address, BucketError, StoreOptions};

fn decide(address: &str, options: &StoreOptions, variables: &[(&str, &str)]) -> Result<Place, BucketError> {
    let address: Address = address.parse().unwrap();
    let get =
        |name: &str| variables.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned());
    Place::decide(&address, options, &get, None)
}

fn url(place: &Place) -> String {
    format!("{}://{}{} {}", place.scheme, place.host, place.base, place.region)
}

#[test]
fn a_bucket_is_at_amazon_unless_an_endpoint_is_given() {
    let none = StoreOptions::default();
    let with = |endpoint: &str| StoreOptions { endpoint: Some(endpoint.to_owned()), ..none.clone() };
    let region = ("AWS_REGION", "eu-central-1");
    for (address, options, variables, expected) in [
        ("s3://abc/x", &none, &[region][..], "https://abc.s3.eu-central-1.amazonaws.com eu-central-1"),
        ("s3://a.b.c", &none, &[region], "https://s3.eu-central-1.amazonaws.com/a.b.c eu-central-1"),
        (
            "s3://abc",
            &none,
            &[("AWS_DEFAULT_REGION", "cn-north-1")],
            "https://abc.s3.cn-north-1.amazonaws.com.cn cn-north-1",
        ),
        ("s3://abc", &with("http://127.0.0.1:7480/"), &[region], "http://127.0.0.1:7480/abc eu-central-1"),
        ("s3://abc", &with("https://S3.example.com:443"), &[], "https://s3.example.com/abc us-east-1"),
        ("s3://abc", &with("http://[::1]:80"), &[], "http://[::1]/abc us-east-1"),
        (
            "s3://abc",
            &none,
            &[("AWS_ENDPOINT_URL", "http://a"), ("AWS_ENDPOINT_URL_S3", "http://b:81")],
            "http://b:81/abc us-east-1",
        ),
    ] {
        assert_eq!(url(&decide(address, options, variables).unwrap()), expected);
    }
    let hosted = StoreOptions { path_style: Some(false), ..with("https://s3.example.com") };
    assert_eq!(url(&decide("s3://abc", &hosted, &[]).unwrap()), "https://abc.s3.example.com us-east-1");
    let own = StoreOptions { ca_file: Some("a.pem".into()), ..with("https://x") };
    let bundle = [("AWS_CA_BUNDLE", "b.pem")];
    assert_eq!(decide("s3://abc", &own, &bundle).unwrap().ca_file, Some("a.pem".into()));
    assert_eq!(decide("s3://abc", &with("https://x"), &bundle).unwrap().ca_file, Some("b.pem".into()));
}

#[test]
fn contradictory_settings_are_refused() {
    let none = StoreOptions::default();
    let error = decide("s3://abc", &none, &[]).unwrap_err().to_string();
    assert!(error.contains("--region or AWS_REGION"), "{error}");
    for endpoint in [
        "",
        "s3.example.com",
        "ftp://x",
        "http://",
        "http:///",
        "http://x/y",
        "http://x?y",
        "http://u:p@x",
        "http://x:",
        "http://x:99999",
        "http://a b",
        "http://x#y",
        "http://x//",
    ] {
        let options = StoreOptions { endpoint: Some(endpoint.to_owned()), ..none.clone() };
        assert!(decide("s3://abc", &options, &[]).is_err(), "{endpoint}");
    }
    for region in ["eu/central", "e u", &"a".repeat(65)] {
        assert!(decide("s3://abc", &none, &[("AWS_REGION", region)]).is_err(), "{region}");
    }
    let unsigned = StoreOptions { unsigned_payload: true, endpoint: Some("http://x".to_owned()), ..none };
    let error = decide("s3://abc", &unsigned, &[]).unwrap_err().to_string();
    assert!(error.contains("an https endpoint"), "{error}");
}
