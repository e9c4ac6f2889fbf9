//! SLSA provenance v1 and v0.2: how artifacts were built.
//!
//! ```text
//! {"_type":"https://in-toto.io/Statement/v1",
//!  "predicate":{
//!   "buildDefinition":{"buildType":"https://...","externalParameters":{...},
//!                      "resolvedDependencies":[{"digest":{...},"uri":"git+https://..."}, ...]},
//!   "runDetails":{"builder":{"id":"https://..."}}},
//!  "predicateType":"https://slsa.dev/provenance/v1",
//!  "subject":[{"digest":{"sha256":"<hex>"},"name":"scanner.bin"}, ...]}
//! ```
//!
//! Version 0.2 has `predicate.builder.id`, `predicate.buildType` and `predicate.materials` for the same.
//!
//! Unknown fields are ignored, and missing, null and empty fields mean the same, as slsa.dev/provenance demands under
//! "Parsing rules". So `externalParameters` may be missing, though it is required: it is empty in a build without
//! parameters.

use alloc::string::String;
use alloc::vec::Vec;

use super::{Purl, Resource, check_text, purls_in};
use crate::format::FormatError;
use crate::release::json::{Fields, Json};

pub(super) const PREDICATE_TYPE: &str = "https://slsa.dev/provenance/v1";
pub(super) const PREDICATE_TYPE_0_2: &str = "https://slsa.dev/provenance/v0.2";

/// A provenance statement, as far as this log reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    /// The artifacts, 1 to [`MAX_SUBJECTS`](super::MAX_SUBJECTS), each with a digest.
    pub subjects: Vec<Resource>,
    /// URI of the platform that built them: `runDetails.builder.id`.
    pub builder: String,
    /// URI of the way they were built: `buildDefinition.buildType`.
    pub build_type: String,
    /// The inputs, including the source: `buildDefinition.resolvedDependencies`.
    pub dependencies: Vec<Resource>,
    /// The predicate type, which tells the version.
    pub(super) predicate_type: &'static str,
    purls: Vec<Purl>,
}

impl Provenance {
    const WHAT: &str = "a provenance statement";

    pub(super) fn read(statement: Fields<'_>) -> Result<Self, FormatError> {
        let mut statement = statement.about(Self::WHAT);
        let subjects = Resource::subjects(Self::WHAT, &mut statement)?;
        let mut predicate = statement.object("predicate")?.without_unset();
        let mut definition = predicate.object("buildDefinition")?.without_unset();
        let build_type = definition.string("buildType")?;
        definition.optional_object("externalParameters")?;
        let dependencies = definition.optional_array("resolvedDependencies")?;
        let place = "predicate.buildDefinition.resolvedDependencies[]";
        let mut run = predicate.object("runDetails")?.without_unset();
        let builder = run.object("builder")?;
        Self::finish(PREDICATE_TYPE, subjects, builder, build_type, (place, dependencies))
    }

    /// Version 0.2.
    pub(super) fn read_0_2(statement: Fields<'_>) -> Result<Self, FormatError> {
        let mut statement = statement.about(Self::WHAT);
        let subjects = Resource::subjects(Self::WHAT, &mut statement)?;
        let mut predicate = statement.object("predicate")?.without_unset();
        let build_type = predicate.string("buildType")?;
        let materials = predicate.optional_array("materials")?;
        let builder = predicate.object("builder")?;
        Self::finish(PREDICATE_TYPE_0_2, subjects, builder, build_type, ("predicate.materials[]", materials))
    }

    fn finish(
        predicate_type: &'static str,
        subjects: Vec<Resource>,
        builder: Fields<'_>,
        build_type: String,
        (place, dependencies): (&'static str, Option<Vec<Json<'_>>>),
    ) -> Result<Self, FormatError> {
        check_text("a build type", &build_type)?;
        let dependencies = Resource::read_all(Self::WHAT, place, dependencies.unwrap_or_default(), false)?;
        let builder = builder.without_unset().string("id")?;
        check_text("the id of a builder", &builder)?;
        let purls = purls_in(None, &subjects)?;
        Ok(Self { subjects, builder, build_type, dependencies, predicate_type, purls })
    }

    /// Every package and version that the `uri` or the name of a subject says, each once.
    #[must_use]
    pub const fn purls(&self) -> &[Purl] {
        self.purls.as_slice()
    }
}
