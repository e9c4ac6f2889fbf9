//! The bytes of a memory: a state.json of `treehead verify --state`.

#[cfg(feature = "state")]
use alloc::format;
use alloc::vec::Vec;

use treehead::endpoint::EndpointState;

use crate::fail::{Done, Fail, th_status};

/// Reads a state file.
#[cfg(feature = "state")]
pub(crate) fn parse(bytes: &[u8]) -> Done<EndpointState> {
    use treehead::endpoint::VerdictCode;

    let unreadable = th_status::TH_COULD_NOT_TELL;
    if let Some(version) = EndpointState::later_version(bytes) {
        let message = format!("the memory was written by a newer program, in version {version}");
        return Err(Fail::coded(unreadable, VerdictCode::StateNewer, message));
    }
    EndpointState::parse(bytes)
        .map_err(|e| Fail::coded(unreadable, VerdictCode::StateDamaged, format!("{e}")))
}

#[cfg(feature = "state")]
pub(crate) fn print(state: &EndpointState) -> Done<Vec<u8>> {
    use treehead::endpoint::MAX_STATE_BYTES;

    let bytes = state.to_bytes();
    if bytes.len() > MAX_STATE_BYTES {
        return Err(Fail::new(th_status::TH_COULD_NOT_TELL, "the memory is full"));
    }
    Ok(bytes)
}

#[cfg(not(feature = "state"))]
const NO_STATE: &str = "this build keeps no memory in files";

#[cfg(not(feature = "state"))]
pub(crate) fn parse(_: &[u8]) -> Done<EndpointState> {
    Err(Fail::new(th_status::TH_UNSUPPORTED, NO_STATE))
}

#[cfg(not(feature = "state"))]
pub(crate) fn print(_: &EndpointState) -> Done<Vec<u8>> {
    Err(Fail::new(th_status::TH_UNSUPPORTED, NO_STATE))
}
