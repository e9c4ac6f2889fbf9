//! Verdicts as JSON, with the members of `treehead verify --json`.

use alloc::string::String;

use treehead::endpoint::{VerdictCode, VerifiedRelease, witnesses_json};
use treehead::merkle::Hash;
use treehead::release::Json;

use crate::verdict::{No, Outcome};

/// The verdict about the file with this digest.
pub(crate) fn verdict(outcome: &Outcome, digest: &[u8; 32]) -> String {
    let json = match &outcome.result {
        Ok(verified) => accepted(verified, outcome),
        Err(no) => refused(no, digest),
    };
    json.to_shown()
}

fn accepted(verified: &VerifiedRelease, outcome: &Outcome) -> Json<'static> {
    let mut object = verified.to_json();
    object.set("number", &0_u32);
    object.set("message", &alloc::format!("{} by {}", verified.release().purl, verified.publisher()));
    object.set("signers", &verified.signers());
    object.set("root", &verified.head().get().root.to_base64());
    object.set("withdrawals", if outcome.asked_for_withdrawals { &"learnt" } else { &"not-asked" });
    if let Some(latest) = &outcome.latest {
        object.set("latest_tree_size", &latest.get().size.get());
        object.set("latest_witnesses", &witnesses_json(latest.cosignatures()));
    }
    object
}

fn refused(no: &No, digest: &[u8; 32]) -> Json<'static> {
    let [message, expected, seen, advice] = no.words();
    let number = no.reason();
    let code = VerdictCode::ALL.into_iter().find(|code| u32::from(code.number()) == number);
    let mut object = Json::Object(alloc::vec::Vec::new());
    object.set("ok", &false);
    object.set("code", &code.unwrap_or(VerdictCode::CouldNotTell).as_str());
    object.set("number", &number);
    object.set("message", &message);
    object.set("advice", &advice);
    object.set("expected", &expected);
    object.set("seen", &seen);
    object.set("digest", &Hash::from_bytes(*digest).to_hex());
    object
}
