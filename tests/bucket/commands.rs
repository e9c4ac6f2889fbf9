//! The commands about stores.

use std::process::Command;

use crate::REQUIRED;
use crate::needs::{Outcome, ignored};
use crate::store::store;

pub fn store_check_prints_every_finding() -> Outcome {
    let store = match store() {
        Ok(store) => store,
        Err(why) => return ignored(&why, REQUIRED),
    };
    let url = format!("s3://{}/tests/store-check", store.bucket);
    let mut command = Command::new(env!("CARGO_BIN_EXE_treehead"));
    command.args(["store-check", &url, "--json"]).envs(store.variables());
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text} {}", String::from_utf8_lossy(&output.stderr));
    let found: serde_json::Value = serde_json::from_str(&text)?;
    assert_eq!(found["verdict"], "right", "{text}");
    assert_eq!(found["findings"].as_array().map(Vec::len), Some(8), "{text}");
    assert!(!text.contains(&store.secret));
    Ok(libtest_mimic::Completion::Completed)
}
