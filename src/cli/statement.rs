//! Prints a statement.

use serde_json::Value;

use super::output::BOLD;
use crate::release::Description;

/// A statement's JSON, and its facts one a line below its title.
pub fn tell(description: Description) -> (Value, String) {
    let Description { title, lines, object } = description;
    let lines: String = lines.iter().map(|(label, text)| format!("{label:<9} {text}\n")).collect();
    (object, format!("{BOLD}{title}{BOLD:#}\n{lines}"))
}
