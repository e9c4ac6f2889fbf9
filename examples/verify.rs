//! Asks whether a file may be installed: `verify endpoint.trust FILE`.

use std::error::Error;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use treehead::endpoint::{Artifact, Freshness, Pins, Question, TrustFile, verify};
use treehead::merkle::Hash;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, trust, file] = args.as_slice() else { return Err("usage: verify TRUST FILE".into()) };
    let trusted = TrustFile::parse(&std::fs::read(trust)?)?;
    let (digest, proof) = (Hash::digest(&std::fs::read(file)?), std::fs::read(format!("{file}.tlog-proof"))?);
    let question = Question {
        artifact: Artifact::File { digest: &digest, name: Some(file) },
        proof: &proof,
        freshness: Freshness { now: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(), max_age: None },
        pins: Pins::default(),
    };
    Ok(match verify(&question, trusted.trust(), None) {
        Ok(verified) => {
            println!("{file}: {} by {}", verified.release().purl, verified.publisher());
            ExitCode::SUCCESS
        }
        Err(refusal) => {
            eprintln!("{file}: {}: {refusal}\n{}", refusal.code(), refusal.advice());
            ExitCode::FAILURE
        }
    })
}
